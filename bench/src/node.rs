//! On which node are frames measured? One with as many pods and peers as a busy cluster's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use weft_encap::{Ecn, Lanes, VXLAN_HEADER, Vni};
use weft_policy::{Config, Conntrack, Epoch, Moment, PolicySetId, Span, Table};
use weft_switch::path::{
    Cidr, Datagram, Fate, Node, Out, Path, PathConfig, Peer, PortEntry, PortId, PortKind, Tables,
    TablesBuilder,
};
use weft_wire::{Frame, Mac, Pool};

use crate::frames::{Family, Station, Talk};

/// Pods of the node: the kubelet's default limit.
pub const PODS: u8 = 110;
/// Other nodes.
pub const PEERS: u8 = 100;
/// The largest IP packet through the tunnel over an MTU of 1500.
pub const MTU: u16 = 1450;

const OUR_NODE: u8 = 1;
const FRAMES: usize = 64;
/// Bytes of a frame that the road may write to: VXLAN, Ethernet and IP headers.
const HEADERS: usize = 128;

/// The underlay address of a node.
#[must_use]
pub const fn vtep(node: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, node))
}

/// The VTEP MAC of a node.
#[must_use]
pub const fn vtep_mac(node: u8) -> Mac {
    Mac::new([0x02, 0xee, 0, 0, 0, node])
}

/// The network identifier of the overlay.
#[must_use]
pub fn vni() -> Vni {
    Vni::new(1).unwrap_or(Vni::MAX)
}

fn cidrs(node: u8) -> Vec<Cidr> {
    let host = Station { node, last: 0 };
    let prefixes = [(IpAddr::V4(host.v4()), 24), (IpAddr::V6(host.v6()), 64)];
    prefixes
        .iter()
        .filter_map(|&(base, length)| Cidr::new(base, length).ok())
        .collect()
}

fn entry(station: Station, kind: PortKind) -> PortEntry {
    PortEntry {
        kind,
        mac: station.mac(),
        ipv4: Some(station.v4()),
        ipv6: Some(station.v6()),
        mtu: MTU,
        policy: PolicySetId::UNSELECTED,
        pod: None,
        limits: None,
    }
}

/// The tables of our node.
#[must_use]
pub fn tables() -> Tables {
    tables_under(Table::allow_all(), |_| PolicySetId::UNSELECTED)
}

/// The tables of our node under a policy, whose sets its pods obey.
#[must_use]
#[expect(clippy::expect_used, reason = "the tables are constant")]
pub fn tables_under(policy: Table, set_of: impl Fn(Station) -> PolicySetId) -> Tables {
    let host = Station {
        node: OUR_NODE,
        last: 0,
    };
    let node = Node {
        vni: vni(),
        vxlan_port: weft_encap::VXLAN_PORT,
        vtep_mac: vtep_mac(OUR_NODE),
        vtep: vtep(OUR_NODE),
        ipv4: Some(host.v4()),
        ipv6: Some(host.v6()),
        addresses: vec![vtep(OUR_NODE)],
        cidrs: cidrs(OUR_NODE),
    };
    let mut builder = TablesBuilder::new(node)
        .epoch(Epoch(1))
        .policy(policy)
        .port(PortId::HOST, entry(host, PortKind::Host));
    for last in 2..2 + PODS {
        let pod = Station {
            node: OUR_NODE,
            last,
        };
        let mut entry = entry(pod, PortKind::Pod);
        entry.policy = set_of(pod);
        builder = builder.port(pod.port(), entry);
    }
    for number in 2..2 + PEERS {
        builder = builder.peer(Peer {
            name: format!("node-{number}"),
            vtep: vtep(number),
            mac: vtep_mac(number),
            cidrs: cidrs(number),
            mtu: MTU,
        });
    }
    builder.build().expect("the tables are valid")
}

/// The UDP payload of a frame from a peer's pod to one of ours.
#[must_use]
pub fn tunnelled(from: Station, to: Station, family: Family, size: usize) -> Vec<u8> {
    let macs = (vtep_mac(from.node), vtep_mac(to.node));
    let talk = Talk::out_of_pod(from, to, family);
    in_tunnel(&Talk { macs, ..talk }.udp(size))
}

/// The UDP payload that carries an inner frame.
#[must_use]
pub fn in_tunnel(inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni().get().to_be_bytes();
    let header: [u8; VXLAN_HEADER] = [8, 0, 0, 0, a, b, c, 0];
    [&header[..], inner].concat()
}

/// A conntrack table of the default size, with a seed that makes every run the same.
#[must_use]
pub fn conntrack() -> Arc<Conntrack> {
    Arc::new(Conntrack::new(Config {
        seed: [7, 11],
        ..Config::default()
    }))
}

/// By which door a frame comes.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    /// Read from a port.
    Port(PortId),
    /// Received from a node.
    Underlay(u8),
}

/// One worker with everything a frame meets.
#[derive(Debug)]
pub struct Worker {
    tables: Tables,
    path: Path,
    out: Out,
    now: Moment,
}

impl Default for Worker {
    fn default() -> Self {
        Self::with(tables())
    }
}

impl Worker {
    /// A worker that forwards by these tables.
    #[must_use]
    #[expect(clippy::expect_used, reason = "8 is a power of two")]
    pub fn with(tables: Tables) -> Self {
        let config = PathConfig {
            worker: 0,
            workers: 1,
            lanes: Lanes::new(8).expect("8 is a power of two"),
            seed: 7,
        };
        Self {
            tables,
            path: Path::new(config, conntrack()),
            out: Out::new(Pool::new(FRAMES, 2048)),
            now: Moment::from_secs(1),
        }
    }

    /// Fills every free frame with `bytes`, so that [`Worker::meet`] need only write the headers.
    pub fn load(&mut self, bytes: &[u8]) {
        let free = self.out.pool.available();
        let mut frames: Vec<Frame> = (0..free).filter_map(|_| self.out.pool.take()).collect();
        for frame in &mut frames {
            assert!(frame.copy_from(bytes), "the frame fits a buffer");
        }
        frames
            .into_iter()
            .for_each(|frame| self.out.pool.put(frame));
    }

    /// A frame that was loaded with `bytes` comes by `door`; its payload is there already, as a
    /// read would have left it, its headers are written anew.
    pub fn meet(&mut self, door: Door, bytes: &[u8]) -> Option<Fate> {
        let frame = self.frame(bytes)?;
        let mut turn = self.path.turn(&self.tables, self.now, &mut self.out);
        let fate = match door {
            Door::Port(port) => turn.on_pod_frame(port, frame),
            Door::Underlay(node) => turn.on_datagram(
                Datagram {
                    source: vtep(node),
                    ecn: Ecn::NotEct,
                },
                frame,
            ),
        };
        self.out.clear();
        Some(fate)
    }

    /// What [`Worker::meet`] costs without the road: a frame is taken, written and given back.
    pub fn handle(&mut self, bytes: &[u8]) -> Option<()> {
        let frame = self.frame(bytes)?;
        self.out.pool.put(frame);
        Some(())
    }

    /// A frame that was loaded with `bytes`, its headers written anew.
    fn frame(&mut self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.out.pool.take()?;
        frame.set_len(bytes.len());
        let headers = bytes.len().min(HEADERS);
        frame
            .as_mut_slice()
            .get_mut(..headers)?
            .copy_from_slice(bytes.get(..headers)?);
        Some(frame)
    }

    /// The same tables are published again.
    pub fn publish(&mut self, epoch: Epoch) {
        self.tables.epoch = epoch;
    }

    /// Time goes by.
    pub fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }

    /// The worker's housekeeping.
    pub fn tick(&mut self) {
        self.path.on_tick(self.now);
    }

    /// What was counted so far.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
