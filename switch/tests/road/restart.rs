//! Connections across a restart of the daemon: ports, tables and epochs are others, the
//! connections the same.

use std::net::IpAddr;

use weft_policy::Direction::{Egress, Ingress};
use weft_policy::ImportCount;
use weft_policy::model::Policy;
use weft_switch::path::{DropReason as R, Fate, Location, PortId};
use weft_wire::TcpFlags;

use crate::cluster::*;
use crate::world::*;

const SYN: Said = Said::Tcp(4000, 80, TcpFlags::SYN);
const SYN_ACK: Said = Said::Tcp(80, 4000, TcpFlags(0x12));
const ACK: Said = Said::Tcp(4000, 80, TcpFlags::ACK);
const REPLY: Said = Said::Tcp(80, 4000, TcpFlags::ACK);

/// A pod that may open connections to anybody and be reached by nobody, and another end.
const PAIRS: [(Station, Station); 3] = [(POD, OTHER), (POD, REMOTE), (POD, HOST)];

fn opened(world: &mut World, (from, to): (Station, Station), family: Family) {
    for (pair, said) in [((from, to), SYN), ((to, from), SYN_ACK), ((from, to), ACK)] {
        assert!(passed(say(world, pair, family, &said)), "{pair:?}");
    }
}

/// Who is charged for an address now, as the daemon finds it.
fn owner_of(world: &World, address: IpAddr) -> Option<u32> {
    let id = match world.tables.forward().locate(address) {
        Location::Port(id) => id,
        Location::Outside => PortId::HOST,
        Location::Peer(_) | Location::Vacant => return None,
    };
    world.tables.port(id).map(|_| id.get().into())
}

/// The world after a restart under these policies; its clock begins anew.
fn restarted(old: &World, policies: impl IntoIterator<Item = Policy>) -> (World, ImportCount) {
    let saved = old.conntrack.export(old.now);
    let (world, _) = under(policies);
    let count = world
        .conntrack
        .import(&saved, world.now, |address| owner_of(&world, address));
    (world, count.unwrap())
}

#[test]
fn a_connection_goes_on_whichever_end_speaks_first() {
    for family in FAMILIES {
        for (from, to) in PAIRS {
            let isolated = || [only(Ingress, POD, vec![])];
            for first in [((to, from), REPLY), ((from, to), ACK)] {
                let (mut old, _) = under(isolated());
                opened(&mut old, (from, to), family);
                let (mut new, count) = restarted(&old, isolated());
                assert_eq!((count.imported, new.conntrack.len()), (1, 1));
                let (pair, said) = first;
                assert!(passed(say(&mut new, pair, family, &said)), "{pair:?}");
                assert!(passed(say(&mut new, (to, from), family, &REPLY)));
                assert!(passed(say(&mut new, (from, to), family, &ACK)));
                // The isolation holds for everything else.
                let other = Said::Tcp(81, 4000, TcpFlags::SYN);
                let fate = say(&mut new, (to, from), family, &other);
                assert_eq!(passed(fate), to.port == HOST.port && to.v4() == HOST.v4());
            }
        }
    }
}

#[test]
fn without_an_import_the_reply_is_lost() {
    let isolated = || [only(Ingress, POD, vec![])];
    let (mut old, _) = under(isolated());
    opened(&mut old, (POD, REMOTE), Family::V4);
    let (mut new, _) = under(isolated());
    let fate = say(&mut new, (REMOTE, POD), Family::V4, &REPLY);
    assert_eq!(fate, Fate::Drop(R::DeniedIngress));
}

#[test]
fn a_deny_that_came_while_away_cuts() {
    for family in FAMILIES {
        for (from, to) in PAIRS {
            for first in [((to, from), REPLY), ((from, to), ACK)] {
                let (mut old, _) = under([]);
                opened(&mut old, (from, to), family);
                let (mut new, count) = restarted(&old, [only(Egress, POD, vec![])]);
                assert_eq!(count.imported, 1);
                let (pair, said) = first;
                let fate = say(&mut new, pair, family, &said);
                assert_eq!(fate, Fate::Drop(R::DeniedEgress), "{pair:?}");
                assert_eq!(new.conntrack.len(), 0, "forgotten");
            }
        }
    }
}

/// What the receiver's new policy denies is cut at its end, be the sender here or not.
#[test]
fn a_deny_at_the_other_end_cuts_too() {
    for from in [OTHER, REMOTE] {
        let (mut old, _) = under([]);
        opened(&mut old, (from, POD), Family::V4);
        let (mut new, _) = restarted(&old, [only(Ingress, POD, vec![])]);
        let fate = say(&mut new, (POD, from), Family::V4, &REPLY);
        assert_eq!(fate, Fate::Drop(R::DeniedIngress), "{from:?}");
        assert_eq!(new.conntrack.len(), 0);
    }
}

#[test]
fn connections_of_a_pod_that_is_gone_are_left_out() {
    let (mut old, _) = under([]);
    opened(&mut old, (POD, REMOTE), Family::V4);
    opened(&mut old, (REMOTE, POD), Family::V6);
    opened(&mut old, (OTHER, POD), Family::V4);
    opened(&mut old, (OTHER, REMOTE), Family::V4);
    let saved = old.conntrack.export(old.now);
    let new = World::with(tables(&[HOST, OTHER]), 8, 64);
    let count = new
        .conntrack
        .import(&saved, new.now, |address| owner_of(&new, address))
        .unwrap();
    assert_eq!((count.imported, count.gone), (1, 3));
    assert_eq!(new.conntrack.len_of(OTHER.port.into()), 1);
}
