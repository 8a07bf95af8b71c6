//! Which ICMP errors come along with a flow.

use weft_policy::Direction::{Egress, Ingress};
use weft_switch::path::{DropReason as R, Fate};
use weft_wire::TcpFlags;

use crate::cluster::*;
use crate::world::*;

const ASK: Said = Said::Udp(4000, 53);
const ANSWER: Said = Said::Udp(53, 4000);
const NO_EGRESS: Fate = Fate::Drop(R::DeniedEgress);
const NO_INGRESS: Fate = Fate::Drop(R::DeniedIngress);
const PORT_UNREACHABLE: [(u8, u8); 2] = [(3, 3), (1, 4)];
const TIME_EXCEEDED: [(u8, u8); 2] = [(11, 0), (3, 0)];
const TOO_BIG: [(u8, u8); 2] = [(3, 4), (2, 0)];

/// An error from one station to another about a packet.
fn error(
    from: Station,
    to: Station,
    family: Family,
    kinds: [(u8, u8); 2],
    about: &[u8],
) -> Vec<u8> {
    let [v4, v6] = kinds;
    let local = from.v4().octets()[2] == HOST.v4().octets()[2];
    let ethernet = if local { from.says() } else { inner() };
    match family {
        Family::V4 => {
            ethernet
                .ipv4(from.v4(), to.v4())
                .icmp(v4.0, v4.1, [0, 0, 5, 0], &about[14..])
        }
        Family::V6 => {
            ethernet
                .ipv6(from.v6(), to.v6())
                .icmpv6(v6.0, v6.1, [0, 0, 5, 0], &about[14..])
        }
    }
}

/// Everything that could carry the error for its own sake is shut.
fn shut(client: Station, server: Station) -> (World, Enforced) {
    under([
        only(
            Egress,
            client,
            vec![on(weft_policy::model::Protocol::Udp, 53, peers(&[server]))],
        ),
        only(Ingress, client, vec![]),
        only(
            Ingress,
            server,
            vec![on(weft_policy::model::Protocol::Udp, 53, peers(&[client]))],
        ),
        only(Egress, server, vec![]),
    ])
}

const PAIRS: [(Station, Station); 3] = [(POD, OTHER), (REMOTE, POD), (POD, REMOTE)];

#[test]
fn errors_about_a_live_flow_pass_both_ways() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            let (mut world, _) = shut(client, server);
            let asked = frame(client, server, family, &ASK);
            let answered = frame(server, client, family, &ANSWER);
            for kinds in [PORT_UNREACHABLE, TIME_EXCEEDED, TOO_BIG] {
                let to_client = error(server, client, family, kinds, &asked);
                let to_server = error(client, server, family, kinds, &answered);
                let before = enter(&mut world, server, &to_client).fate;
                assert!(
                    matches!(before, NO_EGRESS | NO_INGRESS),
                    "{before:?} before the flow"
                );
                enter(&mut world, client, &asked);
                enter(&mut world, server, &answered);
                assert!(
                    passed(enter(&mut world, server, &to_client).fate),
                    "{kinds:?}"
                );
                assert!(
                    passed(enter(&mut world, client, &to_server).fate),
                    "{kinds:?}"
                );
                assert_eq!(world.conntrack.len(), 1);
                world.pass(weft_policy::Span::from_secs(181));
            }
        }
    }
}

#[test]
fn errors_keep_no_flow_alive() {
    let (mut world, _) = shut(POD, REMOTE);
    let asked = frame(POD, REMOTE, Family::V4, &ASK);
    enter(&mut world, POD, &asked);
    let told = error(REMOTE, POD, Family::V4, PORT_UNREACHABLE, &asked);
    for _ in 0..29 {
        world.pass(weft_policy::Span::from_secs(1));
        assert!(passed(enter(&mut world, REMOTE, &told).fate));
    }
    world.pass(weft_policy::Span::from_secs(2));
    assert_eq!(enter(&mut world, REMOTE, &told).fate, NO_INGRESS);
}

/// A router on the way may speak of the flow: a node, or whatever is outside.
#[test]
fn routers_may_speak_of_a_flow() {
    for family in FAMILIES {
        let (mut world, _) = shut(POD, REMOTE);
        let asked = frame(POD, REMOTE, family, &ASK);
        enter(&mut world, POD, &asked);
        let told = error(REMOTE_NODE, POD, family, TOO_BIG, &asked);
        assert_eq!(
            enter(&mut world, REMOTE_NODE, &told).fate,
            Fate::ToPod(POD.id())
        );
        let told = error(HOST, POD, family, TOO_BIG, &asked);
        assert_eq!(enter(&mut world, HOST, &told).fate, Fate::ToPod(POD.id()));
    }
    let (mut world, _) = shut(POD, REMOTE);
    let asked = frame(POD, REMOTE, Family::V4, &ASK);
    enter(&mut world, POD, &asked);
    let router = HOST.says().ipv4([198, 51, 100, 1].into(), POD.v4());
    let told = router.icmp(11, 0, [0; 4], &asked[14..]);
    assert_eq!(world.pod_sends(HOST, &told).fate, Fate::ToPod(POD.id()));
}

/// A pod is no router: one that knows of a flow gets nothing through by speaking of it.
#[test]
fn no_pod_speaks_of_anothers_flow() {
    for family in FAMILIES {
        for third in [OTHER, FAR] {
            let (mut world, _) = shut(POD, REMOTE);
            let asked = frame(POD, REMOTE, family, &ASK);
            enter(&mut world, POD, &asked);
            let told = error(third, POD, family, PORT_UNREACHABLE, &asked);
            assert_eq!(enter(&mut world, third, &told).fate, NO_INGRESS);
            let silent = only(Egress, OTHER, vec![]);
            let (mut world, _) = under([silent]);
            enter(&mut world, POD, &asked);
            let told = error(OTHER, POD, family, PORT_UNREACHABLE, &asked);
            assert_eq!(
                enter(&mut world, OTHER, &told).fate,
                NO_EGRESS,
                "its own policies count"
            );
        }
    }
}

/// What the flow's tuple does not cover is decided for its own sake: by rules without ports.
#[test]
fn other_errors_are_decided_on_their_own() {
    for family in FAMILIES {
        let (mut world, mut enforced) = shut(POD, REMOTE);
        enter(&mut world, POD, &frame(POD, REMOTE, family, &ASK));
        let wrong = [
            (
                "another port",
                frame(POD, REMOTE, family, &Said::Udp(4000, 54)),
            ),
            (
                "another protocol",
                frame(POD, REMOTE, family, &Said::Tcp(4000, 53, TcpFlags::SYN)),
            ),
            (
                "another kind",
                frame(POD, REMOTE, family, &Said::Ping(4000)),
            ),
        ];
        for (name, about) in &wrong {
            let told = error(REMOTE, POD, family, PORT_UNREACHABLE, about);
            assert_eq!(enter(&mut world, REMOTE, &told).fate, NO_INGRESS, "{name}");
        }
        enforced.set(only(Ingress, POD, vec![peers(&[REMOTE])]));
        enforced.publish(&mut world);
        for (name, about) in &wrong {
            let told = error(REMOTE, POD, family, PORT_UNREACHABLE, about);
            assert!(
                passed(enter(&mut world, REMOTE, &told).fate),
                "{name}, allowed"
            );
        }
    }
}

/// Errors end with the flow's permission, before its next packet comes.
#[test]
fn a_denied_flow_has_no_errors() {
    for family in FAMILIES {
        for (client, server) in PAIRS {
            for (end, direction) in [(client, Egress), (server, Ingress)] {
                if end.port == 0 {
                    continue;
                }
                let (mut world, mut enforced) = shut(client, server);
                let asked = frame(client, server, family, &ASK);
                enter(&mut world, client, &asked);
                let told = error(server, client, family, PORT_UNREACHABLE, &asked);
                assert!(passed(enter(&mut world, server, &told).fate));
                enforced.set(only(direction, end, vec![]));
                enforced.publish(&mut world);
                let fate = enter(&mut world, server, &told).fate;
                assert!(matches!(fate, NO_EGRESS | NO_INGRESS), "{fate:?}");
            }
        }
    }
}
