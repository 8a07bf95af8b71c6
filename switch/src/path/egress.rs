//! The road out of a pod, and out of the host port.
//!
//! Read top to bottom: one step, one call; `?` leaves the road with the reason. What
//! stays on this node goes on with the last steps of the road in, in the same call, so
//! that egress policy of the sender and ingress policy of the receiver both count.

use weft_encap::{Ecn, Lane, Tunnel};
use weft_policy::Direction;
use weft_wire::{Frame, Headers, Parsed};

use super::drop::DropReason;
use super::fate::Exit;
use super::flow_cache::{Door, Key, Onward};
use super::forward::Hop;
use super::ports::PortId;
use super::refusal::Refusal;
use super::tables::PeerId;
use super::{Turn, forward, fragment, gateway, neighbor, offload, rogue, spoof};

impl Turn<'_> {
    /// Decides where a frame read from port `from` leaves, and rewrites it for there.
    pub(super) fn egress(&mut self, from: PortId, frame: &mut Frame) -> Result<Exit, Refusal> {
        let tables = self.tables;
        // 1  The port is open.
        let port = tables.port(from).ok_or(DropReason::ClosedPort)?;
        // 2  The source MAC is the port's.
        spoof::check_macs(frame.as_slice(), port)?;
        // 3  One walk over the headers; only IPv4, IPv6 and ARP for the gateway exist.
        let mut parsed = weft_wire::parse(frame.as_slice());
        let packet = match &mut parsed {
            Ok(Parsed::Ip(packet)) => packet,
            Ok(Parsed::Arp(arp)) => return Ok(neighbor::answer_arp(frame, arp, from, port)?),
            Ok(Parsed::Other(_)) => return Err(DropReason::UnexpectedEthertype.into()),
            Err(malformed) => return Err((*malformed).into()),
        };
        frame.truncate(packet.end);
        // 4  What the sender's kernel left to us is what such a packet can have.
        offload::settle(frame, packet)?;
        let packet = &*packet;
        self.packets = offload::segments(frame);
        //    What steps 5 to 8 and 10 said of a flow under these tables they say of its next packets.
        let key = Key::of(Door::Port(from), packet);
        let known = self.recall(key.as_ref());
        if known.is_none() {
            // 5  Nothing that only a router, a DHCP server or a node may say.
            rogue::check(frame.as_slice(), packet, &tables.node, Direction::Egress)?;
            // 6  The source address is the port's.
            spoof::check_source(frame.as_slice(), packet, port, tables)?;
            // 7  Questions to the gateway are answered on the spot.
            if gateway::is_asked(packet) {
                return Ok(gateway::answer(frame, packet, from, port)?);
            }
            // 8  A destination that can be routed to.
            rogue::check_destination(packet)?;
        }
        // 9  Conntrack remembers, or policy decides; the port's bandwidth lasts.
        let memory = known.map(|way| way.memory);
        let admitted = match self.resume(Direction::Egress, packet, memory) {
            Some(admitted) => admitted,
            None => self.admit(Direction::Egress, (from, port), frame.as_slice(), packet)?,
        };
        self.stay_within(Direction::Egress, port, frame)?;
        // 10 Where does the destination live?
        let onward = match known {
            Some(way) => way.onward,
            None => self.onward(forward::next_hop_out(tables, port, &packet.flow)?, packet),
        };
        if admitted.memory != memory {
            self.learn(key.as_ref(), onward, &admitted, from);
        }
        // 11 One hop less to live.
        forward::age(frame, packet)?;
        // 12 Into a port of this node, with the end of the road in; or into the tunnel.
        match onward {
            Onward::Port(to) => {
                // The other side's verdict is in the same entry; only whole, plain packets may
                // ask it without a look at the rest of them.
                let memory = key.and(admitted.memory);
                let (exit, _) = self.enter(to, frame, packet, memory)?;
                Ok(exit)
            }
            Onward::Peer { peer, flow, lane } => self.leave(peer, (flow, lane), frame, packet),
        }
    }

    /// A hop, with the lane of a flow that takes the tunnel.
    fn onward(&self, hop: Hop, packet: &Headers) -> Onward {
        match hop {
            Hop::Port(to) => Onward::Port(to),
            Hop::Peer(peer) => {
                let flow = packet.entropy(self.path.seed);
                let lane = self.path.lanes.pick(flow);
                Onward::Peer { peer, flow, lane }
            }
        }
    }

    /// The end of the road out: into the tunnel to a peer.
    fn leave(
        &mut self,
        id: PeerId,
        (flow, lane): (u64, Lane),
        frame: &mut Frame,
        packet: &Headers,
    ) -> Result<Exit, Refusal> {
        let node = &self.tables.node;
        let peer = self.tables.peer(id).ok_or(DropReason::NoRoute)?;
        // 13 It fits the tunnel, or is cut to fit.
        fragment::fit(frame, packet, peer.mtu, self.out)?;
        // 14 Its checksum is whole, unless it is cut into packets when it is sent.
        if !frame.vnet.is_segmented() {
            offload::finish(frame)?;
        }
        // 15 VXLAN in front; the inner MACs name the two nodes.
        let tunnel = Tunnel {
            vni: node.vni,
            src: node.vtep_mac,
            dst: peer.mac,
        };
        self.out
            .whole(frame)
            .try_for_each(|piece| weft_encap::push(piece, &tunnel))
            .map_err(|_| DropReason::NoBuffer)?;
        // 16 On the flow's lane, with its congestion marks outside too.
        let ecn = Ecn::encapsulate(Ecn::from_bits(packet.traffic_class));
        Ok(Exit::Peer {
            peer: id,
            vtep: peer.vtep,
            lane,
            flow,
            ecn,
        })
    }
}
