//! What does the kernel alone take for a pod's interface?
//!
//! Owns the program that a runtime would start if nothing but the interface were wanted: a TAP with
//! two queues in a namespace that is there, made to last, raised, with the addresses, neighbours
//! and routes that weft gives a pod. No daemon, no policy, no record.

use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use weft_sys::SysError;
use weft_sys::netlink::{Netlink, addr, link, neigh, route};
use weft_sys::netns::Netns;
use weft_sys::tap::{self, TapConfig};

use super::runtime::{Outcome, timed};
use super::space::Space;

/// The name it is started under.
pub(crate) const BARE: &str = "weft-bench-bare";
/// Names the namespace.
const NETNS: &str = "CNI_NETNS";

/// Addresses and the gateways of their families.
const ADDRESSES: [(&str, &str, u8); 2] = [
    ("10.244.0.9", "169.254.1.1", 32),
    ("fd00:10:244::9", "fe80::1", 128),
];

/// Has a fresh process give `space` a bare interface.
pub(super) fn attach(space: &Space) -> Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg0(BARE).env_clear().env(NETNS, space.path());
    timed(command, b"")
}

/// That process.
pub(crate) fn bare() -> ExitCode {
    match make() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{BARE}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn make() -> Result<()> {
    let path = std::env::var(NETNS).context("no namespace is named")?;
    Ok(Netns::open(path)?.run(inside)??)
}

fn inside() -> Result<(), SysError> {
    let queues = tap::open(Some("eth0"), TapConfig::multi_queue(2))?;
    if let Some(queue) = queues.first() {
        queue.set_persist(true)?;
    }
    let mut netlink = Netlink::open()?;
    let index = link::index_of(&mut netlink, "eth0")?;
    let loopback = link::index_of(&mut netlink, "lo")?;
    let change = link::Change {
        mac: Some([0x0a, 0x58, 10, 244, 0, 9]),
        mtu: Some(1450),
        up: Some(true),
        ..link::Change::default()
    };
    link::set_up(&mut netlink, loopback)?;
    link::change(&mut netlink, index, &change)?;
    let parsed = ADDRESSES
        .iter()
        .filter_map(|(ip, gateway, bits)| Some((ip.parse().ok()?, gateway.parse().ok()?, *bits)));
    for (ip, gateway, bits) in parsed {
        let (ip, gateway): (IpAddr, IpAddr) = (ip, gateway);
        addr::ensure(&mut netlink, &addr::Address::new(index, ip, bits))?;
        let mac = [0x0a, 0x58, 0, 0, 0, 1];
        let ip = gateway;
        neigh::ensure(&mut netlink, &neigh::Neighbor { index, ip, mac })?;
        let hop = route::Hop::Link { index };
        route::ensure(&mut netlink, &route::Route::new(gateway, bits, hop))?;
        route::ensure(
            &mut netlink,
            &route::Route::default_via(gateway, index, true),
        )?;
    }
    Ok(())
}
