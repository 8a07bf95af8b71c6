//! How do pods of an earlier daemon get their ports back?
//!
//! An attachment outlives the daemon: its device stays in the pod, with its addresses and routes, and only
//! waits for somebody to read it. Its namespace is looked up by identity; where the device is gone
//! but the namespace is not, the device is made anew; where the namespace is gone, the attachment
//! is released. What cannot be had back now is tried again by the next reconcile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use weft_sys::netns::{self, NetnsId};
use weft_sys::uptime;

use super::super::ports::{self, Device, Interface};
use super::Control;
use super::attach::host_failure;
use super::open::Opening;
use super::request::{Wanted, pod_name};
use crate::api::{Failure, Identity};
use crate::ipam::Attachment;
use crate::path::{Location, PortId};

/// What has become of an attachment.
enum Found {
    /// Its device, without owner.
    Device(Wanted, Device),
    /// Nothing: its namespace is gone.
    Gone,
}

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
                Ok(Found::Device(wanted, device)) => match self.free_port(openings.len()) {
                    Ok(port) => openings.push(Opening {
                        port,
                        identity: identity.clone(),
                        wanted,
                        device,
                    }),
                    Err(failure) => self.not_revived(&attachment, &failure),
                },
                Ok(Found::Gone) => {
                    self.forget(identity, "its network namespace is gone");
                }
                Err(failure) => self.not_revived(&attachment, &failure),
            }
        }
        self.recall(&openings);
        if openings.is_empty() {
            return;
        }
        match self.open_all(&mut openings) {
            Ok(()) => {
                for opening in &openings {
                    // A device made anew; without, it is made anew again by the next daemon.
                    if let Err(failure) = self.keep(opening.port) {
                        tracing::warn!("{failure}");
                    }
                }
                self.follow_with_host();
                tracing::info!(pods = openings.len(), "attachments have their ports again");
            }
            Err(failure) => tracing::error!("attachments without port: {failure}"),
        }
        for opening in &openings {
            self.problems.remove(&subject(&opening.identity));
        }
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

    fn look_for(&self, attachment: &Attachment) -> Result<Found, Failure> {
        let (device, inode) = attachment.netns;
        let id = NetnsId { device, inode };
        let same_boot = uptime::boot_id().is_ok_and(|boot| boot == attachment.boot);
        let found = if same_boot {
            netns::find(id, Path::new(&attachment.netns_path))
                .map_err(|error| host_failure(&error))?
        } else {
            None
        };
        let Some(netns) = found else {
            return Ok(Found::Gone);
        };
        self.reaper.wait_for(id);
        let wanted = remembered(attachment)?;
        let workers = self.workers.len();
        let device = ports::reopen(netns, &wanted.interface, self.backend, workers)
            .map_err(|error| host_failure(&error))?;
        Ok(Found::Device(wanted, device))
    }

    fn not_revived(&mut self, attachment: &Attachment, failure: &Failure) {
        let what = format!("{attachment} has no port: {}", failure.message);
        let next = "it is tried again; deleting the pod ends it";
        self.problem(&subject(&attachment.identity), what, next);
    }

    /// Releases an attachment nobody asked to release, and says why.
    pub(super) fn forget(&mut self, identity: &Identity, why: &str) {
        self.problems.remove(&subject(identity));
        let Identity {
            container_id,
            ifname,
        } = identity;
        tracing::warn!(container = container_id, ifname, "released: {why}");
        if let Err(failure) = self.release(identity) {
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
