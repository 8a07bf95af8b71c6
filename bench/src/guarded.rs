//! The busy node under policies: who may talk to whom, and what that costs on the road.
//!
//! All pods are of one namespace and of ten apps. Every app is isolated both ways and lets
//! itself, its neighbours and one block in, each on a few ports of its own; ten policies for
//! each app say so.
#![expect(clippy::indexing_slicing, reason = "the frames are constant")]

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use weft_policy::model::{
    Isolation, Labels, ObjectName, Operator, Peer, Peers, Pod, Policy, PortMatch, PortRange, Ports,
    Protocol, Requirement, Rule, Scope, Selector,
};
use weft_policy::{Change, Cidr, Direction, Engine, Epoch, Span};
use weft_switch::path::{Fate, Tables};
use weft_wire::build;
use weft_wire::{FlowKey, IpProtocol};

use crate::Case;
use crate::frames::{Family, NEIGHBOR, POD, PORTS, REMOTE, Station, Talk};
use crate::node::{Door, PEERS, PODS, Worker, tables_under, tunnelled, vtep_mac};

const APPS: u8 = 10;
const POLICIES: u16 = 100;
/// Pods of each peer.
const PODS_OF_PEER: u8 = 10;

fn name(of: Station) -> ObjectName {
    ObjectName::new("bench", format!("pod-{}-{}", of.node, of.last))
}

fn app(number: u8) -> Selector {
    let value = (number % APPS).to_string();
    Selector {
        requirements: vec![Requirement {
            key: "app".to_owned(),
            operator: Operator::In([value].into()),
        }],
    }
}

fn pod(of: Station) -> Pod {
    Pod {
        name: name(of),
        labels: Labels::from([("app".to_owned(), (of.last % APPS).to_string())]),
        addresses: vec![of.v4().into(), of.v6().into()],
        ports: vec![],
    }
}

/// Policy `number`, of the app of its last digit.
fn policy(number: u16) -> Policy {
    let own = u8::try_from(number % u16::from(APPS)).unwrap_or_default();
    let pods = |app_number| Peer::Pods {
        namespaces: Scope::Own,
        pods: app(app_number),
    };
    let port = |protocol, first, last| PortMatch {
        protocol,
        port: PortRange::Numbers(first, last),
    };
    let base = 1000 + number * 10;
    let to_apps = Rule {
        peers: Peers::Of(vec![pods(own), pods(own + 1), pods(own + 9)]),
        ports: Ports::Of(vec![
            port(Protocol::Udp, PORTS.1, PORTS.1),
            port(Protocol::Tcp, base, base + 5),
        ]),
    };
    let [_, third] = number.to_be_bytes();
    let outside = Cidr::new(IpAddr::from([198, 51, third, 0]), 24).into_iter();
    let to_outside = Rule {
        peers: Peers::Of(
            outside
                .map(|cidr| Peer::Block {
                    cidr,
                    except: vec![],
                })
                .collect(),
        ),
        ports: Ports::Of(vec![port(Protocol::Tcp, 443, 443)]),
    };
    let rules = Isolation::Only(vec![to_apps, to_outside]);
    Policy {
        name: ObjectName::new("bench", format!("policy-{number}")),
        pods: app(own),
        ingress: rules.clone(),
        egress: rules,
    }
}

/// The tables of our node under the policies, compiled once.
#[must_use]
pub fn tables() -> Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(compile).clone()
}

fn compile() -> Tables {
    let mut engine = Engine::new(7);
    let ours = (2..2 + PODS).map(|last| Station { node: 1, last });
    for of in ours.clone() {
        engine.enforce(&name(of));
    }
    let theirs = (2..2 + PEERS)
        .flat_map(|node| (2..2 + PODS_OF_PEER).map(move |last| Station { node, last }));
    for of in ours.chain(theirs) {
        engine.apply(Change::Pod(Arc::new(pod(of))));
    }
    for number in 0..POLICIES {
        engine.apply(Change::Policy(Arc::new(policy(number))));
    }
    let table = engine.table();
    tables_under(table, |of| engine.set_of(&name(of)))
}

/// One worker of the node.
#[must_use]
pub fn worker() -> Worker {
    Worker::with(tables())
}

/// Flows that policy allows, refuses, decides anew, and what comes along with them.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        let name = |what| format!("{what}/{}", family.name());
        let out = Talk::out_of_pod(POD, REMOTE, family).udp(64);
        let port = Door::Port(POD.port());
        let peer = Door::Underlay(REMOTE.node);
        let near = Talk::out_of_pod(POD, NEIGHBOR, family).udp(64);
        let into = tunnelled(REMOTE, POD, family, 64);
        let to_peer = |fate| matches!(fate, Fate::ToPeer(_));
        let to_pod = |fate| matches!(fate, Fate::ToPod(_));
        let dropped = |fate| matches!(fate, Fate::Drop(_));
        cases.push(Case::new(name("decide"), move || decide(family)));
        cases.push(hit(name("pod-to-peer"), port, out.clone(), to_peer));
        cases.push(hit(name("peer-to-pod"), peer, into.clone(), to_pod));
        cases.push(hit(name("pod-to-pod"), port, near, to_pod));
        let other = Station { node: 2, last: 5 };
        let refused = Talk::out_of_pod(POD, other, family).udp(64);
        cases.push(hit(name("denied-out"), port, refused, dropped));
        let refused = tunnelled(other, POD, family, 64);
        cases.push(hit(name("denied-in"), peer, refused, dropped));
        cases.push(new_flows(name("new-flow"), family));
        cases.push(renewed(name("renewed"), out));
        cases.push(pieces(name("pieces"), family));
        cases.push(errors(name("icmp-error"), family));
    }
    cases
}

/// Policy's answer alone.
fn decide(family: Family) -> impl FnMut() {
    let tables = tables();
    let set = tables.port(POD.port()).map(|port| port.policy);
    let flow = FlowKey {
        src: address(POD, family),
        dst: address(REMOTE, family),
        protocol: IpProtocol::UDP,
        src_port: PORTS.0,
        dst_port: PORTS.1,
    };
    move || {
        if let Some(set) = set {
            black_box(
                tables
                    .policy()
                    .decide(Direction::Egress, set, black_box(&flow)),
            );
        }
    }
}

fn address(of: Station, family: Family) -> IpAddr {
    match family {
        Family::V4 => of.v4().into(),
        Family::V6 => of.v6().into(),
    }
}

/// Every frame is the same one.
fn hit(name: String, door: Door, bytes: Vec<u8>, expected: fn(Fate) -> bool) -> Case {
    Case::new(name, move || {
        let bytes = bytes.clone();
        let mut worker = worker();
        worker.load(&bytes);
        let fate = worker.meet(door, &bytes);
        assert!(fate.is_some_and(expected), "the frame meets {fate:?}");
        move || {
            worker.pass(Span::from_millis(10));
            worker.meet(door, &bytes);
        }
    })
}

/// Every frame begins a flow that policy allows.
fn new_flows(name: String, family: Family) -> Case {
    Case::new(name, move || {
        let mut worker = worker();
        let mut bytes = Talk::out_of_pod(POD, REMOTE, family).udp(64);
        worker.load(&bytes);
        let at = if family == Family::V4 { 34 } else { 54 };
        let mut source: u16 = 0;
        move || {
            source = source.wrapping_add(1);
            bytes[at..at + 2].copy_from_slice(&source.to_be_bytes());
            worker.pass(Span::from_millis(10));
            worker.meet(Door::Port(POD.port()), &bytes);
            if source.is_multiple_of(10) {
                worker.tick();
            }
        }
    })
}

/// The tables are published anew before every frame of a flow.
fn renewed(name: String, bytes: Vec<u8>) -> Case {
    Case::new(name, move || {
        let bytes = bytes.clone();
        let mut worker = worker();
        worker.load(&bytes);
        let mut epoch = Epoch(1);
        move || {
            epoch = epoch.next();
            worker.publish(epoch);
            worker.meet(Door::Port(POD.port()), &bytes);
        }
    })
}

/// A datagram in two pieces, one piece each time.
fn pieces(name: String, family: Family) -> Case {
    Case::new(name, move || {
        let ethernet = || {
            let talk = Talk::out_of_pod(POD, REMOTE, family);
            build::ethernet(talk.macs.0, talk.macs.1)
        };
        let rest = [7; 64];
        let frames = match family {
            Family::V4 => {
                let ip = || ethernet().ipv4(POD.v4(), REMOTE.v4());
                [
                    ip().fragment(9, 0, true).udp(PORTS.0, PORTS.1, &[7; 56]),
                    ip().fragment(9, 64, false).payload(IpProtocol::UDP, &rest),
                ]
            }
            Family::V6 => {
                let ip = || ethernet().ipv6(POD.v6(), REMOTE.v6());
                [
                    ip().fragment(9, 0, true).udp(PORTS.0, PORTS.1, &[7; 56]),
                    ip().fragment(9, 64, false).payload(IpProtocol::UDP, &rest),
                ]
            }
        };
        let mut worker = worker();
        for frame in &frames {
            worker.load(frame);
            let fate = worker.meet(Door::Port(POD.port()), frame);
            assert!(
                matches!(fate, Some(Fate::ToPeer(_))),
                "the piece meets {fate:?}"
            );
        }
        let mut next = 0;
        move || {
            worker.meet(Door::Port(POD.port()), &frames[next % 2]);
            next += 1;
        }
    })
}

/// Port unreachable from the peer, about a flow of our pod.
fn errors(name: String, family: Family) -> Case {
    Case::new(name, move || {
        let asked = Talk::out_of_pod(POD, REMOTE, family).udp(64);
        let ethernet = build::ethernet(vtep_mac(REMOTE.node), vtep_mac(POD.node));
        let about = &asked[14..];
        let error = match family {
            Family::V4 => ethernet
                .ipv4(REMOTE.v4(), POD.v4())
                .icmp(3, 3, [0; 4], about),
            Family::V6 => ethernet
                .ipv6(REMOTE.v6(), POD.v6())
                .icmpv6(1, 4, [0; 4], about),
        };
        let error = crate::node::in_tunnel(&error);
        let mut worker = worker();
        worker.load(&asked);
        worker.meet(Door::Port(POD.port()), &asked);
        worker.load(&error);
        let fate = worker.meet(Door::Underlay(REMOTE.node), &error);
        assert!(
            matches!(fate, Some(Fate::ToPod(_))),
            "the error meets {fate:?}"
        );
        move || {
            worker.meet(Door::Underlay(REMOTE.node), &error);
        }
    })
}
