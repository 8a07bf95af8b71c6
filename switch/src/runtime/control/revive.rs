//! How do pods of an earlier daemon get their ports back?
//!
//! An attachment outlives the daemon: its device stays in the pod, with its addresses and routes, and only
//! waits for somebody to read it. Its namespace is looked up by identity; where the device is gone
//! but the namespace is not, the device is made anew; where the namespace is gone, the attachment
//! is released. What cannot be had back now is tried again by the next reconcile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use weft_sys::netns::{self, Netns, NetnsId};
use weft_sys::{SysError, uptime};

use super::super::ports::{self, Device, Interface};
use super::super::queue::PortQueues;
use super::Control;
use super::attach::host_failure;
use super::open::Opening;
use super::request::{Wanted, pod_name};
use crate::api::{Failure, Identity};
use crate::ipam::Attachment;
use crate::path::{Location, PortId};

impl Control {
    /// Opens the port of every finished attachment that has none.
    pub(super) fn revive(&mut self) {
        let waiting = self.attachments.finished();
        let waiting = waiting.filter(|held| self.port_of(&held.identity).is_none());
        let waiting: Vec<Attachment> = waiting.cloned().collect();
        let mut openings = Vec::new();
        for attachment in waiting {
            let identity = &attachment.identity;
            match self.look_for(&attachment) {
                Ok(Some((wanted, device))) => match self.free_port(openings.len()) {
                    Ok(port) => openings.push(Opening {
                        port,
                        identity: identity.clone(),
                        wanted,
                        device,
                    }),
                    Err(failure) => self.not_revived(&attachment, &failure),
                },
                Ok(None) => {
                    let released = self.give_back(identity);
                    self.tell_forgotten(identity, "its network namespace is gone", released);
                }
                Err(failure) => self.not_revived(&attachment, &failure),
            }
        }
        self.recall(&openings);
        if openings.is_empty() {
            return;
        }
        for opening in &openings {
            self.problems.remove(&subject(&opening.identity));
        }
        let failed = self.open_all(&mut openings);
        for (identity, failure) in &failed {
            if let Some(attachment) = self.attachments.get(identity).cloned() {
                self.not_revived(&attachment, failure);
            }
        }
        for opening in &openings {
            // A device made anew; without, it is made anew again by the next daemon.
            if let Err(failure) = self.keep(opening.port) {
                tracing::warn!("{failure}");
            }
        }
        self.follow_with_host();
        let pods = openings.len() - failed.len();
        tracing::info!(pods, "attachments have their ports again");
    }

    /// Takes in the connections of the daemon before, now that it is known whose they will be.
    fn recall(&mut self, openings: &[Opening]) {
        let pods = openings.iter().flat_map(|opening| {
            let addresses = opening.wanted.interface.addresses.iter();
            addresses.map(|ip| (*ip, opening.port))
        });
        let pods: BTreeMap<IpAddr, PortId> = pods.collect();
        let tables = self.tables.load();
        let owner_of = |ip| {
            let port = match (pods.get(&ip).copied(), tables.forward().locate(ip)) {
                (Some(port), _) | (None, Location::Port(port)) => Some(port),
                // What is outside comes and goes through the host.
                (None, Location::Outside) => Some(PortId::HOST),
                (None, Location::Vacant | Location::Peer(_)) => None,
            };
            port.map(|port| port.get().into())
        };
        let now = self.now();
        self.memory.restore(&self.conntrack, now, owner_of);
    }

    /// The network namespace of an attachment, if it is there, without devices on their way out.
    fn namespace_of(&self, attachment: &Attachment) -> Result<Option<(NetnsId, Netns)>, SysError> {
        let (device, inode) = attachment.netns;
        let id = NetnsId { device, inode };
        if uptime::boot_id().is_ok_and(|boot| boot != attachment.boot) {
            return Ok(None);
        }
        let found = netns::find(id, Path::new(&attachment.netns_path))?;
        Ok(found.map(|netns| {
            self.reaper.wait_for(id);
            (id, netns)
        }))
    }

    /// Its device, without owner; none if its namespace is gone.
    fn look_for(&self, attachment: &Attachment) -> Result<Option<(Wanted, Device)>, Failure> {
        let found = self.namespace_of(attachment);
        let Some((_, netns)) = found.map_err(|error| host_failure(&error))? else {
            return Ok(None);
        };
        let wanted = remembered(attachment)?;
        let workers = self.workers.len();
        let device = ports::reopen(netns, &wanted.interface, self.backend, workers)
            .map_err(|error| host_failure(&error))?;
        Ok(Some((wanted, device)))
    }

    /// Takes away the device that an earlier daemon left of an attachment, which has no port.
    pub(super) fn take_away(&self, identity: &Identity) {
        let Some(attachment) = self.attachments.get(identity) else {
            return;
        };
        let taken = self.namespace_of(attachment).and_then(|found| {
            let Some((id, netns)) = found else {
                return Ok(());
            };
            let (name, mac) = (&attachment.identity.ifname, &attachment.mac);
            if let Some(queue) = ports::seize(&netns, name, mac)? {
                let queues = PortQueues::new(vec![queue], 0);
                queues.keep(false)?;
                self.reaper.take(id, Arc::new(queues));
            }
            Ok(())
        });
        if let Err(error) = taken {
            tracing::warn!(%error, "the interface of {attachment} may be left");
        }
    }

    fn not_revived(&mut self, attachment: &Attachment, failure: &Failure) {
        let what = format!("{attachment} has no port: {}", failure.message);
        let next = "it is tried again; deleting the pod ends it";
        self.problem(&subject(&attachment.identity), what, next);
    }

    /// Releases an attachment nobody asked to release, and says why.
    pub(super) fn forget(&mut self, identity: &Identity, why: &str) {
        let released = self.release(identity);
        self.tell_forgotten(identity, why, released);
    }

    fn tell_forgotten(&mut self, identity: &Identity, why: &str, released: Result<bool, Failure>) {
        self.problems.remove(&subject(identity));
        let Identity {
            container_id,
            ifname,
        } = identity;
        tracing::warn!(container = container_id, ifname, "released: {why}");
        if let Err(failure) = released {
            tracing::error!("{failure}");
        }
    }
}

/// What an attachment's problem is filed under.
fn subject(identity: &Identity) -> String {
    format!("{} {}", identity.container_id, identity.ifname)
}

/// What was given once, wanted again.
fn remembered(attachment: &Attachment) -> Result<Wanted, Failure> {
    let mac = attachment.mac.parse().map_err(|_| {
        let what = format!("the journal holds no MAC address of {attachment}");
        Failure::new(crate::api::Code::Host, what, "delete the pod")
    })?;
    let name = attachment.identity.ifname.clone();
    Ok(Wanted {
        interface: Interface {
            name,
            mac,
            mtu: attachment.mtu,
            addresses: attachment.ips.clone(),
        },
        pod: pod_name(&attachment.namespace, &attachment.pod)?,
        bandwidth: attachment.bandwidth,
    })
}
