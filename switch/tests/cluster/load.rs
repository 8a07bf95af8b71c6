//! Files and folders, without a daemon.

use std::fs;

use weft_switch::manifests::load;

use super::{NODE_B, pod};

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n\
                      spec: {podSelector: {}}\n";

#[test]
fn a_folder_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("m")).unwrap();
    let host = pod("h", "node-b", "192.0.2.2").replace("nodeName", "hostNetwork: true, nodeName");
    let host = host.split("status").next().unwrap().to_owned();
    let done = pod("d", "node-b", "10.244.2.9").replace("{podIP", "{phase: Failed, podIP");
    let list = format!("{NODE_B}---\n{host}---\n{done}");
    fs::write(path("m/nodes.yml"), list).unwrap();
    fs::write(path("m/ignored.txt"), "[").unwrap();
    fs::write(path("m/.hidden.yaml"), "[").unwrap();
    let json = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}"#;
    fs::write(path("m/namespace.json"), json).unwrap();
    fs::write(path("m/policy.yaml"), POLICY).unwrap();
    fs::write(path("pod.yaml"), pod("a", "node-z", "10.244.9.9")).unwrap();

    let loaded = load(&[path("m"), path("pod.yaml")]).unwrap();
    let names: Vec<_> = loaded
        .cluster
        .pods
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["default/a", "default/d"]);
    assert_eq!(loaded.cluster.policies.len(), 1);
    assert_eq!(loaded.cluster.namespaces.len(), 1);
    let pods: Vec<_> = loaded
        .pods
        .iter()
        .map(|p| {
            format!(
                "{} {:?} {} {}",
                p.name, p.addresses, p.host_network, p.finished
            )
        })
        .collect();
    assert_eq!(
        pods,
        [
            "default/a [10.244.9.9] false false",
            "default/d [] false true",
            "default/h [2001:db8::2, 192.0.2.2, 10.244.2.0, fd00:10:244:2::] true false",
        ]
    );
    assert_eq!(loaded.nodes["node-b"].len(), 4);
    assert!(loaded.notices.is_empty());
}

#[test]
fn everything_that_is_wrong_has_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.yaml"), POLICY.replace("podSelector", "podSelectr")).unwrap();
    fs::write(path("b.yaml"), [0xff, 0xfe]).unwrap();
    fs::write(path("c.yaml"), format!("{POLICY}---\nkind: [\n")).unwrap();
    let wrong = load(&[folder.path().to_owned()]).unwrap_err();
    let places: Vec<_> = wrong
        .iter()
        .map(|t| format!("{}: {}", t.place.rsplit('/').next().unwrap(), t.what))
        .collect();
    let [field, bytes, yaml] = places.as_slice() else {
        panic!("{places:?}")
    };
    assert_eq!(
        field,
        "a.yaml:4: NetworkPolicy default/a: spec: podSelectr is not a field; did you mean podSelector?"
    );
    assert!(bytes.starts_with("b.yaml:1: cannot be read: "), "{bytes}");
    assert!(yaml.starts_with("c.yaml:"), "{yaml}");

    fs::remove_file(path("a.yaml")).unwrap();
    fs::remove_file(path("b.yaml")).unwrap();
    fs::write(path("c.yaml"), pod("a", "x", "10.0.0.1")).unwrap();
    fs::write(path("d.yaml"), pod("b", "x", "10.0.0.1")).unwrap();
    let wrong = load(&[folder.path().to_owned()]).unwrap_err();
    let expected = "Pod default/b: status.podIPs: 10.0.0.1 is already the address of Pod default/a";
    assert_eq!(wrong[0].what, expected);
    assert!(wrong[0].place.ends_with("d.yaml:5"), "{:?}", wrong[0]);

    let missing = load(&[path("none")]).unwrap_err();
    assert!(
        missing[0].what.starts_with("cannot be read: "),
        "{missing:?}"
    );
}
