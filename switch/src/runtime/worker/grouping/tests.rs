//! Random turns: nothing lost, nothing twice, every flow in order, every message lawful.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn load(flow: u64, count: usize, size: usize, last: usize) -> Load {
    Load {
        lane: 3,
        to: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ecn: Ecn::NotEct,
        flow,
        count,
        size,
        last,
    }
}

/// A turn's frames; lane and peer follow from the flow, as they do on the road.
fn loads() -> impl Strategy<Value = Vec<Load>> {
    let sizes = prop_oneof![Just(86), Just(120), Just(614), Just(1472), 60_usize..1600];
    let one = (
        0..40_u64,
        sizes,
        prop_oneof![8 => Just(1), 2 => 2..130_usize],
        0..4_u8,
    );
    let one = one.prop_flat_map(|(flow, size, count, ecn)| {
        let last = if count == 1 {
            size..=size
        } else {
            59..=size.max(59)
        };
        last.prop_map(move |last| Load {
            lane: usize::try_from(flow % 5).unwrap(),
            to: IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(flow % 3).unwrap())),
            ecn: Ecn::from_bits(if flow % 7 == 0 { ecn } else { 0 }),
            flow: flow.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            count,
            size: size.max(last),
            last,
        })
    });
    prop::collection::vec(one, 0..300)
}

/// A datagram as it leaves: its frame, its number in the frame.
type Sent = (usize, usize);

/// Plans and "sends" everything, as often as the plan's room needs, and checks each message.
fn send(grouping: &mut Grouping, loads: &[Load], most: usize) -> Vec<Sent> {
    let (mut sent, mut next, mut from) = (Vec::new(), 0, 0);
    while next < loads.len() {
        grouping.clear();
        while let Some(load) = loads.get(next) {
            from = grouping.add(next, load, from);
            if from < load.count {
                break;
            }
            (next, from) = (next + 1, 0);
        }
        let before = sent.len();
        for lane in 0..usize::from(Lanes::MAX) {
            for (number, run) in grouping.of_lane(lane) {
                assert_eq!(
                    grouping.run(number).map(|run| run.segments),
                    Some(run.segments)
                );
                check(grouping, run, lane, loads, most);
                for piece in grouping.pieces(run) {
                    sent.extend((0..piece.count).map(|n| (piece.frame, piece.first + n)));
                }
            }
        }
        assert!(sent.len() > before, "a plan always holds something");
    }
    sent
}

fn check(grouping: &Grouping, run: &Run, lane: usize, loads: &[Load], most: usize) {
    let mut lens = Vec::new();
    for piece in grouping.pieces(run) {
        let load = &loads[piece.frame];
        assert_eq!((load.lane, load.to, load.ecn), (lane, run.to, run.ecn));
        lens.extend((0..piece.count).map(|n| load.len_of(piece.first + n)));
    }
    assert_eq!(lens.len(), run.segments);
    assert!((1..=most).contains(&lens.len()));
    assert!(lens.len() == 1 || lens.iter().sum::<usize>() <= MAX_BYTES);
    let (last, others) = lens.split_last().unwrap();
    assert!(others.iter().all(|len| *len == run.size) && *last <= run.size);
}

proptest! {
    #[test]
    fn every_datagram_leaves_once_and_each_flow_in_order(
        loads in loads(),
        room in prop_oneof![Just(1_usize), Just(7), Just(512)],
        single: bool,
    ) {
        let mut grouping = Grouping::new(room);
        if single {
            grouping.forbid_runs();
        }
        prop_assert_eq!(grouping.allows_runs(), !single);
        let most = if single { 1 } else { MAX_SEGMENTS };
        let sent = send(&mut grouping, &loads, most);
        let mut flows: BTreeMap<u64, Vec<Sent>> = BTreeMap::new();
        for datagram in &sent {
            flows.entry(loads[datagram.0].flow).or_default().push(*datagram);
        }
        prop_assert!(flows.values().all(|flow| flow.is_sorted()), "{:?}", flows);
        let mut all = sent;
        all.sort_unstable();
        let expected = loads.iter().enumerate();
        let expected = expected.flat_map(|(frame, load)| (0..load.count).map(move |n| (frame, n)));
        prop_assert!(all.into_iter().eq(expected));
    }
}

/// Sizes of the messages of what was added, in datagrams.
fn messages(loads: &[Load]) -> Vec<usize> {
    let mut grouping = Grouping::new(128);
    for (frame, load) in loads.iter().enumerate() {
        assert_eq!(grouping.add(frame, load, 0), load.count);
    }
    grouping.of_lane(3).map(|(_, run)| run.segments).collect()
}

#[test]
fn small_datagrams_of_many_flows_share_messages() {
    let small: Vec<_> = (0..130).map(|flow| load(flow, 1, 114, 114)).collect();
    assert_eq!(messages(&small), [64, 64, 2]);
}

#[test]
fn a_frame_joins_an_earlier_run_unless_its_flow_went_on() {
    let sizes = |flows: [u64; 4]| {
        let sizes = [100, 1400, 100, 1400];
        let loads = flows.into_iter().zip(sizes);
        let loads = loads.map(|(flow, size)| load(flow, 1, size, size));
        messages(&loads.collect::<Vec<_>>())
    };
    assert_eq!(sizes([1, 2, 1, 2]), [2, 2], "flows of different sizes");
    assert_eq!(
        sizes([1, 2, 2, 1]),
        [1, 2, 1],
        "the third ends the second's run, not the first's"
    );
    assert_eq!(sizes([1, 1, 1, 1]), [1, 2, 1]);
}

#[test]
fn super_frames_fill_messages_and_their_ends_close_them() {
    let whole = load(1, 46, 1472, 1472);
    assert_eq!(messages(&[whole, whole]), [44, 44, 4]);
    let ragged = load(1, 10, 1472, 300);
    assert_eq!(messages(&[ragged, ragged]), [10, 10]);
    let tiny = load(1, 130, 80, 20);
    assert_eq!(messages(&[tiny]), [64, 64, 2]);
}
