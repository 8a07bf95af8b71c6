//! One node with a host port, three pods and two peers; and a way to send it a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weft_encap::{Cut, Ecn, Lane, Lanes, Vni};
use weft_policy::{Config, Conntrack, Epoch, Moment, PolicySetId, Span, Table};
use weft_switch::path::{
    Counters, Datagram, DropReason, Fate, GATEWAY_MAC, Node, Out, Path, PathConfig, Peer,
    PortEntry, PortId, PortKind, Tables, TablesBuilder,
};
use weft_wire::{Frame, Mac, Pool, VnetHeader, build};

use crate::oracle;

pub(crate) const VNI: u32 = 0x00ab_cdef;
pub(crate) const VXLAN_PORT: u16 = 8472;
pub(crate) const OUR_VTEP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const OUR_VTEP_MAC: Mac = Mac::new([2, 0xee, 0, 0, 0, 1]);
pub(crate) const HOST: Station = Station::new(0, 1, 0, 1450);
/// Two ordinary pods of this node, and one whose interface has a small MTU.
pub(crate) const POD: Station = Station::new(1, 1, 2, 1450);
pub(crate) const OTHER: Station = Station::new(2, 1, 3, 1450);
pub(crate) const NARROW: Station = Station::new(3, 1, 4, 1300);
/// Pods of the peers, and the peers' own pod-network addresses.
pub(crate) const REMOTE: Station = Station::new(0, 2, 5, 1450);
pub(crate) const REMOTE_NODE: Station = Station::new(0, 2, 0, 1450);
pub(crate) const FAR: Station = Station::new(0, 3, 6, 1400);
pub(crate) const PEERS: [(Ipv4Addr, Mac, u8, u16); 2] = [
    (
        Ipv4Addr::new(192, 0, 2, 2),
        Mac::new([2, 0xee, 0, 0, 0, 2]),
        2,
        1450,
    ),
    (
        Ipv4Addr::new(192, 0, 2, 3),
        Mac::new([2, 0xee, 0, 0, 0, 3]),
        3,
        1400,
    ),
];
const FRAMES: usize = 64;

/// An address holder of the pod network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Station {
    pub(crate) port: u16,
    node: u8,
    last: u8,
    pub(crate) mtu: u16,
}

impl Station {
    const fn new(port: u16, node: u8, last: u8, mtu: u16) -> Self {
        Self {
            port,
            node,
            last,
            mtu,
        }
    }

    pub(crate) const fn id(self) -> PortId {
        match PortId::new(self.port) {
            Some(id) => id,
            None => PortId::HOST,
        }
    }

    pub(crate) const fn mac(self) -> Mac {
        Mac::new([2, 0xaa, 0, self.node, 0, self.last])
    }

    pub(crate) const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.node, self.last)
    }

    pub(crate) const fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(
            0xfd00,
            0x10,
            0x244,
            self.node as u16,
            0,
            0,
            0,
            self.last as u16,
        )
    }

    /// fe80::/64 with the modified EUI-64 of the MAC.
    pub(crate) const fn link_local(self) -> Ipv6Addr {
        let (high, low) = (self.node as u16, self.last as u16);
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x00aa, 0x00ff, 0xfe00 | high, low)
    }

    /// A frame from here to the gateway.
    pub(crate) const fn says(self) -> build::EthernetBuilder {
        build::ethernet(self.mac(), GATEWAY_MAC)
    }

    pub(crate) fn entry(self) -> PortEntry {
        let host = self.port == 0;
        PortEntry {
            kind: if host { PortKind::Host } else { PortKind::Pod },
            mac: self.mac(),
            ipv4: Some(self.v4()),
            ipv6: Some(self.v6()),
            mtu: self.mtu,
            policy: PolicySetId::UNSELECTED,
            pod: None,
            limits: None,
        }
    }
}

/// A frame inside the tunnel: from a peer's VTEP to ours.
pub(crate) const fn inner() -> build::EthernetBuilder {
    build::ethernet(PEERS[0].1, OUR_VTEP_MAC)
}

/// The UDP payload that carries an inner frame.
pub(crate) fn tunnelled(vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    [&[0x08, 0, 0, 0, a, b, c, 0], inner].concat()
}

/// Where a frame enters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Pod(Station),
    Port(PortId),
    Underlay(IpAddr, Ecn),
}

/// The first peer's door.
pub(crate) const PEER_DOOR: Door = Door::Underlay(IpAddr::V4(PEERS[0].0), Ecn::NotEct);

/// A frame for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodWrite {
    pub(crate) port: PortId,
    pub(crate) queue: Option<u8>,
    pub(crate) frame: Vec<u8>,
}

/// A datagram for a peer; `frame` is the inner frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerSend {
    pub(crate) vtep: IpAddr,
    pub(crate) lane: Lane,
    pub(crate) ecn: Ecn,
    pub(crate) frame: Vec<u8>,
}

/// How the counters moved, apart from the fate's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) fragments: u64,
    pub(crate) icmp_sent: u64,
    pub(crate) icmp_suppressed: u64,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) fate: Fate,
    pub(crate) to_pod: Vec<PodWrite>,
    pub(crate) to_peer: Vec<PeerSend>,
    /// What the device or the sending socket was told of each frame that left.
    pub(crate) vnets: Vec<VnetHeader>,
    /// Packets counted under the fate.
    pub(crate) packets: u64,
    pub(crate) delta: Delta,
}

impl Outcome {
    /// The one frame written to a port.
    pub(crate) fn only_write(&self) -> &[u8] {
        assert!(
            self.to_pod.len() == 1 && self.to_peer.is_empty(),
            "{self:?}"
        );
        &self.to_pod[0].frame
    }

    /// The one inner frame sent to a peer.
    pub(crate) fn only_send(&self) -> &[u8] {
        assert!(
            self.to_peer.len() == 1 && self.to_pod.is_empty(),
            "{self:?}"
        );
        &self.to_peer[0].frame
    }
}

/// The counters that one frame may move.
struct Before {
    fates: [u64; 3],
    drops: Vec<u64>,
    delta: Delta,
}

impl Before {
    fn of(counters: &Counters) -> Self {
        Self {
            fates: [counters.to_pod, counters.to_peer, counters.hairpin],
            drops: DropReason::ALL
                .iter()
                .map(|reason| counters.drops(*reason))
                .collect(),
            delta: Delta {
                fragments: counters.fragments,
                icmp_sent: counters.icmp_sent,
                icmp_suppressed: counters.icmp_suppressed,
            },
        }
    }

    /// Fates met since, of which the one asked for.
    fn moved(&self, after: &Self, fate: Fate) -> (u64, u64) {
        let pairs = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| b - a).collect::<Vec<_>>();
        let fates = pairs(&self.fates, &after.fates);
        let drops = pairs(&self.drops, &after.drops);
        let own = match fate {
            Fate::ToPod(_) => fates[0],
            Fate::ToPeer(_) => fates[1],
            Fate::Hairpin => fates[2],
            Fate::Drop(reason) => drops[reason.index()],
        };
        (fates.iter().chain(&drops).sum(), own)
    }
}

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) conntrack: Arc<Conntrack>,
    pub(crate) path: Path,
    pub(crate) now: Moment,
    out: Out,
}

pub(crate) fn node() -> Node {
    Node {
        vni: Vni::new(VNI).unwrap(),
        vxlan_port: VXLAN_PORT,
        vtep_mac: OUR_VTEP_MAC,
        vtep: OUR_VTEP.into(),
        ipv4: Some(HOST.v4()),
        ipv6: Some(HOST.v6()),
        addresses: vec![OUR_VTEP.into()],
        cidrs: cidrs(1),
    }
}

fn cidrs(node: u8) -> Vec<weft_switch::path::Cidr> {
    let texts = [
        format!("10.244.{node}.0/24"),
        format!("fd00:10:244:{node}::/64"),
    ];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn tables(ports: &[Station]) -> Tables {
    let entries = ports.iter().map(|station| (station.id(), station.entry()));
    publish(entries, Table::allow_all(), Epoch(1))
}

pub(crate) fn publish(
    ports: impl IntoIterator<Item = (PortId, PortEntry)>,
    policy: Table,
    epoch: Epoch,
) -> Tables {
    let mut builder = TablesBuilder::new(node()).epoch(epoch).policy(policy);
    for (id, entry) in ports {
        builder = builder.port(id, entry);
    }
    for (vtep, mac, number, mtu) in PEERS {
        builder = builder.peer(Peer {
            name: format!("node-{number}"),
            vtep: vtep.into(),
            mac,
            cidrs: cidrs(number),
            mtu,
        });
    }
    builder.build().unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(tables(&[HOST, POD, OTHER, NARROW]), FRAMES, 1024)
    }

    /// A world with these tables, so many buffers and so many conntrack entries.
    pub(crate) fn with(tables: Tables, frames: usize, connections: usize) -> Self {
        let conntrack = Arc::new(Conntrack::new(Config {
            capacity: connections,
            ..Config::default()
        }));
        let config = PathConfig {
            worker: 0,
            workers: 1,
            lanes: Lanes::new(8).unwrap(),
            seed: 7,
        };
        Self {
            tables,
            path: Path::new(config, Arc::clone(&conntrack)),
            conntrack,
            now: Moment::from_secs(1),
            out: Out::new(Pool::new(frames, 9000)),
        }
    }

    pub(crate) fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }

    pub(crate) fn pod_sends(&mut self, from: Station, bytes: &[u8]) -> Outcome {
        self.send(Door::Pod(from), bytes)
    }

    pub(crate) fn peer_sends(&mut self, inner: &[u8]) -> Outcome {
        self.send(PEER_DOOR, &tunnelled(VNI, inner))
    }

    pub(crate) fn send(&mut self, door: Door, bytes: &[u8]) -> Outcome {
        self.send_with(door, bytes, VnetHeader::NONE)
    }

    /// Sends a frame that may contradict itself; what becomes of it is the caller's to judge.
    pub(crate) fn send_raw(&mut self, door: Door, bytes: &[u8], vnet: VnetHeader) -> Outcome {
        let before = Before::of(self.path.counters());
        let fate = self.feed(door, bytes, vnet);
        let outcome = self.collect(fate, &before);
        self.recycle();
        outcome
    }

    /// Sends a frame whose payload may be damaged: only the switch's own promises hold.
    pub(crate) fn send_unjudged(&mut self, door: Door, bytes: &[u8]) -> Fate {
        let before = Before::of(self.path.counters());
        let fate = self.feed(door, bytes, VnetHeader::NONE);
        let after = Before::of(self.path.counters());
        assert_eq!(before.moved(&after, fate), (1, 1));
        self.recycle();
        fate
    }

    /// Sends a frame that begins at its buffer's first byte.
    pub(crate) fn send_without_headroom(&mut self, door: Door, bytes: &[u8]) -> Fate {
        let mut frame = self.out.pool.take().expect("a free frame");
        frame.prepend(weft_wire::HEADROOM).expect("all of it");
        assert!(frame.copy_from(bytes));
        let fate = self.enter(door, frame);
        self.recycle();
        fate
    }

    /// Sends frames that are not the pool's own, all in one turn.
    pub(crate) fn send_strangers(&mut self, door: Door, bytes: &[u8], count: usize) -> Vec<Fate> {
        let fates = (0..count).map(|_| {
            let mut frame = Frame::with_capacity(9000);
            assert!(frame.copy_from(bytes));
            self.enter(door, frame)
        });
        let fates = fates.collect();
        self.recycle();
        fates
    }

    fn feed(&mut self, door: Door, bytes: &[u8], vnet: VnetHeader) -> Fate {
        let mut frame = self.out.pool.take().expect("a free frame");
        assert!(frame.copy_from(bytes));
        frame.vnet = vnet;
        self.enter(door, frame)
    }

    fn enter(&mut self, door: Door, frame: Frame) -> Fate {
        let mut turn = self.path.turn(&self.tables, self.now, &mut self.out);
        match door {
            Door::Pod(station) => turn.on_pod_frame(station.id(), frame),
            Door::Port(port) => turn.on_pod_frame(port, frame),
            Door::Underlay(source, ecn) => turn.on_datagram(Datagram { source, ecn }, frame),
        }
    }

    fn recycle(&mut self) {
        self.out.clear();
        let (available, count) = (self.out.pool.available(), self.out.pool.count());
        assert_eq!(available, count, "no buffer is lost");
    }

    /// Sends a frame through a door and checks what must hold for every frame.
    pub(crate) fn send_with(&mut self, door: Door, bytes: &[u8], vnet: VnetHeader) -> Outcome {
        let before = Before::of(self.path.counters());
        let fate = self.feed(door, bytes, vnet);
        let outcome = self.collect(fate, &before);
        if vnet == VnetHeader::NONE {
            assert_eq!(outcome.packets, 1, "one frame, one fate, one counter");
        }
        self.check(&outcome);
        outcome
    }

    fn collect(&self, fate: Fate, before: &Before) -> Outcome {
        let after = Before::of(self.path.counters());
        let (packets, own) = before.moved(&after, fate);
        assert_eq!(packets, own, "one fate, one counter");
        let delta = Delta {
            fragments: after.delta.fragments - before.delta.fragments,
            icmp_sent: after.delta.icmp_sent - before.delta.icmp_sent,
            icmp_suppressed: after.delta.icmp_suppressed - before.delta.icmp_suppressed,
        };
        let to_pod = self.out.to_pod.iter().flat_map(|to| {
            delivered(&to.frame, 0).into_iter().map(|frame| PodWrite {
                port: to.port,
                queue: to.queue,
                frame,
            })
        });
        let to_peer = self.out.to_peer.iter().flat_map(|to| {
            let needs = to.frame.vnet.needs_checksum() && to.frame.vnet.gso().is_none();
            assert!(!needs, "a partial checksum on the underlay");
            delivered(&to.frame, 8).into_iter().map(|payload| {
                let (header, frame) = payload.split_at(8);
                assert_eq!(header, tunnelled(VNI, &[]), "VXLAN header");
                PeerSend {
                    vtep: to.vtep,
                    lane: to.lane,
                    ecn: to.ecn,
                    frame: frame.to_vec(),
                }
            })
        });
        let frames = self.out.to_pod.iter().map(|to| &to.frame);
        let frames = frames.chain(self.out.to_peer.iter().map(|to| &to.frame));
        Outcome {
            fate,
            to_pod: to_pod.collect(),
            to_peer: to_peer.collect(),
            vnets: frames.map(|frame| frame.vnet).collect(),
            packets,
            delta,
        }
    }

    fn check(&mut self, outcome: &Outcome) {
        for write in &outcome.to_pod {
            let entry = self.tables.port(write.port).expect("an open port");
            let [dst, src] = oracle::macs(&write.frame);
            assert_eq!((src, dst), (GATEWAY_MAC, entry.mac));
            assert!(write.frame.len() <= 14 + usize::from(entry.mtu));
            oracle::check(&write.frame);
        }
        for send in &outcome.to_peer {
            let peer = self.tables.peer_at(send.vtep).expect("a peer");
            let [dst, src] = oracle::macs(&send.frame);
            assert_eq!((src, dst), (OUR_VTEP_MAC, peer.mac));
            assert!(send.frame.len() <= 14 + usize::from(peer.mtu));
            oracle::check(&send.frame);
        }
        self.recycle();
    }
}

/// The packets that reach whoever is behind a frame: a receiver finishes the checksum, a sender
/// or a receiver cuts a super-frame. `front` bytes precede the Ethernet header.
fn delivered(frame: &Frame, front: usize) -> Vec<Vec<u8>> {
    let bytes = frame.as_slice();
    if frame.vnet.gso().is_none() {
        let mut whole = bytes.to_vec();
        frame
            .vnet
            .complete_checksum(&mut whole[front..])
            .expect("inside the frame");
        return vec![whole];
    }
    let cut = Cut::of(bytes, front, &frame.vnet).expect("a super-frame that can be cut");
    let mut packets = vec![0; cut.total_len()];
    cut.write(bytes, &mut packets).expect("room");
    (0..cut.count())
        .map(|n| packets[cut.packet(n)].to_vec())
        .collect()
}
