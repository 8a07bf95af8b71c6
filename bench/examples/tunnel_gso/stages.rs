//! What does one super-frame cost where it is sent, and where it is received? And a small packet?
//!
//! Owns the frames that are carried and the time of this thread. Softirq work that a send sets off
//! runs in it and is counted.

use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroU16;

use anyhow::{Context as _, Result, bail, ensure};
use weft_encap::VXLAN_HEADER;
use weft_sys::udp::{self, Buffers, SendBatch, Target};
use weft_wire::build::{self, TcpSpec};
use weft_wire::checksum::Sum;
use weft_wire::{IpProtocol, Mac, Parsed, VnetHeader, parse, vnet};

use crate::rig::{FAR, Link, NEAR};
use crate::roads::{PORT, Road, VXLAN};
use crate::{Nanos, cpu_of_thread};

/// Payload of one segment: timestamps in its header, a tunnel over an MTU of 1500.
const SEGMENT: u16 = 1398;
const SEGMENTS: usize = 44;
/// Payload of the super-frame.
pub(crate) const PAYLOAD: usize = SEGMENT as usize * SEGMENTS;
/// Super-frames on their way at once: what a TAP's queue holds uncut.
const TURN: usize = 8;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
const ADDRESSES: [[u8; 4]; 2] = [[10, 9, 0, 1], [10, 9, 0, 2]];

/// What one super-frame, or a small packet, costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Frames in which one arrives.
    pub(crate) frames: f64,
    /// Nanoseconds.
    pub(crate) send: f64,
    /// Nanoseconds.
    pub(crate) receive: f64,
}

/// Carries so many turns of super-frames, received only if somebody is to.
pub(crate) fn carry(road: &mut dyn Road, turns: usize) -> Result<Cost> {
    let (template, vnet) = super_frame()?;
    let mut bytes = template.clone();
    let (mut send, mut receive) = (Nanos::default(), Nanos::default());
    let mut frames = 0;
    for _ in 0..turns {
        let before = cpu_of_thread();
        for _ in 0..TURN {
            road.send(&mut bytes, &vnet)?;
        }
        let between = cpu_of_thread();
        send += between - before;
        if road.arrives().is_none() {
            continue;
        }
        let mut payload = 0;
        road.receive(&mut |frame, told| {
            ensure!(
                told.gso_size == SEGMENT && told.gso_type == vnet.gso_type,
                "arrived as {told:?}"
            );
            payload += frame.len() - usize::from(vnet.hdr_len);
            frames += 1;
            Ok(())
        })?;
        receive += cpu_of_thread() - between;
        ensure!(payload == TURN * PAYLOAD, "{payload} bytes arrived");
    }
    let each = |nanos: Nanos| nanos as f64 / (turns * TURN) as f64;
    Ok(Cost {
        send: each(send),
        receive: each(receive),
        frames: f64::from(frames) / (turns * TURN) as f64,
    })
}

/// Compares what arrives with what was sent, once; in how many frames it arrives.
pub(crate) fn check(road: &mut dyn Road) -> Result<usize> {
    let (mut bytes, vnet) = super_frame()?;
    let header_len = usize::from(vnet.hdr_len);
    let expected = bytes
        .get(VXLAN_HEADER + header_len..)
        .unwrap_or_default()
        .to_vec();
    road.send(&mut bytes, &vnet)?;
    let (mut payload, mut frames) = (Vec::new(), 0);
    road.receive(&mut |frame, told| {
        let Ok(Parsed::Ip(headers)) = parse(frame) else {
            bail!("no IP packet arrives")
        };
        ensure!(headers.end == frame.len(), "a frame of another length");
        ensure!(told.gso_size == vnet.gso_size, "arrived as {told:?}");
        payload.extend_from_slice(frame.get(header_len..).unwrap_or_default());
        frames += 1;
        Ok(())
    })?;
    ensure!(payload == expected, "{} bytes arrive", payload.len());
    Ok(frames)
}

/// Small datagrams of several flows in one send: they come from a node of either kind.
pub(crate) struct Burst {
    tx: UdpSocket,
    batch: SendBatch,
    bytes: Vec<u8>,
    segment: usize,
}

impl Burst {
    const FLOWS: u16 = 32;
    const PACKETS: usize = udp::MAX_SEGMENTS;
    /// 64 bytes with the frame check sequence.
    const PAYLOAD: usize = 18;

    pub(crate) fn new(link: &Link) -> Result<Self> {
        let bind = || udp::bind_tx(NEAR.into(), Buffers::default());
        let [from, to] = MACS.map(Mac::new);
        let [src, dst] = ADDRESSES.map(Ipv4Addr::from);
        let flows = (40_000..40_000 + Self::FLOWS).cycle().take(Self::PACKETS);
        let packets: Vec<_> = flows
            .map(|port| {
                let ip = build::ethernet(from, to).ipv4(src, dst);
                [&VXLAN[..], &ip.udp(port, 5001, &[0x77; Self::PAYLOAD])].concat()
            })
            .collect();
        Ok(Self {
            tx: link.near.netns.run(bind)??,
            batch: SendBatch::new(1, 1),
            segment: packets.first().map_or(0, Vec::len),
            bytes: packets.concat(),
        })
    }

    /// What each packet costs that `road` receives.
    pub(crate) fn received_by(&mut self, road: &mut dyn Road, bursts: usize) -> Result<Cost> {
        let target = Target {
            to: (FAR, PORT).into(),
            tos: 0,
            segment: u16::try_from(self.segment).ok().and_then(NonZeroU16::new),
        };
        let (mut send, mut receive, mut frames) = (0, 0, 0);
        for _ in 0..bursts {
            let before = cpu_of_thread();
            let mut filling = self.batch.fill();
            let room = filling.begin(target) && filling.part(&self.bytes);
            ensure!(room, "a batch has room for a message");
            let mut failure = None;
            filling.send(&self.tx, |_, error| failure = Some(error));
            failure.map_or(Ok(()), Err)?;
            let between = cpu_of_thread();
            let mut packets = 0;
            road.receive(&mut |frame, told| {
                let payload = frame.len().saturating_sub(42);
                packets += payload.div_ceil(usize::from(told.gso_size).max(Self::PAYLOAD));
                frames += 1;
                Ok(())
            })?;
            receive += cpu_of_thread() - between;
            send += between - before;
            ensure!(packets == Self::PACKETS, "{packets} packets arrived");
        }
        let each = |nanos: Nanos| nanos as f64 / (bursts * Self::PACKETS) as f64;
        Ok(Cost {
            frames: f64::from(frames) / (bursts * Self::PACKETS) as f64,
            send: each(send),
            receive: each(receive),
        })
    }
}

/// A normalised TCP super-frame behind [`VXLAN`].
fn super_frame() -> Result<(Vec<u8>, VnetHeader)> {
    let [src, dst] = ADDRESSES.map(Ipv4Addr::from);
    let spec = TcpSpec {
        src_port: 40_000,
        dst_port: 5001,
        options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        ..TcpSpec::default()
    };
    let [from, to] = MACS.map(Mac::new);
    let ip = build::ethernet(from, to).ipv4(src, dst).dont_fragment(true);
    let payload: Vec<u8> = (0..).take(PAYLOAD / 2).flat_map(u16::to_ne_bytes).collect();
    let frame = ip.tcp(spec, &payload);
    let Ok(Parsed::Ip(headers)) = parse(&frame) else {
        bail!("the builder's frames parse")
    };
    let offset = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    let mut sum = Sum::new();
    sum.add_pseudo_ipv4(src, dst, IpProtocol::TCP, offset(headers.payload_len()));
    let vnet = VnetHeader {
        flags: vnet::FLAG_NEEDS_CHECKSUM,
        gso_type: vnet::GSO_TCPV4,
        hdr_len: offset(frame.len() - PAYLOAD),
        gso_size: SEGMENT,
        csum_start: offset(headers.l4),
        csum_offset: 16,
    };
    let mut bytes = [&VXLAN[..], &frame].concat();
    let field = bytes.get_mut(VXLAN_HEADER + headers.l4 + 16..);
    let field = field.and_then(|rest| rest.first_chunk_mut());
    *field.context("a checksum field")? = sum.folded().to_be_bytes();
    Ok((bytes, vnet))
}
