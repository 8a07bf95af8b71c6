//! What is on a link, frame by frame?
//!
//! Owns packet sockets in the namespaces of a lab: listening for what should not arrive, forging
//! what nobody should send, recording what is to be judged, and the kernel's tables to compare
//! before and after. See packet(7).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;
use weft_sys::ethtool;
use weft_sys::netlink::{Netlink, addr, link, neigh, route};
use weft_sys::packet::{PacketConfig, PacketSocket};
use weft_wire::Mac;

use super::clock::now;
use super::host::Host;

/// Room for what a busy link carries while its reader waits for a core.
const BUFFER: usize = 4 << 20;

/// The interface of a host that has an address.
pub(crate) fn interface_with(host: &Host, address: IpAddr) -> String {
    let look = || -> weft_sys::Result<Option<String>> {
        let mut netlink = Netlink::open()?;
        let addresses = addr::list(&mut netlink, None)?;
        let links = link::list(&mut netlink)?;
        let index = addresses.iter().find(|a| a.ip == address).map(|a| a.index);
        Ok(links
            .into_iter()
            .find(|link| Some(link.index) == index)
            .map(|link| link.name))
    };
    let found = host.run(look).unwrap_or_else(|e| panic!("{host}: {e}"));
    found.unwrap_or_else(|| panic!("{host}: no interface has {address}"))
}

/// The names of a host's interfaces, without the loopback.
pub(crate) fn interfaces(host: &Host) -> Vec<String> {
    let look = || link::list(&mut Netlink::open()?);
    let links = host.run(look).unwrap_or_else(|e| panic!("{host}: {e}"));
    let names = links.into_iter().map(|link| link.name);
    names.filter(|name| name != "lo").collect()
}

/// The MAC address of an interface.
pub(crate) fn mac_of(host: &Host, interface: &str) -> Mac {
    let look = || link::get(&mut Netlink::open()?, interface);
    let link = host.run(look).unwrap_or_else(|e| panic!("{host}: {e}"));
    let mac = link.and_then(|link| link.mac);
    Mac::new(mac.unwrap_or_else(|| panic!("{host}: {interface} has no MAC")))
}

/// Makes an interface show packets as they are on a wire: whole, with their checksums.
pub(crate) fn offloads_off(host: &Host, interface: &str) {
    host.run(|| ethtool::disable_all(interface))
        .unwrap_or_else(|e| panic!("{host}: {interface}: {e}"));
}

/// Everything that hostile packets could change in a host: its links, addresses, routes and
/// neighbours. What it learned about neighbours on `underlay` is left out: that comes and goes.
pub(crate) fn tables(host: &Host, underlay: &str) -> BTreeSet<String> {
    let look = || -> weft_sys::Result<BTreeSet<String>> {
        let mut netlink = Netlink::open()?;
        let underlay = link::index_of(&mut netlink, underlay).ok();
        let mut all = BTreeSet::new();
        for address in addr::list(&mut netlink, None)? {
            all.insert(format!("{address:?}"));
        }
        for route in route::list(&mut netlink, route::MAIN_TABLE)? {
            all.insert(format!("{route:?}"));
        }
        for neighbor in neigh::list(&mut netlink)? {
            all.insert(format!("{neighbor:?}"));
        }
        for neighbor in neigh::list_learned(&mut netlink)? {
            if underlay != Some(neighbor.index) {
                all.insert(format!("learned {neighbor:?}"));
            }
        }
        for link in link::list(&mut netlink)? {
            for entry in neigh::list_fdb(&mut netlink, link.index)? {
                all.insert(format!("{entry:?}"));
            }
            all.insert(format!("{link:?}"));
        }
        Ok(all)
    };
    host.run(look).unwrap_or_else(|e| panic!("{host}: {e}"))
}

fn open(host: &Host, interface: &str, config: PacketConfig) -> PacketSocket {
    let socket = host
        .run(|| PacketSocket::open(interface, config))
        .unwrap_or_else(|e| panic!("{host}: {e}"));
    // Beyond the limit of unprivileged programs this is refused; the default is enough then.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER);
    let _ = SockRef::from(&socket).set_send_buffer_size(BUFFER);
    socket
}

/// Sends forged frames by an interface.
pub(crate) struct Forger {
    socket: PacketSocket,
    name: String,
}

impl Forger {
    pub(crate) fn new(host: &Host, interface: &str) -> Self {
        Self {
            socket: open(host, interface, PacketConfig::default()),
            name: format!("{host}'s {interface}"),
        }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.try_send(frame)
            .unwrap_or_else(|e| panic!("send {} bytes by {}: {e}", frame.len(), self.name));
    }

    /// As [`Self::send`]; the kernel refuses what it cannot frame.
    pub(crate) fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(|_| ())
    }
}

/// Hears what comes in by an interface from the moment it is made.
pub(crate) struct Sniffer {
    socket: PacketSocket,
    pub(crate) name: String,
}

impl Sniffer {
    pub(crate) fn new(host: &Host, interface: &str) -> Self {
        let config = PacketConfig {
            ignore_outgoing: true,
            promiscuous: true,
            ..PacketConfig::default()
        };
        Self::with(host, interface, config)
    }

    /// Hears what goes out, too.
    pub(crate) fn both_ways(host: &Host, interface: &str) -> Self {
        let config = PacketConfig {
            promiscuous: true,
            ..PacketConfig::default()
        };
        Self::with(host, interface, config)
    }

    fn with(host: &Host, interface: &str, config: PacketConfig) -> Self {
        Self {
            socket: open(host, interface, config),
            name: format!("{host}'s {interface}"),
        }
    }

    /// Everything heard since the last call.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut frames = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            frames.push(buffer[..length].to_vec());
        }
        frames
    }

    /// Waits for the next frame; `None`: there was none in time.
    pub(crate) fn next(&self, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_nonblocking(false).expect("a socket");
        self.socket
            .set_read_timeout(Some(patience))
            .expect("not zero");
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

/// Records what a host sends on an interface into a pcap file, on a thread of its own.
pub(crate) struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<usize>>,
}

impl Recorder {
    /// Records the frames whose source is `sender`, so that several recorders of one link see
    /// every frame once.
    pub(crate) fn start(host: &Host, interface: &str, sender: Mac, file: &Path) -> Self {
        let socket = open(host, interface, PacketConfig::default());
        let file = File::create(file).unwrap_or_else(|e| panic!("create {}: {e}", file.display()));
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || record(&socket, sender, BufWriter::new(file), &told));
        Self { stop, thread }
    }

    /// Ends once the link is silent; answers how many frames there were.
    pub(crate) fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let recorded = self.thread.join().expect("the recorder does not panic");
        recorded.unwrap_or_else(|e| panic!("record: {e}"))
    }
}

/// The classic format of libpcap, link type Ethernet, in the byte order of this machine.
fn record(
    socket: &PacketSocket,
    sender: Mac,
    mut file: BufWriter<File>,
    stop: &AtomicBool,
) -> io::Result<usize> {
    const SNAP: u32 = 65_536;
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, SNAP, 1] {
        file.write_all(&word.to_ne_bytes())?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let began = now();
    let mut buffer = vec![0; 65_536];
    let mut frames = 0;
    loop {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && stop.load(Ordering::Relaxed) => {
                file.flush()?;
                return Ok(frames);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        };
        if buffer[6..12] != sender.octets() {
            continue;
        }
        let time = now() - began;
        let length_field = u32::try_from(length).map_err(io::Error::other)?;
        let seconds = u32::try_from(time.as_secs()).map_err(io::Error::other)?;
        for word in [seconds, time.subsec_micros(), length_field, length_field] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.write_all(&buffer[..length])?;
        frames += 1;
    }
}
