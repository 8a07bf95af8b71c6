//! What does the daemon tell about itself?

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use weft_policy::{PolicySetId, Span};

use super::super::mailbox::{Message, ask_all};
use super::super::ports::host_bits;
use super::super::worker::Snapshot;
use super::Control;
use super::open::Port;
use crate::api::{
    Code, Drop, DropExample, Drops, Failure, PeerReport, PortReport, Problem, PublicationReport,
    RouteReport, Status, Synced, WorkerReport,
};
use crate::path::{Cidr, Counters, DropReason, Example, Origin, PortId};

impl Port {
    /// The pod or the interface, for people.
    pub(super) fn describe(&self) -> String {
        match &self.entry.pod {
            Some(pod) => format!("pod {pod}"),
            None if self.container_id.is_empty() => format!("the node ({})", self.ifname),
            None => format!("container {}", self.container_id),
        }
    }
}

impl Control {
    /// Every worker's own account, with what the kernel discarded before it could read it.
    pub(super) fn snapshots(&mut self) -> Result<Vec<Snapshot>, Failure> {
        let answers = ask_all(&self.workers, |done| Message::Report { done });
        let answers = answers.map_err(|stuck| self.stuck(&stuck))?;
        let mut snapshots: Vec<_> = answers.into_iter().map(|snapshot| *snapshot).collect();
        for (snapshot, lost) in snapshots.iter_mut().zip(self.unread.look()) {
            let counters = &mut snapshot.counters;
            counters.record_drops(DropReason::UnderlayQueueFull, lost);
        }
        Ok(snapshots)
    }

    pub(super) fn status(&mut self) -> Result<Status, Failure> {
        let snapshots = self.snapshots()?;
        let workers = self.compare(&snapshots);
        let problems = self.problem_list();
        let (facts, desired, tables) = (&self.facts, self.cluster.desired(), self.tables.load());
        let pod_ports = self.ports.keys().filter(|id| **id != PortId::HOST);
        Ok(Status {
            healthy: self.is_ready() && problems.is_empty(),
            ready: self.is_ready(),
            node: facts.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.clock.age().as_secs(),
            vtep: Some(facts.vtep),
            vtep_mac: tables.node.vtep_mac.to_string(),
            vni: facts.vni.get(),
            vxlan_port: facts.vxlan_port,
            pod_cidrs: facts.cidrs.iter().filter_map(network).collect(),
            pod_mtu: facts.pod_mtu,
            backend: self.host.backend.name().to_owned(),
            source: self.source.clone(),
            epoch: tables.epoch.0,
            pods: pod_ports.count(),
            peers: desired.peers.len(),
            policies: desired.policies,
            policy_entries: tables.policy().size().entries,
            policies_enforced: true,
            closed: self.policies.is_closed(),
            publications: PublicationReport {
                count: self.publications.count,
                last_seconds: seconds(self.publications.last),
                max_seconds: seconds(self.publications.longest),
            },
            flows: self.conntrack.len(),
            workers,
            drops: self.drop_list(&snapshots),
            problems,
        })
    }

    /// What the workers go by, unless the last change could not be published.
    pub(super) fn synced(&mut self) -> Result<Synced, Failure> {
        if let Some(problem) = self.unpublished() {
            let what = problem.what.clone();
            return Err(Failure::new(Code::Conflict, what, problem.next.clone()));
        }
        Ok(Synced {
            epoch: self.tables.load().epoch.0,
            policies: self.cluster.desired().policies,
            closed: self.policies.is_closed(),
            problems: self.problem_list(),
        })
    }

    fn unpublished(&self) -> Option<&Problem> {
        let why = ["tables", "worker"].into_iter();
        why.filter_map(|subject| self.problems.get(subject)).next()
    }

    fn problem_list(&self) -> Vec<Problem> {
        let own = self.problems.values().cloned();
        let of_state = self.cluster.troubles().map(|trouble| Problem {
            what: trouble.what.clone(),
            place: trouble.place.clone(),
            next: trouble.next.clone(),
        });
        own.chain(of_state).chain(self.unknown_pods()).collect()
    }

    /// Pods that are closed because nobody has told of them yet.
    fn unknown_pods(&self) -> impl Iterator<Item = Problem> {
        let pods = self
            .ports
            .values()
            .filter_map(|port| port.entry.pod.as_deref());
        let unknown = pods.filter(|pod| {
            !self.policies.knows(pod) && self.policies.set_of(Some(pod)) != PolicySetId::UNSELECTED
        });
        unknown.map(|pod| Problem {
            what: "the pod is closed: there is no Pod object of it, and policies of its namespace \
                   isolate pods"
                .to_owned(),
            place: format!("pod {pod}"),
            next: "give its Pod manifest, or detach it".to_owned(),
        })
    }

    pub(super) fn worker_reports(&mut self) -> Result<Vec<WorkerReport>, Failure> {
        let snapshots = self.snapshots()?;
        Ok(self.compare(&snapshots))
    }

    /// Reports, with load since the previous ones.
    fn compare(&mut self, snapshots: &[Snapshot]) -> Vec<WorkerReport> {
        let previous = std::mem::replace(&mut self.last_reports, snapshots.to_vec());
        let reports = snapshots.iter().enumerate().map(|(worker, snapshot)| {
            let before = previous.get(worker).map(|s| s.stats).unwrap_or_default();
            let (stats, counters) = (&snapshot.stats, &snapshot.counters);
            WorkerReport {
                worker,
                busy_percent: share(stats.busy, before.busy, stats.idle, before.idle),
                turns: stats.turns,
                frames_from_ports: stats.frames_in,
                datagrams: stats.datagrams_in,
                frames_to_ports: stats.frames_out,
                datagrams_sent: stats.datagrams_out,
                super_frames_from_ports: stats.super_frames_in,
                super_frames_to_ports: stats.super_frames_out,
                super_frames_sent: stats.super_frames_sent,
                super_frames_merged: stats.super_frames_merged,
                receives: stats.receives,
                sends: stats.sends,
                offloads_off: snapshot
                    .offloads_off
                    .iter()
                    .map(|n| (*n).to_owned())
                    .collect(),
                drops: counters.dropped(),
                epoch: snapshot.epoch.0,
                pool_available: snapshot.pool_available,
            }
        });
        reports.collect()
    }

    pub(super) fn port_reports(&mut self) -> Result<Vec<PortReport>, Failure> {
        let counters = sum(&self.snapshots()?);
        let reports = self.ports.iter().map(|(id, port)| {
            let counted = counters.port(*id);
            PortReport {
                port: id.get(),
                kind: if *id == PortId::HOST { "host" } else { "pod" }.to_owned(),
                pod: port
                    .entry
                    .pod
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                container_id: port.container_id.clone(),
                ifname: port.ifname.clone(),
                mac: port.entry.mac.to_string(),
                addresses: port.entry.addresses().collect(),
                mtu: port.entry.mtu,
                backend: port.backend.name().to_owned(),
                queues: port.queues.len(),
                frames_from: counted.egress_frames,
                bytes_from: counted.egress_bytes,
                frames_to: counted.ingress_frames,
                bytes_to: counted.ingress_bytes,
                drops: counted.egress_drops,
            }
        });
        Ok(reports.collect())
    }

    pub(super) fn peer_reports(&self) -> Vec<PeerReport> {
        let tables = self.tables.load();
        let reports = tables.peers().iter().map(|peer| PeerReport {
            name: peer.name.clone(),
            vtep: Some(peer.vtep),
            mac: peer.mac.to_string(),
            pod_cidrs: peer.cidrs.iter().filter_map(network).collect(),
            mtu: peer.mtu,
        });
        reports.collect()
    }

    pub(super) fn route_reports(&self) -> Vec<RouteReport> {
        let tables = self.tables.load();
        let mut routes = Vec::new();
        for (id, port) in &self.ports {
            let kind = if *id == PortId::HOST { "host" } else { "pod" };
            for address in port.entry.addresses() {
                let Ok(destination) = IpNetwork::new(address, host_bits(address)) else {
                    continue;
                };
                let (kind, via) = (kind.to_owned(), format!("port {}", id.get()));
                routes.push(RouteReport {
                    destination,
                    kind,
                    to: port.describe(),
                    via,
                });
            }
        }
        for peer in tables.peers() {
            for destination in peer.cidrs.iter().filter_map(network) {
                let (kind, via) = ("peer".to_owned(), peer.vtep.to_string());
                routes.push(RouteReport {
                    destination,
                    kind,
                    to: peer.name.clone(),
                    via,
                });
            }
        }
        routes
    }

    pub(super) fn drops(&mut self, reset: bool) -> Result<Drops, Failure> {
        let snapshots = self.snapshots()?;
        let (drops, denials) = (self.drop_list(&snapshots), self.denials(&snapshots));
        if reset {
            let done = ask_all(&self.workers, |done| Message::ResetDrops { done });
            done.map_err(|stuck| self.stuck(&stuck))?;
            self.unread.reset();
        }
        Ok(Drops { drops, denials })
    }

    fn drop_list(&self, snapshots: &[Snapshot]) -> Vec<Drop> {
        let counters = sum(snapshots);
        let mut latest: BTreeMap<DropReason, Example> = BTreeMap::new();
        for (reason, example) in snapshots.iter().flat_map(|snapshot| &snapshot.examples) {
            let held = latest.entry(*reason).or_insert(*example);
            if held.at < example.at {
                *held = *example;
            }
        }
        let counted = DropReason::ALL
            .iter()
            .filter(|reason| counters.drops(**reason) > 0);
        let mut drops: Vec<Drop> = counted
            .map(|reason| Drop {
                reason: reason.name().to_owned(),
                direction: reason.road().name().to_owned(),
                packets: counters.drops(*reason),
                meaning: reason.meaning().to_owned(),
                advice: reason.advice().to_owned(),
                example: latest.get(reason).map(|example| self.describe(example)),
            })
            .collect();
        drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
        drops
    }

    fn describe(&self, example: &Example) -> DropExample {
        let from = match example.origin {
            Origin::Port(id) => self
                .ports
                .get(&id)
                .map_or_else(|| format!("port {id}"), Port::describe),
            Origin::Underlay(address) => {
                let tables = self.tables.load();
                let peer = tables.peers().iter().find(|peer| peer.vtep == address);
                peer.map_or_else(
                    || address.to_string(),
                    |peer| format!("{} ({address})", peer.name),
                )
            }
        };
        let frame = match (example.flow, example.ethernet) {
            (Some(flow), _) => flow.to_string(),
            (None, Some((source, destination, kind))) => format!("{source} > {destination} {kind}"),
            (None, None) => format!("{} bytes", example.len),
        };
        DropExample {
            from,
            frame,
            age_seconds: seconds(self.now().since(example.at)),
        }
    }
}

pub(super) fn sum(snapshots: &[Snapshot]) -> Counters {
    let mut total = Counters::default();
    snapshots
        .iter()
        .for_each(|snapshot| total.add(&snapshot.counters));
    total
}

pub(super) fn network(cidr: &Cidr) -> Option<IpNetwork> {
    IpNetwork::new(cidr.base(), cidr.length()).ok()
}

pub(super) fn seconds(span: Span) -> f64 {
    std::time::Duration::from_nanos(span.as_nanos()).as_secs_f64()
}

/// Percent of the time between two reports that was busy, with one decimal.
fn share(busy: Span, busy_before: Span, idle: Span, idle_before: Span) -> f64 {
    let busy = busy.as_nanos().saturating_sub(busy_before.as_nanos());
    let idle = idle.as_nanos().saturating_sub(idle_before.as_nanos());
    let permille = u128::from(busy) * 1000 / u128::from((busy + idle).max(1));
    f64::from(u16::try_from(permille).unwrap_or(1000)) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_the_share_since_the_previous_report() {
        let ms = Span::from_millis;
        for (busy, before, idle, idle_before, expected) in [
            (0, 0, 0, 0, 0.0),
            (30, 10, 70, 10, 25.0),
            (5, 5, 9, 9, 0.0),
            (8, 0, 0, 0, 100.0),
        ] {
            let found = share(ms(busy), ms(before), ms(idle), ms(idle_before));
            assert!(
                (found - expected).abs() < 1e-9,
                "{found} instead of {expected}"
            );
        }
    }
}
