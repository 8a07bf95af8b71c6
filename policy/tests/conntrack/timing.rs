//! How long flows are remembered, and that the sweep finds the rest.

use weft_policy::{Conntrack, Direction, Lookup, Moment, Span};
use weft_wire::{Headers, TcpFlags};

use crate::packets::*;

/// A named way to bring a flow into some state, and how long it then lives.
type Case = (&'static str, fn() -> Vec<Headers>, u64);

const CASES: [Case; 13] = [
    ("udp one way", || vec![there(udp)], 30),
    ("udp answered", || vec![there(udp), back(udp)], 30),
    (
        "udp with one long answer",
        || vec![there(udp), back(udp), back(udp), back(udp)],
        30,
    ),
    (
        "udp asked twice before the answers",
        || vec![there(udp), there(udp), back(udp), back(udp)],
        30,
    ),
    (
        "udp conversation",
        || vec![there(udp), back(udp), there(udp)],
        180,
    ),
    ("sctp one way", || vec![there(sctp)], 30),
    ("sctp answered", || vec![there(sctp), back(sctp)], 210),
    ("echo", || vec![echo(8, host(2), host(3), 1)], 30),
    (
        "echo answered",
        || vec![echo(8, host(2), host(3), 1), echo(0, host(3), host(2), 1)],
        30,
    ),
    ("tcp opening", || handshake(1), 60),
    ("tcp answered", || handshake(2), 60),
    ("tcp established", || handshake(3), 86_400),
    ("tcp ending", || handshake(4), 60),
];

type Builder = fn((core::net::IpAddr, u16), (core::net::IpAddr, u16)) -> Headers;

fn there(build: Builder) -> Headers {
    build((host(2), 40_000), (host(3), 80))
}

fn back(build: Builder) -> Headers {
    build((host(3), 80), (host(2), 40_000))
}

fn handshake(packets: usize) -> Vec<Headers> {
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let ack = TcpFlags::ACK;
    let all = [
        tcp(a, b, (TcpFlags::SYN, 1_000, 0, 0)),
        tcp(b, a, (TcpFlags::SYN | ack, 5_000, 1_001, 0)),
        tcp(a, b, (ack, 1_001, 5_001, 0)),
        tcp(b, a, (TcpFlags::FIN | ack, 5_001, 1_001, 0)),
    ];
    all[..packets].to_vec()
}

fn play(table: &Conntrack, packets: &[Headers]) {
    for packet in packets {
        if table.lookup(packet, egress()) == Lookup::New {
            table.create(packet, egress(), RULE, 1).unwrap();
        }
    }
}

#[test]
fn silence_is_believed_for_as_long_as_the_state_says() {
    for (name, packets, secs) in CASES {
        let packets = packets();
        let end = NOW + Span::from_secs(secs);
        let just_before = Moment::from_nanos(end.as_nanos() - 1);
        for (now, lives) in [(just_before, true), (end, false)] {
            let table = table();
            play(&table, &packets);
            table.for_each(|flow| assert_eq!(flow.expires, end, "{name}"));
            let swept = table_of(1024, 256);
            play(&swept, &packets);
            assert_eq!(
                swept.expire(0, 1, usize::MAX, now),
                usize::from(!lives),
                "{name}"
            );
            let found = table.lookup(&packets[0], at(Direction::Egress, now));
            assert_eq!(found != Lookup::New, lives, "{name} {now:?}");
            assert_eq!(
                count(&table),
                usize::from(lives),
                "{name}: reclaimed by the lookup"
            );
        }
    }
}

#[test]
fn a_reset_connection_is_forgotten_soon() {
    let table = table();
    play(&table, &handshake(3));
    let rst = tcp(
        (host(3), 80),
        (host(2), 40_000),
        (TcpFlags::RST, 5_001, 0, 0),
    );
    table.lookup(&rst, egress());
    assert_eq!(
        table.expire(0, 1, usize::MAX, NOW + Span::from_millis(9_999)),
        0
    );
    assert_eq!(table.expire(0, 1, usize::MAX, NOW + Span::from_secs(10)), 1);
}

#[test]
fn every_packet_starts_the_time_again() {
    let table = table();
    let packet = there(udp);
    table.create(&packet, egress(), RULE, 1).unwrap();
    let mut now = NOW;
    for _ in 0..100 {
        now = now + Span::from_secs(29);
        assert_eq!(
            known(table.lookup(&packet, at(Direction::Egress, now))),
            Some(false)
        );
    }
    // A worker whose turn began earlier does not turn the time back.
    table.lookup(&packet, at(Direction::Egress, NOW));
    assert_eq!(
        known(table.lookup(&packet, at(Direction::Egress, now))),
        Some(false)
    );
}

#[test]
fn stripes_together_cover_the_table_within_their_budget() {
    for workers in [1, 2, 3, 7, 64, 100] {
        let table = table_of(4096, 4096);
        for port in 0..2_000 {
            table
                .create(&udp((host(2), port), (host(3), 53)), egress(), RULE, 1)
                .unwrap();
        }
        let later = NOW + Span::from_secs(31);
        let mut turns = 0;
        while !table.is_empty() {
            for worker in 0..workers {
                assert!(table.expire(worker, workers, 32, later) <= 32);
            }
            turns += 1;
            assert!(turns <= 4096 / 32 + 1, "{workers} workers");
        }
        assert_eq!(table.stats().expired, 2_000);
        assert_eq!(count(&table), 0);
    }
}

#[test]
fn time_that_jumps_back_forgets_nothing() {
    let table = table();
    play(&table, &handshake(3));
    assert_eq!(table.expire(0, 1, usize::MAX, Moment::ZERO), 0);
    let found = table.lookup(&handshake(3)[2], at(Direction::Egress, Moment::ZERO));
    assert_eq!(known(found), Some(false));
}
