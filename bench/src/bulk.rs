//! The stages of bulk traffic: long checksums, one super-frame cut into its packets, received
//! packets merged again. One unit of work is a whole super-frame, or a whole turn of packets.

use std::hint::black_box;
use std::net::IpAddr;

use weft_encap::{Cut, Ecn, Lanes, Merger, Outer};
use weft_policy::Moment;
use weft_switch::path::{Datagram, GATEWAY_MAC, Out, Path, PathConfig, Tables};
use weft_wire::build::{self, TcpSpec};
use weft_wire::checksum::Sum;
use weft_wire::{Parsed, Pool, TcpFlags, VnetHeader, parse, vnet};

use crate::frames::{NEIGHBOR, POD, PORTS, REMOTE, Station};
use crate::{Case, node};

/// When everything happens.
const NOW: Moment = Moment::from_secs(1);
/// A VXLAN header of network 1.
const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 1, 0];
const FRONT: usize = VXLAN.len();

/// The pod that receives.
const TO: Station = Station { node: 1, last: 2 };

/// Payload of one TCP segment of a tunnel over an MTU of 1500, timestamps in its header.
const SEGMENT: u16 = 1398;
/// Payload of a datagram of 64 bytes.
const DATAGRAM: u16 = 22;
/// Flows, and datagrams of each, in one turn.
const FLOWS: u16 = 32;
const EACH: usize = 8;

/// The Internet checksum over bytes of the largest frame.
pub(crate) fn checksums() -> Vec<Case> {
    vec![Case::new("65000", || {
        let bytes = vec![0x5a; 65_000];
        move || {
            let mut sum = Sum::new();
            sum.add_bytes(black_box(&bytes));
            black_box(sum.finish());
        }
    })]
}

/// One super-frame becomes its packets.
pub(crate) fn splitting() -> Vec<Case> {
    let case = |name: &str, make: fn() -> (Vec<u8>, VnetHeader)| {
        Case::new(name, move || {
            let (bytes, vnet) = make();
            let mut packets = vec![0; 64 * 128 + bytes.len()];
            move || {
                let cut = Cut::of(black_box(&bytes), FRONT, &vnet);
                let written = cut.and_then(|cut| cut.write(&bytes, &mut packets));
                assert!(written.is_some(), "a super-frame");
                black_box(&packets);
            }
        })
    };
    vec![
        case("tcp/44", || tcp(REMOTE, TO, 44)),
        case("udp/64", || udp(PORTS.0, 64)),
    ]
}

/// The packets of a turn become super-frames.
pub(crate) fn merging() -> Vec<Case> {
    let run = Case::new("tcp/44", || {
        let (bytes, vnet) = tcp(REMOTE, TO, 44);
        let run = packets(&bytes, &vnet);
        let (stride, buffer) = (run.first().map_or(1, Vec::len), run.concat());
        let mut turn = Turn::new();
        move || {
            turn.merger
                .offer_run(outer(), black_box(&buffer), stride, &mut turn.pool);
            assert_eq!(turn.end(), 1, "one frame");
        }
    });
    let flows = Case::new("udp-32-flows", || {
        let of = |flow| {
            let (bytes, vnet) = udp(PORTS.0 + flow, EACH);
            packets(&bytes, &vnet)
        };
        let flows: Vec<_> = (0..FLOWS).map(of).collect();
        let interleaved: Vec<_> = (0..EACH)
            .flat_map(|n| flows.iter().filter_map(move |flow| flow.get(n).cloned()))
            .collect();
        let mut turn = Turn::new();
        move || {
            for packet in &interleaved {
                let taken = turn
                    .merger
                    .offer(outer(), black_box(packet), &mut turn.pool);
                assert!(taken.is_ok(), "the pool has frames");
            }
            assert_eq!(turn.end(), usize::from(FLOWS), "a frame for each flow");
        }
    });
    vec![run, flows]
}

/// Super-frames that go their way, cut where they leave the node and merged where they enter it.
pub(crate) fn roads() -> Vec<Case> {
    let (bytes, vnet) = tcp(POD, REMOTE, 44);
    let out = bytes.get(FRONT..).unwrap_or_default().to_vec();
    let (local, _) = tcp(POD, NEIGHBOR, 44);
    let local = local.get(FRONT..).unwrap_or_default().to_vec();
    let to_peer = Case::new("super/pod-to-peer", move || {
        let mut road = Road::new();
        let (bytes, mut packets) = (out.clone(), vec![0; 64 * 128 + out.len()]);
        move || {
            road.leave(&bytes, vnet);
            let to = road.out.to_peer.first();
            let cut = to.and_then(|to| Cut::of(to.frame.as_slice(), FRONT, &to.frame.vnet));
            let written = to.zip(cut);
            let written =
                written.and_then(|(to, cut)| cut.write(to.frame.as_slice(), &mut packets));
            assert!(written.is_some(), "a super-frame leaves");
            road.out.clear();
        }
    });
    let to_neighbor = Case::new("super/pod-to-pod", move || {
        let (mut road, bytes) = (Road::new(), local.clone());
        move || {
            road.leave(&bytes, vnet);
            road.arrives();
        }
    });
    let from_peer = Case::new("super/peer-to-pod", || {
        let (bytes, vnet) = tcp(REMOTE, POD, 44);
        let run = packets(&bytes, &vnet);
        let (stride, buffer) = (run.first().map_or(1, Vec::len), run.concat());
        let mut road = Road::new();
        move || {
            road.enter(&buffer, stride);
            road.arrives();
        }
    });
    vec![to_peer, to_neighbor, from_peer]
}

/// One worker's path, with buffers for super-frames.
struct Road {
    tables: Tables,
    path: Path,
    out: Out,
    merger: Merger,
}

impl Road {
    fn new() -> Self {
        let config = PathConfig {
            worker: 0,
            workers: 1,
            lanes: Lanes::for_workers(1),
            seed: 7,
        };
        let pool = Pool::new(64, 2048).with_large(2, 65_535 + FRONT + 14);
        Self {
            tables: node::tables(),
            path: Path::new(config, node::conntrack()),
            out: Out::new(pool),
            merger: Merger::new(7),
        }
    }

    /// A super-frame is read from the pod.
    fn leave(&mut self, bytes: &[u8], vnet: VnetHeader) {
        let frame = self.out.pool.take_large();
        let Some(mut frame) = frame.filter(|frame| frame.capacity() >= bytes.len()) else {
            unreachable!("every frame is given back")
        };
        assert!(frame.copy_from(bytes), "it fits");
        frame.vnet = vnet;
        let mut turn = self.path.turn(&self.tables, NOW, &mut self.out);
        turn.on_pod_frame(POD.port(), frame);
    }

    /// A buffer of packets is received.
    fn enter(&mut self, buffer: &[u8], stride: usize) {
        let outer = Outer {
            source: node::vtep(REMOTE.node),
            ecn: Ecn::NotEct,
        };
        self.merger
            .offer_run(outer, buffer, stride, &mut self.out.pool);
        self.merger.finish();
        for (outer, frame) in self.merger.ready() {
            let Outer { source, ecn } = outer;
            let mut turn = self.path.turn(&self.tables, NOW, &mut self.out);
            turn.on_datagram(Datagram { source, ecn }, frame);
        }
    }

    /// One super-frame waits to be written to a pod.
    fn arrives(&mut self) {
        let to = self.out.to_pod.first();
        assert!(to.is_some_and(|to| to.frame.vnet.is_segmented()));
        self.out.clear();
    }
}

struct Turn {
    merger: Merger,
    pool: Pool,
}

impl Turn {
    fn new() -> Self {
        Self {
            merger: Merger::new(7),
            pool: Pool::new(64, 2048).with_large(2, 65_535 + FRONT + 14),
        }
    }

    /// Ends the turn and gives the frames back; how many there were.
    fn end(&mut self) -> usize {
        self.merger.finish();
        let mut frames = 0;
        for (_, frame) in self.merger.ready() {
            self.pool.put(black_box(frame));
            frames += 1;
        }
        frames
    }
}

fn outer() -> Outer {
    Outer {
        source: [192, 0, 2, 2].into(),
        ecn: Ecn::NotEct,
    }
}

/// A super-frame of that many TCP segments in the tunnel, and what it says of itself.
fn tcp(from: Station, to: Station, segments: usize) -> (Vec<u8>, VnetHeader) {
    let spec = TcpSpec {
        src_port: PORTS.0,
        dst_port: PORTS.1,
        flags: TcpFlags::ACK,
        options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        ..TcpSpec::default()
    };
    let payload = vec![0x77; usize::from(SEGMENT) * segments];
    let (source, destination) = match from.node {
        1 => (from.mac(), GATEWAY_MAC),
        node => (node::vtep_mac(node), node::vtep_mac(to.node)),
    };
    let frame = build::ethernet(source, destination)
        .ipv4(from.v4(), to.v4())
        .tcp(spec, &payload);
    whole(&frame, payload.len(), (vnet::GSO_TCPV4, SEGMENT, 16))
}

/// A super-frame of that many datagrams in the tunnel.
fn udp(src_port: u16, datagrams: usize) -> (Vec<u8>, VnetHeader) {
    let payload = vec![0x77; usize::from(DATAGRAM) * datagrams];
    let macs = (node::vtep_mac(REMOTE.node), node::vtep_mac(TO.node));
    let frame = build::ethernet(macs.0, macs.1)
        .ipv4(REMOTE.v4(), TO.v4())
        .udp(src_port, PORTS.1, &payload);
    whole(&frame, payload.len(), (vnet::GSO_UDP_L4, DATAGRAM, 6))
}

/// Puts the tunnel's header in front and makes the checksum partial.
fn whole(
    frame: &[u8],
    payload: usize,
    (gso_type, gso_size, csum_offset): (u8, u16, u16),
) -> (Vec<u8>, VnetHeader) {
    let Ok(Parsed::Ip(headers)) = parse(frame) else {
        unreachable!("the builder's frames parse")
    };
    let offset = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    let mut sum = Sum::new();
    let length = offset(headers.payload_len());
    match (headers.flow.src, headers.flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            sum.add_pseudo_ipv4(src, dst, headers.flow.protocol, length);
        }
        _ => unreachable!("IPv4"),
    }
    let mut bytes = [&VXLAN[..], frame].concat();
    let at = FRONT + headers.l4 + usize::from(csum_offset);
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.folded().to_be_bytes());
    }
    let vnet = VnetHeader {
        flags: vnet::FLAG_NEEDS_CHECKSUM,
        gso_type,
        hdr_len: offset(frame.len() - payload),
        gso_size,
        csum_start: offset(headers.l4),
        csum_offset,
    };
    (bytes, vnet)
}

/// The packets of a super-frame, each in one piece.
fn packets(bytes: &[u8], vnet: &VnetHeader) -> Vec<Vec<u8>> {
    let Some(cut) = Cut::of(bytes, FRONT, vnet) else {
        unreachable!("a super-frame")
    };
    let mut packets = vec![0; cut.total_len()];
    let written = cut.write(bytes, &mut packets);
    assert!(written.is_some(), "there is room");
    packets
        .chunks(cut.segment_len())
        .map(<[u8]>::to_vec)
        .collect()
}
