//! How fast can single frames be made?
//!
//! Builds Ethernet, IPv4 and UDP itself and hands them to the interface through an AF_PACKET
//! socket past its queueing discipline: on every side of a race a frame costs the sender as little,
//! and none can travel as part of a larger one. A full device says so, and the generator lets
//! others run.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use weft_switch::path::GATEWAY_V4;
use weft_switch::runtime::Clock;
use weft_sys::netlink::{Netlink, addr, link, neigh};
use weft_sys::packet::{BATCH, PacketConfig, PacketSocket};
use weft_wire::ethernet::HEADER_LEN as ETHERNET;
use weft_wire::{Mac, build, checksum};

use super::To;
use super::client::is_full;
use crate::stats::elapsed;

/// Bytes in front of a datagram's payload.
const HEADERS: usize = ETHERNET + 20 + 8;
const UDP_CHECKSUM: usize = ETHERNET + 20 + 6;
/// The first flow's source port.
const FIRST_PORT: u16 = 20_000;
/// Sizes of a dozen frames of the internet mix: seven small ones, four middle, one large.
const IMIX: [usize; 12] = [64, 590, 64, 64, 590, 64, 1450, 64, 590, 64, 590, 64];

/// Bytes of a frame, Ethernet header included, checksum not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Size {
    #[value(name = "64")]
    Small,
    #[value(name = "590")]
    Middle,
    #[value(name = "1450")]
    Large,
    /// Seven of 64, four of 590, one of 1450
    Imix,
}

impl Size {
    const fn all(self) -> &'static [usize] {
        match self {
            Self::Small => &[64],
            Self::Middle => &[590],
            Self::Large => &[1450],
            Self::Imix => &IMIX,
        }
    }
}

/// Which frames.
#[derive(Debug, Args)]
pub(super) struct Shape {
    /// Bytes of a frame
    #[arg(long, value_enum)]
    size: Size,
    /// Source ports
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    flows: u16,
    /// Frames a second; default: as many as go
    #[arg(long)]
    rate: Option<u64>,
    /// What the frames' sink knows them by, in the four bytes behind their number
    #[arg(long, default_value_t = 0)]
    mark: u32,
    /// Send into the loopback device, where nobody takes them: what the generator alone can do
    #[arg(long)]
    ceiling: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Sent {
    sent: u64,
    seconds: f64,
}

/// A frame that is sent again and again, each time with another number.
struct Template {
    bytes: Vec<u8>,
    number: u32,
}

impl Template {
    fn set_number(&mut self, number: u32) {
        let old = std::mem::replace(&mut self.number, number);
        if let Some(room) = self.bytes.get_mut(HEADERS..HEADERS + 4) {
            room.copy_from_slice(&number.to_be_bytes());
        }
        if let Some([high, low]) = self.bytes.get_mut(UDP_CHECKSUM..UDP_CHECKSUM + 2) {
            let sum = checksum::update_u32(u16::from_be_bytes([*high, *low]), old, number);
            // 0 would say that there is none; 0xffff is its equal (RFC 768).
            let sum = if sum == 0 { 0xffff } else { sum };
            [*high, *low] = sum.to_be_bytes();
        }
    }
}

/// The frames of all flows and sizes in the order in which they are sent, round and round.
struct Round {
    templates: Vec<Template>,
    /// The next number of each flow.
    numbers: Vec<u32>,
    place: usize,
}

impl Round {
    fn new(flows: u16, sizes: &[usize], make: impl Fn(u16, usize) -> Vec<u8>) -> Self {
        // The size changes from frame to frame; every flow has each size once a round.
        let turns = 0..sizes.len();
        let places = turns.flat_map(|turn| (0..flows).map(move |flow| (turn, flow)));
        let templates = places.filter_map(|(turn, flow)| {
            let size = sizes.get((turn + usize::from(flow)) % sizes.len())?;
            let bytes = make(flow, *size);
            Some(Template { bytes, number: 0 })
        });
        Self {
            templates: templates.collect(),
            numbers: vec![0; flows.into()],
            place: 0,
        }
    }

    /// Sends the next frames, `most` at most; how many went.
    fn send(&mut self, socket: &PacketSocket, most: usize) -> std::io::Result<usize> {
        let end = (self.place + most.min(BATCH)).min(self.templates.len());
        let batch = self.templates.get_mut(self.place..end).unwrap_or_default();
        let flows = self.numbers.len();
        for (template, place) in batch.iter_mut().zip(self.place..) {
            if let Some(number) = self.numbers.get_mut(place % flows) {
                template.set_number(*number);
                *number = number.wrapping_add(1);
            }
        }
        let sent = socket.send_batch(batch.iter().map(|template| template.bytes.as_slice()));
        let count = sent.as_ref().map_or(0, |count| *count);
        for place in self.place + count..end {
            if let Some(number) = self.numbers.get_mut(place % flows) {
                *number = number.wrapping_sub(1);
            }
        }
        self.place = (self.place + count) % self.templates.len();
        sent
    }
}

pub(super) fn run(to: To, shape: &Shape) -> Result<Sent> {
    let IpAddr::V4(target) = to.to.ip() else {
        bail!("frames are sent over IPv4");
    };
    let (interface, [src, dst], own) = route(target, shape.ceiling)?;
    let socket = PacketSocket::open(&interface, PacketConfig::default())?;
    if !shape.ceiling {
        socket.bypass_qdisc().context("cannot bypass the queue")?;
    }
    let make = |flow, size: usize| {
        let ip = build::ethernet(src, dst).ipv4(own, target);
        ip.udp(FIRST_PORT + flow, to.to.port(), &payload(size, shape.mark))
    };
    let mut round = Round::new(shape.flows, shape.size.all(), make);
    let clock = Clock::start();
    let mut sent = 0_u64;
    loop {
        let now = elapsed(clock);
        if now >= to.seconds {
            break;
        }
        // At a rate no frame goes before its time: those that came due while this slept.
        let most = match shape.rate {
            Some(rate) => due_by(now, rate).saturating_sub(sent),
            None => u64::MAX,
        };
        if most == 0 {
            std::thread::park_timeout(due(sent, shape.rate.unwrap_or(1)).saturating_sub(now));
            continue;
        }
        match round.send(&socket, usize::try_from(most).unwrap_or(usize::MAX)) {
            Ok(count) => sent += count as u64,
            // A full queue: others are to empty it.
            Err(error) if is_full(&error) => std::thread::yield_now(),
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    Ok(Sent {
        sent,
        seconds: elapsed(clock).as_secs_f64(),
    })
}

/// What is in a frame of `size` bytes: its number (0 yet), the mark, and nothing.
fn payload(size: usize, mark: u32) -> Vec<u8> {
    let mut payload = [0_u32.to_be_bytes(), mark.to_be_bytes()].concat();
    payload.resize(size - HEADERS, 0);
    payload
}

/// The number and the mark of a frame's payload.
pub(super) fn number_and_mark(payload: &[u8]) -> Option<(u32, u32)> {
    let (number, rest) = payload.split_first_chunk()?;
    let mark = rest.first_chunk()?;
    Some((u32::from_be_bytes(*number), u32::from_be_bytes(*mark)))
}

/// When the frame of this number, from 0, is to be sent: not a nanosecond earlier.
fn due(number: u64, rate: u64) -> Duration {
    let nanos = (u128::from(number) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How many frames are due at a time.
fn due_by(now: Duration, rate: u64) -> u64 {
    let whole = now.as_nanos() * u128::from(rate.max(1)) / 1_000_000_000;
    u64::try_from(whole).map_or(u64::MAX, |whole| whole.saturating_add(1))
}

/// The interface that leads to `target`, its MAC and the next hop's, and our own address. Into the
/// loopback device with a MAC of nobody for the ceiling.
fn route(target: Ipv4Addr, ceiling: bool) -> Result<(String, [Mac; 2], Ipv4Addr)> {
    const INTERFACE: &str = "eth0";
    let mut netlink = Netlink::open()?;
    let held = link::get(&mut netlink, INTERFACE)?.context("this namespace has no eth0")?;
    let own = addr::list(&mut netlink, Some(held.index))?
        .into_iter()
        .find_map(|address| match address.ip {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .context("eth0 has no IPv4 address")?;
    if ceiling {
        return Ok(("lo".to_owned(), [Mac::new([2; 6]); 2], own));
    }
    let known = neigh::list(&mut netlink)?;
    let known = [target, GATEWAY_V4].into_iter().find_map(|hop| {
        let hop = IpAddr::V4(hop);
        let mut of_link = known.iter().filter(|one| one.index == held.index);
        of_link.find(|one| one.ip == hop).map(|one| one.mac)
    });
    let hop = known.with_context(|| format!("neither {target} nor the gateway is a neighbour"))?;
    let own_mac = held.mac.context("eth0 has no MAC")?;
    Ok((
        INTERFACE.to_owned(),
        [Mac::new(own_mac), Mac::new(hop)],
        own,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_due_at_its_moment_and_not_before() {
        for rate in [1, 3, 999, 40_000, 1_000_003] {
            for number in [0, 1, 2, 31, 32, 33, 100_000] {
                let at = due(number, rate);
                assert_eq!(due_by(at, rate), number + 1, "{number} of {rate}");
                if let Some(before) = at.checked_sub(Duration::from_nanos(1)) {
                    assert_eq!(due_by(before, rate), number, "{number} of {rate}");
                }
            }
        }
    }

    #[test]
    fn frames_keep_their_numbers_and_checksums() {
        let ends = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Ipv4Addr::from);
        let make = |flow, size: usize| {
            let ip = build::ethernet(Mac::new([2; 6]), Mac::new([4; 6])).ipv4(ends[0], ends[1]);
            ip.udp(FIRST_PORT + flow, 7000, &payload(size, 0xabcd_ef01))
        };
        let mut template = Template {
            bytes: make(3, 64),
            number: 0,
        };
        for number in [1, 77, 0xffff_ffff, 0] {
            template.set_number(number);
            let mut payload = payload(64, 0xabcd_ef01);
            payload[..4].copy_from_slice(&number.to_be_bytes());
            assert_eq!(number_and_mark(&payload), Some((number, 0xabcd_ef01)));
            let ip = build::ethernet(Mac::new([2; 6]), Mac::new([4; 6])).ipv4(ends[0], ends[1]);
            assert_eq!(template.bytes, ip.udp(FIRST_PORT + 3, 7000, &payload));
        }
    }
}
