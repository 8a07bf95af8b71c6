//! How does a pod get its port, and how does it lose it?
//!
//! Attaching: check the request, make the device (down), publish tables that hold the port, hand
//! its queues to every worker, raise the link. Only then is the caller answered, so a pod's first
//! frame meets its tables. Whatever fails undoes what went before. Repeating a request gives the
//! same answer.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use weft_policy::PolicySetId;
use weft_sys::SysError;
use weft_sys::netns::{Netns, NetnsId};

use super::super::Backend;
use super::super::host::{HOST_INTERFACE, Host};
use super::super::mailbox::{Message, ask_all};
use super::super::ports::{self, Device, Interface, gateway_of, host_bits};
use super::super::queue::PortQueues;
use super::Control;
use super::request::{Wanted, check_identity};
use crate::api::{Attach, Attached, Code, Detach, Detached, Failure};
use crate::cluster::NodeFacts;
use crate::path::{MAX_PORTS, PodName, PortEntry, PortId, PortKind};

/// One open port.
#[derive(Debug)]
pub(in super::super) struct Port {
    pub(in super::super) entry: PortEntry,
    pub(in super::super) queues: Arc<PortQueues>,
    pub(super) backend: Backend,
    pub(super) container_id: String,
    pub(super) ifname: String,
    /// The pod's namespace; `None` for the host.
    netns: Option<NetnsId>,
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

impl Control {
    pub(super) fn attach(
        &mut self,
        request: &Attach,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Attached, Failure> {
        if !self.is_ready() {
            let next = "try again in a moment; `weft status --wait` tells when";
            return Err(Failure::new(
                Code::Unavailable,
                "the daemon is not ready yet",
                next,
            ));
        }
        check_identity(&request.container_id, &request.ifname)?;
        let (Some(netns), true) = (fds.pop(), fds.is_empty()) else {
            let what = "attach needs one file descriptor: the pod's network namespace";
            return Err(Failure::new(Code::Invalid, what, "send it with SCM_RIGHTS"));
        };
        let netns = Netns::from_fd(netns);
        let id = netns.id().map_err(|error| host_failure(&error))?;
        if let Some(answer) = self.repeated(request, id)? {
            return Ok(answer);
        }
        let wanted = self.wanted(request)?;
        let port = self.free_port()?;
        let workers = self.workers.len();
        let device = ports::prepare(netns, &wanted.interface, self.backend, workers)
            .map_err(|error| host_failure(&error))?;
        self.open(port, request, &wanted, device)?;
        tracing::info!(
            port = port.get(),
            pod = wanted.pod.as_ref().map(tracing::field::display),
            container = request.container_id,
            "attached"
        );
        self.ports
            .get(&port)
            .map(|held| answer(port, held))
            .ok_or_else(|| {
                Failure::new(
                    Code::Host,
                    "the device vanished while it was attached",
                    "try again",
                )
            })
    }

    /// The answer to a request that was already fulfilled, unless it asks for something else.
    fn repeated(&mut self, request: &Attach, netns: NetnsId) -> Result<Option<Attached>, Failure> {
        let Some(port) = self.port_of(&request.container_id, &request.ifname) else {
            return Ok(None);
        };
        let Some(held) = self.ports.get(&port) else {
            return Ok(None);
        };
        if held.netns != Some(netns) {
            // The runtime made the sandbox anew under its old name; the old one is gone.
            self.close(port);
            return Ok(None);
        }
        let other = request
            .ips
            .iter()
            .find(|ip| !held.entry.addresses().any(|h| h == ip.ip()));
        if let Some(other) = other {
            let (container, ifname) = (&request.container_id, &request.ifname);
            let what = format!(
                "{container} {ifname} is attached already, without {}",
                other.ip()
            );
            return Err(Failure::new(Code::Conflict, what, "detach it first"));
        }
        Ok(Some(answer(port, held)))
    }

    fn port_of(&self, container_id: &str, ifname: &str) -> Option<PortId> {
        let same = |port: &Port| port.container_id == container_id && port.ifname == ifname;
        let pods = self.ports.iter().filter(|(id, _)| **id != PortId::HOST);
        pods.into_iter()
            .find(|(_, port)| same(port))
            .map(|(id, _)| *id)
    }

    /// A number nobody holds, as long unused as possible: counters and tracked connections of
    /// its last holder have time to fade.
    fn free_port(&mut self) -> Result<PortId, Failure> {
        let all = u16::try_from(MAX_PORTS).unwrap_or(u16::MAX);
        let order = (self.next_port..all).chain(1..self.next_port);
        let free = order
            .filter_map(PortId::new)
            .find(|id| !self.ports.contains_key(id));
        let Some(port) = free else {
            let what = format!("all {} ports of this node are taken", all - 1);
            return Err(Failure::new(Code::Unavailable, what, "detach a pod"));
        };
        self.next_port = (port.get() + 1) % all;
        self.next_port = self.next_port.max(1);
        Ok(port)
    }

    /// Publishes, registers and raises a prepared device; undoes all of it on failure.
    fn open(
        &mut self,
        id: PortId,
        request: &Attach,
        wanted: &Wanted,
        mut device: Device,
    ) -> Result<(), Failure> {
        let reader = id.index() % self.workers.len().max(1);
        let queues = Arc::new(PortQueues::new(std::mem::take(&mut device.queues), reader));
        let port = Port {
            entry: entry(PortKind::Pod, &wanted.interface, wanted.pod.clone()),
            queues: Arc::clone(&queues),
            backend: device.backend,
            container_id: request.container_id.clone(),
            ifname: request.ifname.clone(),
            netns: device.netns.id().ok(),
        };
        let pod = port.entry.pod.as_deref();
        self.policies.open(pod, port.entry.addresses());
        self.ports.insert(id, port);
        let opened = self
            .publish()
            .and_then(|()| self.register(id, &queues))
            .and_then(|()| {
                ports::bring_up(&device, &wanted.interface).map_err(|error| host_failure(&error))
            });
        drop(queues);
        opened.inspect_err(|_| self.close(id))
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

    pub(super) fn detach(&mut self, request: &Detach) -> Result<Detached, Failure> {
        check_identity(&request.container_id, &request.ifname)?;
        let port = self.port_of(&request.container_id, &request.ifname);
        if let Some(port) = port {
            self.close(port);
            tracing::info!(
                port = port.get(),
                container = request.container_id,
                "detached"
            );
        }
        Ok(Detached {
            existed: port.is_some(),
        })
    }

    /// Closes a port: out of the tables, out of every worker, its connections forgotten, its
    /// device destroyed.
    pub(super) fn close(&mut self, id: PortId) {
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
    }

    /// A worker found the device gone: the pod's namespace was destroyed, or somebody deleted it.
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
        tracing::warn!(
            port = id.get(),
            pod,
            "the pod's interface is gone; its port is closed"
        );
        self.close(id);
    }
}

fn answer(id: PortId, port: &Port) -> Attached {
    let host = |ip: IpAddr| ipnetwork::IpNetwork::new(ip, host_bits(ip)).ok();
    Attached {
        port: id.get(),
        container_id: port.container_id.clone(),
        ifname: port.ifname.clone(),
        mac: port.entry.mac.to_string(),
        mtu: port.entry.mtu,
        ips: port.entry.addresses().filter_map(host).collect(),
        gateways: port.entry.addresses().map(gateway_of).collect(),
        default_via: port.entry.addresses().map(gateway_of).collect(),
        backend: port.backend.name().to_owned(),
    }
}

pub(super) fn host_failure(error: &SysError) -> Failure {
    let what = format!("cannot {}: {}", error.what, error.source);
    Failure::new(Code::Host, what, error.hint.clone().unwrap_or_default())
}
