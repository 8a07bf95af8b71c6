//! The road into a pod, and into the host port.
//!
//! Read top to bottom: one step, one call; `?` leaves the road with the reason. The last
//! steps are a function of their own because traffic between two ports of this node
//! joins here. A tunnelled packet is opened once and goes to a port or nowhere.

use weft_policy::Direction;
use weft_wire::{Frame, Headers, Parsed};

use super::drop::DropReason;
use super::fate::Exit;
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
        let peer = tables
            .peer_at(datagram.source)
            .ok_or(DropReason::UnknownPeer)?;
        // 2  A VXLAN header of our network comes off; the only one that ever does.
        tunnel::open(frame, &tables.node)?;
        // 3  One walk over the inner headers; only IPv4 and IPv6 exist.
        let packet = match weft_wire::parse(frame.as_slice())? {
            Parsed::Ip(packet) => packet,
            Parsed::Arp(_) | Parsed::Other(_) => return Err(DropReason::UnexpectedEthertype.into()),
        };
        frame.truncate(packet.end);
        self.packets = offload::segments(frame);
        // 4  The inner frame is for this node.
        spoof::check_inner_macs(&packet, &tables.node)?;
        // 5  Nothing that only a router, a DHCP server or a node may say.
        rogue::check(frame.as_slice(), &packet, &tables.node, Direction::Ingress)?;
        // 6  The inner source is the peer's.
        spoof::check_inner_source(&packet, peer)?;
        // 7  A destination that can be routed to: a port of this node, never onwards.
        rogue::check_destination(&packet)?;
        let to = forward::next_hop_in(tables, &packet.flow)?;
        // 8  Congestion met on the underlay shows inside.
        tunnel::take_marks(frame, &packet, datagram.ecn)?;
        // 9  One hop less to live.
        forward::age(frame, &packet)?;
        self.enter(to, frame, &packet)
    }

    /// The end of the road in: into a port of this node.
    pub(super) fn enter(
        &mut self,
        to: PortId,
        frame: &mut Frame,
        packet: &Headers,
    ) -> Result<Exit, Refusal> {
        // 10 The receiver is there.
        let port = self.tables.port(to).ok_or(DropReason::NoRoute)?;
        // 11 Conntrack remembers, or policy decides; the port's bandwidth lasts.
        let queue = self.admit(Direction::Ingress, (to, port), frame.as_slice(), packet)?;
        self.stay_within(Direction::Ingress, port, offload::wire_len(frame))?;
        // 12 It fits the port, or is cut to fit.
        fragment::fit(frame, packet, port.mtu, self.out)?;
        // 13 From the gateway to the receiver.
        for piece in self.out.whole(frame) {
            forward::address(piece, port.mac);
        }
        Ok(Exit::Port { port: to, queue })
    }
}
