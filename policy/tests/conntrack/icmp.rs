//! Echo by identifier and direction, errors by the packet inside them.

use weft_policy::{Epoch, Lookup, Sighting, Span};
use weft_wire::{IpProtocol, Transport};

use crate::packets::*;

#[test]
fn an_echo_reply_answers_its_request() {
    let table = table();
    let (a, b) = (host(2), host(3));
    for identifier in [0, 1, 0xffff] {
        assert_eq!(
            table.lookup(&echo(8, a, b, identifier), egress()),
            Lookup::New
        );
        table
            .create(&echo(8, a, b, identifier), egress(), RULE, 1)
            .unwrap();
        assert_eq!(
            known(table.lookup(&echo(8, a, b, identifier), egress())),
            Some(false)
        );
        assert_eq!(
            known(table.lookup(&echo(0, b, a, identifier), ingress())),
            Some(true)
        );
    }
    assert_eq!(count(&table), 3);
}

/// GHSA-c66w-hq56-4q97: a request back with the same identifier is no reply.
#[test]
fn an_echo_request_the_other_way_is_another_flow() {
    for identifier in [0, 1, 0xffff] {
        for (a, b) in [(host(2), host(3)), (host(3), host(2))] {
            let table = table();
            table
                .create(&echo(8, a, b, identifier), egress(), RULE, 1)
                .unwrap();
            let back = echo(8, b, a, identifier);
            assert_eq!(table.lookup(&back, ingress()), Lookup::New, "{identifier}");
            table.create(&back, egress(), RULE, 1).unwrap();
            assert_eq!(count(&table), 2);
            assert_eq!(
                known(table.lookup(&echo(0, a, b, identifier), ingress())),
                Some(true)
            );
        }
    }
}

#[test]
fn a_reply_nobody_asked_for_starts_nothing() {
    let table = table();
    let reply = echo(0, host(3), host(2), 7);
    assert_eq!(table.lookup(&reply, egress()), Lookup::Untracked);
    assert!(table.create(&reply, egress(), RULE, 1).is_err());
    table
        .create(&echo(8, host(2), host(3), 8), egress(), RULE, 1)
        .unwrap();
    assert_eq!(table.lookup(&reply, ingress()), Lookup::Untracked);
    // In the direction of the requests.
    assert_eq!(
        table.lookup(&echo(0, host(2), host(3), 8), egress()),
        Lookup::Untracked
    );
}

#[test]
fn of_all_icmp_types_only_echo_is_tracked() {
    let table = table();
    for kind in (0..=u8::MAX).filter(|kind| !matches!(kind, 0 | 8)) {
        let flow = key(IpProtocol::ICMP, (host(2), 0), (host(3), 0));
        let packet = packet(flow, Transport::Icmp { kind, code: 0 });
        assert_eq!(table.lookup(&packet, egress()), Lookup::Untracked, "{kind}");
    }
    let (a, b) = ("fd00::2".parse().unwrap(), "fd00::3".parse().unwrap());
    for kind in 0..=u8::MAX {
        let flow = key(IpProtocol::ICMPV6, (a, 0), (b, 0));
        let packet = packet(flow, Transport::Icmpv6 { kind, code: 0 });
        let expected = if kind == 128 {
            Lookup::New
        } else {
            Lookup::Untracked
        };
        assert_eq!(table.lookup(&packet, egress()), expected, "{kind}");
    }
    let other = packet(
        key(IpProtocol(89), (host(2), 0), (host(3), 0)),
        Transport::Other,
    );
    assert_eq!(table.lookup(&other, egress()), Lookup::Untracked);
}

#[test]
fn an_error_matches_only_the_flow_inside_it() {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 53));
    let by = |worker, at: Sighting| Sighting { worker, ..at };
    table.create(&udp(a, b), by(4, egress()), RULE, 1).unwrap();
    table.lookup(&udp(b, a), by(5, egress()));

    let sent_by_a = table.related(&udp(a, b).flow, NOW).unwrap();
    assert_eq!((sent_by_a.reply, sent_by_a.home), (false, Some(4)));
    let sent_by_b = table.related(&udp(b, a).flow, NOW).unwrap();
    assert_eq!((sent_by_b.reply, sent_by_b.home), (true, Some(5)));
    assert_eq!(sent_by_a.original, udp(a, b).flow);
    assert_eq!(
        (sent_by_a.egress, sent_by_a.ingress),
        (Some(Epoch(1)), None)
    );

    for stranger in [
        udp((host(4), 40_000), b).flow,
        udp(a, (host(4), 53)).flow,
        udp((host(2), 40_001), b).flow,
        udp(a, (host(3), 54)).flow,
        sctp(a, b).flow,
        key(IpProtocol(89), (host(2), 0), (host(3), 0)),
    ] {
        assert_eq!(table.related(&stranger, NOW), None, "{stranger}");
    }
}

#[test]
fn an_error_about_an_echo_names_its_sender() {
    let table = table();
    let (a, b) = (host(2), host(3));
    for identifier in [0, 9] {
        table
            .create(&echo(8, a, b, identifier), egress(), RULE, 1)
            .unwrap();
        let request = table.related(&echo(8, a, b, identifier).flow, NOW).unwrap();
        assert!(!request.reply);
    }
    assert!(table.related(&echo(0, b, a, 9).flow, NOW).unwrap().reply);
    assert_eq!(table.related(&echo(8, b, a, 9).flow, NOW), None);
}

#[test]
fn an_error_keeps_nothing_alive() {
    let table = table();
    let packet = udp((host(2), 40_000), (host(3), 53));
    table.create(&packet, egress(), RULE, 1).unwrap();
    let just_before = NOW + Span::from_millis(29_999);
    assert!(table.related(&packet.flow, just_before).is_some());
    assert!(
        table
            .related(&packet.flow, NOW + Span::from_secs(30))
            .is_none()
    );
    assert_eq!(
        table.lookup(&packet, at(egress().side, NOW + Span::from_secs(30))),
        Lookup::New
    );
}
