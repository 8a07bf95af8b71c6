//! What does a TCP transfer between two pods cost, all of it?
//!
//! Owns the pods and the loop between their TAPs: one stream one way over the road measured,
//! acknowledgments straight back. Sockets and stacks are the kernel's, and their time counts.

use std::io::{ErrorKind, IoSliceMut, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weft_encap::VXLAN_HEADER;
use weft_switch::runtime::Clock;
use weft_sys::affinity;
use weft_sys::netlink::link::{self, Change};
use weft_sys::tap::{TapQueue, VNET_HEADER};
use weft_wire::{Parsed, VnetHeader, parse};

use crate::cpu_of_process;
use crate::rig::Space;
use crate::roads::{LARGEST, Road, VXLAN, write};
use crate::stages::PAYLOAD;

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const TAP: &str = "pod";
/// Frames read of one pod before the other has its turn.
const TURN: usize = 16;

/// Two pods of different nodes.
pub(crate) struct Pods {
    near: (Space, TapQueue),
    far: (Space, TapQueue),
    buffer: Vec<u8>,
    /// The core of the pods' programs.
    core: usize,
}

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) gigabits: f64,
    /// Nanoseconds of all processors for the payload of one super-frame.
    pub(crate) cpu: f64,
}

impl Pods {
    pub(crate) fn new(core: usize) -> Result<Self> {
        let pod = |ip| -> Result<_> {
            let mut space = Space::new()?;
            let queue = space.tap(TAP, Some(ip))?;
            let index = link::index_of(&mut space.netlink, TAP)?;
            let mtu = Change {
                mtu: Some(1450),
                ..Change::default()
            };
            link::change(&mut space.netlink, index, &mtu)?;
            Ok((space, queue))
        };
        let mut buffer = VXLAN.to_vec();
        buffer.resize(VXLAN_HEADER + LARGEST, 0);
        Ok(Self {
            near: pod(NEAR)?,
            far: pod(FAR)?,
            buffer,
            core,
        })
    }

    /// The TAP of the pod that receives.
    pub(crate) fn far_tap(&self) -> Result<TapQueue> {
        Ok(self.far.1.try_clone()?)
    }

    /// Sends over `road` for so long.
    pub(crate) fn transfer(&mut self, road: &mut dyn Road, time: Duration) -> Result<Transfer> {
        let listen = || TcpListener::bind((FAR, 0));
        let listener = self.far.0.netns.run(listen)??;
        let to = listener.local_addr()?;
        let (core, cpu, clock) = (self.core, cpu_of_process(), Clock::start());
        let Self {
            near, far, buffer, ..
        } = self;
        let netns = &near.0.netns;
        thread::scope(|scope| {
            let client = scope.spawn(move || -> Result<()> {
                affinity::pin_current_thread(core)?;
                netns.run(|| send(to, time))?
            });
            let server = scope.spawn(move || -> Result<u64> {
                affinity::pin_current_thread(core)?;
                count(&listener)
            });
            while !(client.is_finished() && server.is_finished()) {
                turn((&near.1, &far.1), road, buffer)?;
            }
            client.join().ok().context("the client fails")??;
            let bytes = server.join().ok().context("the server fails")??;
            let (seconds, cpu) = (elapsed(clock).as_secs_f64(), cpu_of_process() - cpu);
            Ok(Transfer {
                gigabits: bytes as f64 * 8.0 / seconds / 1e9,
                cpu: cpu as f64 * PAYLOAD as f64 / bytes as f64,
            })
        })
    }
}

fn elapsed(clock: Clock) -> Duration {
    Duration::from_nanos(clock.now().as_nanos())
}

fn send(to: SocketAddr, time: Duration) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    let (piece, clock) = (vec![0x5a; 128 << 10], Clock::start());
    while elapsed(clock) < time {
        stream.write_all(&piece)?;
    }
    Ok(())
}

fn count(listener: &TcpListener) -> Result<u64> {
    let (mut stream, _) = listener.accept()?;
    let (mut piece, mut bytes) = (vec![0; 256 << 10], 0);
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(bytes),
            len => bytes += len as u64,
        }
    }
}

/// Moves what there is; waits for more if there is nothing.
fn turn(pods: (&TapQueue, &TapQueue), road: &mut dyn Road, buffer: &mut [u8]) -> Result<()> {
    let (near, far) = pods;
    let mut moved = false;
    for _ in 0..TURN {
        let Some((len, vnet)) = read(near, buffer)? else {
            break;
        };
        moved = true;
        let bytes = buffer.get_mut(..VXLAN_HEADER + len).unwrap_or_default();
        road.send(bytes, &vnet)?;
    }
    road.receive(&mut |frame, vnet| {
        moved = true;
        write(far, frame, vnet)
    })?;
    for _ in 0..TURN {
        let Some((len, vnet)) = read(far, buffer)? else {
            break;
        };
        moved = true;
        let frame = buffer.get(VXLAN_HEADER..VXLAN_HEADER + len);
        write(near, frame.unwrap_or_default(), &vnet)?;
    }
    if !moved {
        let ends = [Some(near.as_fd()), Some(far.as_fd()), road.arrives()];
        let ends = ends.iter().flatten();
        let mut ends: Vec<_> = ends.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 2_000_000,
        };
        poll(&mut ends, Some(&wait))?;
    }
    Ok(())
}

/// Reads a frame behind the room for a VXLAN header; its length, and what is left to do to it.
fn read(pod: &TapQueue, buffer: &mut [u8]) -> Result<Option<(usize, VnetHeader)>> {
    let mut header = [0; VNET_HEADER];
    let room = buffer.get_mut(VXLAN_HEADER..).unwrap_or_default();
    let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(room)];
    let len = match pod.readv(&mut parts) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        read => read.context("cannot read from a pod")?,
    };
    let len = len.saturating_sub(VNET_HEADER);
    let frame = buffer.get(VXLAN_HEADER..VXLAN_HEADER + len);
    let frame = frame.unwrap_or_default();
    let vnet = VnetHeader::parse(&header).unwrap_or(VnetHeader::NONE);
    let Ok(Parsed::Ip(headers)) = parse(frame) else {
        return Ok(Some((len, VnetHeader::NONE)));
    };
    match vnet.normalised(frame, &headers) {
        Ok(vnet) => Ok(Some((len, vnet))),
        Err(bad) => bail!("{bad:?} in {vnet:?}"),
    }
}
