//! How do prepared devices become open ports, and how do ports close?
//!
//! Owns [`Port`], and the order in which tables, workers and the kernel learn of one: tables first,
//! so that no worker reads a port it does not know; the link last, so that no frame comes before.
//! Several ports open with one publication. Knows nothing of requests.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use weft_policy::PolicySetId;
use weft_sys::netns::NetnsId;

use super::super::Backend;
use super::super::host::{HOST_INTERFACE, Host};
use super::super::mailbox::{Message, ask_all};
use super::super::ports::{self, Device, Interface};
use super::super::queue::PortQueues;
use super::Control;
use super::attach::host_failure;
use super::request::Wanted;
use crate::api::{Bandwidth, Failure, Identity};
use crate::cluster::NodeFacts;
use crate::path::{Limits, Meter, PodName, PortEntry, PortId, PortKind};

/// One open port.
#[derive(Debug)]
pub(in super::super) struct Port {
    pub(in super::super) entry: PortEntry,
    pub(in super::super) queues: Arc<PortQueues>,
    pub(super) backend: Backend,
    pub(super) container_id: String,
    pub(super) ifname: String,
    /// The pod's namespace; `None` for the host.
    pub(super) netns: Option<NetnsId>,
    /// The gateways of the pod's default routes.
    pub(super) default_via: Vec<IpAddr>,
}

impl Port {
    pub(super) fn is(&self, identity: &Identity) -> bool {
        self.container_id == identity.container_id && self.ifname == identity.ifname
    }
}

/// A port that is about to open.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) port: PortId,
    pub(super) identity: Identity,
    pub(super) wanted: Wanted,
    pub(super) device: Device,
}

/// The node's own port.
pub(in super::super) fn host_port(facts: &NodeFacts, host: &Host, queues: PortQueues) -> Port {
    let interface = Interface {
        name: HOST_INTERFACE.to_owned(),
        mac: host.mac,
        mtu: facts.pod_mtu,
        addresses: host.addresses().collect(),
    };
    Port {
        entry: entry(PortKind::Host, &interface, None),
        queues: Arc::new(queues),
        backend: host.backend,
        container_id: String::new(),
        ifname: interface.name,
        netns: None,
        default_via: Vec::new(),
    }
}

/// An interface as the path sees it.
fn entry(kind: PortKind, interface: &Interface, pod: Option<PodName>) -> PortEntry {
    let addresses = || interface.addresses.iter();
    PortEntry {
        kind,
        mac: interface.mac,
        ipv4: addresses().find_map(|ip| {
            if let IpAddr::V4(v4) = ip {
                Some(*v4)
            } else {
                None
            }
        }),
        ipv6: addresses().find_map(|ip| {
            if let IpAddr::V6(v6) = ip {
                Some(*v6)
            } else {
                None
            }
        }),
        mtu: interface.mtu,
        policy: PolicySetId::UNSELECTED,
        pod: pod.map(Arc::new),
        limits: None,
    }
}

/// What a pod may use of the network, if that is limited.
fn limits(asked: &Bandwidth) -> Option<Limits> {
    let meter = |rate, burst| NonZeroU64::new(rate).map(|rate| Meter::new(rate, burst));
    let limits = Limits {
        egress: meter(asked.egress_rate, asked.egress_burst),
        ingress: meter(asked.ingress_rate, asked.ingress_burst),
    };
    (limits.egress.is_some() || limits.ingress.is_some()).then_some(limits)
}

impl Control {
    /// Publishes, registers and raises prepared devices; answers for which of them that failed.
    /// Those are closed again, and of their devices only what was to go with the daemon goes.
    pub(super) fn open_all(&mut self, openings: &mut [Opening]) -> Vec<(Identity, Failure)> {
        for opening in openings.iter_mut() {
            self.install(opening);
        }
        let published = self.publish();
        let mut failed = Vec::new();
        for opening in openings {
            let opened = published.clone().and_then(|()| self.raise(opening));
            if let Err(failure) = opened {
                self.let_go(opening.port);
                failed.push((opening.identity.clone(), failure));
            }
        }
        failed
    }

    /// Lets control and policy know of a port.
    fn install(&mut self, opening: &mut Opening) {
        let Opening {
            port,
            identity,
            wanted,
            device,
        } = opening;
        let reader = port.index() % self.workers.len().max(1);
        let queues = std::mem::take(&mut device.queues);
        let held = Port {
            entry: PortEntry {
                limits: wanted
                    .bandwidth
                    .and_then(|asked| limits(&asked))
                    .map(Arc::new),
                ..entry(PortKind::Pod, &wanted.interface, wanted.pod.clone())
            },
            queues: Arc::new(PortQueues::new(queues, reader)),
            backend: device.backend,
            container_id: identity.container_id.clone(),
            ifname: identity.ifname.clone(),
            netns: device.netns.id().ok(),
            default_via: Vec::new(),
        };
        let pod = held.entry.pod.as_deref();
        self.policies.open(pod, held.entry.addresses());
        self.ports.insert(*port, held);
    }

    /// Lets workers and the kernel know of it.
    fn raise(&mut self, opening: &mut Opening) -> Result<(), Failure> {
        let Some(held) = self.ports.get(&opening.port) else {
            return Ok(());
        };
        let queues = Arc::clone(&held.queues);
        self.register(opening.port, &queues)?;
        let raised = ports::bring_up(&mut opening.device, &opening.wanted.interface);
        let default_via = raised.map_err(|error| host_failure(&error))?;
        if let Some(held) = self.ports.get_mut(&opening.port) {
            held.default_via = default_via;
        }
        Ok(())
    }

    /// Has a port's device outlive the daemon.
    pub(super) fn keep(&self, id: PortId) -> Result<(), Failure> {
        let port = self.ports.get(&id);
        let kept = port.map_or(Ok(()), |port| port.queues.keep(true));
        kept.map_err(|error| host_failure(&error))
    }

    /// Hands a port's queues to every worker.
    pub(super) fn register(&mut self, id: PortId, queues: &Arc<PortQueues>) -> Result<(), Failure> {
        let message = |done| Message::Open {
            port: id,
            queues: Arc::clone(queues),
            done,
        };
        ask_all(&self.workers, message)
            .map(|_| ())
            .map_err(|stuck| self.stuck(&stuck))
    }

    /// Closes a port for good: its device is on the way to be destroyed.
    pub(super) fn close(&mut self, id: PortId) {
        if let Some(port) = self.ports.get(&id) {
            // A device that is gone needs no owner.
            let _ = port.queues.keep(false);
        }
        self.let_go(id);
    }

    /// Closes a port: out of the tables, out of every worker, its connections forgotten, its queues
    /// on the way to be closed.
    fn let_go(&mut self, id: PortId) {
        let Some(port) = self.ports.remove(&id) else {
            return;
        };
        let pod = port.entry.pod.as_deref();
        self.policies.close(pod, port.entry.addresses());
        if let Err(failure) = self.publish() {
            tracing::error!("closing port {id}: {failure}");
        }
        let closed = ask_all(&self.workers, |done| Message::Close { port: id, done });
        if let Err(stuck) = closed {
            self.stuck(&stuck);
        }
        self.conntrack.purge_owner(id.get().into());
        for address in port.entry.addresses() {
            self.conntrack.purge_address(address);
        }
        if let Some(netns) = port.netns {
            self.reaper.take(netns, port.queues);
        }
    }

    /// A worker found the device gone: somebody deleted it.
    pub(super) fn on_port_died(&mut self, id: PortId) {
        let Some(port) = self.ports.get(&id) else {
            return;
        };
        if id == PortId::HOST {
            let next = "restart the daemon; until then the node cannot reach pods";
            self.problem(
                HOST_INTERFACE,
                format!("{HOST_INTERFACE} was deleted"),
                next,
            );
            return;
        }
        let pod = port.entry.pod.as_ref().map(tracing::field::display);
        let what = "the pod's interface was deleted; its port is closed";
        tracing::warn!(port = id.get(), pod, "{what}");
        self.close(id);
    }
}
