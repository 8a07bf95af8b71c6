//! Connection tracking as one would write it without a cache: every packet of a flow is judged
//! by the current rules, and flows are a map.

use std::collections::{HashMap, HashSet};

use weft_policy::{
    Direction, Epoch, FlowState, Moment, Opening, Span, TcpState, Timeouts, UdpState,
};
use weft_wire::{Embedded, FlowKey, Fragment, TcpFlags, TcpInfo, Transport};

use super::datagrams::Datagrams;
use super::node::{Answer, Door, Room, permit};
use super::script::{BASE, Sent, WORKERS, is_pod};

/// A flow, by the tuple that its initiator writes.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) original: FlowKey,
    pub(super) state: FlowState,
    pub(super) owner: u32,
    pub(super) homes: [Option<u8>; 2],
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
    pub(super) seen: Moment,
    /// The youngest tables that allowed it at its initiator and at its responder.
    allowed: [Option<Epoch>; 2],
    /// One past what each end sent, and what each acknowledged, counted from [`BASE`].
    sent: [Option<u32>; 2],
    acked: [Option<u32>; 2],
}

pub(super) struct Model {
    room: Room,
    pub(super) flows: HashMap<FlowKey, Flow>,
    pub(super) datagrams: [Datagrams; WORKERS as usize],
    /// What the table holds after the packet, where it may have had to choose.
    pub(super) kept: HashSet<FlowKey>,
}

/// How a packet belongs to flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp(TcpInfo),
    Datagram,
    Request,
    Reply,
}

impl Kind {
    fn of(transport: Transport) -> Option<Self> {
        match transport {
            Transport::Tcp(info) => Some(Self::Tcp(info)),
            Transport::Udp | Transport::Sctp => Some(Self::Datagram),
            Transport::Icmp { kind: 8, .. } | Transport::Icmpv6 { kind: 128, .. } => {
                Some(Self::Request)
            }
            Transport::Icmp { kind: 0, .. } | Transport::Icmpv6 { kind: 129, .. } => {
                Some(Self::Reply)
            }
            _ => None,
        }
    }

    /// The kind of a quoted packet: the identifier of an echo is on the side that asks.
    fn quoted(flow: &FlowKey) -> Option<Self> {
        Some(match flow.protocol.0 {
            6 => Self::Tcp(TcpInfo {
                seq: 0,
                ack: 0,
                payload_len: 0,
                window: 0,
                flags: TcpFlags(0),
            }),
            17 | 132 => Self::Datagram,
            1 | 58 if flow.dst_port == 0 => Self::Request,
            1 | 58 => Self::Reply,
            _ => return None,
        })
    }

    fn begins(self) -> bool {
        match self {
            Self::Tcp(info) => is_opening(info.flags),
            Self::Datagram | Self::Request => true,
            Self::Reply => false,
        }
    }
}

/// The end of a flow whose verdict is of this side, as its original tuple reads.
const fn end(side: Direction) -> usize {
    match side {
        Direction::Egress => 0,
        Direction::Ingress => 1,
    }
}

/// SYN, and none of ACK, RST and FIN.
fn is_opening(flags: TcpFlags) -> bool {
    flags.0 & 0b0001_0111 == 0b0000_0010
}

impl Flow {
    pub(super) fn timeout(&self) -> Span {
        self.state.timeout(&Timeouts::default())
    }

    pub(super) fn is_over(&self, now: Moment) -> bool {
        now - self.seen >= self.timeout()
    }

    /// In which order flows make room: expired, half-open, closing, one-way, UDP with
    /// one exchange behind it, lived.
    fn price(&self, now: Moment) -> (u8, Moment) {
        let rank = match self.state {
            _ if self.is_over(now) => 0,
            FlowState::Tcp(TcpState::Opening | TcpState::Answered)
            | FlowState::Sctp { answered: false } => 1,
            FlowState::Tcp(TcpState::Established) => 5,
            FlowState::Tcp(_) => 2,
            FlowState::Udp(UdpState::OneWay) | FlowState::Echo { .. } => 3,
            FlowState::Udp(UdpState::Answered) => 4,
            FlowState::Udp(UdpState::Conversation) | FlowState::Sctp { .. } => 5,
        };
        (rank, self.seen)
    }

    fn home(&self, of_responder: bool) -> Option<u8> {
        self.homes[usize::from(of_responder)]
    }

    fn count(&mut self, reply: bool, side: Direction, bytes: u64) {
        if side == Direction::Egress || self.home(reply).is_none() {
            self.packets[usize::from(reply)] += 1;
            self.bytes[usize::from(reply)] += bytes;
        }
    }

    /// Takes a packet of the flow in.
    fn take(&mut self, kind: Kind, reply: bool, door: Door, sent: &Sent) {
        match (&mut self.state, kind) {
            (FlowState::Tcp(_), Kind::Tcp(info)) => self.take_segment(&info, reply),
            (FlowState::Udp(state), _) => match (*state, reply) {
                (UdpState::OneWay, true) => *state = UdpState::Answered,
                (UdpState::Answered, false) => *state = UdpState::Conversation,
                _ => {}
            },
            (FlowState::Sctp { answered } | FlowState::Echo { answered }, _) => *answered |= reply,
            other => panic!("{other:?}"),
        }
        if door.side == Direction::Egress {
            self.homes[usize::from(reply)] = Some(sent.worker);
        }
        self.count(reply, door.side, sent.headers.ip_len() as u64);
        self.seen = self.seen.max(door.now);
    }

    fn take_segment(&mut self, info: &TcpInfo, reply: bool) {
        let FlowState::Tcp(state) = &mut self.state else {
            return;
        };
        let (sender, receiver) = (usize::from(reply), usize::from(!reply));
        let (seq, ack) = (info.seq.wrapping_sub(BASE), info.ack.wrapping_sub(BASE));
        let next = state.next(info.flags, reply);
        if info.flags.contains(TcpFlags::RST) {
            let is_believed = match (self.sent[sender], self.acked[receiver]) {
                (Some(sent), Some(acked)) => seq == acked || acked <= seq && seq <= sent,
                (None, Some(acked)) => seq == acked,
                (sent, None) => {
                    let answers = info.flags.contains(TcpFlags::ACK);
                    sent == Some(seq) || answers && self.sent[receiver] == Some(ack)
                }
            };
            if is_believed {
                *state = next;
            }
            return;
        }
        *state = next;
        if next == TcpState::Opening && info.flags.contains(TcpFlags::SYN) {
            (self.sent, self.acked) = ([None; 2], [None; 2]);
        }
        self.number(info, reply);
    }

    fn number(&mut self, info: &TcpInfo, reply: bool) {
        let sender = usize::from(reply);
        let control = (info.flags.0 & 0b11).count_ones();
        let end = info.seq.wrapping_sub(BASE) + info.payload_len + control;
        self.sent[sender] = self.sent[sender].max(Some(end));
        if info.flags.contains(TcpFlags::ACK) {
            let ack = info.ack.wrapping_sub(BASE);
            self.acked[sender] = self.acked[sender].max(Some(ack));
        }
    }

    /// Whether a segment with this number can be on its way.
    fn is_in_flight(&self, seq: u32, reply: bool) -> bool {
        let seq = seq.wrapping_sub(BASE);
        let (sender, receiver) = (usize::from(reply), usize::from(!reply));
        // More than a window before the numbers begin is nothing that was sent.
        match (self.sent[sender], self.acked[receiver]) {
            (None, _) => false,
            (Some(sent), acked) => acked.unwrap_or(0) <= seq && seq <= sent,
        }
    }
}

impl Model {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            flows: HashMap::new(),
            datagrams: [Datagrams::new(room), Datagrams::new(room)],
            kept: HashSet::new(),
        }
    }

    pub(super) fn admit(&mut self, door: Door, sent: &Sent) -> Answer {
        let worker = usize::from(sent.worker);
        if let Fragment::Later { .. } = sent.headers.fragment {
            return match self.datagrams[worker].later(&sent.headers, door) {
                Ok(opening) => self.later(door, &opening, sent),
                Err(error) => Answer::Fragment(error),
            };
        }
        match self.whole(door, sent) {
            Ok(home) => match self.datagrams[worker].first(&sent.headers, door) {
                Ok(()) => Answer::Pass(home),
                Err(error) => Answer::Fragment(error),
            },
            Err(answer) => answer,
        }
    }

    fn later(&mut self, door: Door, opening: &Opening, sent: &Sent) -> Answer {
        let kind = Kind::of(opening.transport);
        let bytes = sent.headers.ip_len() as u64;
        let known = kind.and_then(|kind| self.live(&opening.flow, kind, door.now));
        let passed = match known {
            Some((flow, reply)) => {
                flow.count(reply, door.side, bytes);
                let (original, home) = (flow.original, flow.home(!reply));
                self.judge(door, &original, reply).map(|()| home)
            }
            None => permit(door, door.side, &opening.flow).map(|_| None),
        };
        passed.map_or_else(|answer| answer, Answer::Pass)
    }

    fn whole(&mut self, door: Door, sent: &Sent) -> Result<Option<u8>, Answer> {
        let flow = sent.headers.flow;
        let Some(kind) = Kind::of(sent.headers.transport) else {
            return self.untracked(door, sent);
        };
        if let Some((known, reply)) = self.live(&flow, kind, door.now) {
            let is_over = matches!(
                known.state,
                FlowState::Tcp(TcpState::Closed | TcpState::Reset)
            );
            let original = known.original;
            if reply && is_over && kind.begins() {
                // The other end opens a connection of its own.
                self.flows.remove(&original);
            } else {
                known.take(kind, reply, door, sent);
                let home = known.home(!reply);
                return self.judge(door, &original, reply).map(|()| home);
            }
        }
        if !kind.begins() {
            return self.untracked(door, sent);
        }
        permit(door, door.side, &flow)?;
        self.create(kind, door, sent).map(|()| None)
    }

    /// A flow that is denied now is forgotten, unless younger tables have allowed it there: a worker
    /// may be behind another one.
    fn judge(&mut self, door: Door, original: &FlowKey, reply: bool) -> Result<(), Answer> {
        let side = if reply {
            door.side.opposite()
        } else {
            door.side
        };
        let passed = permit(door, side, original);
        if let Some(flow) = self.flows.get_mut(original) {
            let allowed = &mut flow.allowed[end(side)];
            let is_younger = allowed.is_some_and(|epoch| epoch.is_after(door.epoch));
            match passed {
                Ok(_) if !is_younger => *allowed = Some(door.epoch),
                Err(_) if !is_younger => drop(self.flows.remove(original)),
                _ => {}
            }
        }
        passed.map(|_| ())
    }

    fn untracked(&mut self, door: Door, sent: &Sent) -> Result<Option<u8>, Answer> {
        match self.related(door, sent) {
            Some(home) => Ok(home),
            None => permit(door, door.side, &sent.headers.flow).map(|_| None),
        }
    }

    /// The queue of whom an ICMP error goes to, if it passes with the flow it is about.
    fn related(&mut self, door: Door, sent: &Sent) -> Option<Option<u8>> {
        let Embedded { flow, tcp_seq } = sent.quoted?;
        let outer = sent.headers.flow;
        if flow.src != outer.dst || flow.dst != outer.src && is_pod(outer.src) {
            return None;
        }
        let kind = Kind::quoted(&flow)?;
        let (known, reply) = self.live(&flow, kind, door.now)?;
        if matches!(known.state, FlowState::Tcp(_)) && !known.is_in_flight(tcp_seq, reply) {
            return None;
        }
        let side = if reply {
            door.side
        } else {
            door.side.opposite()
        };
        permit(door, side, &known.original)
            .is_ok()
            .then(|| known.home(reply))
    }

    /// The living flow of a packet, and whether the packet is a reply in it.
    fn live(&mut self, flow: &FlowKey, kind: Kind, now: Moment) -> Option<(&mut Flow, bool)> {
        let there = self.flows.contains_key(flow) && kind != Kind::Reply;
        let back = self.flows.contains_key(&flow.reversed()) && kind != Kind::Request;
        let (original, reply) = match (there, back) {
            (true, _) => (*flow, false),
            (false, true) => (flow.reversed(), true),
            (false, false) => return None,
        };
        if self.flows.get(&original)?.is_over(now) {
            self.flows.remove(&original);
            return None;
        }
        Some((self.flows.get_mut(&original)?, reply))
    }

    fn create(&mut self, kind: Kind, door: Door, sent: &Sent) -> Result<(), Answer> {
        if self.room.is_tight() {
            self.make_room(door)?;
        }
        let original = sent.headers.flow;
        let answered = false;
        let state = match (kind, original.protocol.0) {
            (Kind::Tcp(_), _) => FlowState::Tcp(TcpState::Opening),
            (Kind::Datagram, 17) => FlowState::Udp(UdpState::OneWay),
            (Kind::Datagram, _) => FlowState::Sctp { answered },
            _ => FlowState::Echo { answered },
        };
        let home = (door.side == Direction::Egress).then_some(sent.worker);
        let mut flow = Flow {
            original,
            state,
            owner: door.port,
            homes: [home, None],
            packets: [1, 0],
            bytes: [sent.headers.ip_len() as u64, 0],
            seen: door.now,
            allowed: [None; 2],
            sent: [None; 2],
            acked: [None; 2],
        };
        flow.allowed[end(door.side)] = Some(door.epoch);
        if let Kind::Tcp(info) = kind {
            flow.number(&info, false);
        }
        self.flows.insert(original, flow);
        Ok(())
    }

    /// The order in which a full pair of buckets gives entries up.
    fn make_room(&mut self, door: Door) -> Result<(), Answer> {
        let held = self.held(door.port);
        let within = held < usize::try_from(self.room.flows_of_one).unwrap_or(usize::MAX);
        if within && self.flows.len() < self.room.flows {
            return Ok(());
        }
        let may_go = |flow: &&Flow| flow.owner == door.port || within && flow.is_over(door.now);
        let victims = || self.flows.values().filter(may_go);
        let price = victims().map(|flow| flow.price(door.now)).min();
        let price = price.ok_or(Answer::Full)?;
        // Of equals, the one that the table chose.
        let mut equals = victims().filter(|flow| flow.price(door.now) == price);
        let victim = equals.find(|flow| !self.kept.contains(&flow.original));
        let original = victim
            .expect("none of the cheapest flows made room")
            .original;
        self.flows.remove(&original);
        Ok(())
    }

    pub(super) fn held(&self, owner: u32) -> usize {
        let of_owner = self.flows.values().filter(|flow| flow.owner == owner);
        of_owner.count()
    }
}
