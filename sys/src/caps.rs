//! May this process do what weft needs, and if not, what is missing?
//!
//! Owns reading the effective capabilities (capabilities(7)) and looking at `/dev/net/tun`. It
//! never asks for more privilege and never gives any up.

use std::fs::{self, OpenOptions};
use std::io;

use crate::error::{Context, Result, SysError};

/// CAP_NET_ADMIN: interfaces, routes, TAP devices.
const NET_ADMIN: u32 = 12;
/// CAP_NET_RAW: packet sockets.
const NET_RAW: u32 = 13;
/// CAP_SYS_PTRACE: looking at all processes.
const SYS_PTRACE: u32 = 19;
/// CAP_SYS_ADMIN: entering and mounting namespaces.
const SYS_ADMIN: u32 = 21;

/// The capabilities of the calling thread that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether interfaces, routes and TAP devices may be changed.
    pub net_admin: bool,
    /// Whether packet sockets may be opened.
    pub net_raw: bool,
    /// Whether every process of this user namespace may be looked at.
    pub sys_ptrace: bool,
    /// Whether namespaces may be made and entered.
    pub sys_admin: bool,
}

impl Capabilities {
    /// What the calling thread has in effect.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        let what = || "read the capabilities of this process".to_owned();
        let status = fs::read_to_string("/proc/thread-self/status").context(what)?;
        Self::parse(&status).ok_or_else(|| SysError::invalid(what(), "no CapEff in /proc"))
    }

    fn parse(status: &str) -> Option<Self> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        let bits = u64::from_str_radix(line.trim(), 16).ok()?;
        let has = |number: u32| bits >> number & 1 == 1;
        Some(Self {
            net_admin: has(NET_ADMIN),
            net_raw: has(NET_RAW),
            sys_ptrace: has(SYS_PTRACE),
            sys_admin: has(SYS_ADMIN),
        })
    }
}

/// Whether the effective user is root, which alone does not give every capability.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Something weft needs and this process does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {next}")]
pub struct Missing {
    /// What is missing.
    pub why: String,
    /// What to do about it.
    pub next: String,
}

/// Checks what running the data plane takes: CAP_NET_ADMIN, CAP_SYS_ADMIN and `/dev/net/tun`.
///
/// # Errors
/// The first thing that is missing.
pub fn check() -> Result<(), Missing> {
    let missing = |why: &str, next: &str| Missing {
        why: why.to_owned(),
        next: next.to_owned(),
    };
    let have = Capabilities::current()
        .map_err(|error| missing(&error.to_string(), "mount /proc and try again"))?;
    let run_as_root = "run as root (sudo), or grant the capability";
    if !have.net_admin {
        return Err(missing("CAP_NET_ADMIN is missing", run_as_root));
    }
    if !have.sys_admin {
        return Err(missing("CAP_SYS_ADMIN is missing", run_as_root));
    }
    check_tun().map_err(|(why, next)| missing(&why, next))
}

fn check_tun() -> Result<(), (String, &'static str)> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    let Err(error) = opened else {
        return Ok(());
    };
    let next = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) | (_, Some(libc::ENODEV | libc::ENXIO)) => {
            "load the kernel module (modprobe tun), or pass the device into the container"
        }
        (io::ErrorKind::PermissionDenied, _) => "allow the device in the container's device cgroup",
        _ => "see whether the kernel was built with CONFIG_TUN",
    };
    Err((format!("/dev/net/tun cannot be opened: {error}"), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read_as_bits() {
        let none = Capabilities::parse("Name:\tx\nCapEff:\t0000000000000000\n").unwrap();
        assert!(!none.net_admin && !none.net_raw && !none.sys_admin);
        let some = Capabilities::parse("CapEff:\t0000000000201000\n").unwrap();
        assert!(some.net_admin && !some.net_raw && some.sys_admin);
        assert_eq!(Capabilities::parse("CapPrm:\t00\n"), None);
        assert!(Capabilities::current().is_ok());
    }
}
