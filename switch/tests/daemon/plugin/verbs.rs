//! Every verb, once and again, in orders no runtime should choose.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use weft_sys::netlink::{addr, link};

use super::super::rig::{Node, eventually, privileged};
use super::runtime::{Sandbox, call};

#[test]
fn every_verb_twice_and_in_wrong_orders() {
    if !privileged("every_verb_twice_and_in_wrong_orders") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let mut pod = Sandbox::new(&node, "a");
    let gc = |valid: Value| {
        let mut pod = Sandbox::new(&node, "unused");
        pod.config["cni.dev/valid-attachments"] = valid;
        pod.call("GC")
    };
    let key = json!({"containerID": pod.id, "ifname": "eth0"});
    for round in 0..2 {
        for _ in 0..2 {
            pod.del();
            assert_eq!(gc(json!([])).result(), Value::Null);
            assert_eq!(pod.call("STATUS").result(), Value::Null);
            assert!(pod.call("VERSION").result()["supportedVersions"].is_array());
        }
        let (code, said) = pod.call("CHECK").refusal();
        let expected = if round == 0 {
            (7, "prevResult")
        } else {
            (102, "is not attached")
        };
        assert_eq!(code, expected.0, "{said}");
        assert!(said.contains(expected.1), "{said}");
        pod.config["prevResult"].take();
        let result = pod.add();
        assert_eq!(result["interfaces"][0]["sandbox"], pod.netns());
        pod.config["prevResult"].take();
        assert_eq!(pod.add(), result, "the same answer");
        for _ in 0..2 {
            assert_eq!(pod.call("CHECK").result(), Value::Null);
            assert_eq!(gc(json!([key])).result(), Value::Null);
        }
        assert_eq!(pod.space.links(), ["eth0"]);
        assert!(node.space.pings(&Sandbox::addresses(&result)[0]));
        if round == 0 {
            pod.del();
        } else {
            gc(json!([])).result();
        }
        eventually("the interface is gone", || {
            pod.space.links().is_empty().then_some(())
        });
    }
    let (code, said) = Sandbox::new(&node, "b").call("GC").refusal();
    assert_eq!(code, 7, "no list is not an empty list: {said}");
    let (code, said) = call(&node, &[("CNI_COMMAND", "GRANT")], b"{}").refusal();
    assert_eq!(code, 4, "{said}");
    assert_eq!(node.client().ports().unwrap().len(), 1);
}

/// Something that was done to a pod's interface, and what CHECK says then.
type Tamper = (fn(&Sandbox<'_>), &'static str);

const TAMPERS: [Tamper; 5] = [
    (lose_address, "eth0 has lost 10.244.1."),
    (
        |pod| {
            let mtu = Some(1400);
            change(
                pod,
                &link::Change {
                    mtu,
                    ..Default::default()
                },
            );
        },
        "eth0 has an MTU of 1400, not 1450",
    ),
    (
        |pod| {
            let up = Some(false);
            change(
                pod,
                &link::Change {
                    up,
                    ..Default::default()
                },
            );
        },
        "eth0 is down",
    ),
    (
        |pod| {
            let mac = Some([2, 0, 0, 0, 0, 9]);
            change(
                pod,
                &link::Change {
                    mac,
                    ..Default::default()
                },
            );
        },
        "eth0 has the MAC address 02:00:00:00:00:09",
    ),
    // By now the daemon may have noticed, and closed the port.
    (
        |pod| assert!(link::delete(&mut pod.space.netlink(), "eth0").unwrap()),
        "",
    ),
];

fn lose_address(pod: &Sandbox<'_>) {
    let mut netlink = pod.space.netlink();
    let index = link::index_of(&mut netlink, "eth0").unwrap();
    let held = addr::list(&mut netlink, Some(index)).unwrap();
    let v4 = held.into_iter().find(|held| held.ip.is_ipv4()).unwrap();
    assert!(addr::delete(&mut netlink, &v4).unwrap());
}

#[test]
fn check_says_what_was_tampered_with() {
    if !privileged("check_says_what_was_tampered_with") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    for (number, (tamper, words)) in TAMPERS.into_iter().enumerate() {
        let mut pod = Sandbox::new(&node, &format!("p{number}"));
        pod.add();
        assert_eq!(pod.call("CHECK").result(), Value::Null);
        tamper(&pod);
        let (code, said) = pod.call("CHECK").refusal();
        assert_eq!(code, 102, "{said}");
        assert!(said.contains(words), "{said}");
        let next = "delete the pod and let it be made anew";
        assert!(said.contains(next), "{said}");
        pod.del();
        pod.config["prevResult"].take();
        pod.add();
        assert_eq!(pod.call("CHECK").result(), Value::Null, "made anew");
    }
}

fn change(pod: &Sandbox<'_>, change: &link::Change<'_>) {
    let mut netlink = pod.space.netlink();
    let index = link::index_of(&mut netlink, "eth0").unwrap();
    link::change(&mut netlink, index, change).unwrap();
}

/// A daemon that has no state to read, and therefore does not get ready.
struct Unready(Child);

impl Drop for Unready {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn status_and_add_say_why_not() {
    if !privileged("status_and_add_say_why_not") {
        return;
    }
    let mut node = Node::new();
    let refused = |node: &Node, verb: &str| Sandbox::new(node, "more").call(verb).refusal();
    let (code, said) = refused(&node, "STATUS");
    assert_eq!(code, 51, "{said}");
    assert!(
        said.contains("no pod can be attached, and running ones may be cut off"),
        "{said}"
    );
    assert!(said.contains("start it with `weft daemon`"), "{said}");
    assert_eq!(refused(&node, "ADD").0, 11);

    let folder = node.path("cluster.d");
    std::fs::remove_dir(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command
        .arg("daemon")
        .arg("--config")
        .arg(node.path("weft.toml"));
    command.stderr(Stdio::null());
    let unready = Unready(node.space.0.spawn(command).unwrap());
    eventually("the daemon answers", || node.status().ok());
    let (code, said) = refused(&node, "STATUS");
    assert_eq!(code, 50, "{said}");
    assert!(said.contains("not ready"), "{said}");
    let (code, said) = refused(&node, "ADD");
    assert_eq!(code, 11, "{said}");
    drop(unready);
    std::fs::create_dir(&folder).unwrap();

    let file = node.path("weft.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("10.244.1.0/24", "10.244.1.0/30")).unwrap();
    node.start(&[]);
    assert_eq!(
        Sandbox::new(&node, "more").call("STATUS").result(),
        Value::Null
    );
    let mut pod = Sandbox::new(&node, "one");
    pod.add();
    for (verb, expected) in [("STATUS", 50), ("ADD", 11)] {
        let (code, said) = refused(&node, verb);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains("10.244.1.0/30"), "{said}");
    }
}
