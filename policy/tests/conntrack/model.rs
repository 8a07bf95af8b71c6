//! Random walks over the table, compared with a map that does the same plainly.

use std::collections::HashMap;

use proptest::prelude::*;
use weft_policy::{
    Conntrack, Direction, Epoch, FlowInfo, FlowState, Lookup, Moment, RuleId, Sighting, Span,
    TcpState, Timeouts, UdpState,
};
use weft_wire::{Embedded, FlowKey, Headers, IpProtocol, TcpFlags, Transport};

use crate::packets::*;

#[derive(Clone, Debug)]
enum Op {
    /// A packet of flow `flow`, from the end the flow is written from or not.
    Packet {
        flow: u8,
        forth: bool,
        segment: Segment,
        side: Direction,
        worker: u8,
    },
    /// An ICMP error about flow `flow`.
    Error {
        flow: u8,
        forth: bool,
        seq: u32,
    },
    Wait(Span),
    NewTables,
    Sweep,
    SweepSome(usize),
    PurgeAddress(u8),
    PurgeOwner(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![
        Just(TcpFlags::SYN),
        Just(TcpFlags::SYN | TcpFlags::FIN),
        Just(TcpFlags::SYN | TcpFlags::RST),
        Just(TcpFlags::SYN | TcpFlags::ACK),
        Just(TcpFlags::ACK),
        Just(TcpFlags::FIN | TcpFlags::ACK),
        Just(TcpFlags::RST),
        Just(TcpFlags::RST | TcpFlags::ACK),
    ];
    let segment = (flags, 0..6_u32, 0..6_u32, 0..3_u32);
    let side = prop_oneof![Just(Direction::Egress), Just(Direction::Ingress)];
    let packet = (0..24_u8, any::<bool>(), segment, side, 0..3_u8).prop_map(
        |(flow, forth, segment, side, worker)| Op::Packet {
            flow,
            forth,
            segment,
            side,
            worker,
        },
    );
    prop_oneof![
        40 => packet,
        4 => (0..24_u8, any::<bool>(), 0..8_u32)
            .prop_map(|(flow, forth, seq)| Op::Error { flow, forth, seq }),
        4 => (0..70_u64).prop_map(|secs| Op::Wait(Span::from_secs(secs))),
        1 => Just(Op::Wait(Span::from_secs(86_400))),
        2 => Just(Op::NewTables),
        1 => Just(Op::Sweep),
        1 => (1..200_usize).prop_map(Op::SweepSome),
        1 => (0..4_u8).prop_map(Op::PurgeAddress),
        1 => (0..4_u32).prop_map(Op::PurgeOwner),
    ]
}

/// The packet of one of 24 flows: six pairs of ends in each of four protocols.
fn flow_packet(flow: u8, forth: bool, segment: Segment) -> Headers {
    let pair = flow / 4;
    // Identifier 0 tells no direction; `icmp.rs` has it.
    let identifier = 1 + u16::from(pair);
    let (a, b) = (
        (host(pair % 3), 1_000),
        (host(1 + pair / 2), 1_000 + u16::from(pair)),
    );
    let (src, dst) = if forth { (a, b) } else { (b, a) };
    match flow % 4 {
        0 => udp(src, dst),
        1 => sctp(src, dst),
        2 => tcp(src, dst, segment),
        _ if forth => echo(8, src.0, dst.0, identifier),
        _ => echo(0, src.0, dst.0, identifier),
    }
}

#[derive(Clone, Debug)]
struct Flow {
    info: FlowInfo,
    sent: [Option<u32>; 2],
    acked: [Option<u32>; 2],
}

#[derive(Default)]
struct Model {
    flows: HashMap<FlowKey, Flow>,
}

impl Model {
    /// The flow a tuple belongs to, by the tuple its initiator writes.
    fn initiator(&self, flow: &FlowKey) -> Option<FlowKey> {
        [*flow, flow.reversed()]
            .into_iter()
            .find(|key| self.flows.contains_key(key))
    }

    fn live(&mut self, flow: &FlowKey, now: Moment) -> Option<(&mut Flow, bool)> {
        let original = self.initiator(flow)?;
        if self.flows.get(&original)?.info.expires <= now {
            self.flows.remove(&original);
            return None;
        }
        Some((self.flows.get_mut(&original)?, original != *flow))
    }

    fn lookup(&mut self, packet: &Headers, at: Sighting) -> Found {
        let Some((flow, reply)) = self.live(&packet.flow, at.now) else {
            let begins = match packet.transport {
                Transport::Icmp { kind, .. } => kind == 8,
                Transport::Tcp(info) => info.flags == TcpFlags::SYN,
                _ => true,
            };
            return if !begins {
                Found::Untracked
            } else {
                Found::New
            };
        };
        if let (FlowState::Tcp(TcpState::Closed | TcpState::Reset), Transport::Tcp(info)) =
            (flow.info.state, packet.transport)
            && reply
            && info.flags == TcpFlags::SYN
        {
            let original = flow.info.original;
            self.flows.remove(&original);
            return Found::New;
        }
        let off_window = flow.take(packet, at, reply);
        let side = if reply { at.side.opposite() } else { at.side };
        let slot = match side {
            Direction::Egress => flow.info.egress,
            Direction::Ingress => flow.info.ingress,
        };
        let home = flow.info.homes[usize::from(!reply)];
        match slot {
            Some((epoch, rule)) if epoch == at.epoch => Found::Known {
                rule,
                reply,
                home,
                off_window,
            },
            _ => Found::Stale {
                original: flow.info.original,
                side,
                reply,
                home,
                off_window,
            },
        }
    }

    fn create(&mut self, packet: &Headers, at: Sighting, rule: RuleId, owner: u32) {
        let state = match packet.transport {
            Transport::Udp => FlowState::Udp(UdpState::OneWay),
            Transport::Sctp => FlowState::Sctp { answered: false },
            Transport::Tcp(_) => FlowState::Tcp(TcpState::Opening),
            _ => FlowState::Echo { answered: false },
        };
        let mut flow = Flow {
            info: FlowInfo {
                original: packet.flow,
                state,
                owner,
                egress: None,
                ingress: None,
                homes: [None; 2],
                packets: [1, 0],
                bytes: [LENGTH, 0],
                seen: at.now,
                expires: at.now + state.timeout(&Timeouts::default()),
            },
            sent: [None; 2],
            acked: [None; 2],
        };
        flow.info.egress = (at.side == Direction::Egress).then_some((at.epoch, rule));
        flow.info.ingress = (at.side == Direction::Ingress).then_some((at.epoch, rule));
        flow.info.homes[0] = (at.side == Direction::Egress).then_some(at.worker);
        if let Transport::Tcp(info) = packet.transport {
            flow.number(info.flags, info.seq + info.payload_len, info.ack, 0);
        }
        self.flows.insert(packet.flow, flow);
    }
}

impl Flow {
    /// Takes a packet in; whether it is an RST out of window.
    fn take(&mut self, packet: &Headers, at: Sighting, reply: bool) -> bool {
        let (sender, receiver) = (usize::from(reply), usize::from(!reply));
        let mut off_window = false;
        let info = &mut self.info;
        match (&mut info.state, packet.transport) {
            (FlowState::Tcp(state), Transport::Tcp(segment)) => {
                let next = state.next(segment.flags, reply);
                if segment.flags.contains(TcpFlags::RST) {
                    let sent = self.sent[sender];
                    let accepted = match self.acked[receiver] {
                        Some(acked) => {
                            segment.seq == acked
                                || sent.is_some_and(|sent| (acked..=sent).contains(&segment.seq))
                        }
                        None => {
                            sent == Some(segment.seq)
                                || segment.flags.contains(TcpFlags::ACK)
                                    && self.sent[receiver] == Some(segment.ack)
                        }
                    };
                    off_window = !accepted;
                    if accepted {
                        *state = next;
                    }
                } else {
                    *state = next;
                    if next == TcpState::Opening && segment.flags.contains(TcpFlags::SYN) {
                        (self.sent, self.acked) = ([None; 2], [None; 2]);
                    }
                    let end = segment.seq + segment.payload_len;
                    self.number(segment.flags, end, segment.ack, sender);
                }
            }
            (FlowState::Udp(state), _) => {
                *state = match (*state, reply) {
                    (UdpState::OneWay, true) => UdpState::Answered,
                    (UdpState::Answered, false) => UdpState::Conversation,
                    (state, _) => state,
                };
            }
            (FlowState::Sctp { answered } | FlowState::Echo { answered }, _) => *answered |= reply,
            other => panic!("{other:?}"),
        }
        let info = &mut self.info;
        if at.side == Direction::Egress {
            info.homes[sender] = Some(at.worker);
        }
        if at.side == Direction::Egress || info.homes[sender].is_none() {
            info.packets[sender] += 1;
            info.bytes[sender] += LENGTH;
        }
        info.seen = at.now;
        info.expires = at.now + info.state.timeout(&Timeouts::default());
        off_window
    }

    fn number(&mut self, flags: TcpFlags, end: u32, ack: u32, sender: usize) {
        let control = [TcpFlags::SYN, TcpFlags::FIN].map(|flag| u32::from(flags.contains(flag)));
        let end = end + control.iter().sum::<u32>();
        self.sent[sender] = self.sent[sender].max(Some(end));
        if flags.contains(TcpFlags::ACK) {
            self.acked[sender] = self.acked[sender].max(Some(ack));
        }
    }
}

/// [`Lookup`] without references to entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Known {
        rule: RuleId,
        reply: bool,
        home: Option<u8>,
        off_window: bool,
    },
    Stale {
        original: FlowKey,
        side: Direction,
        reply: bool,
        home: Option<u8>,
        off_window: bool,
    },
    New,
    Untracked,
}

impl From<Lookup> for Found {
    fn from(found: Lookup) -> Self {
        match found {
            Lookup::Known {
                rule,
                reply,
                home,
                off_window,
                ..
            } => Self::Known {
                rule,
                reply,
                home,
                off_window,
            },
            Lookup::Stale {
                original,
                side,
                reply,
                home,
                off_window,
                ..
            } => Self::Stale {
                original,
                side,
                reply,
                home,
                off_window,
            },
            Lookup::New => Self::New,
            Lookup::Untracked => Self::Untracked,
        }
    }
}

/// The table and the model side by side.
struct Walk {
    table: Conntrack,
    model: Model,
    now: Moment,
    epoch: Epoch,
    step: u32,
}

impl Walk {
    fn packet(&mut self, packet: &Headers, side: Direction, worker: u8) {
        let at = Sighting {
            side,
            epoch: self.epoch,
            worker,
            now: self.now,
            packets: 1,
        };
        let found = self.table.lookup(packet, at);
        assert_eq!(
            Found::from(found),
            self.model.lookup(packet, at),
            "{packet:?}"
        );
        let (rule, owner) = (RuleId(self.step), self.step % 4);
        match found {
            Lookup::New => {
                self.table.create(packet, at, rule, owner).unwrap();
                self.model.create(packet, at, rule, owner);
            }
            Lookup::Stale {
                entry, original, ..
            } if self.step.is_multiple_of(5) => {
                assert!(self.table.remove(entry));
                self.model.flows.remove(&original);
            }
            Lookup::Stale {
                entry,
                original,
                side,
                ..
            } => {
                self.table.renew(entry, side, rule, self.epoch);
                let flow = self.model.flows.get_mut(&original).unwrap();
                match side {
                    Direction::Egress => flow.info.egress = Some((self.epoch, rule)),
                    Direction::Ingress => flow.info.ingress = Some((self.epoch, rule)),
                }
            }
            Lookup::Known { .. } | Lookup::Untracked => {}
        }
    }

    fn error(&mut self, embedded: &Embedded) {
        let related = self.table.related(embedded, self.now);
        let related = related.map(|found| (found.original, found.reply, found.home));
        let expected = self.model.live(&embedded.flow, self.now);
        let expected = expected.and_then(|(flow, reply)| {
            let (sender, receiver) = (usize::from(reply), usize::from(!reply));
            let is_sent = match (flow.info.state, flow.sent[sender], flow.acked[receiver]) {
                (FlowState::Tcp(_), None, _) => false,
                (FlowState::Tcp(_), Some(sent), acked) => {
                    (acked.unwrap_or(0)..=sent).contains(&embedded.tcp_seq)
                }
                _ => true,
            };
            let home = flow.info.homes[sender];
            is_sent.then_some((flow.info.original, reply, home))
        });
        assert_eq!(related, expected);
    }

    fn apply(&mut self, op: &Op) {
        self.step += 1;
        let now = self.now;
        match *op {
            Op::Packet {
                flow,
                forth,
                segment,
                side,
                worker,
            } => {
                self.packet(&flow_packet(flow, forth, segment), side, worker);
            }
            Op::Error { flow, forth, seq } => {
                let segment = (TcpFlags::ACK, seq, 0, 0);
                self.error(&quote(&flow_packet(flow, forth, segment)));
            }
            Op::Wait(span) => self.now = now + span,
            Op::NewTables => self.epoch = self.epoch.next(),
            Op::Sweep => {
                self.table.expire(0, 1, usize::MAX, now);
                self.model.flows.retain(|_, flow| flow.info.expires > now);
                assert_eq!(self.table.len(), self.model.flows.len());
            }
            Op::SweepSome(budget) => {
                self.table.expire(1, 3, budget, now);
            }
            Op::PurgeAddress(number) => {
                let address = host(number);
                self.table.purge_address(address);
                let involves = |key: &FlowKey| key.src == address || key.dst == address;
                self.model.flows.retain(|key, _| !involves(key));
            }
            Op::PurgeOwner(owner) => {
                self.table.purge_owner(owner);
                self.model.flows.retain(|_, flow| flow.info.owner != owner);
            }
        }
        self.compare();
    }

    /// Every living flow is in both, alike in everything.
    fn compare(&self) {
        count(&self.table);
        let mut listed = HashMap::new();
        self.table.for_each(|flow| {
            if flow.expires > self.now {
                assert!(
                    listed.insert(flow.original, flow).is_none(),
                    "twice: {flow:?}"
                );
            }
        });
        let living = self
            .model
            .flows
            .values()
            .filter(|flow| flow.info.expires > self.now);
        let expected: HashMap<_, _> = living.map(|flow| (flow.info.original, flow.info)).collect();
        assert_eq!(listed, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_plain_map_does(ops in proptest::collection::vec(op(), 1..200)) {
        let mut walk = Walk {
            table: table_of(256, 256),
            model: Model::default(),
            now: NOW,
            epoch: Epoch(u32::MAX - 2),
            step: 0,
        };
        for op in &ops {
            walk.apply(op);
        }
    }

    /// A table far too small for its traffic: whatever it gives up, its books balance.
    #[test]
    fn charges_equal_entries_under_eviction(
        quota in 1..20_u32,
        ops in proptest::collection::vec((any::<u16>(), 0..4_u32, 0..40_u64), 1..400),
    ) {
        let table = table_of(32, quota);
        let mut now = NOW;
        for (port, owner, wait) in ops {
            now = now + Span::from_secs(wait / 30);
            let at = at(Direction::Egress, now);
            let packet = if port % 2 == 0 {
                udp((host(2), port), (host(3), 53))
            } else {
                tcp((host(2), port), (host(3), 80), (TcpFlags::SYN, 1, 0, 0))
            };
            if table.lookup(&packet, at) == Lookup::New {
                let _ = table.create(&packet, at, RULE, owner);
            }
            count(&table);
            prop_assert!((0..4).all(|owner| table.len_of(owner) <= quota as usize));
        }
    }

    #[test]
    fn keys_come_back_as_they_were(
        src in any::<[u8; 16]>(), dst in any::<[u8; 16]>(),
        ports in any::<(u16, u16)>(), is_v4 in any::<bool>(),
    ) {
        let address = |bytes: [u8; 16]| match (is_v4, bytes) {
            (true, [a, b, c, d, ..]) => core::net::IpAddr::from([a, b, c, d]),
            _ => core::net::IpAddr::from(bytes),
        };
        let flow = key(IpProtocol::UDP, (address(src), ports.0), (address(dst), ports.1));
        let table = table();
        table.create(&packet(flow, Transport::Udp), egress(), RULE, 3).unwrap();
        table.for_each(|listed| {
            assert_eq!(listed.original, flow);
            assert_eq!(listed.owner, 3);
        });
        let back = table.lookup(&packet(flow.reversed(), Transport::Udp), ingress());
        prop_assert_eq!(known(back), Some(flow != flow.reversed()));
    }
}
