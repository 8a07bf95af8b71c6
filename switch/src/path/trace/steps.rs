//! Which steps has the road, and at which does a reason leave it?
//!
//! The same numbers and names as in `docs/road-of-a-packet.md`, which a test compares.

use std::net::IpAddr;

use crate::path::DropReason;
use crate::path::martian::{self, Kind};

/// One step of the road out of a pod (`out`) or into one (`in`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Port,
    Macs,
    Parse,
    Offload,
    Rogues,
    Source,
    Questions,
    Destination,
    Egress,
    Route,
    Age,
    FitTunnel,
    Checksum,
    Vxlan,
    Lane,
    Peer,
    Open,
    InnerParse,
    InnerMacs,
    InnerRogues,
    InnerSource,
    Local,
    Marks,
    InnerAge,
    Receiver,
    Ingress,
    FitPort,
    Address,
}

use Step::*;

/// Out of a port, as far as all packets go.
pub(super) const OUT: &[Step] = &[
    Port,
    Macs,
    Parse,
    Offload,
    Rogues,
    Source,
    Questions,
    Destination,
    Egress,
    Route,
    Age,
];
/// What follows towards a peer.
pub(super) const LEAVE: &[Step] = &[FitTunnel, Checksum, Vxlan, Lane];
/// Out of the tunnel.
pub(super) const IN: &[Step] = &[
    Peer,
    Open,
    InnerParse,
    InnerMacs,
    InnerRogues,
    InnerSource,
    Local,
    Marks,
    InnerAge,
];
/// What follows towards a port of this node.
pub(super) const ENTER: &[Step] = &[Receiver, Ingress, FitPort, Address];

impl Step {
    /// Its road, number and name.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Port => "out 1: the port is open",
            Macs => "out 2: the MACs",
            Parse => "out 3: parse",
            Offload => "out 4: what was left to us",
            Rogues => "out 5: rogues",
            Source => "out 6: the source address",
            Questions => "out 7: questions to the gateway",
            Destination => "out 8: a destination that can be routed to",
            Egress => "out 9: may it pass?",
            Route => "out 10: where does the destination live?",
            Age => "out 11: one hop less",
            FitTunnel => "out 13: the MTU",
            Checksum => "out 14: the checksum",
            Vxlan => "out 15: VXLAN",
            Lane => "out 16: lane and marks",
            Peer => "in 1: the sender is a peer",
            Open => "in 2: the VXLAN header comes off",
            InnerParse => "in 3: parse",
            InnerMacs => "in 4: for this node",
            InnerRogues => "in 5: rogues",
            InnerSource => "in 6: the inner source is the peer's",
            Local => "in 7: here, and nowhere else",
            Marks => "in 8: marks",
            InnerAge => "in 9: one hop less",
            Receiver => "in 10: the receiver",
            Ingress => "in 11: may it enter?",
            FitPort => "in 12: the MTU",
            Address => "in 13: MACs",
        }
    }

    /// Which of `steps` a packet from `source` refused for this reason has come to.
    pub(super) fn of(reason: DropReason, steps: &[Self], source: IpAddr) -> Option<usize> {
        let possible = at(reason);
        // Of reasons for either address the source's comes first, if it is at fault.
        let innocent =
            martian::kind(source) == Kind::Unicast && reason != DropReason::ForeignInnerSource;
        steps
            .iter()
            .position(|step| possible.contains(step) && !(innocent && *step == InnerSource))
    }
}

/// The steps at which a reason can occur.
const fn at(reason: DropReason) -> &'static [Step] {
    use DropReason as R;
    match reason {
        R::ClosedPort => &[Port],
        R::UnexpectedOffload | R::BadOffload => &[Offload],
        R::SpoofedMac | R::ForeignDestinationMac => &[Macs],
        R::Truncated
        | R::BadVersion
        | R::BadLength
        | R::BadChecksum
        | R::BadHeaderChain
        | R::TinyFragment
        | R::UnexpectedEthertype
        | R::SpoofedArp
        | R::ForeignArp => &[Parse, InnerParse],
        R::FragmentedNeighbor
        | R::RouterAdvertisement
        | R::RouterSolicitation
        | R::Redirect
        | R::DhcpServerReply
        | R::NeighborAdvertisement
        | R::SourceRouted
        | R::NestedTunnel
        | R::ForgedIcmpError => &[Rogues, InnerRogues],
        R::AddressProbe | R::SpoofedIpv4 | R::SpoofedIpv6 | R::SpoofedHost => &[Source],
        R::BadNeighbor | R::NeighborSolicitation => &[Questions, InnerRogues],
        R::GatewayService => &[Questions],
        R::Martian | R::LinkLocal => &[Destination, InnerSource, Local],
        R::Multicast => &[Destination, Local],
        R::DeniedEgress => &[Egress],
        R::DeniedIngress => &[Ingress],
        R::TableFull
        | R::RateLimited
        | R::FragmentWithoutFirst
        | R::FragmentOverlap
        | R::FragmentTableFull => &[Egress, Ingress],
        R::NoRoute => &[Route, Receiver],
        R::NoSuchPod => &[Route, Local],
        R::Transit => &[Local],
        R::TtlExpired => &[Age, InnerAge],
        R::TooBig => &[FitTunnel, FitPort],
        R::NoBuffer => &[Vxlan, FitPort],
        R::UnknownPeer => &[Peer],
        R::TruncatedTunnel | R::NoVni | R::UnknownVni => &[Open],
        R::ForeignInnerMac => &[InnerMacs],
        R::ForeignInnerSource => &[InnerSource],
        R::EcnMismatch => &[Marks],
        R::UnderlayQueueFull | R::PodQueueFull | R::SendFailed | R::Oversize => &[],
    }
}
