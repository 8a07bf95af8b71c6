//! Why was a frame dropped?
//!
//! One list: a variant is a counter, a name in `weft drops`, and a row of
//! `docs/drop-reasons.md` (a test compares them). Reasons are for frames only:
//! an error of the program is never a drop reason, and success is not one either.

use weft_policy::FragmentError;
use weft_wire::Malformed;

/// The road on which a reason can occur; directions are the pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// Out of a pod, or out of the host port.
    Egress,
    /// Into a pod, or into the host port.
    Ingress,
    /// Either.
    Both,
}

impl Road {
    /// `egress`, `ingress` or `both`, as printed and documented.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Both => "both",
        }
    }
}

/// Who decides a drop: the pure path, or the shell around it at a syscall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// A step of the road.
    Path,
    /// A read or a write of the runtime.
    Shell,
}

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $road:ident $decider:ident $meaning:literal $advice:literal;)+) => {
        /// Why a frame was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $meaning] $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The counter's name, `snake_case`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
            /// The road on which it occurs.
            pub const fn road(self) -> Road {
                match self { $(Self::$variant => Road::$road,)+ }
            }
            /// Whether the path or the shell around it decides it.
            pub const fn decider(self) -> Decider {
                match self { $(Self::$variant => Decider::$decider,)+ }
            }
            /// One line: what was wrong with the frame.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
            /// One line: what an operator does about it.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

drop_reasons! {
    Truncated "truncated" Both Path
        "The frame ends before a header that it announces."
        "Find the sender in the last example; a broken driver or a hostile pod.";
    BadVersion "bad_version" Both Path
        "The IP version does not agree with the EtherType."
        "Find the sender in the last example; a broken driver or a hostile pod.";
    BadLength "bad_length" Both Path
        "A length field contradicts the frame or another length."
        "Find the sender in the last example; a broken driver or a hostile pod.";
    BadChecksum "bad_checksum" Both Path
        "The IPv4 header checksum is wrong."
        "Look for a faulty device on the underlay, or a pod that writes raw frames.";
    BadHeaderChain "bad_header_chain" Both Path
        "The IPv6 extension headers are cut, repeated, misplaced or too many (RFC 7112, RFC 8200)."
        "Normal traffic has none of these; find the sender in the last example.";
    TinyFragment "tiny_fragment" Both Path
        "A first fragment without its whole transport header, or a fragment that would overwrite it (RFC 1858, RFC 7112)."
        "An attempt to slip past a filter; find the sender in the last example.";

    ClosedPort "closed_port" Egress Path
        "The port is not in the published tables."
        "Usual for an instant at attach and detach; if it lasts, look at `weft ports`.";
    UnexpectedOffload "unexpected_offload" Egress Path
        "The vnet header asks for segmentation that its packet cannot have."
        "Only a program that writes raw vnet headers does this; find the pod.";
    BadOffload "bad_offload" Egress Path
        "The vnet header points its checksum outside the frame, or in front of the transport header."
        "Only a program that writes raw vnet headers does this; find the pod.";
    UnexpectedEthertype "unexpected_ethertype" Both Path
        "Neither IPv4 nor IPv6 (nor ARP from a pod): VLAN tags, LLDP, STP, 802.3 frames."
        "Harmless; a pod that needs it cannot have it on a routed network.";
    SpoofedMac "spoofed_mac" Egress Path
        "The source MAC is not the port's."
        "A pod that bridges or forges; find it in the last example.";
    ForeignDestinationMac "foreign_destination_mac" Egress Path
        "A unicast frame for another MAC than the gateway's."
        "The pod has lost its permanent neighbour entry; look at `ip neigh` inside it.";
    SpoofedArp "spoofed_arp" Egress Path
        "The sender fields of an ARP packet are not the port's."
        "A pod that claims another's address; find it in the last example.";
    ForeignArp "foreign_arp" Egress Path
        "ARP that is not a request for the gateway: replies, announcements, requests for others."
        "Harmless at pod start; the switch never learns from pods.";
    BadNeighbor "bad_neighbor" Both Path
        "A neighbour discovery message that RFC 4861 tells to discard: hop limit, code, option length."
        "Forged from afar, or a broken stack; find the sender in the last example.";
    FragmentedNeighbor "fragmented_neighbor" Both Path
        "Neighbour discovery inside a fragment (RFC 6980)."
        "An attempt to slip past a filter; find the sender in the last example.";
    RouterAdvertisement "router_advertisement" Both Path
        "A router advertisement; only the switch is a router here."
        "A rogue router or a misplaced radvd; find the pod and stop it.";
    RouterSolicitation "router_solicitation" Both Path
        "A router solicitation; routes are set at attach, nobody answers."
        "Harmless at pod start.";
    Redirect "redirect" Both Path
        "An ICMP or ICMPv6 redirect."
        "Somebody tries to turn traffic; find the sender in the last example.";
    DhcpServerReply "dhcp_server_reply" Both Path
        "A DHCP or DHCPv6 server's message (67 to 68, 547 to 546)."
        "A rogue DHCP server; find the pod and stop it.";
    NeighborAdvertisement "neighbor_advertisement" Both Path
        "A neighbour advertisement; the switch asks nobody and never learns from pods."
        "Harmless for the pod's own address; for another's it is an attack.";
    NeighborSolicitation "neighbor_solicitation" Both Path
        "A neighbour solicitation for another target than the gateway."
        "The pod lacks its /128 and default route; look at `ip -6 route` inside it.";
    AddressProbe "address_probe" Egress Path
        "Duplicate address detection for the port's own address; silence is the right answer."
        "Nothing; normal at pod start.";
    SourceRouted "source_routed" Both Path
        "An IPv4 source route or an IPv6 routing header of type 0 (RFC 5095)."
        "Find the sender in the last example; nobody needs it.";
    NestedTunnel "nested_tunnel" Both Path
        "A VXLAN packet inside the pod network."
        "A pod tries to inject into the overlay, or runs an overlay on our UDP port: give it another.";
    ForgedIcmpError "forged_icmp_error" Both Path
        "An ICMP error about a packet that its destination did not send."
        "Find the sender in the last example; usually a scan or an attack.";
    Martian "martian" Both Path
        "An address that cannot be on a wire: loopback, unspecified, 0/8, 240/4, mapped, or a multicast source."
        "DHCP clients in pods cause a few; otherwise find the sender in the last example.";
    SpoofedIpv4 "spoofed_ipv4" Egress Path
        "The IPv4 source is not the port's."
        "A pod that forges or routes for others; find it in the last example.";
    SpoofedIpv6 "spoofed_ipv6" Egress Path
        "The IPv6 source is neither the port's nor its link-local address."
        "A pod that forges or routes for others; find it in the last example.";
    SpoofedHost "spoofed_host" Egress Path
        "The host sent a pod's address, or an address outside its podCIDRs towards a peer."
        "Somebody outside forges pod addresses, or NAT or routes on the node bypass weft0.";
    Multicast "multicast" Both Path
        "A multicast or broadcast destination; the pod network has none."
        "Harmless noise (MLD, mDNS); a program that needs multicast will not work here.";
    LinkLocal "link_local" Both Path
        "A link-local IPv6 address that would have to be forwarded (RFC 4291 §2.5.6)."
        "Harmless noise; use the pods' own addresses.";
    GatewayService "gateway_service" Egress Path
        "Sent to the gateway's address, which answers ARP, neighbour discovery and echo only."
        "Address the node by its own address.";

    DeniedEgress "denied_egress" Both Path
        "Policy does not let the sender of the flow's first packet send this."
        "`weft drops` names the policy of the last one; `weft trace FROM TO` asks again, step by step.";
    DeniedIngress "denied_ingress" Both Path
        "Policy does not let the receiver of the flow's first packet be reached by this."
        "`weft drops` names the policy of the last one; `weft trace FROM TO` asks again, step by step.";
    TableFull "table_full" Both Path
        "The places where the new connection could be kept are full of other pods' living ones."
        "Look at `weft flows`: many pods at their quotas at once, or a table too small.";
    RateLimited "rate_limited" Both Path
        "More than the bandwidth limit of the pod lets pass."
        "Expected where a limit is set; raise it if the pod needs more (`kubernetes.io/egress-bandwidth`, `ingress-bandwidth`).";
    FragmentWithoutFirst "fragment_without_first" Both Path
        "A later fragment of a packet whose first fragment did not pass here before it."
        "The first fragment was denied, lost or overtaken; a sender that keeps to the MTU needs none.";
    FragmentOverlap "fragment_overlap" Both Path
        "A fragment that overlaps another one; what follows of its packet is dropped too (RFC 5722)."
        "An attempt to slip past a filter; find the sender in the last example.";
    FragmentTableFull "fragment_table_full" Both Path
        "No room to follow the fragments of another packet."
        "A flood of fragments that never complete; find the sender in the last example.";
    NoRoute "no_route" Egress Path
        "The host sent to an address that is neither a local pod's nor a peer's."
        "Look at the node's routes over weft0 and at `weft peers`.";
    NoSuchPod "no_such_pod" Both Path
        "The destination lies in this node's podCIDRs, and no pod has it."
        "Usual just after a pod is gone; otherwise compare `weft ports` with the API.";
    Transit "transit" Ingress Path
        "A tunnelled packet for neither a pod of this node nor the node; weft never forwards for peers."
        "A peer has wrong routes or podCIDRs; compare `weft peers` on both nodes.";
    TtlExpired "ttl_expired" Both Path
        "The TTL or hop limit ran out here; the sender is told."
        "Traceroute does this; otherwise a routing loop.";
    TooBig "too_big" Both Path
        "Larger than the next hop's MTU and not to be fragmented; the sender is told the MTU."
        "A few per flow are path MTU discovery; many: compare pod and underlay MTU.";
    NoBuffer "no_buffer" Both Path
        "No free buffer for the frame or its fragments."
        "Overload; look at `weft workers`.";

    UnknownPeer "unknown_peer" Ingress Path
        "A tunnel packet from an address that is no peer's."
        "A node not yet known (look at `weft peers`), or an injection from the underlay.";
    TruncatedTunnel "truncated_tunnel" Ingress Path
        "A tunnel packet too short for its VXLAN and Ethernet headers."
        "Another program sends to our UDP port; find it by the last example.";
    NoVni "no_vni" Ingress Path
        "The VXLAN header's I flag is clear, or its VNI is 0 (RFC 7348 §5)."
        "Another program or another encapsulation uses our UDP port.";
    UnknownVni "unknown_vni" Ingress Path
        "A VXLAN network identifier that is not ours."
        "The peer is configured with another VNI; compare the configurations.";
    ForeignInnerMac "foreign_inner_mac" Ingress Path
        "The inner frame is not addressed to this node's VTEP MAC."
        "The peer holds a stale VTEP MAC of this node; look at its forwarding database.";
    ForeignInnerSource "foreign_inner_source" Ingress Path
        "The inner source is outside the sending peer's podCIDRs."
        "A peer with wrong podCIDRs, missing masquerade there, or an injection.";
    EcnMismatch "ecn_mismatch" Ingress Path
        "Congestion was marked on a flow that cannot hear it (RFC 6040 §4.2)."
        "A router on the underlay marks packets that are not ECN-capable.";

    UnderlayQueueFull "underlay_queue_full" Ingress Shell
        "The kernel discarded it before weft read it: the tunnel's socket had no room, or its UDP checksum was wrong."
        "A worker does not keep up: look at `weft workers`; if none is busy, at `nstat -az UdpInCsumErrors`.";
    PodQueueFull "pod_queue_full" Ingress Shell
        "The receiver's TAP queue was full."
        "The pod does not keep up; look at its CPU limit.";
    SendFailed "send_failed" Egress Shell
        "The underlay socket refused the datagram."
        "Look at the node's routes and interface towards the peer, and at its send buffer.";
    Oversize "oversize" Both Shell
        "Read from a device with more bytes than a buffer holds."
        "An MTU beyond the configured one on a TAP or the underlay.";
}

impl DropReason {
    /// Position in [`DropReason::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Truncated => Self::Truncated,
            Malformed::BadVersion => Self::BadVersion,
            Malformed::BadLength => Self::BadLength,
            Malformed::BadChecksum => Self::BadChecksum,
            Malformed::HeaderChain => Self::BadHeaderChain,
            Malformed::TinyFragment => Self::TinyFragment,
        }
    }
}

impl From<FragmentError> for DropReason {
    fn from(error: FragmentError) -> Self {
        match error {
            FragmentError::NoFirst => Self::FragmentWithoutFirst,
            FragmentError::Overlap => Self::FragmentOverlap,
            FragmentError::Full => Self::FragmentTableFull,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case_and_indexed_in_order() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            let name = reason.name();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            );
            assert_eq!(
                DropReason::ALL
                    .iter()
                    .filter(|other| other.name() == name)
                    .count(),
                1,
                "{name}"
            );
        }
    }
}
