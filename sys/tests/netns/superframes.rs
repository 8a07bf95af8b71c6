//! Super-frames: what the kernel leaves undone in a TAP's frames, another TAP's stack takes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::thread;
use std::time::Instant;

use weft_sys::netlink::link;
use weft_sys::tap::{self, Offloads, TapConfig, TapQueue, VNET_HEADER};
use weft_sys::udp::{RecvBatch, SendBatch, Target};

use crate::support::{Namespace, PATIENCE, privileged};

const ONE: TapConfig = TapConfig::multi_queue(1);
const A: [&str; 2] = ["10.9.0.1", "fd09::1"];
const B: [&str; 2] = ["10.9.0.2", "fd09::2"];
/// Bytes from the vnet header to `gso_type`.
const GSO_TYPE: usize = 1;

fn end(addresses: [&str; 2]) -> (Namespace, TapQueue) {
    let mut namespace = Namespace::new();
    let mut queues = namespace.run(|| tap::open(Some("weftgso0"), ONE)).unwrap();
    let [v4, v6] = addresses;
    namespace.address("weftgso0", &[(v4, 24), (v6, 64)]);
    let index = link::index_of(&mut namespace.netlink, "weftgso0").unwrap();
    link::set_up(&mut namespace.netlink, index).unwrap();
    (namespace, queues.pop().unwrap())
}

/// Carries frames unchanged until `done`; returns the `gso_type` of each super-frame from `a`.
fn carry(a: &TapQueue, b: &TapQueue, mut done: impl FnMut() -> bool) -> Vec<u8> {
    let mut buffer = vec![0; VNET_HEADER + 65_550];
    let mut seen = Vec::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "only bounds how long a test waits"
    )]
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "frames get lost");
        for (from, to) in [(a, b), (b, a)] {
            while let Ok(len) = from.read(&mut buffer) {
                if std::ptr::eq(from, a) && len > VNET_HEADER + 1514 {
                    seen.push(buffer[GSO_TYPE]);
                }
                assert_eq!(to.write(&buffer[..len]).unwrap(), len);
            }
        }
        thread::yield_now();
    }
    seen
}

#[test]
fn tcp_crosses_two_taps_in_super_frames() {
    if !privileged("tcp_crosses_two_taps_in_super_frames") {
        return;
    }
    let ((near, a), (far, b)) = (end(A), end(B));
    assert!(a.offloads().tso && a.offloads().checksum);
    for (host, gso_type) in B.into_iter().zip([1, 4]) {
        let host: IpAddr = host.parse().unwrap();
        let listener = far.run(|| TcpListener::bind(SocketAddr::new(host, 0)));
        let listener = listener.unwrap();
        let to = listener.local_addr().unwrap();
        let data: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let seen = thread::scope(|scope| {
            let client = scope.spawn(|| {
                near.run(|| TcpStream::connect(to).unwrap().write_all(&data).unwrap());
            });
            let server = scope.spawn(|| {
                let mut got = Vec::new();
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_to_end(&mut got).unwrap();
                got
            });
            let seen = carry(&a, &b, || client.is_finished() && server.is_finished());
            assert!(server.join().unwrap() == data, "{host}");
            seen
        });
        assert!(seen.contains(&gso_type), "{host}: {seen:?}");
    }
}

#[test]
fn udp_crosses_two_taps_in_super_frames() {
    if !privileged("udp_crosses_two_taps_in_super_frames") {
        return;
    }
    let ((near, a), (far, b)) = (end(A), end(B));
    if !a.offloads().uso {
        eprintln!("NOT TESTED: this kernel gives no UDP super-frames to TAPs");
        return;
    }
    for (from, host) in A.into_iter().zip(B) {
        let (tx, rx) = (near.sender(from), far.receiver(host));
        rx.set_nonblocking(true).unwrap();
        let target = Target {
            to: rx.local_addr().unwrap(),
            tos: 0,
            segment: NonZeroU16::new(1000),
        };
        let payload = vec![7; 10_500];
        let mut batch = SendBatch::new(1, 1);
        let mut filling = batch.fill();
        assert!(filling.begin(target) && filling.part(&payload));
        assert_eq!(filling.send(&tx, |_, error| panic!("{error}")), 1);
        let (mut receive, mut buffers) = (RecvBatch::new(16), vec![[0; 2048]; 16]);
        let mut got = Vec::new();
        let seen = carry(&a, &b, || {
            let room = buffers.iter_mut().map(|buffer| &mut buffer[..]);
            if receive.recv(&rx, room).is_ok() {
                got.extend(receive.received().map(|said| said.len));
            }
            got.len() == 11
        });
        assert_eq!((got[0], got[10]), (1000, 500), "{host}");
        assert_eq!(seen, [5], "{host}");
    }
}

#[test]
fn offloads_are_set_anew_and_can_be_given_up() {
    if !privileged("offloads_are_set_anew_and_can_be_given_up") {
        return;
    }
    let namespace = Namespace::new();
    let open = |config| {
        namespace
            .run(|| tap::open(Some("weftgso0"), config))
            .unwrap()
    };
    let on = |name| namespace.run(move || weft_sys::ethtool::feature("weftgso0", name).unwrap());
    let stay = TapConfig {
        persist: true,
        ..ONE
    };
    drop(open(stay));
    assert!(on("tx-tcp-segmentation"));
    let none = TapConfig {
        offloads: false,
        ..stay
    };
    let queues = open(none);
    assert_eq!(queues[0].offloads(), Offloads::NONE);
    assert!(!on("tx-tcp-segmentation"));
    drop(queues);
    let mut queues = open(TapConfig { queues: 2, ..stay });
    assert!(on("tx-tcp-segmentation"));
    assert_eq!(queues[0].offloads(), queues[1].offloads());
    queues[1].set_offloads(Offloads::NONE).unwrap();
    assert!(!on("tx-tcp-segmentation"));
}
