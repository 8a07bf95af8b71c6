//! Does every verb end as it should, whatever the daemon does, however often and in whatever order?

use std::time::Duration;

use serde_json::{Value, json};
use weft_cni::Environment;
use weft_cni::daemon::{Call, Code};
use weft_cni::plugin::{Answer, Limits, answer};

use crate::common::{Host, Manner, Pod, privileged, run};

/// Short enough for a test, long enough for a busy machine to answer in where an answer comes.
const SOON: Limits = Limits {
    add: Duration::from_millis(300),
    del: Duration::from_millis(300),
    check: Duration::from_millis(300),
    gc: Duration::from_millis(300),
    status: Duration::from_millis(300),
    undo: Duration::from_millis(300),
};

/// What a test of a daemon that answers waits for at most.
const PATIENT: Limits = Limits {
    add: Duration::from_secs(60),
    del: Duration::from_secs(60),
    check: Duration::from_secs(60),
    gc: Duration::from_secs(60),
    status: Duration::from_secs(60),
    undo: Duration::from_secs(60),
};

const VERBS: [&str; 5] = ["ADD", "CHECK", "DEL", "GC", "STATUS"];

/// A configuration with what each verb needs.
fn config(host: &Host, netns: &str) -> Value {
    let mut config = host.config();
    config["cni.dev/valid-attachments"] = json!([]);
    config["prevResult"] = json!({
        "interfaces": [{"name": "eth0", "sandbox": netns}],
        "ips": [
            {"address": "10.244.1.5/32", "interface": 0},
            {"address": "fd00:10:244:1::5/128", "interface": 0},
        ],
    });
    config
}

fn ask(host: &Host, verb: &str, netns: &str, limits: &Limits) -> Result<Answer, (u32, String)> {
    let environment: Environment = host.env(verb, netns).into_iter().collect();
    let stdin = config(host, netns).to_string();
    let answer = answer(&environment, stdin.as_bytes(), limits);
    answer.map_err(|error| (error.code.0, error.to_string()))
}

fn code(host: &Host, verb: &str, netns: &str, limits: &Limits) -> u32 {
    match ask(host, verb, netns, limits) {
        Ok(_) => 0,
        Err((code, text)) => {
            assert!(text.contains("; "), "{verb} gives no reason: {text}");
            code
        }
    }
}

#[test]
fn every_order_of_verbs_leaves_what_its_last_one_means() {
    if !privileged("every_order_of_verbs_leaves_what_its_last_one_means") {
        return;
    }
    let pod = Pod::new();
    let orders = VERBS.iter().flat_map(|one| {
        VERBS
            .iter()
            .flat_map(move |two| VERBS.iter().map(move |three| [*one, *two, *three]))
    });
    for order in orders {
        let host = Host::new();
        let daemon = host.daemon(Manner::Up);
        let mut attached = false;
        for verb in order {
            let expected = if verb == "CHECK" && !attached { 102 } else { 0 };
            assert_eq!(
                code(&host, verb, &pod.path, &PATIENT),
                expected,
                "{verb} of {order:?}"
            );
            attached = match verb {
                "ADD" => true,
                "DEL" | "GC" => false,
                _ => attached,
            };
            assert_eq!(
                daemon.attached().len(),
                usize::from(attached),
                "{verb} of {order:?}"
            );
        }
        assert!(host.notes().is_empty());
    }
}

/// The codes of VERBS for each manner of the daemon, and whether a DEL leaves a note.
fn manners() -> Vec<(Option<Manner>, [u32; 5], bool)> {
    let gone = ([11, 11, 0, 11, 51], true);
    let refused = |code| ([code, code, code, code, 50], false);
    let mut cases = vec![
        (None, gone),
        (Some(Manner::Hanging), gone),
        (Some(Manner::Closing), gone),
        (Some(Manner::NewerVersion), refused(101)),
        (Some(Manner::Babbling), refused(100)),
        (Some(Manner::Unready(false)), refused(100)),
        (
            Some(Manner::Unready(true)),
            ([100, 100, 100, 100, 51], false),
        ),
        (
            Some(Manner::Refusing(Code::Unavailable)),
            ([11, 11, 0, 11, 50], true),
        ),
        (
            Some(Manner::RefusingOnly("attach", Code::Host)),
            ([5, 102, 0, 0, 0], false),
        ),
    ];
    let codes = [
        (Code::Version, 101),
        (Code::BadMessage, 100),
        (Code::NotAllowed, 100),
        (Code::Invalid, 7),
        (Code::Conflict, 100),
        (Code::Mismatch, 102),
        (Code::Host, 5),
    ];
    let refusals = codes.map(|(code, number)| (Some(Manner::Refusing(code)), refused(number)));
    cases.extend(refusals);
    let flat = cases
        .into_iter()
        .map(|(manner, (codes, noted))| (manner, codes, noted));
    flat.collect()
}

#[test]
fn whatever_the_daemon_does_each_verb_ends_with_its_code() {
    if !privileged("whatever_the_daemon_does_each_verb_ends_with_its_code") {
        return;
    }
    let pod = Pod::new();
    for (manner, codes, noted) in manners() {
        let host = Host::new();
        let limits = match manner {
            Some(Manner::Hanging) => SOON,
            _ => PATIENT,
        };
        let _daemon = manner.clone().map(|manner| host.daemon(manner));
        for (verb, expected) in VERBS.into_iter().zip(codes) {
            for time in ["first", "second"] {
                let code = code(&host, verb, &pod.path, &limits);
                assert_eq!(
                    code, expected,
                    "{verb}, the {time} time, daemon: {manner:?}"
                );
            }
        }
        let notes = if noted { vec!["c1:eth0"] } else { vec![] };
        assert_eq!(host.notes(), notes, "{manner:?}");
    }
}

#[test]
fn a_hanging_daemon_costs_status_and_del_no_more_than_their_time() {
    let host = Host::new();
    let _daemon = host.daemon(Manner::Hanging);
    std::thread::scope(|scope| {
        let config = host.config().to_string();
        let started = |verb: &'static str| {
            let (host, config) = (&host, config.clone());
            move || run(&host.env(verb, ""), config.as_bytes())
        };
        let status = scope.spawn(started("STATUS"));
        let del = scope.spawn(started("DEL"));
        let status = status.join().unwrap();
        assert_eq!(status.code(), 51);
        assert!(status.stdout.contains("no answer within"), "{status:?}");
        let del = del.join().unwrap();
        assert_eq!((del.stdout.as_str(), del.exit), ("", 0), "{del:?}");
    });
    assert_eq!(host.notes(), ["c1:eth0"]);
}

#[test]
fn del_needs_no_namespace() {
    let host = Host::new();
    let daemon = host.daemon(Manner::Up);
    for netns in ["", "/nonexistent/netns", "/dev/null", "/proc/self/ns/net"] {
        let ran = run(
            &host.env("DEL", netns),
            host.config().to_string().as_bytes(),
        );
        assert_eq!(
            (ran.stdout.as_str(), ran.exit),
            ("", 0),
            "{netns:?}: {ran:?}"
        );
    }
    assert_eq!(daemon.calls().len(), 4);
}

#[test]
fn a_state_directory_of_others_is_no_place_for_a_note() {
    let host = Host::new();
    let elsewhere = Host::new();
    std::os::unix::fs::symlink(elsewhere.path("."), host.path("state")).unwrap();
    let ran = run(&host.env("DEL", ""), host.config().to_string().as_bytes());
    assert_eq!(ran.code(), 5);
    assert!(ran.stdout.contains("symbolic link"), "{ran:?}");
    assert!(!elsewhere.path("deleted").exists());
}

#[test]
fn status_tells_an_operator_what_is_wrong() {
    let host = Host::new();
    let _daemon = host.daemon(Manner::Unready(false));
    let ran = run(
        &host.env("STATUS", ""),
        host.config().to_string().as_bytes(),
    );
    let expected = json!({
        "cniVersion": "1.1.0", "code": 50,
        "msg": "the weft daemon is not ready: 10.244.1.0/24 is exhausted",
        "details": "give the node a larger range",
    });
    assert_eq!((ran.json(), ran.exit), (expected, 1));
}

#[test]
fn gc_passes_on_what_is_valid_under_either_name() {
    let host = Host::new();
    let daemon = host.daemon(Manner::Up);
    let mut config = host.config();
    config["cni.dev/valid-attachments"] = json!([{"containerID": "a", "ifname": "eth0"}]);
    config["cni.dev/attachments"] = json!([{"containerID": "b", "ifname": "net1"}]);
    let ran = run(&host.env("GC", ""), config.to_string().as_bytes());
    assert_eq!((ran.stdout.as_str(), ran.exit), ("", 0), "{ran:?}");
    let calls = daemon.calls();
    let [Call::Gc(gc)] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert_eq!((gc.network.as_str(), gc.valid.len()), ("weft", 2));
    config["cni.dev/attachments"] = json!([{"containerID": "b"}]);
    let ran = run(&host.env("GC", ""), config.to_string().as_bytes());
    assert_eq!(ran.code(), 6);
    assert_eq!(daemon.calls().len(), 1);
}

#[test]
fn several_interfaces_of_a_container_are_several_attachments() {
    if !privileged("several_interfaces_of_a_container_are_several_attachments") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let daemon = host.daemon(Manner::Up);
    let on = |verb: &str, ifname: &str| {
        let mut env = host.env(verb, &pod.path);
        env.retain(|(key, _)| key != "CNI_IFNAME");
        env.push(("CNI_IFNAME".into(), ifname.into()));
        run(&env, host.config().to_string().as_bytes()).code()
    };
    assert_eq!(
        [on("ADD", "eth0"), on("ADD", "net1"), on("DEL", "eth0")],
        [0; 3]
    );
    let left = daemon.attached();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].ifname, "net1");
}
