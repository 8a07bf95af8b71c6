//! Four workers on one table: no flow twice, no torn key, the books balance.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashSet;
use std::thread;

use weft_policy::{Conntrack, Direction, Epoch, FlowInfo, Lookup, RuleId, Sighting, Span};
use weft_wire::{FlowKey, Headers, IpProtocol, Transport};

use crate::packets::*;

const WORKERS: u8 = 4;
const STEPS: u32 = 40_000;

/// A flow whose every field tells its number, so that a torn key is no flow.
fn numbered(number: u16) -> FlowKey {
    let (n, m) = (number, !number);
    let end = |tag| Ipv6Addr::new(0xfd00, n, n, tag, m, n, m, n);
    let (src, dst) = (IpAddr::V6(end(1)), IpAddr::V6(end(2)));
    key(IpProtocol::UDP, (src, n), (dst, m))
}

fn is_whole(flow: &FlowInfo) -> bool {
    let IpAddr::V6(src) = flow.original.src else {
        return false;
    };
    let whole = numbered(src.segments()[1]);
    flow.original == whole || flow.original == whole.reversed()
}

/// Small, seeded, good enough to choose what to do next.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u16) -> u16 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let [a, b, ..] = self.0.to_be_bytes();
        u16::from_be_bytes([a, b]) % sides
    }
}

/// One worker's life: packets of `flows` flows in both directions, now and then
/// newer tables, a removal, a sweep.
fn work(table: &Conntrack, worker: u8, flows: u16, removes: bool) {
    let mut dice = Dice(u64::from(worker) + 1);
    for step in 0..STEPS {
        let number = dice.roll(flows);
        let flow = numbered(number);
        let reply = dice.roll(2) == 1;
        let packet = udp_of(if reply { flow.reversed() } else { flow });
        let side = if dice.roll(2) == 0 {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let now = NOW + Span::from_millis(u64::from(step) * 2);
        let at = Sighting {
            side,
            epoch: Epoch(1 + step / 1_000),
            worker,
            now,
            packets: 1,
        };
        match table.lookup(&packet, at) {
            Lookup::New => {
                let _ = table.create(&packet, at, RuleId(number.into()), u32::from(number) % 16);
            }
            Lookup::Stale {
                entry,
                original,
                side,
                ..
            } => {
                assert!(original == flow || original == flow.reversed());
                table.renew(entry, side, RuleId(number.into()), at.epoch);
            }
            Lookup::Known { entry, rule, .. } => {
                assert_eq!(rule, RuleId(number.into()), "another flow's rule");
                if removes && dice.roll(8) == 0 {
                    table.remove(entry);
                }
            }
            Lookup::Untracked => panic!("UDP is tracked"),
        }
        if removes && step % 64 == 0 {
            table.expire(worker.into(), WORKERS.into(), 64, now);
        }
    }
}

fn udp_of(flow: FlowKey) -> Headers {
    packet(flow, Transport::Udp)
}

fn run(table: &Conntrack, flows: u16, removes: bool) {
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || work(table, worker, flows, removes));
        }
        for _ in 0..200 {
            table.for_each(|flow| assert!(is_whole(&flow), "torn: {flow:?}"));
        }
    });
    let mut seen = HashSet::new();
    table.for_each(|flow| {
        assert!(is_whole(&flow), "torn: {flow:?}");
        let (key, back) = (flow.original, flow.original.reversed());
        assert!(seen.insert(key) && seen.insert(back), "twice: {flow:?}");
    });
    count(table);
}

#[test]
fn many_flows_with_room() {
    let table = table_of(8_192, 8_192);
    run(&table, 2_000, false);
    assert_eq!(table.len(), 2_000);
    assert_eq!(table.stats().refused, 0);
}

#[test]
fn few_flows_come_and_go() {
    run(&table_of(256, 256), 64, true);
}

#[test]
fn all_flows_in_two_buckets() {
    run(&table_of(16, 16), 12, true);
}

#[test]
fn more_flows_than_entries() {
    let table = table_of(16, 4);
    run(&table, 200, true);
    assert!(table.stats().evicted + table.stats().refused > 0);
}

/// All owners at their quotas, in a table with room: workers search the same buckets for the
/// same owners' entries.
#[test]
fn owners_at_their_quotas_beside_each_other() {
    let table = table_of(1_024, 16);
    run(&table, 2_000, false);
    assert_eq!(table.len(), 16 * 16);
    assert!(table.stats().evicted > 0);
}

/// All workers insert the same flows in the same order, the likeliest way to
/// insert one twice.
#[test]
fn racing_inserts_leave_one_entry() {
    let table = table_of(65_536, 65_536);
    let flows = 20_000;
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let table = &table;
            scope.spawn(move || {
                for number in 0..flows {
                    let flow = numbered(number);
                    let flow = if worker % 2 == 0 {
                        flow
                    } else {
                        flow.reversed()
                    };
                    let at = Sighting { worker, ..egress() };
                    table
                        .create(&udp_of(flow), at, RULE, worker.into())
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(table.len(), usize::from(flows));
    let mut seen = HashSet::new();
    table.for_each(|flow| {
        let number = flow.original.src_port.min(flow.original.dst_port);
        assert!(seen.insert(number), "twice: {flow:?}");
    });
    assert_eq!(count(&table), usize::from(flows));
}

/// What one flow's packets add up to when all workers see it at once.
#[test]
fn no_packet_goes_uncounted() {
    let table = table();
    let flow = numbered(1);
    table.create(&udp_of(flow), egress(), RULE, 1).unwrap();
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let table = &table;
            scope.spawn(move || {
                for _ in 0..STEPS {
                    let at = Sighting { worker, ..egress() };
                    assert_eq!(known(table.lookup(&udp_of(flow), at)), Some(false));
                }
            });
        }
    });
    let packets = u64::from(WORKERS) * u64::from(STEPS) + 1;
    table.for_each(|flow| {
        assert_eq!(flow.packets, [packets, 0]);
        assert_eq!(flow.bytes, [packets * LENGTH, 0]);
    });
}
