//! The stages of the road one by one: headers, checksums, forwarding, tunnel, conntrack.

use std::hint::black_box;
use std::net::IpAddr;

use weft_encap::{Tunnel, pop, push};
use weft_policy::{Config, Conntrack, Direction, Epoch, Lookup, Moment, RuleId, Sighting};
use weft_wire::checksum::Sum;
use weft_wire::{Frame, Headers, Parsed, parse};

use crate::Case;
use crate::frames::{Family, POD, REMOTE, SIZES, Station, Talk};
use crate::node::{conntrack, tables, vni, vtep_mac};

/// One walk over a frame's headers.
pub(crate) fn parsing() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for size in SIZES {
            cases.push(Case::new(format!("{}/{size}", family.name()), move || {
                let frame = Talk::out_of_pod(POD, REMOTE, family).udp(size);
                headers(&frame);
                move || {
                    black_box(parse(black_box(&frame))).ok();
                }
            }));
        }
    }
    cases
}

/// The Internet checksum over a whole frame.
pub(crate) fn checksums() -> Vec<Case> {
    let case = |size: usize| {
        Case::new(size.to_string(), move || {
            let bytes = vec![0x5a; size];
            move || {
                let mut sum = Sum::new();
                sum.add_bytes(black_box(&bytes));
                black_box(sum.finish());
            }
        })
    };
    SIZES.into_iter().map(case).collect()
}

/// Where does an address live?
pub(crate) fn forwarding() -> Vec<Case> {
    let places = [
        ("local", POD),
        ("peer", Station { node: 77, last: 5 }),
        ("vacant", Station { node: 1, last: 250 }),
        ("outside", Station { node: 200, last: 1 }),
    ];
    let mut cases = Vec::new();
    for (place, station) in places {
        for address in [IpAddr::V4(station.v4()), IpAddr::V6(station.v6())] {
            let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            cases.push(Case::new(format!("{place}/{family}"), move || {
                let tables = tables();
                move || {
                    black_box(tables.forward().locate(black_box(address)));
                }
            }));
        }
    }
    cases
}

/// Into the tunnel and out of it.
pub(crate) fn tunnelling() -> Vec<Case> {
    let case = |size: usize| {
        Case::new(format!("push-pop/{size}"), move || {
            let tunnel = Tunnel {
                vni: vni(),
                src: vtep_mac(1),
                dst: vtep_mac(2),
            };
            let mut frame = Frame::with_capacity(2048);
            let bytes = Talk::out_of_pod(POD, REMOTE, Family::V4).udp(size);
            assert!(frame.copy_from(&bytes), "the frame fits a buffer");
            move || {
                // 8 bytes go to the headroom and come back: the frame stays where it is.
                black_box(push(&mut frame, black_box(&tunnel))).ok();
                black_box(pop(&mut frame)).ok();
            }
        })
    };
    SIZES.into_iter().map(case).collect()
}

/// Is the flow known?
pub(crate) fn tracking() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        let name = |what| format!("{what}/{}", family.name());
        let headers = move || headers(&Talk::out_of_pod(POD, REMOTE, family).udp(64));
        cases.push(Case::new(name("miss"), move || {
            let (table, headers) = (conntrack(), headers());
            move || {
                black_box(table.lookup(black_box(&headers), sighting()));
            }
        }));
        cases.push(Case::new(name("hit"), move || {
            let (table, headers) = (conntrack(), headers());
            let created = table.create(&headers, sighting(), RuleId::DEFAULT, 2);
            assert!(created.is_ok(), "the table is empty");
            move || {
                black_box(table.lookup(black_box(&headers), sighting()));
            }
        }));
        cases.push(Case::new(name("create-and-remove"), move || {
            let (table, headers) = (conntrack(), headers());
            move || create_and_remove(&table, &headers)
        }));
        cases.push(Case::new(name("create-at-quota"), move || {
            create_at_quota(&headers())
        }));
    }
    cases
}

/// Every flow is a new one of an owner that holds as many as it may.
fn create_at_quota(headers: &Headers) -> impl FnMut() + use<> {
    let (table, mut headers) = (conntrack(), *headers);
    let mut number: u32 = 0;
    let mut next = move || {
        number = number.wrapping_add(1);
        let [_, _, high, low] = number.to_be_bytes();
        headers.flow.src_port = u16::from_be_bytes([high, low]);
        headers.flow.dst_port = u16::try_from(number >> 16).unwrap_or_default();
        let created = table.create(black_box(&headers), sighting(), RuleId::DEFAULT, 2);
        assert!(created.is_ok(), "there is room");
    };
    (0..2 * Config::default().quota_per_owner).for_each(|_| next());
    next
}

#[expect(clippy::panic, reason = "the frames are constant")]
fn headers(frame: &[u8]) -> Headers {
    match parse(frame) {
        Ok(Parsed::Ip(headers)) => headers,
        other => panic!("{other:?} is no IP packet"),
    }
}

fn sighting() -> Sighting {
    Sighting {
        side: Direction::Egress,
        epoch: Epoch(1),
        worker: 0,
        now: Moment::from_secs(1),
        packets: 1,
    }
}

fn create_and_remove(table: &Conntrack, headers: &Headers) {
    if let Lookup::New = table.lookup(black_box(headers), sighting())
        && let Ok(entry) = table.create(headers, sighting(), RuleId::DEFAULT, 2)
    {
        table.remove(black_box(entry));
    }
}
