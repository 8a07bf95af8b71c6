//! Batches over loopback, which needs no privilege.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::*;

fn pair(host: IpAddr) -> (UdpSocket, UdpSocket, SocketAddr) {
    let rx = bind_rx(SocketAddr::new(host, 0), true, Buffers::default()).unwrap();
    rx.set_nonblocking(false).unwrap();
    rx.set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .unwrap();
    let to = rx.local_addr().unwrap();
    (rx, bind_tx(host, Buffers::default()).unwrap(), to)
}

fn must_not_fail(index: usize, error: io::Error) {
    panic!("message {index}: {error}");
}

/// Sends each payload as one part, `batch` by batch.
fn send<'a>(
    batch: &mut SendBatch,
    tx: &UdpSocket,
    to: SocketAddr,
    payloads: impl IntoIterator<Item = (u8, &'a [u8])>,
    mut on_failure: impl FnMut(usize, io::Error),
) -> usize {
    let mut payloads = payloads.into_iter().peekable();
    let (mut sent, mut first) = (0, 0);
    while payloads.peek().is_some() {
        let mut filling = batch.fill();
        let plain = |tos| Target {
            to,
            tos,
            segment: None,
        };
        while let Some((_, payload)) = payloads.next_if(|(tos, _)| filling.begin(plain(*tos))) {
            assert!(filling.part(payload));
        }
        let count = filling.len();
        sent += filling.send(tx, |index, error| on_failure(first + index, error));
        first += count;
    }
    sent
}

#[test]
fn segments_are_cut_by_the_sender_and_joined_by_the_receiver() {
    const PAYLOAD: usize = 30 * 1000 + 7;
    let whole: Vec<u8> = (0..PAYLOAD)
        .map(|n| u8::try_from(n / 1000).unwrap())
        .collect();
    for host in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        for gro in [false, true] {
            let (rx, tx, to) = pair(host);
            if gro {
                set_gro(&rx).unwrap();
            }
            let mut batch = SendBatch::new(2, 100);
            let mut filling = batch.fill();
            let target = Target {
                to,
                tos: 0xb9,
                segment: std::num::NonZeroU16::new(1000),
            };
            assert!(filling.begin(target));
            assert!(whole.chunks(500).all(|part| filling.part(part)));
            assert_eq!(filling.send(&tx, must_not_fail), 1);
            let mut receive = RecvBatch::new(8);
            let mut buffers = vec![vec![0; MAX_PAYLOAD]; 8];
            let mut got = Vec::new();
            while got.len() < PAYLOAD {
                let room = buffers.iter_mut().map(Vec::as_mut_slice);
                receive.recv(&rx, room).unwrap();
                for (buffer, said) in buffers.iter().zip(receive.received()) {
                    assert_eq!((said.tos, said.truncated), (0xb9, false));
                    match said.segment {
                        Some(size) if said.len > 1000 => {
                            assert_eq!((gro, size.get()), (true, 1000))
                        }
                        _ => assert!(said.len <= 1000),
                    }
                    assert!(gro || said.segment.is_none());
                    got.extend_from_slice(&buffer[..said.len]);
                }
            }
            assert_eq!(got, whole);
        }
    }
}

#[test]
fn a_message_without_room_is_taken_back_whole() {
    let (rx, tx, to) = pair(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let target = Target {
        to,
        tos: 0,
        segment: None,
    };
    let mut batch = SendBatch::new(3, 3);
    let mut filling = batch.fill();
    assert!(!filling.part(b"no message"));
    assert!(filling.begin(target) && filling.part(b"a") && filling.part(b"b"));
    assert!(filling.begin(target) && filling.part(b"c"));
    assert!(!filling.part(b"d") && !filling.part(b"e"));
    assert_eq!(filling.len(), 1);
    assert!(filling.begin(target) && filling.part(b"f"));
    assert!(!filling.begin(target), "no part is left");
    assert_eq!(filling.send(&tx, must_not_fail), 2);
    let mut buffer = [0; 8];
    for expected in [&b"ab"[..], b"f"] {
        let (len, _) = rx.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], expected);
    }
}

#[test]
fn a_message_of_too_many_segments_fails_alone() {
    let (rx, tx, to) = pair(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let many = vec![0; 200];
    let mut batch = SendBatch::new(3, 3);
    let mut filling = batch.fill();
    let mut failures = Vec::new();
    for (payload, size) in [(&b"a"[..], 0), (&many, 1), (b"b", 0)] {
        let segment = std::num::NonZeroU16::new(size);
        assert!(
            filling.begin(Target {
                to,
                tos: 0,
                segment
            }) && filling.part(payload)
        );
    }
    let sent = filling.send(&tx, |index, error| {
        failures.push((index, error.raw_os_error()));
    });
    assert_eq!((sent, failures), (2, vec![(1, Some(libc::EINVAL))]));
    let mut buffer = [0; 8];
    for expected in [b"a", b"b"] {
        let (len, _) = rx.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], expected);
    }
}

#[test]
fn batch_carries_payload_source_and_traffic_class() {
    for host in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let (rx, tx, to) = pair(host);
        let payloads: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; 10 + usize::from(n)]).collect();
        let tos = [0, 1, 2, 3, 0xb8];
        let messages = tos.into_iter().zip(payloads.iter().map(Vec::as_slice));
        let mut batch = SendBatch::new(2, 2);
        assert_eq!(send(&mut batch, &tx, to, messages, must_not_fail), 5);

        let mut batch = RecvBatch::new(8);
        let mut buffers = vec![[0_u8; 64]; 8];
        let mut seen = 0;
        while seen < 5 {
            let room = buffers.iter_mut().skip(seen).map(|buffer| &mut buffer[..]);
            let count = batch.recv(&rx, room).unwrap();
            for (i, got) in batch.received().enumerate() {
                assert_eq!(buffers[seen + i][..got.len], payloads[seen + i]);
                assert_eq!(got.tos, tos[seen + i]);
                assert_eq!(got.source, tx.local_addr().unwrap());
                assert!(!got.truncated);
            }
            seen += count;
        }
    }
}

#[test]
fn a_failing_message_does_not_stop_those_behind_it() {
    let (rx, tx, to) = pair(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let huge = vec![0; 70_000];
    let payloads: [&[u8]; 6] = [b"a", &huge, b"b", &huge, &huge, b"c"];
    let mut failures = Vec::new();
    let messages = payloads.map(|payload| (0, payload));
    let sent = send(
        &mut SendBatch::new(4, 4),
        &tx,
        to,
        messages,
        |index, error| {
            failures.push((index, error.raw_os_error()));
        },
    );
    assert_eq!(sent, 3);
    assert_eq!(
        failures,
        [1, 3, 4].map(|index| (index, Some(libc::EMSGSIZE)))
    );
    let mut buffer = [0; 8];
    for expected in [b"a", b"b", b"c"] {
        let (len, _) = rx.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], expected);
    }
}

#[test]
fn datagrams_over_the_mtu_are_refused_not_fragmented() {
    // The largest payload UDP can hold makes an IPv6 packet of 65575 bytes, and the MTU of
    // loopback is 65536: without DONTFRAG the kernel would send fragments.
    let (_rx, tx, to) = pair(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let huge = vec![0; 65_527];
    let mut failure = None;
    let sent = send(
        &mut SendBatch::new(1, 1),
        &tx,
        to,
        [(0, &huge[..])],
        |_, error| {
            failure = error.raw_os_error();
        },
    );
    assert_eq!((sent, failure), (0, Some(libc::EMSGSIZE)));
}

#[test]
fn a_short_buffer_is_reported() {
    let (rx, tx, to) = pair(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let message = (0, &b"longer than four"[..]);
    send(&mut SendBatch::new(1, 1), &tx, to, [message], must_not_fail);
    let mut batch = RecvBatch::new(1);
    let mut buffer = [0; 4];
    assert_eq!(batch.recv(&rx, [&mut buffer[..]]).unwrap(), 1);
    let got = batch.received().next().unwrap();
    assert!(got.truncated);
    assert_eq!((got.len, &buffer), (4, b"long"));
}

#[test]
fn an_empty_socket_would_block() {
    let (rx, ..) = pair(IpAddr::V4(Ipv4Addr::LOCALHOST));
    rx.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4];
    let error = RecvBatch::new(1).recv(&rx, [&mut buffer[..]]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(
        RecvBatch::new(1).recv(&rx, []).unwrap(),
        0,
        "no buffer, no call"
    );
}

#[test]
fn lanes_are_in_the_dynamic_range_and_owners_are_seen() {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let tx = bind_tx(host, Buffers::default()).unwrap();
    assert!(LANE_PORTS.contains(&tx.local_addr().unwrap().port()));
    assert!(!port_is_free(tx.local_addr().unwrap()).unwrap());
    let (rx, _, to) = pair(host);
    assert!(!port_is_free(to).unwrap());
    let second = bind_rx(to, true, Buffers::default());
    assert!(second.is_ok(), "receivers share a port when all ask for it");
    assert!(
        bind_rx(to, false, Buffers::default())
            .unwrap_err()
            .is_busy()
    );
    drop((rx, second));
    assert!(port_is_free(to).unwrap());
}
