//! May this packet pass this port?
//!
//! Joins conntrack's memory with policy's answer: one lookup per packet and port; a
//! verdict of an older epoch is decided anew, so that a new deny cuts live connections;
//! what cannot be tracked is decided each time. Only what policy allows is remembered.
//! Later fragments name no ports and follow their first one.

use weft_policy::{Direction, Lookup, Resumed, RuleId, Sighting, Verdict};
use weft_wire::{FlowKey, Fragment, Headers, embedded};

use super::Turn;
use super::denials::Denial;
use super::drop::DropReason;
use super::flow_cache::Memory;
use super::ports::{PortEntry, PortId};

/// The TAP queue on which the receiver last sent on a flow, where that is known.
type Home = Option<u8>;

/// A packet may pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    pub(super) home: Home,
    /// The connection it belongs to, if that was known before.
    pub(super) memory: Option<Memory>,
}

/// A port, and what the tables say of it.
type Place<'a> = (PortId, &'a PortEntry);

impl Turn<'_> {
    /// Lets a packet of the connection pass that the flow cache remembers, if that may be told
    /// without more ado; otherwise [`Turn::admit`] is to be asked.
    #[inline(always)]
    pub(super) fn resume(
        &self,
        direction: Direction,
        packet: &Headers,
        memory: Option<Memory>,
    ) -> Option<Admitted> {
        let Memory { entry, reply } = memory?;
        let sighting = self.sighting(direction);
        let conntrack = &self.path.conntrack;
        let Resumed { home } = conntrack.resume(entry, reply, packet, sighting)?;
        Some(Admitted { home, memory })
    }

    const fn sighting(&self, side: Direction) -> Sighting {
        Sighting {
            side,
            epoch: self.tables.epoch,
            worker: self.path.worker,
            now: self.now,
            packets: self.packets,
        }
    }

    /// Lets a packet pass in this direction at this port.
    #[inline(never)]
    pub(super) fn admit(
        &mut self,
        direction: Direction,
        at: Place<'_>,
        frame: &[u8],
        packet: &Headers,
    ) -> Result<Admitted, DropReason> {
        let sighting = self.sighting(direction);
        if let Fragment::Later { .. } = packet.fragment {
            let home = self.admit_later(sighting, at, packet)?;
            return Ok(Admitted { home, memory: None });
        }
        let mut memory = None;
        let home = match self.path.conntrack.lookup(packet, sighting) {
            Lookup::Known {
                home, entry, reply, ..
            } => {
                memory = Some(Memory { entry, reply });
                home
            }
            stale @ Lookup::Stale { .. } => self.renew(stale, at)?,
            Lookup::New => {
                let rule = self.permit(direction, at, &packet.flow)?;
                let owner = at.0.get().into();
                let entry = self.path.conntrack.create(packet, sighting, rule, owner);
                entry.map_err(|_| DropReason::TableFull)?;
                None
            }
            Lookup::Untracked => self.admit_untracked(direction, at, frame, packet)?,
        };
        if let Fragment::First { .. } = packet.fragment {
            let port = at.0.get().into();
            self.path
                .fragments
                .first(packet, direction, port, self.now)?;
        }
        Ok(Admitted { home, memory })
    }

    /// A later fragment passes where its first one did, while policy still allows their flow.
    #[cold]
    fn admit_later(
        &mut self,
        sighting: Sighting,
        at: Place<'_>,
        packet: &Headers,
    ) -> Result<Home, DropReason> {
        let (side, port) = (sighting.side, at.0.get().into());
        let first = self.path.fragments.later(packet, side, port, self.now)?;
        let len = packet.ip_len() as u64;
        match self.path.conntrack.lookup_later(&first, len, sighting) {
            Lookup::Known { home, .. } => Ok(home),
            stale @ Lookup::Stale { .. } => self.renew(stale, at),
            Lookup::New | Lookup::Untracked => self.permit(side, at, &first.flow).map(|_| None),
        }
    }

    /// A remembered flow under new tables: what they deny is forgotten.
    #[cold]
    fn renew(&mut self, stale: Lookup, at: Place<'_>) -> Result<Home, DropReason> {
        let Lookup::Stale {
            entry,
            original,
            side,
            home,
            ..
        } = stale
        else {
            return Ok(None);
        };
        let decided = self.permit(side, at, &original);
        let conntrack = &self.path.conntrack;
        match decided {
            Ok(rule) => conntrack.renew(entry, side, rule, self.tables.epoch),
            Err(_) => {
                conntrack.refuse(entry, side, self.tables.epoch);
            }
        }
        decided.map(|_| home)
    }

    /// An ICMP error about a remembered flow passes where that flow does; anything else
    /// that is not tracked is decided on its own.
    fn admit_untracked(
        &mut self,
        direction: Direction,
        at: Place<'_>,
        frame: &[u8],
        packet: &Headers,
    ) -> Result<Home, DropReason> {
        if let Some(home) = self.related(direction, at, frame, packet) {
            return Ok(home);
        }
        self.permit(direction, at, &packet.flow).map(|_| None)
    }

    /// The home of the flow that an ICMP error is about, if the error passes with it: it comes
    /// from the flow's other end or from a router, which no pod is, and policy allows the
    /// flow at this port now.
    fn related(
        &self,
        direction: Direction,
        (_, port): Place<'_>,
        frame: &[u8],
        packet: &Headers,
    ) -> Option<Home> {
        let quoted = embedded(frame, packet)?;
        let source = packet.flow.src;
        if quoted.flow.src != packet.flow.dst
            || quoted.flow.dst != source && self.tables.is_pods(source)
        {
            return None;
        }
        let about = self.path.conntrack.related(&quoted, self.now)?;
        // The port is that of the end the error goes to, or stands for the end it comes from:
        // the flow's initiator, whose egress is asked, or its responder, whose ingress is.
        let side = if about.reply {
            direction
        } else {
            direction.opposite()
        };
        let verdict = self.tables.decide(side, port, &about.original);
        verdict.is_allowed().then_some(about.home)
    }

    /// The rule that lets a flow pass, or the denial, which is counted.
    fn permit(
        &mut self,
        side: Direction,
        (id, port): Place<'_>,
        flow: &FlowKey,
    ) -> Result<RuleId, DropReason> {
        let rule = match self.tables.decide(side, port, flow) {
            Verdict::Allow(rule) => return Ok(rule),
            Verdict::Deny(rule) => rule,
        };
        let denial = Denial {
            at: self.now,
            flow: *flow,
            rule,
            set: port.policy,
            epoch: self.tables.epoch,
        };
        self.path
            .denials
            .record(id, side, self.packets.into(), denial);
        Err(match side {
            Direction::Egress => DropReason::DeniedEgress,
            Direction::Ingress => DropReason::DeniedIngress,
        })
    }
}
