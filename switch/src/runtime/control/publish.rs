//! How do workers learn of a change?
//!
//! A whole new value is compiled, checked and swapped in; every worker says that it uses it before
//! anybody is told so. If it cannot be compiled, the workers keep the previous one.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use weft_policy::{Moment, Span};
use weft_sys::SysError;
use weft_sys::netlink::{Netlink, addr, link};
use weft_sys::nft::{self, HostPort};

use super::super::host::HOST_INTERFACE;
use super::super::mailbox::{Message, Stuck, ask_all};
use super::super::underlay::is_link_local;
use super::Control;
use crate::api::{Code, Failure, PortProtocol};
use crate::cluster::compile;
use crate::ipam::Attachment;

/// How long publications took: from a change's arrival until every worker used the tables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Publications {
    pub(super) count: u64,
    pub(super) last: Span,
    pub(super) longest: Span,
    pub(super) total: Span,
}

impl Publications {
    fn note(&mut self, took: Span) {
        self.count += 1;
        self.last = took;
        self.longest = self.longest.max(took);
        self.total = Span::from_nanos(self.total.as_nanos().saturating_add(took.as_nanos()));
    }
}

impl Control {
    /// Compiles the present state and has every worker use it.
    pub(super) fn publish(&mut self) -> Result<(), Failure> {
        self.publish_since(self.now())
    }

    /// The same for a change that was taken in from `begun` on.
    pub(super) fn publish_since(&mut self, begun: Moment) -> Result<(), Failure> {
        self.compile_and_swap()?;
        self.publications.note(self.now().since(begun));
        self.follow_with_host();
        Ok(())
    }

    /// Looks at the node's own addresses; answers whether they changed. Asking the kernel can take
    /// as long as others keep it busy, so no publication waits for it.
    pub(super) fn refresh_addresses(&mut self) -> bool {
        let addresses = node_addresses().unwrap_or_else(|error| {
            tracing::warn!(%error, "the node's addresses are unknown; using the tunnel's alone");
            vec![self.facts.vtep]
        });
        let changed = self.addresses != addresses;
        self.addresses = addresses;
        changed
    }

    fn compile_and_swap(&mut self) -> Result<(), Failure> {
        let epoch = self.tables.load().epoch.next();
        let addresses = self.addresses.clone();
        let desired = self.cluster.desired();
        let publication = (epoch, self.policies.table());
        let tables = compile(&self.facts, addresses, desired, self.entries(), publication);
        let tables = match tables {
            Ok(tables) => tables,
            Err(error) => {
                let what = format!("the tables would be ambiguous: {error}");
                let next = "correct the manifests; forwarding goes on by the previous tables";
                self.problem("tables", what.clone(), next);
                return Err(Failure::new(Code::Conflict, what, next));
            }
        };
        self.problems.remove("tables");
        self.tables.store(Arc::new(tables));
        ask_all(&self.workers, |done| Message::Sync { done })
            .map(|_| ())
            .map_err(|stuck| self.stuck(&stuck))
    }

    /// Keeps the node's routes and masquerading in step; pods do not depend on it.
    pub(super) fn follow_with_host(&mut self) {
        let peers = self.cluster.desired().peers.iter();
        let cidrs: Vec<IpNetwork> = peers.flat_map(|peer| peer.pod_cidrs.clone()).collect();
        let forwards = self.attachments.iter().flat_map(host_ports).collect();
        match self.host.follow(&cidrs, forwards) {
            Ok(()) => {
                self.problems.remove(HOST_INTERFACE);
            }
            Err(error) => {
                let next = "the node itself may not reach all pods, or pods the outside";
                self.problem(HOST_INTERFACE, error.to_string(), next);
            }
        }
    }

    pub(super) fn stuck(&mut self, stuck: &Stuck) -> Failure {
        let next = "read the daemon's log, then restart it";
        self.problem("worker", stuck.to_string(), next);
        Failure::new(Code::Unavailable, stuck.to_string(), next)
    }
}

/// The node's ports that lead to a pod, to its address of the port's family.
fn host_ports(attachment: &Attachment) -> impl Iterator<Item = HostPort> {
    let ports = attachment.ports.iter();
    ports.flat_map(|port| {
        let host_ip = port.host_ip.filter(|ip| !ip.is_unspecified());
        let family = port.host_ip.map(|ip| ip.is_ipv4());
        let fits = move |ip: &IpAddr| family.is_none_or(|v4| v4 == ip.is_ipv4());
        let to = attachment.ips.iter().copied().filter(fits);
        to.map(move |ip| HostPort {
            protocol: match port.protocol {
                PortProtocol::Tcp => nft::Transport::Tcp,
                PortProtocol::Udp => nft::Transport::Udp,
                PortProtocol::Sctp => nft::Transport::Sctp,
            },
            host_ip,
            host_port: port.host_port,
            to: (ip, port.container_port),
        })
    })
}

/// Every address of the node in this namespace, except those of no use to pods.
fn node_addresses() -> Result<Vec<IpAddr>, SysError> {
    let mut netlink = Netlink::open()?;
    let own = link::get(&mut netlink, HOST_INTERFACE)?.map(|link| link.index);
    let addresses = addr::list(&mut netlink, None)?.into_iter();
    let useful = addresses.filter(|address| {
        let ip = address.ip;
        Some(address.index) != own && !ip.is_loopback() && !is_link_local(ip)
    });
    Ok(useful.map(|address| address.ip).collect())
}
