//! Verdicts, epochs, homes and counts of one flow.

use weft_policy::{Direction, Epoch, FlowState, Lookup, Opening, RuleId, Sighting, Span, UdpState};
use weft_wire::{Fragment, Headers, IpProtocol, TcpFlags, Transport};

use crate::packets::*;

#[test]
fn a_flow_is_new_then_known_in_both_directions() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 53));
    assert_eq!(table.lookup(&udp(a, b), egress()), Lookup::New);
    table.create(&udp(a, b), egress(), RULE, 1).unwrap();
    assert_eq!(known(table.lookup(&udp(a, b), egress())), Some(false));
    assert_eq!(known(table.lookup(&udp(b, a), ingress())), Some(true));
    assert_eq!(table.lookup(&udp(a, (host(3), 54)), egress()), Lookup::New);
    assert_eq!(table.lookup(&sctp(a, b), egress()), Lookup::New);
    assert_eq!(count(&table), 1);
}

#[test]
fn same_address_and_port_at_both_ends_is_never_a_reply() {
    let table = table();
    let own = (host(2), 53);
    table.create(&udp(own, own), egress(), RULE, 1).unwrap();
    assert_eq!(known(table.lookup(&udp(own, own), egress())), Some(false));
}

#[test]
fn a_mapped_address_is_not_its_ipv4_address() {
    let table = table();
    let (a, b) = ("10.1.0.2".parse().unwrap(), "10.1.0.3".parse().unwrap());
    let (c, d) = (
        "::ffff:10.1.0.2".parse().unwrap(),
        "::ffff:10.1.0.3".parse().unwrap(),
    );
    let (e, f) = ("::10.1.0.2".parse().unwrap(), "::10.1.0.3".parse().unwrap());
    table
        .create(&udp((a, 1), (b, 2)), egress(), RULE, 1)
        .unwrap();
    assert_eq!(table.lookup(&udp((c, 1), (d, 2)), egress()), Lookup::New);
    assert_eq!(table.lookup(&udp((e, 1), (f, 2)), egress()), Lookup::New);
    table
        .create(&udp((e, 1), (f, 2)), egress(), RULE, 1)
        .unwrap();
    assert_eq!(
        known(table.lookup(&udp((f, 2), (e, 1)), ingress())),
        Some(true)
    );
    assert_eq!(count(&table), 2);
}

/// Initiator's egress and responder's ingress are the two verdicts; replies are
/// judged by the verdict on the same pod's traffic, the other way.
#[test]
fn each_side_has_its_own_verdict() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    table.create(&udp(a, b), egress(), RuleId(1), 1).unwrap();

    let Lookup::Stale {
        entry,
        original,
        side,
        reply,
        ..
    } = table.lookup(&udp(a, b), ingress())
    else {
        panic!("ingress was never decided");
    };
    assert_eq!(
        (original, side, reply),
        (udp(a, b).flow, Direction::Ingress, false)
    );
    table.renew(entry, side, RuleId(2), Epoch(1));

    for (packet, at, expected_rule, expected_reply) in [
        (udp(a, b), egress(), RuleId(1), false),
        (udp(a, b), ingress(), RuleId(2), false),
        (udp(b, a), egress(), RuleId(2), true),
        (udp(b, a), ingress(), RuleId(1), true),
    ] {
        let Lookup::Known { rule, reply, .. } = table.lookup(&packet, at) else {
            panic!("{at:?}");
        };
        assert_eq!((rule, reply), (expected_rule, expected_reply), "{at:?}");
    }
}

/// A worker that still decides by older tables must not cut what younger ones allow.
#[test]
fn only_tables_as_young_as_the_verdict_refuse_a_flow() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let second = Sighting {
        epoch: Epoch(2),
        ..egress()
    };
    let entry = table.create(&udp(a, b), second, RULE, 1).unwrap();
    assert!(!table.refuse(entry, Direction::Egress, Epoch(1)));
    assert_eq!(known(table.lookup(&udp(a, b), second)), Some(false));
    assert!(table.refuse(entry, Direction::Egress, Epoch(2)));
    assert!(!table.refuse(entry, Direction::Egress, Epoch(3)), "gone");

    let entry = table.create(&udp(a, b), second, RULE, 1).unwrap();
    assert!(
        table.refuse(entry, Direction::Ingress, Epoch(1)),
        "no verdict on this side yet"
    );
    assert_eq!(count(&table), 0);
}

#[test]
fn a_reply_with_an_old_verdict_names_the_original() {
    let table = table();
    let (a, b) = ((host(9), 40_000), (host(3), 80));
    table.create(&udp(a, b), ingress(), RULE, 1).unwrap();
    let later = Sighting {
        epoch: Epoch(2),
        ..egress()
    };
    let Lookup::Stale {
        entry,
        original,
        side,
        reply,
        ..
    } = table.lookup(&udp(b, a), later)
    else {
        panic!("the verdict is of epoch 1");
    };
    assert_eq!(
        (original, side, reply),
        (udp(a, b).flow, Direction::Ingress, true)
    );
    assert!(table.remove(entry));
    assert!(!table.remove(entry));
    assert_eq!(table.lookup(&udp(b, a), later), Lookup::New);
    assert_eq!(count(&table), 0);
}

#[test]
fn older_tables_never_replace_a_younger_verdict() {
    let table = table();
    let packet = udp((host(2), 1), (host(3), 2));
    let entry = table.create(&packet, egress(), RULE, 1).unwrap();
    let seen_by = |epoch| {
        table.lookup(
            &packet,
            Sighting {
                epoch: Epoch(epoch),
                ..egress()
            },
        )
    };
    table.renew(entry, Direction::Egress, RuleId(3), Epoch(3));
    table.renew(entry, Direction::Egress, RuleId(2), Epoch(2));
    assert_eq!(known(seen_by(3)), Some(false));
    assert!(matches!(seen_by(2), Lookup::Stale { .. }));
}

#[test]
fn a_reference_outlives_its_entry_harmlessly() {
    let table = table_of(16, 16);
    let old = table
        .create(&udp((host(2), 1), (host(3), 2)), egress(), RULE, 1)
        .unwrap();
    assert!(table.remove(old));
    for port in 0..16 {
        table
            .create(&udp((host(4), port), (host(5), 2)), egress(), RULE, 1)
            .unwrap();
    }
    table.renew(old, Direction::Ingress, RULE, Epoch(1));
    assert!(!table.remove(old));
    assert_eq!(count(&table), 16);
    table.for_each(|flow| assert_eq!(flow.ingress, None));
}

#[test]
fn a_reference_into_another_table_is_ignored() {
    let (large, small) = (table_of(4096, 4096), table_of(16, 16));
    for port in 0..1000 {
        let entry = large
            .create(&udp((host(2), port), (host(3), 2)), egress(), RULE, 1)
            .unwrap();
        small.renew(entry, Direction::Egress, RULE, Epoch(1));
        assert!(!small.remove(entry));
    }
}

#[test]
fn frames_go_home_to_the_queue_they_were_read_from() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let by = |worker, at: Sighting| Sighting { worker, ..at };
    let home = |found| match found {
        Lookup::Known { home, .. } | Lookup::Stale { home, .. } => home,
        other => panic!("{other:?}"),
    };
    table.create(&udp(a, b), by(2, egress()), RULE, 1).unwrap();
    assert_eq!(
        home(table.lookup(&udp(a, b), by(0, ingress()))),
        None,
        "b is still unheard"
    );
    assert_eq!(home(table.lookup(&udp(b, a), by(1, egress()))), Some(2));
    assert_eq!(home(table.lookup(&udp(a, b), by(0, ingress()))), Some(1));
    assert_eq!(home(table.lookup(&udp(b, a), by(0, ingress()))), Some(2));
    table.lookup(&udp(a, b), by(3, egress()));
    assert_eq!(
        home(table.lookup(&udp(b, a), by(0, ingress()))),
        Some(3),
        "a moved"
    );
    table.lookup(&udp(a, b), by(0xff, egress()));
    assert_eq!(
        home(table.lookup(&udp(b, a), by(0, ingress()))),
        Some(3),
        "255 is nobody"
    );
}

#[test]
fn a_frame_looked_up_on_both_sides_counts_once() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    table.create(&udp(a, b), egress(), RULE, 1).unwrap();
    table.lookup(&udp(a, b), ingress());
    for _ in 0..4 {
        table.lookup(&udp(b, a), egress());
        table.lookup(&udp(b, a), ingress());
    }
    table.for_each(|flow| {
        assert_eq!(flow.packets, [1, 4]);
        assert_eq!(flow.bytes, [LENGTH, 4 * LENGTH]);
    });
}

#[test]
fn frames_from_another_node_count_where_they_enter() {
    let table = table();
    let (remote, local) = ((host(200), 40_000), (host(3), 80));
    table
        .create(&udp(remote, local), ingress(), RULE, 1)
        .unwrap();
    table.lookup(&udp(remote, local), ingress());
    table.lookup(&udp(local, remote), egress());
    table.for_each(|flow| {
        assert_eq!(flow.packets, [2, 1]);
        assert_eq!(flow.homes, [None, Some(0)]);
    });
}

#[test]
fn creating_a_known_flow_joins_it() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let entry = table.create(&udp(a, b), egress(), RULE, 1).unwrap();
    assert_eq!(table.create(&udp(a, b), ingress(), RuleId(2), 2), Ok(entry));
    assert_eq!(known(table.lookup(&udp(a, b), ingress())), Some(false));
    // The verdict on b's egress is none of the verdicts on a's connection.
    let later = Sighting {
        epoch: Epoch(9),
        ..egress()
    };
    assert_eq!(table.create(&udp(b, a), later, RULE, 2), Ok(entry));
    assert!(matches!(
        table.lookup(&udp(a, b), later),
        Lookup::Stale { .. }
    ));
    assert!(matches!(
        table.lookup(&udp(b, a), later),
        Lookup::Stale { .. }
    ));
    assert_eq!((table.len_of(1), table.len_of(2)), (1, 0));
}

#[test]
fn later_fragments_are_decided_each_time() {
    let table = table();
    let mut packet = udp((host(2), 0), (host(3), 0));
    packet.fragment = Fragment::Later {
        id: 1,
        offset: 1480,
        more: false,
    };
    assert_eq!(table.lookup(&packet, egress()), Lookup::Untracked);
    assert!(table.create(&packet, egress(), RULE, 1).is_err());
    packet.fragment = Fragment::First { id: 1, len: 80 };
    assert_eq!(table.lookup(&packet, egress()), Lookup::New);
    assert_eq!(count(&table), 0);
}

#[test]
fn purges_take_what_they_name() {
    let table = table();
    for port in 0..10 {
        table
            .create(&udp((host(2), port), (host(3), 53)), egress(), RULE, 1)
            .unwrap();
        table
            .create(&udp((host(4), port), (host(2), 53)), egress(), RULE, 2)
            .unwrap();
        table
            .create(&udp((host(4), port), (host(5), 53)), egress(), RULE, 3)
            .unwrap();
    }
    assert_eq!(table.purge_address(host(99)), 0);
    assert_eq!(table.purge_owner(3), 10);
    assert_eq!(table.purge_owner(99), 0);
    assert_eq!(count(&table), 20);
    assert_eq!(table.purge_address(host(2)), 20);
    assert_eq!(count(&table), 0);
    assert!(table.is_empty());
}

/// Whoever gets a purged address next inherits nothing, neither as the end that asked nor as
/// the one that answered, whoever was charged.
#[test]
fn a_purged_address_is_unknown_in_both_directions() {
    let gone = host(2);
    let (asked, answered) = (
        ((gone, 1_000), (host(3), 53)),
        ((host(4), 1_000), (gone, 53)),
    );
    let ack = TcpFlags::ACK;
    let syn = |(a, b): (_, _)| tcp(a, b, (TcpFlags::SYN, 1, 0, 0));
    let data = |(a, b): (_, _)| tcp(a, b, (ack, 2, 2, 9));
    let back = |(a, b): (_, _)| (b, a);
    let table = table();
    for ends in [asked, answered] {
        for (at, owner) in [(egress(), 1), (ingress(), 2)] {
            table.create(&udp(ends.0, ends.1), at, RULE, owner).unwrap();
            table.create(&syn(ends), at, RULE, owner).unwrap();
            table.lookup(&udp(ends.1, ends.0), at);
        }
    }
    table
        .create(&echo(8, gone, host(3), 7), egress(), RULE, 1)
        .unwrap();
    table
        .create(&echo(8, host(4), gone, 7), ingress(), RULE, 1)
        .unwrap();
    let bystander = udp((host(3), 1_000), (host(4), 53));
    table.create(&bystander, egress(), RULE, 3).unwrap();

    assert_eq!(table.purge_address(gone), 6);
    for ends in [asked, answered, back(asked), back(answered)] {
        for at in [egress(), ingress()] {
            assert_eq!(table.lookup(&udp(ends.0, ends.1), at), Lookup::New);
            assert_eq!(table.lookup(&syn(ends), at), Lookup::New);
            assert_eq!(table.lookup(&data(ends), at), Lookup::Untracked);
        }
        assert_eq!(table.related(&quote(&udp(ends.0, ends.1)), NOW), None);
        assert_eq!(table.related(&quote(&syn(ends)), NOW), None);
    }
    for (from, to) in [(host(3), gone), (gone, host(4))] {
        assert_eq!(
            table.lookup(&echo(0, from, to, 7), ingress()),
            Lookup::Untracked
        );
    }
    assert_eq!(known(table.lookup(&bystander, egress())), Some(false));
    assert_eq!((count(&table), table.len_of(3)), (1, 1));
}

fn opening(packet: &Headers) -> Opening {
    Opening {
        flow: packet.flow,
        transport: packet.transport,
    }
}

#[test]
fn a_later_fragment_passes_by_its_flows_verdict() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 53));
    let by = |worker, at: Sighting| Sighting { worker, ..at };
    let (there, back) = (opening(&udp(a, b)), opening(&udp(b, a)));
    assert_eq!(table.lookup_later(&there, 60, egress()), Lookup::Untracked);
    table.create(&udp(a, b), by(4, egress()), RULE, 1).unwrap();

    let found = table.lookup_later(&there, 60, egress());
    assert!(matches!(
        found,
        Lookup::Known {
            rule: RULE,
            reply: false,
            home: None,
            ..
        }
    ));
    let found = table.lookup_later(&back, 40, ingress());
    assert!(matches!(
        found,
        Lookup::Known {
            rule: RULE,
            reply: true,
            home: Some(4),
            ..
        }
    ));
    let found = table.lookup_later(&there, 60, ingress());
    let Lookup::Stale { original, side, .. } = found else {
        panic!("ingress was never decided");
    };
    assert_eq!((original, side), (udp(a, b).flow, Direction::Ingress));
    let newer = Sighting {
        epoch: Epoch(2),
        ..egress()
    };
    assert!(matches!(
        table.lookup_later(&there, 60, newer),
        Lookup::Stale { .. }
    ));
    table.for_each(|flow| {
        assert_eq!(flow.packets, [3, 1]);
        assert_eq!(flow.bytes, [LENGTH + 120, 40]);
        assert_eq!(
            flow.state,
            FlowState::Udp(UdpState::OneWay),
            "fragments prove nothing"
        );
    });
}

#[test]
fn a_later_fragment_keeps_nothing_alive() {
    let table = table();
    let packet = udp((host(2), 1), (host(3), 2));
    table.create(&packet, egress(), RULE, 1).unwrap();
    let later = |secs| at(Direction::Egress, NOW + Span::from_secs(secs));
    let found = table.lookup_later(&opening(&packet), 60, later(29));
    assert_eq!(known(found), Some(false));
    let found = table.lookup_later(&opening(&packet), 60, later(30));
    assert_eq!(found, Lookup::Untracked);
}

#[test]
fn later_fragments_of_an_echo_go_by_its_direction() {
    let table = table();
    let (a, b) = (host(2), host(3));
    for identifier in [0, 9] {
        let (request, reply) = (echo(8, a, b, identifier), echo(0, b, a, identifier));
        table.create(&request, egress(), RULE, 1).unwrap();
        assert_eq!(
            known(table.lookup_later(&opening(&request), 60, egress())),
            Some(false)
        );
        assert_eq!(
            known(table.lookup_later(&opening(&reply), 60, ingress())),
            Some(true)
        );
        let back = opening(&echo(8, b, a, identifier));
        assert_eq!(table.lookup_later(&back, 60, ingress()), Lookup::Untracked);
    }
    let error = packet(
        key(IpProtocol::ICMP, (a, 0), (b, 0)),
        Transport::Icmp { kind: 3, code: 0 },
    );
    assert_eq!(
        table.lookup_later(&opening(&error), 60, egress()),
        Lookup::Untracked
    );
}

#[test]
fn an_owner_that_does_not_exist_gets_nothing() {
    let table = table();
    let packet = udp((host(2), 1), (host(3), 2));
    for owner in [16, 65_536, u32::MAX] {
        assert!(
            table.create(&packet, egress(), RULE, owner).is_err(),
            "{owner}"
        );
        assert_eq!(table.len_of(owner), 0);
    }
    assert_eq!(count(&table), 0);
}
