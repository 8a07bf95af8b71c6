//! Connections by their segments: state, RST in and out of window, new uses of
//! old ports.

use core::net::IpAddr;

use weft_policy::{Conntrack, FlowState, Lookup, TcpState};
use weft_wire::TcpFlags;

use crate::packets::*;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const SYN_ACK: TcpFlags = TcpFlags(SYN.0 | ACK.0);
const FIN_ACK: TcpFlags = TcpFlags(TcpFlags::FIN.0 | ACK.0);
const RST_ACK: TcpFlags = TcpFlags(RST.0 | ACK.0);

fn client() -> (IpAddr, u16) {
    (host(2), 40_000)
}

fn server() -> (IpAddr, u16) {
    (host(3), 80)
}

fn sends(table: &Conntrack, segment: Segment) -> Lookup {
    table.lookup(&tcp(client(), server(), segment), egress())
}

fn answers(table: &Conntrack, segment: Segment) -> Lookup {
    table.lookup(&tcp(server(), client(), segment), ingress())
}

fn opened() -> Conntrack {
    let table = table();
    let syn = tcp(client(), server(), (SYN, 1_000, 0, 0));
    assert_eq!(table.lookup(&syn, egress()), Lookup::New);
    table.create(&syn, egress(), RULE, 1).unwrap();
    table
}

/// Client at 1,001, server at 5,001.
fn established() -> Conntrack {
    let table = opened();
    answers(&table, (SYN_ACK, 5_000, 1_001, 0));
    sends(&table, (ACK, 1_001, 5_001, 0));
    assert_eq!(state(&table), TcpState::Established);
    table
}

fn state(table: &Conntrack) -> TcpState {
    let mut state = None;
    table.for_each(|flow| match flow.state {
        FlowState::Tcp(tcp) => state = Some(tcp),
        other => panic!("{other:?}"),
    });
    state.unwrap()
}

fn is_off_window(found: Lookup) -> bool {
    match found {
        Lookup::Known { off_window, .. } => off_window,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_lives_from_syn_to_last_fin() {
    let table = opened();
    assert_eq!(state(&table), TcpState::Opening);
    assert_eq!(
        known(answers(&table, (SYN_ACK, 5_000, 1_001, 0))),
        Some(true)
    );
    assert_eq!(state(&table), TcpState::Answered);
    assert_eq!(known(sends(&table, (ACK, 1_001, 5_001, 0))), Some(false));
    assert_eq!(state(&table), TcpState::Established);
    answers(&table, (FIN_ACK, 5_001, 1_001, 0));
    assert_eq!(state(&table), TcpState::FinResponder);
    sends(&table, (FIN_ACK, 1_001, 5_002, 0));
    assert_eq!(state(&table), TcpState::Closed);
}

#[test]
fn a_frame_seen_on_both_sides_moves_the_state_once() {
    let table = opened();
    let both = |packet: &_| {
        table.lookup(packet, egress());
        table.lookup(packet, ingress());
    };
    both(&tcp(client(), server(), (SYN, 1_000, 0, 0)));
    assert_eq!(state(&table), TcpState::Opening);
    both(&tcp(server(), client(), (SYN_ACK, 5_000, 1_001, 0)));
    assert_eq!(state(&table), TcpState::Answered);
    both(&tcp(client(), server(), (FIN_ACK, 1_001, 5_001, 0)));
    assert_eq!(state(&table), TcpState::FinInitiator);
}

/// Between what the client acknowledged (5,001) and what the server sent (5,501).
#[test]
fn only_an_rst_in_window_resets() {
    for (seq, accepted) in [
        (5_000, false),
        (5_001, true),
        (5_250, true),
        (5_501, true),
        (5_502, false),
        (0, false),
        (u32::MAX, false),
        (5_001_u32.wrapping_add(1 << 31), false),
    ] {
        for flags in [RST, RST_ACK] {
            let table = established();
            answers(&table, (ACK, 5_001, 1_001, 500));
            let found = answers(&table, (flags, seq, 1_001, 0));
            assert_eq!(is_off_window(found), !accepted, "{seq}");
            let expected = if accepted {
                TcpState::Reset
            } else {
                TcpState::Established
            };
            assert_eq!(state(&table), expected, "{seq}");
        }
    }
}

#[test]
fn the_window_wraps_with_the_numbers() {
    for (seq, accepted) in [
        (u32::MAX - 10, true),
        (u32::MAX, true),
        (89, true),
        (90, false),
    ] {
        let table = table();
        let syn = tcp(client(), server(), (SYN, 1_000, 0, 0));
        table.create(&syn, egress(), RULE, 1).unwrap();
        answers(&table, (SYN_ACK, u32::MAX - 11, 1_001, 0));
        sends(&table, (ACK, 1_001, u32::MAX - 10, 0));
        answers(&table, (ACK, u32::MAX - 10, 1_001, 100));
        assert_eq!(
            is_off_window(answers(&table, (RST, seq, 0, 0))),
            !accepted,
            "{seq}"
        );
    }
}

#[test]
fn a_refusal_must_acknowledge_the_syn() {
    for (segment, accepted) in [
        ((RST_ACK, 0, 1_001, 0), true),
        ((RST_ACK, 0, 1_000, 0), false),
        ((RST_ACK, 0, 1_002, 0), false),
        ((RST, 0, 1_001, 0), false),
    ] {
        let table = opened();
        assert_eq!(
            is_off_window(answers(&table, segment)),
            !accepted,
            "{segment:?}"
        );
        let expected = if accepted {
            TcpState::Reset
        } else {
            TcpState::Opening
        };
        assert_eq!(state(&table), expected);
    }
}

#[test]
fn a_client_gives_up_at_its_next_number() {
    for (seq, accepted) in [(1_001, true), (1_000, false), (1_002, false)] {
        let table = opened();
        assert_eq!(
            is_off_window(sends(&table, (RST, seq, 0, 0))),
            !accepted,
            "{seq}"
        );
    }
}

#[test]
fn an_rst_outside_the_window_leaves_the_numbers_alone() {
    let table = established();
    assert!(is_off_window(answers(&table, (RST, 9_000, 0, 0))));
    assert!(is_off_window(answers(&table, (RST, 8_000, 0, 0))));
    assert!(!is_off_window(answers(&table, (RST, 5_001, 0, 0))));
}

#[test]
fn data_after_a_wrong_rst_flows_on() {
    let table = established();
    assert!(is_off_window(answers(&table, (RST, 77, 0, 0))));
    assert_eq!(known(answers(&table, (ACK, 5_001, 1_001, 10))), Some(true));
    assert_eq!(state(&table), TcpState::Established);
}

/// Kubernetes's kube-network-policies #246: whatever else made an entry would let answers
/// to it pass.
#[test]
fn only_a_syn_alone_makes_an_entry() {
    for flags in (0..=u8::MAX).map(TcpFlags) {
        let table = table();
        let begins = flags.0 & 0x17 == SYN.0;
        for _ in 0..2 {
            let packet = tcp(client(), server(), (flags, 1_000, 5_000, 10));
            let found = table.lookup(&packet, egress());
            let expected = if begins {
                Lookup::New
            } else {
                Lookup::Untracked
            };
            assert_eq!(found, expected, "{flags:?}");
            if !begins {
                assert!(table.create(&packet, egress(), RULE, 1).is_err());
            }
        }
        assert_eq!(count(&table), 0, "{flags:?}");
        assert_eq!(table.stats().created, 0);
    }
}

/// The middle of a connection that began before the table did is decided each time,
/// both ways.
#[test]
fn the_middle_of_a_connection_is_never_remembered() {
    let table = table();
    for _ in 0..3 {
        assert_eq!(sends(&table, (ACK, 1_001, 5_001, 10)), Lookup::Untracked);
        assert_eq!(answers(&table, (ACK, 5_001, 1_011, 10)), Lookup::Untracked);
        assert_eq!(
            answers(&table, (SYN_ACK, 5_000, 1_001, 0)),
            Lookup::Untracked
        );
    }
    assert_eq!(count(&table), 0);
    assert_eq!(sends(&table, (SYN, 9_000, 0, 0)), Lookup::New);
}

#[test]
fn syn_and_fin_together_neither_end_nor_reopen() {
    let syn_fin = TcpFlags(SYN.0 | TcpFlags::FIN.0);
    let table = established();
    sends(&table, (syn_fin, 1_001, 0, 0));
    answers(&table, (syn_fin, 5_001, 0, 0));
    assert_eq!(state(&table), TcpState::Established);
    answers(&table, (RST, 5_001, 1_001, 0));
    for segment in [(syn_fin, 70_000, 0, 0), (TcpFlags(SYN.0 | RST.0), 1, 0, 0)] {
        assert_eq!(known(sends(&table, segment)), Some(false));
        assert_eq!(known(answers(&table, segment)), Some(true));
        assert_eq!(state(&table), TcpState::Reset);
    }
    assert_eq!(count(&table), 1);
}

#[test]
fn the_same_client_opens_an_ended_connection_again() {
    let table = established();
    answers(&table, (RST, 5_001, 0, 0));
    assert_eq!(state(&table), TcpState::Reset);
    assert_eq!(known(sends(&table, (SYN, 900_000, 0, 0))), Some(false));
    assert_eq!(state(&table), TcpState::Opening);
    // The old connection's numbers are forgotten.
    assert!(is_off_window(answers(&table, (RST, 5_001, 0, 0))));
    assert!(!is_off_window(answers(&table, (RST_ACK, 0, 900_001, 0))));
    assert_eq!(count(&table), 1);
}

#[test]
fn the_old_server_opening_the_other_way_is_new() {
    let table = established();
    answers(&table, (SYN, 70_000, 0, 0));
    assert_eq!(
        state(&table),
        TcpState::Established,
        "a bare SYN ends nothing"
    );
    answers(&table, (RST, 5_001, 0, 0));
    assert_eq!(answers(&table, (SYN, 70_000, 0, 0)), Lookup::New);
    assert_eq!(count(&table), 0);
    let syn = tcp(server(), client(), (SYN, 70_000, 0, 0));
    table.create(&syn, ingress(), RULE, 2).unwrap();
    table.for_each(|flow| assert_eq!(flow.original, syn.flow));
    assert_eq!(table.len_of(2), 1);
}
