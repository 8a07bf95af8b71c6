//! Addresses of another plugin, with a real daemon behind: what it gives is used, and given back.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::super::rig::{Node, eventually, privileged};
use super::runtime::Sandbox;

/// Notes its verbs, and gives an address of the node's ranges.
const FAKE: &str = r#"#!/bin/sh
echo "$CNI_COMMAND" >> "${0%/*}/verbs"
cat > /dev/null
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.0.0","ips":[{"address":"ADDRESS/24"}]}'
"#;

/// A plugin in the node's folder that gives `address`.
fn install_fake(node: &Node, address: &str) {
    let folder = node.path("bin");
    fs::create_dir_all(&folder).unwrap();
    // Beside, since a file that is being written cannot be started.
    let (new, path) = (folder.join("new"), folder.join("fake-ipam"));
    fs::write(&new, FAKE.replace("ADDRESS", address)).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

/// The verbs it got since the last time.
fn verbs(node: &Node) -> Vec<String> {
    let file = node.path("bin/verbs");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(file);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_a_plugin_gives_is_used_and_given_back() {
    if !privileged("what_a_plugin_gives_is_used_and_given_back") {
        return;
    }
    let mut node = Node::new();
    install_fake(&node, "10.244.1.77");
    node.start(&[]);
    let sandbox = |name| {
        let mut pod = Sandbox::new(&node, name);
        pod.config["ipam"] = json!({"type": "fake-ipam"});
        pod
    };
    let mut pod = sandbox("a");
    for _ in 0..2 {
        pod.config["prevResult"].take();
        assert_eq!(Sandbox::addresses(&pod.add()), ["10.244.1.77"]);
        assert_eq!(verbs(&node), ["ADD"]);
        assert!(node.space.pings("10.244.1.77"));
        let (code, said) = pod.call("ADD").refusal();
        assert_eq!(code, 100, "{said}");
        assert!(
            said.contains("must DEL an attachment before it ADDs it again"),
            "{said}"
        );
        for verb in ["CHECK", "STATUS"] {
            assert_eq!(pod.call(verb).result(), Value::Null);
        }
        assert_eq!(verbs(&node), ["CHECK", "STATUS"]);
        assert!(
            node.space.pings("10.244.1.77"),
            "the first is not disturbed"
        );
        // Another pod is given the address of this one: refused, and given back.
        let other = sandbox("b");
        let (code, said) = other.call("ADD").refusal();
        assert_eq!(code, 100, "{said}");
        assert_eq!(verbs(&node), ["ADD", "DEL"]);
        assert_eq!(other.space.links(), Vec::<String>::new());
        pod.del();
        assert_eq!(verbs(&node), ["DEL"]);
        eventually("the interface is gone", || {
            pod.space.links().is_empty().then_some(())
        });
    }
    install_fake(&node, "192.0.2.200");
    let (code, said) = sandbox("c").call("ADD").refusal();
    assert_eq!(code, 7, "{said}");
    assert!(
        said.contains("192.0.2.200 is outside the pod ranges"),
        "{said}"
    );
    assert_eq!(verbs(&node), ["ADD", "DEL"]);
    let mut missing = sandbox("d");
    missing.config["ipam"]["type"] = "nowhere".into();
    let (code, said) = missing.call("ADD").refusal();
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("it is in no folder of CNI_PATH"), "{said}");
    assert_eq!(node.client().ports().unwrap().len(), 1);
}

#[test]
fn host_local_of_a_distribution_gives_addresses() {
    const TEST: &str = "host_local_of_a_distribution_gives_addresses";
    const PROGRAM: &str = "/usr/lib/cni/host-local";
    if !privileged(TEST) {
        return;
    }
    if !Path::new(PROGRAM).is_file() {
        let line = format!("SKIPPED (needs {PROGRAM}): {TEST}: not installed");
        super::super::busy::say(&line);
        return;
    }
    let mut node = Node::new();
    fs::create_dir_all(node.path("bin")).unwrap();
    symlink(PROGRAM, node.path("bin/host-local")).unwrap();
    node.start(&[]);
    let data = node.path("host-local");
    let sandbox = |name: &str| {
        let mut pod = Sandbox::new(&node, name);
        // The newest that this plugin of a distribution knows.
        pod.config["cniVersion"] = "1.0.0".into();
        pod.config["ipam"] = json!({
            "type": "host-local",
            "dataDir": data,
            "ranges": [
                [{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.100", "rangeEnd": "10.244.1.101"}],
                [{"subnet": "fd00:10:244:1::/64", "rangeStart": "fd00:10:244:1::100"}],
            ],
        });
        pod
    };
    let reserved = || {
        let files = fs::read_dir(data.join("weft")).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        let addresses = names.filter(|name| !name.starts_with("last_") && name != "lock");
        addresses.count()
    };
    let mut pods = [sandbox("a"), sandbox("b")];
    for pod in &mut pods {
        let ips = Sandbox::addresses(&pod.add());
        assert!(
            ips[0].starts_with("10.244.1.10") && ips[1].starts_with("fd00:10:244:1::1"),
            "{ips:?}"
        );
        assert!(node.space.pings(&ips[0]) && node.space.pings(&ips[1]));
        assert_eq!(pod.call("CHECK").result(), Value::Null);
    }
    assert_eq!(reserved(), 4);
    let third = sandbox("c");
    let (_, said) = third.call("ADD").refusal();
    assert!(said.contains("the IPAM plugin host-local failed"), "{said}");
    assert_eq!(third.space.links(), Vec::<String>::new());
    for pod in &pods {
        pod.del();
        pod.del();
    }
    assert_eq!(reserved(), 0);
    assert_eq!(node.client().ports().unwrap().len(), 1);
}
