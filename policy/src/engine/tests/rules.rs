//! Each rule of NetworkPolicy, one by one, as the table keeps it.

use std::sync::Arc;

use weft_wire::IpProtocol;

use super::words::*;
use crate::model::Isolation::{None as Free, Only};
use crate::model::{ObjectName, Peers, Pod, PortRange, Ports, Protocol};
use crate::{Change, Direction, PolicySetId, RuleId, Verdict};

#[test]
fn a_pod_is_isolated_only_in_the_directions_of_policies_that_select_it() {
    let mut node = Node::new([policy("other", "app=db", Only(vec![]), Only(vec![]))]);
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
    assert_eq!(node.0.set_of(&web()), PolicySetId::UNSELECTED);
    let mut node = Node::new([policy("in", "app=web", Only(vec![]), Free)]);
    assert!(node.guests().is_empty());
    assert!(node.leaves(DB, 80));
    let mut node = Node::new([policy("out", "", Free, Only(vec![]))]);
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
    assert!(!node.leaves(DB, 80));
}

#[test]
fn what_any_policy_allows_is_allowed() {
    let mut node = Node::new([
        policy("a", "", Only(vec![]), Free),
        policy("b", "", from([own("app=db")]), Free),
        policy("c", "app=web", from([own("tier=2")]), Free),
    ]);
    assert_eq!(node.guests(), [DB, OTHER]);
}

#[test]
fn without_peers_everybody_and_without_ports_every_protocol() {
    let mut node = Node::new([policy(
        "a",
        "",
        Only(vec![rule(Peers::Any, Ports::Any)]),
        Free,
    )]);
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
    for protocol in [
        IpProtocol::UDP,
        IpProtocol::SCTP,
        IpProtocol::ICMP,
        IpProtocol(99),
    ] {
        assert!(
            node.verdict(Direction::Ingress, OUT, (protocol, 0))
                .0
                .is_allowed()
        );
    }
    let mut node = Node::new([policy(
        "a",
        "",
        ports([port(Protocol::Tcp, PortRange::Any)]),
        Free,
    )]);
    for (protocol, allowed) in [
        (IpProtocol::TCP, true),
        (IpProtocol::UDP, false),
        (IpProtocol::SCTP, false),
        (IpProtocol::ICMP, false),
        (IpProtocol(99), false),
    ] {
        let (verdict, _) = node.verdict(Direction::Ingress, OUT, (protocol, 80));
        assert_eq!(verdict.is_allowed(), allowed, "{protocol}");
    }
}

#[test]
fn peers_by_label_and_namespace() {
    for (peers, guests) in [
        (vec![own("")], vec![DB, OTHER]),
        (vec![own("app")], vec![DB]),
        (vec![own("!app")], vec![OTHER]),
        (vec![own("tier!=1")], vec![OTHER]),
        (vec![own("tier!=3 app=db")], vec![DB]),
        (vec![elsewhere("", "")], vec![DB, OTHER, FAR]),
        (vec![elsewhere("team=y", "")], vec![FAR]),
        (vec![elsewhere("!team", "")], vec![DB, OTHER]),
        (
            vec![elsewhere("kubernetes.io/metadata.name=y", "app=web")],
            vec![FAR],
        ),
        (vec![elsewhere("team=y", "app=db")], vec![]),
        (vec![elsewhere("team=y", ""), own("app=db")], vec![DB, FAR]),
        (vec![], vec![]),
    ] {
        let mut node = Node::new([policy("a", "", from(peers.clone()), Free)]);
        assert_eq!(node.guests(), guests, "{peers:?}");
    }
}

#[test]
fn a_block_matches_pods_too_and_its_exceptions_are_holes_of_it_alone() {
    for (peers, guests) in [
        (vec![block("0.0.0.0/0", &[])], vec![DB, OTHER, FAR, OUT]),
        (vec![block("::/0", &[])], vec![]),
        (vec![block("10.0.0.2/32", &[])], vec![DB]),
        (vec![block("0.0.0.0/0", &["10.0.0.0/16"])], vec![OUT]),
        (
            vec![block("10.0.0.0/8", &["10.0.0.2/32", "10.0.0.0/31"])],
            vec![OTHER, FAR],
        ),
        (
            vec![
                block("0.0.0.0/0", &["10.0.0.0/24"]),
                block("10.0.0.3/32", &[]),
            ],
            vec![OTHER, FAR, OUT],
        ),
        (
            vec![block("0.0.0.0/0", &["10.0.0.0/24"]), own("app=db")],
            vec![DB, FAR, OUT],
        ),
    ] {
        let mut node = Node::new([policy("a", "", from(peers.clone()), Free)]);
        assert_eq!(node.guests(), guests, "{peers:?}");
    }
}

#[test]
fn an_ipv4_address_written_as_ipv6_is_none() {
    let mapped = "::ffff:10.0.0.2";
    let mut node = Node::new([policy(
        "a",
        "",
        from([block("10.0.0.0/8", &[]), own("app=db")]),
        Free,
    )]);
    assert!(!node.enters(mapped, 80));
    assert!(node.enters("fd00::2", 80));
    let mut node = Node::new([policy("a", "", from([block("::/0", &[])]), Free)]);
    assert!(node.enters(mapped, 80));
}

#[test]
fn port_ranges_end_where_they_end() {
    let mut node = Node::new([policy(
        "a",
        "",
        ports([
            port(Protocol::Tcp, PortRange::Numbers(80, 82)),
            port(Protocol::Tcp, PortRange::Numbers(65_535, 65_535)),
        ]),
        Free,
    )]);
    for (port, allowed) in [
        (79, false),
        (80, true),
        (82, true),
        (83, false),
        (65_534, false),
        (65_535, true),
    ] {
        assert_eq!(node.enters(OUT, port), allowed, "{port}");
    }
}

#[test]
fn a_name_is_the_destinations_port_and_only_of_its_protocol() {
    let web_port = || ports([port(Protocol::Tcp, PortRange::Named("web".into()))]);
    let mut node = Node::new([policy("a", "", web_port(), web_port())]);
    assert!(node.enters(OUT, 8080) && !node.enters(OUT, 80));
    assert!(node.leaves(DB, 8080) && !node.leaves(DB, 80));
    // Outside nobody names a port.
    assert!(!node.leaves(OUT, 8080));
    // The other end's own number counts, all of them, and for that protocol.
    let mut db = pod("x/db", "app=db", &[DB]);
    db.ports = vec![
        named("web", Protocol::Tcp, 81),
        named("web", Protocol::Tcp, 82),
        named("web", Protocol::Udp, 83),
    ];
    node.say(Change::Pod(Arc::new(db)));
    for (port, allowed) in [(81, true), (82, true), (83, false), (8080, false)] {
        assert_eq!(node.leaves(DB, port), allowed, "{port}");
    }
    let (udp, _) = node.verdict(Direction::Egress, DB, (IpProtocol::UDP, 83));
    assert!(!udp.is_allowed());
    // The pod's own numbers change what may enter.
    let web = Pod {
        ports: vec![],
        ..pod("x/web", "app=web", &[WEB])
    };
    node.say(Change::Pod(Arc::new(web)));
    assert!(!node.enters(OUT, 8080));
}

#[test]
fn a_name_counts_under_a_block_where_the_destination_is_a_pod() {
    let rules = Only(vec![rule(
        Peers::Of(vec![block("0.0.0.0/0", &["10.0.0.3/32"])]),
        Ports::Of(vec![port(Protocol::Tcp, PortRange::Named("web".into()))]),
    )]);
    let mut node = Node::new([policy("a", "", Free, rules)]);
    assert!(node.leaves(DB, 8080) && node.leaves(FAR, 8080));
    assert!(!node.leaves(OTHER, 8080) && !node.leaves(OUT, 8080));
}

#[test]
fn a_pod_reaches_itself() {
    let mut node = Node::new([policy("a", "", Only(vec![]), Only(vec![]))]);
    for direction in [Direction::Egress, Direction::Ingress] {
        for own in [WEB, "fd00::1"] {
            let (verdict, _) = node.verdict(direction, own, (IpProtocol::TCP, 80));
            assert_eq!(verdict, Verdict::Allow(RuleId::DEFAULT));
        }
    }
}

#[test]
fn a_verdict_names_the_first_rule_that_allows_or_the_first_policy_that_isolates() {
    let mut node = Node::new([
        policy("c", "", from([elsewhere("", "")]), Free),
        policy("a", "", Only(vec![]), Free),
        policy(
            "b",
            "",
            Only(vec![
                rule(
                    Peers::Of(vec![own("app=db")]),
                    Ports::Of(vec![port(Protocol::Tcp, PortRange::Numbers(1, 9))]),
                ),
                rule(
                    Peers::Of(vec![own("")]),
                    Ports::Of(vec![port(Protocol::Tcp, PortRange::Numbers(5, 20))]),
                ),
            ]),
            Free,
        ),
    ]);
    for (peer, port, name) in [
        (DB, 5, "x/b#ingress[0]"),
        (DB, 10, "x/b#ingress[1]"),
        (OTHER, 5, "x/b#ingress[1]"),
        (DB, 21, "x/c#ingress[0]"),
        (OUT, 5, "x/a"),
    ] {
        assert_eq!(
            node.verdict(Direction::Ingress, peer, (IpProtocol::TCP, port))
                .1,
            name,
            "{peer} {port}"
        );
    }
    let (table, set) = (node.0.table(), node.0.set_of(&web()));
    let names = ["a", "b", "c"].map(|name| ObjectName::new("x", name));
    assert_eq!(table.isolating(Direction::Ingress, set), names);
    assert!(table.isolating(Direction::Egress, set).is_empty());
}

#[test]
fn a_pod_nobody_knows_is_closed_where_its_namespace_isolates_anybody() {
    let mut node = Node::new([]);
    node.say(Change::PodGone(web()));
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
    node.say(Change::Policy(Arc::new(policy(
        "a",
        "app=db",
        Only(vec![rule(Peers::Any, Ports::Any)]),
        Free,
    ))));
    assert!(node.guests().is_empty());
    assert!(node.leaves(DB, 80));
    let (verdict, _) = node.verdict(Direction::Ingress, DB, (IpProtocol::TCP, 80));
    assert_eq!(verdict, Verdict::Deny(RuleId::DEFAULT));
    // Once it is known it is not selected.
    node.say(Change::Pod(Arc::new(pod("x/web", "app=web", &[WEB]))));
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
}

#[test]
fn nothing_passes_while_closed_or_before_the_first_table() {
    let mut node = Node::new([]);
    node.0.set_closed(true);
    assert!(node.guests().is_empty() && !node.leaves(OUT, 80));
    assert_eq!(node.0.set_of(&web()), PolicySetId::CLOSED);
    node.0.set_closed(false);
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
    let late = ObjectName::new("x", "db");
    node.0.enforce(&late);
    assert_eq!(node.0.set_of(&late), PolicySetId::CLOSED);
    node.0.table();
    assert_eq!(node.0.set_of(&late), PolicySetId::UNSELECTED);
}

#[test]
fn a_number_that_is_no_set_is_closed() {
    let mut node = Node::new([]);
    let table = node.0.table();
    let key = weft_wire::FlowKey {
        src: WEB.parse().unwrap(),
        dst: DB.parse().unwrap(),
        protocol: IpProtocol::TCP,
        src_port: 1,
        dst_port: 2,
    };
    for set in [2, 77, u32::MAX] {
        let verdict = table.decide(Direction::Egress, PolicySetId(set), &key);
        assert_eq!(verdict, Verdict::Deny(RuleId::DEFAULT));
    }
}

#[test]
fn changes_of_labels_addresses_and_policies_take_effect() {
    let mut node = Node::new([policy(
        "a",
        "app=web",
        from([elsewhere("team=y", "app=web")]),
        Free,
    )]);
    assert_eq!(node.guests(), [FAR]);
    node.say(Change::Namespace("y".into(), labels("team=z")));
    assert!(node.guests().is_empty());
    node.say(Change::Namespace("x".into(), labels("team=y")));
    node.say(Change::Pod(Arc::new(pod("x/other", "app=web", &[OTHER]))));
    assert_eq!(node.guests(), [OTHER]);
    // Another pod takes the address over: a finished pod has none.
    node.say(Change::Pod(Arc::new(pod("x/other", "app=web", &[]))));
    assert!(node.guests().is_empty());
    node.say(Change::Pod(Arc::new(pod("x/db", "app=web", &[DB, OTHER]))));
    assert_eq!(node.guests(), [DB, OTHER]);
    node.say(Change::NamespaceGone("x".into()));
    assert!(node.guests().is_empty());
    node.say(Change::PolicyGone(ObjectName::new("x", "a")));
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
    // The pod itself is labelled away and back.
    node.say(Change::Policy(Arc::new(policy(
        "a",
        "app=web",
        Only(vec![]),
        Free,
    ))));
    assert!(node.guests().is_empty());
    node.say(Change::Pod(Arc::new(pod("x/web", "app=none", &[WEB]))));
    assert_eq!(node.guests(), [DB, OTHER, FAR, OUT]);
}

#[test]
fn of_two_pods_with_one_address_the_first_by_name_has_it() {
    let mut node = Node::new([policy("a", "", from([own("app=db")]), Free)]);
    node.say(Change::Pod(Arc::new(pod("x/z", "app=db", &[OTHER]))));
    assert_eq!(node.guests(), [DB]);
    node.say(Change::Pod(Arc::new(pod("x/c", "app=db", &[OTHER]))));
    assert_eq!(node.guests(), [DB, OTHER]);
}

#[test]
fn rules_keep_their_numbers_while_their_policy_says_the_same() {
    let kept = policy("a", "", from([own("app=db")]), Free);
    let mut node = Node::new([kept.clone()]);
    let before = node
        .verdict(Direction::Ingress, DB, (IpProtocol::TCP, 80))
        .0;
    node.say(Change::Policy(Arc::new(policy(
        "b",
        "",
        Only(vec![]),
        Only(vec![]),
    ))));
    node.say(Change::Policy(Arc::new(crate::model::Policy {
        egress: Only(vec![]),
        ..kept.clone()
    })));
    assert_eq!(
        node.verdict(Direction::Ingress, DB, (IpProtocol::TCP, 80))
            .0,
        before
    );
    // A rule that comes back later is another one.
    node.say(Change::PolicyGone(kept.name.clone()));
    node.0.table();
    node.say(Change::Policy(Arc::new(kept)));
    assert_ne!(
        node.verdict(Direction::Ingress, DB, (IpProtocol::TCP, 80))
            .0,
        before
    );
}

#[test]
fn pods_selected_alike_share_one_set() {
    let mut node = Node::new([policy("a", "", from([own("app=db")]), Free)]);
    for name in ["db", "other"] {
        node.0.enforce(&ObjectName::new("x", name));
    }
    let table = node.0.table();
    let sets = ["web", "db", "other"].map(|name| node.0.set_of(&ObjectName::new("x", name)));
    assert_eq!(sets, [sets[0]; 3]);
    assert_eq!(table.size().sets, 1);
}
