//! Echo by identifier and direction, errors by the packet inside them.

use weft_policy::{Conntrack, Epoch, Lookup, Sighting, Span};
use weft_wire::{IpProtocol, TcpFlags, Transport};

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

    let sent_by_a = table.related(&quote(&udp(a, b)), NOW).unwrap();
    assert_eq!((sent_by_a.reply, sent_by_a.home), (false, Some(4)));
    let sent_by_b = table.related(&quote(&udp(b, a)), NOW).unwrap();
    assert_eq!((sent_by_b.reply, sent_by_b.home), (true, Some(5)));
    assert_eq!(sent_by_a.original, udp(a, b).flow);
    assert_eq!(
        (sent_by_a.egress, sent_by_a.ingress),
        (Some(Epoch(1)), None)
    );

    for stranger in [
        udp((host(4), 40_000), b),
        udp(a, (host(4), 53)),
        udp((host(2), 40_001), b),
        udp(a, (host(3), 54)),
        sctp(a, b),
        packet(
            key(IpProtocol(89), (host(2), 0), (host(3), 0)),
            Transport::Other,
        ),
    ] {
        assert_eq!(table.related(&quote(&stranger), NOW), None, "{stranger:?}");
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
        let request = table
            .related(&quote(&echo(8, a, b, identifier)), NOW)
            .unwrap();
        assert!(!request.reply);
    }
    assert!(table.related(&quote(&echo(0, b, a, 9)), NOW).unwrap().reply);
    assert_eq!(table.related(&quote(&echo(8, b, a, 9)), NOW), None);
}

#[test]
fn an_error_keeps_nothing_alive() {
    let table = table();
    let packet = udp((host(2), 40_000), (host(3), 53));
    table.create(&packet, egress(), RULE, 1).unwrap();
    let just_before = NOW + Span::from_millis(29_999);
    assert!(table.related(&quote(&packet), just_before).is_some());
    assert!(
        table
            .related(&quote(&packet), NOW + Span::from_secs(30))
            .is_none()
    );
    assert_eq!(
        table.lookup(&packet, at(egress().side, NOW + Span::from_secs(30))),
        Lookup::New
    );
}

/// Client at 1,001 of which 901 acknowledged, server at 5,001.
fn connection() -> Conntrack {
    let table = table();
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let ack = TcpFlags::ACK;
    let syn = tcp(a, b, (TcpFlags::SYN, 800, 0, 0));
    table.create(&syn, egress(), RULE, 1).unwrap();
    table.lookup(&tcp(b, a, (TcpFlags::SYN | ack, 5_000, 801, 0)), ingress());
    table.lookup(&tcp(a, b, (ack, 801, 5_001, 200)), egress());
    table.lookup(&tcp(b, a, (ack, 5_001, 901, 0)), ingress());
    table
}

/// RFC 5927 §4.1: who does not see the connection does not know its numbers.
#[test]
fn an_error_about_tcp_must_quote_a_number_in_flight() {
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let about = |from, to, seq| quote(&tcp(from, to, (TcpFlags::ACK, seq, 0, 0)));
    let table = connection();
    for (seq, is_related) in [
        (900, false),
        (901, true),
        (950, true),
        (1_000, true),
        (1_001, true),
        (1_002, false),
        (0, false),
        (u32::MAX, false),
        (901 + (1 << 31), false),
    ] {
        assert_eq!(
            table.related(&about(a, b, seq), NOW).is_some(),
            is_related,
            "{seq}"
        );
    }
    for (seq, is_related) in [(5_000, false), (5_001, true), (5_002, false)] {
        let related = table.related(&about(b, a, seq), NOW);
        assert_eq!(
            related.is_some_and(|related| related.reply),
            is_related,
            "{seq}"
        );
    }
}

#[test]
fn an_error_about_a_syn_quotes_the_syn() {
    let (a, b) = ((host(2), 40_000), (host(3), 80));
    let table = table();
    for (isn, port) in [(1_000, 1), (0, 2), (u32::MAX, 3)] {
        let syn = tcp((a.0, port), b, (TcpFlags::SYN, isn, 0, 0));
        table.create(&syn, egress(), RULE, 1).unwrap();
        assert!(table.related(&quote(&syn), NOW).is_some(), "{isn}");
        for distance in [2, 1 << 20, 1 << 31, u32::MAX - 65_536] {
            let stranger = (TcpFlags::SYN, isn.wrapping_add(distance), 0, 0);
            let about = quote(&tcp((a.0, port), b, stranger));
            assert_eq!(table.related(&about, NOW), None, "{isn} + {distance}");
        }
        // The responder has sent nothing.
        let about = quote(&tcp(b, (a.0, port), (TcpFlags::ACK, 0, 0, 0)));
        assert_eq!(table.related(&about, NOW), None);
    }
}
