//! The road into a pod, and into the host port.
//!
//! Read top to bottom: one step, one call; `?` leaves the road with the reason. The last
//! steps are a function of their own because traffic between two ports of this node
//! joins here. A tunnelled packet is opened once and goes to a port or nowhere.

use weft_policy::Direction;
use weft_wire::{Frame, Headers, Parsed};

use super::admit::Admitted;
use super::drop::DropReason;
use super::fate::Exit;
use super::flow_cache::{Door, Key, Memory, Onward, Way};
use super::ports::PortId;
use super::refusal::Refusal;
use super::{Datagram, Turn, forward, fragment, offload, rogue, spoof, tunnel};

impl Turn<'_> {
    /// Decides which port a datagram from the underlay enters, and rewrites it for there.
    pub(super) fn ingress(
        &mut self,
        datagram: Datagram,
        frame: &mut Frame,
    ) -> Result<Exit, Refusal> {
        let tables = self.tables;
        // 1  The sender is a peer.
        let id = tables.forward().peer_at(datagram.source);
        let (id, peer) = id
            .and_then(|id| Some((id, tables.peer(id)?)))
            .ok_or(DropReason::UnknownPeer)?;
        // 2  A VXLAN header of our network comes off; the only one that ever does.
        tunnel::open(frame, &tables.node)?;
        // 3  One walk over the inner headers; only IPv4 and IPv6 exist.
        let parsed = weft_wire::parse(frame.as_slice());
        let packet = match &parsed {
            Ok(Parsed::Ip(packet)) => packet,
            Ok(Parsed::Arp(_) | Parsed::Other(_)) => {
                return Err(DropReason::UnexpectedEthertype.into());
            }
            Err(malformed) => return Err((*malformed).into()),
        };
        frame.truncate(packet.end);
        self.packets = offload::segments(frame);
        //    What steps 4 to 7 said of a flow under these tables they say of its next packets.
        let key = Key::of(Door::Peer(id), packet);
        let known = self.recall(key.as_ref());
        let to = match known {
            Some(Way {
                onward: Onward::Port(to),
                ..
            }) => to,
            _ => {
                // 4  The inner frame is for this node.
                spoof::check_inner_macs(packet, &tables.node)?;
                // 5  Nothing that only a router, a DHCP server or a node may say.
                rogue::check(frame.as_slice(), packet, &tables.node, Direction::Ingress)?;
                // 6  The inner source is the peer's.
                spoof::check_inner_source(packet, peer)?;
                // 7  A destination that can be routed to: a port of this node, never onwards.
                rogue::check_destination(packet)?;
                forward::next_hop_in(tables, &packet.flow)?
            }
        };
        // 8  Congestion met on the underlay shows inside.
        tunnel::take_marks(frame, packet, datagram.ecn)?;
        // 9  One hop less to live.
        forward::age(frame, packet)?;
        let memory = known.map(|way| way.memory);
        let (exit, admitted) = self.enter(to, frame, packet, memory)?;
        if admitted.memory != memory {
            self.learn(key.as_ref(), Onward::Port(to), &admitted, to);
        }
        Ok(exit)
    }

    /// The end of the road in: into a port of this node.
    #[inline]
    pub(super) fn enter(
        &mut self,
        to: PortId,
        frame: &mut Frame,
        packet: &Headers,
        memory: Option<Memory>,
    ) -> Result<(Exit, Admitted), Refusal> {
        // 10 The receiver is there.
        let port = self.tables.port(to).ok_or(DropReason::NoRoute)?;
        // 11 Conntrack remembers, or policy decides; the port's bandwidth lasts.
        let admitted = match self.resume(Direction::Ingress, packet, memory) {
            Some(admitted) => admitted,
            None => self.admit(Direction::Ingress, (to, port), frame.as_slice(), packet)?,
        };
        self.stay_within(Direction::Ingress, port, frame)?;
        // 12 It fits the port, or is cut to fit.
        fragment::fit(frame, packet, port.mtu, self.out)?;
        // 13 From the gateway to the receiver.
        self.out
            .whole(frame)
            .for_each(|piece| forward::address(piece, port.mac));
        let queue = admitted.home;
        Ok((Exit::Port { port: to, queue }, admitted))
    }

    /// What is known of a flow under these tables.
    #[inline]
    pub(super) fn recall(&mut self, key: Option<&Key>) -> Option<Way> {
        let way = self.path.flow_cache.find(key?, self.tables.epoch)?;
        self.path.counters.recalled += 1;
        Some(way)
    }

    /// Remembers where a flow goes whose connection was known before.
    pub(super) fn learn(
        &mut self,
        key: Option<&Key>,
        onward: Onward,
        admitted: &Admitted,
        owner: PortId,
    ) {
        if let (Some(key), Some(memory)) = (key, admitted.memory) {
            let way = Way { onward, memory };
            let epoch = self.tables.epoch;
            self.path.flow_cache.learn(key, way, owner, epoch);
        }
    }
}
