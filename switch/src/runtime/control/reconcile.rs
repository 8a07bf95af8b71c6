//! Is what is remembered what is?
//!
//! Looked at when the daemon starts, regularly, and when a runtime collects garbage: deletions that
//! found no daemon, namespaces that are gone, devices that are gone, the node's rules. Each
//! difference is mended or released, and logged. Also answers CHECK, GC and STATUS.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use weft_policy::Span;
use weft_sys::SysError;
use weft_sys::netns::{self, NetnsId};

use super::super::inspect::{self, Expected};
use super::Control;
use super::attach::{host_failure, the_namespace};
use super::request::check_identity;
use crate::api::{Check, Checked, Code, Collected, Failure, Gc, Identity, Readiness};
use crate::ipam::Attachment;

/// Between two looks.
pub(super) const INTERVAL: Span = Span::from_secs(10);

impl Control {
    /// Mends every difference between what is remembered and what is.
    pub(super) fn reconcile(&mut self) {
        self.settle_tombstones();
        for identity in self.attachments.unfinished() {
            self.forget(&identity, "it was never finished");
        }
        // First, since after a restart nobody forwards for pods until then.
        self.revive();
        if self.refresh_addresses() {
            self.publish_change(self.now());
        }
        self.release_the_dead();
        self.guard_rules();
        if let Err(failure) = self.attachments.compact() {
            tracing::warn!("{failure}");
        }
    }

    fn settle_tombstones(&mut self) {
        let deleted = match self.attachments.deleted() {
            Ok(deleted) => deleted,
            Err(failure) => return tracing::warn!("{failure}"),
        };
        for identity in deleted {
            tracing::info!(
                container = identity.container_id,
                "deleted while nobody listened"
            );
            if let Err(failure) = self.settle_tombstone(&identity) {
                tracing::error!("{failure}");
            }
        }
    }

    /// Releases attachments whose namespace only this daemon's descriptors keep alive. A runtime
    /// may be about to give a namespace its name: it must be dead at two looks.
    fn release_the_dead(&mut self) {
        let dead = match self.dead() {
            Ok(dead) => dead,
            Err(error) => return tracing::warn!(%error, "dead namespaces are not looked for"),
        };
        for identity in dead.intersection(&std::mem::take(&mut self.suspects)) {
            self.forget(identity, "nobody uses its network namespace any more");
        }
        self.suspects = dead;
    }

    /// Attachments whose namespace has no name, no process, and nobody else who holds it.
    fn dead(&self) -> Result<BTreeSet<Identity>, SysError> {
        let id = |held: &Attachment| {
            let (device, inode) = held.netns;
            NetnsId { device, inode }
        };
        let held: BTreeMap<_, _> = self
            .attachments
            .iter()
            .map(|held| (held.identity.clone(), id(held)))
            .collect();
        let ids = || held.values().copied().collect::<BTreeSet<_>>();
        if held.is_empty() {
            return Ok(BTreeSet::new());
        }
        let live = netns::live()?;
        let mut unnamed: BTreeSet<_> = ids().difference(&live).copied().collect();
        if !unnamed.is_empty() {
            let elsewhere = netns::held(&unnamed)?;
            unnamed.retain(|id| !elsewhere.contains(id));
        }
        let dead = held.into_iter().filter(|(_, id)| unnamed.contains(id));
        Ok(dead.map(|(identity, _)| identity).collect())
    }

    /// Puts the node's rules back where somebody changed them or took them away.
    fn guard_rules(&mut self) {
        match self.host.guard_rules() {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("the nftables table is not as it was left; it is installed anew");
                self.follow_with_host();
            }
            Err(error) => tracing::warn!(%error, "the nftables table is not looked after"),
        }
    }

    pub(super) fn gc(&mut self, request: &Gc) -> Collected {
        let valid: BTreeSet<&Identity> = request.valid.iter().collect();
        let held = self.attachments.iter();
        let stale =
            held.filter(|held| held.network == request.network && !valid.contains(&held.identity));
        let stale: Vec<Identity> = stale.map(|held| held.identity.clone()).collect();
        for identity in &stale {
            self.forget(identity, "its runtime no longer knows it");
        }
        self.reconcile();
        Collected { released: stale }
    }

    pub(super) fn check(&self, request: &Check, fds: Vec<OwnedFd>) -> Result<Checked, Failure> {
        let identity = check_identity(&request.container_id, &request.ifname)?;
        let netns = the_namespace(fds)?;
        let Some((id, port)) = self.port_of(&identity) else {
            return Err(mismatch(format!(
                "{} {} is not attached",
                identity.container_id, identity.ifname
            )));
        };
        if port.netns != netns.id().ok() {
            return Err(mismatch("the pod has another network namespace"));
        }
        let told: Vec<_> = request.ips.iter().map(ipnetwork::IpNetwork::ip).collect();
        if let Some(lost) = told
            .iter()
            .find(|ip| !port.entry.addresses().any(|own| own == **ip))
        {
            return Err(mismatch(format!("{lost} is not this attachment's address")));
        }
        let same = |told: &str| told.parse().is_ok_and(|mac| port.entry.mac == mac);
        if let Some(mac) = request.mac.as_deref().filter(|mac| !same(mac)) {
            return Err(mismatch(format!(
                "{mac} is not this attachment's MAC address"
            )));
        }
        let addresses: Vec<_> = port.entry.addresses().collect();
        let expected = Expected {
            name: &port.ifname,
            mac: port.entry.mac,
            mtu: port.entry.mtu,
            addresses: &addresses,
        };
        let differences =
            inspect::compare(&netns, &expected).map_err(|error| host_failure(&error))?;
        match differences.as_slice() {
            [] => Ok(Checked { port: id.get() }),
            differences => Err(mismatch(differences.join("; "))),
        }
    }

    /// What STATUS says: whether a pod could be attached now, and whether those there are work.
    pub(super) fn readiness(&self) -> Readiness {
        let lost = self.problems.get("worker");
        let full = self
            .attachments
            .usage()
            .into_iter()
            .find(|pool| pool.free == 0);
        let (why, next, impaired) = if let Some(lost) = lost {
            (lost.what.clone(), lost.next.clone(), true)
        } else if !self.cluster.is_synced() {
            let why = format!("the source of state was not read yet: {}", self.source);
            (why, "see `weft status`".to_owned(), self.ports.len() > 1)
        } else if let Some(pool) = full {
            let why = format!(
                "no address of {} is free: {} in use, {} resting",
                pool.range, pool.used, pool.cooling
            );
            (
                why,
                "delete pods, or give the node a larger range".to_owned(),
                false,
            )
        } else {
            (String::new(), String::new(), false)
        };
        Readiness {
            ready: why.is_empty(),
            impaired,
            why,
            next,
        }
    }
}

fn mismatch(what: impl Into<String>) -> Failure {
    Failure::new(
        Code::Mismatch,
        what,
        "delete the pod and let it be made anew",
    )
}
