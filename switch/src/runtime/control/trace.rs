//! What would become of a described packet here, and what would the other node say?
//!
//! Resolves names to addresses, sends the packet through the live tables (`path::trace`, nothing
//! leaves), and explains policy's part of it. The end that lives on another node is judged as that
//! node would by the same policies.

use std::net::IpAddr;

use weft_policy::{Direction, FlowInfo, PolicySetId};
use weft_wire::FlowKey;

use super::Control;
use super::policy::object_name;
use super::verdicts::question;
use crate::api::{Code, Failure, TraceQuery, TraceReport, TraceStep};
use crate::path::{Fate, Location, Query, Sender, trace};
use crate::policy_view::{Endpoint, Family, Reasons, SideReasons, Verdict};

fn invalid(what: impl Into<String>, next: impl Into<String>) -> Failure {
    Failure::new(Code::Invalid, what, next)
}

impl Control {
    pub(super) fn trace(&self, asked: &TraceQuery) -> Result<TraceReport, Failure> {
        let parse = |text: &str| {
            let end: Result<Endpoint, _> = text.parse();
            end.map_err(|unknown| invalid(unknown.what, unknown.next))
        };
        let (from, to) = (parse(&asked.from)?, parse(&asked.to)?);
        let (sources, targets) = (self.addresses_at(&from)?, self.addresses_at(&to)?);
        let (source, target) = one_family(&sources, &targets, asked.family)
            .ok_or_else(|| invalid(format!("{from} and {to} have no family in common"), ""))?;
        let query = Query {
            from: self.sender(source, &from)?,
            to: target,
            protocol: asked.protocol.number(Family::of(target)),
            port: asked.protocol.port(asked.port),
        };
        let tables = self.tables.load();
        let traced = trace(&tables, &query)
            .map_err(|no_source| invalid(no_source.to_string(), "choose another --family"))?;
        let mut notes = Vec::new();
        let reasons = self.reasons(&traced.flow, &mut notes);
        let passes = !matches!(traced.fate, Fate::Drop(_));
        let steps = traced.steps.into_iter().map(|step| TraceStep {
            step: step.step.to_owned(),
            ok: step.ok,
            detail: step.detail,
        });
        Ok(TraceReport {
            verdict: Verdict::of(passes && reasons.verdict.is_allowed()),
            fate: self.fate(traced.fate),
            flow: traced.flow.to_string(),
            steps: steps.collect(),
            egress: reasons.egress,
            ingress: reasons.ingress,
            connection: self.connection(&traced.flow),
            notes,
        })
    }

    /// What policy says at both ends. An end of this node is judged by the live tables, which may
    /// be closed where no policy says so.
    fn reasons(&self, flow: &FlowKey, notes: &mut Vec<String>) -> Reasons {
        let tables = self.tables.load();
        let elsewhere = |address| {
            let peer = tables.forward().peer_of(address);
            peer.and_then(|id| tables.peer(id))
        };
        let own_node = match elsewhere(flow.dst) {
            Some(peer) => {
                peer.vtep == flow.src || peer.cidrs.iter().any(|cidr| cidr.base() == flow.src)
            }
            None => tables.node.has(flow.src),
        };
        let mut reasons = Reasons::of(self.policies.cluster(), &question(flow), own_node);
        for (direction, address, side) in [
            (Direction::Egress, flow.src, &mut reasons.egress),
            (Direction::Ingress, flow.dst, &mut reasons.ingress),
        ] {
            if let Some(peer) = elsewhere(address) {
                notes.push(format!(
                    "{} is decided by node {}; said here is what the same policies make of it",
                    super::verdicts::name(direction),
                    peer.name
                ));
            } else if let Some((_, port)) = self.port_at(address) {
                let pod = port.entry.pod.as_deref();
                let set = self.policies.set_of(pod);
                let live = tables.policy().decide(direction, set, flow).is_allowed();
                let exempt = direction == Direction::Ingress && own_node;
                if !live && !exempt && side.verdict.is_allowed() {
                    self.close_side(side, set, pod.is_some_and(|pod| self.policies.knows(pod)));
                }
            }
        }
        let both = reasons.egress.verdict.is_allowed() && reasons.ingress.verdict.is_allowed();
        reasons.verdict = Verdict::of(both);
        reasons
    }

    /// Notes that an end is closed though no policy denies.
    fn close_side(&self, side: &mut SideReasons, set: PolicySetId, known: bool) {
        let why = match (self.policies.is_closed(), known) {
            (true, _) => "every pod is closed: `weft status` tells why",
            (false, false) => {
                "there is no Pod object of it, and policies of its namespace isolate pods"
            }
            (false, true) => "the live tables deny it",
        };
        debug_assert_ne!(set, PolicySetId::UNSELECTED, "an unselected pod is open");
        side.verdict = Verdict::Deny;
        side.isolated = true;
        side.by.clear();
        side.note = Some(why.to_owned());
    }

    fn fate(&self, fate: Fate) -> String {
        let tables = self.tables.load();
        match fate {
            Fate::ToPod(id) => match self.ports.get(&id) {
                Some(port) => format!("delivered to {}", port.describe()),
                None => format!("delivered to port {id}"),
            },
            Fate::ToPeer(id) => match tables.peer(id) {
                Some(peer) => format!("sent to node {} at {}", peer.name, peer.vtep),
                None => "sent to another node".to_owned(),
            },
            Fate::Hairpin => "answered by the gateway".to_owned(),
            Fate::Drop(reason) => format!("dropped: {reason}"),
        }
    }

    /// The newest tracked connection of the kind asked for.
    fn connection(&self, asked: &FlowKey) -> Option<crate::api::FlowReport> {
        let mut newest: Option<FlowInfo> = None;
        self.conntrack.for_each(|flow| {
            let key = &flow.original;
            let ports = asked.protocol != key.protocol || key.dst_port == asked.dst_port;
            let echo = question(asked).protocol.is_none();
            let same = (key.src, key.dst, key.protocol) == (asked.src, asked.dst, asked.protocol);
            if same && (echo || ports) && newest.is_none_or(|held| held.seen < flow.seen) {
                newest = Some(flow);
            }
        });
        newest.map(|flow| self.flow_report(&flow))
    }

    /// Where a packet from an address enters this node.
    fn sender(&self, source: IpAddr, named: &Endpoint) -> Result<Sender, Failure> {
        let tables = self.tables.load();
        Ok(match tables.forward().locate(source) {
            Location::Port(id) => Sender::Port(id),
            Location::Peer(id) => {
                let vtep = tables.peer(id).map_or(source, |peer| peer.vtep);
                Sender::Peer { vtep, source }
            }
            Location::Outside => Sender::Outside(source),
            Location::Vacant => {
                let what =
                    format!("{named} is not attached here: no pod of this node has {source}");
                return Err(invalid(what, "`weft ports` lists the pods of this node"));
            }
        })
    }

    /// The addresses of an end.
    fn addresses_at(&self, end: &Endpoint) -> Result<Vec<IpAddr>, Failure> {
        let found = match end {
            Endpoint::Address(address) => vec![*address],
            Endpoint::Pod(name) => {
                let held = self.ports.values().find(|port| {
                    let pod = port.entry.pod.as_deref();
                    pod.is_some_and(|pod| object_name(pod) == *name)
                });
                match held {
                    Some(port) => port.entry.addresses().collect(),
                    None => {
                        let pod = self.policies.cluster().pods.get(name);
                        pod.map(|pod| pod.addresses.clone()).unwrap_or_default()
                    }
                }
            }
            Endpoint::Node(name) if name == "self" || *name == self.facts.name => {
                let mut own: Vec<IpAddr> = self.facts.pod_network_addresses().collect();
                own.push(self.facts.vtep);
                own
            }
            Endpoint::Node(name) => {
                let tables = self.tables.load();
                let peer = tables.peers().iter().find(|peer| peer.name == *name);
                let addresses = peer.map(|peer| {
                    let own = peer.cidrs.iter().map(crate::path::Cidr::base);
                    own.chain([peer.vtep]).collect()
                });
                addresses.unwrap_or_default()
            }
        };
        if found.is_empty() {
            let next = "write NAMESPACE/POD, an IP address, node:self or node:NAME; \
                        `weft ports` and `weft peers` list what is known";
            return Err(invalid(format!("no address of {end} is known"), next));
        }
        Ok(found)
    }
}

/// The first addresses of one family, IPv4 unless asked otherwise or not there.
fn one_family(
    sources: &[IpAddr],
    targets: &[IpAddr],
    asked: Option<Family>,
) -> Option<(IpAddr, IpAddr)> {
    let families = match asked {
        Some(family) => vec![family],
        None => vec![Family::Ipv4, Family::Ipv6],
    };
    families.into_iter().find_map(|family| {
        let of = |list: &[IpAddr]| list.iter().copied().find(|ip| family.has(*ip));
        Some((of(sources)?, of(targets)?))
    })
}
