//! Sends over loopback: runs leave whole, and one by one where the kernel cuts nothing.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use weft_encap::{Ecn, Lanes};
use weft_wire::Frame;

use super::*;

/// UDP-Lite (RFC 3828): as UDP here, but the kernel refuses UDP_SEGMENT on it with EIO.
const UDP_LITE: i32 = 136;

fn socket(protocol: Protocol) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(protocol))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket.into())
}

/// Datagrams of these lengths, each filled with its number.
fn frames(lens: &[usize]) -> Vec<ToPeer> {
    let frames = lens.iter().zip(0..).map(|(len, number)| {
        let mut frame = Frame::with_capacity(2048);
        assert!(frame.copy_from(&vec![number; *len]));
        ToPeer {
            vtep: IpAddr::V4(Ipv4Addr::LOCALHOST),
            lane: Lanes::new(1).unwrap().pick(0),
            flow: 1,
            ecn: Ecn::NotEct,
            frame,
        }
    });
    frames.collect()
}

/// Sends datagrams of these lengths and checks what arrives.
fn arrives(sender: &mut Sender, to: &UdpSocket, lens: &[usize]) -> Sent {
    let port = to.local_addr().unwrap().port();
    let sent = sender.send(&frames(lens), port, &mut []);
    let mut bytes = [0; 2048];
    for (len, number) in lens.iter().zip(0_u8..) {
        assert_eq!(to.recv(&mut bytes).unwrap(), *len);
        assert!(bytes[..*len].iter().all(|byte| *byte == number));
    }
    sent
}

fn sender(lane: UdpSocket) -> (Sender, Arc<Offloads>) {
    let offloads = Arc::<Offloads>::default();
    let sender = Sender::new(Arc::new([lane]), Arc::clone(&offloads), 64);
    (sender, offloads)
}

#[test]
fn equal_datagrams_share_a_message_and_a_shorter_one_ends_it() {
    let (to, lane) = (
        socket(Protocol::UDP).unwrap(),
        socket(Protocol::UDP).unwrap(),
    );
    let (mut sender, _) = sender(lane);
    let sent = arrives(&mut sender, &to, &[100, 100, 100, 60, 100]);
    let expected = Sent {
        messages: 2,
        datagrams: 5,
        ..Sent::default()
    };
    assert_eq!(sent, expected);
}

#[test]
fn what_the_kernel_does_not_cut_leaves_one_by_one_from_then_on() {
    let lite = || socket(Protocol::from(UDP_LITE));
    let (Ok(to), Ok(lane)) = (lite(), lite()) else {
        let line = b"SKIPPED (needs UDP-Lite): what_the_kernel_does_not_cut\n";
        let _ = io::stderr().write_all(line);
        return;
    };
    let (mut sender, offloads) = sender(lane);
    let alone = Sent {
        messages: 4,
        datagrams: 4,
        ..Sent::default()
    };
    let lens = [100, 100, 100, 60];
    let first = arrives(&mut sender, &to, &lens);
    assert_eq!(
        first,
        Sent {
            refused: true,
            ..alone
        },
        "nothing is lost"
    );
    assert_eq!(
        arrives(&mut sender, &to, &lens),
        alone,
        "it is not tried again"
    );
    offloads.refuse(Offload::Segments);
    assert_eq!(arrives(&mut sender, &to, &lens), alone);
}

#[test]
fn a_worker_does_without_what_another_found_refused() {
    let (to, lane) = (
        socket(Protocol::UDP).unwrap(),
        socket(Protocol::UDP).unwrap(),
    );
    let (mut sender, offloads) = sender(lane);
    assert!(offloads.refuse(Offload::Segments));
    let sent = arrives(&mut sender, &to, &[100, 100]);
    assert_eq!((sent.messages, sent.datagrams, sent.refused), (2, 2, false));
}

#[test]
fn a_failure_that_cutting_does_not_cause_refuses_nothing() {
    let (mut sender, _) = sender(socket(Protocol::UDP).unwrap());
    let mut frames = frames(&[100, 100]);
    for to in &mut frames {
        // Without SO_BROADCAST: EACCES.
        to.vtep = IpAddr::V4(Ipv4Addr::BROADCAST);
    }
    let sent = sender.send(&frames, 9, &mut []);
    assert_eq!((sent.failed, sent.messages, sent.refused), (2, 0, false));
}
