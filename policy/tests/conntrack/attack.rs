//! What one owner's flood does to others' flows: nothing.

use weft_policy::{Conntrack, Direction, FlowState, Span, TcpState};
use weft_wire::{Headers, TcpFlags};

use crate::packets::*;

pub(crate) fn establish(table: &Conntrack, port: u16, owner: u32) {
    let (a, b) = ((host(9), port), (host(10), 80));
    let ack = TcpFlags::ACK;
    let syn = tcp(a, b, (TcpFlags::SYN, 1_000, 0, 0));
    table.create(&syn, egress(), RULE, owner).unwrap();
    table.lookup(
        &tcp(b, a, (TcpFlags::SYN | ack, 5_000, 1_001, 0)),
        ingress(),
    );
    table.lookup(&tcp(a, b, (ack, 1_001, 5_001, 0)), egress());
}

pub(crate) fn established(table: &Conntrack) -> usize {
    let mut count = 0;
    table.for_each(|flow| {
        count += usize::from(flow.state == FlowState::Tcp(TcpState::Established));
    });
    count
}

/// Every flow of this table falls into the same two buckets: the worst collision
/// an attacker who knew the seed could make.
#[test]
fn collisions_never_evict_another_owner() {
    let table = table_of(16, 16);
    (0..10).for_each(|port| establish(&table, port, 1));
    for port in 0..10_000 {
        table
            .create(&udp((host(2), port), (host(3), 53)), egress(), RULE, 2)
            .unwrap();
    }
    assert_eq!(established(&table), 10);
    assert_eq!((table.len_of(1), table.len_of(2)), (10, 6));
    assert_eq!(count(&table), 16);
    assert_eq!(table.stats().evicted, 10_000 - 6);
}

#[test]
fn an_owner_without_entries_in_full_buckets_is_refused() {
    let table = table_of(16, 16);
    (0..16).for_each(|port| establish(&table, port, 1));
    let newcomer = udp((host(2), 1), (host(3), 53));
    assert!(table.create(&newcomer, egress(), RULE, 2).is_err());
    assert_eq!((table.len_of(1), table.len_of(2)), (16, 0));
    assert_eq!(table.stats().refused, 1);
}

#[test]
fn a_flood_stays_within_its_quota_and_harms_nobody() {
    let table = table_of(8_192, 1_024);
    (0..1_000).for_each(|port| establish(&table, port, 1));
    let mut refused = 0;
    for step in 0..200_000_u32 {
        let [a, b, c, d] = step.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let src = (host(2), u16::from_be_bytes([a, b]));
        let dst = (host(3), u16::from_be_bytes([c, d]));
        let made = table.create(&udp(src, dst), egress(), RULE, 2);
        refused += usize::from(made.is_err());
        assert!(table.len_of(2) <= 1_024);
    }
    assert_eq!(established(&table), 1_000);
    assert_eq!(table.len_of(1), 1_000);
    assert_eq!(table.stats().refused, refused as u64);
    count(&table);
}

#[test]
fn what_is_given_up_follows_the_order() {
    let at_secs = |secs| at(Direction::Egress, NOW + Span::from_secs(secs));
    let port = |port| ((host(2), port), (host(3), 80));
    let table = table_of(16, 16);
    // Eleven lived flows of another owner leave five entries.
    (100..111).for_each(|port| establish(&table, port, 1));
    let segment = |number, flags| {
        let (a, b) = port(number);
        tcp(a, b, (flags, 1, 1, 0))
    };
    let one_way = |number| {
        let (a, b) = port(number);
        udp(a, b)
    };
    let answer = |number, at| {
        let (a, b) = port(number);
        table.lookup(&udp(b, a), at)
    };
    let make = |packet: &_, at| table.create(packet, at, RULE, 2).unwrap();
    make(&one_way(1), at_secs(1));
    answer(1, at_secs(1));
    table.lookup(&one_way(1), at_secs(1));
    make(&one_way(2), at_secs(2));
    answer(2, at_secs(2));
    make(&one_way(3), at_secs(3));
    make(&segment(4, TcpFlags::SYN), at_secs(4));
    let (a, b) = port(4);
    let syn_ack = (TcpFlags::SYN | TcpFlags::ACK, 1, 1, 0);
    table.lookup(&tcp(b, a, syn_ack), at_secs(4));
    table.lookup(&segment(4, TcpFlags::FIN), at_secs(4));
    make(&segment(5, TcpFlags::SYN), at_secs(5));
    assert_eq!(count(&table), 16);

    // Half-open, closing, one-way, one exchange, then the least recently used.
    // Does not refresh, unlike a lookup.
    let is_there = |packet: &Headers| table.related(&quote(packet), NOW).is_some();
    for (step, victim) in [
        segment(5, TcpFlags::SYN),
        segment(4, TcpFlags::FIN),
        one_way(3),
        one_way(2),
        one_way(1),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(is_there(&victim), "{step}");
        let newcomer = 20 + u16::try_from(step).unwrap();
        make(&one_way(newcomer), at_secs(6));
        assert!(!is_there(&victim), "{step}");
        // A conversation, so that it is the last to go.
        answer(newcomer, at_secs(7));
        table.lookup(&one_way(newcomer), at_secs(7));
    }
    assert_eq!(established(&table), 11);
    assert_eq!(table.stats().evicted, 5);
}

#[test]
fn expired_flows_of_anybody_go_first() {
    let table = table_of(16, 16);
    for port in 0..8 {
        table
            .create(&udp((host(2), port), (host(3), 53)), egress(), RULE, 1)
            .unwrap();
    }
    (0..8).for_each(|port| establish(&table, port, 2));
    let later = at(Direction::Egress, NOW + Span::from_secs(30));
    for port in 0..8 {
        table
            .create(&udp((host(4), port), (host(5), 53)), later, RULE, 3)
            .unwrap();
    }
    assert_eq!(
        (table.len_of(1), table.len_of(2), table.len_of(3)),
        (0, 8, 8)
    );
    assert_eq!((table.stats().expired, table.stats().evicted), (8, 0));
}

#[test]
fn at_its_quota_an_owner_replaces_only_its_own() {
    let table = table_of(16, 4);
    for port in 0..4 {
        table
            .create(&udp((host(2), port), (host(3), 53)), egress(), RULE, 1)
            .unwrap();
        table
            .create(&udp((host(4), port), (host(3), 53)), egress(), RULE, 2)
            .unwrap();
    }
    let later = at(Direction::Egress, NOW + Span::from_secs(31));
    for port in 10..100 {
        table
            .create(&udp((host(2), port), (host(3), 53)), later, RULE, 1)
            .unwrap();
    }
    assert_eq!((table.len_of(1), table.len_of(2)), (4, 4));
    assert_eq!(count(&table), 8);
}

/// Two choices of bucket, without moving entries, use most of the table before
/// anybody has to make room.
#[test]
fn two_choices_fill_the_table() {
    for (percent, tolerated_per_mille) in [(70, 0), (80, 1), (90, 15)] {
        let table = table_of(16_384, 65_536);
        let flows = u16::try_from(table.capacity() * percent / 100).unwrap();
        for port in 0..flows {
            let _ = table.create(&udp((host(2), port), (host(200), 53)), egress(), RULE, 1);
        }
        let displaced = table.stats().refused + table.stats().evicted;
        let tolerated = u64::from(flows) * tolerated_per_mille / 1000;
        assert!(displaced <= tolerated, "{percent}%: {displaced} of {flows}");
    }
}
