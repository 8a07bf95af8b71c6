//! Does the flow cache say what the table says, before and after every publication?
//!
//! Owns a connection table, asked as `switch/src/path/admit.rs` asks it, and the flows of late.
//! Packets without payload, retransmitted openings and first answers are enough here: what
//! connections go through is the conntrack target's.

use std::collections::VecDeque;

use weft_policy::{
    Config, Conntrack, Direction, Epoch, Lookup, Moment, Question, Sighting, Verdict,
};
use weft_wire::{
    FlowKey, Fragment, Headers, IpProtocol, IpVersion, Mac, TcpFlags, TcpInfo, Transport,
};

/// About how many flows come back.
const RECENT: usize = 8;
/// So many seconds pass from question to question, so that some flows are forgotten.
const SECONDS: u64 = 3;

/// A question with the source port that makes it a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What is asked.
    pub question: Question,
    /// Nobody else's for long.
    pub src_port: u16,
}

/// The connections.
#[derive(Debug)]
pub struct Cache {
    conntrack: Conntrack,
    epoch: Epoch,
    asked: u64,
    recent: VecDeque<Sent>,
}

impl Cache {
    /// Without connections.
    #[must_use]
    pub fn new() -> Self {
        Self {
            conntrack: Conntrack::new(Config {
                capacity: 1_024,
                quota_per_owner: 1_024,
                owners: 1,
                seed: [3, 5],
                ..Config::default()
            }),
            // So that it wraps.
            epoch: Epoch(u32::MAX - 2),
            asked: 0,
            recent: VecDeque::new(),
        }
    }

    /// There are new tables.
    pub const fn publish(&mut self) {
        self.epoch = self.epoch.next();
    }

    /// A new flow for a question, and one of late again if there is any.
    pub fn flows(&mut self, question: Question) -> [Option<Sent>; 2] {
        self.asked += 1;
        let src_port = 40_000 + u16::try_from(self.asked % 20_000).unwrap_or_default();
        let new = Sent { question, src_port };
        let old = self.recent.front().copied();
        self.recent.push_back(new);
        match old {
            // Every other time, so that some come back more than once.
            Some(_) if self.asked.is_multiple_of(2) => self.recent.rotate_left(1),
            _ if self.recent.len() > RECENT => drop(self.recent.pop_front()),
            _ => {}
        }
        [Some(new), old]
    }

    /// The verdict on a packet at one end, from the cache or, where that has none, from `decide`;
    /// none where there is no room.
    pub fn admit(
        &self,
        packet: &Headers,
        side: Direction,
        decide: impl Fn(Direction, &FlowKey) -> Verdict,
    ) -> Option<Verdict> {
        let at = Sighting {
            side,
            epoch: self.epoch,
            worker: 0,
            now: Moment::from_secs(SECONDS * self.asked),
            packets: 1,
        };
        Some(match self.conntrack.lookup(packet, at) {
            Lookup::Known { rule, .. } => Verdict::Allow(rule),
            Lookup::Stale {
                entry,
                original,
                side,
                ..
            } => {
                let verdict = decide(side, &original);
                match verdict {
                    Verdict::Allow(rule) => self.conntrack.renew(entry, side, rule, self.epoch),
                    Verdict::Deny(_) => drop(self.conntrack.refuse(entry, side, self.epoch)),
                }
                verdict
            }
            Lookup::New => {
                let verdict = decide(side, &packet.flow);
                if let Verdict::Allow(rule) = verdict {
                    self.conntrack.create(packet, at, rule, 0).ok()?;
                }
                verdict
            }
            Lookup::Untracked => decide(side, &packet.flow),
        })
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Sent {
    /// The packet that opens the flow.
    #[must_use]
    pub fn opening(&self) -> Headers {
        packet(self.key(), TcpFlags::SYN, 8)
    }

    /// The first answer; none where there is no such thing.
    #[must_use]
    pub fn answer(&self) -> Option<Headers> {
        let key = self.key().reversed();
        let answers = [IpProtocol(47), IpProtocol(136)]
            .iter()
            .all(|other| key.protocol != *other);
        let flags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        answers.then(|| packet(key, flags, 0))
    }

    /// Who talks to whom. An echo request has its id in the place of the source port; what has no
    /// ports has none.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        let Question { from, to, port, .. } = self.question;
        let echo = if to.is_ipv4() {
            IpProtocol::ICMP
        } else {
            IpProtocol::ICMPV6
        };
        let other = [echo, IpProtocol(47), IpProtocol(136)];
        let (protocol, src_port, dst_port) = match self.question.protocol {
            Some(protocol) => (super::court::number(protocol), self.src_port, port),
            None => match other[usize::from(port) % other.len()] {
                protocol if protocol == echo => (echo, self.src_port, 0),
                protocol => (protocol, 0, 0),
            },
        };
        FlowKey {
            src: from,
            dst: to,
            protocol,
            src_port,
            dst_port,
        }
    }
}

fn packet(flow: FlowKey, flags: TcpFlags, icmp: u8) -> Headers {
    let is_v4 = flow.dst.is_ipv4();
    let l4 = if is_v4 { 34 } else { 54 };
    Headers {
        dst_mac: Mac::ZERO,
        src_mac: Mac::ZERO,
        version: if is_v4 { IpVersion::V4 } else { IpVersion::V6 },
        l3: 14,
        l4,
        end: l4 + 20,
        flow,
        transport: match flow.protocol {
            IpProtocol::TCP => Transport::Tcp(TcpInfo {
                seq: 0,
                ack: 0,
                payload_len: 0,
                window: 1_000,
                flags,
            }),
            IpProtocol::UDP => Transport::Udp,
            IpProtocol::SCTP => Transport::Sctp,
            IpProtocol::ICMP => Transport::Icmp {
                kind: icmp,
                code: 0,
            },
            IpProtocol::ICMPV6 => Transport::Icmpv6 {
                kind: if icmp == 0 { 129 } else { 128 },
                code: 0,
            },
            _ => Transport::Other,
        },
        fragment: Fragment::Whole,
        hop_limit: 64,
        traffic_class: 0,
        source_routed: false,
        dont_fragment: true,
    }
}
