//! What gets through, to whom, and what changed in it.

use std::net::{IpAddr, Ipv4Addr};

use weft_encap::Ecn;
use weft_policy::{Direction, Epoch, Lookup, Sighting, Span};
use weft_switch::path::{Fate, PortId, TablesBuilder};
use weft_wire::build::{self, TcpSpec};
use weft_wire::{IpProtocol, Parsed, TcpFlags, VnetHeader, parse};

use crate::world::*;

enum To {
    Port(Station),
    Peer(usize),
}

/// What the receiver sees: the frame as sent, one hop older.
fn aged(sent: &[u8], hops: u8) -> Vec<u8> {
    let mut packet = sent[14..].to_vec();
    for _ in 0..hops {
        match packet[0] >> 4 {
            4 => weft_wire::ipv4::decrement_ttl(&mut packet),
            _ => weft_wire::ipv6::decrement_hop_limit(&mut packet),
        };
    }
    packet
}

fn out_of_pods() -> Vec<(&'static str, Station, Vec<u8>, To)> {
    let outside = Ipv4Addr::new(198, 51, 100, 7);
    let outside6 = "2001:db8::7".parse().unwrap();
    let syn = || TcpSpec {
        src_port: 40_000,
        dst_port: 80,
        flags: TcpFlags::SYN,
        ..TcpSpec::default()
    };
    vec![
        (
            "udp to a pod of the node",
            POD,
            POD.says().ipv4(POD.v4(), OTHER.v4()).udp(4000, 53, b"who"),
            To::Port(OTHER),
        ),
        (
            "udp6 to a pod of the node",
            POD,
            POD.says().ipv6(POD.v6(), OTHER.v6()).udp(4000, 53, b"who"),
            To::Port(OTHER),
        ),
        (
            "a pod to itself",
            POD,
            POD.says().ipv4(POD.v4(), POD.v4()).udp(4000, 53, b"who"),
            To::Port(POD),
        ),
        (
            "tcp to a peer's pod",
            POD,
            POD.says().ipv4(POD.v4(), REMOTE.v4()).tcp(syn(), b""),
            To::Peer(0),
        ),
        (
            "tcp6 to a peer's pod",
            POD,
            POD.says().ipv6(POD.v6(), REMOTE.v6()).tcp(syn(), b""),
            To::Peer(0),
        ),
        (
            "ping to another peer's pod",
            POD,
            POD.says()
                .ipv4(POD.v4(), FAR.v4())
                .icmp_echo_request(7, 1, b"ping"),
            To::Peer(1),
        ),
        (
            "ping6 to a peer's node",
            POD,
            POD.says()
                .ipv6(POD.v6(), REMOTE_NODE.v6())
                .icmp_echo_request(7, 1, b"ping"),
            To::Peer(0),
        ),
        (
            "sctp to a peer's pod",
            POD,
            POD.says().ipv4(POD.v4(), REMOTE.v4()).payload(
                IpProtocol::SCTP,
                &[0x0f, 0xa0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4],
            ),
            To::Peer(0),
        ),
        (
            "esp to a peer's pod",
            POD,
            POD.says()
                .ipv4(POD.v4(), REMOTE.v4())
                .payload(IpProtocol::ESP, &[0; 32]),
            To::Peer(0),
        ),
        (
            "to the own node's pod-network address",
            POD,
            POD.says().ipv4(POD.v4(), HOST.v4()).udp(1, 2, b""),
            To::Port(HOST),
        ),
        (
            "to the own node's underlay address",
            POD,
            POD.says().ipv4(POD.v4(), OUR_VTEP).udp(1, 2, b""),
            To::Port(HOST),
        ),
        (
            "to a peer's underlay address",
            POD,
            POD.says().ipv4(POD.v4(), PEERS[0].0).udp(1, 2, b""),
            To::Port(HOST),
        ),
        (
            "to the outside",
            POD,
            POD.says().ipv4(POD.v4(), outside).udp(1, 2, b""),
            To::Port(HOST),
        ),
        (
            "to the outside, IPv6",
            POD,
            POD.says().ipv6(POD.v6(), outside6).udp(1, 2, b""),
            To::Port(HOST),
        ),
        (
            "to the metadata address",
            POD,
            POD.says()
                .ipv4(POD.v4(), Ipv4Addr::new(169, 254, 169, 254))
                .udp(1, 2, b""),
            To::Port(HOST),
        ),
        (
            "behind extension headers",
            POD,
            POD.says()
                .ipv6(POD.v6(), REMOTE.v6())
                .extension(IpProtocol::HOP_BY_HOP, &[1, 4])
                .extension(IpProtocol::DEST_OPTIONS, &[1, 4])
                .udp(1, 2, b"x"),
            To::Peer(0),
        ),
        (
            "with the last TTL that passes",
            POD,
            POD.says().ipv4(POD.v4(), REMOTE.v4()).ttl(2).udp(1, 2, b""),
            To::Peer(0),
        ),
        (
            "dhcp client to server",
            POD,
            POD.says().ipv4(POD.v4(), outside).udp(68, 67, b""),
            To::Port(HOST),
        ),
        (
            "from the node to its pod",
            HOST,
            HOST.says().ipv4(HOST.v4(), POD.v4()).udp(1, 2, b""),
            To::Port(POD),
        ),
        (
            "from the node's underlay address to its pod",
            HOST,
            HOST.says().ipv4(OUR_VTEP, POD.v4()).udp(1, 2, b""),
            To::Port(POD),
        ),
        (
            "from the outside, through the host, to a pod",
            HOST,
            HOST.says().ipv4(outside, POD.v4()).udp(1, 2, b""),
            To::Port(POD),
        ),
        (
            "from the node to a peer's pod",
            HOST,
            HOST.says().ipv6(HOST.v6(), REMOTE.v6()).udp(1, 2, b""),
            To::Peer(0),
        ),
    ]
}

#[test]
fn what_leaves_a_port_arrives_one_hop_older() {
    for (name, from, frame, to) in out_of_pods() {
        let outcome = World::new().pod_sends(from, &frame);
        assert_eq!(outcome.delta, Delta::default(), "{name}");
        let received = match to {
            To::Port(to) => {
                assert_eq!(outcome.fate, Fate::ToPod(to.id()), "{name}");
                outcome.only_write()
            }
            To::Peer(index) => {
                assert!(
                    matches!(outcome.fate, Fate::ToPeer(peer) if peer.index() == index),
                    "{name}: {:?}",
                    outcome.fate
                );
                assert_eq!(
                    outcome.to_peer[0].vtep,
                    IpAddr::V4(PEERS[index].0),
                    "{name}"
                );
                outcome.only_send()
            }
        };
        assert_eq!(received[14..], aged(&frame, 1), "{name}");
    }
}

#[test]
fn what_leaves_the_tunnel_arrives_one_hop_older() {
    for (name, frame, to) in [
        (
            "to a pod",
            inner().ipv4(REMOTE.v4(), POD.v4()).udp(1, 2, b"x"),
            POD,
        ),
        (
            "to a pod, IPv6",
            inner().ipv6(REMOTE.v6(), OTHER.v6()).udp(1, 2, b"x"),
            OTHER,
        ),
        (
            "to the node",
            inner()
                .ipv4(REMOTE.v4(), HOST.v4())
                .icmp_echo_request(1, 2, b""),
            HOST,
        ),
        (
            "to the node, IPv6",
            inner()
                .ipv6(REMOTE.v6(), HOST.v6())
                .icmp_echo_request(1, 2, b""),
            HOST,
        ),
        (
            "from the peer's node",
            inner().ipv4(REMOTE_NODE.v4(), POD.v4()).udp(1, 2, b"x"),
            POD,
        ),
        (
            "with the last TTL that passes",
            inner().ipv4(REMOTE.v4(), POD.v4()).ttl(2).udp(1, 2, b"x"),
            POD,
        ),
        (
            "from any source MAC",
            build::ethernet(POD.mac(), OUR_VTEP_MAC)
                .ipv4(REMOTE.v4(), POD.v4())
                .udp(1, 2, b"x"),
            POD,
        ),
    ] {
        let outcome = World::new().peer_sends(&frame);
        assert_eq!(outcome.fate, Fate::ToPod(to.id()), "{name}");
        assert_eq!(outcome.only_write()[14..], aged(&frame, 1), "{name}");
        assert_eq!(outcome.delta, Delta::default(), "{name}");
    }
}

/// Two nodes: what one encapsulates, the other delivers.
#[test]
fn one_nodes_tunnel_packet_is_the_others() {
    let mut world = World::new();
    let sent = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(4000, 53, b"who");
    let request = world.pod_sends(POD, &sent);
    let reply = inner().ipv4(REMOTE.v4(), POD.v4()).udp(53, 4000, b"me");
    let delivered = world.peer_sends(&reply);
    assert_eq!(request.only_send()[14..], aged(&sent, 1));
    assert_eq!(delivered.fate, Fate::ToPod(POD.id()));
    assert_eq!(
        world.conntrack.len(),
        1,
        "a request and its reply are one connection"
    );
}

#[test]
fn padding_does_not_travel() {
    let padded = |frame: &[u8]| [frame, &[0xee; 20]].concat();
    let out = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(1, 2, b"");
    let outcome = World::new().pod_sends(POD, &padded(&out));
    assert_eq!(outcome.only_send().len(), out.len());
    let into = inner().ipv6(REMOTE.v6(), POD.v6()).udp(1, 2, b"");
    let outcome = World::new().peer_sends(&padded(&into));
    assert_eq!(outcome.only_write().len(), into.len());
}

/// The sender's last queue is where answers are written, whoever carries them.
#[test]
fn answers_go_to_the_queue_that_asked() {
    let mut world = World::new();
    let first = world.peer_sends(
        &inner()
            .ipv4(REMOTE.v4(), POD.v4())
            .udp(53, 4000, b"unasked"),
    );
    assert_eq!(first.to_pod[0].queue, None, "the pod has not spoken yet");
    world.pod_sends(
        POD,
        &POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(4000, 53, b"who"),
    );
    let answer = world.peer_sends(&inner().ipv4(REMOTE.v4(), POD.v4()).udp(53, 4000, b"me"));
    assert_eq!(answer.to_pod[0].queue, Some(0));
    world.pod_sends(
        POD,
        &POD.says().ipv4(POD.v4(), OTHER.v4()).udp(4000, 53, b"who"),
    );
    let local = world.pod_sends(
        OTHER,
        &OTHER.says().ipv4(OTHER.v4(), POD.v4()).udp(53, 4000, b"me"),
    );
    assert_eq!(
        (local.fate, local.to_pod[0].queue),
        (Fate::ToPod(POD.id()), Some(0))
    );
}

#[test]
fn a_flow_keeps_its_lane_and_flows_use_all_lanes() {
    let mut world = World::new();
    let mut lanes = std::collections::HashSet::new();
    for port in 1000..1200 {
        let frame = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(port, 53, b"who");
        let lane = world.pod_sends(POD, &frame).to_peer[0].lane;
        assert_eq!(world.pod_sends(POD, &frame).to_peer[0].lane, lane);
        lanes.insert(lane);
    }
    assert_eq!(lanes.len(), 8);
}

#[test]
fn both_policies_of_local_traffic_share_one_connection() {
    let mut world = World::new();
    world.pod_sends(
        POD,
        &POD.says().ipv4(POD.v4(), OTHER.v4()).udp(4000, 53, b"who"),
    );
    assert_eq!(world.conntrack.len(), 1);
}

/// A new epoch decides every live connection anew, on both sides, and keeps it.
#[test]
fn connections_survive_a_publication() {
    let mut world = World::new();
    let frame = POD.says().ipv4(POD.v4(), OTHER.v4()).udp(4000, 53, b"who");
    let Ok(Parsed::Ip(packet)) = parse(&frame) else {
        panic!("not IP")
    };
    for epoch in [Epoch(1), Epoch(2)] {
        world.tables.epoch = epoch;
        let outcome = world.pod_sends(POD, &frame);
        assert_eq!(outcome.fate, Fate::ToPod(OTHER.id()));
        assert_eq!(world.conntrack.len(), 1);
        for side in [Direction::Egress, Direction::Ingress] {
            let now = world.now;
            let sighting = Sighting {
                side,
                epoch,
                worker: 0,
                now,
                packets: 1,
            };
            let known = world.conntrack.lookup(&packet, sighting);
            assert!(
                matches!(known, Lookup::Known { .. }),
                "{side:?} in {epoch:?}: {known:?}"
            );
        }
    }
}

#[test]
fn idle_connections_are_forgotten_by_ticks() {
    let mut world = World::new();
    world.pod_sends(
        POD,
        &POD.says().ipv4(POD.v4(), OTHER.v4()).udp(4000, 53, b"who"),
    );
    world.pass(Span::from_secs(31));
    world.path.on_tick(world.now);
    assert_eq!(world.conntrack.len(), 0);
}

/// The kernel in a pod leaves the checksum to the device: the field holds the
/// pseudo-header's sum (virtio 1.2 §5.1.6.2).
#[test]
fn a_checksum_left_to_us_is_finished() {
    let finished = POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(1, 2, b"odd");
    let mut partial = finished.clone();
    let addresses: u32 = finished[26..34]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let pseudo = addresses + 17 + 11;
    let folded = u16::try_from((pseudo & 0xffff) + (pseudo >> 16)).unwrap();
    partial[40..42].copy_from_slice(&folded.to_be_bytes());
    let vnet = VnetHeader {
        flags: 1,
        csum_start: 34,
        csum_offset: 6,
        ..VnetHeader::NONE
    };
    let outcome = World::new().send_with(Door::Pod(POD), &partial, vnet);
    assert_eq!(outcome.only_send()[14..], aged(&finished, 1));
}

#[test]
fn congestion_marks_are_copied_outside() {
    for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
        let v4 = POD
            .says()
            .ipv4(POD.v4(), REMOTE.v4())
            .dscp_ecn(0xb8 | ecn.bits())
            .udp(1, 2, b"");
        let v6 = POD
            .says()
            .ipv6(POD.v6(), REMOTE.v6())
            .dscp_ecn(0xb8 | ecn.bits())
            .udp(1, 2, b"");
        for frame in [v4, v6] {
            assert_eq!(World::new().pod_sends(POD, &frame).to_peer[0].ecn, ecn);
        }
    }
}

/// A node without a host port still switches between pods and peers.
#[test]
fn a_node_without_host_port_switches_pods() {
    let mut world = World::with(tables(&[POD, OTHER]), 8, 64);
    let outcome = world.pod_sends(POD, &POD.says().ipv4(POD.v4(), OTHER.v4()).udp(1, 2, b""));
    assert_eq!(outcome.fate, Fate::ToPod(OTHER.id()));
}

#[test]
fn counters_count_ports_and_add_up() {
    let mut world = World::new();
    let frame = POD.says().ipv4(POD.v4(), OTHER.v4()).udp(4000, 53, b"who");
    world.pod_sends(POD, &frame);
    world.pod_sends(POD, &frame);
    world.pod_sends(POD, &OTHER.says().ipv4(OTHER.v4(), POD.v4()).udp(1, 2, b""));
    let mut sum = world.path.counters().clone();
    let (pod, other) = (sum.port(POD.id()), sum.port(OTHER.id()));
    assert_eq!(
        (pod.egress_frames, pod.egress_bytes, pod.egress_drops),
        (3, 2 * 45 + 42, 1)
    );
    assert_eq!((other.ingress_frames, other.ingress_bytes), (2, 90));
    sum.add(world.path.counters());
    assert_eq!((sum.to_pod, sum.dropped(), sum.frames()), (4, 2, 6));
    assert_eq!(sum.port(POD.id()).egress_frames, 6);
    sum.reset_port(POD.id());
    sum.reset_drops();
    assert_eq!((sum.port(POD.id()).egress_frames, sum.dropped()), (0, 0));
}

/// A table of only this node, as before the first publication of peers.
#[test]
fn a_lone_node_forwards_to_its_host() {
    let lone = TablesBuilder::new(node()).port(
        PortId::HOST,
        tables(&[HOST]).port(PortId::HOST).unwrap().clone(),
    );
    let lone = lone.port(POD.id(), tables(&[POD]).port(POD.id()).unwrap().clone());
    let mut world = World::with(lone.build().unwrap(), 8, 64);
    let outcome = world.pod_sends(POD, &POD.says().ipv4(POD.v4(), REMOTE.v4()).udp(1, 2, b""));
    assert_eq!(outcome.fate, Fate::ToPod(PortId::HOST));
}
