//! How does a pod get its port, and how does it lose it?
//!
//! Attaching: check the request, note whose the addresses are, make the device (down), publish
//! tables that hold the port, hand its queues to every worker, raise the link, note that it is done,
//! have the device outlive the daemon: one that does is always noted, so that none is left behind.
//! Only then is the caller answered, so a pod's first frame meets its tables. Whatever fails undoes
//! what went before. Repeating a request gives the same answer.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use weft_sys::netns::{Netns, NetnsId};
use weft_sys::{SysError, nft, uptime};

use super::super::ports::{self, gateway_of, host_bits};
use super::Control;
use super::open::{Opening, Port};
use super::request::{Wanted, check_identity};
use crate::api::{Attach, Attached, Code, Detach, Detached, Failure, Identity};
use crate::ipam::Attachment;
use crate::path::{MAX_PORTS, PortId};

impl Control {
    pub(super) fn attach(
        &mut self,
        request: &Attach,
        fds: Vec<OwnedFd>,
    ) -> Result<Attached, Failure> {
        if !self.is_ready() {
            let next = "try again in a moment; `weft status --wait` tells when";
            let what = "the daemon is not ready yet";
            return Err(Failure::new(Code::Unavailable, what, next));
        }
        let identity = check_identity(&request.container_id, &request.ifname)?;
        let netns = the_namespace(fds)?;
        let id = netns.id().map_err(|error| host_failure(&error))?;
        self.settle_tombstone(&identity)?;
        if let Some(answer) = self.repeated(request, &identity, id)? {
            return Ok(answer);
        }
        let before = self.attachments.get(&identity);
        let before = before.map_or_else(Vec::new, |held| held.ips.clone());
        // What is held under this name belongs to a sandbox that is gone.
        self.release(&identity)?;
        let wanted = self.wanted(request, &before)?;
        self.attachments
            .reserve(self.attachment(request, &identity, &wanted, id)?)?;
        match self.make(&identity, netns, wanted) {
            Ok(answer) => {
                let (port, container) = (answer.port, &request.container_id);
                let pod = format!("{}/{}", request.namespace, request.pod);
                tracing::info!(port, pod, container, ips = ?answer.ips, "attached");
                Ok(answer)
            }
            Err(failure) => {
                // What a crash here would leave is ended by the next start.
                if let Err(more) = self.release(&identity) {
                    tracing::error!("{more}");
                }
                Err(failure)
            }
        }
    }

    /// What is remembered of a request.
    fn attachment(
        &self,
        request: &Attach,
        identity: &Identity,
        wanted: &Wanted,
        netns: NetnsId,
    ) -> Result<Attachment, Failure> {
        Ok(Attachment {
            identity: identity.clone(),
            network: request.network.clone(),
            namespace: request.namespace.clone(),
            pod: request.pod.clone(),
            uid: request.uid.clone(),
            netns_path: request.netns.clone(),
            netns: (netns.device, netns.inode),
            boot: uptime::boot_id().map_err(|error| host_failure(&error))?,
            ips: wanted.interface.addresses.clone(),
            delegated: request.delegated,
            mac: wanted.interface.mac.to_string(),
            mtu: wanted.interface.mtu,
            backend: self.backend.name().to_owned(),
            ports: request.ports.clone(),
            bandwidth: request.bandwidth,
        })
    }

    /// Everything after the first note in the journal.
    fn make(
        &mut self,
        identity: &Identity,
        netns: Netns,
        wanted: Wanted,
    ) -> Result<Attached, Failure> {
        let port = self.free_port(0)?;
        if let Ok(id) = netns.id() {
            self.reaper.wait_for(id);
        }
        let workers = self.workers.len();
        let device = ports::prepare(netns, &wanted.interface, self.backend, workers)
            .map_err(|error| host_failure(&error))?;
        let mut openings = [Opening {
            port,
            identity: identity.clone(),
            wanted,
            device,
        }];
        if let Some((_, failure)) = self.open_all(&mut openings).pop() {
            return Err(failure);
        }
        self.attachments.commit(identity)?;
        self.keep(port)?;
        self.follow_with_host();
        let held = self.ports.get(&port);
        held.map(|held| answer(port, held)).ok_or_else(|| {
            let what = "the device vanished while it was attached";
            Failure::new(Code::Host, what, "try again")
        })
    }

    /// The answer to a request that was already fulfilled, unless it asks for something else.
    fn repeated(
        &mut self,
        request: &Attach,
        identity: &Identity,
        netns: NetnsId,
    ) -> Result<Option<Attached>, Failure> {
        let Some((port, held)) = self.port_of(identity) else {
            return Ok(None);
        };
        if held.netns != Some(netns) {
            // The runtime made the sandbox anew under its old name; the old one is gone.
            return Ok(None);
        }
        let mut asked = request.ips.iter();
        let other = asked.find(|ip| !held.entry.addresses().any(|h| h == ip.ip()));
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

    /// The open port of an attachment.
    pub(super) fn port_of(&self, identity: &Identity) -> Option<(PortId, &Port)> {
        let mut pods = self.ports.iter().filter(|(id, _)| **id != PortId::HOST);
        pods.find(|(_, port)| port.is(identity))
            .map(|(id, port)| (*id, port))
    }

    /// A number nobody holds, as long unused as possible: counters and tracked connections of
    /// its last holder have time to fade. `skip` of them are as good as held.
    pub(super) fn free_port(&mut self, skip: usize) -> Result<PortId, Failure> {
        let all = u16::try_from(MAX_PORTS).unwrap_or(u16::MAX);
        let order = (self.next_port..all).chain(1..self.next_port);
        let free = order
            .filter_map(PortId::new)
            .filter(|id| !self.ports.contains_key(id))
            .nth(skip);
        let Some(port) = free else {
            let what = format!("all {} ports of this node are taken", all - 1);
            return Err(Failure::new(Code::Unavailable, what, "detach a pod"));
        };
        if skip == 0 {
            self.next_port = ((port.get() + 1) % all).max(1);
        }
        Ok(port)
    }

    pub(super) fn detach(&mut self, request: &Detach) -> Result<Detached, Failure> {
        let identity = check_identity(&request.container_id, &request.ifname)?;
        let existed = self.release(&identity)?;
        if existed {
            tracing::info!(container = request.container_id, "detached");
        }
        Ok(Detached { existed })
    }

    /// Closes an attachment's port and gives its addresses back; answers whether there was one.
    /// The device goes with the daemon even if it ends before the reaper comes to it.
    pub(super) fn release(&mut self, identity: &Identity) -> Result<bool, Failure> {
        if let Some((port, _)) = self.port_of(identity) {
            self.close(port);
        } else if self.attachments.is_finished(identity) {
            self.take_away(identity);
        }
        self.give_back(identity)
    }

    /// Gives back what is remembered of an attachment; answers whether there was anything.
    pub(super) fn give_back(&mut self, identity: &Identity) -> Result<bool, Failure> {
        let Some(attachment) = self.attachments.get(identity) else {
            return Ok(false);
        };
        let (ips, had_ports) = (attachment.ips.clone(), !attachment.ports.is_empty());
        for address in &ips {
            self.conntrack.purge_address(*address);
        }
        self.attachments.release(identity)?;
        self.follow_with_host();
        if had_ports {
            ips.iter().copied().for_each(forget_redirected);
        }
        Ok(true)
    }

    /// Catches up with a deletion that found no daemon.
    pub(super) fn settle_tombstone(&mut self, identity: &Identity) -> Result<(), Failure> {
        if self.attachments.is_deleted(identity) {
            self.release(identity)?;
            self.attachments.settle(identity)?;
        }
        Ok(())
    }
}

/// Without rules for them, host ports of a pod still lead to its address in what began before.
fn forget_redirected(to: IpAddr) {
    if let Err(error) = nft::forget_redirected(to) {
        tracing::warn!(%error, "connections to host ports of {to} go on until they fall silent");
    }
}

/// The one descriptor that comes with a request.
pub(super) fn the_namespace(mut fds: Vec<OwnedFd>) -> Result<Netns, Failure> {
    match (fds.pop(), fds.is_empty()) {
        (Some(netns), true) => {
            if Netns::is_netns(netns.as_fd()).map_err(|error| host_failure(&error))? {
                return Ok(Netns::from_fd(netns));
            }
            let what = "the file descriptor is no network namespace";
            Err(Failure::new(Code::Invalid, what, "send that of the pod"))
        }
        _ => {
            let what = "one file descriptor is needed: the pod's network namespace";
            Err(Failure::new(Code::Invalid, what, "send it with SCM_RIGHTS"))
        }
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
        default_via: port.default_via.clone(),
        backend: port.backend.name().to_owned(),
    }
}

pub(super) fn host_failure(error: &SysError) -> Failure {
    let what = format!("cannot {}: {}", error.what, error.source);
    Failure::new(Code::Host, what, error.hint.clone().unwrap_or_default())
}
