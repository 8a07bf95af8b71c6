//! Do the table, the explanation and the oracle agree?
//!
//! Owns the engine under test and, apart from it, what it has been told; at each publication it
//! remembers what the answers must follow from until the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use weft_policy::explain::Side;
use weft_policy::model::{ObjectName, Protocol};
use weft_policy::oracle::{self, Literal, Reading};
use weft_policy::{
    Change, Cluster, Direction, Engine, Explanation, PolicySetId, Question, RuleId, RuleName,
    Table, Verdict, explain,
};
use weft_wire::{FlowKey, Headers, IpProtocol};

use super::cache::{Cache, Sent};
use super::scenario::Step;

/// Two who should agree do not.
#[derive(Clone, Debug)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What came of a question; the verdict of an end only where it is a pod of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// At the sender.
    pub egress: Option<bool>,
    /// At the receiver.
    pub ingress: Option<bool>,
}

impl Answer {
    /// Whether any end was asked.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.egress.is_some() || self.ingress.is_some()
    }
}

/// The engine and its judges.
#[derive(Debug)]
pub struct Court {
    engine: Engine,
    table: Table,
    known: Known,
    published: Known,
    /// Numbers that rules had.
    numbers: BTreeMap<RuleName, RuleId>,
    cache: Cache,
    /// Policies that changed since the last publication, whose rules may get other numbers.
    touched: BTreeSet<ObjectName>,
}

/// What the engine has been told.
#[derive(Clone, Debug, Default)]
struct Known {
    cluster: Cluster,
    /// Pods of this node, and their sets as of the last publication.
    enforced: BTreeMap<ObjectName, PolicySetId>,
    closed: bool,
}

impl Court {
    /// With an engine that knows nothing.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut engine = Engine::new(seed);
        Self {
            table: engine.table(),
            engine,
            known: Known::default(),
            published: Known::default(),
            numbers: BTreeMap::new(),
            cache: Cache::new(),
            touched: BTreeSet::new(),
        }
    }

    /// What the last table was made of.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.published.cluster
    }

    /// Whether the last table is of a cluster that is not known well enough.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.published.closed
    }

    /// Takes one step; the answer to anything but a question is empty.
    ///
    /// # Errors
    /// What the step shows to be wrong.
    pub fn take(&mut self, step: &Step) -> Result<Answer, Difference> {
        match step {
            Step::Change(change) => {
                if self.known.cluster.apply(change.clone()) {
                    match change {
                        Change::Policy(policy) => drop(self.touched.insert(policy.name.clone())),
                        Change::PolicyGone(name) => drop(self.touched.insert(name.clone())),
                        _ => {}
                    }
                }
                self.engine.apply(change.clone());
            }
            Step::Enforce(pod) => {
                let enforced = &mut self.known.enforced;
                enforced.insert(pod.clone(), PolicySetId::UNSELECTED);
                self.engine.enforce(pod);
            }
            Step::Release(pod) => {
                self.known.enforced.remove(pod);
                self.engine.release(pod);
            }
            Step::Closed(closed) => {
                self.known.closed = *closed;
                self.engine.set_closed(*closed);
            }
            Step::Publish => {
                self.table = self.engine.table();
                self.cache.publish();
                self.published = self.known.clone();
                for (name, set) in &mut self.published.enforced {
                    *set = self.engine.set_of(name);
                }
                self.sets()?;
            }
            Step::Ask(question) => return self.ask(question),
        }
        Ok(Answer::default())
    }

    /// Right after a publication: the sets of all pods of this node, those without addresses too.
    fn sets(&mut self) -> Result<(), Difference> {
        let cluster = &self.published.cluster;
        if *self.engine.cluster() != *cluster {
            return Err(Difference("the engine's cluster differs".to_owned()));
        }
        self.numbers
            .retain(|name, _| !self.touched.contains(&name.policy));
        self.touched.clear();
        for (name, &set) in &self.published.enforced {
            for direction in [Direction::Egress, Direction::Ingress] {
                if self.published.closed || !cluster.pods.contains_key(name) {
                    self.closed(name, direction, set)?;
                    continue;
                }
                let isolating: Vec<ObjectName> = cluster
                    .policies
                    .values()
                    .filter(|policy| Literal.isolates(policy, direction))
                    .filter(|policy| Literal.selects(policy, &cluster.pods[name]))
                    .map(|policy| policy.name.clone())
                    .collect();
                if self.table.isolating(direction, set) != isolating {
                    return Err(Difference(format!(
                        "{name} {direction:?}: isolated by {isolating:?}, the table says {:?}",
                        self.table.isolating(direction, set)
                    )));
                }
            }
        }
        Ok(())
    }

    /// A pod that is not known is closed in a direction in which any policy of its namespace
    /// isolates pods; while nothing is known, every pod is.
    fn closed(
        &self,
        name: &ObjectName,
        direction: Direction,
        set: PolicySetId,
    ) -> Result<(), Difference> {
        let known = &self.published;
        let allowed = !known.closed
            && !known.cluster.policies.values().any(|policy| {
                policy.name.namespace == name.namespace && Literal.isolates(policy, direction)
            });
        let question = Question {
            from: [198, 51, 100, 1].into(),
            to: [198, 51, 100, 2].into(),
            protocol: Some(Protocol::Tcp),
            port: 80,
        };
        let verdict = self.table.decide(direction, set, &key(&question));
        let expected = if allowed {
            Verdict::Allow(RuleId::DEFAULT)
        } else {
            Verdict::Deny(RuleId::DEFAULT)
        };
        if verdict != expected {
            return Err(Difference(format!(
                "{name} {direction:?}, which is not known: the table says {verdict:?}"
            )));
        }
        Ok(())
    }

    fn ask(&mut self, question: &Question) -> Result<Answer, Difference> {
        let explanation = explain(&self.published.cluster, question);
        let answer = Answer {
            egress: self.end(Direction::Egress, question.from, question, &explanation)?,
            ingress: self.end(Direction::Ingress, question.to, question, &explanation)?,
        };
        for sent in self.cache.flows(*question).into_iter().flatten() {
            self.send(&sent)?;
        }
        Ok(answer)
    }

    /// The set of the pod of this node that has the address.
    fn set_at(&self, address: IpAddr) -> Option<PolicySetId> {
        let pod = Literal.pod_at(&self.published.cluster, address)?;
        self.published.enforced.get(&pod.name).copied()
    }

    fn is_lawful(&self, direction: Direction, question: &Question) -> bool {
        let is_itself = question.from == question.to;
        oracle::allows(&self.published.cluster, direction, question)
            && (is_itself || !self.published.closed)
    }

    /// A flow through the cache: its opening at both ends and, if it passed, its answer, which
    /// passes whatever the rules say of its own direction.
    fn send(&self, sent: &Sent) -> Result<(), Difference> {
        let Question { from, to, .. } = sent.question;
        let (out, into) = (Direction::Egress, Direction::Ingress);
        let opening = sent.opening();
        for (side, address) in [(out, from), (into, to)] {
            if !self.admits(sent, &opening, side, address)? {
                return Ok(());
            }
        }
        if let Some(answer) = sent.answer() {
            for (side, address) in [(into, to), (out, from)] {
                self.admits(sent, &answer, side, address)?;
            }
        }
        Ok(())
    }

    /// Whether a packet of the flow, there or back, was let pass by the pod for which the flow is
    /// egress or ingress; not where there was no room to remember it.
    fn admits(
        &self,
        sent: &Sent,
        packet: &Headers,
        side: Direction,
        address: IpAddr,
    ) -> Result<bool, Difference> {
        let Some(set) = self.set_at(address) else {
            return Ok(true);
        };
        let is_answer = packet.flow != sent.key();
        let direction = if is_answer { side.opposite() } else { side };
        let decide = |side, flow: &FlowKey| self.table.decide(side, set, flow);
        let Some(verdict) = self.cache.admit(packet, direction, decide) else {
            return Ok(false);
        };
        let expected = decide(side, &sent.key());
        let lawful = self.is_lawful(side, &sent.question);
        if verdict != expected || verdict.is_allowed() != lawful {
            return Err(Difference(format!(
                "{sent:?}\n{direction:?}: the cache says {verdict:?} of the {}, the table \
                 {expected:?} of the flow, the oracle {lawful}",
                if is_answer { "answer" } else { "opening" },
            )));
        }
        Ok(verdict.is_allowed())
    }

    /// The verdict at one end, if that is a pod of this node.
    fn end(
        &mut self,
        direction: Direction,
        address: IpAddr,
        question: &Question,
        explanation: &Explanation,
    ) -> Result<Option<bool>, Difference> {
        let known = &self.published;
        let side = match direction {
            Direction::Egress => &explanation.egress,
            Direction::Ingress => &explanation.ingress,
        };
        let lawful = oracle::allows(&known.cluster, direction, question);
        let difference = |what: String| {
            let answers = format!("the oracle {lawful}, the explanation {side:?}");
            Err(Difference(format!(
                "{question:?}\n{direction:?}: {what}; {answers}"
            )))
        };
        if side.allowed != lawful {
            return difference("the explanation is wrong".to_owned());
        }
        if let Some(why) = out_of_place(&known.cluster, direction, side) {
            return difference(why.to_owned());
        }
        let Some(pod) = Literal.pod_at(&known.cluster, address) else {
            return Ok(None);
        };
        let Some(&set) = known.enforced.get(&pod.name) else {
            return Ok(None);
        };
        let verdict = self.table.decide(direction, set, &key(question));
        let is_itself = question.from == question.to;
        if verdict.is_allowed() != self.is_lawful(direction, question) {
            return difference(format!("the table says {verdict:?}"));
        }
        let rule = match verdict {
            Verdict::Allow(rule) | Verdict::Deny(rule) => self.table.rule(rule),
        };
        let is_reason = match (verdict, rule) {
            (Verdict::Allow(RuleId::DEFAULT), None) => side.isolated_by.is_empty() || is_itself,
            (Verdict::Deny(RuleId::DEFAULT), None) => known.closed,
            (Verdict::Allow(_), Some(rule)) => side.by.contains(rule),
            (Verdict::Deny(_), Some(rule)) => {
                rule.direction == direction
                    && rule.index.is_none()
                    && side.isolated_by.first() == Some(&rule.policy)
            }
            (_, None) => false,
        };
        if !is_reason {
            return difference(format!("the table says {verdict:?} because of {rule:?}"));
        }
        if let (Verdict::Allow(number) | Verdict::Deny(number), Some(rule)) = (verdict, rule) {
            let was = *self.numbers.entry(rule.clone()).or_insert(number);
            if was != number {
                return difference(format!("{number:?} was {was:?} before"));
            }
        }
        Ok(Some(verdict.is_allowed()))
    }
}

/// A denial has a nearest rule, of a policy that isolates, exactly if those have any rule.
fn out_of_place(cluster: &Cluster, direction: Direction, side: &Side) -> Option<&'static str> {
    let mut isolating = side.isolated_by.iter().map(|name| &cluster.policies[name]);
    let has_rules = isolating.any(|policy| !Literal.section(policy, direction).rules().is_empty());
    match &side.nearest {
        Some(_) if side.allowed => Some("something is nearest to what is allowed"),
        None if !side.allowed && has_rules => Some("no rule is nearest"),
        Some(nearest) if !side.isolated_by.contains(&nearest.rule.policy) => {
            Some("the nearest rule is of another policy")
        }
        _ => None,
    }
}

/// The first packet of the flow. What has no ports here has the same numbers in their place, as an
/// echo request has its id.
fn key(question: &Question) -> FlowKey {
    let other = [
        match question.to {
            IpAddr::V4(_) => IpProtocol::ICMP,
            IpAddr::V6(_) => IpProtocol::ICMPV6,
        },
        IpProtocol(47),
        IpProtocol(136),
    ];
    FlowKey {
        src: question.from,
        dst: question.to,
        protocol: match question.protocol {
            Some(protocol) => number(protocol),
            None => other[usize::from(question.port) % other.len()],
        },
        src_port: question.port ^ 1,
        dst_port: question.port,
    }
}

/// What the IP header calls it.
pub(super) const fn number(protocol: Protocol) -> IpProtocol {
    match protocol {
        Protocol::Tcp => IpProtocol::TCP,
        Protocol::Udp => IpProtocol::UDP,
        Protocol::Sctp => IpProtocol::SCTP,
    }
}
