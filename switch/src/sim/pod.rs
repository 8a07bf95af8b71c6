//! Who sits at a simulated port? A smoltcp stack, or nobody but the test.
//!
//! A stack behaves like a pod's kernel as far as the switch can tell: one address per
//! family with host prefix, a default route over the gateway (a permanent neighbour for
//! IPv4, found by neighbour discovery for IPv6), and an MTU that it lowers when an ICMP
//! error says so. A pod without a stack keeps what it receives for the test to read.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Instant as StackTime;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use weft_policy::{Moment, PolicySetId};
use weft_wire::icmp::IcmpMessage;
use weft_wire::{Arp, ArpOperation, Parsed, Transport, build};

use super::device::Wire;
use crate::path::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, PortEntry, PortId};

/// Bytes of a TCP socket's buffer in each direction.
const TCP_BUFFER: usize = 128 * 1024;
/// Datagrams a UDP or ICMP socket keeps, and their bytes.
const DATAGRAMS: usize = 64;
const DATAGRAM_BUFFER: usize = 128 * 1024;

/// Makes smoltcp take the gateway for a neighbour, since it knows no "onlink" routes.
/// Only its ARP uses the address, and [`permanent_neighbor`] answers that.
const ON_LINK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(169, 254, 1, 2)), 30);

/// A pod of the simulation, or a node's own stack at its host port.
pub struct Pod {
    pub(super) node: usize,
    pub(super) port: PortId,
    entry: PortEntry,
    wire: Wire,
    stack: Option<Stack>,
}

struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    seed: u64,
}

impl std::fmt::Debug for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut pod = f.debug_struct("Pod");
        pod.field("node", &self.node)
            .field("port", &self.port)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

impl Pod {
    /// A pod whose stack takes its interface to have `mtu`.
    pub(super) fn with_stack(
        node: usize,
        port: PortId,
        entry: PortEntry,
        mtu: u16,
        seed: u64,
    ) -> Self {
        let mut pod = Self::bare(node, port, entry);
        pod.wire.mtu = mtu.into();
        let interface = interface(&pod.entry, &mut pod.wire, seed, Moment::ZERO);
        let sockets = SocketSet::new(vec![]);
        pod.stack = Some(Stack {
            interface,
            sockets,
            seed,
        });
        pod
    }

    /// A port without a stack.
    pub(super) fn bare(node: usize, port: PortId, entry: PortEntry) -> Self {
        let wire = Wire {
            incoming: VecDeque::new(),
            outgoing: VecDeque::new(),
            mtu: entry.mtu.into(),
        };
        Self {
            node,
            port,
            entry,
            wire,
            stack: None,
        }
    }

    /// The port's entry in its node's tables: addresses, MAC, MTU.
    pub const fn entry(&self) -> &PortEntry {
        &self.entry
    }

    /// Which policies the port obeys in its node's next tables.
    pub(super) const fn obey(&mut self, set: PolicySetId) {
        self.entry.policy = set;
    }

    /// The address of the family that `like` has.
    pub fn address(&self, like: IpAddr) -> Option<IpAddr> {
        self.entry
            .addresses()
            .find(|own| own.is_ipv4() == like.is_ipv4())
    }

    /// The largest IP packet the stack sends, in bytes: what it was made with, or less once
    /// it was told.
    pub const fn mtu(&self) -> usize {
        self.wire.mtu
    }

    /// Sends a frame as it is.
    pub fn send(&mut self, frame: Vec<u8>) {
        self.wire.outgoing.push_back(frame);
    }

    /// The next frame that a pod without a stack received.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.wire.incoming.pop_front()
    }

    /// Hands the stack a frame; like a kernel, it heeds what it says about the MTU.
    pub(super) fn deliver(&mut self, frame: Vec<u8>, now: Moment) {
        let told = told_mtu(&frame).filter(|mtu| *mtu < self.wire.mtu);
        if let (Some(mtu), Some(stack)) = (told, &mut self.stack) {
            self.wire.mtu = mtu;
            // smoltcp asks for the MTU only when an interface is made.
            stack.interface = interface(&self.entry, &mut self.wire, stack.seed, now);
        }
        self.wire.incoming.push_back(frame);
    }

    /// Lets the stack work; the frames it sends then wait in [`Pod::next_sent`]. Whether
    /// anything moved.
    pub(super) fn poll(&mut self, now: Moment) -> bool {
        let Some(Stack {
            interface, sockets, ..
        }) = &mut self.stack
        else {
            return !self.wire.outgoing.is_empty();
        };
        let received = !self.wire.incoming.is_empty();
        interface.poll(stack_time(now), &mut self.wire, sockets);
        received || !self.wire.outgoing.is_empty()
    }

    pub(super) fn next_sent(&mut self) -> Option<Vec<u8>> {
        loop {
            let frame = self.wire.outgoing.pop_front()?;
            match permanent_neighbor(&frame) {
                Some(answer) if self.stack.is_some() => self.wire.incoming.push_back(answer),
                _ => return Some(frame),
            }
        }
    }

    /// When the stack wants to be polled, if ever.
    pub(super) fn poll_at(&mut self, now: Moment) -> Option<Moment> {
        let Some(Stack {
            interface, sockets, ..
        }) = &mut self.stack
        else {
            return None;
        };
        let at = interface.poll_at(stack_time(now), sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Moment::from_nanos(micros.saturating_mul(1000)).max(now))
    }
}

/// Sockets. A pod without a stack has none and answers `None`.
impl Pod {
    /// A TCP socket that waits for a connection.
    pub fn tcp_listen(&mut self, port: u16) -> Option<SocketHandle> {
        let handle = self.tcp_socket()?;
        self.tcp(handle)?.listen(port).ok()?;
        Some(handle)
    }

    /// A TCP socket that connects from `port` to `to`.
    pub fn tcp_connect(&mut self, port: u16, to: SocketAddr) -> Option<SocketHandle> {
        let from: IpAddress = self.address(to.ip())?.into();
        let handle = self.tcp_socket()?;
        let Stack {
            interface, sockets, ..
        } = self.stack.as_mut()?;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(interface.context(), to, (from, port)).ok()?;
        Some(handle)
    }

    fn tcp_socket(&mut self) -> Option<SocketHandle> {
        let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
        let socket = tcp::Socket::new(buffer(), buffer());
        Some(self.stack.as_mut()?.sockets.add(socket))
    }

    /// A TCP socket of this pod.
    pub fn tcp(&mut self, handle: SocketHandle) -> Option<&mut tcp::Socket<'static>> {
        Some(self.stack.as_mut()?.sockets.get_mut(handle))
    }

    /// A UDP socket at `port`.
    pub fn udp_bind(&mut self, port: u16) -> Option<SocketHandle> {
        let buffer = || {
            udp::PacketBuffer::new(
                vec![udp::PacketMetadata::EMPTY; DATAGRAMS],
                vec![0; DATAGRAM_BUFFER],
            )
        };
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).ok()?;
        Some(self.stack.as_mut()?.sockets.add(socket))
    }

    /// A UDP socket of this pod.
    pub fn udp(&mut self, handle: SocketHandle) -> Option<&mut udp::Socket<'static>> {
        Some(self.stack.as_mut()?.sockets.get_mut(handle))
    }

    /// An ICMP socket that sends echo requests with this identifier and gets the replies.
    pub fn icmp_bind(&mut self, identifier: u16) -> Option<SocketHandle> {
        let buffer = || {
            icmp::PacketBuffer::new(
                vec![icmp::PacketMetadata::EMPTY; DATAGRAMS],
                vec![0; DATAGRAM_BUFFER],
            )
        };
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(identifier)).ok()?;
        Some(self.stack.as_mut()?.sockets.add(socket))
    }

    /// Ends a socket at once, whatever its kind.
    pub fn close(&mut self, handle: SocketHandle) {
        if let Some(stack) = &mut self.stack {
            stack.sockets.remove(handle);
        }
    }

    /// An ICMP socket of this pod.
    pub fn icmp(&mut self, handle: SocketHandle) -> Option<&mut icmp::Socket<'static>> {
        Some(self.stack.as_mut()?.sockets.get_mut(handle))
    }
}

/// A network interface as CNI configures it.
fn interface(entry: &PortEntry, wire: &mut Wire, seed: u64, now: Moment) -> Interface {
    let mac = EthernetAddress(entry.mac.octets());
    let mut config = Config::new(HardwareAddress::Ethernet(mac));
    config.random_seed = seed;
    let mut interface = Interface::new(config, wire, stack_time(now));
    interface.update_ip_addrs(|addresses| {
        let own = entry.addresses().chain([IpAddr::V6(entry.link_local())]);
        let own = own.map(|address| (address, if address.is_ipv4() { 32 } else { 128 }));
        for (address, length) in own.chain([ON_LINK]) {
            // The capacity is four, and these are at most four.
            let _ = addresses.push(IpCidr::new(address.into(), length));
        }
    });
    let routes = interface.routes_mut();
    let (v4, v6) = (
        routes.add_default_ipv4_route(GATEWAY_V4),
        routes.add_default_ipv6_route(GATEWAY_V6),
    );
    debug_assert!(
        v4.is_ok() && v6.is_ok(),
        "a new interface has room for two routes"
    );
    interface
}

/// The MTU in a "fragmentation needed" or "packet too big", as a kernel heeds it
/// (RFC 1191, RFC 8201; not below the least MTU of the family).
fn told_mtu(frame: &[u8]) -> Option<usize> {
    let Ok(Parsed::Ip(packet)) = weft_wire::parse(frame) else {
        return None;
    };
    let message = IcmpMessage::new_checked(frame.get(packet.l4..packet.end)?).ok()?;
    match packet.transport {
        Transport::Icmp { kind: 3, code: 4 } => Some(usize::from(message.sequence()).max(576)),
        Transport::Icmpv6 { kind: 2, code: 0 } => {
            Some(usize::try_from(message.rest()).ok()?.max(1280))
        }
        _ => None,
    }
}

/// The answer that a kernel finds in its neighbour table, where pods have the gateway.
fn permanent_neighbor(frame: &[u8]) -> Option<Vec<u8>> {
    let Ok(Parsed::Arp(question)) = weft_wire::parse(frame) else {
        return None;
    };
    let answer = Arp {
        operation: ArpOperation::Reply,
        sender_mac: GATEWAY_MAC,
        sender_ip: GATEWAY_V4,
        target_mac: question.sender_mac,
        target_ip: question.sender_ip,
    };
    let asked = question.operation == ArpOperation::Request && question.target_ip == GATEWAY_V4;
    asked.then(|| build::ethernet(GATEWAY_MAC, question.sender_mac).arp(answer))
}

fn stack_time(now: Moment) -> StackTime {
    StackTime::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX))
}
