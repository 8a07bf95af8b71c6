//! Why may this flow pass, or why not, as JSON and as sentences?

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_policy::explain::Side;
use weft_policy::{Question, explain};

use super::endpoint::{Endpoint, Unknown};
use super::words::{Family, Verdict};
use super::{End, Service, View, family_of};

/// The answer of `weft policy explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons {
    /// Whether both ends allow.
    pub verdict: Verdict,
    /// At the sender.
    pub egress: SideReasons,
    /// At the receiver.
    pub ingress: SideReasons,
}

/// The verdict at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SideReasons {
    /// Whether this end lets the flow pass.
    pub verdict: Verdict,
    /// Whether any policy isolates it in this direction.
    pub isolated: bool,
    /// Those policies, `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub isolated_by: Vec<String>,
    /// The rules that allow the flow, `namespace/name#direction[index]`.
    pub by: Vec<String>,
    /// For a denied flow, the rule that comes closest and what keeps it from matching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// What allows the flow apart from rules, or forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl From<Side> for SideReasons {
    fn from(side: Side) -> Self {
        Self {
            verdict: Verdict::of(side.allowed),
            isolated: !side.isolated_by.is_empty(),
            isolated_by: side.isolated_by.iter().map(ToString::to_string).collect(),
            by: side.by.iter().map(ToString::to_string).collect(),
            nearest: side.nearest.map(|nearest| nearest.to_string()),
            note: None,
        }
    }
}

impl SideReasons {
    /// Lets the flow pass for a reason apart from rules.
    pub fn exempt(&mut self, why: &str) {
        self.verdict = Verdict::Allow;
        self.nearest = None;
        self.note = Some(why.to_owned());
    }
}

/// Why a pod always reaches itself.
const ITSELF: &str = "a pod always reaches itself";
/// Why a node always reaches its pods.
const OWN_NODE: &str = "a pod's own node always reaches it";

impl Reasons {
    /// Explains `question`; `own_node`: the source is an address of the receiver's node.
    #[must_use]
    pub fn of(cluster: &weft_policy::Cluster, question: &Question, own_node: bool) -> Self {
        let explained = explain(cluster, question);
        let (mut egress, mut ingress) = (
            SideReasons::from(explained.egress),
            SideReasons::from(explained.ingress),
        );
        if question.from == question.to {
            for side in [&mut egress, &mut ingress] {
                side.exempt(ITSELF);
            }
        } else if own_node {
            ingress.exempt(OWN_NODE);
        }
        Self {
            verdict: Verdict::of(egress.verdict.is_allowed() && ingress.verdict.is_allowed()),
            egress,
            ingress,
        }
    }

    /// Two sentences for each end; `from` and `to` name them.
    #[must_use]
    pub fn text(&self, (from, to): (&str, &str), service: &str) -> String {
        let mut text = format!("{}: {from} to {to}, {service}\n", self.verdict);
        for (side, what, name) in [
            (&self.egress, "egress", from),
            (&self.ingress, "ingress", to),
        ] {
            let _ = write!(text, "\n{what} of {name}: {}", side.verdict);
            text.push_str(&side.because());
            text.push('\n');
            if let Some(nearest) = &side.nearest {
                let _ = writeln!(text, "  nearest rule: {nearest}");
            }
        }
        text
    }
}

impl SideReasons {
    fn because(&self) -> String {
        let isolated = self.isolated_by.join(", ");
        match (&self.note, self.isolated, self.by.as_slice()) {
            (Some(note), ..) => format!(", because {note}"),
            (None, false, _) => ", because no policy isolates it in this direction".to_owned(),
            (None, true, []) => {
                let one = self.isolated_by.len() == 1;
                let isolate = if one { "isolates" } else { "isolate" };
                format!(", because {isolated} {isolate} it and no rule allows this")
            }
            (None, true, by) => format!(" by {} (isolated by {isolated})", by.join(", ")),
        }
    }
}

/// An end of the question, resolved.
struct Found<'a> {
    end: Option<&'a End>,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
}

impl Found<'_> {
    const fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }
}

impl View {
    /// Explains the flow from one end to another.
    ///
    /// # Errors
    /// If an end is not in the manifests, or the two have no family in common.
    pub fn explain(
        &self,
        from: &Endpoint,
        to: &Endpoint,
        service: &Service,
    ) -> Result<Reasons, Unknown> {
        let (source, target) = (self.find(from)?, self.find(to)?);
        let common = |family: &Family| {
            source.address(*family).is_some() && target.address(*family).is_some()
        };
        let usual = match (source.end, target.end) {
            (Some(from), Some(to)) => family_of(from, to),
            _ => Family::Ipv4,
        };
        let order = match service.family {
            Some(family) => vec![family],
            None => vec![usual, Family::Ipv4, Family::Ipv6],
        };
        let family = order.into_iter().find(common).ok_or_else(|| {
            let asked = service
                .family
                .map_or_else(|| "in common".to_owned(), |family| format!("of {family}"));
            let next = "name ends of one family, or leave --family out";
            Unknown::new(format!("{from} and {to} have no address {asked}"), next)
        })?;
        let (Some(src), Some(dst)) = (source.address(family), target.address(family)) else {
            return Err(Unknown::new(
                format!("{from} and {to} have no family in common"),
                "",
            ));
        };
        let question = Question {
            from: src,
            to: dst,
            protocol: service.transport.protocol(),
            port: service.transport.port(service.port),
        };
        let own_node = target.end.is_some_and(|to| self.is_own_node(src, to));
        Ok(Reasons::of(&self.cluster, &question, own_node))
    }

    fn find(&self, endpoint: &Endpoint) -> Result<Found<'_>, Unknown> {
        let found = |end: &'_ End| (end.ipv4, end.ipv6);
        match endpoint {
            Endpoint::Address(ip) => Ok(Found {
                end: self
                    .ends
                    .iter()
                    .find(|end| end.set.is_some() && [end.ipv4, end.ipv6].contains(&Some(*ip))),
                ipv4: Some(*ip).filter(IpAddr::is_ipv4),
                ipv6: Some(*ip).filter(IpAddr::is_ipv6),
            }),
            Endpoint::Pod(name) => {
                let end = self.end(name).ok_or_else(|| self.no_such_pod(name))?;
                let (ipv4, ipv6) = found(end);
                Ok(Found {
                    end: Some(end),
                    ipv4,
                    ipv6,
                })
            }
            Endpoint::Node(name) => {
                let addresses = self.nodes.get(name).filter(|held| !held.is_empty());
                let addresses = addresses.ok_or_else(|| {
                    let names: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
                    let next = match names.as_slice() {
                        [] => "the manifests hold no Node objects; write its address".to_owned(),
                        names => format!("nodes: {}", names.join(", ")),
                    };
                    Unknown::new(format!("no address of node {name} is known"), next)
                })?;
                let of = |family: Family| addresses.iter().copied().find(|ip| family.has(*ip));
                Ok(Found {
                    end: None,
                    ipv4: of(Family::Ipv4),
                    ipv6: of(Family::Ipv6),
                })
            }
        }
    }

    fn no_such_pod(&self, name: &weft_policy::model::ObjectName) -> Unknown {
        let same = self
            .ends
            .iter()
            .filter(|end| end.name.name == name.name || end.name.namespace == name.namespace);
        let names: Vec<String> = same.take(5).map(|end| end.name.to_string()).collect();
        let next = match names.as_slice() {
            [] => "`weft policy matrix` over the same files lists the pods".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        Unknown::new(format!("the manifests hold no running pod {name}"), next)
    }
}
