//! Ports with a limited bandwidth: what counts against it, and what does not.

use std::num::NonZeroU64;
use std::sync::{Arc, Barrier};
use std::thread;

use weft_policy::Direction::{Egress, Ingress};
use weft_policy::{Epoch, Moment, Span, Table};
use weft_switch::path::{
    DropReason as R, Fate, GATEWAY_V4, Limits, Meter, PortEntry, PortId, Query, Sender, trace,
};
use weft_wire::{Arp, ArpOperation, EtherType, IpProtocol, Mac, build};

use crate::cluster::{Family, Said, frame, only, peers, under};
use crate::world::*;

const OVER: Fate = Fate::Drop(R::RateLimited);
/// A byte a microsecond.
const RATE: NonZeroU64 = NonZeroU64::new(8_000_000).expect("not zero");
/// Bytes of a test frame.
const BYTES: usize = 1_000;
const FRAME: u64 = 1_000;
const FRAME_TIME: Span = Span::from_millis(1);

/// Bursts, in frames, of the limits out of a pod and into it.
pub(crate) fn limits(egress: Option<u64>, ingress: Option<u64>) -> Arc<Limits> {
    let meter = |frames| Meter::new(RATE, frames * FRAME * 8);
    Arc::new(Limits {
        egress: egress.map(meter),
        ingress: ingress.map(meter),
    })
}

fn entries<const N: usize>(
    limits: [(Station, Arc<Limits>); N],
) -> impl Iterator<Item = (PortId, PortEntry)> {
    [HOST, POD, OTHER, NARROW].into_iter().map(move |station| {
        let of = limits.iter().find(|(of, _)| of.port == station.port);
        let limits = of.map(|(_, limits)| Arc::clone(limits));
        let entry = PortEntry {
            limits,
            ..station.entry()
        };
        (station.id(), entry)
    })
}

/// A world of which these ports are limited.
pub(crate) fn limited<const N: usize>(limits: [(Station, Arc<Limits>); N]) -> World {
    let tables = publish(entries(limits), Table::allow_all(), Epoch(1));
    World::with(tables, 8, 1024)
}

/// A frame of [`FRAME`] bytes.
fn datagram(from: Station, to: Station, v6: bool) -> Vec<u8> {
    let ethernet = || match from.port {
        0 if from.v4() != HOST.v4() => inner(),
        _ => from.says(),
    };
    let frame = if v6 {
        ethernet()
            .ipv6(from.v6(), to.v6())
            .udp(1, 2, &[0; BYTES - 62])
    } else {
        ethernet()
            .ipv4(from.v4(), to.v4())
            .udp(1, 2, &[0; BYTES - 42])
    };
    assert_eq!(frame.len(), BYTES);
    frame
}

fn say(world: &mut World, from: Station, to: Station) -> Fate {
    let frame = datagram(from, to, false);
    if from.v4() == REMOTE.v4() {
        world.peer_sends(&frame).fate
    } else {
        world.pod_sends(from, &frame).fate
    }
}

/// How many frames pass at this moment, of ten.
fn passing(world: &mut World, from: Station, to: Station) -> usize {
    let fates: Vec<Fate> = (0..10).map(|_| say(world, from, to)).collect();
    let passed = fates.iter().take_while(|fate| **fate != OVER).count();
    assert!(
        fates[passed..].iter().all(|fate| *fate == OVER),
        "{fates:?}"
    );
    passed
}

#[test]
fn a_sender_stays_within_its_egress() {
    for to in [OTHER, REMOTE, HOST] {
        let mut world = limited([(POD, limits(Some(3), None))]);
        assert_eq!(passing(&mut world, POD, to), 3, "{to:?}");
        assert_eq!(world.path.counters().drops(R::RateLimited), 7);
        assert_eq!(world.path.counters().port(POD.id()).egress_drops, 7);
        world.pass(FRAME_TIME);
        assert_eq!(passing(&mut world, POD, to), 1, "{to:?}");
        world.pass(Span::from_secs(60));
        assert_eq!(passing(&mut world, POD, to), 3, "{to:?}");
    }
}

#[test]
fn a_receiver_stays_within_its_ingress() {
    for from in [OTHER, REMOTE, HOST] {
        let mut world = limited([(POD, limits(None, Some(3)))]);
        assert_eq!(passing(&mut world, from, POD), 3, "{from:?}");
        world.pass(FRAME_TIME);
        assert_eq!(passing(&mut world, from, POD), 1, "{from:?}");
    }
}

#[test]
fn a_limit_is_of_one_port_and_direction() {
    let mut world = limited([(POD, limits(Some(1), None)), (OTHER, limits(None, Some(1)))]);
    assert_eq!(passing(&mut world, POD, REMOTE), 1);
    assert_eq!(passing(&mut world, REMOTE, POD), 10, "the other direction");
    assert_eq!(passing(&mut world, NARROW, REMOTE), 10, "another port");
    assert_eq!(passing(&mut world, REMOTE, OTHER), 1);
    assert_eq!(
        passing(&mut world, OTHER, REMOTE),
        10,
        "the other direction"
    );
}

/// Both families draw on one bucket.
#[test]
fn a_limit_is_of_all_packets() {
    let mut world = limited([(POD, limits(Some(2), Some(2)))]);
    let fates = [true, false, true].map(|v6| {
        let out = world.pod_sends(POD, &datagram(POD, REMOTE, v6)).fate;
        let into = world.peer_sends(&datagram(REMOTE, POD, v6)).fate;
        [out == OVER, into == OVER]
    });
    assert_eq!(fates, [[false; 2], [false; 2], [true; 2]]);
}

#[test]
fn between_two_pods_of_a_node_both_ends_count() {
    let both = || [(POD, limits(Some(4), None)), (OTHER, limits(None, Some(2)))];
    let mut world = limited(both());
    assert_eq!(passing(&mut world, POD, OTHER), 2, "the receiver's");
    assert_eq!(
        passing(&mut world, POD, REMOTE),
        0,
        "sent is sent, received or not"
    );
    let mut world = limited(both());
    assert_eq!(passing(&mut world, NARROW, OTHER), 2);
    assert_eq!(say(&mut world, POD, OTHER), OVER);
    assert_eq!(
        passing(&mut world, POD, REMOTE),
        3,
        "one of four was lost at the receiver"
    );
    let mut world = limited([(POD, limits(Some(2), None)), (OTHER, limits(None, Some(4)))]);
    assert_eq!(passing(&mut world, POD, OTHER), 2, "the sender's");
    assert_eq!(
        passing(&mut world, REMOTE, OTHER),
        2,
        "what was not sent is not received"
    );
}

/// Only what policy lets pass uses bandwidth up.
#[test]
fn what_policy_refuses_costs_nothing() {
    let rules = [
        only(Ingress, OTHER, vec![peers(&[REMOTE])]),
        only(Egress, POD, vec![peers(&[REMOTE, OTHER])]),
    ];
    let (mut world, _) = under(rules);
    let (pod, other) = (limits(Some(2), None), limits(None, Some(2)));
    let ports = [HOST, POD, OTHER, NARROW].map(|station| {
        let mut entry = world.tables.port(station.id()).unwrap().clone();
        entry.limits = match station.port {
            1 => Some(Arc::clone(&pod)),
            2 => Some(Arc::clone(&other)),
            _ => None,
        };
        (station.id(), entry)
    });
    let policy = world.tables.policy().clone();
    world.tables = publish(ports, policy, Epoch(9));
    for _ in 0..5 {
        assert_eq!(say(&mut world, POD, NARROW), Fate::Drop(R::DeniedEgress));
        assert_eq!(say(&mut world, NARROW, OTHER), Fate::Drop(R::DeniedIngress));
    }
    assert_eq!(passing(&mut world, POD, REMOTE), 2, "the sender's is whole");
    assert_eq!(passing(&mut world, REMOTE, OTHER), 2, "the receiver's too");
}

/// Answers of the gateway, and what it refuses before policy.
#[test]
fn what_goes_nowhere_costs_nothing() {
    let mut world = limited([(POD, limits(Some(1), Some(1)))]);
    let arp = Arp {
        operation: ArpOperation::Request,
        sender_mac: POD.mac(),
        sender_ip: POD.v4(),
        target_mac: Mac::ZERO,
        target_ip: GATEWAY_V4,
    };
    let arp = build::ethernet(POD.mac(), Mac::BROADCAST).raw(EtherType::ARP, &arp.to_bytes());
    let ping = POD
        .says()
        .ipv4(POD.v4(), GATEWAY_V4)
        .icmp_echo_request(1, 1, &[0; 900]);
    let forged = POD
        .says()
        .ipv4(OTHER.v4(), REMOTE.v4())
        .udp(1, 2, &[0; 900]);
    for _ in 0..3 {
        assert_eq!(world.pod_sends(POD, &arp).fate, Fate::Hairpin);
        assert_eq!(world.pod_sends(POD, &ping).fate, Fate::Hairpin);
        let fate = world.pod_sends(POD, &forged).fate;
        assert_eq!(fate, Fate::Drop(R::SpoofedIpv4));
    }
    assert_eq!(passing(&mut world, POD, REMOTE), 1);
    assert_eq!(passing(&mut world, REMOTE, POD), 1);
}

#[test]
fn new_tables_do_not_fill_the_bucket() {
    let of_pod = limits(Some(4), None);
    let mut world = limited([(POD, Arc::clone(&of_pod))]);
    assert!((0..3).all(|_| say(&mut world, POD, REMOTE) != OVER));
    world.tables = publish(entries([(POD, of_pod)]), Table::allow_all(), Epoch(2));
    assert_eq!(passing(&mut world, POD, REMOTE), 1);
}

#[test]
fn a_trace_uses_nothing_up_and_is_never_over_the_rate() {
    let mut world = limited([(POD, limits(Some(2), None)), (OTHER, limits(None, Some(2)))]);
    let query = Query {
        from: Sender::Port(POD.id()),
        to: OTHER.v4().into(),
        protocol: IpProtocol::UDP,
        port: 53,
    };
    let traced = |world: &World| trace(&world.tables, &query).unwrap().fate;
    for _ in 0..100 {
        assert_eq!(traced(&world), Fate::ToPod(OTHER.id()));
    }
    assert_eq!(passing(&mut world, POD, OTHER), 2);
    assert_eq!(traced(&world), Fate::ToPod(OTHER.id()));
}

/// A worker's own turn is what differs; the bucket is one.
#[test]
fn two_workers_share_a_limit() {
    let of_pod = limits(Some(4), None);
    let mut first = limited([(POD, Arc::clone(&of_pod))]);
    let mut second = limited([(POD, of_pod)]);
    let fates = (0..3).flat_map(|_| {
        let fates = [&mut first, &mut second].map(|world| say(world, POD, REMOTE));
        fates.map(|fate| fate != OVER)
    });
    assert_eq!(
        fates.collect::<Vec<_>>(),
        [true, true, true, true, false, false]
    );
}

const WORKERS: u64 = 2;

/// What racing workers together get of frames asked for at these moments.
fn raced(meter: &Meter, moments: impl Iterator<Item = Moment> + Clone + Send) -> u64 {
    let start = Barrier::new(2);
    let start = &start;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let moments = moments.clone();
                scope.spawn(move || {
                    start.wait();
                    let admitted = moments.filter(|now| meter.admit(*now, BYTES));
                    u64::try_from(admitted.count()).expect("a count")
                })
            })
            .collect();
        let admitted = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        admitted.sum()
    })
}

/// No frame goes uncharged: the two get the burst together, and as much as time gives.
#[test]
fn racing_workers_share_burst_and_rate() {
    let (burst, asked) = (300_000, 200_000);
    let meter = Meter::new(RATE, burst * FRAME * 8);
    let now = Moment::from_secs(1);
    let admitted = raced(&meter, (0..asked).map(|_| now));
    assert!((burst..=burst + WORKERS).contains(&admitted), "{admitted}");
    // A moment lasts a tenth of a frame's time, so twenty frames are offered for one.
    let meter = Meter::new(RATE, FRAME * 8);
    let moments = (0..asked).map(|step| Moment::from_nanos(step * 100_000));
    let (admitted, given) = (raced(&meter, moments), asked / 10);
    assert!(admitted <= given + 1 + WORKERS, "{admitted} of {given}");
    assert!(admitted >= given / 100 * 99, "{admitted} of {given}");
}

#[test]
fn padding_is_not_counted() {
    let mut world = limited([(POD, limits(Some(1), None))]);
    let said = frame(POD, REMOTE, Family::V4, &Said::Udp(4000, 53));
    assert_eq!(said.len(), 46);
    let mut padded = said.clone();
    padded.resize(1_400, 0);
    assert_ne!(world.pod_sends(POD, &padded).fate, OVER);
    world.pass(Span::from_micros(45));
    assert_eq!(say(&mut world, POD, REMOTE), OVER);
    world.pass(Span::from_micros(1));
    assert_ne!(say(&mut world, POD, REMOTE), OVER);
}
