//! What a trace says is what the road does.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use proptest::prelude::*;
use weft_switch::path::{
    DropReason, Fate, GATEWAY_V4, GATEWAY_V6, PortId, Query, Sender, Tables, Trace, trace,
};
use weft_wire::IpProtocol;
use weft_wire::build::{IpBuilder, Network, TcpSpec};

use crate::world::*;

fn query(from: Sender, to: impl Into<IpAddr>, protocol: IpProtocol, port: u16) -> Query {
    Query {
        from,
        to: to.into(),
        protocol,
        port,
    }
}

fn from_pod(to: impl Into<IpAddr>) -> Query {
    query(Sender::Port(POD.id()), to, IpProtocol::TCP, 80)
}

fn from_peer(source: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Query {
    let source = source.into();
    let vtep = PEERS[0].0.into();
    query(Sender::Peer { vtep, source }, to, IpProtocol::UDP, 53)
}

fn traced(query: &Query) -> Trace {
    trace(&World::new().tables, query).unwrap()
}

/// The title of the last step, and what was found there.
fn end(trace: &Trace) -> (&'static str, &str) {
    let last = trace.steps.last().unwrap();
    let dropped = matches!(trace.fate, Fate::Drop(_));
    assert_eq!(last.ok, !dropped, "{trace:?}");
    assert!(
        trace.steps.iter().rev().skip(1).all(|step| step.ok),
        "{trace:?}"
    );
    (last.step, &last.detail)
}

#[test]
fn a_trace_ends_where_the_packet_does() {
    use DropReason as R;
    let gone = [10, 244, 1, 200];
    for (query, fate, step, detail) in [
        (
            from_pod(OTHER.v4()),
            Fate::ToPod(OTHER.id()),
            "in 13: MACs",
            "written to port 2, 02:aa:00:01:00:03",
        ),
        (
            from_pod(OUR_VTEP),
            Fate::ToPod(PortId::HOST),
            "in 13: MACs",
            "written to the node itself, 02:aa:00:01:00:00",
        ),
        (
            query(Sender::Port(POD.id()), GATEWAY_V6, IpProtocol::ICMP, 0),
            Fate::Hairpin,
            "out 7: questions to the gateway",
            "the gateway answers",
        ),
        (
            from_pod(GATEWAY_V4),
            Fate::Drop(R::GatewayService),
            "out 7: questions to the gateway",
            "gateway_service: ",
        ),
        (
            query(
                Sender::Port(POD.id()),
                REMOTE.v4(),
                IpProtocol::UDP,
                VXLAN_PORT,
            ),
            Fate::Drop(R::NestedTunnel),
            "out 5: rogues",
            "nested_tunnel: ",
        ),
        (
            from_pod([224, 0, 0, 251]),
            Fate::Drop(R::Multicast),
            "out 8: a destination that can be routed to",
            "multicast: ",
        ),
        (
            from_pod([127, 0, 0, 1]),
            Fate::Drop(R::Martian),
            "out 8: a destination that can be routed to",
            "martian: ",
        ),
        (
            from_pod(gone),
            Fate::Drop(R::NoSuchPod),
            "out 10: where does the destination live?",
            "no_such_pod: ",
        ),
        (
            query(
                Sender::Port(PortId::new(99).unwrap()),
                OTHER.v6(),
                IpProtocol::TCP,
                1,
            ),
            Fate::Drop(R::ClosedPort),
            "out 1: the port is open",
            "closed_port: ",
        ),
        (
            query(
                Sender::Outside(REMOTE.v4().into()),
                POD.v4(),
                IpProtocol::TCP,
                1,
            ),
            Fate::Drop(R::SpoofedHost),
            "out 6: the source address",
            "spoofed_host: ",
        ),
        (
            query(
                Sender::Outside([198, 51, 100, 7].into()),
                POD.v4(),
                IpProtocol::TCP,
                1,
            ),
            Fate::ToPod(POD.id()),
            "in 13: MACs",
            "written to port 1, ",
        ),
        (
            from_peer(REMOTE.v6(), OTHER.v6()),
            Fate::ToPod(OTHER.id()),
            "in 13: MACs",
            "written to port 2, ",
        ),
        (
            from_peer(FAR.v4(), OTHER.v4()),
            Fate::Drop(R::ForeignInnerSource),
            "in 6: the inner source is the peer's",
            "foreign_inner_source: ",
        ),
        (
            from_peer([127, 0, 0, 1], OTHER.v4()),
            Fate::Drop(R::Martian),
            "in 6: the inner source is the peer's",
            "martian: ",
        ),
        (
            from_peer(REMOTE.v4(), [127, 0, 0, 1]),
            Fate::Drop(R::Martian),
            "in 7: here, and nowhere else",
            "martian: ",
        ),
        (
            from_peer(REMOTE.v4(), FAR.v4()),
            Fate::Drop(R::Transit),
            "in 7: here, and nowhere else",
            "transit: ",
        ),
    ] {
        let trace = traced(&query);
        assert_eq!(trace.fate, fate, "{query:?}");
        let (last, found) = end(&trace);
        assert_eq!(last, step, "{query:?}");
        assert!(found.starts_with(detail), "{query:?}: {found}");
    }
    let far = traced(&from_pod(FAR.v4()));
    assert!(matches!(far.fate, Fate::ToPeer(_)));
    assert_eq!(
        end(&far),
        ("out 16: lane and marks", "sent to node-3 at 192.0.2.3")
    );
    assert_eq!(far.flow.to_string(), "tcp 10.244.1.2:49152 > 10.244.3.6:80");
    let stranger = Sender::Peer {
        vtep: [192, 0, 2, 99].into(),
        source: REMOTE.v4().into(),
    };
    let stranger = traced(&query(stranger, POD.v4(), IpProtocol::TCP, 80));
    assert_eq!(stranger.fate, Fate::Drop(R::UnknownPeer));
    assert_eq!(end(&stranger).0, "in 1: the sender is a peer");
}

#[test]
fn a_sender_needs_an_address_of_the_family() {
    let mut world = World::new();
    let mixed = from_peer(REMOTE.v4(), POD.v6());
    assert!(trace(&world.tables, &mixed).is_err());
    let mut entry = world.tables.port(POD.id()).unwrap().clone();
    entry.ipv6 = None;
    let builder = weft_switch::path::TablesBuilder::new(node()).port(POD.id(), entry);
    world.tables = builder.build().unwrap();
    assert!(trace(&world.tables, &from_pod(OTHER.v6())).is_err());
    assert!(trace(&world.tables, &from_pod(OTHER.v4())).is_ok());
    assert!(
        trace(&Tables::empty(), &from_pod(OTHER.v6())).is_ok(),
        "a closed port, whatever it has"
    );
}

/// The steps are named as in the page that explains them.
#[test]
fn the_page_knows_every_step() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/road-of-a-packet.md");
    let text = fs::read_to_string(page).unwrap();
    let (out, into) = text.split_once("## Into the pod").unwrap();
    let mut titles = Vec::new();
    for query in [
        from_pod(OTHER.v4()),
        from_pod(FAR.v4()),
        from_peer(REMOTE.v4(), POD.v4()),
    ] {
        titles.extend(traced(&query).steps.iter().map(|step| step.step));
    }
    for title in titles {
        let (road, rest) = title.split_once(' ').unwrap();
        let (number, name) = rest.split_once(": ").unwrap();
        let section = if road == "out" { out } else { into };
        let heading = format!("**{number}. ");
        let line = section.lines().find(|line| line.starts_with(&heading));
        let line = line.unwrap_or_else(|| panic!("no {heading} for {title}"));
        let known = line.trim_start_matches(&heading).to_lowercase();
        assert!(known.starts_with(&name.to_lowercase()), "{title}: {line}");
    }
}

fn senders() -> impl Strategy<Value = Sender> {
    let port = (0u16..5).prop_map(|port| Sender::Port(PortId::new(port).unwrap()));
    let outside = addresses().prop_map(Sender::Outside);
    let vteps = prop_oneof![
        Just(IpAddr::V4(PEERS[0].0)),
        Just(IpAddr::V4(PEERS[1].0)),
        Just(IpAddr::from([192, 0, 2, 99]))
    ];
    let peer = (vteps, addresses()).prop_map(|(vtep, source)| Sender::Peer { vtep, source });
    prop_oneof![port, outside, peer]
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let stations = [HOST, POD, OTHER, NARROW, REMOTE, REMOTE_NODE, FAR];
    let mut known: Vec<IpAddr> = vec![
        OUR_VTEP.into(),
        GATEWAY_V4.into(),
        GATEWAY_V6.into(),
        [198, 51, 100, 7].into(),
        [10, 244, 1, 200].into(),
        [127, 0, 0, 1].into(),
        [224, 0, 0, 1].into(),
        "2001:db8::7".parse().unwrap(),
        "ff02::1".parse().unwrap(),
        "fe80::5".parse().unwrap(),
    ];
    for station in stations {
        known.extend([IpAddr::V4(station.v4()), station.v6().into()]);
    }
    prop::sample::select(known)
}

pub(crate) fn queries() -> impl Strategy<Value = Query> {
    let protocols = prop_oneof![
        3 => Just(IpProtocol::TCP),
        3 => Just(IpProtocol::UDP),
        2 => Just(IpProtocol::SCTP),
        1 => Just(IpProtocol::ICMP),
        1 => any::<u8>().prop_map(IpProtocol),
    ];
    let ports = prop_oneof![Just(80), Just(53), Just(VXLAN_PORT), 75u16..85];
    (senders(), addresses(), protocols, ports)
        .prop_map(|(from, to, protocol, port)| query(from, to, protocol, port))
}

/// A packet of the query, made without the trace's help; `None` where nobody could send it.
pub(crate) fn sent(world: &World, query: &Query) -> Option<(Door, Vec<u8>)> {
    let (door, ethernet, source) = match query.from {
        Sender::Port(id) => {
            let stations = [HOST, POD, OTHER, NARROW];
            let station = stations.into_iter().find(|station| station.id() == id)?;
            let own = world.tables.port(id)?.addresses();
            let source = own
                .into_iter()
                .find(|own| own.is_ipv4() == query.to.is_ipv4())?;
            (Door::Pod(station), station.says(), source)
        }
        Sender::Outside(source) => (Door::Pod(HOST), HOST.says(), source),
        Sender::Peer { vtep, source } => {
            let door = Door::Underlay(vtep, weft_encap::Ecn::NotEct);
            (door, inner(), source)
        }
    };
    let frame = match (source, query.to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => bytes(ethernet.ipv4(source, to), query),
        (IpAddr::V6(source), IpAddr::V6(to)) => bytes(ethernet.ipv6(source, to), query),
        _ => return None,
    };
    match door {
        Door::Pod(_) | Door::Port(_) => Some((door, frame)),
        Door::Underlay(..) => Some((door, tunnelled(VNI, &frame))),
    }
}

fn bytes<N: Network>(ip: IpBuilder<N>, query: &Query) -> Vec<u8> {
    match query.protocol {
        IpProtocol::TCP => {
            let syn = TcpSpec {
                src_port: 50_000,
                dst_port: query.port,
                flags: weft_wire::TcpFlags::SYN,
                ..TcpSpec::default()
            };
            ip.tcp(syn, b"")
        }
        IpProtocol::UDP => ip.udp(50_000, query.port, b"payload"),
        IpProtocol::SCTP => {
            let [a, b] = query.port.to_be_bytes();
            let header = [0xc3, 0x50, a, b, 0, 0, 0, 0, 0, 0, 0, 0];
            ip.payload(
                IpProtocol::SCTP,
                &[&header[..], &[1, 0, 0, 20], &[0; 16]].concat(),
            )
        }
        IpProtocol::ICMP | IpProtocol::ICMPV6 => ip.icmp_echo_request(9, 1, b"ping"),
        protocol => ip.payload(protocol, &[0; 8]),
    }
}

/// The trace's fate is the road's, and what it tells ends there.
pub(crate) fn same_as_the_road(world: &mut World, query: &Query) {
    let Ok(trace) = trace(&world.tables, query) else {
        return;
    };
    end(&trace);
    if let Some((door, bytes)) = sent(world, query) {
        let fate = world.send_unjudged(door, &bytes);
        assert_eq!(trace.fate, fate, "{query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_trace_meets_the_fate_of_the_packet(queries in prop::collection::vec(queries(), 1..10)) {
        for query in &queries {
            // The first packet of a flow: nothing is remembered.
            same_as_the_road(&mut World::new(), query);
        }
    }
}
