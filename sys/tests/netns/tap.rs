//! TAP devices: where they are, and that frames pass them both ways.

use std::io;

use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;
use weft_sys::packet::{BATCH, PacketConfig, PacketSocket};
use weft_sys::tap::{self, TapConfig, TapQueue, VNET_HEADER};
use weft_sys::{caps, sysctl};

use crate::support::{Namespace, PATIENCE, privileged};

/// Local experimental EtherType 1 (IEEE 802): nothing answers it.
const FRAME: [u8; 60] = {
    let mut frame = [0x5a; 60];
    let head = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    let mut at = 0;
    while at < head.len() {
        frame[at] = head[at];
        at += 1;
    }
    frame
};

pub(crate) const MULTI: TapConfig = TapConfig::multi_queue(2);

pub(crate) fn open(namespace: &mut Namespace, name: &str, config: TapConfig) -> Vec<TapQueue> {
    let queues = namespace.run(|| tap::open(Some(name), config)).unwrap();
    // The stack's own neighbour discovery would come between the frames of a test.
    let knob = format!("net/ipv6/conf/{name}/disable_ipv6");
    namespace.run(|| sysctl::set(&knob, "1")).unwrap();
    let index = link::index_of(&mut namespace.netlink, name).unwrap();
    link::set_up(&mut namespace.netlink, index).unwrap();
    queues
}

pub(crate) fn packet_socket(namespace: &Namespace, name: &str) -> PacketSocket {
    let config = PacketConfig {
        ignore_outgoing: true,
        promiscuous: true,
        vnet: false,
    };
    let socket = namespace.run(|| PacketSocket::open(name, config)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Reads from whichever queue the kernel chose; what a packet socket sent is there at once.
fn read_any(queues: &[TapQueue], buffer: &mut [u8]) -> usize {
    let mut read = queues.iter().filter_map(|queue| queue.read(buffer).ok());
    read.next().unwrap()
}

pub(crate) fn passes_frames(queues: &[TapQueue], socket: &PacketSocket) {
    let mut buffer = [0; 256];
    for queue in queues {
        let header = vec![0; queue.vnet_header_len()];
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(&FRAME)];
        assert_eq!(queue.writev(&parts).unwrap(), header.len() + FRAME.len());
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..len], FRAME);
    }
    socket.send(&FRAME).unwrap();
    socket.set_nonblocking(true).unwrap();
    let own = socket.recv(&mut buffer).unwrap_err();
    assert_eq!(
        own.kind(),
        io::ErrorKind::WouldBlock,
        "own frames are left out"
    );
    let len = read_any(queues, &mut buffer);
    assert_eq!(buffer[queues[0].vnet_header_len()..len], FRAME);
    let error = queues[0].read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_multi_queue_tap_is_where_it_was_opened_and_passes_frames() {
    if !privileged("a_multi_queue_tap_is_where_it_was_opened_and_passes_frames") {
        return;
    }
    let mut namespace = Namespace::new();
    let queues = open(&mut namespace, "weftmq0", MULTI);
    assert_eq!(queues.len(), 2);
    assert!(queues.iter().all(|q| q.name() == "weftmq0" && q.has_vnet()));
    assert_eq!(queues[0].vnet_header_len(), VNET_HEADER);
    assert_eq!(
        link::get(&mut Netlink::open().unwrap(), "weftmq0").unwrap(),
        None
    );
    let netns = queues[1].netns().unwrap();
    assert_eq!(netns.id().unwrap(), namespace.netns.id().unwrap());
    passes_frames(&queues, &packet_socket(&namespace, "weftmq0"));
}

#[test]
fn a_plain_tap_passes_frames() {
    if !privileged("a_plain_tap_passes_frames") {
        return;
    }
    let mut namespace = Namespace::new();
    let queues = open(&mut namespace, "weftplain0", TapConfig::PLAIN);
    assert!(!queues[0].has_vnet());
    passes_frames(&queues, &packet_socket(&namespace, "weftplain0"));
    let again = queues[0].try_clone().unwrap();
    let taken = TapQueue::from_fd(again.into()).unwrap();
    assert_eq!((taken.name(), taken.has_vnet()), ("weftplain0", false));
}

#[test]
fn the_kernel_names_a_tap_without_a_name() {
    if !privileged("the_kernel_names_a_tap_without_a_name") {
        return;
    }
    let namespace = Namespace::new();
    for config in [TapConfig::PLAIN, MULTI] {
        let queues = namespace.run(|| tap::open(None, config)).unwrap();
        assert!(queues.iter().all(|queue| queue.name() == queues[0].name()));
        assert!(queues[0].name().starts_with("tap"), "{}", queues[0].name());
    }
}

#[test]
fn a_refused_mode_can_be_told_from_other_failures() {
    if !privileged("a_refused_mode_can_be_told_from_other_failures") {
        return;
    }
    let namespace = Namespace::new();
    let single = namespace
        .run(|| tap::open(Some("weft1"), TapConfig::PLAIN))
        .unwrap();
    let error = namespace
        .run(|| tap::open(Some("weft1"), MULTI))
        .unwrap_err();
    assert!(matches!(error, tap::TapError::NoMultiQueue(_)), "{error}");
    assert!(error.may_fall_back());
    let error = namespace
        .run(|| tap::open(Some("weft1"), TapConfig::PLAIN))
        .unwrap_err();
    assert!(!error.may_fall_back());
    assert!(weft_sys::SysError::from(error).is_busy());
    drop(single);

    let error = namespace.run(|| tap::open(Some("a-name-that-is-too-long"), MULTI));
    assert!(!error.unwrap_err().may_fall_back());
    let none = TapConfig { queues: 0, ..MULTI };
    assert!(namespace.run(|| tap::open(Some("weft3"), none)).is_err());
    assert!(caps::check().is_ok());
}

#[test]
fn a_stopped_queue_keeps_the_carrier_and_gets_no_frames() {
    if !privileged("a_stopped_queue_keeps_the_carrier_and_gets_no_frames") {
        return;
    }
    let mut namespace = Namespace::new();
    let one = TapConfig { queues: 1, ..MULTI };
    let queues = open(&mut namespace, "weftkeep0", one);
    let queue = &queues[0];
    let socket = packet_socket(&namespace, "weftkeep0");
    queue.set_delivery(false).unwrap();
    assert!(queue.set_delivery(false).is_err());
    let found = link::get(&mut namespace.netlink, "weftkeep0")
        .unwrap()
        .unwrap();
    assert!(found.carrier && found.up);
    queue.set_delivery(true).unwrap();
    socket.send(&FRAME).unwrap();
    let mut buffer = [0; 256];
    assert_eq!(queue.read(&mut buffer).unwrap(), VNET_HEADER + FRAME.len());
}

#[test]
fn a_persistent_tap_outlives_its_queue_and_a_deleted_one_fails() {
    if !privileged("a_persistent_tap_outlives_its_queue_and_a_deleted_one_fails") {
        return;
    }
    let mut namespace = Namespace::new();
    let stay = TapConfig {
        persist: true,
        ..MULTI
    };
    drop(open(&mut namespace, "weftstay0", stay));
    let found = link::get(&mut namespace.netlink, "weftstay0")
        .unwrap()
        .unwrap();
    assert!(found.up && !found.carrier);
    let queues = open(&mut namespace, "weftstay0", stay);
    assert!(link::delete(&mut namespace.netlink, "weftstay0").unwrap());
    let error = queues[0].read(&mut [0; 64]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(77), "EBADFD");
}

#[test]
fn a_tap_alone_keeps_its_namespace_alive() {
    if !privileged("a_tap_alone_keeps_its_namespace_alive") {
        return;
    }
    let mut namespace = Namespace::new();
    let queues = open(&mut namespace, "weftpin0", MULTI);
    let id = namespace.netns.id().unwrap();
    drop(namespace);
    let back = queues[0].netns().unwrap();
    assert_eq!(back.id().unwrap(), id);
    let links = back.run(|| link::list(&mut Netlink::open().unwrap()).unwrap());
    assert!(links.unwrap().iter().any(|link| link.name == "weftpin0"));
    assert_ne!(Netns::current().unwrap().id().unwrap(), id);
}

#[test]
fn packet_sockets_move_batches_and_count_losses() {
    if !privileged("packet_sockets_move_batches_and_count_losses") {
        return;
    }
    let mut namespace = Namespace::new();
    let queues = open(&mut namespace, "weftbatch0", TapConfig::PLAIN);
    let socket = packet_socket(&namespace, "weftbatch0");
    socket.bypass_qdisc().unwrap();
    let frames = std::iter::repeat_n(&FRAME[..], 100);
    assert_eq!(socket.send_batch(frames).unwrap(), BATCH);
    let mut buffers = [[0; 256]; 4];
    for _ in 0..BATCH {
        let len = queues[0].read(&mut buffers[0]).unwrap();
        assert_eq!(buffers[0][..len], FRAME);
    }
    for _ in 0..3 {
        queues[0].write(&FRAME).unwrap();
    }
    let (mut lengths, mut got) = ([0; BATCH], 0);
    while got < 3 {
        let room = buffers.iter_mut().map(|buffer| &mut buffer[..]);
        let count = socket.recv_batch(room, &mut lengths).unwrap();
        for (buffer, len) in buffers.iter().zip(lengths).take(count) {
            assert_eq!(buffer[..len], FRAME);
        }
        got += count;
    }
    let seen = socket.statistics().unwrap();
    assert_eq!((seen.frames, seen.dropped), (3, 0));
    for _ in 0..5_000 {
        queues[0].write(&FRAME).unwrap();
    }
    let seen = socket.statistics().unwrap();
    assert!(seen.dropped > 0 && seen.dropped < seen.frames, "{seen:?}");
    assert_eq!(socket.statistics().unwrap().frames, 0);
}
