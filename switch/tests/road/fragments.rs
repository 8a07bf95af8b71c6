//! Packets at, below and above an MTU.

use proptest::prelude::*;
use weft_switch::path::Fate;
use weft_wire::ipv4::Ipv4Packet;
use weft_wire::{Fragment, IpProtocol, Parsed, parse};

use crate::world::*;

fn payload(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at * 7 % 251).unwrap())
        .collect()
}

#[test]
fn a_packet_of_exactly_the_mtu_passes_whole() {
    for dont_fragment in [true, false] {
        let v4 = POD
            .says()
            .ipv4(POD.v4(), REMOTE.v4())
            .dont_fragment(dont_fragment)
            .udp(1, 2, &payload(1450 - 28));
        let narrow = POD
            .says()
            .ipv4(POD.v4(), NARROW.v4())
            .dont_fragment(dont_fragment)
            .udp(1, 2, &payload(1300 - 28));
        let v6 = POD
            .says()
            .ipv6(POD.v6(), REMOTE.v6())
            .udp(1, 2, &payload(1450 - 48));
        for frame in [v4, narrow, v6] {
            let outcome = World::new().pod_sends(POD, &frame);
            assert_eq!(outcome.delta, Delta::default());
            assert_eq!(outcome.to_pod.len() + outcome.to_peer.len(), 1);
        }
    }
}

#[test]
fn one_byte_more_makes_two_fragments() {
    let mut world = World::new();
    let tunnelled = POD
        .says()
        .ipv4(POD.v4(), REMOTE.v4())
        .dont_fragment(false)
        .id(77)
        .udp(1, 2, &payload(1450 - 27));
    let outcome = world.pod_sends(POD, &tunnelled);
    assert_eq!((outcome.to_peer.len(), outcome.delta.fragments), (2, 1));
    assert_eq!(
        outcome.to_peer[0].lane, outcome.to_peer[1].lane,
        "fragments stay together"
    );
    let local = POD
        .says()
        .ipv4(POD.v4(), NARROW.v4())
        .dont_fragment(false)
        .udp(1, 2, &payload(1300 - 27));
    let outcome = world.pod_sends(POD, &local);
    assert_eq!(
        (outcome.fate, outcome.to_pod.len()),
        (Fate::ToPod(NARROW.id()), 2)
    );
    let through_tunnel = inner()
        .ipv4(REMOTE.v4(), NARROW.v4())
        .dont_fragment(false)
        .udp(1, 2, &payload(1300 - 27));
    let outcome = world.peer_sends(&through_tunnel);
    assert_eq!(
        (outcome.fate, outcome.to_pod.len()),
        (Fate::ToPod(NARROW.id()), 2)
    );
}

/// A first and a later fragment of one datagram take the same lane, however they are cut.
#[test]
fn fragments_of_a_datagram_share_a_lane() {
    let mut world = World::new();
    let first = POD
        .says()
        .ipv4(POD.v4(), REMOTE.v4())
        .fragment(7, 0, true)
        .udp(4000, 53, &payload(2000));
    let later = POD
        .says()
        .ipv4(POD.v4(), REMOTE.v4())
        .fragment(7, 2008, false)
        .payload(IpProtocol::UDP, &payload(999));
    let mut lanes: Vec<_> = world
        .pod_sends(POD, &first)
        .to_peer
        .iter()
        .map(|send| send.lane)
        .collect();
    lanes.extend(
        world
            .pod_sends(POD, &later)
            .to_peer
            .iter()
            .map(|send| send.lane),
    );
    assert_eq!(lanes.len(), 3);
    assert!(lanes.iter().all(|lane| *lane == lanes[0]));
}

/// Options with the copied flag go into every fragment, others into the first only
/// (RFC 791 §3.1).
#[test]
fn options_are_copied_as_they_ask() {
    let options = [7, 7, 4, 1, 2, 3, 4, 1, 148, 4, 0, 0];
    let frame = POD
        .says()
        .ipv4(POD.v4(), REMOTE.v4())
        .dont_fragment(false)
        .options(&options)
        .udp(1, 2, &payload(3000));
    let sent = World::new().pod_sends(POD, &frame).to_peer;
    let seen: Vec<_> = sent
        .iter()
        .map(|send| {
            Ipv4Packet::new_checked(&send.frame[14..])
                .unwrap()
                .options()
                .to_vec()
        })
        .collect();
    assert_eq!(seen, [&options[..], &[148, 4, 0, 0], &[148, 4, 0, 0]]);
}

#[derive(Debug, Clone)]
struct Datagram {
    len: usize,
    offset: u16,
    more: bool,
    options: Vec<u8>,
    far: bool,
}

fn datagrams() -> impl Strategy<Value = Datagram> {
    let offsets = prop_oneof![Just(0u16), (1u16..1000).prop_map(|units| units * 8)];
    let options = prop_oneof![
        Just(vec![]),
        Just(vec![148, 4, 0, 0]),
        Just(vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        Just(vec![
            1, 1, 148, 4, 0, 0, 68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]),
    ];
    (
        64usize..8000,
        offsets,
        any::<bool>(),
        options,
        any::<bool>(),
    )
        .prop_map(|(len, offset, more, options, far)| {
            let len = if more { len & !7 } else { len };
            Datagram {
                len,
                offset,
                more,
                options,
                far,
            }
        })
}

proptest! {
    /// Cut fragments are a partition of the original's payload, in order, at its place.
    #[test]
    fn fragments_reassemble_to_what_was_sent(datagram in datagrams()) {
        let Datagram { len, offset, more, options, far } = datagram;
        let to = if far { FAR } else { REMOTE };
        let sent = payload(len);
        let builder = POD.says().ipv4(POD.v4(), to.v4()).options(&options);
        // Of a protocol without ports, so that any bytes are a valid payload.
        let mut world = World::new();
        if offset > 0 {
            let first = POD.says().ipv4(POD.v4(), to.v4()).fragment(4711, 0, true);
            world.pod_sends(POD, &first.payload(IpProtocol::ESP, &[0; 8]));
        }
        let frame = builder.fragment(4711, offset, more).payload(IpProtocol::ESP, &sent);
        let outcome = world.pod_sends(POD, &frame);
        prop_assert!(matches!(outcome.fate, Fate::ToPeer(_)));
        let mut received: Vec<u8> = Vec::new();
        let last = outcome.to_peer.len() - 1;
        for (index, send) in outcome.to_peer.iter().enumerate() {
            let Parsed::Ip(packet) = parse(&send.frame).unwrap() else { panic!("not IP") };
            let at = offset + u16::try_from(received.len()).unwrap();
            let expected = match (at, more || index != last) {
                (0, false) => Fragment::Whole,
                (0, true) => Fragment::First { id: 4711, len: packet.payload_len().try_into().unwrap() },
                (offset, more) => Fragment::Later { id: 4711, offset, more },
            };
            prop_assert_eq!(packet.fragment, expected);
            prop_assert!(packet.ip_len() <= usize::from(to.mtu));
            received.extend(&send.frame[packet.l4..packet.end]);
        }
        prop_assert_eq!(received, sent);
        prop_assert_eq!(outcome.delta.fragments, last as u64);
    }
}
