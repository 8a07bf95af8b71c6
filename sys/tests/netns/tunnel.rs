//! Tunnel super-frames: what one TAP is given whole, another one gives whole.

use std::io::IoSlice;
use std::thread;
use std::time::Instant;

use weft_sys::netlink::link;
use weft_sys::sysctl;
use weft_sys::tap::{
    self, TUNNEL_VNET_HEADER, TapConfig, TapQueue, TunnelOffsets, tunnel_vnet, without_tunnel,
};

use crate::support::{Namespace, PATIENCE, privileged};

/// Outer Ethernet, IPv4, UDP and VXLAN headers, inner Ethernet, IPv4 and TCP headers.
const OUTER: usize = 50;
const HEADERS: usize = OUTER + 54;
const SEGMENT: u16 = 1400;
const LARGE: usize = HEADERS + 10 * SEGMENT as usize;

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Of an IPv4 header whose own is 0; a bridge may look at it (br_netfilter).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|two| [two[0], two[1]]);
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(word))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap()
}

/// Ten TCP segments in VXLAN as one frame. Transport checksums stay unfinished on the way between
/// two TAPs and nobody looks at them.
fn super_frame() -> Vec<u8> {
    let mut frame = vec![0x5a; LARGE];
    for (ethernet, end, protocol) in [(0, 34, 17), (OUTER, OUTER + 34, 6)] {
        put(
            &mut frame,
            ethernet,
            &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0],
        );
        let [high, low] = u16::try_from(LARGE - ethernet - 14).unwrap().to_be_bytes();
        let ip = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        put(&mut frame, ethernet + 14, &ip);
        put(&mut frame, end - 8, &[192, 0, 2, 1, 192, 0, 2, 2]);
        let checksum = checksum(&frame[ethernet + 14..end]).to_be_bytes();
        put(&mut frame, ethernet + 24, &checksum);
    }
    let udp_length = u16::try_from(LARGE - 34).unwrap().to_be_bytes();
    put(&mut frame, 34, &[0xc0, 0, 0x12, 0xb5]);
    put(&mut frame, 38, &udp_length);
    put(&mut frame, 42, &[8, 0, 0, 0, 0, 0, 1, 0]);
    frame[OUTER + 34 + 12] = 0x50;
    frame
}

fn queue(space: &Namespace, name: &str) -> TapQueue {
    let open = || {
        let queues = tap::open(Some(name), TapConfig::multi_queue(1)).unwrap();
        sysctl::set(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1").unwrap();
        queues
    };
    space.run(open).pop().unwrap()
}

/// Sends until it arrives, since a bridge learns a little late that its ports are up.
fn deliver(queues: &[TapQueue; 2], parts: &[IoSlice<'_>], buffer: &mut [u8]) -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "only bounds how long a test waits"
    )]
    let start = Instant::now();
    loop {
        let written = queues[0].writev(parts).unwrap();
        assert_eq!(written, TUNNEL_VNET_HEADER + LARGE);
        match queues[1].read(buffer) {
            // A bridge says a few small things of its own.
            Ok(len) if len > 1600 => return len,
            _ => {}
        }
        assert!(start.elapsed() < PATIENCE, "the frame gets lost");
        thread::yield_now();
    }
}

#[test]
fn a_tunnel_super_frame_crosses_two_taps_whole() {
    if !privileged("a_tunnel_super_frame_crosses_two_taps_whole") {
        return;
    }
    let mut space = Namespace::new();
    let mut queues = ["weft-a", "weft-b"].map(|name| queue(&space, name));
    for queue in &mut queues {
        if let Err(error) = queue.set_tunnel_offloads() {
            eprintln!("NOT TESTED: {error}");
            return;
        }
        assert_eq!(queue.vnet_header_len(), TUNNEL_VNET_HEADER);
    }
    let bridge = link::ensure_bridge(&mut space.netlink, "weft-br").unwrap();
    for name in ["weft-a", "weft-b"] {
        let index = link::index_of(&mut space.netlink, name).unwrap();
        let port = link::Change {
            up: Some(true),
            master: Some(bridge),
            ..link::Change::default()
        };
        link::change(&mut space.netlink, index, &port).unwrap();
    }
    link::set_up(&mut space.netlink, bridge).unwrap();
    let word = |value: usize| u16::try_from(value).unwrap().to_ne_bytes();
    let mut inner = [0; 10];
    // Needs a checksum; TCP over IPv4.
    put(&mut inner, 0, &[1, 1]);
    put(&mut inner, 2, &word(HEADERS));
    put(&mut inner, 4, &SEGMENT.to_ne_bytes());
    put(&mut inner, 6, &word(OUTER + 34));
    put(&mut inner, 8, &word(16));
    let offsets = TunnelOffsets {
        outer_transport: 34,
        inner_network: 64,
    };
    let (header, frame) = (tunnel_vnet(inner, offsets), super_frame());
    let parts = [IoSlice::new(&header), IoSlice::new(&frame)];
    let mut buffer = vec![0; 70_000];
    let len = deliver(&queues, &parts, &mut buffer);
    assert!(buffer[TUNNEL_VNET_HEADER..len] == frame, "{len} bytes");
    let (told, tunnelled) = without_tunnel(buffer.first_chunk().unwrap());
    assert!(tunnelled);
    // Flags, type, segment size and checksum; the length of headers is a hint.
    assert_eq!((told[0], told[1], &told[4..]), (1, 1, &inner[4..]));
}
