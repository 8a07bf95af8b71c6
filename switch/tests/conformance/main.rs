//! Every case of the list beside this file: offline against the engine, the oracle and the
//! explanation, and as real packets in a lab. `README.md` tells how to add one.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod case;
mod offline;
mod packets;
mod world;

use case::Case;

/// One test per subtle point of the semantics; a file that is missing fails it.
macro_rules! semantics {
    ($($number:literal $test:ident $file:literal,)*) => {
        $(#[test]
        fn $test() {
            let case = Case::read(concat!($file, ".yaml"));
            assert_eq!(case.semantics, Some($number));
            offline::holds(&case);
        })*

        /// The files of the tests above, in the order of their numbers.
        pub(crate) const SEMANTICS: [&str; 25] = [$($file),*];
    };
}

semantics! {
    1 isolation_is_per_direction "01-isolation-is-per-direction",
    2 allows_add_up "02-allows-add-up",
    3 both_ends_must_allow "03-both-ends-must-allow",
    4 policy_types_default "04-policy-types-default",
    5 empty_and_absent_lists "05-empty-and-absent-lists",
    6 selectors_of_peers "06-selectors-of-peers",
    7 match_expressions "07-match-expressions",
    8 ip_block_and_except "08-ip-block-and-except",
    9 named_ports_of_the_destination "09-named-ports-of-the-destination",
    10 protocol_and_port_defaults "10-protocol-and-port-defaults",
    11 sctp_rule_isolates "11-sctp-rule-isolates",
    12 own_node_reaches_its_pods "12-own-node-reaches-its-pods",
    13 host_network_pods_are_their_node "13-host-network-pods-are-their-node",
    14 a_pod_reaches_itself "14-a-pod-reaches-itself",
    15 replies_and_related_errors "15-replies-and-related-errors",
    16 live_connections_are_judged_again "16-live-connections-are-judged-again",
    17 new_pods_are_closed_from_the_first_instant "17-new-pods-are-closed-from-the-first-instant",
    18 terminating_and_finished_pods "18-terminating-and-finished-pods",
    19 icmp_needs_a_rule_without_ports "19-icmp-needs-a-rule-without-ports",
    20 services_are_judged_by_their_pods "20-services-are-judged-by-their-pods",
    21 labels_and_policies_change "21-labels-and-policies-change",
    22 families_alike "22-families-alike",
    23 broadcast_and_multicast "23-broadcast-and-multicast",
    24 fragments_follow_their_first "24-fragments-follow-their-first",
    25 blocks_keep_to_their_family "25-blocks-keep-to-their-family",
}

#[test]
fn the_list_is_in_order_and_every_subtle_point_has_a_file() {
    let all = case::all();
    let files: Vec<&str> = all.iter().map(|case| case.file.as_str()).collect();
    for file in SEMANTICS {
        assert!(files.contains(&file), "{file}.yaml is missing");
    }
    for (number, file) in (1..).zip(files) {
        assert!(
            file.starts_with(&format!("{number:02}-")),
            "{file} is not number {number}"
        );
    }
    let mut told: Vec<u8> = all.iter().filter_map(|case| case.semantics).collect();
    told.sort_unstable();
    assert_eq!(told, (1..=25).collect::<Vec<_>>());
}

/// The runner itself: every judge is asked, and one that differs is named with its cell.
#[test]
fn a_wrong_expectation_is_noticed_by_every_judge() {
    let mut case = Case::read("01-isolation-is-per-direction.yaml");
    case.expect_otherwise();
    let (differences, cells) = offline::run(&case);
    assert!(cells > 1000, "{cells}");
    for judge in ["oracle", "explain", "step by step", "from nothing"] {
        let said = format!("x/b -> x/a TCP/80 IPv4: expected allow, {judge}");
        let named = |line: &&String| line.replace("engine, ", "").contains(&said);
        assert!(differences.iter().any(|line| named(&line)), "{judge}");
    }
}

#[test]
fn every_other_case_offline() {
    let mut all = case::all();
    all.retain(|case| case.semantics.is_none());
    let mut differences = Vec::new();
    let mut cells = 0;
    for case in &all {
        let (more, count) = offline::run(case);
        differences.extend(more);
        cells += count;
    }
    assert!(
        differences.is_empty(),
        "{} differences of {cells} cells\n{}",
        differences.len(),
        differences.join("\n")
    );
    eprintln!("{} cases, {cells} cells", all.len());
}

/// `WEFT_CONFORMANCE=all` probes every case, `WEFT_CONFORMANCE=NN` those whose name begins so;
/// without it the subtle points of the semantics.
#[test]
fn cases_as_packets() {
    if !packets::may_run("cases_as_packets") {
        return;
    }
    let wanted = std::env::var("WEFT_CONFORMANCE").unwrap_or_default();
    let chosen = |case: &Case| match wanted.as_str() {
        "" => case.semantics.is_some(),
        "all" => true,
        start => case.file.starts_with(start),
    };
    let cases: Vec<Case> = case::all().into_iter().filter(chosen).collect();
    assert!(!cases.is_empty(), "no case begins with {wanted}");
    let began = packets::now();
    let lab = packets::Lab::up();
    let mut tally = packets::Tally::default();
    for case in &cases {
        let before = (packets::now(), tally.cells, tally.differences.len());
        lab.run(case, &mut tally);
        println!(
            "{} {}: {} steps, {} cells, {:.1?}",
            if tally.differences.len() == before.2 {
                "ok  "
            } else {
                "FAIL"
            },
            case.file,
            case.steps.len(),
            tally.cells - before.1,
            packets::now().duration_since(before.0),
        );
    }
    let packets::Tally {
        steps,
        cells,
        refusers,
        differences,
    } = &tally;
    println!(
        "{} cases, {steps} steps, {cells} cells as packets, {refusers} refusers named, \
         {} differences, {:.1?}",
        cases.len(),
        differences.len(),
        packets::now().duration_since(began)
    );
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
