//! A packet that the flow cache helps meets the fate of one that goes the long way.
//!
//! Two worlds take the same steps; one of them forgets its flow cache before every packet.

use proptest::prelude::*;
use weft_encap::Ecn;
use weft_policy::model::Protocol;
use weft_policy::{Direction, FlowInfo, PolicySetId, Span, Table};
use weft_switch::path::Tables;
use weft_wire::{TcpFlags, VnetHeader, checksum};

use crate::cluster::*;
use crate::world::*;

const STATIONS: [Station; 6] = [POD, OTHER, NARROW, REMOTE, FAR, HOST];

#[derive(Clone, Debug)]
enum Step {
    Send(Sent),
    Publish(usize),
    Pass(u64),
    Tick,
}

/// One packet, and what is odd about it.
#[derive(Clone, Debug)]
struct Sent {
    from: usize,
    to: usize,
    family: Family,
    said: Said,
    odd: Odd,
}

#[derive(Clone, Copy, Debug)]
enum Odd {
    Nothing,
    Ttl(u8),
    TrafficClass(u8),
    OuterMark,
    SourceMac,
    DestinationMac,
    /// It says that another station sent it.
    Source(usize),
    /// It comes from the other peer.
    Peer,
    Padded,
    PartialChecksum,
}

fn said() -> impl Strategy<Value = Said> {
    let port = prop_oneof![Just(53u16), Just(80), Just(4000)];
    let flags = prop_oneof![
        4 => Just(TcpFlags::ACK),
        1 => Just(TcpFlags::SYN),
        1 => Just(TcpFlags(0x12)),
        1 => Just(TcpFlags::FIN | TcpFlags::ACK),
        1 => Just(TcpFlags::RST),
    ];
    prop_oneof![
        4 => (port.clone(), port.clone()).prop_map(|(from, to)| Said::Udp(from, to)),
        4 => (port.clone(), port, flags).prop_map(|(from, to, flags)| Said::Tcp(from, to, flags)),
        1 => Just(Said::Ping(7)),
        1 => Just(Said::Esp),
    ]
}

fn odd() -> impl Strategy<Value = Odd> {
    prop_oneof![
        12 => Just(Odd::Nothing),
        1 => (0..3u8).prop_map(Odd::Ttl),
        1 => any::<u8>().prop_map(Odd::TrafficClass),
        1 => Just(Odd::OuterMark),
        1 => Just(Odd::SourceMac),
        1 => Just(Odd::DestinationMac),
        1 => (0..STATIONS.len()).prop_map(Odd::Source),
        1 => Just(Odd::Peer),
        1 => Just(Odd::Padded),
        1 => Just(Odd::PartialChecksum),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let family = prop_oneof![2 => Just(Family::V4), 1 => Just(Family::V6)];
    // Few stations and ports: most packets belong to flows that were seen before.
    let stations = prop_oneof![6 => 0..2usize, 2 => 2..4usize, 1 => 4..6usize];
    let sent = (stations.clone(), stations, family, said(), odd());
    prop_oneof![
        40 => sent.prop_map(|(from, to, family, said, odd)| {
            Step::Send(Sent { from, to, family, said, odd })
        }),
        2 => (0..6usize).prop_map(Step::Publish),
        1 => prop_oneof![Just(1u64), Just(31), Just(200), Just(90_000)].prop_map(Step::Pass),
        1 => Just(Step::Tick),
    ]
}

/// The bytes of a packet, the door it comes by and what is said beside it.
fn build(sent: &Sent) -> (Door, Vec<u8>, VnetHeader) {
    let (from, to) = (STATIONS[sent.from], STATIONS[sent.to]);
    let claimed = match sent.odd {
        Odd::Source(who) => STATIONS[who],
        _ => from,
    };
    let mut bytes = frame(claimed, to, sent.family, &sent.said);
    let local = matches!(sent.from, 0..=2 | 5);
    bytes[..12].copy_from_slice(&frame(from, to, sent.family, &sent.said)[..12]);
    match (sent.odd, sent.family) {
        (Odd::Ttl(ttl), Family::V4) => bytes[22] = ttl,
        (Odd::Ttl(ttl), Family::V6) => bytes[21] = ttl,
        (Odd::TrafficClass(class), Family::V4) => bytes[15] = class,
        (Odd::TrafficClass(class), Family::V6) => {
            bytes[14] = 0x60 | class >> 4;
            bytes[15] = class << 4;
        }
        (Odd::SourceMac, _) => bytes[11] ^= 4,
        (Odd::DestinationMac, _) => bytes[5] ^= 4,
        (Odd::Padded, _) => bytes.extend([0; 9]),
        _ => {}
    }
    if sent.family == Family::V4 {
        bytes[24..26].fill(0);
        let sum = checksum::ipv4_header(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let start = match sent.family {
        Family::V4 => 34,
        Family::V6 => 54,
    };
    let offset = match sent.said {
        Said::Tcp(..) => Some(16),
        Said::Udp(..) => Some(6),
        _ => None,
    };
    let vnet = match (sent.odd, offset) {
        (Odd::PartialChecksum, Some(csum_offset)) if local => VnetHeader {
            flags: 1,
            csum_start: start,
            csum_offset,
            ..VnetHeader::NONE
        },
        _ => VnetHeader::NONE,
    };
    if local {
        return (Door::Pod(from), bytes, vnet);
    }
    let peer = usize::from(from.v4() == FAR.v4()) ^ usize::from(matches!(sent.odd, Odd::Peer));
    let mark = match sent.odd {
        Odd::OuterMark => Ecn::Ce,
        _ => Ecn::NotEct,
    };
    let door = Door::Underlay(PEERS[peer].0.into(), mark);
    (door, tunnelled(VNI, &bytes), vnet)
}

fn published(world: &World, enforced: &mut Enforced, which: usize) -> Tables {
    match which {
        0 => enforced.unset(Direction::Ingress, OTHER),
        1 => enforced.set(only(Direction::Ingress, OTHER, vec![])),
        2 => enforced.unset(Direction::Egress, POD),
        3 => {
            let dns = on(Protocol::Udp, 53, peers(&[REMOTE, OTHER]));
            enforced.set(only(Direction::Egress, POD, vec![dns]));
        }
        _ => {}
    }
    let mut tables = enforced.tables();
    if which == 5 {
        // The other pod is gone, and policy is not known.
        let entries = [HOST, POD, NARROW].map(|station| {
            let mut entry = station.entry();
            entry.policy = PolicySetId::UNSELECTED;
            (station.id(), entry)
        });
        tables = publish(entries, Table::allow_all(), tables.epoch);
    }
    tables.epoch = world.tables.epoch.next();
    tables
}

fn connections(world: &World) -> Vec<FlowInfo> {
    let mut flows = Vec::new();
    world.conntrack.for_each(|flow| flows.push(flow));
    flows
}

/// Takes the steps in both worlds; how many packets the cache helped.
fn compare(steps: &[Step]) -> u64 {
    let (mut warm, mut enforced) = under([]);
    let (mut cold, _) = under([]);
    for step in steps {
        match step {
            Step::Send(sent) => {
                let (door, bytes, vnet) = build(sent);
                cold.path.clear_flow_cache();
                let [one, other] = [&mut warm, &mut cold].map(|world| {
                    let out = world.send_raw(door, &bytes, vnet);
                    (
                        out.fate,
                        out.to_pod,
                        out.to_peer,
                        out.vnets,
                        out.packets,
                        out.delta,
                    )
                });
                assert_eq!(one, other, "{sent:?}");
                assert_eq!(connections(&warm), connections(&cold), "{sent:?}");
            }
            Step::Publish(which) => {
                let tables = published(&warm, &mut enforced, *which);
                warm.tables = tables.clone();
                cold.tables = tables;
            }
            Step::Pass(seconds) => {
                warm.pass(Span::from_secs(*seconds));
                cold.pass(Span::from_secs(*seconds));
            }
            Step::Tick => {
                warm.path.on_tick(warm.now);
                cold.path.on_tick(cold.now);
            }
        }
    }
    let (mut counted, helped) = (warm.path.counters().clone(), warm.path.counters().recalled);
    assert_eq!(cold.path.counters().recalled, 0);
    counted.recalled = 0;
    assert_eq!(&counted, cold.path.counters());
    helped
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_short_way_ends_where_the_long_one_does(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        compare(&steps);
    }
}

/// The third packet of a flow finds its way known: the first is decided, the second is known to
/// the connection table.
#[test]
fn the_third_packet_of_a_flow_is_helped() {
    for (from, to) in [(0, 1), (0, 3), (3, 0)] {
        for family in FAMILIES {
            for said in [Said::Udp(4000, 53), Said::Tcp(4000, 80, TcpFlags::ACK)] {
                let packet = |said| {
                    let odd = Odd::Nothing;
                    Step::Send(Sent {
                        from,
                        to,
                        family,
                        said,
                        odd,
                    })
                };
                let first = match said {
                    Said::Tcp(..) => Said::Tcp(4000, 80, TcpFlags::SYN),
                    _ => said.clone(),
                };
                let mut steps = vec![packet(first), packet(said.clone())];
                assert_eq!(compare(&steps), 0, "{from} {to} {said:?}");
                steps.extend([packet(said.clone()), packet(said.clone())]);
                assert_eq!(compare(&steps), 2, "{from} {to} {said:?}");
            }
        }
    }
}
