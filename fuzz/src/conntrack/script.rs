//! What happens next? Packets of few hosts and ports, so that they meet again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Arbitrary, Unstructured};
use weft_policy::Span;
use weft_wire::{
    Embedded, FlowKey, Fragment, Headers, IpProtocol, IpVersion, Mac, TcpFlags, TcpInfo, Transport,
};

use super::rules::Rules;

/// Workers, each with its own tables and fragments.
pub(super) const WORKERS: u8 = 2;
/// Hosts `0..PODS` have the ports 1 to [`PODS`] of this node.
const PODS: u8 = 4;
/// Pods of other nodes are behind them, and the last host is no pod.
const HOSTS: u8 = 7;
/// Sequence numbers count from here, so that they wrap.
pub(super) const BASE: u32 = u32::MAX - 4;

/// How many hosts and ports take part: the fewer, the oftener packets meet their flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast {
    pods: u8,
    others: u8,
    ports: usize,
}

/// A packet on its way from one host to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Who meets it.
    pub(super) worker: u8,
    /// As the parser gives it.
    pub(super) headers: Headers,
    /// What an ICMP error quotes.
    pub(super) quoted: Option<Embedded>,
}

/// One step of a scenario.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Packet(Sent),
    /// Fragments of one datagram, whichever way they fit, at one worker.
    Datagram(Box<[Sent; 5]>),
    Publish(Rules),
    /// A worker begins a turn with the newest tables.
    Take(u8),
    Wait(Span),
    Sweep {
        stripe: usize,
        of: usize,
        budget: usize,
    },
    PurgePort(u32),
    PurgeAddress(IpAddr),
}

/// The port of a host of this node.
pub(super) fn port_of(address: IpAddr) -> Option<u32> {
    let host = host_of(address);
    (host < PODS).then(|| u32::from(host) + 1)
}

/// Whether the host is a pod, here or elsewhere.
pub(super) fn is_pod(address: IpAddr) -> bool {
    host_of(address) < HOSTS - 1
}

fn host_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    }
}

fn address(host: u8, version: IpVersion) -> IpAddr {
    match version {
        IpVersion::V4 => Ipv4Addr::new(10, 1, 0, host).into(),
        IpVersion::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

impl<'a> Arbitrary<'a> for Cast {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let cast = |pods, others, ports| Self {
            pods,
            others,
            ports,
        };
        Ok(*u.choose(&[cast(4, 3, 5), cast(2, 1, 2), cast(2, 0, 1), cast(1, 1, 1)])?)
    }
}

impl Cast {
    /// What happens next.
    pub(super) fn step(self, u: &mut Unstructured<'_>) -> arbitrary::Result<Step> {
        Ok(match u.int_in_range(0..=31_u8)? {
            0 => Step::Publish(u.arbitrary()?),
            1 | 2 => Step::Take(u.int_in_range(0..=WORKERS - 1)?),
            3 | 4 => Step::Wait(wait(u)?),
            5 => Step::Sweep {
                stripe: u.int_in_range(0..=3)?,
                of: u.int_in_range(1..=3)?,
                budget: *u.choose(&[1, 8, 64, usize::MAX])?,
            },
            6 => match u.int_in_range(0..=7_u8)? {
                0 => Step::PurgePort(u.int_in_range(1..=u32::from(PODS))?),
                1 => Step::PurgeAddress(address(self.host(u)?, version(u)?)),
                _ => Step::Wait(Span::from_millis(1)),
            },
            7..=9 => Step::Packet(self.error(u)?),
            10 | 11 => Step::Datagram(Box::new(self.datagram(u)?)),
            _ => Step::Packet(self.packet(u)?),
        })
    }

    /// A pod of this node, one of another, or a host that is no pod.
    fn host(self, u: &mut Unstructured<'_>) -> arbitrary::Result<u8> {
        let others = (PODS..HOSTS).rev().take(self.others.into());
        let hosts: Vec<u8> = (0..self.pods).chain(others).collect();
        u.choose(&hosts).copied()
    }

    /// Ends of a packet of which at least one is a pod of this node.
    fn ends(self, u: &mut Unstructured<'_>) -> arbitrary::Result<(u8, u8)> {
        let pod = u.int_in_range(0..=self.pods - 1)?;
        let other = self.host(u)?;
        Ok(if u.arbitrary()? {
            (pod, other)
        } else {
            (other, pod)
        })
    }

    /// Mostly the first fragment first; then any.
    fn datagram(self, u: &mut Unstructured<'_>) -> arbitrary::Result<[Sent; 5]> {
        let whole = self.packet(u)?;
        let mut sent = [whole; 5];
        let id = u.int_in_range(2..=3)?;
        for (place, part) in sent.iter_mut().enumerate() {
            let is_first = place == 0 && u.ratio(7, 8)?;
            fragment(u, &mut part.headers, id, is_first)?;
        }
        Ok(sent)
    }

    fn packet(self, u: &mut Unstructured<'_>) -> arbitrary::Result<Sent> {
        let (from, to) = self.ends(u)?;
        let version = version(u)?;
        let (transport, flow) =
            self.transport(u, version, address(from, version), address(to, version))?;
        let mut headers = headers(version, flow, transport, *u.choose(&[60, 100, 1_500])?);
        if u.ratio(1, 4)? {
            let id = *u.choose(&[0, 1, 0x0001_0000])?;
            fragment(u, &mut headers, id, false)?;
        }
        Ok(Sent {
            worker: worker(u)?,
            headers,
            quoted: None,
        })
    }

    fn transport(
        self,
        u: &mut Unstructured<'_>,
        version: IpVersion,
        src: IpAddr,
        dst: IpAddr,
    ) -> arbitrary::Result<(Transport, FlowKey)> {
        let is_v4 = version == IpVersion::V4;
        let with = |protocol, src_port, dst_port| FlowKey {
            src,
            dst,
            protocol,
            src_port,
            dst_port,
        };
        let icmp = if is_v4 {
            IpProtocol::ICMP
        } else {
            IpProtocol::ICMPV6
        };
        let message = |kind| match version {
            IpVersion::V4 => Transport::Icmp { kind, code: 0 },
            IpVersion::V6 => Transport::Icmpv6 { kind, code: 0 },
        };
        let pairs = [
            (1_000, 80),
            (1_001, 80),
            (1_000, 1_000),
            (80, 1_001),
            (53, 53),
        ];
        let &(from, to) = u.choose(pairs.get(..self.ports).unwrap_or(&pairs))?;
        let (from, to) = if u.arbitrary()? {
            (to, from)
        } else {
            (from, to)
        };
        Ok(match u.int_in_range(0..=9_u8)? {
            0..=4 => (Transport::Tcp(segment(u)?), with(IpProtocol::TCP, from, to)),
            5 | 6 => (Transport::Udp, with(IpProtocol::UDP, from, to)),
            7 => (Transport::Sctp, with(IpProtocol::SCTP, from, to)),
            8 => {
                // An echo to itself with the identifier 0 tells requests from replies by nothing.
                let identifier = if src == dst { 7 } else { from % 4 };
                if u.arbitrary()? {
                    (
                        message(if is_v4 { 8 } else { 128 }),
                        with(icmp, identifier, 0),
                    )
                } else {
                    (
                        message(if is_v4 { 0 } else { 129 }),
                        with(icmp, 0, identifier),
                    )
                }
            }
            _ => *u.choose(&[
                (Transport::Other, with(IpProtocol(47), 0, 0)),
                (message(if is_v4 { 13 } else { 140 }), with(icmp, 0, 0)),
            ])?,
        })
    }

    /// An error about a packet of a pod of this node, mostly sent to it.
    fn error(self, u: &mut Unstructured<'_>) -> arbitrary::Result<Sent> {
        let about = self.packet(u)?;
        let flow = about.headers.flow;
        let version = about.headers.version;
        let (from, to) = match u.int_in_range(0..=7_u8)? {
            0..=3 => (flow.dst, flow.src),
            4 | 5 => (address(HOSTS - 1, version), flow.src),
            6 => (address(self.host(u)?, version), flow.src),
            _ => (flow.src, flow.dst),
        };
        let (transport, protocol) = match version {
            IpVersion::V4 => (Transport::Icmp { kind: 3, code: 1 }, IpProtocol::ICMP),
            IpVersion::V6 => (Transport::Icmpv6 { kind: 1, code: 0 }, IpProtocol::ICMPV6),
        };
        let outer = FlowKey {
            src: from,
            dst: to,
            protocol,
            src_port: 0,
            dst_port: 0,
        };
        let tcp_seq = match about.headers.transport {
            Transport::Tcp(info) => info.seq,
            _ => 0,
        };
        let shows_ports = !matches!(about.headers.fragment, Fragment::Later { .. });
        Ok(Sent {
            worker: about.worker,
            headers: headers(version, outer, transport, 100),
            quoted: shows_ports.then_some(Embedded { flow, tcp_seq }),
        })
    }
}
fn wait(u: &mut Unstructured<'_>) -> arbitrary::Result<Span> {
    let secs = *u.choose(&[0, 1, 1, 5, 9, 10, 29, 30, 31, 59, 60, 180, 210, 86_400])?;
    Ok(Span::from_secs(secs))
}

fn version(u: &mut Unstructured<'_>) -> arbitrary::Result<IpVersion> {
    Ok(*u.choose(&[IpVersion::V4, IpVersion::V4, IpVersion::V6])?)
}

fn worker(u: &mut Unstructured<'_>) -> arbitrary::Result<u8> {
    u.int_in_range(0..=WORKERS - 1)
}

fn headers(version: IpVersion, flow: FlowKey, transport: Transport, len: usize) -> Headers {
    let header = match version {
        IpVersion::V4 => 20,
        IpVersion::V6 => 40,
    };
    Headers {
        dst_mac: Mac::ZERO,
        src_mac: Mac::ZERO,
        version,
        l3: 14,
        l4: 14 + header,
        end: 14 + len,
        flow,
        transport,
        fragment: Fragment::Whole,
        hop_limit: 64,
        traffic_class: 0,
        source_routed: false,
        dont_fragment: true,
    }
}

/// Makes the packet a fragment of one of few datagrams.
fn fragment(
    u: &mut Unstructured<'_>,
    headers: &mut Headers,
    id: u32,
    is_first: bool,
) -> arbitrary::Result<()> {
    let id = if headers.version == IpVersion::V4 {
        id & 0xffff
    } else {
        id
    };
    let len = u.int_in_range(0..=3_u16)? * 8;
    if headers.transport != Transport::Opaque && (is_first || u.ratio(1, 5)?) {
        headers.fragment = Fragment::First { id, len };
        return Ok(());
    }
    let offset = u.int_in_range(1..=4_u16)? * 8;
    let more = u.arbitrary()?;
    headers.fragment = Fragment::Later { id, offset, more };
    headers.transport = Transport::Opaque;
    (headers.flow.src_port, headers.flow.dst_port) = (0, 0);
    let odd = if more { 0 } else { u.int_in_range(0..=1)? };
    headers.end = headers.l4 + usize::from(len) + odd;
    Ok(())
}

fn segment(u: &mut Unstructured<'_>) -> arbitrary::Result<TcpInfo> {
    let (syn, ack, fin, rst) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST);
    let usual = [
        syn,
        syn,
        syn | ack,
        syn | ack,
        ack,
        ack,
        ack,
        fin | ack,
        rst,
        rst | ack,
    ];
    let flags = if u.ratio(1, 12)? {
        TcpFlags(u.arbitrary()?)
    } else {
        *u.choose(&usual)?
    };
    Ok(TcpInfo {
        seq: BASE.wrapping_add(u.int_in_range(0..=6)?),
        ack: BASE.wrapping_add(u.int_in_range(0..=8)?),
        payload_len: u.int_in_range(0..=3)?,
        window: 1_000,
        flags,
    })
}
