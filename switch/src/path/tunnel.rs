//! Is a datagram from the underlay a packet of our overlay?
//!
//! Owns the two steps that only the tunnel side has: taking the VXLAN header off, and
//! carrying congestion marks from the outer header to the inner one (RFC 6040).

use weft_encap::{BadTunnel, Ecn};
use weft_wire::{Frame, Headers, IpVersion, ipv4, ipv6};

use super::drop::DropReason;
use super::tables::Node;

/// Takes the VXLAN header off; the VNI is ours.
pub(super) fn open(frame: &mut Frame, node: &Node) -> Result<(), DropReason> {
    match weft_encap::pop(frame) {
        Ok(vni) if vni == node.vni => Ok(()),
        Ok(_) => Err(DropReason::UnknownVni),
        Err(BadTunnel::Truncated) => Err(DropReason::TruncatedTunnel),
        Err(BadTunnel::NoVni | BadTunnel::ZeroVni) => Err(DropReason::NoVni),
    }
}

/// Gives the inner packet the mark that inner and outer marks make together.
pub(super) fn take_marks(
    frame: &mut Frame,
    packet: &Headers,
    outer: Ecn,
) -> Result<(), DropReason> {
    let inner = Ecn::from_bits(packet.traffic_class);
    let marked = Ecn::decapsulate(inner, outer).ok_or(DropReason::EcnMismatch)?;
    if marked != inner {
        let ip = frame
            .as_mut_slice()
            .get_mut(packet.l3..)
            .unwrap_or_default();
        match packet.version {
            IpVersion::V4 => ipv4::set_ecn(ip, marked.bits()),
            IpVersion::V6 => ipv6::set_ecn(ip, marked.bits()),
        }
    }
    Ok(())
}
