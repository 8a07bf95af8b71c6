//! Fragments byte by byte, as a receiver would collect them.

use std::collections::BTreeSet;

use weft_policy::{Direction, FragmentError, Moment, Opening, Span};
use weft_wire::{Fragment, Headers, IpProtocol, IpVersion};

use super::node::{Door, Room};

/// Which datagram of which owner.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Name {
    side: Direction,
    port: u32,
    version: IpVersion,
    ends: (std::net::IpAddr, std::net::IpAddr),
    protocol: IpProtocol,
    id: u32,
}

#[derive(Clone, Debug)]
struct Datagram {
    name: Name,
    opening: Opening,
    made: Moment,
    bytes: BTreeSet<u16>,
    end: Option<u16>,
    is_poisoned: bool,
}

/// The datagrams of one worker, oldest first.
#[derive(Debug)]
pub(super) struct Datagrams {
    room: Room,
    all: Vec<Datagram>,
}

impl Name {
    fn of(packet: &Headers, door: Door, id: u32) -> Self {
        Self {
            side: door.side,
            port: door.port,
            version: packet.version,
            ends: (packet.flow.src, packet.flow.dst),
            protocol: match packet.version {
                IpVersion::V4 => packet.flow.protocol,
                IpVersion::V6 => IpProtocol(0),
            },
            id,
        }
    }

    fn is_of_same_owner(&self, other: &Self) -> bool {
        (self.side, self.port, self.version) == (other.side, other.port, other.version)
    }
}

impl Datagram {
    fn is_over(&self, now: Moment) -> bool {
        let secs = match self.name.version {
            IpVersion::V4 => 30,
            IpVersion::V6 => 60,
        };
        now - self.made >= Span::from_secs(secs)
    }
}

impl Datagrams {
    pub(super) const fn new(room: Room) -> Self {
        Self {
            room,
            all: Vec::new(),
        }
    }

    pub(super) fn first(&mut self, packet: &Headers, door: Door) -> Result<(), FragmentError> {
        let Fragment::First { id, len } = packet.fragment else {
            return Ok(());
        };
        let name = Name::of(packet, door, id);
        self.all.retain(|datagram| !datagram.is_over(door.now));
        if let Some(known) = self.all.iter_mut().find(|datagram| datagram.name == name) {
            known.is_poisoned = true;
            return Err(FragmentError::Overlap);
        }
        if len == 0 {
            return Err(FragmentError::Overlap);
        }
        if self.room.is_tight() {
            // The share of 16 entries is one.
            self.all
                .retain(|datagram| !datagram.name.is_of_same_owner(&name));
            if self.all.len() >= self.room.datagrams {
                return Err(FragmentError::Full);
            }
        }
        self.all.push(Datagram {
            name,
            opening: Opening {
                flow: packet.flow,
                transport: packet.transport,
            },
            made: door.now,
            bytes: (0..len).collect(),
            end: None,
            is_poisoned: false,
        });
        Ok(())
    }

    pub(super) fn later(&mut self, packet: &Headers, door: Door) -> Result<Opening, FragmentError> {
        let Fragment::Later { id, offset, more } = packet.fragment else {
            return Err(FragmentError::NoFirst);
        };
        let name = Name::of(packet, door, id);
        self.all.retain(|datagram| !datagram.is_over(door.now));
        let known = self.all.iter_mut().find(|datagram| datagram.name == name);
        let known = known.ok_or(FragmentError::NoFirst)?;
        let end = offset + u16::try_from(packet.payload_len()).expect("fragments are short");
        let bytes: BTreeSet<u16> = (offset..end).collect();
        known.is_poisoned |= bytes.is_empty()
            || !bytes.is_disjoint(&known.bytes)
            || known.end.is_some_and(|last| !more || end > last)
            || !more && known.bytes.iter().any(|&byte| byte >= end);
        if known.is_poisoned {
            return Err(FragmentError::Overlap);
        }
        known.bytes.extend(bytes);
        if !more {
            known.end = Some(end);
        }
        let opening = known.opening;
        let is_complete = known
            .end
            .is_some_and(|end| known.bytes.len() == usize::from(end));
        if is_complete {
            self.all.retain(|datagram| datagram.name != name);
        }
        Ok(opening)
    }

    pub(super) fn purge_port(&mut self, port: u32) {
        self.all.retain(|datagram| datagram.name.port != port);
    }
}
