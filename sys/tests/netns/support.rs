//! Namespaces that go with the test that made them.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use weft_sys::caps;
use weft_sys::netlink::{Netlink, addr, link};
use weft_sys::netns::Netns;
use weft_sys::udp::{self, Buffers};

/// How long a packet may take through namespaces of one host.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process may run privileged tests; if not, says so past the capture of output.
pub(crate) fn privileged(test: &str) -> bool {
    let Err(missing) = caps::check() else {
        return true;
    };
    let line = format!("SKIPPED (needs root): {test}: {missing}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// A named namespace, deleted when dropped.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) netns: Netns,
    pub(crate) netlink: Netlink,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft.systest.{}.{number}", std::process::id());
        let netns = Netns::create(&name).unwrap();
        let mut netlink = Netlink::open_in(&netns).unwrap();
        let lo = link::index_of(&mut netlink, "lo").unwrap();
        link::set_up(&mut netlink, lo).unwrap();
        Self {
            name,
            netns,
            netlink,
        }
    }

    /// Runs `f` inside.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.netns.run(f).unwrap()
    }

    /// Joins `name` here to `peer` in `other`.
    pub(crate) fn join(&mut self, name: &str, other: &Self, peer: &str) {
        let into = Some(std::os::fd::AsFd::as_fd(&other.netns));
        link::add_veth(&mut self.netlink, name, peer, into).unwrap();
    }

    /// Gives `interface` addresses, brings it up, and returns its index.
    pub(crate) fn address(&mut self, interface: &str, addresses: &[(&str, u8)]) -> u32 {
        let index = link::index_of(&mut self.netlink, interface).unwrap();
        for (ip, prefix_len) in addresses {
            let address = addr::Address::new(index, ip.parse().unwrap(), *prefix_len);
            addr::ensure(&mut self.netlink, &address).unwrap();
        }
        link::set_up(&mut self.netlink, index).unwrap();
        index
    }

    /// A receiver inside that waits, but not for ever.
    pub(crate) fn receiver(&self, ip: &str) -> UdpSocket {
        let local = SocketAddr::new(ip.parse().unwrap(), 0);
        let socket = self
            .run(|| udp::bind_rx(local, true, Buffers::default()))
            .unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A sender inside.
    pub(crate) fn sender(&self, ip: &str) -> UdpSocket {
        let local: IpAddr = ip.parse().unwrap();
        self.run(|| udp::bind_tx(local, Buffers::default()))
            .unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        Netns::delete(&self.name).unwrap();
    }
}
