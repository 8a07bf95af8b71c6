//! The whole road: a frame comes in by a door, what leaves waits to be sent.
#![expect(clippy::indexing_slicing, reason = "the frames are constant")]

use weft_policy::Span;
use weft_switch::path::Fate;
use weft_wire::{Mac, TcpFlags};

use crate::Case;
use crate::frames::{Family, NEIGHBOR, POD, REMOTE, SIZES, Station, Talk};
use crate::node::{Door, Worker, tunnelled};

/// What becomes of the frames of a case; checked before it is measured.
type Expected = fn(Fate) -> bool;

/// Frames that go their way: out to a peer, in from one, and between two pods of the node.
pub(crate) fn usual() -> Vec<Case> {
    let mut cases = vec![handled()];
    for family in Family::ALL {
        for size in SIZES {
            let name = |road| format!("{road}/{}/{size}", family.name());
            let out = |to| Talk::out_of_pod(POD, to, family).udp(size);
            let to_peer = |fate| matches!(fate, Fate::ToPeer(_));
            let to_pod = |fate| matches!(fate, Fate::ToPod(_));
            let port = Door::Port(POD.port());
            let peer = Door::Underlay(REMOTE.node);
            cases.push(case(name("pod-to-peer"), port, out(REMOTE), to_peer));
            cases.push(case(
                name("peer-to-pod"),
                peer,
                tunnelled(REMOTE, POD, family, size),
                to_pod,
            ));
            cases.push(case(name("pod-to-pod"), port, out(NEIGHBOR), to_pod));
        }
    }
    cases
}

/// What is no part of the road in the other cases.
fn handled() -> Case {
    Case::new("no-road/64", || {
        let bytes = Talk::out_of_pod(POD, REMOTE, Family::V4).udp(64);
        let mut worker = Worker::default();
        worker.load(&bytes);
        move || {
            worker.pass(Span::from_millis(10));
            worker.handle(&bytes);
        }
    })
}

/// Frames that leave the road, are cut or begin something new.
pub(crate) fn unusual() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        let name = |what| format!("{what}/{}", family.name());
        let talk = Talk::out_of_pod(POD, REMOTE, family);
        let port = Door::Port(POD.port());
        let dropped = |fate| matches!(fate, Fate::Drop(_));
        let nobody = Station { node: 1, last: 250 };
        let stranger = (Mac::new([2, 0, 0, 0, 0, 9]), talk.macs.1);
        cases.push(case(
            name("spoofed"),
            port,
            Talk {
                macs: stranger,
                ..talk
            }
            .udp(64),
            dropped,
        ));
        cases.push(case(
            name("truncated"),
            port,
            talk.udp(64)[..30].to_vec(),
            dropped,
        ));
        cases.push(case(
            name("ttl-expired"),
            port,
            Talk { ttl: 1, ..talk }.udp(590),
            dropped,
        ));
        cases.push(case(
            name("no-such-pod"),
            port,
            Talk { to: nobody, ..talk }.udp(590),
            dropped,
        ));
        cases.push(case(name("too-big"), port, talk.udp(1600), dropped));
        cases.push(new_flow(name("new-flow"), talk));
    }
    let talk = Talk {
        dont_fragment: false,
        ..Talk::out_of_pod(POD, REMOTE, Family::V4)
    };
    let to_peer = |fate| matches!(fate, Fate::ToPeer(_));
    cases.push(case(
        "fragmented/ipv4".into(),
        Door::Port(POD.port()),
        talk.udp(1600),
        to_peer,
    ));
    cases.push(reset());
    cases.push(tick());
    cases
}

/// Every frame is the same one, 10 ms after the last: no error is held back by the rate limit.
fn case(name: String, door: Door, bytes: Vec<u8>, expected: Expected) -> Case {
    Case::new(name, move || {
        let bytes = bytes.clone();
        let mut worker = Worker::default();
        worker.load(&bytes);
        let fate = worker.meet(door, &bytes);
        assert!(fate.is_some_and(expected), "the frame meets {fate:?}");
        move || {
            worker.pass(Span::from_millis(10));
            worker.meet(door, &bytes);
        }
    })
}

/// Every frame begins a flow, and housekeeping forgets flows as they expire, ten times a second.
fn new_flow(name: String, talk: Talk) -> Case {
    Case::new(name, move || {
        let mut worker = Worker::default();
        let mut bytes = talk.udp(64);
        worker.load(&bytes);
        let at = if talk.family == Family::V4 { 34 } else { 54 };
        let mut source: u16 = 0;
        move || {
            source = source.wrapping_add(1);
            bytes[at..at + 2].copy_from_slice(&source.to_be_bytes());
            worker.pass(Span::from_millis(10));
            worker.meet(Door::Port(POD.port()), &bytes);
            if source.is_multiple_of(10) {
                worker.tick();
            }
        }
    })
}

/// A connection that opens and is reset, again and again.
fn reset() -> Case {
    Case::new("tcp-reset/ipv4", || {
        let talk = Talk::out_of_pod(POD, NEIGHBOR, Family::V4);
        let frames = [TcpFlags::SYN, TcpFlags::RST].map(|flags| talk.tcp(flags));
        let mut worker = Worker::default();
        worker.load(&frames[0]);
        let mut next = 0;
        move || {
            worker.meet(Door::Port(POD.port()), &frames[next % 2]);
            next += 1;
        }
    })
}

/// Housekeeping of a worker that has nothing to forget.
fn tick() -> Case {
    Case::new("tick", || {
        let mut worker = Worker::default();
        move || worker.tick()
    })
}
