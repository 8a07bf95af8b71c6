//! Fragments of datagrams: every order and overlap against a naive reassembler, floods,
//! lifetimes.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeSet;

use proptest::prelude::*;
use weft_policy::{Direction, FragmentConfig, FragmentError, Fragments, Moment, Span};
use weft_wire::{Fragment, Headers, IpProtocol, Transport};

use crate::packets::*;

const OUT: Direction = Direction::Egress;
const IN: Direction = Direction::Ingress;

fn memory_of(capacity: usize, quota_per_owner: u32) -> Fragments {
    Fragments::new(FragmentConfig {
        capacity,
        quota_per_owner,
        ports: 64,
        seed: 0x5eed,
    })
}

fn memory() -> Fragments {
    memory_of(1_024, 64)
}

/// Bytes `start..end` of a datagram; `more`: not the last.
type Part = (u16, u16, bool);

fn first_of(mut packet: Headers, id: u32, len: u16) -> Headers {
    packet.fragment = Fragment::First { id, len };
    packet
}

fn first(id: u32, len: u16) -> Headers {
    first_of(udp((host(2), 40_000), (host(3), 53)), id, len)
}

fn later_of(like: &Headers, id: u32, (start, end, more): Part) -> Headers {
    let mut packet = *like;
    packet.flow.src_port = 0;
    packet.flow.dst_port = 0;
    packet.transport = Transport::Opaque;
    packet.fragment = Fragment::Later {
        id,
        offset: start,
        more,
    };
    packet.end = packet.l4 + usize::from(end - start);
    packet
}

fn later(id: u32, part: Part) -> Headers {
    later_of(&first(id, 8), id, part)
}

/// What port 1 says of a part of datagram `id` that leaves it.
fn passes(memory: &mut Fragments, id: u32, part: Part) -> Result<(), FragmentError> {
    if part.0 == 0 && part.2 {
        memory.first(&first(id, part.1), OUT, 1, NOW)
    } else {
        memory.later(&later(id, part), OUT, 1, NOW).map(|opening| {
            let first = first(id, 8);
            assert_eq!(
                (opening.flow, opening.transport),
                (first.flow, first.transport)
            );
        })
    }
}

/// One datagram byte by byte, as a receiver would collect it.
#[derive(Default)]
struct Naive {
    bytes: BTreeSet<u16>,
    end: Option<u16>,
    has_first: bool,
    is_poisoned: bool,
}

impl Naive {
    fn take(&mut self, (start, end, more): Part) -> Result<(), FragmentError> {
        let is_first = start == 0 && more;
        if !self.has_first {
            if !is_first {
                return Err(FragmentError::NoFirst);
            }
            if end == 0 {
                return Err(FragmentError::Overlap);
            }
        }
        let new: BTreeSet<u16> = (start..end).collect();
        let beyond = |limit: u16, bytes: &BTreeSet<u16>| bytes.iter().any(|&byte| byte >= limit);
        if self.is_poisoned
            || is_first && self.has_first
            || new.is_empty()
            || !new.is_disjoint(&self.bytes)
            || self.end.is_some_and(|limit| !more || beyond(limit, &new))
            || !more && beyond(end, &self.bytes)
        {
            self.is_poisoned = true;
            return Err(FragmentError::Overlap);
        }
        self.has_first = true;
        self.bytes.extend(new);
        if !more {
            self.end = Some(end);
        }
        if self
            .end
            .is_some_and(|end| self.bytes.len() == usize::from(end))
        {
            *self = Self::default();
        }
        Ok(())
    }
}

/// Plays the parts as datagram `id` and compares each answer.
fn compare(memory: &mut Fragments, id: u32, parts: &[Part]) {
    let mut naive = Naive::default();
    for (step, &part) in parts.iter().enumerate() {
        assert_eq!(
            passes(memory, id, part),
            naive.take(part),
            "{parts:?}, step {step}"
        );
    }
}

/// Every part a datagram of up to `units` times 8 bytes can have, empty ones included.
fn all_parts(units: u16) -> Vec<Part> {
    let spans = (0..=units).flat_map(|start| (start..=units).map(move |end| (start, end)));
    spans
        .flat_map(|(start, end)| [(8 * start, 8 * end, true), (8 * start, 8 * end, false)])
        .filter(|&(start, _, more)| start > 0 || more)
        .collect()
}

/// Every sequence of up to 4 of all parts of a short datagram.
#[test]
fn every_short_sequence_is_judged_as_a_naive_reassembler_would() {
    let parts = all_parts(3);
    let mut memory = memory();
    let mut id = 0;
    for length in 1..=4_u32 {
        for number in 0..parts.len().pow(length) {
            let sequence: Vec<Part> = (0..length)
                .map(|place| parts[number / parts.len().pow(place) % parts.len()])
                .collect();
            compare(&mut memory, id, &sequence);
            id += 1;
        }
    }
    assert!(memory.len() <= 64);
}

/// Calls `visit` with every order of `parts`.
fn permute(parts: &mut [Part], fixed: usize, visit: &mut impl FnMut(&[Part])) {
    if fixed == parts.len() {
        return visit(parts);
    }
    for other in fixed..parts.len() {
        parts.swap(fixed, other);
        permute(parts, fixed + 1, visit);
        parts.swap(fixed, other);
    }
}

/// Six parts that fit, then the same with one of them stretched, cut, moved or repeated, each
/// in every order.
#[test]
fn every_order_of_six_parts_is_judged_as_a_naive_reassembler_would() {
    let fitting: Vec<Part> = (0..6_u16)
        .map(|part| (16 * part, 16 * part + 16, part != 5))
        .collect();
    let mut sets = vec![fitting.clone()];
    for changed in 0..fitting.len() {
        let (start, end, more) = fitting[changed];
        for new in [
            (start, end + 8, more),
            (start, end - 8, more),
            (start + 8, end + 8, more),
            (start, end, !more),
            fitting[(changed + 1) % 6],
        ] {
            if new.0 > 0 || new.2 {
                let mut set = fitting.clone();
                set[changed] = new;
                sets.push(set);
            }
        }
    }
    let mut memory = memory();
    let mut id = 0;
    for mut set in sets {
        permute(&mut set, 0, &mut |parts| {
            compare(&mut memory, id, parts);
            id += 1;
        });
    }
}

/// A part of a datagram of up to 64 bytes in units of 8; a last one of any length.
fn part() -> impl Strategy<Value = Part> {
    (0..8_u16, 0..8_u16, 0..8_u16, any::<bool>()).prop_map(|(start, len, odd, more)| {
        let more = more || start == 0;
        let end = 8 * (start + len) + if more { 0 } else { odd };
        (8 * start, end, more)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_six_parts_are_judged_as_a_naive_reassembler_would(
        parts in proptest::collection::vec(part(), 1..=6)
    ) {
        compare(&mut memory(), 7, &parts);
    }

    /// Whatever comes, of several datagrams and ports at once: bytes that passed under one
    /// first fragment never overlap, and none passes before it.
    #[test]
    fn bytes_that_passed_never_overlap(
        steps in proptest::collection::vec((0..3_u32, 1..3_u32, part(), 0..20_u64), 1..200)
    ) {
        let mut memory = memory_of(16, 4);
        let mut now = NOW;
        let mut passed = std::collections::HashMap::new();
        for (id, port, part, wait) in steps {
            now = now + Span::from_secs(wait / 10);
            let bytes = part.0..part.1;
            if part.0 == 0 {
                if memory.first(&first(id, part.1), OUT, port, now).is_ok() {
                    passed.insert((id, port), bytes.collect::<BTreeSet<u16>>());
                }
            } else if memory.later(&later(id, part), OUT, port, now).is_ok() {
                let seen = passed.get_mut(&(id, port)).expect("its first has passed");
                prop_assert!(bytes.into_iter().all(|byte| seen.insert(byte)));
            }
            prop_assert!(memory.len() <= 16 && memory.len_of(port) <= 4);
        }
    }
}

#[test]
fn what_the_first_fragment_said_counts_for_all() {
    let mut memory = memory();
    let packets = [
        udp((host(2), 40_000), (host(3), 53)),
        tcp(
            (host(2), 40_000),
            (host(3), 80),
            (weft_wire::TcpFlags::ACK, 1, 2, 3),
        ),
        echo(0, host(2), host(3), 0),
        packet(
            key(IpProtocol(47), (host(2), 0), (host(3), 0)),
            Transport::Other,
        ),
    ];
    for (id, packet) in (0..).zip(packets) {
        memory.first(&first_of(packet, id, 80), IN, 5, NOW).unwrap();
    }
    for (id, packet) in (0..).zip(packets) {
        let part = later_of(&packet, id, (80, 99, false));
        let opening = memory.later(&part, IN, 5, NOW).unwrap();
        assert_eq!(
            (opening.flow, opening.transport),
            (packet.flow, packet.transport)
        );
    }
    assert!(memory.is_empty(), "all were complete");
}

#[test]
fn datagrams_differ_by_every_part_of_their_name() {
    let mut memory = memory();
    let named = first(7, 8);
    memory.first(&named, OUT, 1, NOW).unwrap();
    let part = (8, 16, false);
    let mut strangers = vec![later(8, part); 4];
    strangers[0] = later(8, part);
    strangers[1].flow.src = host(4);
    strangers[2].flow.dst = host(4);
    strangers[3].flow.protocol = IpProtocol::ICMP;
    for stranger in &mut strangers[1..] {
        stranger.fragment = later(7, part).fragment;
    }
    for stranger in &strangers {
        let refused = memory.later(stranger, OUT, 1, NOW);
        assert_eq!(refused, Err(FragmentError::NoFirst), "{stranger:?}");
    }
    for (side, port) in [(IN, 1), (OUT, 2), (OUT, 64), (OUT, u32::MAX)] {
        let refused = memory.later(&later(7, part), side, port, NOW);
        assert_eq!(refused, Err(FragmentError::NoFirst));
    }
    assert!(memory.later(&later(7, part), OUT, 1, NOW).is_ok());
}

fn v6_first(id: u32, len: u16) -> Headers {
    let host = |n| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n));
    first_of(udp((host(2), 40_000), (host(3), 53)), id, len)
}

/// RFC 8200 §4.5: a receiver puts IPv6 fragments together whatever their Next Header says.
#[test]
fn the_protocol_of_a_later_ipv6_fragment_means_nothing() {
    let mut memory = memory();
    memory
        .first(&v6_first(0x0007_0009, 16), OUT, 1, NOW)
        .unwrap();
    let mut overlapping = later_of(&v6_first(0, 8), 0x0007_0009, (8, 24, true));
    overlapping.flow.protocol = IpProtocol::DEST_OPTIONS;
    let poisoned = Err(FragmentError::Overlap);
    assert_eq!(memory.later(&overlapping, OUT, 1, NOW), poisoned);
    let fitting = later_of(&v6_first(0, 8), 0x0007_0009, (16, 24, false));
    assert_eq!(memory.later(&fitting, OUT, 1, NOW), poisoned);
}

/// A first fragment's length counts from the fragment header, not from the transport.
#[test]
fn headers_behind_the_fragment_header_are_bytes_too() {
    let mut memory = memory();
    let mut packet = v6_first(7, 24);
    packet.l4 += 16;
    packet.end = packet.l4 + 8;
    memory.first(&packet, OUT, 1, NOW).unwrap();
    let over_its_tail = later_of(&v6_first(0, 8), 7, (8, 24, false));
    assert_eq!(
        memory.later(&over_its_tail, OUT, 1, NOW),
        Err(FragmentError::Overlap)
    );
}

#[test]
fn the_time_runs_from_the_first_fragment() {
    for (first, secs) in [(first(7, 8), 30), (v6_first(7, 8), 60)] {
        let mut memory = memory();
        let end = NOW + Span::from_secs(secs);
        let just_before = Moment::from_nanos(end.as_nanos() - 1);
        memory.first(&first, OUT, 1, NOW).unwrap();
        let part = |start| later_of(&first, 7, (start, start + 8, true));
        assert!(memory.later(&part(8), OUT, 1, just_before).is_ok());
        let refused = memory.later(&part(16), OUT, 1, end);
        assert_eq!(refused, Err(FragmentError::NoFirst));
        assert_eq!(memory.first(&first, OUT, 1, end), Ok(()), "a new datagram");
        assert!(memory.later(&part(8), OUT, 1, end).is_ok());
        assert_eq!(memory.len(), 1);
    }
}

#[test]
fn poison_lasts_until_the_time_is_over() {
    let mut memory = memory();
    assert_eq!(passes(&mut memory, 7, (0, 16, true)), Ok(()));
    for part in [
        (8, 24, true),
        (24, 32, true),
        (0, 16, true),
        (16, 24, false),
    ] {
        assert_eq!(
            passes(&mut memory, 7, part),
            Err(FragmentError::Overlap),
            "{part:?}"
        );
    }
    let later = NOW + Span::from_secs(30);
    assert_eq!(memory.first(&first(7, 16), OUT, 1, later), Ok(()));
}

#[test]
fn a_complete_datagram_leaves_nothing() {
    let mut memory = memory();
    for id in 0..100_000 {
        for part in [
            (0, 1_480, true),
            (1_480, 2_960, true),
            (2_960, 3_001, false),
        ] {
            assert_eq!(passes(&mut memory, id % 3, part), Ok(()));
        }
        assert!(memory.is_empty());
    }
}

#[test]
fn a_flood_replaces_the_owners_oldest_only() {
    let mut memory = memory_of(2_048, 32);
    let at = |millis| NOW + Span::from_millis(millis);
    for port in 1..=8 {
        memory.first(&first(1, 8), OUT, port, NOW).unwrap();
    }
    for id in 0..100_000_u32 {
        let now = at(u64::from(id) / 10);
        let _ = memory.first(&first(id, 8), OUT, 9, now);
        assert!(memory.len_of(9) <= 32);
        if id > 100 && id % 1_000 == 0 {
            assert_eq!(
                memory
                    .later(&later(id - 31, (8, 16, true)), OUT, 9, now)
                    .map(|_| ()),
                Ok(())
            );
            let refused = memory.later(&later(id - 32, (8, 16, true)), OUT, 9, now);
            assert_eq!(refused, Err(FragmentError::NoFirst), "the oldest has gone");
        }
    }
    for port in 1..=8 {
        let end = later(1, (8, 16, false));
        assert!(memory.later(&end, OUT, port, at(10_000)).is_ok(), "{port}");
    }
    assert_eq!(memory.len(), 32);
    assert_eq!(memory.capacity(), 2_048);
}

/// Every port but one floods; the last one's datagrams all pass.
#[test]
fn floods_of_many_owners_leave_room_for_one_more() {
    let mut memory = memory_of(1_024, 256);
    for id in 0..4_000 {
        for port in 1..60 {
            for side in [OUT, IN] {
                let _ = memory.first(&first(id, 8), side, port, NOW);
            }
        }
        assert_eq!(memory.first(&first(id, 8), OUT, 60, NOW), Ok(()), "{id}");
        assert!(
            memory
                .later(&later(id, (8, 16, false)), OUT, 60, NOW)
                .is_ok()
        );
    }
    assert!(memory.len() < 640, "{}", memory.len());
}

/// All datagrams of this memory fall into the same two buckets: the worst collision an
/// attacker who knew the seed could make.
#[test]
fn collisions_never_replace_another_owners_datagram() {
    let mut memory = memory_of(16, 256);
    for port in 0..16 {
        memory.first(&first(1, 8), OUT, port, NOW).unwrap();
    }
    for id in 0..1_000 {
        assert_eq!(
            memory.first(&first(id, 8), IN, 20, NOW),
            Err(FragmentError::Full)
        );
        assert_eq!(memory.first(&first(2 + id, 8), OUT, 3, NOW), Ok(()));
    }
    for port in (0..16).filter(|&port| port != 3) {
        assert!(
            memory
                .later(&later(1, (8, 16, false)), OUT, port, NOW)
                .is_ok()
        );
    }
    assert_eq!(memory.len_of(3), 1);
}

#[test]
fn expired_datagrams_of_anybody_make_room() {
    let mut memory = memory_of(16, 256);
    for port in 0..16 {
        memory.first(&first(1, 8), OUT, port, NOW).unwrap();
    }
    let later = NOW + Span::from_secs(30);
    assert_eq!(memory.first(&first(1, 8), OUT, 20, later), Ok(()));
    assert_eq!(memory.len(), 1);
}

#[test]
fn purges_take_the_port_they_name() {
    let mut memory = memory();
    for id in 0..10 {
        for (side, port) in [(OUT, 1), (IN, 1), (OUT, 2)] {
            memory.first(&first(id, 8), side, port, NOW).unwrap();
        }
        memory.first(&v6_first(id, 8), IN, 1, NOW).unwrap();
    }
    assert_eq!((memory.len(), memory.len_of(1)), (40, 30));
    assert_eq!(memory.purge_port(1), 30);
    assert_eq!(
        (memory.len(), memory.len_of(1), memory.len_of(2)),
        (10, 0, 10)
    );
    assert_eq!((memory.purge_port(64), memory.purge_port(u32::MAX)), (0, 0));
    assert_eq!(
        memory.first(&first(0, 8), OUT, 64, NOW),
        Err(FragmentError::Full)
    );
    assert_eq!(memory.first(&first(0, 8), OUT, 1, NOW), Ok(()));
}

#[test]
fn a_first_fragment_without_bytes_is_refused() {
    let mut memory = memory();
    assert_eq!(
        memory.first(&first(7, 0), OUT, 1, NOW),
        Err(FragmentError::Overlap)
    );
    assert!(memory.is_empty());
}
