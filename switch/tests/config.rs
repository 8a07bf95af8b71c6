//! Every rule of `weft.toml`: what is accepted, and the exact words for what is not.

#![expect(
    clippy::expect_used,
    reason = "a failed expectation is how a test fails"
)]

use std::path::Path;

use weft_switch::config::{Config, ConfigError, DEFAULT_SPIN, HostDefaults};

fn host() -> HostDefaults {
    HostDefaults {
        hostname: "Host-1".to_owned(),
        cores: 3,
    }
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = Config::parse(text, &host()).expect_err("the text has mistakes");
    let error = ConfigError::Mistakes {
        file: "weft.toml".into(),
        mistakes,
    };
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_documented_file() {
    let text = r#"
[node]
name = "node-a"
address = "192.0.2.1"
pod_cidrs = ["10.244.1.0/24", "fd00:10:244:1::/64"]
workers = 2
[vxlan]
vni = 1
port = 8472
[cluster]
source = "manifests"
path = "/etc/weft/cluster.d"
[paths]
socket = "/run/weft/weft.sock"
state  = "/var/lib/weft"
[metrics]
listen = "127.0.0.1:9568"
"#;
    let config = Config::parse(text, &host()).unwrap();
    assert_eq!(config.node.name, "node-a");
    assert_eq!(config.node.address, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(config.node.workers, 2);
    assert_eq!(config.node.pod_cidrs.len(), 2);
    assert_eq!(config.metrics, Some("127.0.0.1:9568".parse().unwrap()));

    let text = "[node]\nname = \"node-a\"\naddress = \"192.0.2.1\"\nworkers = 2\n\
                pod_cidrs = [\"10.244.1.0/24\", \"fd00:10:244:1::/64\"]";
    assert_eq!(
        Config::parse(text, &host()).unwrap(),
        config,
        "defaults are the documented values"
    );
}

#[test]
fn what_the_host_fills_in() {
    let config = Config::parse("[node]\npod_cidrs=[\"10.0.0.0/24\"]", &host()).unwrap();
    assert_eq!(config.node.name, "host-1");
    assert_eq!(config.node.workers, 3);
    assert_eq!(config.node.address, None);
    assert_eq!(config.node.mtu, None);
    assert_eq!(config.node.spin_us, DEFAULT_SPIN);
}

#[test]
fn metrics_can_be_turned_off() {
    let text = "[node]\npod_cidrs=[\"10.0.0.0/24\"]\n[metrics]\nlisten=\"\"";
    assert_eq!(Config::parse(text, &host()).unwrap().metrics, None);
}

/// A file, where `CIDRS` stands for a good `pod_cidrs`, and its one mistake.
const CASES: &[(&str, &str)] = &[
    (
        "",
        "weft.toml:1: node.pod_cidrs: is missing; write one range per family, such as [\"10.244.1.0/24\", \"fd00:10:244:1::/64\"]",
    ),
    (
        "[node]\npod_cidrs=[]",
        "weft.toml:2: node.pod_cidrs: is empty; write one range per family, such as [\"10.244.1.0/24\", \"fd00:10:244:1::/64\"]",
    ),
    (
        "[node]\npod_cidrs=\"10.0.0.0/24\"",
        "weft.toml:2: node.pod_cidrs: is a string instead of a list of strings; write [\"…\", \"…\"]",
    ),
    (
        "[node]\npod_cidrs=[\n\"10.0.0.0/24\",\n7]",
        "weft.toml:4: node.pod_cidrs: holds an integer instead of a string; put it in double quotes",
    ),
    (
        "[node]\npod_cidrs=[\"10.0.0.0\"]",
        "weft.toml:2: node.pod_cidrs: \"10.0.0.0\" is not a range; write address/length, such as \"10.244.1.0/24\"",
    ),
    (
        "[node]\npod_cidrs=[\"10.0.0.0/33\"]",
        "weft.toml:2: node.pod_cidrs: \"10.0.0.0/33\" is not a range; write address/length, such as \"10.244.1.0/24\"",
    ),
    (
        "[node]\npod_cidrs=[\"10.0.0.7/24\"]",
        "weft.toml:2: node.pod_cidrs: 10.0.0.7/24 has host bits set; write \"10.0.0.0/24\"",
    ),
    (
        "[node]\npod_cidrs=[\"10.0.0.0/31\"]",
        "weft.toml:2: node.pod_cidrs: 10.0.0.0/31 is no size for a pod range; write a length between /8 and /30",
    ),
    (
        "[node]\npod_cidrs=[\"fd00::/127\"]",
        "weft.toml:2: node.pod_cidrs: fd00::/127 is no size for a pod range; write a length between /16 and /126",
    ),
    (
        "[node]\npod_cidrs=[\"224.0.0.0/8\"]",
        "weft.toml:2: node.pod_cidrs: 224.0.0.0/8 cannot hold pods; write a unicast range, such as \"10.244.1.0/24\"",
    ),
    (
        "[node]\npod_cidrs=[\"10.0.0.0/16\",\n\"10.0.1.0/24\"]",
        "weft.toml:3: node.pod_cidrs: 10.0.1.0/24 overlaps 10.0.0.0/16; keep one range of each family",
    ),
    (
        "[node]\npod_cidrs=[\"10.0.0.0/24\",\n\"10.9.1.0/24\"]",
        "weft.toml:3: node.pod_cidrs: 10.9.1.0/24 is the second range of its family, after 10.0.0.0/24; keep one range of each family",
    ),
    (
        "[node]\nCIDRS\nname=\"Node_A\"",
        "weft.toml:3: node.name: \"Node_A\" is not a node name; write lower-case letters, digits, '-' and '.', such as \"node-a\"",
    ),
    (
        "[node]\nCIDRS\nname=5",
        "weft.toml:3: node.name: is an integer instead of a string; put it in double quotes",
    ),
    (
        "[node]\nCIDRS\naddress=\"192.0.2\"",
        "weft.toml:3: node.address: \"192.0.2\" is not an address a node can have; write the address other nodes reach this one at, such as \"192.0.2.1\"",
    ),
    (
        "[node]\nCIDRS\naddress=\"ff02::1\"",
        "weft.toml:3: node.address: \"ff02::1\" is not an address a node can have; write the address other nodes reach this one at, such as \"192.0.2.1\"",
    ),
    (
        "[node]\nCIDRS\naddress=\"10.0.0.1\"",
        "weft.toml:3: node.address: 10.0.0.1 is inside the pod range 10.0.0.0/24; write the address of the underlay, not one of the pods'",
    ),
    (
        "[node]\nCIDRS\nworkers=0",
        "weft.toml:3: node.workers: 0 is out of range; write 1 to 64, or leave it out for one per core",
    ),
    (
        "[node]\nCIDRS\nworkers=\"two\"",
        "weft.toml:3: node.workers: is a string instead of a whole number; write digits without quotes",
    ),
    (
        "[node]\nCIDRS\nworkers=99999999999999999999",
        "weft.toml:3: node.workers: is too large; write a smaller number",
    ),
    (
        "[node]\nCIDRS\nspin_us=1001",
        "weft.toml:3: node.spin_us: 1001 is out of range; write 0 to 1000, where 0 is to sleep at once",
    ),
    (
        "[node]\nCIDRS\nmtu=1279",
        "weft.toml:3: node.mtu: 1279 is out of range; write 1280 to 65000, or leave it out to derive it",
    ),
    (
        "[node]\nCIDRS\n[vxlan]\nvni=0",
        "weft.toml:4: vxlan.vni: 0 is out of range; write 1 to 16777215",
    ),
    (
        "[node]\nCIDRS\n[vxlan]\nvni=16777216",
        "weft.toml:4: vxlan.vni: 16777216 is out of range; write 1 to 16777215",
    ),
    (
        "[node]\nCIDRS\n[vxlan]\nport=70000",
        "weft.toml:4: vxlan.port: 70000 is out of range; write 1 to 65535",
    ),
    (
        "[node]\nCIDRS\n[cluster]\nsource=\"etcd\"",
        "weft.toml:4: cluster.source: \"etcd\" is not a source this version knows; write \"manifests\"",
    ),
    (
        "[node]\nCIDRS\n[cluster]\npath=\"cluster.d\"",
        "weft.toml:4: cluster.path: \"cluster.d\" is not an absolute path; write one, such as \"/etc/weft/cluster.d\"",
    ),
    (
        "[node]\nCIDRS\n[ipam]\nreserved=[\"10.9.9.9\"]",
        "weft.toml:4: ipam.reserved: \"10.9.9.9\" is not an address of node.pod_cidrs; write addresses of the node's ranges, such as [\"10.244.1.5\"]",
    ),
    (
        "[node]\nCIDRS\n[ipam]\ncool_down_seconds=-1",
        "weft.toml:4: ipam.cool_down_seconds: -1 is out of range; write 0 to 86400",
    ),
    (
        "[node]\nCIDRS\n[paths]\nsocket=\"x\"",
        "weft.toml:4: paths.socket: \"x\" is not an absolute path; write one, such as \"/run/weft/weft.sock\"",
    ),
    (
        "[node]\nCIDRS\n[paths]\nstate=\"x\"",
        "weft.toml:4: paths.state: \"x\" is not an absolute path; write one, such as \"/var/lib/weft\"",
    ),
    (
        "[node]\nCIDRS\n[metrics]\nlisten=\"9568\"",
        "weft.toml:4: metrics.listen: \"9568\" is not an address and port; write \"127.0.0.1:9568\", or \"\" to serve no metrics",
    ),
    (
        "[node]\nCIDRS\nadress=\"192.0.2.1\"",
        "weft.toml:3: node.adress: unknown key; did you mean `address`?",
    ),
    (
        "[node]\nCIDRS\n[vxlan]\ncolour=1",
        "weft.toml:4: vxlan.colour: unknown key; known here: vni, port",
    ),
    (
        "[node]\nCIDRS\n[vxlam]\nvni=1",
        "weft.toml:3: vxlam: unknown section; did you mean `vxlan`?",
    ),
    (
        "vxlan=1\n[node]\nCIDRS",
        "weft.toml:1: vxlan: is not a section; write it as a section: [vxlan]",
    ),
];

#[test]
fn every_rule_has_its_words() {
    let cidrs = "pod_cidrs=[\"10.0.0.0/24\"]";
    for (text, expected) in CASES {
        let text = text.replace("CIDRS", cidrs);
        assert_eq!(mistakes(&text), [*expected], "{text}");
    }
}

#[test]
fn all_mistakes_are_listed_in_order() {
    let found =
        mistakes("[node]\nadress=\"x\"\nworkers=0\npod_cidrs=[\"10.0.0.0\"]\n[vxlan]\nvni=0");
    let fields: Vec<_> = found
        .iter()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        fields,
        ["node.adress", "node.workers", "node.pod_cidrs", "vxlan.vni"]
    );
}

#[test]
fn broken_syntax_names_the_line() {
    let found = mistakes("[node]\npod_cidrs=[\"10.0.0.0/24\"]\nname = node-a\n");
    assert!(found[0].starts_with("weft.toml:3: "), "{found:?}");
    assert!(
        found[0].ends_with("; correct the TOML syntax there"),
        "{found:?}"
    );
}

#[test]
fn check_answers_by_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("weft.toml");
    let check = || {
        let mut weft = std::process::Command::new(env!("CARGO_BIN_EXE_weft"));
        weft.args(["daemon", "--check", "--config"])
            .arg(&file)
            .output()
            .expect("weft runs")
    };
    assert_eq!(check().status.code(), Some(2), "no file");
    std::fs::write(
        &file,
        "[node]\nname = \"a\"\npod_cidrs = [\"10.0.0.0/24\"]\n",
    )
    .expect("written");
    let output = check();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        output.stdout,
        format!("{}: ok\n", file.display()).into_bytes()
    );
    std::fs::write(&file, "[vxlan]\nvni = 0\n").expect("written");
    let output = check();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said.lines().count(), 2, "every mistake: {said}");
    assert!(
        said.lines()
            .all(|line| line.starts_with(&format!("{}:", file.display()))),
        "{said}"
    );
}

#[test]
fn an_unreadable_file_names_itself_and_the_next_step() {
    let error = Config::load(Path::new("/nonexistent/weft.toml"), &host()).unwrap_err();
    let expected = "cannot read the configuration /nonexistent/weft.toml: No such file or \
                    directory (os error 2); write the file, or name another with --config";
    assert_eq!(error.to_string(), expected);
}
