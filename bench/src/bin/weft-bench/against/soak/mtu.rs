//! What if the underlay carries less for a while?
//!
//! Gives the underlay interfaces of both nodes, in their namespaces only, a smaller MTU and their own
//! by turns, and counts what arrived under the smaller one. Their own comes back when this goes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use weft_switch::cli::USAGE;
use weft_sys::netlink::{Netlink, link};

use super::super::Refusal;
use super::super::place::{End, Place};

/// The underlay interface inside a node.
const UPLINK: &str = "eth0";

/// An interface of the underlay.
#[derive(Debug)]
struct Uplink {
    netlink: Netlink,
    index: u32,
    own: u32,
}

/// The underlay of two nodes.
#[derive(Debug)]
pub(super) struct Underlay {
    uplinks: Vec<Uplink>,
    small: u32,
    is_small: bool,
    /// When it last changed.
    since: Duration,
    /// What had arrived when last looked at.
    received: u64,
    changed: Changed,
}

/// What was changed.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changed {
    own: u32,
    smaller: u32,
    /// How often it became smaller.
    count: u64,
    /// Bytes that arrived, both ways, while it was.
    bytes_while_smaller: u64,
}

impl Uplink {
    fn of(end: &End) -> Result<Self> {
        let mut netlink = Netlink::open_in(&end.node_netns)?;
        let link = link::get(&mut netlink, UPLINK)?;
        let link = link.with_context(|| format!("{} has no {UPLINK}", end.node))?;
        Ok(Self {
            netlink,
            index: link.index,
            own: link.mtu,
        })
    }

    fn set(&mut self, mtu: u32) -> Result<()> {
        let change = link::Change {
            mtu: Some(mtu),
            ..link::Change::default()
        };
        Ok(link::change(&mut self.netlink, self.index, &change)?)
    }
}

impl Underlay {
    /// Changes nothing yet.
    pub(super) fn of(place: &Place, small: u32) -> Result<Self> {
        let (from, to) = (&place.from, &place.to);
        if from.node == to.node {
            let message = format!("{} has both pods: no underlay is between them", from.node);
            return Err(Refusal::of(USAGE, message));
        }
        let uplinks = vec![Uplink::of(from)?, Uplink::of(to)?];
        let own = uplinks.iter().map(|uplink| uplink.own).min().unwrap_or(0);
        if small >= own {
            let message = format!("--mtu-change={small} is not below the underlay's MTU, {own}");
            return Err(Refusal::of(USAGE, message));
        }
        let changed = Changed {
            own,
            smaller: small,
            ..Changed::default()
        };
        Ok(Self {
            uplinks,
            small,
            is_small: false,
            since: Duration::ZERO,
            received: 0,
            changed,
        })
    }

    /// So much has arrived by now; changes the MTU if it is time to.
    pub(super) fn turn(&mut self, now: Duration, every: Duration, received: u64) -> Result<()> {
        if self.is_small {
            self.changed.bytes_while_smaller += received.saturating_sub(self.received);
        }
        self.received = received;
        if now.saturating_sub(self.since) < every {
            return Ok(());
        }
        self.since = now;
        self.is_small = !self.is_small;
        self.changed.count += u64::from(self.is_small);
        for uplink in &mut self.uplinks {
            uplink.set(if self.is_small {
                self.small
            } else {
                uplink.own
            })?;
        }
        Ok(())
    }

    /// Gives the interfaces their own MTU again; what had been changed.
    pub(super) fn restored(mut self) -> Result<Changed> {
        self.restore()?;
        Ok(self.changed.clone())
    }

    fn restore(&mut self) -> Result<()> {
        self.is_small = false;
        let mut all = self.uplinks.iter_mut();
        all.try_for_each(|uplink| uplink.set(uplink.own))
    }
}

impl Drop for Underlay {
    fn drop(&mut self) {
        if self.is_small
            && let Err(error) = self.restore()
        {
            eprintln!(
                "the nodes' {UPLINK} keeps an MTU of {}: {error:#}",
                self.small
            );
        }
    }
}

impl Changed {
    pub(super) fn text(&self) -> String {
        format!(
            "underlay MTU {} times from {} to {}: {} bytes arrived meanwhile\n",
            self.count, self.own, self.smaller, self.bytes_while_smaller
        )
    }
}
