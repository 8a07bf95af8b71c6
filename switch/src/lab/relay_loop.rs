//! How do frames cross a slow and lossy link in order?
//!
//! Owns the relay process: a packet socket on the member's link, a TAP on the bridge, and between them
//! two queues with a bound. Offload headers are carried along, so big unsegmented packets cross as
//! they would without the relay.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use weft_sys::netlink::{Netlink, link};
use weft_sys::packet::{self, PacketConfig, PacketSocket};
use weft_sys::tap::{self, TapConfig, TapQueue};

use super::error::{LabError, LabResult};
use super::fabric::BRIDGE;
use super::helper::READY;
use super::relay::{Faults, PPM, RelayArgs};
use super::time::Stopwatch;

/// Bytes one direction may hold: 20 ms at more than 10 Gb/s.
const QUEUE_BYTES: usize = 32 << 20;
/// A whole unsegmented packet with its headers.
const FRAME_BYTES: usize = 66 * 1024;
/// Frames taken from one side before the other gets its turn.
const TURN: usize = 256;

/// Carries frames until it is ended or its link goes.
pub(crate) fn run(args: &RelayArgs) -> LabResult<()> {
    let (port, tap) = open(args)?;
    let failed = |e: io::Error| LabError::failed(format!("the relay ends: {e}"), "weft lab up");
    println!("{READY}");
    carry(&port, &tap, args.faults()).map_err(failed)
}

/// Opens both ends and moves the member's link from the bridge to the relay.
fn open(args: &RelayArgs) -> LabResult<(PacketSocket, TapQueue)> {
    if !args.state().is_dir() {
        return Err(LabError::failed("the lab is gone", ""));
    }
    let config = TapConfig {
        queues: 1,
        vnet: true,
        persist: false,
        plain: false,
        offloads: false,
    };
    let mut queues = tap::open(Some(&args.tap()), config).map_err(weft_sys::SysError::from)?;
    let Some(tap) = queues.pop() else {
        return Err(LabError::failed("the TAP has no queue", ""));
    };
    let mut netlink = Netlink::open()?;
    let bridge = link::index_of(&mut netlink, BRIDGE)?;
    let index = link::index_of(&mut netlink, &args.tap())?;
    let change = link::Change {
        up: Some(true),
        mtu: Some(args.mtu),
        master: Some(bridge),
        tx_queue_len: Some(10_000),
        ..link::Change::default()
    };
    link::change(&mut netlink, index, &change)?;
    let config = PacketConfig {
        vnet: true,
        ignore_outgoing: true,
        promiscuous: true,
    };
    let socket = PacketSocket::open(&args.port(), config)?;
    socket
        .set_nonblocking(true)
        .map_err(|e| LabError::failed(format!("packet socket: {e}"), ""))?;
    let index = link::index_of(&mut netlink, &args.port())?;
    link::change(
        &mut netlink,
        index,
        &link::Change {
            master: Some(0),
            ..link::Change::default()
        },
    )?;
    Ok((socket, tap))
}

fn carry(port: &PacketSocket, tap: &TapQueue, faults: Faults) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    for (token, fd) in [(0, port.as_fd().as_raw_fd()), (1, tap.as_fd().as_raw_fd())] {
        poll.registry()
            .register(&mut SourceFd(&fd), Token(token), Interest::READABLE)?;
    }
    let watch = Stopwatch::start();
    let mut from_node = Queue::new(faults);
    let mut to_node = Queue::new(Faults {
        seed: faults.seed.wrapping_add(1),
        ..faults
    });
    let mut buffer = vec![0; FRAME_BYTES];
    let tap_header = tap.vnet_header_len();
    loop {
        let now = watch.elapsed();
        let more_out = from_node.fill(
            now,
            &mut buffer,
            |b| port.recv(b),
            |b| to_tap(b, tap_header),
        )?;
        let more_in = to_node.fill(
            now,
            &mut buffer,
            |b| tap.read(b),
            |b| to_port(b, tap_header),
        )?;
        let now = watch.elapsed();
        from_node.release(now, |frame| tap.write(frame));
        to_node.release(now, |frame| port.send(frame));
        let due = [from_node.due(), to_node.due()].into_iter().flatten().min();
        let wait = if more_out || more_in {
            Some(Duration::ZERO)
        } else {
            due.map(|d| d.saturating_sub(now))
        };
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
    }
}

/// A frame as the packet socket gives it, as the TAP takes it: the TAP's header may be longer by
/// the count of buffers, which is the device's to fill.
fn to_tap(bytes: &[u8], tap_header: usize) -> Option<Vec<u8>> {
    let (header, frame) = bytes.split_at_checked(packet::VNET_HEADER)?;
    let mut out = Vec::with_capacity(tap_header + frame.len());
    out.extend_from_slice(header);
    out.resize(tap_header.max(packet::VNET_HEADER), 0);
    out.extend_from_slice(frame);
    Some(out)
}

/// The other way round.
fn to_port(bytes: &[u8], tap_header: usize) -> Option<Vec<u8>> {
    let (header, frame) = bytes.split_at_checked(tap_header)?;
    let mut out = Vec::with_capacity(packet::VNET_HEADER + frame.len());
    out.extend_from_slice(header.get(..packet::VNET_HEADER)?);
    out.extend_from_slice(frame);
    Some(out)
}

/// Frames of one direction on their way.
struct Queue {
    faults: Faults,
    random: u64,
    bytes: usize,
    /// When each frame is due, in order.
    frames: VecDeque<(Duration, Vec<u8>)>,
}

impl Queue {
    const fn new(faults: Faults) -> Self {
        Self {
            faults,
            random: faults.seed,
            bytes: 0,
            frames: VecDeque::new(),
        }
    }

    /// Takes in what has arrived; answers whether there may be more. Losing the link is an error.
    fn fill(
        &mut self,
        now: Duration,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
        convert: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> io::Result<bool> {
        for _ in 0..TURN {
            match read(buffer) {
                Ok(length) => {
                    if let Some(frame) = buffer.get(..length).and_then(&convert) {
                        self.take(now, frame);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Queues a frame, unless it is one of the lost or the queue is full.
    fn take(&mut self, now: Duration, frame: Vec<u8>) {
        if self.draw() < self.faults.loss_ppm || self.bytes + frame.len() > QUEUE_BYTES {
            return;
        }
        self.bytes += frame.len();
        self.frames
            .push_back((now + Duration::from_micros(self.faults.delay_us), frame));
    }

    /// Hands on every frame that is due; what the other side does not take is lost, as on a wire.
    fn release(&mut self, now: Duration, mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
        while self.due().is_some_and(|due| due <= now) {
            let Some((_, frame)) = self.frames.pop_front() else {
                return;
            };
            self.bytes -= frame.len();
            let _ = write(&frame);
        }
    }

    fn due(&self) -> Option<Duration> {
        self.frames.front().map(|(due, _)| *due)
    }

    /// A number below one million (splitmix64).
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(PPM)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: Faults = Faults {
        delay_us: 20_000,
        loss_ppm: 10_000,
        seed: 7,
    };

    fn delivered(queue: &mut Queue, now: Duration) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        queue.release(now, |frame| {
            out.push(frame.to_vec());
            Ok(frame.len())
        });
        out
    }

    #[test]
    fn frames_come_late_and_in_order() {
        let mut queue = Queue::new(Faults {
            loss_ppm: 0,
            ..FAULTS
        });
        for n in 0..3 {
            queue.take(Duration::from_millis(n), vec![u8::try_from(n).unwrap()]);
        }
        assert_eq!(queue.due(), Some(Duration::from_millis(20)));
        assert!(delivered(&mut queue, Duration::from_millis(19)).is_empty());
        assert_eq!(delivered(&mut queue, Duration::from_millis(21)), [[0], [1]]);
        assert_eq!(delivered(&mut queue, Duration::from_millis(22)), [[2]]);
        assert_eq!((queue.bytes, queue.due()), (0, None));
    }

    #[test]
    fn losses_follow_the_seed_and_the_rate() {
        let run = |seed| {
            let mut queue = Queue::new(Faults { seed, ..FAULTS });
            (0..100_000u32)
                .filter(|_| queue.draw() < FAULTS.loss_ppm)
                .collect::<Vec<_>>()
        };
        let lost = run(7);
        assert!((800..1200).contains(&lost.len()), "{}", lost.len());
        assert_eq!(lost, run(7));
        assert_ne!(lost, run(8));
    }

    #[test]
    fn a_full_queue_loses_and_stays_bounded() {
        let mut queue = Queue::new(Faults {
            loss_ppm: 0,
            ..FAULTS
        });
        for _ in 0..2000 {
            queue.take(Duration::ZERO, vec![0; 32 * 1024]);
        }
        assert!(queue.bytes <= QUEUE_BYTES);
        assert!(queue.frames.len() < 2000);
    }

    #[test]
    fn headers_change_length_but_not_meaning() {
        let mut bytes = vec![1, 3, 0, 0, 0, 0, 34, 0, 16, 0];
        bytes.extend([0xaa; 14]);
        let tap = to_tap(&bytes, 12).unwrap();
        assert_eq!(
            (&tap[..10], &tap[10..12], tap.len()),
            (&bytes[..10], &[0, 0][..], 26)
        );
        assert_eq!(to_port(&tap, 12).unwrap(), bytes);
        assert_eq!(to_tap(&[0; 9], 12), None);
    }
}
