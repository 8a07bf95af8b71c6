//! How are the frames of somebody else's interface seen and forged?
//!
//! Owns packet sockets bound to one interface (packet(7)), for tests, capture and link emulation.
//! It never forwards anything itself.

#![expect(
    unsafe_code,
    reason = "bind(2) to a link-layer address has no safe form"
)]

mod batch;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Socket, Type};

use crate::error::{Context, Result, SysError};
use crate::sockopt;
pub use batch::BATCH;

/// Bytes of the header before every frame with [`PacketConfig::vnet`] (`struct virtio_net_hdr`).
pub const VNET_HEADER: usize = 10;

const AF_PACKET: u16 = 17;
const ETH_P_ALL: u16 = 3;
const PACKET_MR_PROMISC: u16 = 1;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_QDISC_BYPASS: libc::c_int = 20;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// What came to a packet socket between two calls of [`PacketSocket::statistics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Frames, lost ones too.
    pub frames: u32,
    /// Frames lost because the receive buffer was full.
    pub dropped: u32,
}

/// How a packet socket sees its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketConfig {
    /// Whether every frame carries a [`VNET_HEADER`]. Without it, frames of this host come as
    /// they were before the driver's work: checksums unfinished, segments unsplit, unmarked.
    pub vnet: bool,
    /// Whether frames that this host sends by the interface are left out (Linux 4.20).
    pub ignore_outgoing: bool,
    /// Whether to receive frames for other MACs too.
    pub promiscuous: bool,
}

/// A socket that sends and receives whole Ethernet frames on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

impl PacketSocket {
    /// Opens a blocking socket on `interface` of the calling thread's namespace, which must be up
    /// to receive.
    ///
    /// # Errors
    /// [`SysError::is_not_found`] without that interface; a permission error without CAP_NET_RAW.
    pub fn open(interface: &str, config: PacketConfig) -> Result<Self> {
        crate::ifreq::name_bytes(interface)?;
        let what = || format!("open a packet socket on {interface}");
        // Protocol 0 receives nothing, so no frame of another interface comes in before bind.
        let socket = Socket::new(Domain::PACKET, Type::RAW.cloexec(), None).context(what)?;
        let index = rustix::net::netdevice::name_to_index(&socket, interface).context(what)?;
        let index = libc::c_int::try_from(index)
            .map_err(|_| SysError::invalid(what(), "interface number out of range"))?;
        let options = [
            (config.vnet, PACKET_VNET_HDR),
            (config.ignore_outgoing, PACKET_IGNORE_OUTGOING),
        ];
        for (_, option) in options.iter().filter(|(on, _)| *on) {
            sockopt::set_int(socket.as_fd(), libc::SOL_PACKET, *option, 1).context(what)?;
        }
        if config.promiscuous {
            let membership = libc::packet_mreq {
                mr_ifindex: index,
                mr_type: PACKET_MR_PROMISC,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            let option = libc::PACKET_ADD_MEMBERSHIP;
            sockopt::set(socket.as_fd(), libc::SOL_PACKET, option, &membership).context(what)?;
        }
        bind(socket.as_fd(), index).context(what)?;
        Ok(Self { socket })
    }

    /// Receives one frame; what does not fit is lost.
    ///
    /// # Errors
    /// `WouldBlock` when non-blocking or after the read timeout; ENETDOWN once when the interface
    /// goes down.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (len, _) = rustix::net::recv(&self.socket, buffer, RecvFlags::empty())?;
        Ok(len)
    }

    /// Sends one frame, preceded by its header with [`PacketConfig::vnet`].
    ///
    /// # Errors
    /// EMSGSIZE over the MTU, ENETDOWN while the interface is down, ENOBUFS.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.socket, frame, SendFlags::empty())?)
    }

    /// Sends frames in order with one system call, [`BATCH`] at most, and returns how many the
    /// kernel took: fewer if one fails, which the next call for it then says.
    ///
    /// # Errors
    /// As [`Self::send`], of the first frame.
    pub fn send_batch<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        batch::send(self.as_fd(), frames)
    }

    /// Receives frames into `buffers`, one each and [`BATCH`] at most, waiting for the first
    /// unless non-blocking, and writes their lengths; returns how many.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn recv_batch<'b>(
        &self,
        buffers: impl Iterator<Item = &'b mut [u8]>,
        lengths: &mut [usize; BATCH],
    ) -> io::Result<usize> {
        batch::recv(self.as_fd(), buffers, lengths)
    }

    /// Sends past the interface's queueing discipline, straight to the driver.
    ///
    /// # Errors
    /// ENOPROTOOPT before Linux 3.14.
    pub fn bypass_qdisc(&self) -> io::Result<()> {
        sockopt::set_int(self.as_fd(), libc::SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    }

    /// What came since the last call, or since the socket was opened.
    ///
    /// # Errors
    /// If getsockopt(2) fails.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let option = libc::PACKET_STATISTICS;
        let [frames, dropped] = sockopt::get::<[u32; 2]>(self.as_fd(), libc::SOL_PACKET, option)?;
        Ok(Statistics { frames, dropped })
    }

    /// Sets whether calls fail instead of waiting.
    ///
    /// # Errors
    /// If fcntl(2) fails.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.socket.set_nonblocking(on)
    }

    /// Bounds how long [`Self::recv`] waits; `None` waits for ever.
    ///
    /// # Errors
    /// EDOM for a duration out of range.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.socket.into()
    }
}

/// Binds to all protocols of interface `index`.
fn bind(fd: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: ETH_P_ALL.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: bind(2) reads `length` bytes at the pointer and keeps neither: `address` is alive
    // and has exactly that many; `fd` is open for as long as it is borrowed.
    let answer = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
