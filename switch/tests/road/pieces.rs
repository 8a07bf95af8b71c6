//! Fragments under policies: the first decides, the others follow it or go nowhere.

use std::collections::HashMap;

use proptest::prelude::*;
use weft_policy::Direction::{Egress, Ingress};
use weft_policy::Span;
use weft_policy::model::{Policy, Protocol};
use weft_switch::path::{DropReason as R, Fate};
use weft_wire::IpProtocol;

use crate::cluster::*;
use crate::world::*;

const NO_EGRESS: Fate = Fate::Drop(R::DeniedEgress);
const NO_INGRESS: Fate = Fate::Drop(R::DeniedIngress);
const WITHOUT_FIRST: Fate = Fate::Drop(R::FragmentWithoutFirst);
const OVERLAP: Fate = Fate::Drop(R::FragmentOverlap);
const PAIRS: [(Station, Station); 3] = [(POD, OTHER), (REMOTE, POD), (POD, REMOTE)];

/// One fragment of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// With the header: its ports, and so many bytes in all.
    First(u16, u16, usize),
    /// Place, bytes, whether more follow.
    Later(u16, usize, bool),
}
use Piece::{First, Later};

fn piece((from, to): (Station, Station), family: Family, id: u16, piece: Piece) -> Vec<u8> {
    let local = from.v4().octets()[2] == HOST.v4().octets()[2];
    let ethernet = if local { from.says() } else { inner() };
    let (v4, v6) = (
        ethernet.ipv4(from.v4(), to.v4()),
        ethernet.ipv6(from.v6(), to.v6()),
    );
    match (piece, family) {
        (First(src, dst, len), Family::V4) => {
            v4.fragment(id, 0, true).udp(src, dst, &vec![1; len - 8])
        }
        (First(src, dst, len), Family::V6) => {
            v6.fragment(id.into(), 0, true)
                .udp(src, dst, &vec![1; len - 8])
        }
        (Later(at, len, more), Family::V4) => v4
            .fragment(id, at, more)
            .payload(IpProtocol::UDP, &vec![2; len]),
        (Later(at, len, more), Family::V6) => v6
            .fragment(id.into(), at, more)
            .payload(IpProtocol::UDP, &vec![2; len]),
    }
}

fn send(world: &mut World, pair: (Station, Station), family: Family, id: u16, what: Piece) -> Fate {
    enter(world, pair.0, &piece(pair, family, id, what)).fate
}

/// Only DNS from the client to the server, at both ends; nothing of its own the other way.
fn dns(client: Station, server: Station) -> [Policy; 4] {
    [
        only(
            Egress,
            client,
            vec![on(Protocol::Udp, 53, peers(&[server]))],
        ),
        only(
            Ingress,
            server,
            vec![on(Protocol::Udp, 53, peers(&[client]))],
        ),
        only(Ingress, client, vec![]),
        only(Egress, server, vec![]),
    ]
}

const ASK: Piece = First(4000, 53, 16);
const ANSWER: Piece = First(53, 4000, 16);
const OTHERS: Piece = First(4000, 54, 16);

#[test]
fn the_others_follow_the_first_in_any_order() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
                let (mut world, _) = under(dns(client, server));
                let others = [Later(16, 8, true), Later(24, 16, true), Later(40, 5, false)];
                for (pair, first) in [((client, server), ASK), ((server, client), ANSWER)] {
                    assert!(
                        passed(send(&mut world, pair, family, 9, first)),
                        "{first:?}"
                    );
                    for other in order.map(|index| others[index]) {
                        assert!(
                            passed(send(&mut world, pair, family, 9, other)),
                            "{other:?}"
                        );
                    }
                    let more = send(&mut world, pair, family, 9, Later(48, 8, false));
                    assert_eq!(more, WITHOUT_FIRST, "the datagram is complete");
                }
            }
        }
    }
}

#[test]
fn nothing_follows_a_first_that_was_denied() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            let (mut world, _) = under(dns(client, server));
            let pair = (client, server);
            let mut send = |id, what| send(&mut world, pair, family, id, what);
            assert!(matches!(send(9, OTHERS), NO_EGRESS | NO_INGRESS));
            assert_eq!(send(9, Later(16, 8, false)), WITHOUT_FIRST);
            // Nor does a denied first change what follows an allowed one of the same name.
            assert!(passed(send(10, ASK)));
            assert!(matches!(send(10, OTHERS), NO_EGRESS | NO_INGRESS));
            assert!(passed(send(10, Later(16, 8, true))));
            assert_eq!(send(11, Later(16, 8, true)), WITHOUT_FIRST, "another name");
        }
    }
}

/// What one end lets pass and the other refuses has no followers at either.
#[test]
fn on_one_node_both_ends_count() {
    for family in FAMILIES {
        let (mut world, _) = under([only(Ingress, OTHER, vec![])]);
        assert_eq!(send(&mut world, (POD, OTHER), family, 9, ASK), NO_INGRESS);
        let later = send(&mut world, (POD, OTHER), family, 9, Later(16, 8, false));
        assert_eq!(later, WITHOUT_FIRST, "at the receiver's end");
    }
}

#[test]
fn what_overlaps_is_poisoned() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            for (name, pieces) in [
                ("the first again", vec![ASK, ASK]),
                ("another first", vec![ASK, First(4001, 53, 24)]),
                ("into the first", vec![ASK, Later(8, 16, true)]),
                (
                    "one again",
                    vec![ASK, Later(16, 8, true), Later(16, 8, true)],
                ),
                (
                    "around one",
                    vec![ASK, Later(24, 8, true), Later(16, 24, true)],
                ),
                (
                    "behind the last",
                    vec![ASK, Later(24, 4, false), Later(32, 8, true)],
                ),
            ] {
                let (mut world, _) = under(dns(client, server));
                let mut send = |what| send(&mut world, (client, server), family, 9, what);
                let (last, before) = pieces.split_last().unwrap();
                for what in before {
                    assert!(passed(send(*what)), "{name}: {what:?}");
                }
                assert_eq!(send(*last), OVERLAP, "{name}");
                assert_eq!(
                    send(Later(64, 8, true)),
                    OVERLAP,
                    "{name}, and what follows"
                );
            }
        }
    }
}

/// Tiny fragments put no other ports behind an allowed header, and no header behind the first.
#[test]
fn a_header_in_pieces_is_refused() {
    let (mut world, _) = under(dns(REMOTE, POD));
    let v4 = || inner().ipv4(REMOTE.v4(), POD.v4());
    let tiny = v4().fragment(9, 0, true).payload(IpProtocol::TCP, &[0; 16]);
    let rewrite = v4()
        .fragment(9, 8, false)
        .payload(IpProtocol::TCP, &[0; 16]);
    for frame in [tiny, rewrite] {
        assert_eq!(world.peer_sends(&frame).fate, Fate::Drop(R::TinyFragment));
    }
}

#[test]
fn a_change_of_policy_counts_within_a_datagram() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            let (mut world, mut enforced) = under(dns(client, server));
            let pair = (client, server);
            assert!(passed(send(&mut world, pair, family, 9, ASK)));
            assert!(passed(send(
                &mut world,
                pair,
                family,
                9,
                Later(16, 8, true)
            )));
            let (end, direction) = if client.port == 0 {
                (server, Ingress)
            } else {
                (client, Egress)
            };
            enforced.set(only(direction, end, vec![]));
            enforced.publish(&mut world);
            let fate = send(&mut world, pair, family, 9, Later(24, 8, true));
            assert!(matches!(fate, NO_EGRESS | NO_INGRESS), "{fate:?}");
            // And what was denied is not remembered for better days.
            assert!(!passed(send(&mut world, pair, family, 10, ASK)));
            dns(client, server)
                .into_iter()
                .for_each(|policy| enforced.set(policy));
            enforced.publish(&mut world);
            assert_eq!(
                send(&mut world, pair, family, 10, Later(16, 8, true)),
                WITHOUT_FIRST
            );
            assert!(passed(send(&mut world, pair, family, 11, ASK)));
            assert!(passed(send(
                &mut world,
                pair,
                family,
                11,
                Later(16, 8, false)
            )));
        }
    }
}

#[test]
fn a_datagram_is_followed_for_its_time_only() {
    for (family, seconds) in [(Family::V4, 30), (Family::V6, 60)] {
        let (mut world, _) = under([]);
        assert!(passed(send(&mut world, (POD, OTHER), family, 9, ASK)));
        world.pass(Span::from_secs(seconds - 1));
        assert!(passed(send(
            &mut world,
            (POD, OTHER),
            family,
            9,
            Later(16, 8, true)
        )));
        world.pass(Span::from_secs(2));
        assert_eq!(
            send(&mut world, (POD, OTHER), family, 9, Later(24, 8, true)),
            WITHOUT_FIRST
        );
    }
}

/// A large ping and an unknown protocol come in pieces too.
#[test]
fn pieces_of_what_has_no_ports() {
    let (mut world, _) = under([only(Ingress, POD, vec![peers(&[REMOTE])])]);
    let v4 = || inner().ipv4(REMOTE.v4(), POD.v4());
    let ping = [8, 0, 0xf7, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (id, protocol) in [(1, IpProtocol::ICMP), (2, IpProtocol::ESP)] {
        let first = v4().fragment(id, 0, true).payload(protocol, &ping);
        let later = v4().fragment(id, 16, false).payload(protocol, &[0; 8]);
        assert!(passed(world.peer_sends(&first).fate), "{protocol}");
        assert!(passed(world.peer_sends(&later).fate), "{protocol}");
    }
    let (mut world, _) = under([only(
        Ingress,
        POD,
        vec![on(Protocol::Udp, 53, peers(&[REMOTE]))],
    )]);
    let first = v4().fragment(3, 0, true).payload(IpProtocol::ICMP, &ping);
    assert_eq!(world.peer_sends(&first).fate, NO_INGRESS);
}

/// A port's datagrams go with its pod.
#[test]
fn a_port_takes_its_datagrams_along() {
    let (mut world, _) = under([]);
    assert!(passed(send(&mut world, (POD, REMOTE), Family::V4, 9, ASK)));
    world.path.reset_port(POD.id());
    let later = send(&mut world, (POD, REMOTE), Family::V4, 9, Later(16, 8, true));
    assert_eq!(later, WITHOUT_FIRST);
}

fn pieces() -> impl Strategy<Value = Vec<(u16, Piece)>> {
    let len = (1usize..4).prop_map(|units| units * 8);
    let first = (prop::sample::select(vec![53, 54]), len.clone())
        .prop_map(|(port, len)| First(4000, port, len));
    let later = (1u16..8, len, any::<bool>()).prop_map(|(at, len, more)| Later(at * 8, len, more));
    let piece = prop_oneof![1 => first, 3 => later];
    prop::collection::vec((0u16..2, piece), 1..40)
}

proptest! {
    /// Whatever fragments a hostile sender makes, and however the receiver puts together what
    /// arrives: every datagram begins with a header that policy allows, and no byte comes
    /// twice.
    #[test]
    fn what_arrives_reassembles_to_what_is_allowed(pieces in pieces(), v6 in any::<bool>()) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let (mut world, _) = under(dns(REMOTE, POD));
        let mut arrived: HashMap<u16, Vec<(usize, usize, bool)>> = HashMap::new();
        for (id, what) in pieces {
            if !passed(send(&mut world, (REMOTE, POD), family, id, what)) {
                continue;
            }
            let runs = arrived.entry(id).or_default();
            let (start, len, more) = match what {
                First(_, port, len) => {
                    prop_assert_eq!(port, 53);
                    prop_assert!(runs.is_empty(), "a second beginning before the end");
                    (0, len, true)
                }
                Later(at, len, more) => {
                    prop_assert!(!runs.is_empty(), "nothing comes before the first");
                    (usize::from(at), len, more)
                }
            };
            let apart = runs.iter().all(|(s, e, _)| *e <= start || start + len <= *s);
            prop_assert!(apart, "{:?} overlaps {:?}", what, runs);
            runs.push((start, start + len, more));
            let total = runs.iter().find(|(.., more)| !more).map(|(_, end, _)| *end);
            let bytes: usize = runs.iter().map(|(start, end, _)| end - start).sum();
            if total == Some(bytes) {
                arrived.remove(&id);
            }
        }
    }
}
