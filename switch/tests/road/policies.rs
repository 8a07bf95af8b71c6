//! What policy lets pass, refuses and cuts, at both ends of this node's flows.

use proptest::prelude::*;
use weft_policy::model::{ObjectName, Policy, Protocol, Rule};
use weft_policy::{Direction, Epoch, PolicySetId, Question, RuleId, Span, Table, oracle};
use weft_switch::path::{DropReason as R, Fate, Sender};
use weft_wire::{IpProtocol, TcpFlags};

use crate::cluster::*;
use crate::traces;
use crate::world::*;

use Direction::{Egress, Ingress};

const ASK: Said = Said::Udp(4000, 53);
const ANSWER: Said = Said::Udp(53, 4000);
const SYN: Said = Said::Tcp(4000, 80, TcpFlags::SYN);
const SYN_ACK: Said = Said::Tcp(80, 4000, TcpFlags(0x12));
const ACK: Said = Said::Tcp(4000, 80, TcpFlags::ACK);

const NO_EGRESS: Fate = Fate::Drop(R::DeniedEgress);
const NO_INGRESS: Fate = Fate::Drop(R::DeniedIngress);

/// The senders and receivers of every situation: on one node, out of the tunnel, into it.
const PAIRS: [(Station, Station); 3] = [(POD, OTHER), (REMOTE, POD), (POD, REMOTE)];

#[test]
fn an_isolated_sender_sends_nothing() {
    for family in FAMILIES {
        for to in [OTHER, REMOTE, HOST] {
            let (mut world, _) = under([only(Egress, POD, vec![])]);
            for said in [ASK, SYN, ACK, Said::Ping(7), Said::Pong(7), Said::Esp] {
                assert_eq!(
                    say(&mut world, (POD, to), family, &said),
                    NO_EGRESS,
                    "{said:?}"
                );
            }
            assert_eq!(denied(&world, POD, Egress).0, 6);
            assert_eq!(world.conntrack.len(), 0, "nothing is remembered");
            let other = say(&mut world, (OTHER, REMOTE), family, &ASK);
            assert!(passed(other), "others are not isolated");
        }
    }
}

#[test]
fn an_isolated_receiver_receives_nothing() {
    for family in FAMILIES {
        for from in [OTHER, REMOTE, FAR] {
            let (mut world, _) = under([only(Ingress, POD, vec![])]);
            for said in [ASK, SYN, ACK, Said::Ping(7), Said::Pong(7), Said::Esp] {
                assert_eq!(
                    say(&mut world, (from, POD), family, &said),
                    NO_INGRESS,
                    "{said:?}"
                );
            }
            assert_eq!(denied(&world, POD, Ingress).0, 6);
            assert_eq!(world.conntrack.len(), 0, "nothing is remembered, of no end");
            assert!(passed(say(&mut world, (from, OTHER), family, &SYN)));
        }
        let (mut world, _) = under([only(Ingress, POD, vec![])]);
        let outside = HOST
            .says()
            .ipv4([198, 51, 100, 7].into(), POD.v4())
            .udp(1, 2, b"");
        assert_eq!(world.pod_sends(HOST, &outside).fate, NO_INGRESS);
    }
}

#[test]
fn a_rule_lets_pass_what_it_names_and_nothing_else() {
    for family in FAMILIES {
        let dns = on(Protocol::Udp, 53, peers(&[REMOTE]));
        let (mut world, _) = under([only(Ingress, POD, vec![dns])]);
        let mut say = |from, said| say(&mut world, (from, POD), family, &said);
        assert_eq!(say(REMOTE, ASK), Fate::ToPod(POD.id()));
        assert_eq!(say(REMOTE, Said::Udp(4000, 54)), NO_INGRESS);
        assert_eq!(say(REMOTE, Said::Tcp(4000, 53, TcpFlags::SYN)), NO_INGRESS);
        assert_eq!(say(REMOTE, Said::Ping(7)), NO_INGRESS, "a rule with ports");
        assert_eq!(say(REMOTE, Said::Esp), NO_INGRESS);
        assert_eq!(say(OTHER, ASK), NO_INGRESS);
        assert_eq!(say(FAR, ASK), NO_INGRESS);
        let (mut world, _) = under([only(Ingress, POD, vec![peers(&[REMOTE])])]);
        for said in [ASK, SYN, ACK, Said::Ping(7), Said::Pong(8), Said::Esp] {
            let fate = crate::cluster::say(&mut world, (REMOTE, POD), family, &said);
            assert_eq!(
                fate,
                Fate::ToPod(POD.id()),
                "a rule without ports: {said:?}"
            );
        }
    }
}

/// On one node both ends are asked for the same packet.
#[test]
fn both_ends_must_allow() {
    for family in FAMILIES {
        for (sends, receives, expected) in [
            (true, true, Fate::ToPod(OTHER.id())),
            (false, true, NO_EGRESS),
            (true, false, NO_INGRESS),
            (false, false, NO_EGRESS),
        ] {
            let to = if sends {
                peers(&[OTHER])
            } else {
                peers(&[FAR])
            };
            let from = if receives {
                peers(&[POD])
            } else {
                peers(&[FAR])
            };
            let policies = [
                only(Egress, POD, vec![to]),
                only(Ingress, OTHER, vec![from]),
            ];
            let (mut world, _) = under(policies);
            assert_eq!(say(&mut world, (POD, OTHER), family, &SYN), expected);
            let entries = usize::from(sends && receives);
            assert_eq!(
                world.conntrack.len(),
                entries,
                "only what both allow is remembered"
            );
        }
    }
}

/// Replies pass by the verdict on what they answer, whatever isolates their own direction.
#[test]
fn replies_pass_two_isolated_ends() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            let to = on(Protocol::Udp, 53, peers(&[server]));
            let from = on(Protocol::Udp, 53, peers(&[client]));
            let tcp = |rule: &Rule| on(Protocol::Tcp, 80, rule.clone());
            let policies = [
                only(Egress, client, vec![tcp(&to), to]),
                only(Ingress, client, vec![]),
                only(Ingress, server, vec![tcp(&from), from]),
                only(Egress, server, vec![]),
            ];
            let (mut world, _) = under(policies);
            let mut say = |pair, said| say(&mut world, pair, family, &said);
            let (ahead, back) = ((client, server), (server, client));
            assert!(!passed(say(back, ANSWER)), "before it was asked");
            assert!(!passed(say(back, SYN_ACK)));
            for (ask, answer) in [(ASK, ANSWER), (SYN, SYN_ACK)] {
                assert!(passed(say(ahead, ask.clone())), "{ask:?}");
                assert!(passed(say(back, answer.clone())), "{answer:?}");
                assert!(passed(say(ahead, ask)));
            }
            assert!(!passed(say(back, Said::Udp(54, 4000))), "another port");
            assert!(!passed(say(back, Said::Tcp(80, 4001, TcpFlags(0x12)))));
        }
    }
}

/// A reply at an end is judged by the slot of that end: the node of the one knows nothing of
/// the other's.
#[test]
fn a_reply_needs_only_the_verdict_of_its_own_end() {
    for family in FAMILIES {
        let server = only(Ingress, POD, vec![peers(&[REMOTE])]);
        let (mut world, mut enforced) = under([server, only(Egress, POD, vec![])]);
        assert!(passed(say(&mut world, (REMOTE, POD), family, &SYN)));
        assert!(passed(say(&mut world, (POD, REMOTE), family, &SYN_ACK)));
        enforced.set(only(Ingress, POD, vec![]));
        enforced.publish(&mut world);
        let answer = say(&mut world, (POD, REMOTE), family, &SYN_ACK);
        assert_eq!(answer, NO_INGRESS, "the server may not be reached any more");
        let (count, last) = denied(&world, POD, Ingress);
        let last = last.unwrap();
        assert_eq!(
            (count, last.flow.dst_port),
            (1, 80),
            "as the client wrote it"
        );
    }
}

#[test]
fn an_echo_request_the_other_way_is_no_reply() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            let (mut world, _) =
                under([only(Ingress, client, vec![]), only(Egress, server, vec![])]);
            let mut say = |pair, said| say(&mut world, pair, family, &said);
            assert!(passed(say((client, server), Said::Ping(7))));
            assert!(passed(say((server, client), Said::Pong(7))));
            assert!(
                !passed(say((server, client), Said::Ping(7))),
                "with the same identifier"
            );
            assert!(!passed(say((server, client), Said::Pong(8))));
            assert!(
                passed(say((server, client), Said::Pong(7))),
                "and the flow lives on"
            );
        }
    }
}

/// Nobody can make an entry by answering what was not asked.
#[test]
fn tcp_without_a_syn_is_decided_each_time() {
    for family in FAMILIES {
        let (mut world, mut enforced) = under([only(Ingress, POD, vec![peers(&[REMOTE])])]);
        for flags in [
            TcpFlags::ACK,
            TcpFlags::RST,
            TcpFlags::FIN,
            TcpFlags(0x12),
            TcpFlags(0),
        ] {
            let said = Said::Tcp(4000, 80, flags);
            assert!(
                passed(say(&mut world, (REMOTE, POD), family, &said)),
                "{flags:?}"
            );
            assert_eq!(say(&mut world, (FAR, POD), family, &said), NO_INGRESS);
        }
        assert_eq!(world.conntrack.len(), 0, "nothing is remembered of it");
        enforced.set(only(Ingress, POD, vec![]));
        enforced.publish(&mut world);
        assert_eq!(say(&mut world, (REMOTE, POD), family, &ACK), NO_INGRESS);
    }
}

#[test]
fn a_pod_reaches_itself() {
    for family in FAMILIES {
        let (mut world, _) = under([only(Egress, POD, vec![]), only(Ingress, POD, vec![])]);
        for said in [ASK, SYN, Said::Ping(1), Said::Esp] {
            assert!(
                passed(say(&mut world, (POD, POD), family, &said)),
                "{said:?}"
            );
        }
    }
}

#[test]
fn the_own_node_reaches_an_isolated_pod() {
    for family in FAMILIES {
        let (mut world, _) = under([only(Egress, POD, vec![]), only(Ingress, POD, vec![])]);
        let mut say = |pair, said| say(&mut world, pair, family, &said);
        for (ask, answer) in [
            (SYN, SYN_ACK),
            (ASK, ANSWER),
            (Said::Ping(7), Said::Pong(7)),
        ] {
            assert_eq!(say((HOST, POD), ask), Fate::ToPod(POD.id()));
            assert_eq!(say((POD, HOST), answer), Fate::ToPod(HOST.id()));
        }
        assert_eq!(
            say((POD, HOST), Said::Udp(4001, 53)),
            NO_EGRESS,
            "it is not exempt from egress"
        );
        assert_eq!(
            say((REMOTE_NODE, POD), SYN),
            NO_INGRESS,
            "another node is an address"
        );
    }
    let (mut world, _) = under([only(Ingress, POD, vec![])]);
    let probe = HOST.says().ipv4(OUR_VTEP, POD.v4()).udp(1, 2, b"");
    assert_eq!(
        world.pod_sends(HOST, &probe).fate,
        Fate::ToPod(POD.id()),
        "by any address"
    );
}

/// An address of the node that a peer may also use proves nothing.
#[test]
fn a_nodes_address_in_a_peers_range_is_no_privilege() {
    let (mut world, _) = under([only(Ingress, POD, vec![])]);
    world.tables.node.addresses.push(REMOTE.v4().into());
    assert_eq!(say(&mut world, (REMOTE, POD), Family::V4, &SYN), NO_INGRESS);
}

#[test]
fn a_closed_cluster_lets_only_the_node_in() {
    for family in FAMILIES {
        let mut enforced = Enforced::new();
        enforced.engine.set_closed(true);
        let mut world = World::new();
        enforced.publish(&mut world);
        for said in [ASK, SYN, ACK, Said::Ping(7), Said::Esp] {
            let mut say = |pair| say(&mut world, pair, family, &said);
            assert_eq!(say((POD, REMOTE)), NO_EGRESS);
            assert_eq!(say((POD, OTHER)), NO_EGRESS);
            assert_eq!(say((REMOTE, POD)), NO_INGRESS);
            assert_eq!(say((HOST, POD)), Fate::ToPod(POD.id()), "kubelet's probes");
        }
        let (_, last) = denied(&world, POD, Egress);
        assert_eq!(last.unwrap().rule, RuleId::DEFAULT, "no policy is to blame");
        enforced.engine.set_closed(false);
        enforced.publish(&mut world);
        assert!(passed(say(&mut world, (POD, REMOTE), family, &ASK)));
    }
}

/// A set that the table does not know is closed: nothing is let through by a mistake in
/// publishing.
#[test]
fn an_unknown_set_is_closed() {
    for policy in [Table::allow_all(), Enforced::new().engine.table()] {
        let entries = [HOST, POD, OTHER].map(|station| {
            let mut entry = station.entry();
            if station.port == POD.port {
                entry.policy = PolicySetId(4711);
            }
            (station.id(), entry)
        });
        let mut world = World::new();
        world.tables = publish(entries, policy, Epoch(2));
        for family in FAMILIES {
            assert_eq!(say(&mut world, (POD, OTHER), family, &SYN), NO_EGRESS);
            assert_eq!(say(&mut world, (OTHER, POD), family, &SYN), NO_INGRESS);
            assert_eq!(
                say(&mut world, (HOST, POD), family, &SYN),
                Fate::ToPod(POD.id())
            );
        }
    }
}

#[test]
fn multicast_passes_no_policy() {
    let everything = Rule {
        peers: weft_policy::model::Peers::Any,
        ports: weft_policy::model::Ports::Any,
    };
    let (mut world, _) = under([only(Egress, POD, vec![everything])]);
    let group = POD
        .says()
        .ipv4(POD.v4(), [224, 0, 0, 251].into())
        .udp(1, 2, b"");
    assert_eq!(world.pod_sends(POD, &group).fate, Fate::Drop(R::Multicast));
}

/// A change of policy takes effect on live flows with the next packet, and on no other flow.
#[test]
fn a_new_denial_cuts_live_flows_and_no_other() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            let (mut world, mut enforced) = under([]);
            let mut live = vec![];
            for (ask, answer) in [
                (SYN, SYN_ACK),
                (ASK, ANSWER),
                (Said::Ping(7), Said::Pong(7)),
            ] {
                assert!(passed(say(&mut world, (client, server), family, &ask)));
                assert!(passed(say(&mut world, (server, client), family, &answer)));
                live.push((ask, answer));
            }
            let kept = (NARROW, FAR);
            assert!(passed(say(&mut world, kept, family, &SYN)));
            assert!(passed(say(&mut world, (FAR, NARROW), family, &SYN_ACK)));
            // Of either end, as far as it is of this node.
            let local = [(client, Egress), (server, Ingress)];
            for (end, direction) in local.into_iter().filter(|(end, _)| end.port != 0) {
                for flip in 0..3 {
                    enforced.set(only(direction, end, vec![]));
                    enforced.publish(&mut world);
                    for (ask, answer) in &live {
                        let fate = say(&mut world, (client, server), family, ask);
                        assert!(!passed(fate), "flip {flip}: {ask:?} {fate:?}");
                        let fate = say(&mut world, (client, server), family, ask);
                        assert!(!passed(fate), "and so on");
                        let _ = answer;
                    }
                    let ack = say(&mut world, kept, family, &ACK);
                    assert!(passed(ack), "a flow that stays allowed loses nothing");
                    enforced.unset(direction, end);
                    enforced.publish(&mut world);
                    for (ask, answer) in &live {
                        assert!(passed(say(&mut world, (client, server), family, ask)));
                        assert!(passed(say(&mut world, (server, client), family, answer)));
                    }
                    assert!(passed(say(&mut world, (FAR, NARROW), family, &SYN_ACK)));
                }
            }
        }
    }
}

/// The reply is what comes first after the change.
#[test]
fn a_new_denial_cuts_replies_too() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            for (end, direction) in [(client, Egress), (server, Ingress)] {
                if end.port == 0 {
                    continue;
                }
                // The reply's own direction is isolated, so that it passes only as a reply.
                let policies = [only(Ingress, client, vec![]), only(Egress, server, vec![])];
                let (mut world, mut enforced) = under(policies);
                assert!(passed(say(&mut world, (client, server), family, &SYN)));
                assert!(passed(say(&mut world, (server, client), family, &SYN_ACK)));
                enforced.set(only(direction, end, vec![]));
                enforced.publish(&mut world);
                let fate = say(&mut world, (server, client), family, &SYN_ACK);
                let expected = if direction == Egress {
                    NO_EGRESS
                } else {
                    NO_INGRESS
                };
                assert_eq!(fate, expected);
                assert_eq!(world.conntrack.len(), 0, "the flow is forgotten");
            }
        }
    }
}

/// A verdict is of the tables of its turn: what an earlier publication called set 1 is not
/// asked of a later one.
#[test]
fn sets_and_table_are_of_one_publication() {
    let mut enforced = Enforced::new();
    let mut world = World::new();
    for round in 0..20u8 {
        // The sets' numbers change places.
        let (open, shut) = if round % 2 == 0 {
            (POD, OTHER)
        } else {
            (OTHER, POD)
        };
        enforced.unset(Egress, open);
        enforced.set(only(Egress, shut, vec![]));
        enforced.set(only(Egress, NARROW, vec![peers(&[open])]));
        enforced.publish(&mut world);
        assert!(passed(say(&mut world, (open, REMOTE), Family::V4, &ASK)));
        assert_eq!(say(&mut world, (shut, REMOTE), Family::V4, &ASK), NO_EGRESS);
        assert!(passed(say(&mut world, (NARROW, open), Family::V6, &ASK)));
        assert_eq!(say(&mut world, (NARROW, shut), Family::V6, &ASK), NO_EGRESS);
    }
}

#[test]
fn a_denial_names_the_policy() {
    let (mut world, mut enforced) = under([only(Ingress, OTHER, vec![peers(&[FAR])])]);
    assert_eq!(say(&mut world, (POD, OTHER), Family::V4, &ASK), NO_INGRESS);
    let (count, last) = denied(&world, OTHER, Ingress);
    let last = last.unwrap();
    let rule = world.tables.policy().rule(last.rule).unwrap();
    assert_eq!(rule.to_string(), "x/other-ingress");
    assert_eq!(
        (count, last.at, last.epoch),
        (1, world.now, world.tables.epoch)
    );
    assert_eq!(last.set, enforced.engine.set_of(&name_of(OTHER)));
    assert_eq!(last.flow.to_string(), "udp 10.244.1.2:4000 > 10.244.1.3:53");
    assert_eq!(denied(&world, OTHER, Egress), (0, None));
    assert_eq!(
        denied(&world, POD, Egress),
        (0, None),
        "the sender's policies refused nothing"
    );
    let isolating = world.tables.policy().isolating(Ingress, last.set).to_vec();
    assert_eq!(isolating, [ObjectName::new("x", "other-ingress")]);

    // One example per moment; the next moment has another.
    assert_eq!(
        say(&mut world, (REMOTE, OTHER), Family::V4, &ASK),
        NO_INGRESS
    );
    let (count, same) = denied(&world, OTHER, Ingress);
    assert_eq!((count, same), (2, Some(last)));
    world.pass(Span::from_millis(1));
    assert_eq!(
        say(&mut world, (REMOTE, OTHER), Family::V4, &ASK),
        NO_INGRESS
    );
    let (count, next) = denied(&world, OTHER, Ingress);
    assert_eq!((count, next.unwrap().flow.src), (3, REMOTE.v4().into()));

    enforced.set(only(Egress, POD, vec![]));
    enforced.publish(&mut world);
    assert_eq!(say(&mut world, (POD, OTHER), Family::V4, &ASK), NO_EGRESS);
    let seen: Vec<_> = world
        .path
        .denials()
        .iter()
        .map(|(port, d, count, _)| (port, d, count))
        .collect();
    assert_eq!(seen, [(POD.id(), Egress, 1), (OTHER.id(), Ingress, 3)]);
    world.path.reset_port(OTHER.id());
    assert_eq!(denied(&world, OTHER, Ingress), (0, None));
    assert_eq!(denied(&world, POD, Egress).0, 1);
    world.path.reset_drops();
    assert_eq!(world.path.denials().iter().count(), 0);
}

#[test]
fn a_trace_says_which_policy() {
    let (world, _) = under([
        only(
            Ingress,
            OTHER,
            vec![peers(&[FAR]), on(Protocol::Tcp, 80, peers(&[POD]))],
        ),
        only(Egress, POD, vec![peers(&[OTHER])]),
    ]);
    let ask = |protocol, to| weft_switch::path::Query {
        from: Sender::Port(POD.id()),
        to,
        protocol,
        port: 80,
    };
    let traced = |protocol, to: std::net::IpAddr| {
        let trace = weft_switch::path::trace(&world.tables, &ask(protocol, to)).unwrap();
        let found = trace
            .steps
            .iter()
            .filter(|step| step.step.contains("may it"));
        let found: Vec<String> = found.map(|step| step.detail.clone()).collect();
        (trace.fate, found)
    };
    let (fate, found) = traced(IpProtocol::TCP, OTHER.v6().into());
    assert_eq!(fate, Fate::ToPod(OTHER.id()));
    assert_eq!(
        found,
        [
            "x/pod-egress#egress[0] allows it",
            "x/other-ingress#ingress[1] allows it"
        ]
    );
    let (fate, found) = traced(IpProtocol::UDP, OTHER.v4().into());
    assert_eq!(fate, NO_INGRESS);
    assert!(
        found[1].ends_with("isolated by x/other-ingress, no rule of which allows it"),
        "{found:?}"
    );
    let (fate, found) = traced(IpProtocol::UDP, REMOTE.v4().into());
    assert_eq!(fate, NO_EGRESS);
    assert!(
        found[0].ends_with("isolated by x/pod-egress, no rule of which allows it"),
        "{found:?}"
    );
}

fn stations() -> impl Strategy<Value = Station> {
    prop::sample::select(vec![POD, OTHER, NARROW, REMOTE, FAR])
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let peers = prop_oneof![
        prop::collection::vec(stations(), 1..3).prop_map(|of| peers(&of)),
        prop::sample::select(vec![
            "0.0.0.0/0",
            "::/0",
            "10.244.1.0/30",
            "198.51.100.0/24"
        ])
        .prop_map(block),
    ];
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let ports = prop::option::of((protocol, 79u16..82));
    let rule = (peers, ports).prop_map(|(rule, ports)| match ports {
        Some((protocol, port)) => on(protocol, port, rule),
        None => rule,
    });
    prop::collection::vec(rule, 0..3)
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let direction = prop::sample::select(vec![Egress, Ingress]);
    let policy = (direction, stations(), rules());
    prop::collection::vec(policy.prop_map(|(d, of, rules)| only(d, of, rules)), 0..5)
}

/// What the letter of the specification says of a packet that no other step refuses: the
/// first end of this node that does not allow it.
fn by_the_letter(enforced: &Enforced, query: &weft_switch::path::Query) -> Option<Fate> {
    let (source, from_node) = match query.from {
        Sender::Port(id) => {
            let station = [HOST, POD, OTHER, NARROW]
                .into_iter()
                .find(|s| s.id() == id)?;
            let source = match query.to {
                std::net::IpAddr::V4(_) => station.v4().into(),
                std::net::IpAddr::V6(_) => station.v6().into(),
            };
            (source, id == HOST.id())
        }
        Sender::Outside(source) => {
            let own: [std::net::IpAddr; 3] = [OUR_VTEP.into(), HOST.v4().into(), HOST.v6().into()];
            (source, own.contains(&source))
        }
        Sender::Peer { source, .. } => (source, false),
    };
    let question = Question {
        from: source,
        to: query.to,
        protocol: match query.protocol {
            IpProtocol::TCP => Some(Protocol::Tcp),
            IpProtocol::UDP => Some(Protocol::Udp),
            IpProtocol::SCTP => Some(Protocol::Sctp),
            _ => None,
        },
        port: query.port,
    };
    let is_pod = |address| enforced.cluster().pod_at(address).is_some();
    let allows = |direction| oracle::allows(enforced.cluster(), direction, &question);
    let sender = matches!(query.from, Sender::Port(_)) && is_pod(source);
    if sender && !allows(Egress) {
        return Some(NO_EGRESS);
    }
    let local = [POD, OTHER, NARROW].into_iter();
    let receiver = local.into_iter().any(|s| {
        query.to == std::net::IpAddr::V4(s.v4()) || query.to == std::net::IpAddr::V6(s.v6())
    });
    (receiver && !from_node && !allows(Ingress)).then_some(NO_INGRESS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Under any policies the road does to a first packet what the specification says, and a
    /// trace says what the road does.
    #[test]
    fn the_road_agrees_with_the_specification(
        policies in policies(),
        queries in prop::collection::vec(traces::queries(), 1..10),
    ) {
        let (mut world, mut enforced) = under(policies);
        let (mut open, _) = under([]);
        for query in &queries {
            // Other ports each time: nothing is remembered of the flow.
            enforced.publish(&mut world);
            traces::same_as_the_road(&mut world, query);
            let (Some((door, bytes)), Ok(trace)) = (
                traces::sent(&world, query),
                weft_switch::path::trace(&world.tables, query),
            ) else {
                continue;
            };
            let without = open.send_unjudged(door, &bytes);
            let refused = by_the_letter(&enforced, query);
            let expected = match (passed(without), refused) {
                (true, Some(refused)) => refused,
                _ => without,
            };
            // A destination that nobody has may be refused by the sender's policy before.
            let early = trace.fate == NO_EGRESS && refused == Some(NO_EGRESS);
            prop_assert!(early || trace.fate == expected, "{:?}: {:?}, not {:?}", query, trace.fate, expected);
        }
    }
}
