//! A packet as the table sees it.
//!
//! Owns which packets belong to flows at all: TCP, UDP, SCTP and ICMP echo, unless
//! they are later fragments, which name no ports.

use core::net::IpAddr;

use weft_wire::{FlowKey, Fragment, Headers, IpProtocol, TcpFlags, TcpInfo, Transport};

use super::Sighting;
use super::key::Canonical;
use crate::TcpState;

/// How a packet takes part in tracking.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Tcp(TcpInfo),
    Udp,
    Sctp,
    EchoRequest,
    EchoReply,
}

impl Kind {
    /// The kind of a packet, or `None` when each such packet is decided anew.
    pub(super) const fn of(headers: &Headers) -> Option<Self> {
        if matches!(headers.fragment, Fragment::Later { .. }) {
            return None;
        }
        Self::of_transport(headers.transport)
    }

    /// The kind of a packet with this transport header.
    pub(super) const fn of_transport(transport: Transport) -> Option<Self> {
        match transport {
            Transport::Tcp(info) => Some(Self::Tcp(info)),
            Transport::Udp => Some(Self::Udp),
            Transport::Sctp => Some(Self::Sctp),
            Transport::Icmp { kind: 8, .. } | Transport::Icmpv6 { kind: 128, .. } => {
                Some(Self::EchoRequest)
            }
            Transport::Icmp { kind: 0, .. } | Transport::Icmpv6 { kind: 129, .. } => {
                Some(Self::EchoReply)
            }
            _ => None,
        }
    }

    /// What the TCP header says, if there is one.
    #[inline]
    pub(super) const fn tcp(&self) -> Option<&TcpInfo> {
        match self {
            Self::Tcp(info) => Some(info),
            _ => None,
        }
    }

    /// Whether such a packet begins a flow: an echo reply answers one, and a TCP
    /// connection begins with its SYN.
    pub(super) const fn begins(&self) -> bool {
        match self {
            Self::Tcp(info) => TcpState::is_begun_by(info.flags),
            Self::Udp | Self::Sctp | Self::EchoRequest => true,
            Self::EchoReply => false,
        }
    }
}

/// A packet that belongs to a flow, and where it was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) headers: &'a Headers,
    pub(super) kind: Kind,
    pub(super) canonical: Canonical,
    pub(super) at: Sighting,
}

impl<'a> Packet<'a> {
    /// `None` for packets that are never tracked.
    #[inline]
    pub(super) fn of(headers: &'a Headers, at: Sighting) -> Option<Self> {
        let kind = Kind::of(headers)?;
        let canonical = Canonical::of(&headers.flow, kind);
        Some(Self {
            headers,
            kind,
            canonical,
            at,
        })
    }

    /// Bytes of the IP packet.
    pub(super) const fn len(&self) -> u64 {
        self.headers.ip_len() as u64
    }
}

/// What kind of flow an embedded tuple belongs to. An echo request has its
/// identifier as source port, and errors answer requests when the identifier is 0.
pub(super) const fn embedded_kind(flow: &FlowKey) -> Option<Kind> {
    let is_v4 = matches!(flow.src, IpAddr::V4(_));
    match flow.protocol {
        IpProtocol::UDP => Some(Kind::Udp),
        IpProtocol::SCTP => Some(Kind::Sctp),
        IpProtocol::TCP => Some(Kind::Tcp(NO_TCP)),
        IpProtocol::ICMP if is_v4 && flow.dst_port == 0 => Some(Kind::EchoRequest),
        IpProtocol::ICMPV6 if !is_v4 && flow.dst_port == 0 => Some(Kind::EchoRequest),
        IpProtocol::ICMP if is_v4 => Some(Kind::EchoReply),
        IpProtocol::ICMPV6 if !is_v4 => Some(Kind::EchoReply),
        _ => None,
    }
}

const NO_TCP: TcpInfo = TcpInfo {
    seq: 0,
    ack: 0,
    payload_len: 0,
    window: 0,
    flags: TcpFlags(0),
};
