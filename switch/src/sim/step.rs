//! What moves at one moment? Frames from stacks through paths to stacks and links.

use weft_encap::Ecn;
use weft_policy::Moment;
use weft_wire::Frame;

use super::link::Arrivals;
use super::trace::{Event, Place, What, hash};
use super::{Pod, Sim, TICK};
use crate::path::{Datagram, Fate, PortId, Turn};

/// Of the overhead, what the UDP payload already holds: VXLAN and inner Ethernet headers.
const INNER_HEADERS: usize = weft_encap::VXLAN_HEADER + 14;

impl Sim {
    /// Lets all stacks and ports work until nothing moves at this moment; whether
    /// anything did.
    pub(super) fn settle(&mut self) -> bool {
        let mut ever = false;
        loop {
            let moved = (0..self.pods.len())
                .filter(|index| self.poll(*index))
                .count();
            if moved == 0 {
                return ever;
            }
            ever = true;
        }
    }

    fn poll(&mut self, index: usize) -> bool {
        let now = self.now;
        let Some(pod) = self.pods.get_mut(index) else {
            return false;
        };
        let moved = pod.poll(now);
        let (node, port) = (pod.node, pod.port);
        while let Some(frame) = self.pods.get_mut(index).and_then(Pod::next_sent) {
            self.read(node, port, &frame);
        }
        moved
    }

    pub(super) fn next_event(&mut self) -> Moment {
        let now = self.now;
        let stacks = self
            .pods
            .iter_mut()
            .filter_map(|pod| pod.poll_at(now))
            .min();
        let arrival = self.queue.next_due();
        [stacks, arrival]
            .into_iter()
            .flatten()
            .fold(self.next_tick, Moment::min)
    }

    pub(super) fn tick(&mut self) {
        if self.now >= self.next_tick {
            self.nodes
                .iter_mut()
                .for_each(|node| node.path.on_tick(self.now));
            self.next_tick = self.now + TICK;
        }
    }

    /// The node's worker reads a frame from a port.
    fn read(&mut self, node: usize, port: PortId, bytes: &[u8]) {
        let place = Place::Port { node, port };
        self.feed(node, place, bytes, |turn, frame| {
            turn.on_pod_frame(port, frame)
        });
    }

    /// A datagram arrives at a node.
    pub(super) fn arrive(&mut self, node: usize, datagram: Datagram, bytes: &[u8]) {
        let place = Place::Underlay { node };
        self.feed(node, place, bytes, |turn, frame| {
            turn.on_datagram(datagram, frame)
        });
    }

    fn feed(
        &mut self,
        index: usize,
        place: Place,
        bytes: &[u8],
        door: impl FnOnce(&mut Turn<'_>, Frame) -> Fate,
    ) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let Some(mut frame) = node.out.pool.take() else {
            return;
        };
        if frame.copy_from(bytes) {
            let mut turn = node.path.turn(&node.tables, self.now, &mut node.out);
            let fate = door(&mut turn, frame);
            self.record(place, What::Decided(fate), bytes);
        } else {
            node.out.pool.put(frame);
        }
        self.flush(index);
    }

    /// Writes what the node's turn left behind to ports and links.
    fn flush(&mut self, index: usize) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let mut to_peers = Vec::new();
        for to in node.out.to_pod.drain(..) {
            let pod = self
                .pods
                .iter_mut()
                .find(|pod| pod.node == index && pod.port == to.port);
            if let Some(pod) = pod {
                pod.deliver(to.frame.as_slice().to_vec(), self.now);
            }
            node.out.pool.put(to.frame);
        }
        for to in node.out.to_peer.drain(..) {
            to_peers.push((to.vtep, to.ecn, to.frame.as_slice().to_vec()));
            node.out.pool.put(to.frame);
        }
        for (vtep, ecn, payload) in to_peers {
            let receiver = (0..self.nodes.len()).find(|other| self.plan.vtep(*other) == vtep);
            if let Some(receiver) = receiver {
                self.transmit(index, receiver, ecn, payload);
            }
        }
    }

    fn transmit(&mut self, from: usize, to: usize, ecn: Ecn, payload: Vec<u8>) {
        let index = self.link_index(from, to);
        let outer = usize::from(self.plan.underlay.overhead()) - INNER_HEADERS + payload.len();
        let Some((link, rng)) = self.links.get_mut(index) else {
            return;
        };
        let arrivals = link.arrivals(outer, rng);
        let what = match arrivals {
            Arrivals::Lost => What::Lost,
            Arrivals::TooBig => What::TooBig,
            Arrivals::After(_, None) => What::Sent,
            Arrivals::After(_, Some(_)) => What::Doubled,
        };
        self.record(Place::Link { from, to }, what, &payload);
        let datagram = Datagram {
            source: self.plan.vtep(from),
            ecn,
        };
        if let Arrivals::After(first, second) = arrivals {
            if let Some(second) = second {
                let copy = (to, datagram, payload.clone());
                self.queue.push(self.now + second, copy);
            }
            self.queue.push(self.now + first, (to, datagram, payload));
        }
    }

    pub(super) const fn link_index(&self, from: usize, to: usize) -> usize {
        from * self.nodes.len() + to
    }

    fn record(&mut self, place: Place, what: What, bytes: &[u8]) {
        let (at, len, hash) = (self.now, bytes.len(), hash(bytes));
        self.trace.record(Event {
            at,
            place,
            what,
            len,
            hash,
        });
    }
}
