//! Does the same program, started as `loopback`, bring up a pod's loopback interface?

use std::path::PathBuf;

use serde_json::{Value, json};
use weft_sys::netlink::{Netlink, addr, link};

use crate::common::{Host, Pod, Ran, privileged, run_as};

fn program(host: &Host) -> PathBuf {
    let path = host.path("loopback");
    if !path.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weft-cni"), &path).unwrap();
    }
    path
}

fn run(host: &Host, verb: &str, netns: &str, config: &Value) -> Ran {
    let mut env = host.env(verb, netns);
    env.retain(|(key, _)| key != "CNI_IFNAME");
    env.push(("CNI_IFNAME".into(), "lo".into()));
    run_as(program(host), &[], &env, config.to_string().as_bytes())
}

fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"})
}

fn is_up(pod: &Pod) -> bool {
    let mut netlink = Netlink::open_in(&pod.netns).unwrap();
    link::get(&mut netlink, "lo").unwrap().unwrap().up
}

#[test]
fn add_check_and_del_of_a_pods_loopback() {
    if !privileged("add_check_and_del_of_a_pods_loopback") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let config = config("1.0.0");
    assert_eq!(run(&host, "CHECK", &pod.path, &config).code(), 102);
    for _ in 0..2 {
        let ran = run(&host, "ADD", &pod.path, &config);
        assert_eq!(ran.exit, 0, "{ran:?}");
        let result = ran.json();
        let lo = json!({"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod.path});
        assert_eq!(result["interfaces"], json!([lo]));
        assert_eq!(
            result["ips"][0],
            json!({"address": "127.0.0.1/8", "interface": 0})
        );
        assert!(is_up(&pod));
    }
    assert_eq!(run(&host, "CHECK", &pod.path, &config).code(), 0);
    let mut netlink = Netlink::open_in(&pod.netns).unwrap();
    let lo = link::index_of(&mut netlink, "lo").unwrap();
    let address = addr::Address::new(lo, "127.0.0.1".parse().unwrap(), 8);
    addr::delete(&mut netlink, &address).unwrap();
    assert_eq!(run(&host, "CHECK", &pod.path, &config).code(), 102);
    for _ in 0..2 {
        let ran = run(&host, "DEL", &pod.path, &config);
        assert_eq!((ran.stdout.as_str(), ran.exit), ("", 0), "{ran:?}");
        assert!(!is_up(&pod));
    }
}

#[test]
fn what_came_before_is_passed_on() {
    if !privileged("what_came_before_is_passed_on") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let mut config = config("0.4.0");
    let before = json!({
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "eth0", "sandbox": pod.path}],
        "ips": [{"version": "4", "address": "10.0.0.5/24", "interface": 0}],
    });
    config["prevResult"] = before.clone();
    assert_eq!(run(&host, "ADD", &pod.path, &config).json(), before);
    assert!(is_up(&pod));
}

#[test]
fn the_nodes_own_loopback_is_left_alone() {
    let host = Host::new();
    let own = "/proc/thread-self/ns/net";
    for verb in ["ADD", "DEL"] {
        assert_eq!(run(&host, verb, own, &config("1.0.0")).code(), 8, "{verb}");
    }
}

#[test]
fn del_of_a_namespace_that_is_gone_succeeds() {
    let host = Host::new();
    for netns in ["", "/nonexistent/netns"] {
        assert_eq!(
            run(&host, "DEL", netns, &config("0.3.1")).code(),
            0,
            "{netns:?}"
        );
    }
}

#[test]
fn it_answers_the_other_verbs_without_a_daemon() {
    let host = Host::new();
    for verb in ["GC", "STATUS"] {
        let ran = run(&host, verb, "", &config("1.1.0"));
        assert_eq!((ran.stdout.as_str(), ran.exit), ("", 0), "{verb}");
    }
    let version = run(&host, "VERSION", "", &json!({"cniVersion": "1.0.0"})).json();
    assert_eq!(version["cniVersion"], "1.0.0");
    assert_eq!(version["supportedVersions"][3], "1.1.0");
}
