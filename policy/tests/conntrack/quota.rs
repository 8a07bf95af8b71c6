//! An owner at its quota in a table with room: every newcomer gets in, at its own expense.

use weft_policy::{Config, Conntrack, Direction, Span};
use weft_wire::Headers;

use crate::attack::{establish, established};
use crate::packets::*;

const FLOODER: u32 = 9;

fn question(number: u32) -> Headers {
    let [_, server, high, low] = number.to_be_bytes();
    udp(
        (host(2), u16::from_be_bytes([high, low])),
        (host(100 + server), 53),
    )
}

/// Lets the flooder ask `count` questions; each is then known.
fn flood(table: &Conntrack, count: u32) {
    for number in 0..count {
        let packet = question(number);
        let made = table.create(&packet, egress(), RULE, FLOODER);
        assert!(made.is_ok(), "{number} of {count}");
        assert_eq!(known(table.lookup(&packet, egress())), Some(false));
    }
}

/// The proportions of the daemon: a quota of an eighth of the table, in which others live too.
#[test]
fn every_newcomer_gets_in_and_others_lose_nothing() {
    let table = Conntrack::new(Config {
        seed: [0x5eed, 0xcafe],
        ..Config::default()
    });
    let others = 1..=4;
    for owner in others.clone() {
        let first = u16::try_from(owner).unwrap() * 10_000;
        (first..first + 10_000).for_each(|port| establish(&table, port, owner));
    }
    flood(&table, 4 * 16_384);
    assert_eq!(table.stats().refused, 0);
    assert_eq!(table.len_of(FLOODER), 16_384);
    assert_eq!(table.stats().evicted, 3 * 16_384);
    assert_eq!(established(&table), 40_000);
    assert!(
        others
            .into_iter()
            .all(|owner| table.len_of(owner) == 10_000)
    );
    count(&table);
}

#[test]
fn however_small_the_quota_is_beside_the_table() {
    for quota in [1, 2, 7, 64, 1_000] {
        let table = table_of(8_192, quota);
        (0..1_000).for_each(|port| establish(&table, port, 1));
        flood(&table, 3_000);
        let expected = usize::try_from(quota).unwrap();
        assert_eq!(table.len_of(FLOODER), expected);
        assert_eq!(established(&table), expected.min(1_000));
        count(&table);
    }
}

/// As in two full buckets: half-open, closing, one-way, one exchange, least recently used.
#[test]
fn the_least_of_all_own_entries_goes_wherever_it_lives() {
    let at_secs = |secs| at(Direction::Egress, NOW + Span::from_secs(secs));
    let table = table_of(512, 5);
    let back = |packet: &Headers| {
        let (from, to) = (
            (packet.flow.dst, packet.flow.dst_port),
            (packet.flow.src, packet.flow.src_port),
        );
        udp(from, to)
    };
    let converse = |number, secs| {
        let packet = question(number);
        table.create(&packet, at_secs(secs), RULE, FLOODER).unwrap();
        table.lookup(&back(&packet), at_secs(secs));
        table.lookup(&packet, at_secs(secs));
        packet
    };
    let old = converse(1, 1);
    let used = converse(2, 1);
    let exchange = question(3);
    let one_way = question(4);
    let half_open = sctp((host(2), 5), (host(3), 5));
    for packet in [&exchange, &one_way, &half_open] {
        table.create(packet, at_secs(2), RULE, FLOODER).unwrap();
    }
    table.lookup(&back(&exchange), at_secs(2));
    table.lookup(&used, at_secs(3));

    let is_there = |packet: &Headers| table.related(&quote(packet), NOW).is_some();
    for (step, victim) in [half_open, one_way, exchange, old, used].iter().enumerate() {
        assert!(is_there(victim), "{step}");
        converse(10 + u32::try_from(step).unwrap(), 4);
        assert!(!is_there(victim), "{step}");
    }
    assert_eq!((count(&table), table.stats().evicted), (5, 5));
}

#[test]
fn an_own_expired_entry_elsewhere_goes_first() {
    let table = table_of(512, 4);
    let later = at(Direction::Egress, NOW + Span::from_secs(29));
    let end = at(Direction::Egress, NOW + Span::from_secs(30));
    table.create(&question(0), egress(), RULE, FLOODER).unwrap();
    for number in 1..4 {
        table
            .create(&question(number), later, RULE, FLOODER)
            .unwrap();
    }
    table.create(&question(4), end, RULE, FLOODER).unwrap();
    assert_eq!((table.stats().expired, table.stats().evicted), (1, 0));
    for number in 1..5 {
        assert_eq!(known(table.lookup(&question(number), end)), Some(false));
    }
}

#[test]
fn buckets_full_of_others_refuse_and_cost_the_owner_nothing() {
    let table = table_of(32, 16);
    (0..200).for_each(|port| {
        let packet = udp((host(4), port), (host(5), 80));
        let owner = u32::from(port) % 2;
        let _ = table.create(&packet, egress(), RULE, owner);
    });
    assert_eq!(table.len(), 32, "full");
    assert!(table.create(&question(1), egress(), RULE, FLOODER).is_err());
    assert_eq!((table.len_of(0), table.len_of(1)), (16, 16));
}
