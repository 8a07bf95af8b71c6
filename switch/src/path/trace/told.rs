//! What was found at a step?
//!
//! Looks things up in the tables once more, for words; decides nothing.

use weft_policy::{Direction, RuleId, Verdict};
use weft_wire::FlowKey;

use super::steps::Step;
use super::{Query, Sender};
use crate::path::forward::Location;
use crate::path::gateway::is_gateway;
use crate::path::{Fate, GATEWAY_MAC, PortEntry, PortId, Tables};

/// A packet on its way, and its end.
pub(super) struct Scene<'a> {
    pub(super) tables: &'a Tables,
    pub(super) query: &'a Query,
    pub(super) flow: FlowKey,
    /// Bytes of the IP packet.
    pub(super) len: usize,
    pub(super) fate: Fate,
}

impl Scene<'_> {
    /// What was found at a step that the packet passed.
    pub(super) fn found(&self, step: Step) -> String {
        let node = &self.tables.node;
        match step {
            Step::Port => self
                .sending()
                .map_or_else(String::new, |(id, port)| describe(id, port)),
            Step::Offload => "nothing".to_owned(),
            Step::Checksum => "complete".to_owned(),
            Step::Macs => format!("{} to the gateway's {GATEWAY_MAC}", self.mac()),
            Step::Parse | Step::InnerParse => self.flow.to_string(),
            Step::Rogues | Step::InnerRogues => "nothing that only a router may say".to_owned(),
            Step::Source => match self.query.from {
                Sender::Outside(source) => format!("{source} is outside the pod network"),
                _ => format!("{} is the port's own", self.flow.src),
            },
            Step::Questions if is_gateway(self.flow.dst) => "the gateway answers".to_owned(),
            Step::Questions => "not for the gateway".to_owned(),
            Step::Destination => format!("{} is one station", self.flow.dst),
            Step::Egress => self.verdict(Direction::Egress),
            Step::Route => self.location(),
            Step::Age | Step::InnerAge => "63 left of 64".to_owned(),
            Step::FitTunnel => self.room(self.peer_ahead().map_or(0, |peer| peer.mtu)),
            Step::Vxlan => format!("network {}, from {}", node.vni, node.vtep_mac),
            Step::Lane => self.peer_ahead().map_or_else(String::new, |peer| {
                format!("sent to {} at {}", peer.name, peer.vtep)
            }),
            Step::Peer => self.peer_behind(),
            Step::Open => format!("network {}", node.vni),
            Step::InnerMacs => format!("for {}", node.vtep_mac),
            Step::InnerSource => format!("{} is in the peer's podCIDRs", self.flow.src),
            Step::Local => self.location(),
            Step::Marks => "no congestion met".to_owned(),
            Step::Receiver => self
                .receiving()
                .map_or_else(String::new, |(id, port)| describe(id, port)),
            Step::Ingress => self.verdict(Direction::Ingress),
            Step::FitPort => self.room(self.receiving().map_or(0, |(_, port)| port.mtu)),
            Step::Address => self.receiving().map_or_else(String::new, |(id, port)| {
                format!("written to {}, {}", describe(id, port), port.mac)
            }),
        }
    }

    /// Why the packet went no further than a step.
    pub(super) fn refused(&self, step: Step) -> String {
        let Fate::Drop(reason) = self.fate else {
            return String::new();
        };
        let more = match step {
            Step::Egress => self.verdict(Direction::Egress),
            Step::Ingress => self.verdict(Direction::Ingress),
            Step::Route | Step::Local => self.location(),
            Step::Port => match self.query.from {
                Sender::Port(id) => format!("port {id}"),
                Sender::Outside(_) | Sender::Peer { .. } => format!("port {}", PortId::HOST),
            },
            Step::Peer => self.peer_behind(),
            Step::Source | Step::InnerSource => self.flow.src.to_string(),
            _ => self.flow.to_string(),
        };
        format!("{reason}: {} {more}", reason.meaning())
    }

    fn sending(&self) -> Option<(PortId, &PortEntry)> {
        let id = match self.query.from {
            Sender::Port(id) => id,
            Sender::Outside(_) => PortId::HOST,
            Sender::Peer { .. } => return None,
        };
        Some((id, self.tables.port(id)?))
    }

    fn receiving(&self) -> Option<(PortId, &PortEntry)> {
        let id = match self.tables.forward().locate(self.flow.dst) {
            Location::Port(id) => id,
            Location::Outside => PortId::HOST,
            Location::Peer(_) | Location::Vacant => return None,
        };
        Some((id, self.tables.port(id)?))
    }

    fn mac(&self) -> String {
        self.sending()
            .map_or_else(String::new, |(_, port)| port.mac.to_string())
    }

    fn peer_ahead(&self) -> Option<&crate::path::Peer> {
        match self.tables.forward().locate(self.flow.dst) {
            Location::Peer(id) => self.tables.peer(id),
            _ => None,
        }
    }

    fn peer_behind(&self) -> String {
        let Sender::Peer { vtep, .. } = self.query.from else {
            return String::new();
        };
        match self.tables.peer_at(vtep) {
            Some(peer) => format!("{} at {vtep}", peer.name),
            None => format!("nobody we know is at {vtep}"),
        }
    }

    fn location(&self) -> String {
        let to = self.flow.dst;
        match self.tables.forward().locate(to) {
            Location::Port(id) => match self.tables.port(id) {
                Some(port) => format!("{to} is here: {}", describe(id, port)),
                None => format!("{to} is here, at port {id}, which is closed"),
            },
            Location::Peer(_) => {
                let name = self
                    .peer_ahead()
                    .map_or("a peer", |peer| peer.name.as_str());
                format!("{to} is at {name}")
            }
            Location::Vacant => format!("{to} is in this node's podCIDRs, and no pod has it"),
            Location::Outside => format!("{to} is outside the pod network: the host routes it"),
        }
    }

    fn room(&self, mtu: u16) -> String {
        format!("{} of {mtu} bytes", self.len)
    }

    /// Policy's answer at the sender (egress) or the receiver (ingress).
    fn verdict(&self, side: Direction) -> String {
        let end = match side {
            Direction::Egress => self.sending(),
            Direction::Ingress => self.receiving(),
        };
        let Some((_, port)) = end else {
            return String::new();
        };
        let policy = self.tables.policy();
        let rule = |rule| policy.rule(rule).map(ToString::to_string);
        match self.tables.decide(side, port, &self.flow) {
            Verdict::Allow(RuleId::DEFAULT)
                if side == Direction::Ingress && self.sent_by_node() =>
            {
                "a pod's own node always reaches it".to_owned()
            }
            Verdict::Allow(id) => match rule(id) {
                Some(name) => format!("{name} allows it"),
                None if self.flow.src == self.flow.dst => "a pod always reaches itself".to_owned(),
                None => "no policy isolates it".to_owned(),
            },
            Verdict::Deny(_) => {
                let isolating = policy.isolating(side, port.policy);
                let names: Vec<String> = isolating.iter().map(ToString::to_string).collect();
                if names.is_empty() {
                    "closed: the pod or its policies are not known yet".to_owned()
                } else {
                    format!(
                        "isolated by {}, no rule of which allows it",
                        names.join(", ")
                    )
                }
            }
        }
    }

    fn sent_by_node(&self) -> bool {
        self.tables.node.has(self.flow.src)
    }
}

fn describe(id: PortId, port: &PortEntry) -> String {
    match &port.pod {
        Some(pod) => format!("pod {pod} at port {id}"),
        None if id == PortId::HOST => "the node itself".to_owned(),
        None => format!("port {id}"),
    }
}
