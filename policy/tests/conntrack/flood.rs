//! One owner's flood of tuples, random or crafted, beside others' connections.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_policy::{Config, Conntrack, Lookup};
use weft_wire::{FlowKey, Headers, IpProtocol, TcpFlags, Transport};

use crate::packets::*;

/// Optimised tests have the time for what a real attacker sends in ten seconds.
const TUPLES: u64 = if cfg!(debug_assertions) {
    200_000
} else {
    10_000_000
};
const ATTACKER: u32 = 9;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn port(&mut self) -> u16 {
        let [a, b, ..] = self.word().to_le_bytes();
        u16::from_le_bytes([a, b])
    }
}

/// The first packet of some flow from the attacker's addresses to anybody.
fn any_packet(dice: &mut Dice) -> Headers {
    let [to @ .., choice] = dice.word().to_le_bytes();
    let [a, b, c, d, ..] = to;
    let (src, dst): (IpAddr, IpAddr) = if choice & 1 == 0 {
        (host(200), Ipv4Addr::new(a, b, c, d).into())
    } else {
        let bits = u128::from(dice.word()) << 64 | u128::from(dice.word());
        (
            "fd00::200".parse().unwrap(),
            Ipv6Addr::from_bits(bits).into(),
        )
    };
    let (from, to) = ((src, dice.port()), (dst, dice.port()));
    match choice >> 1 & 3 {
        0 => udp(from, to),
        1 => sctp(from, to),
        2 if choice & 1 == 0 => echo(8, src, dst, from.1),
        _ => tcp(from, to, (TcpFlags::SYN, 1, 0, 0)),
    }
}

/// Segments of connection `number` of 8 other owners: SYN, its answer, and data both ways.
fn connection(number: u16) -> [Headers; 4] {
    let (a, b) = ((host(1), 10_000 + number), (host(2), 443));
    let ack = TcpFlags::ACK;
    [
        tcp(a, b, (TcpFlags::SYN, 1_000, 0, 0)),
        tcp(b, a, (TcpFlags::SYN | ack, 5_000, 1_001, 0)),
        tcp(a, b, (ack, 1_001, 5_001, 10)),
        tcp(b, a, (ack, 5_001, 1_011, 10)),
    ]
}

/// How many of a thousand connections are still known from both ends.
fn known_connections(table: &Conntrack) -> u16 {
    let is_known = |number: &u16| {
        let [_, _, there, back] = connection(*number);
        known(table.lookup(&there, egress())) == Some(false)
            && known(table.lookup(&back, ingress())) == Some(true)
    };
    (0..1_000).filter(is_known).map(|_| 1).sum()
}

fn with_connections(config: Config) -> Conntrack {
    let table = Conntrack::new(config);
    for number in 0..1_000 {
        let [syn, answer, there, _] = connection(number);
        let owner = u32::from(number) % 8;
        table.create(&syn, egress(), RULE, owner).unwrap();
        table.lookup(&answer, ingress());
        table.lookup(&there, egress());
    }
    table
}

/// §2.F of the anchors: none of the thousand is lost, and the flood gets its quota.
#[test]
fn random_tuples_of_one_owner_cost_no_other_a_connection() {
    let config = Config {
        capacity: 16_384,
        quota_per_owner: 4_096,
        owners: 16,
        seed: [0x0dd5_eed1, 0x0dd5_eed2],
        ..Config::default()
    };
    let table = with_connections(config);
    let mut dice = Dice(1);
    for step in 0..TUPLES {
        let packet = any_packet(&mut dice);
        if table.lookup(&packet, egress()) == Lookup::New {
            let _ = table.create(&packet, egress(), RULE, ATTACKER);
        }
        if step % (TUPLES / 10) == 0 {
            assert_eq!(known_connections(&table), 1_000, "{step}");
        }
        assert!(table.len_of(ATTACKER) <= 4_096);
    }
    assert_eq!(known_connections(&table), 1_000);
    assert_eq!(table.len_of(ATTACKER), 4_096);
    assert_eq!(table.len(), 5_096);
    // A newcomer of another owner still finds room.
    for number in 0..1_000 {
        let syn = tcp((host(3), number), (host(4), 80), (TcpFlags::SYN, 1, 0, 0));
        table.create(&syn, egress(), RULE, 8).unwrap();
    }
    count(&table);
}

/// A family of flows: a name, and what the number of a flow makes of it.
type Family<T> = (&'static str, fn(u16) -> ((T, u16), (T, u16)));

/// What an attacker who knows the hash, but not its seeds, would try.
const V4: [Family<u32>; 6] = [
    ("ports", |n| ((1, n), (2, 53))),
    ("both ports alike", |n| ((1, n), (2, n))),
    ("ports that add up", |n| ((1, n), (2, 1_024 - n))),
    ("addresses", |n| ((1, 1), (u32::from(n) << 16, 53))),
    ("address and port", |n| ((n.into(), n), (!u32::from(n), !n))),
    ("ends that add up", |n| {
        ((n.into(), 7), (0xffff - u32::from(n), 7))
    }),
];

const V6: [Family<u128>; 4] = [
    ("halves alike", |n| {
        ((u128::from(n) << 64 | u128::from(n), 7), (1, 7))
    }),
    ("ends alike", |n| ((n.into(), 7), (n.into(), 8))),
    ("high halves", |n| ((u128::from(n) << 64, 7), (1, 7))),
    ("complements", |n| ((n.into(), 7), (!u128::from(n), 7))),
];

fn families() -> Vec<(&'static str, Vec<FlowKey>)> {
    let v4 = |address: u32| IpAddr::from(Ipv4Addr::from(address));
    let v6 = |address: u128| IpAddr::from(Ipv6Addr::from(address));
    let flow = |src, dst| key(IpProtocol::UDP, src, dst);
    let of_v4 = V4.map(|(name, ends)| {
        let flows = (0..1_024).map(ends);
        let flows = flows.map(|(src, dst)| flow((v4(src.0), src.1), (v4(dst.0), dst.1)));
        (name, flows.collect())
    });
    let of_v6 = V6.map(|(name, ends)| {
        let flows = (0..1_024).map(ends);
        let flows = flows.map(|(src, dst)| flow((v6(src.0), src.1), (v6(dst.0), dst.1)));
        (name, flows.collect())
    });
    of_v4.into_iter().chain(of_v6).collect()
}

/// How many of the flows a table of four times as many entries could not keep.
fn displaced(flows: &[FlowKey], seed: [u64; 2]) -> u64 {
    let table = Conntrack::new(Config {
        capacity: 4 * flows.len(),
        quota_per_owner: u32::MAX,
        owners: 16,
        seed,
        ..Config::default()
    });
    for &flow in flows {
        let _ = table.create(&packet(flow, Transport::Udp), egress(), RULE, ATTACKER);
    }
    table.stats().evicted + table.stats().refused
}

#[test]
fn patterns_do_not_collide_under_any_seed() {
    let mut dice = Dice(2);
    for _ in 0..16 {
        let seed = [dice.word(), dice.word()];
        for (name, flows) in families() {
            assert_eq!(displaced(&flows, seed), 0, "{name}, seeds {seed:x?}");
        }
    }
}

/// The attacker computes the hash under a guessed seed and keeps what falls into the same first
/// bucket: worthless under another seed.
#[test]
fn collisions_under_one_seed_are_none_under_another() {
    let guessed = 0x1234;
    let all = (0..=u16::MAX).flat_map(|from| (0..4).map(move |to| (from, to)));
    let flows: Vec<FlowKey> = all
        .map(|(from, to)| key(IpProtocol::UDP, (host(200), from), (host(1), to)))
        .filter(|flow| flow.symmetric_hash(guessed) & 0xff == 0)
        .take(1_000)
        .collect();
    assert_eq!(flows.len(), 1_000);
    assert!(displaced(&flows, [guessed, 0]) > 0, "the collision is real");
    let mut dice = Dice(3);
    for _ in 0..16 {
        assert_eq!(displaced(&flows, [dice.word(), dice.word()]), 0);
    }
}
