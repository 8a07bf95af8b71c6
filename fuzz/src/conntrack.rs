//! Does connection tracking let pass what the rules deny, or lose what they allow?
//!
//! A scenario of packets, fragments, ICMP errors, table changes, purges and passing time goes
//! through [`weft_policy::Conntrack`] and [`weft_policy::Fragments`], asked as the road asks
//! them, and through [`model`], which keeps flows in a map and asks the current rules about every
//! packet. Both must give the same answer at every door and hold the same flows after it. One
//! half of the scenarios has room for all flows; in the other half all share the same 16
//! entries, so that each eviction is compared too.

mod datagrams;
mod model;
mod node;
mod rules;
mod script;

use std::collections::HashMap;

use arbitrary::Unstructured;
use weft_policy::{Direction, Epoch, FlowInfo, Moment, Verdict};

use model::Model;
use node::{Answer, Door, Node, Room};
use rules::Rules;
use script::{Cast, Sent, Step, WORKERS, port_of};

/// Epochs count from here, so that they wrap.
const FIRST: u32 = u32::MAX - 2;

/// The tables under test and the model side by side.
struct World {
    room: Room,
    node: Node,
    model: Model,
    /// All publications so far.
    published: Vec<Rules>,
    /// Which of them each worker decides by.
    taken: [usize; WORKERS as usize],
    now: Moment,
}

/// The harness: `bytes` choose the scenario.
///
/// # Panics
/// When a promise does not hold.
pub fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let room = match choices.int_in_range(0..=3_u32) {
        Ok(quota @ 2..) => Room::tight(quota * 3),
        _ => Room::ENOUGH,
    };
    let mut world = World {
        room,
        node: Node::new(room),
        model: Model::new(room),
        published: vec![Rules::ALL],
        taken: [0; WORKERS as usize],
        now: Moment::from_secs(1_000),
    };
    let Ok(cast) = choices.arbitrary::<Cast>() else {
        return;
    };
    while !choices.is_empty() {
        let Ok(step) = cast.step(&mut choices) else {
            return;
        };
        world.apply(step);
        world.compare();
    }
}

impl World {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Packet(sent) => self.packet(&sent),
            Step::Datagram(parts) => parts.iter().for_each(|part| self.packet(part)),
            Step::Publish(rules) => self.published.push(rules),
            Step::Take(worker) => self.taken[usize::from(worker)] = self.published.len() - 1,
            Step::Wait(span) => self.now = self.now + span,
            Step::Sweep { stripe, of, budget } => {
                let before = self.node.conntrack.len();
                let swept = self.node.conntrack.expire(stripe, of, budget, self.now);
                assert_eq!(self.node.conntrack.len(), before - swept);
                self.forget_swept();
            }
            Step::PurgePort(port) => {
                let held = self.model.held(port);
                assert_eq!(self.node.conntrack.purge_owner(port), held);
                self.model.flows.retain(|_, flow| flow.owner != port);
                for worker in 0..usize::from(WORKERS) {
                    self.node.fragments[worker].purge_port(port);
                    self.model.datagrams[worker].purge_port(port);
                }
            }
            Step::PurgeAddress(address) => {
                let before = self.model.flows.len();
                self.model
                    .flows
                    .retain(|flow, _| flow.src != address && flow.dst != address);
                let purged = self.node.conntrack.purge_address(address);
                assert_eq!(purged, before - self.model.flows.len());
            }
        }
    }

    /// The packet leaves its sender's port and enters its receiver's, as far as they are here.
    fn packet(&mut self, sent: &Sent) {
        let flow = sent.headers.flow;
        let doors = [
            (Direction::Egress, port_of(flow.src)),
            (Direction::Ingress, port_of(flow.dst)),
        ];
        for (side, port) in doors {
            let Some(port) = port else {
                continue;
            };
            let taken = self.taken[usize::from(sent.worker)];
            let door = Door {
                side,
                port,
                rules: self.published[taken],
                epoch: epoch(taken),
                now: self.now,
            };
            let answer = self.node.admit(door, sent);
            if self.room.is_tight() {
                self.model.kept = self.listed().into_keys().collect();
            }
            let expected = self.model.admit(door, sent);
            assert_eq!(answer, expected, "{door:?} {sent:?}");
            if !matches!(answer, Answer::Pass(_)) {
                return;
            }
        }
    }

    /// A sweep takes only what is over; which of it depends on where it lies.
    fn forget_swept(&mut self) {
        let listed = self.listed();
        let now = self.now;
        self.model
            .flows
            .retain(|original, flow| listed.contains_key(original) || !flow.is_over(now));
    }

    fn listed(&self) -> HashMap<weft_wire::FlowKey, FlowInfo> {
        let mut listed = HashMap::new();
        self.node.conntrack.for_each(|flow| {
            let twice = listed.insert(flow.original, flow);
            assert_eq!(twice, None, "one flow in two entries");
        });
        listed
    }

    /// Both hold the same flows, and no verdict is recorded that its tables did not give.
    fn compare(&self) {
        let listed = self.listed();
        assert_eq!(listed.len(), self.model.flows.len());
        for info in listed.values() {
            let flow = self.model.flows.get(&info.original);
            let flow = flow.expect("a flow that the model does not have");
            assert_eq!(
                (info.state, info.owner),
                (flow.state, flow.owner),
                "{info:?}"
            );
            assert_eq!(
                (info.packets, info.bytes),
                (flow.packets, flow.bytes),
                "{info:?}"
            );
            assert_eq!((info.homes, info.seen), (flow.homes, flow.seen), "{info:?}");
            assert_eq!(info.expires, flow.seen + flow.timeout(), "{info:?}");
            let slots = [
                (Direction::Egress, info.egress),
                (Direction::Ingress, info.ingress),
            ];
            for (side, slot) in slots {
                let Some((decided, rule)) = slot else {
                    continue;
                };
                let number = usize::try_from(decided.0.wrapping_sub(FIRST)).expect("64 bits");
                let verdict = self.published[number].decide(side, &info.original);
                assert_eq!(verdict, Verdict::Allow(rule), "{side:?} {info:?}");
            }
        }
        let table = &self.node.conntrack;
        assert_eq!(table.len(), listed.len(), "what is charged is there");
        for owner in 0..8 {
            let held = table.len_of(owner);
            assert_eq!(held, self.model.held(owner));
            assert!(held <= usize::try_from(self.room.flows_of_one).expect("64 bits"));
        }
        for memory in &self.node.fragments {
            assert!(memory.len() <= self.room.datagrams);
        }
    }
}

fn epoch(publication: usize) -> Epoch {
    Epoch(FIRST.wrapping_add(u32::try_from(publication).expect("few publications")))
}
