//! The weft dataplane: what happens to a frame between the read and the write.
//!
//! Directions are the pod's, as NetworkPolicy says them: *egress* leaves a pod, *ingress*
//! enters one. Steps between the devices are pure functions in [`path`]; each may leave the
//! road with a [`path::DropReason`], and every frame meets one [`path::Fate`].
//!
//! ```text
//! A WORKER'S TURN BEGINS                              runtime/worker     one Moment, one Tables
//!
//! OUT OF THE POD                                      path/egress.rs
//!    read a batch of frames from a TAP queue          sys/tap            syscall
//!  1 the port is open                                 tables.rs          ClosedPort
//!  2 the source MAC is the port's                     spoof.rs           SpoofedMac, ForeignDestinationMac
//!  3 parse: one walk; answer ARP for the gateway      wire, neighbor.rs  Truncated … TinyFragment, UnexpectedEthertype, …Arp
//!  4 what is left to us is what a packet can have     offload.rs         UnexpectedOffload, BadOffload
//!    of a known flow, 5 to 8 and 10 are known         flow_cache.rs
//!  5 nothing only a router or a server may say        rogue.rs           RouterAdvertisement, Redirect, NestedTunnel, …
//!  6 the source address is the port's                 spoof.rs           SpoofedIpv4, SpoofedIpv6, SpoofedHost, Martian
//!  7 answer what is asked of the gateway              gateway.rs         Hairpin, or GatewayService, …
//!  8 a destination that can be routed to              rogue.rs           Multicast, LinkLocal, Martian
//!  9 conntrack remembers, or policy decides           admit.rs, meter.rs DeniedEgress, TableFull, RateLimited
//! 10 where does the destination live?                 forward.rs         NoRoute, NoSuchPod + ICMP
//! 11 one hop less to live                             forward.rs         TtlExpired + ICMP
//! 12 a port of this node: go on at 10 below; a peer:
//! 13 fit the tunnel, or be cut to fit                 fragment.rs        TooBig + ICMP, NoBuffer
//! 14 finish a checksum, if it is one packet's         offload.rs
//! 15 VXLAN in front                                   encap
//! 16 choose a lane, copy congestion marks             encap              ToPeer
//!    cut super-frames; send the turn's, lane by lane  encap, sys/udp     syscall; SendFailed
//!
//! INTO THE POD                                        path/ingress.rs
//!    receive a batch; join what belongs together      sys/udp, encap     syscall; UnderlayQueueFull
//!  1 the sender is a peer                             tables.rs          UnknownPeer
//!  2 a VXLAN header of our network comes off          tunnel.rs          TruncatedTunnel, NoVni, UnknownVni
//!  3 parse the inner frame: one walk                  wire               Truncated … TinyFragment, UnexpectedEthertype
//!    of a known flow, 4 to 7 are known                flow_cache.rs
//!  4 it is addressed to this node                     spoof.rs           ForeignInnerMac
//!  5 nothing only a router or a server may say        rogue.rs           as above
//!  6 the inner source is the peer's                   spoof.rs           ForeignInnerSource, Martian, LinkLocal
//!  7 the destination is a port here, never onwards    rogue.rs, forward.rs  Transit, NoSuchPod + ICMP
//!  8 congestion marks from outside come in            tunnel.rs          EcnMismatch
//!  9 one hop less to live                             forward.rs         TtlExpired + ICMP
//! 10 the receiver's port is open                      tables.rs          NoRoute
//! 11 conntrack remembers, or policy decides           admit.rs, meter.rs DeniedIngress, TableFull, RateLimited
//! 12 fit the port, or be cut to fit                   fragment.rs        TooBig + ICMP, NoBuffer
//! 13 from the gateway's MAC to the receiver's         forward.rs         ToPod
//!    write to the receiver's TAP queue                sys/tap            syscall; PodQueueFull
//! ```
//!
//! `docs/road-of-a-packet.md` walks the same road with the reasons for each step, and
//! `docs/drop-reasons.md` explains the drops to operators. The shell around the path is
//! [`runtime`]; [`sim`] runs the same path in memory.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod ipam;
pub mod lab;
pub mod manifests;
pub mod path;
pub mod policy_view;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
mod text;
