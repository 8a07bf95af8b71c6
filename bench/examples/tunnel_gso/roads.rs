//! How does a super-frame get from one node to the other?
//!
//! Owns the two ways compared: segments cut and merged in userspace, sent and received in batches
//! by UDP sockets (P1), and super-frames inside the tunnel that the kernel cuts and merges, through
//! TAPs beside the link (P3). Neither judges a frame: policy costs both the same.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail, ensure};
use weft_encap::{Cut, Ecn, Merger, Outer, VXLAN_HEADER};
use weft_sys::netlink::link::{self, Vxlan};
use weft_sys::tap::{
    TUNNEL_VNET_HEADER, TapQueue, TunnelOffsets, VNET_HEADER, tunnel_vnet, without_tunnel,
};
use weft_sys::udp::{self, Buffers, RecvBatch, SendBatch, Target};
use weft_wire::checksum::{self, Sum};
use weft_wire::{IpProtocol, Parsed, Pool, VnetHeader, build, parse, vnet};

use crate::rig::{FAR, LINK, Link, NEAR};

/// The port of the tunnel.
pub(crate) const PORT: u16 = 4789;
const VNI: u32 = 1;
/// The header in front of every inner frame.
pub(crate) const VXLAN: [u8; VXLAN_HEADER] = [8, 0, 0, 0, 0, 0, 1, 0];
/// Bytes of the largest inner frame.
pub(crate) const LARGEST: usize = 65_535 + 14;

/// Takes what arrived: a frame and what is left to do to it.
pub(crate) type Give<'a> = &'a mut dyn FnMut(&[u8], &VnetHeader) -> Result<()>;

/// A way from node to node.
pub(crate) trait Road {
    /// Sends a frame that stands behind [`VXLAN`] in `bytes`; `vnet` is normalised.
    fn send(&mut self, bytes: &mut [u8], vnet: &VnetHeader) -> Result<()>;
    /// Gives everything that has arrived.
    fn receive(&mut self, give: Give<'_>) -> Result<()>;
    /// What becomes readable when something arrives.
    fn arrives(&self) -> Option<BorrowedFd<'_>>;
}

/// Writes a frame to a pod's TAP.
pub(crate) fn write(pod: &TapQueue, frame: &[u8], vnet: &VnetHeader) -> Result<()> {
    let mut header = [0; VNET_HEADER];
    ensure!(vnet.emit(&mut header), "a vnet header fits");
    pod.writev(&[IoSlice::new(&header), IoSlice::new(frame)])
        .context("cannot write to a pod")?;
    Ok(())
}

/// No underlay: what pods, their TAPs and the loop cost by themselves.
pub(crate) struct Straight(pub(crate) TapQueue);

impl Road for Straight {
    fn send(&mut self, bytes: &mut [u8], vnet: &VnetHeader) -> Result<()> {
        write(&self.0, bytes.get(VXLAN_HEADER..).unwrap_or_default(), vnet)
    }

    fn receive(&mut self, _: Give<'_>) -> Result<()> {
        Ok(())
    }

    fn arrives(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// P1.
pub(crate) struct Segments {
    tx: UdpSocket,
    rx: Option<UdpSocket>,
    to: SocketAddr,
    packets: Vec<u8>,
    sending: SendBatch,
    receiving: RecvBatch,
    buffers: Vec<Vec<u8>>,
    merger: Merger,
    pool: Pool,
}

impl Segments {
    /// Sends to `to`; receives if that is [`FAR`].
    pub(crate) fn new(link: &Link, to: Ipv4Addr) -> Result<Self> {
        let buffers = Buffers::default();
        let bind = || udp::bind_tx(NEAR.into(), buffers);
        let tx = link.near.netns.run(bind)??;
        let rx = if to == FAR {
            let bind = || udp::bind_rx((FAR, PORT).into(), false, buffers);
            let rx = link.far.netns.run(bind)??;
            udp::set_gro(&rx)?;
            Some(rx)
        } else {
            None
        };
        Ok(Self {
            tx,
            rx,
            to: (to, PORT).into(),
            packets: vec![0; 2 * LARGEST],
            sending: SendBatch::new(4, 256),
            receiving: RecvBatch::new(8),
            buffers: vec![vec![0; udp::MAX_PAYLOAD]; 8],
            merger: Merger::new(7),
            pool: Pool::new(1024, 2048).with_large(128, LARGEST + VXLAN_HEADER),
        })
    }
}

impl Road for Segments {
    fn send(&mut self, bytes: &mut [u8], vnet: &VnetHeader) -> Result<()> {
        let target = |segment| Target {
            to: self.to,
            tos: 0,
            segment,
        };
        let mut filling = self.sending.fill();
        let room = if vnet.is_segmented() {
            let cut = Cut::of(bytes, VXLAN_HEADER, vnet).context("a super-frame")?;
            cut.write(bytes, &mut self.packets)
                .context("room for the packets")?;
            let segment = u16::try_from(cut.segment_len()).ok();
            // As many as reach the device in one piece.
            let most = udp::MAX_SEGMENTS.min(65_493 / cut.segment_len());
            let mut room = true;
            for first in (0..cut.count()).step_by(most) {
                let last = cut.count().min(first + most) - 1;
                let run = cut.packet(first).start..cut.packet(last).end;
                room &= filling.begin(target(segment.and_then(NonZeroU16::new)))
                    && filling.part(self.packets.get(run).unwrap_or_default());
            }
            room
        } else {
            complete(bytes, vnet)?;
            filling.begin(target(None)) && filling.part(bytes)
        };
        ensure!(room, "a batch has room for a super-frame");
        let mut failure = None;
        filling.send(&self.tx, |_, error| failure = Some(error));
        failure.map_or(Ok(()), |error| Err(error).context("cannot send"))
    }

    fn receive(&mut self, give: Give<'_>) -> Result<()> {
        let rx = self.rx.as_ref().context("nobody receives")?;
        let outer = Outer {
            source: IpAddr::V4(NEAR),
            ecn: Ecn::NotEct,
        };
        loop {
            let room = self.buffers.iter_mut().map(Vec::as_mut_slice);
            match self.receiving.recv(rx, room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                received => received.context("cannot receive")?,
            };
            for (message, buffer) in self.receiving.received().zip(&self.buffers) {
                let stride = message
                    .segment
                    .map_or(message.len, |size| size.get().into());
                let run = buffer.get(..message.len).unwrap_or_default();
                let lost = self.merger.offer_run(outer, run, stride, &mut self.pool);
                ensure!(lost == 0, "the pool has room for a turn");
            }
            self.merger.finish();
            for (_, frame) in self.merger.ready() {
                let bytes = frame.as_slice().get(VXLAN_HEADER..).unwrap_or_default();
                give(bytes, &frame.vnet)?;
                self.pool.put(frame);
            }
        }
    }

    fn arrives(&self) -> Option<BorrowedFd<'_>> {
        self.rx.as_ref().map(|rx| rx.as_fd())
    }
}

/// Outer Ethernet, IPv4, UDP and VXLAN headers.
const OUTER: usize = 14 + 20 + 8 + VXLAN_HEADER;
const OUTER_IP: usize = 14;
const OUTER_UDP: usize = 34;
const UPLINK: &str = "up";

/// P3.
pub(crate) struct Tunnel {
    up: TapQueue,
    down: Option<TapQueue>,
    outer: [u8; OUTER],
    /// Sums of the outer IP header and of the pseudo-header without their lengths.
    ip_sum: u32,
    pseudo_sum: u32,
    buffer: Vec<u8>,
}

impl Tunnel {
    /// Sends to `to`; receives if that is [`FAR`], and is then routed, else diverted.
    pub(crate) fn new(link: &mut Link, to: Ipv4Addr) -> Result<Self> {
        let mut up = link.near.tap(UPLINK, None)?;
        up.set_tunnel_offloads()?;
        let next_hop = if to == FAR {
            // A frame that mirred diverts still belongs to the TAP's socket, of its segments the
            // last one alone, and a veth that merges keeps those apart. Routed it belongs to none.
            link.near.route_from(UPLINK)?
        } else {
            link.near.divert(UPLINK, "match u32 0 0", LINK)?;
            link.mac_of(to)
        };
        let down = if to == FAR {
            // Its only work is to make the kernel merge what comes to its port.
            let helper = Vxlan {
                vni: VNI,
                local: FAR.into(),
                port: PORT,
                ttl: 64,
                dont_fragment: true,
            };
            link::ensure_vxlan(&mut link.far.netlink, "merges", &helper)?;
            link.far.set_up("merges", None)?;
            let mut down = link.far.tap(UPLINK, None)?;
            down.set_tunnel_offloads()?;
            let matching = format!("match ip protocol 17 0xff match ip dport {PORT} 0xffff");
            link.far.divert(LINK, &matching, UPLINK)?;
            Some(down)
        } else {
            None
        };
        let ethernet = build::ethernet(link.near_mac, next_hop);
        let template = ethernet
            .ipv4(NEAR, to)
            .dont_fragment(true)
            .udp(50_000, PORT, &VXLAN);
        let mut outer: [u8; OUTER] = template.try_into().ok().context("50 bytes of headers")?;
        // Lengths and checksums are each frame's own.
        for at in [OUTER_IP + 2, OUTER_IP + 10, OUTER_UDP + 4, OUTER_UDP + 6] {
            put(&mut outer, at, 0);
        }
        let mut ip = Sum::new();
        ip.add_bytes(outer.get(OUTER_IP..OUTER_UDP).unwrap_or_default());
        let mut pseudo = Sum::new();
        pseudo.add_pseudo_ipv4(NEAR, to, IpProtocol::UDP, 0);
        Ok(Self {
            up,
            down,
            outer,
            ip_sum: ip.folded().into(),
            pseudo_sum: pseudo.folded().into(),
            buffer: vec![0; TUNNEL_VNET_HEADER + OUTER + LARGEST],
        })
    }

    fn outer_of(&self, frame: usize) -> Result<[u8; OUTER]> {
        let mut outer = self.outer;
        let udp = u16::try_from(OUTER - OUTER_UDP + frame).context("too long")?;
        let ip = udp.checked_add(20).context("too long")?;
        put(&mut outer, OUTER_IP + 2, ip);
        let sum = checksum::fold(self.ip_sum + u32::from(ip));
        put(&mut outer, OUTER_IP + 10, !sum);
        put(&mut outer, OUTER_UDP + 4, udp);
        let sum = checksum::fold(self.pseudo_sum + u32::from(udp));
        put(&mut outer, OUTER_UDP + 6, sum);
        Ok(outer)
    }
}

impl Road for Tunnel {
    fn send(&mut self, bytes: &mut [u8], vnet: &VnetHeader) -> Result<()> {
        const SHIFT: u16 = 50;
        let mut described = [0; vnet::LEN];
        let header = if vnet.is_segmented() {
            let shifted = VnetHeader {
                hdr_len: vnet.hdr_len + SHIFT,
                csum_start: vnet.csum_start + SHIFT,
                ..*vnet
            };
            shifted.emit(&mut described);
            let offsets = TunnelOffsets {
                outer_transport: 34,
                inner_network: 64,
            };
            tunnel_vnet(described, offsets)
        } else {
            complete(bytes, vnet)?;
            let outer_checksum = VnetHeader {
                flags: vnet::FLAG_NEEDS_CHECKSUM,
                csum_start: 34,
                csum_offset: 6,
                ..VnetHeader::NONE
            };
            outer_checksum.emit(&mut described);
            let mut header = [0; TUNNEL_VNET_HEADER];
            header.split_at_mut(vnet::LEN).0.copy_from_slice(&described);
            header
        };
        let frame = bytes.get(VXLAN_HEADER..).unwrap_or_default();
        let outer = self.outer_of(frame.len())?;
        let parts = [&header[..], &outer, frame].map(IoSlice::new);
        self.up.writev(&parts).context("cannot send")?;
        Ok(())
    }

    fn receive(&mut self, give: Give<'_>) -> Result<()> {
        let down = self.down.as_ref().context("nobody receives")?;
        loop {
            let len = match down.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                read => read.context("cannot receive")?,
            };
            let packet = self.buffer.get(..len).unwrap_or_default();
            let (header, packet) = packet.split_first_chunk().context("a vnet header")?;
            let frame = packet.get(OUTER..).context("a tunnel packet")?;
            let (described, tunnelled) = without_tunnel(header);
            let vnet = match (VnetHeader::parse(&described), tunnelled) {
                (Ok(outer), true) => inner_vnet(frame, &outer)?,
                (Ok(single), false) if !single.is_segmented() => VnetHeader::NONE,
                _ => bail!("segments that the kernel did not merge inside the tunnel"),
            };
            give(frame, &vnet)?;
        }
    }

    fn arrives(&self) -> Option<BorrowedFd<'_>> {
        self.down.as_ref().map(|down| down.as_fd())
    }
}

/// What a merged frame stands for, as the pod is told.
fn inner_vnet(frame: &[u8], outer: &VnetHeader) -> Result<VnetHeader> {
    let Ok(Parsed::Ip(headers)) = parse(frame) else {
        bail!("an inner IP packet")
    };
    let shifted = VnetHeader {
        csum_start: u16::try_from(headers.l4).unwrap_or(0),
        ..*outer
    };
    let normalised = shifted.normalised(frame, &headers);
    normalised.map_err(|bad| anyhow::anyhow!("{bad:?} in {outer:?}"))
}

fn complete(bytes: &mut [u8], vnet: &VnetHeader) -> Result<()> {
    let frame = bytes.get_mut(VXLAN_HEADER..).unwrap_or_default();
    vnet.complete_checksum(frame).context("a checksum's place")
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
