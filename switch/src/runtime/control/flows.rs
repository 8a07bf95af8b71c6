//! Which connections are tracked?

use std::net::{IpAddr, SocketAddr};

use weft_policy::{FlowInfo, FlowState, TcpState, UdpState};

use super::Control;
use super::report::seconds;
use crate::api::{Code, Failure, FlowReport};
use crate::path::PortId;
use crate::policy_view::Verdict;

/// Flows in one answer: what fits a message. The most recently used ones are kept.
const MOST: usize = 2000;

impl Control {
    pub(super) fn flows(&self, pod: Option<&str>) -> Result<Vec<FlowReport>, Failure> {
        let addresses = pod.map(|pod| self.addresses_of(pod)).transpose()?;
        let concerns = |flow: &FlowInfo| {
            let held = |ip: IpAddr| addresses.as_ref().is_none_or(|known| known.contains(&ip));
            held(flow.original.src) || held(flow.original.dst)
        };
        let mut flows = Vec::new();
        self.conntrack.for_each(|flow| {
            if concerns(&flow) {
                flows.push(flow);
            }
        });
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.seen));
        flows.truncate(MOST);
        Ok(flows.iter().map(|flow| self.flow_report(flow)).collect())
    }

    fn addresses_of(&self, pod: &str) -> Result<Vec<IpAddr>, Failure> {
        let named = |name: &str| name == pod;
        let port = self.ports.values().find(|port| {
            port.entry
                .pod
                .as_ref()
                .is_some_and(|held| named(&held.to_string()))
        });
        port.map(|port| port.entry.addresses().collect())
            .ok_or_else(|| {
                let what = format!("{pod:?} is not a pod of this node");
                Failure::new(
                    Code::Invalid,
                    what,
                    "`weft ports` lists them as NAMESPACE/NAME",
                )
            })
    }

    pub(super) fn flow_report(&self, flow: &FlowInfo) -> FlowReport {
        let key = &flow.original;
        let now = self.now();
        let owner = u16::try_from(flow.owner).ok().and_then(PortId::new);
        let owner = owner.and_then(|id| self.ports.get(&id));
        let standing = self.standing(flow);
        let [egress_rule, ingress_rule] = standing.rules;
        let rules = [&egress_rule, &ingress_rule].into_iter().flatten();
        let policy = |rule: &String| rule.split('#').next().unwrap_or_default().to_owned();
        let mut policies: Vec<String> = rules.map(policy).collect();
        policies.dedup();
        FlowReport {
            protocol: protocol(key.protocol.0),
            source: end(key.src, key.src_port),
            destination: end(key.dst, key.dst_port),
            state: state(flow.state).to_owned(),
            pod: owner
                .and_then(|port| port.entry.pod.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            packets: flow.packets.iter().sum(),
            bytes: flow.bytes.iter().sum(),
            idle_seconds: seconds(now.since(flow.seen)),
            expires_seconds: seconds(flow.expires.since(now)),
            verdict: Verdict::of(standing.allowed).to_string(),
            policies,
            egress_rule,
            ingress_rule,
        }
    }
}

fn end(ip: IpAddr, port: u16) -> String {
    if port == 0 {
        ip.to_string()
    } else {
        SocketAddr::new(ip, port).to_string()
    }
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

const fn state(state: FlowState) -> &'static str {
    match state {
        FlowState::Tcp(TcpState::Opening) => "opening",
        FlowState::Tcp(TcpState::Answered) => "answered",
        FlowState::Tcp(TcpState::Established) => "established",
        FlowState::Tcp(TcpState::FinInitiator | TcpState::FinResponder) => "closing",
        FlowState::Tcp(TcpState::Closed) => "closed",
        FlowState::Tcp(TcpState::Reset) => "reset",
        FlowState::Udp(UdpState::OneWay) => "one-way",
        FlowState::Udp(UdpState::Answered) => "answered",
        FlowState::Udp(UdpState::Conversation) => "established",
        FlowState::Sctp { answered } | FlowState::Echo { answered } => {
            if answered {
                "answered"
            } else {
                "one-way"
            }
        }
    }
}
