//! May any bytes come by any door, at any time?
//!
//! [`World`] is a node with one worker; whatever comes by its doors, [`judge`] holds what becomes
//! of it against the promises of the road. Frames are any bytes (`pod_door`, `tunnel_door`) or a
//! scenario of doors, table swaps and passing time (`sequence`).

mod frame;
pub mod judge;
mod spec;
mod who;

use std::net::IpAddr;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use weft_encap::{Cut, Ecn};
use weft_policy::{Conntrack, Epoch, Moment, Span};
use weft_switch::path::{Datagram, Out, Path, PortId, Tables, ToPeer, ToPod};
use weft_wire::{Frame, Pool, VnetHeader};

use crate::node::{self, CONNECTIONS, PEERS, Published, VTEP, VXLAN};
use crate::oracle;
use judge::{Entered, Judge};
use spec::Spec;
use who::Sender;

/// Frames of the worker's pool: few, so that it runs dry.
const FRAMES: usize = 6;
const CAPACITY: usize = 4096;
/// The ports, and one number that nobody has.
const NUMBERS: u16 = 6;

/// A node with one worker.
#[derive(Debug)]
pub struct World {
    published: Published,
    tables: Tables,
    path: Path,
    conntrack: Arc<Conntrack>,
    out: Out,
    /// What leaves of super-frames.
    packets: Out,
    now: Moment,
}

/// The packets that a frame stands for.
fn cut(frame: &Frame, front: usize, pool: &mut Pool) -> Vec<Frame> {
    let bytes = frame.as_slice();
    let cut = Cut::of(bytes, front, &frame.vnet).expect("a normalised header");
    let mut packets = vec![0; cut.total_len()];
    cut.write(bytes, &mut packets).expect("room");
    (0..cut.count())
        .map(|n| {
            let mut packet = pool.take().expect("no packet is shorter than a byte");
            assert!(packet.copy_from(&packets[cut.packet(n)]));
            packet
        })
        .collect()
}

impl World {
    /// A node that knows what is published.
    #[must_use]
    pub fn new(published: Published) -> Self {
        let (path, conntrack) = node::path();
        Self {
            published,
            tables: published.tables(Epoch(1)),
            path,
            conntrack,
            out: Out::new(Pool::new(FRAMES, CAPACITY)),
            packets: Out::new(Pool::new(0, CAPACITY)),
            now: Moment::from_secs(1),
        }
    }

    /// The control thread publishes new tables.
    pub fn publish(&mut self, published: Published) {
        self.published = published;
        self.tables = published.tables(self.tables.epoch.next());
    }

    /// A frame is read from port `number`.
    ///
    /// # Panics
    /// When a promise does not hold.
    pub fn read(&mut self, number: u16, bytes: &[u8], vnet: VnetHeader) {
        let Some(port) = PortId::new(number) else {
            return;
        };
        let mut frame = self.frame(bytes);
        frame.vnet = vnet;
        let mut sent = bytes.to_vec();
        // What the pod's kernel left to us is part of what it sent.
        let _ = vnet.complete_checksum(&mut sent);
        let judge = Judge::new(&self.path, self.published, Entered::Port(number, sent));
        let mut turn = self.path.turn(&self.tables, self.now, &mut self.out);
        let fate = turn.on_pod_frame(port, frame);
        if self.cut() {
            judge.check(fate, &self.path, &self.packets);
            self.packets.clear();
        } else {
            judge.check(fate, &self.path, &self.out);
        }
        self.settle();
    }

    /// A datagram is received from `source`.
    ///
    /// # Panics
    /// When a promise does not hold.
    pub fn receive(&mut self, source: IpAddr, ecn: Ecn, bytes: &[u8]) {
        let frame = self.frame(bytes);
        let entered = Entered::Underlay(source, ecn, bytes.to_vec());
        let judge = Judge::new(&self.path, self.published, entered);
        let mut turn = self.path.turn(&self.tables, self.now, &mut self.out);
        let fate = turn.on_datagram(Datagram { source, ecn }, frame);
        judge.check(fate, &self.path, &self.out);
        self.settle();
    }

    /// Does what the shell does with a super-frame: what leaves is in `packets` then. Finishes
    /// partial checksums, as the receivers do.
    fn cut(&mut self) -> bool {
        let frames = self.out.to_pod.iter_mut().map(|to| &mut to.frame);
        let frames = frames.chain(self.out.to_peer.iter_mut().map(|to| &mut to.frame));
        let mut segmented = false;
        for frame in frames {
            if frame.vnet.gso().is_some() {
                segmented = true;
            } else {
                let vnet = std::mem::replace(&mut frame.vnet, VnetHeader::NONE);
                let done = vnet.complete_checksum(frame.as_mut_slice());
                done.expect("a normalised header");
            }
        }
        if segmented {
            self.cut_all();
        }
        segmented
    }

    fn cut_all(&mut self) {
        let Self { out, packets, .. } = self;
        // As many as there can be, and only when there are any.
        *packets = Out::new(Pool::new(CAPACITY, CAPACITY));
        for to in &out.to_pod {
            for frame in cut(&to.frame, 0, &mut packets.pool) {
                let (port, queue) = (to.port, to.queue);
                packets.to_pod.push(ToPod { port, queue, frame });
            }
        }
        for to in &out.to_peer {
            for frame in cut(&to.frame, VXLAN.len(), &mut packets.pool) {
                packets.to_peer.push(ToPeer { frame, ..*to });
            }
        }
    }

    /// Time goes by, and the worker keeps house.
    pub fn pass(&mut self, span: Span) {
        self.now = self.now + span;
        self.path.on_tick(self.now);
    }

    fn frame(&mut self, bytes: &[u8]) -> Frame {
        let mut frame = self.out.pool.take().expect("every frame came back");
        assert!(
            frame.copy_from(bytes.get(..CAPACITY).unwrap_or(bytes)),
            "the bytes fit"
        );
        frame
    }

    /// The shell has sent everything.
    fn settle(&mut self) {
        self.out.clear();
        assert_eq!(self.out.pool.available(), FRAMES, "a buffer is lost");
        assert!(self.conntrack.len() <= CONNECTIONS, "conntrack grows");
        assert_eq!(self.conntrack.len(), {
            let mut live = 0;
            self.conntrack.for_each(|_| live += 1);
            live
        });
    }
}

/// The harness of `pod_door`: the first byte chooses the port, and whether the next ten are a
/// virtio-net header; the rest is read from the port, twice, the second time under new tables.
///
/// # Panics
/// When a promise does not hold.
pub fn pod_door(bytes: &[u8]) {
    let Some((&choice, mut bytes)) = bytes.split_first() else {
        return;
    };
    let mut vnet = VnetHeader::NONE;
    if choice & 0x80 != 0
        && let Some((prefix, rest)) = bytes.split_at_checked(VnetHeader::LEN)
    {
        vnet = VnetHeader::parse(prefix).unwrap_or(VnetHeader::NONE);
        bytes = rest;
    }
    let bytes = bytes.get(..CAPACITY).unwrap_or(bytes);
    let mut world = World::new(Published::ALL);
    let number = u16::from(choice & 0x7f) % NUMBERS;
    for frame in [Some(bytes.to_vec()), oracle::with_ipv4_checksum(bytes)]
        .into_iter()
        .flatten()
    {
        world.read(number, &frame, vnet);
        world.publish(Published(0b0101_0111));
        world.pass(Span::from_millis(100));
        world.read(number, &frame, vnet);
        world.publish(Published::ALL);
    }
}

/// The harness of `tunnel_door`: the first byte chooses the underlay source and the outer marks,
/// the rest is the UDP payload, received twice.
///
/// # Panics
/// When a promise does not hold.
pub fn tunnel_door(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let bytes = bytes.get(..CAPACITY).unwrap_or(bytes);
    let ecn = Ecn::from_bits(choice);
    let source = source(choice >> 2);
    let mut world = World::new(Published::ALL);
    let repaired = bytes
        .split_at_checked(VXLAN.len())
        .and_then(|(vxlan, inner)| Some([vxlan, &oracle::with_ipv4_checksum(inner)?].concat()));
    for payload in [Some(bytes.to_vec()), repaired].into_iter().flatten() {
        world.receive(source, ecn, &payload);
        world.publish(Published(0b0101_0111));
        world.pass(Span::from_millis(100));
        world.receive(source, ecn, &payload);
        world.publish(Published::ALL);
    }
}

/// Either peer, ourselves or a stranger.
fn source(choice: u8) -> IpAddr {
    match choice % 4 {
        0 => PEERS[0].1,
        1 => PEERS[1].1,
        2 => VTEP,
        _ => IpAddr::from([198, 51, 100, choice]),
    }
}

/// One thing that happens to a node.
#[derive(Debug, Arbitrary)]
enum Event {
    /// A frame is read from a port.
    Read { port: u8, spec: Spec },
    /// A datagram comes from the underlay.
    Receive { source: u8, ecn: u8, spec: Spec },
    /// New tables are published.
    Publish(u8),
    /// Time goes by.
    Pass { millis: u16 },
    /// A long time goes by.
    Sleep { seconds: u16 },
}

/// The harness of `doors`: a sequence of events.
///
/// # Panics
/// When a promise does not hold.
pub fn sequence(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let mut world = World::new(Published::ALL);
    while !input.is_empty() {
        let Ok(event) = Event::arbitrary(&mut input) else {
            return;
        };
        match event {
            Event::Read { port, spec } => {
                let port = u16::from(port) % NUMBERS;
                let mut frame = spec.frame(Sender::Port(port));
                let vnet = spec.vnet(&mut frame);
                world.read(port, &frame, vnet);
            }
            Event::Receive {
                source: choice,
                ecn,
                spec,
            } => {
                let source = source(choice);
                world.receive(source, Ecn::from_bits(ecn), &spec.payload(source));
            }
            Event::Publish(bits) => world.publish(Published(bits)),
            Event::Pass { millis } => world.pass(Span::from_millis(millis.into())),
            Event::Sleep { seconds } => world.pass(Span::from_secs(seconds.into())),
        }
    }
}
