//! Did what left the node keep the promises of the road?
//!
//! Judges by the constants of [`node`](crate::node) and by what went in, never by the tables or
//! the forwarding under test. Uses our parser, which has targets of its own.

use std::net::IpAddr;

use weft_encap::Ecn;
use weft_switch::path::{Counters, Decider, DropReason, Fate, GATEWAY_MAC, GATEWAY_V4, Out, Path};
use weft_wire::{Fragment, Headers, Parsed, Transport, checksum, icmp, parse};

use super::frame::{ip, is_gateway, is_rogue, payload, segments, stations};
use crate::node::{self, LANES, PEERS, PORTS, Published, Station, VXLAN, vtep_mac};

/// What came, and by which door.
#[derive(Debug)]
pub enum Entered {
    /// A frame from a port, its checksum completed.
    Port(u16, Vec<u8>),
    /// A UDP payload from an underlay address.
    Underlay(IpAddr, Ecn, Vec<u8>),
}

impl Entered {
    /// The frame, or the inner frame.
    fn frame(&self) -> &[u8] {
        match self {
            Self::Port(_, frame) => frame,
            Self::Underlay(_, _, payload) => payload.get(VXLAN.len()..).unwrap_or_default(),
        }
    }
}

/// What was known before a frame met its fate.
#[derive(Debug)]
pub struct Judge {
    published: Published,
    entered: Entered,
    before: Tally,
}

/// The counters that one frame can move.
#[derive(Debug, Clone, Copy)]
struct Tally {
    frames: u64,
    icmp_sent: u64,
    fragments: u64,
    dropped: u64,
}

impl Tally {
    fn of(counters: &Counters) -> Self {
        Self {
            frames: counters.frames(),
            icmp_sent: counters.icmp_sent,
            fragments: counters.fragments,
            dropped: counters.dropped(),
        }
    }
}

impl Judge {
    /// Before the frame goes in.
    #[must_use]
    pub fn new(path: &Path, published: Published, entered: Entered) -> Self {
        Self {
            published,
            entered,
            before: Tally::of(path.counters()),
        }
    }

    /// After it met its fate.
    ///
    /// # Panics
    /// When a promise does not hold.
    pub fn check(&self, fate: Fate, path: &Path, out: &Out) {
        let after = Tally::of(path.counters());
        let packets = after.frames - self.before.frames;
        assert!(packets == 1 || matches!(self.entered, Entered::Port(..)) && packets > 1);
        let errors = after.icmp_sent - self.before.icmp_sent;
        let fragments = after.fragments - self.before.fragments;
        let dropped = after.dropped - self.before.dropped;
        let is_dropped = matches!(fate, Fate::Drop(_));
        assert_eq!(dropped, if is_dropped { packets } else { 0 });
        let leaving = (out.to_pod.len() + out.to_peer.len()) as u64;
        match fate {
            Fate::Drop(reason) => {
                assert_eq!((leaving, fragments), (errors, 0), "a dropped frame leaves");
                assert_eq!(reason.decider(), Decider::Path);
                self.error(out);
            }
            Fate::Hairpin => {
                assert_eq!((out.to_pod.len(), leaving, errors), (1, 1, 0));
                self.answer(out);
            }
            Fate::ToPod(_) | Fate::ToPeer(_) if packets > 1 => {
                assert!(leaving >= packets && (errors, fragments) == (0, 0));
                self.forwarded(fate, out, segments);
            }
            Fate::ToPod(_) | Fate::ToPeer(_) => {
                assert_eq!(
                    (leaving, errors),
                    (1 + fragments, 0),
                    "frames and fragments"
                );
                self.forwarded(fate, out, payload);
            }
        }
        self.closed(fate);
    }

    /// Nothing gets out of a closed port, or in from a stranger.
    fn closed(&self, fate: Fate) {
        match self.entered {
            Entered::Port(number, _) if self.published.port(number).is_none() => {
                assert_eq!(fate, Fate::Drop(DropReason::ClosedPort));
            }
            Entered::Underlay(source, ..) if self.published.peer_at(source).is_none() => {
                assert_eq!(fate, Fate::Drop(DropReason::UnknownPeer));
            }
            _ => {}
        }
    }

    /// The error about a dropped frame goes back to where that came from, from the gateway or the
    /// node, to its source.
    fn error(&self, out: &Out) {
        let (frame, from) = match &self.entered {
            Entered::Port(number, _) => {
                assert!(
                    out.to_peer.is_empty(),
                    "an error about a pod's frame goes to a peer"
                );
                let Some(error) = out.to_pod.first() else {
                    return;
                };
                assert_eq!(error.port.get(), *number);
                (self.written(error.port.get(), error.frame.as_slice()), None)
            }
            Entered::Underlay(source, ..) => {
                assert!(
                    out.to_pod.is_empty(),
                    "an error about a peer's frame goes to a pod"
                );
                let Some(error) = out.to_peer.first() else {
                    return;
                };
                assert_eq!(error.vtep, *source);
                (
                    self.sent(error.vtep, error.frame.as_slice()),
                    Some(PORTS[0]),
                )
            }
        };
        let (error, about) = (ip(frame), ip(self.entered.frame()));
        assert!(icmp::is_error(error.transport) && !icmp::is_error(about.transport));
        assert_eq!(error.flow.dst, about.flow.src);
        assert!(checksum::verify_transport(frame, &error));
        assert!(!matches!(about.fragment, Fragment::Later { .. }));
        let is_ours = match from {
            Some(node) => node.owns(error.flow.src),
            None => is_gateway(error.flow.src),
        };
        assert!(is_ours, "an error from {}", error.flow.src);
        assert!(error.ip_len() <= if error.flow.src.is_ipv4() { 576 } else { 1280 });
    }

    /// The gateway answers to the port that asked, and only there.
    fn answer(&self, out: &Out) {
        let Entered::Port(number, question) = &self.entered else {
            panic!("the gateway answers the underlay");
        };
        self.stations_fit(true);
        let answer = &out.to_pod[0];
        assert_eq!(answer.port.get(), *number);
        let frame = self.written(*number, answer.frame.as_slice());
        match (parse(frame), parse(question)) {
            (Ok(Parsed::Arp(answer)), Ok(Parsed::Arp(question))) => {
                assert_eq!(
                    (answer.sender_mac, answer.sender_ip),
                    (GATEWAY_MAC, GATEWAY_V4)
                );
                let asker = (question.sender_mac, question.sender_ip);
                assert_eq!((answer.target_mac, answer.target_ip), asker);
            }
            (Ok(Parsed::Ip(answer)), Ok(Parsed::Ip(question))) => {
                assert!(is_gateway(answer.flow.src));
                assert_eq!(answer.flow.dst, question.flow.src);
                assert!(self.may_say(question.flow.src, true));
                let valid = checksum::verify_transport(self.entered.frame(), &question);
                let advert = matches!(answer.transport, Transport::Icmpv6 { kind: 136, .. });
                assert!(checksum::verify_transport(frame, &answer) || !(valid || advert));
            }
            (answer, question) => panic!("{answer:?} answers {question:?}"),
        }
    }

    /// A forwarded frame has a sender who may say so, a receiver who is there, one hop less and
    /// the same payload, as `carried` tells; and is nothing that only a router may say.
    fn forwarded(&self, fate: Fate, out: &Out, carried: impl Fn(&[u8], &Headers, &[&[u8]])) {
        let was = ip(self.entered.frame());
        let mut pieces = Vec::new();
        for to in &out.to_pod {
            assert_eq!(fate, Fate::ToPod(to.port));
            pieces.push(self.written(to.port.get(), to.frame.as_slice()));
            let station = PORTS[to.port.index()];
            let is_theirs =
                station.owns(was.flow.dst) || station == PORTS[0] && self.is_beyond(&was);
            assert!(is_theirs, "{was:?} to {station:?}");
        }
        for to in &out.to_peer {
            assert!(matches!(fate, Fate::ToPeer(_)) && matches!(self.entered, Entered::Port(..)));
            pieces.push(self.sent(to.vtep, to.frame.as_slice()));
            let (node, _) = self.published.peer_at(to.vtep).expect("a peer");
            assert!(
                node::is_of_node(was.flow.dst, node),
                "{was:?} to node {node}"
            );
            assert!(node::is_of_node(was.flow.src, 1), "{was:?} to a peer");
            assert!(to.lane.index() < usize::from(LANES));
            assert_eq!(to.ecn, Ecn::from_bits(was.traffic_class), "outer marks");
        }
        assert!(
            self.may_say(was.flow.src, false),
            "{} got through",
            was.flow.src
        );
        self.stations_fit(false);
        let marks = self.marks(&was);
        assert!(!was.flow.dst.is_multicast() && !was.source_routed && !is_rogue(&was));
        for piece in &pieces {
            let now = ip(piece);
            assert_eq!(now.hop_limit + 1, was.hop_limit);
            assert_eq!((now.flow.src, now.flow.dst), (was.flow.src, was.flow.dst));
            assert_eq!(now.traffic_class, was.traffic_class & !0b11 | marks);
        }
        carried(self.entered.frame(), &was, &pieces);
    }

    /// Whether a packet is for the host to route: out of a pod, to no pod of the overlay.
    fn is_beyond(&self, was: &Headers) -> bool {
        let is_local = PORTS.iter().any(|station| station.owns(was.flow.dst));
        let peers = PEERS
            .iter()
            .filter(|(_, vtep, _)| self.published.peer_at(*vtep).is_some());
        let is_remote = peers
            .into_iter()
            .any(|peer| node::is_of_node(was.flow.dst, peer.0));
        matches!(self.entered, Entered::Port(1.., _)) && !is_local && !is_remote
    }

    /// The frame named the port as its sender and the gateway as its receiver (a group, where
    /// a question to the gateway may go to one); an inner frame named our VTEP.
    fn stations_fit(&self, to_gateway: bool) {
        let (dst, src) = stations(self.entered.frame());
        match self.entered {
            Entered::Port(number, _) => {
                assert_eq!(src, PORTS[usize::from(number)].mac(), "a spoofed MAC");
                assert!(dst == GATEWAY_MAC || to_gateway && dst.is_multicast());
            }
            Entered::Underlay(..) => assert_eq!(dst, vtep_mac(1)),
        }
    }

    /// The congestion marks of a forwarded packet: as they were, or as RFC 6040, figure 4 makes
    /// them of the inner and the outer ones.
    fn marks(&self, was: &Headers) -> u8 {
        let inner = was.traffic_class & 0b11;
        match self.entered {
            Entered::Port(..) => inner,
            Entered::Underlay(_, outer, _) => match (inner, outer.bits()) {
                (0, 0b11) => panic!("a marked packet that cannot hear it got through"),
                (0, _) => 0,
                (_, 0b11) => 0b11,
                (0b10, 0b01) => 0b01,
                _ => inner,
            },
        }
    }

    /// A frame written to a port: the port is open, the frame fits and is from the gateway.
    fn written<'a>(&self, number: u16, frame: &'a [u8]) -> &'a [u8] {
        let station = self.published.port(number).expect("an open port");
        assert_eq!(stations(frame), (station.mac(), GATEWAY_MAC));
        assert!(
            frame.len() <= 14 + usize::from(station.mtu),
            "beyond the port's MTU"
        );
        frame
    }

    /// The inner frame of a datagram sent: a peer of ours, our header, the two VTEPs, and it fits.
    fn sent<'a>(&self, vtep: IpAddr, payload: &'a [u8]) -> &'a [u8] {
        let (node, mtu) = self.published.peer_at(vtep).expect("a peer");
        let (header, frame) = payload.split_at(VXLAN.len());
        assert_eq!(header, VXLAN);
        assert_eq!(stations(frame), (vtep_mac(node), vtep_mac(1)));
        assert!(
            frame.len() <= 14 + usize::from(mtu),
            "beyond the tunnel's MTU"
        );
        frame
    }

    /// Whether the source address is one that this door may speak for.
    fn may_say(&self, source: IpAddr, to_gateway: bool) -> bool {
        match &self.entered {
            Entered::Port(0, _) => {
                let pods = || PORTS.iter().skip(1);
                !pods().any(|pod| pod.owns(source)) && !source.is_multicast()
            }
            Entered::Port(number, _) => {
                let station: Station = PORTS[usize::from(*number)];
                station.owns(source) || to_gateway && source == station.link_local()
            }
            Entered::Underlay(vtep, ..) => {
                let (node, _) = self.published.peer_at(*vtep).expect("a peer");
                node::is_of_node(source, node)
            }
        }
    }
}
