//! Whatever is wrong: a clear error, and nothing half made.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use serde_json::{Value, json};

use super::super::rig::{Node, privileged};
use super::runtime::{Sandbox, call};

/// All that an attachment would leave on a node.
fn traces(node: &Node) -> (usize, Vec<u8>, Vec<String>, usize) {
    let journal = fs::read(node.path("state/attachments.journal")).unwrap();
    let mut links = node.space.links();
    links.sort();
    let notes = fs::read_dir(node.path("state/deleted")).unwrap().count();
    (node.client().ports().unwrap().len(), journal, links, notes)
}

#[test]
fn hostile_names_make_nothing() {
    if !privileged("hostile_names_make_nothing") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let before = traces(&node);
    let long = "x".repeat(256);
    let ids = [
        "../../etc",
        "a/b",
        "a b",
        "a\nb",
        "a;rm",
        ".hidden",
        "-rf",
        "ä",
        &long,
    ];
    let names = [
        "lo",
        "a/b",
        "..",
        ".",
        "sixteen-letters-",
        "a b",
        "a:b",
        "a\tb",
        "\u{7f}",
    ];
    for (id, ifname) in ids
        .map(|id| (id, "eth0"))
        .into_iter()
        .chain(names.map(|name| ("c", name)))
    {
        for verb in ["ADD", "DEL", "CHECK"] {
            if (verb, ifname) == ("DEL", "lo") {
                continue;
            }
            let mut pod = Sandbox::new(&node, "a");
            (pod.id, pod.ifname) = (id.to_owned(), ifname.to_owned());
            pod.config["prevResult"] = json!({
                "cniVersion": "1.1.0", "interfaces": [{"name": ifname, "sandbox": pod.netns()}],
            });
            let (code, said) = pod.call(verb).refusal();
            assert!(matches!(code, 4 | 7), "{verb} {id:?} {ifname:?}: {said}");
            assert!(!said.contains(['\n', '\t', '\u{7f}']), "{said:?}");
            assert_eq!(pod.space.links(), Vec::<String>::new());
        }
    }
    assert_eq!(traces(&node), before);
}

#[test]
fn a_path_that_is_no_namespace_is_refused_at_once() {
    if !privileged("a_path_that_is_no_namespace_is_refused_at_once") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let fifo = node.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    fs::write(node.path("file"), "").unwrap();
    symlink("loop", node.path("loop")).unwrap();
    let before = traces(&node);
    let inside = |name: &str| node.path(name).to_str().unwrap().to_owned();
    for netns in [
        inside("file"),
        inside(""),
        inside("fifo"),
        inside("loop"),
        inside("missing"),
        "/dev/null".to_owned(),
        "/proc/self/ns/uts".to_owned(),
        "/proc/self/ns/mnt".to_owned(),
        "/proc/self/status".to_owned(),
        "relative/path".to_owned(),
        // The plugin's own is the node's.
        "/proc/self/ns/net".to_owned(),
    ] {
        let mut pod = Sandbox::new(&node, "a");
        let (code, said) = pod.call_in("ADD", &netns).refusal();
        assert_eq!(code, 8, "{netns}: {said}");
        assert!(said.contains(&netns), "{said}");
        pod.config["prevResult"] = json!({
            "cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": netns}],
        });
        let (code, said) = pod.call_in("CHECK", &netns).refusal();
        assert_eq!(code, 8, "{netns}: {said}");
        assert_eq!(
            pod.call_in("DEL", &netns).result(),
            Value::Null,
            "nothing is there"
        );
    }
    assert_eq!(traces(&node), before);
}

/// Values that a key of the configuration cannot have, with the code and words of the refusal.
fn bad_values() -> Vec<(&'static str, Value, u64, &'static str)> {
    let huge = "x".repeat(2 << 20);
    let too_high = json!([{"hostPort": 70_000, "containerPort": 80}]);
    vec![
        ("padding", huge.into(), 6, "the configuration is too long"),
        (
            "cniVersion",
            "0.2.0".into(),
            1,
            "unsupported cniVersion 0.2.0",
        ),
        (
            "cniVersion",
            "9.9.9".into(),
            1,
            "unsupported cniVersion 9.9.9",
        ),
        ("cniVersion", 1.into(), 6, "cannot decode"),
        ("name", "".into(), 7, "has no name"),
        ("name", "../x".into(), 7, "malformed name"),
        ("mtu", 70_000.into(), 7, "more than 65535"),
        ("mtu", 100.into(), 7, "an MTU of 100 is not possible here"),
        (
            "ipam",
            json!({"type": "../../bin/sh"}),
            7,
            "it is no file name",
        ),
        (
            "runtimeConfig",
            json!({"ips": ["x"]}),
            7,
            "is no IP address",
        ),
        ("runtimeConfig", json!([]), 6, "not an object"),
        (
            "runtimeConfig",
            json!({"portMappings": too_high}),
            7,
            "hostPort 70000",
        ),
        (
            "runtimeConfig",
            json!({"mac": "zz"}),
            7,
            "is not a MAC address",
        ),
        ("prevResult", json!({"ips": 7}), 6, "prevResult"),
        (
            "socket",
            "/dev/null".into(),
            11,
            "no weft daemon listens at /dev/null",
        ),
        (
            "socket",
            "/nonexistent/weft.sock".into(),
            11,
            "no weft daemon listens at",
        ),
    ]
}

#[test]
fn a_bad_configuration_makes_nothing() {
    if !privileged("a_bad_configuration_makes_nothing") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let before = traces(&node);
    let pod = Sandbox::new(&node, "a");
    let netns = pod.netns();
    let refused = |stdin: &str| {
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", netns.as_str()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        let (code, said) = call(&node, &variables, stdin.as_bytes()).refusal();
        assert!(said.len() < 1000, "{said}");
        (code, said)
    };
    for (key, value, code, words) in bad_values() {
        let mut config = pod.config.clone();
        config[key] = value;
        let (found, said) = refused(&config.to_string());
        assert_eq!(found, code, "{key}: {said}");
        assert!(said.contains(words), "{key}: {said}");
    }
    let deep = format!("{{\"args\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for stdin in ["", "{", "[]", "\0", "\"weft\"", &deep] {
        let (code, said) = refused(stdin);
        assert!(matches!(code, 1 | 6), "{said}");
    }
    // A list in place of one plugin's part of it says nothing to this plugin: all is as usual.
    let list = json!({"cniVersion": "1.1.0", "name": "weft", "plugins": [pod.config]});
    let (_, said) = refused(&list.to_string());
    assert!(said.contains("/run/weft/weft.sock"), "{said}");
    assert_eq!(pod.space.links(), Vec::<String>::new());
    assert_eq!(traces(&node), before);
}

/// What is wrong with a state directory, in the words of the plugin and of the daemon.
type Spoil = (fn(&Node), [&'static str; 2]);

const SPOILS: [Spoil; 4] = [
    (
        |node| {
            fs::create_dir(node.path("state")).unwrap();
            chown(node.path("state"), Some(1234), Some(1234)).unwrap();
        },
        ["belongs to user 1234"; 2],
    ),
    (
        |node| {
            let open = fs::Permissions::from_mode(0o777);
            fs::create_dir(node.path("state")).unwrap();
            fs::set_permissions(node.path("state"), open).unwrap();
        },
        ["may be written by others", "others may write to it"],
    ),
    (
        |node| symlink(node.path("elsewhere"), node.path("state")).unwrap(),
        ["symbolic link"; 2],
    ),
    (
        |node| fs::write(node.path("state"), "").unwrap(),
        ["no directory"; 2],
    ),
];

/// The plugin leaves notes in the state directory, the daemon its journal: neither does so where
/// others could.
#[test]
fn a_state_directory_others_can_write_to_is_refused() {
    if !privileged("a_state_directory_others_can_write_to_is_refused") {
        return;
    }
    let node = Node::new();
    let state = node.path("state");
    let elsewhere = node.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for (spoil, words) in SPOILS {
        spoil(&node);
        let (code, said) = Sandbox::new(&node, "a").call("DEL").refusal();
        assert_eq!(code, 5, "{said}");
        assert!(
            said.contains(words[0]) && said.contains(state.to_str().unwrap()),
            "{said}"
        );
        let (code, said) = node.refusal(&[]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(words[1]), "{said}");
        assert_eq!(node.space.links(), ["u0"]);
        let _ = fs::remove_dir_all(&state).or_else(|_| fs::remove_file(&state));
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    // What is in it counts as well.
    fs::create_dir(&state).unwrap();
    symlink(&elsewhere, state.join("deleted")).unwrap();
    let (code, said) = Sandbox::new(&node, "a").call("DEL").refusal();
    assert_eq!(code, 5, "{said}");
    fs::remove_file(state.join("deleted")).unwrap();
    symlink(node.path("weft.toml"), state.join("attachments.journal")).unwrap();
    let (code, said) = node.refusal(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("attachments.journal"), "{said}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}
