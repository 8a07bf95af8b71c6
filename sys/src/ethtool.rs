//! Which work may an interface leave to its driver?
//!
//! Owns switching checksum and segmentation offloads (ethtool(8), linux/ethtool.h), which tests
//! need to see real checksums and frames of wire size on virtual links, and every other feature by the
//! name ethtool(8) has for it. It never chooses what to switch.

#![expect(unsafe_code, reason = "SIOCETHTOOL takes a pointer to a pointer")]

mod features;

use std::io;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{Domain, Socket, Type};

use crate::error::{Context, Result};
use crate::ifreq::name_bytes;
pub use features::{feature, set_feature};

/// Something a driver can do in place of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Checksums of sent packets.
    TxChecksum,
    /// Packets in several pieces; without it nothing is segmented by the driver.
    ScatterGather,
    /// Segmentation of sent TCP.
    TcpSegmentation,
    /// Segmentation as late as possible.
    GenericSegmentation,
    /// Merging of received packets.
    GenericReceive,
}

impl Offload {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::TxChecksum,
        Self::ScatterGather,
        Self::TcpSegmentation,
        Self::GenericSegmentation,
        Self::GenericReceive,
    ];

    /// `ETHTOOL_S*`; the matching `ETHTOOL_G*` is one less.
    const fn set_command(self) -> u32 {
        match self {
            Self::TxChecksum => 0x17,
            Self::ScatterGather => 0x19,
            Self::TcpSegmentation => 0x1f,
            Self::GenericSegmentation => 0x24,
            Self::GenericReceive => 0x2c,
        }
    }
}

/// Switches an offload of `interface` in the calling thread's namespace.
///
/// # Errors
/// EOPNOTSUPP if the driver's offload is fixed.
pub fn set(interface: &str, offload: Offload, on: bool) -> Result<()> {
    let what = || format!("switch {offload:?} of {interface}");
    command(interface, offload.set_command(), u32::from(on), what).map(|_| ())
}

/// Whether an offload of `interface` is on.
///
/// # Errors
/// [`is_not_found`](crate::SysError::is_not_found) without that interface.
pub fn get(interface: &str, offload: Offload) -> Result<bool> {
    let what = || format!("look up {offload:?} of {interface}");
    let value = command(interface, offload.set_command() - 1, 0, what)?;
    Ok(value != 0)
}

/// Switches off all offloads of `interface` that can be.
///
/// # Errors
/// [`is_not_found`](crate::SysError::is_not_found) without that interface.
pub fn disable_all(interface: &str) -> Result<()> {
    for offload in Offload::ALL {
        match set(interface, offload, false) {
            Err(error) if error.errno() != Some(libc::EOPNOTSUPP) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn command(interface: &str, number: u32, data: u32, what: impl Fn() -> String) -> Result<u32> {
    // `struct ethtool_value`.
    let mut value = [number, data];
    Device::new(interface, &what)?
        .ioctl(&mut value)
        .context(what)?;
    Ok(value[1])
}

/// An interface to give commands about.
struct Device {
    socket: Socket,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Device {
    fn new(interface: &str, what: impl Fn() -> String) -> Result<Self> {
        let name = name_bytes(interface)?.map(|byte| libc::c_char::from_ne_bytes([byte]));
        // Any socket of the namespace will do.
        let socket = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None).context(what)?;
        Ok(Self { socket, name })
    }

    /// Gives the command whose number is the first of `words`, which must have room for all the
    /// kernel answers; returns the kernel's flags.
    fn ioctl(&self, words: &mut [u32]) -> io::Result<u32> {
        let mut request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: words.as_mut_ptr().cast(),
            },
        };
        let fd: BorrowedFd<'_> = self.socket.as_fd();
        // SAFETY: SIOCETHTOOL reads a struct ifreq at the pointer and, where that points, reads and
        // writes the structure of the command in the first word. `request` is the former. `words`,
        // borrowed exclusively, has room for the latter: an ethtool_value of two words for the
        // commands of `Offload`, and for those of `features`, the only other caller, as many words
        // as the counts in them say, which are the kernel's own and never change while it runs.
        let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        u32::try_from(answer).map_err(|_| io::Error::last_os_error())
    }
}
