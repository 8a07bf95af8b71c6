//! Whose slot is whose, how long is it believed, and how many may a port have?

use std::collections::HashSet;

use weft_encap::Lanes;
use weft_policy::{Config, Conntrack, Direction, Epoch, Moment, RuleId, Sighting};
use weft_wire::{Headers, Mac, Parsed, TcpFlags, build};

use super::*;

const EPOCH: Epoch = Epoch(7);
const ONE: PortId = PortId::new(1).unwrap();
const TWO: PortId = PortId::new(2).unwrap();

fn packet(bytes: &[u8]) -> Headers {
    match weft_wire::parse(bytes) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

fn udp(source_port: u16) -> Headers {
    let ethernet = build::ethernet(Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
    let ip = ethernet.ipv4([10, 0, 0, 2].into(), [10, 0, 1, 2].into());
    packet(&ip.udp(source_port, 53, b"ask"))
}

fn key(port: PortId, number: u16) -> Key {
    Key::of(Door::Port(port), &udp(number)).unwrap()
}

/// Some entry of a connection table: only its number matters.
fn memory() -> Memory {
    let config = Config {
        capacity: 16,
        owners: 1,
        ..Config::default()
    };
    let table = Conntrack::new(config);
    let sighting = Sighting {
        side: Direction::Egress,
        epoch: EPOCH,
        worker: 0,
        now: Moment::ZERO,
        packets: 1,
    };
    let entry = table.create(&udp(1), sighting, RuleId::DEFAULT, 0).unwrap();
    Memory {
        entry,
        reply: false,
    }
}

fn way(flow: u64) -> Way {
    let lane = Lanes::new(8).unwrap().pick(flow);
    let onward = Onward::Peer {
        peer: PeerId::new(3),
        flow,
        lane,
    };
    Way {
        onward,
        memory: memory(),
    }
}

#[test]
fn an_answer_is_as_good_as_its_tables() {
    let mut cache = FlowCache::new(7);
    cache.learn(&key(ONE, 1), way(5), ONE, EPOCH);
    assert_eq!(cache.find(&key(ONE, 1), EPOCH), Some(way(5)));
    assert_eq!(cache.find(&key(ONE, 1), EPOCH.next()), None);
    assert_eq!(cache.find(&key(ONE, 2), EPOCH), None, "another flow");
    assert_eq!(cache.find(&key(TWO, 1), EPOCH), None, "by another door");
    cache.learn(&key(ONE, 1), way(6), ONE, EPOCH.next());
    assert_eq!(cache.find(&key(ONE, 1), EPOCH.next()), Some(way(6)));
    cache.clear();
    assert_eq!(cache.find(&key(ONE, 1), EPOCH.next()), None);
}

/// Every field that a skipped step reads, changed alone, makes another key or none at all.
#[test]
fn a_key_is_everything_that_is_skipped() {
    let base = udp(1);
    let mut keys = HashSet::new();
    let mut differs = |door, packet: &Headers| {
        if let Some(key) = Key::of(door, packet) {
            assert!(keys.insert(key.words), "{packet:?}");
        }
    };
    differs(Door::Port(ONE), &base);
    differs(Door::Port(TWO), &base);
    differs(Door::Peer(PeerId::new(1)), &base);
    differs(Door::Peer(PeerId::new(2)), &base);
    for bit in 0..48 {
        let flipped = |mac: Mac| {
            let mut octets = mac.octets();
            octets[bit / 8] ^= 1 << (bit % 8);
            Mac::new(octets)
        };
        let (dst_mac, src_mac) = (flipped(base.dst_mac), flipped(base.src_mac));
        differs(Door::Port(ONE), &Headers { dst_mac, ..base });
        differs(Door::Port(ONE), &Headers { src_mac, ..base });
    }
    let mut six = base;
    (six.flow.src, six.flow.dst) = ("fd00::2".parse().unwrap(), "fd00::3".parse().unwrap());
    differs(Door::Port(ONE), &six);
    for flow in [base.flow, six.flow] {
        for bit in 0..128 {
            let flipped = |address| match address {
                IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() ^ (1u32 << (bit % 32))).into()),
                IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() ^ (1 << bit)).into()),
            };
            if flow.src.is_ipv4() && bit >= 32 {
                continue;
            }
            let mut changed = Headers { flow, ..base };
            changed.flow.src = flipped(flow.src);
            differs(Door::Port(ONE), &changed);
            changed.flow = flow;
            changed.flow.dst = flipped(flow.dst);
            differs(Door::Port(ONE), &changed);
        }
    }
    for bit in 0..16 {
        let mut changed = base;
        changed.flow.src_port ^= 1 << bit;
        differs(Door::Port(ONE), &changed);
        changed = base;
        changed.flow.dst_port ^= 1 << bit;
        differs(Door::Port(ONE), &changed);
    }
    let mut tcp = base;
    tcp.flow.protocol = weft_wire::IpProtocol::TCP;
    differs(Door::Port(ONE), &tcp);
    // Doors, MACs, the other family, addresses, ports, protocol.
    assert_eq!(keys.len(), 4 + 2 * 48 + 1 + 2 * (32 + 128) + 2 * 16 + 1);
}

#[test]
fn only_plain_packets_have_a_key() {
    let ethernet = build::ethernet(Mac::new([2, 0, 0, 0, 0, 1]), Mac::new([2, 0, 0, 0, 0, 2]));
    let ip = || ethernet.ipv4([10, 0, 0, 2].into(), [10, 0, 1, 2].into());
    let tcp = |flags| {
        let spec = build::TcpSpec {
            flags,
            ..build::TcpSpec::default()
        };
        ip().tcp(spec, b"x")
    };
    let keyed = |bytes: &[u8]| Key::of(Door::Port(ONE), &packet(bytes)).is_some();
    assert!(keyed(&tcp(TcpFlags::ACK)) && keyed(&tcp(TcpFlags::ACK | TcpFlags::PSH)));
    for flag in [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST] {
        assert!(!keyed(&tcp(flag)) && !keyed(&tcp(flag | TcpFlags::ACK)));
    }
    assert!(!keyed(&ip().icmp_echo_request(1, 1, b"x")));
    assert!(!keyed(&ip().fragment(7, 0, true).udp(1, 2, &[7; 56])));
    assert!(!keyed(
        &ip().options(&[131, 7, 4, 10, 0, 0, 9, 0]).udp(1, 2, b"x")
    ));
}

/// However many flows a pod has, it holds its share at most, and nobody else loses a slot.
#[test]
fn a_port_never_takes_another_ones_slot() {
    let mut cache = FlowCache::new(7);
    let victims: Vec<u16> = (0..200).collect();
    for number in &victims {
        cache.learn(&key(ONE, *number), way(1), ONE, EPOCH);
    }
    // Two of its own may have met in one pair of slots.
    let known = |cache: &mut FlowCache| {
        let keys = victims.iter().map(|number| key(ONE, *number));
        keys.filter(|key| cache.find(key, EPOCH).is_some()).count()
    };
    let before = known(&mut cache);
    assert!(before > 190, "{before}");
    for number in 0..u16::MAX {
        cache.learn(&key(TWO, number), way(2), TWO, EPOCH);
    }
    assert_eq!(known(&mut cache), before);
    let attackers = (0..u16::MAX).filter(|number| cache.find(&key(TWO, *number), EPOCH).is_some());
    assert_eq!(attackers.count(), usize::from(SHARE));
    // New tables make all slots free, and the share is counted anew.
    for number in 0..u16::MAX {
        cache.learn(&key(TWO, number), way(2), TWO, EPOCH.next());
    }
    let attackers =
        (0..u16::MAX).filter(|number| cache.find(&key(TWO, *number), EPOCH.next()).is_some());
    assert_eq!(attackers.count(), usize::from(SHARE));
}

/// What is used stays, what is not is forgotten after two rounds of the sweep, and no longer
/// counts as held.
#[test]
fn the_sweep_forgets_what_nobody_used() {
    let mut cache = FlowCache::new(7);
    let round = |cache: &mut FlowCache, used: &Key| {
        for _ in 0..10 {
            cache.sweep();
            assert!(cache.find(used, EPOCH).is_some());
        }
    };
    for number in 0..u16::MAX {
        cache.learn(&key(TWO, number), way(2), TWO, EPOCH);
    }
    let stays = (0..u16::MAX).map(|number| key(TWO, number));
    let mut stays = stays.filter(|key| cache.find(key, EPOCH).is_some());
    let stays = stays.next().expect("something is known");
    round(&mut cache, &stays);
    round(&mut cache, &stays);
    let left = (0..u16::MAX).filter(|number| cache.find(&key(TWO, *number), EPOCH).is_some());
    assert_eq!(left.count(), 1);
    assert_eq!(
        cache.held.iter().map(|held| u32::from(*held)).sum::<u32>(),
        1
    );
}
