//! Connections that outlive the process: saved by one table, gone on with by another.

use core::net::IpAddr;

use weft_policy::{
    Config, Conntrack, Direction, Epoch, FlowInfo, FlowState, ImportCount, Lookup, Moment,
    Sighting, Span, TcpState, Timeouts,
};
use weft_wire::{Headers, TcpFlags};

use crate::packets::*;

mod bytes;

const ACK: TcpFlags = TcpFlags::ACK;
const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | ACK.0);
/// The successor's clock stands elsewhere.
const LATER: Moment = Moment::from_secs(90_000);
const DAY: u64 = 86_400;

const CLIENT: u8 = 2;
const SERVER: u8 = 3;

fn client() -> (IpAddr, u16) {
    (host(CLIENT), 40_000)
}

fn server() -> (IpAddr, u16) {
    (host(SERVER), 80)
}

/// Another process's table: another seed, so every flow lives elsewhere.
fn successor_of(capacity: usize, quota_per_owner: u32) -> Conntrack {
    Conntrack::new(Config {
        capacity,
        quota_per_owner,
        owners: 16,
        seed: [0xdead, 0xbeef],
        timeouts: Timeouts::default(),
    })
}

/// In the new process the pod with the address 10.1.0.n is owner n + 1, and no other is.
fn owner_of(address: IpAddr) -> Option<u32> {
    (0..15)
        .find(|number| host(*number) == address)
        .map(|number| u32::from(number) + 1)
}

fn imported(saved: &[u8]) -> (Conntrack, ImportCount) {
    let table = successor_of(1024, 256);
    let count = table.import(saved, LATER, owner_of).unwrap();
    (table, count)
}

fn later(side: Direction) -> Sighting {
    Sighting {
        epoch: Epoch(0),
        ..at(side, LATER)
    }
}

fn send(table: &Conntrack, packet: &Headers, at: Sighting) {
    if table.lookup(packet, at) == Lookup::New {
        table.create(packet, at, RULE, 1).unwrap();
    }
}

/// Client at 1,001; server at 5,501, of which 5,001 is acknowledged.
fn established(table: &Conntrack) {
    let from_client = |segment| tcp(client(), server(), segment);
    let from_server = |segment| tcp(server(), client(), segment);
    send(table, &from_client((TcpFlags::SYN, 1_000, 0, 0)), egress());
    send(table, &from_server((SYN_ACK, 5_000, 1_001, 0)), ingress());
    send(table, &from_client((ACK, 1_001, 5_001, 0)), egress());
    send(table, &from_server((ACK, 5_001, 1_001, 500)), ingress());
}

/// One flow of every kind and state, some from either end.
fn varied(table: &Conntrack) {
    established(table);
    let (a, b) = (|port| (host(CLIENT), port), |port| (host(9), port));
    send(table, &tcp(a(1), b(1), (TcpFlags::SYN, 1, 0, 0)), egress());
    send(table, &udp(a(2), b(2)), egress());
    send(table, &udp(b(3), a(3)), ingress());
    send(table, &udp(a(3), b(3)), egress());
    send(table, &sctp(a(4), b(4)), egress());
    send(table, &echo(8, host(CLIENT), host(SERVER), 7), egress());
    send(table, &echo(8, host(SERVER), host(CLIENT), 7), ingress());
    send(table, &echo(8, host(SERVER), host(CLIENT), 0), ingress());
}

/// A listing in an order that does not depend on the table.
fn listed(table: &Conntrack) -> Vec<FlowInfo> {
    let mut flows = Vec::new();
    table.for_each(|flow| flows.push(flow));
    flows.sort_by_key(|flow| format!("{:?}", flow.original));
    flows
}

fn only(table: &Conntrack) -> FlowInfo {
    let flows = listed(table);
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows[0]
}

#[test]
fn a_flow_goes_on_as_it_was() {
    let old = table();
    varied(&old);
    let saved = old.export(NOW + Span::from_secs(5));
    let (new, count) = imported(&saved);
    let all = ImportCount {
        imported: old.len(),
        ..ImportCount::default()
    };
    assert_eq!(count, all);
    assert_eq!(listed(&new).len(), 8);
    for (before, after) in listed(&old).into_iter().zip(listed(&new)) {
        assert_eq!(after.original, before.original);
        assert_eq!(after.state, before.state, "{before:?}");
        assert_eq!(after.packets, before.packets, "{before:?}");
        assert_eq!(after.bytes, before.bytes, "{before:?}");
        assert_eq!(LATER.since(after.seen), Span::from_secs(5));
        assert_eq!(
            after.expires.since(LATER) + Span::from_secs(5),
            before.expires.since(NOW)
        );
        assert_eq!(after.homes, [None; 2], "workers and queues are others");
        assert_eq!(after.egress.is_some(), before.egress.is_some());
        assert_eq!(after.ingress.is_some(), before.ingress.is_some());
        let payer = if before.egress.is_some() {
            before.original.src
        } else {
            before.original.dst
        };
        assert_eq!(Some(after.owner), owner_of(payer));
    }
    assert_eq!(crate::packets::count(&new), 8);
}

/// Nothing is lost however often the daemon starts anew, without a packet in between.
#[test]
fn an_import_exports_what_was_imported() {
    let old = table();
    varied(&old);
    let first = old.export(NOW);
    let (new, _) = imported(&first);
    let (again, count) = imported(&new.export(LATER));
    assert_eq!(count.imported, old.len());
    assert_eq!(listed(&again), listed(&new));
}

/// Whatever comes first asks for a verdict on the flow's own direction.
#[test]
fn the_first_packet_finds_its_flow_stale() {
    let old = table();
    established(&old);
    // The server is at this node too.
    send(
        &old,
        &tcp(client(), server(), (ACK, 1_001, 5_501, 0)),
        ingress(),
    );
    let original = only(&old).original;
    for (packet, side, decided_on) in [
        (
            tcp(client(), server(), (ACK, 1_001, 5_501, 10)),
            Direction::Egress,
            Direction::Egress,
        ),
        (
            tcp(client(), server(), (ACK, 1_001, 5_501, 10)),
            Direction::Ingress,
            Direction::Ingress,
        ),
        (
            tcp(server(), client(), (ACK, 5_501, 1_001, 10)),
            Direction::Ingress,
            Direction::Egress,
        ),
        (
            tcp(server(), client(), (ACK, 5_501, 1_001, 10)),
            Direction::Egress,
            Direction::Ingress,
        ),
    ] {
        for epoch in [0, 1, 2, 70_000] {
            let (new, _) = imported(&old.export(NOW));
            let sighting = Sighting {
                epoch: Epoch(epoch),
                ..later(side)
            };
            let Lookup::Stale {
                entry,
                original: asked,
                side: on,
                reply,
                home: None,
                off_window: false,
            } = new.lookup(&packet, sighting)
            else {
                panic!("{side:?} {packet:?}");
            };
            assert_eq!((asked, on), (original, decided_on));
            assert_eq!(reply, side != decided_on);
            new.renew(entry, on, RULE, Epoch(epoch));
            assert_eq!(known(new.lookup(&packet, sighting)), Some(reply));
        }
    }
}

/// A server isolated against the client's address still answers: its reply is judged by the
/// connection that the client was allowed to open.
#[test]
fn an_allowed_reply_passes_before_any_other_packet() {
    let old = table();
    established(&old);
    let (new, _) = imported(&old.export(NOW));
    let reply = tcp(server(), client(), (ACK, 5_501, 1_001, 500));
    let Lookup::Stale {
        entry,
        original,
        side,
        reply: true,
        ..
    } = new.lookup(&reply, later(Direction::Ingress))
    else {
        panic!("no reply");
    };
    assert_eq!((original.src, original.dst_port), (host(CLIENT), 80));
    assert_eq!(side, Direction::Egress, "not asked: ingress of the client");
    new.renew(entry, side, RULE, Epoch(0));
    assert_eq!(
        known(new.lookup(&reply, later(Direction::Ingress))),
        Some(true)
    );
}

#[test]
fn a_deny_that_came_meanwhile_cuts() {
    let old = table();
    established(&old);
    let (new, _) = imported(&old.export(NOW));
    let packet = tcp(client(), server(), (ACK, 1_001, 5_501, 10));
    let Lookup::Stale { entry, side, .. } = new.lookup(&packet, later(Direction::Egress)) else {
        panic!("not stale");
    };
    assert!(new.refuse(entry, side, Epoch(0)));
    assert_eq!(
        new.lookup(&packet, later(Direction::Egress)),
        Lookup::Untracked,
        "a connection begins with its SYN"
    );
    assert_eq!(count(&new), 0);
}

#[test]
fn sequence_numbers_still_tell_a_forged_rst() {
    for (seq, accepted) in [(5_000, false), (5_001, true), (5_501, true), (5_502, false)] {
        let old = table();
        established(&old);
        let (new, _) = imported(&old.export(NOW));
        let rst = tcp(server(), client(), (TcpFlags::RST, seq, 0, 0));
        let Lookup::Stale { off_window, .. } = new.lookup(&rst, later(Direction::Ingress)) else {
            panic!("not stale");
        };
        assert_eq!(off_window, !accepted, "{seq}");
        let state = if accepted {
            TcpState::Reset
        } else {
            TcpState::Established
        };
        assert_eq!(only(&new).state, FlowState::Tcp(state), "{seq}");
    }
}

#[test]
fn the_window_moves_on() {
    let old = table();
    established(&old);
    let (new, _) = imported(&old.export(NOW));
    for (packet, side) in [
        (
            tcp(client(), server(), (ACK, 1_001, 5_501, 0)),
            Direction::Egress,
        ),
        (
            tcp(server(), client(), (ACK, 5_501, 1_001, 1_000)),
            Direction::Ingress,
        ),
    ] {
        new.lookup(&packet, later(side));
    }
    let quoted = |seq| quote(&tcp(server(), client(), (ACK, seq, 1_001, 10)));
    for (seq, in_flight) in [(5_500, false), (5_501, true), (6_501, true), (6_502, false)] {
        assert_eq!(
            new.related(&quoted(seq), LATER).is_some(),
            in_flight,
            "{seq}"
        );
    }
    assert_eq!(only(&new).packets, [3, 3]);
}

#[test]
fn silence_goes_on_counting() {
    for (conversation, secs) in [(false, 30), (true, 180)] {
        let old = table();
        let (a, b) = ((host(CLIENT), 1), (host(SERVER), 2));
        send(&old, &udp(a, b), egress());
        if conversation {
            send(&old, &udp(b, a), ingress());
            send(&old, &udp(a, b), egress());
        }
        let last = NOW + Span::from_secs(secs - 10);
        for (after, lives) in [(9, true), (10, false)] {
            let (new, count) = imported(&old.export(last));
            assert_eq!(count.imported, 1);
            let now = LATER + Span::from_secs(after);
            let found = new.lookup(&udp(a, b), at(Direction::Egress, now));
            assert_eq!(found != Lookup::New, lives, "{secs} {after}");
        }
        let over = NOW + Span::from_secs(secs);
        let (_, count) = imported(&old.export(over));
        assert_eq!(count, ImportCount::default(), "not even saved");
    }
}

/// Its timeouts may be shorter than those of the process that saved.
#[test]
fn what_the_successor_believes_counts() {
    let old = table();
    established(&old);
    let saved = old.export(NOW + Span::from_secs(DAY - 1));
    assert_eq!(imported(&saved).1.imported, 1);
    let impatient = Conntrack::new(Config {
        timeouts: Timeouts {
            tcp_established: Span::from_secs(DAY - 1),
            ..Timeouts::default()
        },
        ..Config::default()
    });
    let count = impatient.import(&saved, LATER, owner_of).unwrap();
    let expired = ImportCount {
        expired: 1,
        ..ImportCount::default()
    };
    assert_eq!((count, impatient.len()), (expired, 0));
}

/// A clock that began with the process cannot tell of longer silence; it is then forgotten,
/// and the flow with it is not.
#[test]
fn a_young_clock_only_gives_more_time() {
    let old = table();
    established(&old);
    let new = successor_of(64, 64);
    let now = Moment::from_secs(1);
    let saved = old.export(NOW + Span::from_secs(500));
    assert_eq!(new.import(&saved, now, owner_of).unwrap().imported, 1);
    assert_eq!(only(&new).seen, Moment::ZERO);
    assert_eq!(only(&new).expires, Moment::from_secs(DAY));
}

#[test]
fn a_flow_whose_pod_is_gone_is_left_out() {
    let old = table();
    established(&old);
    let local = |pods: &'static [u8]| {
        move |address| {
            let pod = pods.iter().find(|pod| host(**pod) == address);
            pod.map(|pod| u32::from(*pod))
        }
    };
    let imports = |old: &Conntrack, pods| {
        let new = successor_of(64, 64);
        let count = new.import(&old.export(NOW), LATER, local(pods)).unwrap();
        assert_eq!(count.imported + count.gone, 1);
        (new.len_of(CLIENT.into()), new.len_of(SERVER.into()))
    };
    // Only the client was here; whether the server's address is now is no matter.
    assert_eq!(imports(&old, &[CLIENT]), (1, 0));
    assert_eq!(imports(&old, &[CLIENT, SERVER]), (1, 0));
    assert_eq!(imports(&old, &[SERVER]), (0, 0));
    // Both were here: both must be, and the client pays.
    send(
        &old,
        &tcp(client(), server(), (ACK, 1_001, 5_501, 0)),
        ingress(),
    );
    let Lookup::Known { entry, .. } =
        old.lookup(&tcp(client(), server(), (ACK, 1_001, 5_501, 0)), egress())
    else {
        panic!("lost");
    };
    old.renew(entry, Direction::Ingress, RULE, Epoch(1));
    assert_eq!(imports(&old, &[CLIENT, SERVER]), (1, 0));
    assert_eq!(imports(&old, &[CLIENT]), (0, 0));
    assert_eq!(imports(&old, &[SERVER]), (0, 0));
    // Only the server was here.
    let old = table();
    send(&old, &udp(client(), server()), ingress());
    assert_eq!(imports(&old, &[SERVER]), (0, 1));
    assert_eq!(imports(&old, &[CLIENT]), (0, 0));
}

#[test]
fn an_import_takes_no_more_than_the_quota_and_evicts_nobody() {
    let old = table();
    for port in 1..=100 {
        send(&old, &udp((host(CLIENT), port), server()), egress());
        send(&old, &udp((host(4), port), server()), egress());
    }
    let saved = old.export(NOW);
    let new = successor_of(1024, 30);
    let count = new.import(&saved, LATER, owner_of).unwrap();
    let expected = ImportCount {
        imported: 60,
        full: 140,
        ..ImportCount::default()
    };
    assert_eq!(count, expected);
    assert_eq!([3, 5].map(|owner| new.len_of(owner)), [30, 30]);
    assert_eq!(new.stats().evicted, 0);
    // Sixteen entries in two buckets that all flows share.
    let new = successor_of(16, 256);
    let own = udp((host(1), 1), server());
    new.create(&own, later(Direction::Egress), RULE, 9).unwrap();
    let count = new.import(&saved, LATER, owner_of).unwrap();
    assert_eq!((count.imported, count.full), (15, 185));
    assert_eq!(
        known(new.lookup(&own, later(Direction::Egress))),
        Some(false)
    );
    // An owner beyond those there are.
    let count = new.import(&saved, LATER, |_| Some(16)).unwrap();
    assert_eq!((count.imported, count.full), (0, 200));
}

#[test]
fn a_flow_of_the_new_process_stays_as_it_is() {
    let old = table();
    established(&old);
    let (new, _) = imported(&table().export(NOW));
    let packet = tcp(server(), client(), (TcpFlags::SYN, 9, 0, 0));
    new.create(&packet, later(Direction::Egress), RULE, 4)
        .unwrap();
    let before = only(&new);
    let count = new.import(&old.export(NOW), LATER, owner_of).unwrap();
    assert_eq!((count.known, count.imported), (1, 0));
    assert_eq!(only(&new), before);
}

#[test]
fn workers_may_run_already() {
    let old = table();
    for port in 0..200 {
        send(&old, &udp((host(CLIENT), port), server()), egress());
    }
    let saved = old.export(NOW);
    let new = successor_of(1024, 256);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| new.import(&saved, LATER, owner_of).unwrap());
        }
        scope.spawn(|| {
            for port in 0..200 {
                let packet = udp((host(CLIENT), port), server());
                send(&new, &packet, later(Direction::Egress));
            }
        });
    });
    assert_eq!(count(&new), 200, "each flow once");
}
