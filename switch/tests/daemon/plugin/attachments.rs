//! What a runtime may ask of one attachment, and of several of one container.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};
use weft_sys::netlink::link;

use super::super::policies::{pod_yaml, policy_yaml};
use super::super::rig::{Node, Space, eventually, privileged};
use super::runtime::Sandbox;

fn arrives(from: &Space, to: &Space, ip: &str) -> bool {
    let listener = to.run(|| UdpSocket::bind((ip, 7000)).unwrap());
    listener
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    from.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"datagram", (ip, 7000)).unwrap();
    });
    listener.recv(&mut [0; 16]).is_ok()
}

#[test]
fn a_container_has_several_interfaces() {
    if !privileged("a_container_has_several_interfaces") {
        return;
    }
    let mut node = Node::new();
    node.manifest("pods.yaml", &pod_yaml("default", "multi"));
    let deny = "{podSelector: {matchLabels: {app: multi}}, policyTypes: [Ingress]}";
    node.manifest("deny.yaml", &policy_yaml("default", "deny", deny));
    node.start(&[]);
    let mut other = Sandbox::new(&node, "other");
    other.add();
    let reaches = |ip: &str, pod: &Sandbox<'_>| arrives(&other.space, &pod.space, ip);
    for first_goes in [true, false] {
        let mut first = Sandbox::new(&node, "multi");
        let result = first.add();
        let mut second = first.second("net1");
        second.config["prevResult"].take();
        let additional = second.add();
        assert_eq!(result["routes"].as_array().map(Vec::len), Some(2));
        let routes = additional["routes"].as_array().map_or(0, Vec::len);
        assert_eq!(routes, 0, "{additional}");
        let mut links = first.space.links();
        links.sort();
        assert_eq!(links, ["eth0", "net1"]);
        let ips = [&result, &additional].map(|result| Sandbox::addresses(result).remove(0));
        let hears_its_node = |ip: &str| arrives(&node.space, &first.space, ip);
        assert!(hears_its_node(&ips[0]) && hears_its_node(&ips[1]));
        let (goes, stays, ip) = match first_goes {
            true => (&first, &second, &ips[1]),
            false => (&second, &first, &ips[0]),
        };
        assert!(!reaches(ip, stays), "the policy holds");
        goes.del();
        eventually("one of two is left", || {
            (first.space.links() == [stays.ifname.as_str()]).then_some(())
        });
        assert_eq!(stays.call("CHECK").result(), Value::Null);
        assert_eq!(goes.call("CHECK").refusal().0, 102);
        assert!(!reaches(ip, stays), "the policy still holds");
        assert!(hears_its_node(ip));
        stays.del();
    }
    assert_eq!(node.client().ports().unwrap().len(), 2);
}

#[test]
fn forms_of_cni_args() {
    if !privileged("forms_of_cni_args") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let add = |args: &str| {
        let mut pod = Sandbox::new(&node, "a");
        args.clone_into(&mut pod.args);
        let called = pod.call("ADD");
        let pods = node.client().ports().unwrap();
        let named = pods.into_iter().find(|port| port.container_id == pod.id);
        pod.del();
        (called, named.map(|port| port.pod))
    };
    for (args, pod) in [
        ("", ""),
        ("IgnoreUnknown=true", ""),
        ("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web", "shop/web"),
        (
            "IgnoreUnknown=1;A=b;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop;K8S_POD_UID=u",
            "shop/web",
        ),
    ] {
        let (called, named) = add(args);
        called.result();
        assert_eq!(named.as_deref(), Some(pod), "{args}");
    }
    for (args, code, words) in [
        ("A=b", 4, "unknown keys: A"),
        ("K8S_POD_NAME", 4, "is not KEY=value"),
        ("K8S_POD_NAME=web", 7, "is not a pod's namespace and name"),
        (
            "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=web",
            7,
            "is not a pod's namespace and name",
        ),
        ("IP=10.244.9.9", 7, "outside the pod ranges"),
        (
            "IP=10.244.1.9;MAC=01:00:00:00:00:01",
            7,
            "is not a MAC address a pod can have",
        ),
    ] {
        let (called, named) = add(args);
        let (found, said) = called.refusal();
        assert_eq!((found, named), (code, None), "{args}: {said}");
        assert!(said.contains(words), "{args}: {said}");
    }
}

#[test]
fn addresses_and_mac_as_asked_for() {
    if !privileged("addresses_and_mac_as_asked_for") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let mut taken = Sandbox::new(&node, "taken").with("ips", json!(["10.244.1.40/24"]));
    taken.add();
    type Place = fn(&mut Sandbox<'_>, &str, &str);
    let places: [Place; 4] = [
        |pod, ip, mac| {
            pod.config["runtimeConfig"] = json!({"ips": [ip], "mac": mac});
        },
        |pod, ip, mac| pod.config["args"]["cni"] = json!({"ips": [ip], "mac": mac}),
        |pod, ip, mac| pod.args += &format!(";IP={ip};MAC={mac}"),
        |pod, ip, mac| {
            let annotations = json!({"weft.dev/ips": ip, "weft.dev/mac": mac});
            pod.config["runtimeConfig"]["io.kubernetes.cri.pod-annotations"] = annotations;
        },
    ];
    for (number, place) in (50..).zip(places) {
        let (ip, mac) = (
            format!("10.244.1.{number}"),
            format!("02:00:00:00:00:{number}"),
        );
        let mut pod = Sandbox::new(&node, "static");
        place(&mut pod, &ip, &mac);
        let result = pod.add();
        assert_eq!(Sandbox::addresses(&result)[0], ip);
        assert_eq!(result["interfaces"][0]["mac"], mac);
        let held = link::get(&mut pod.space.netlink(), "eth0")
            .unwrap()
            .unwrap();
        assert_eq!(
            held.mac.unwrap()[5],
            u8::from_str_radix(&number.to_string(), 16).unwrap()
        );
        assert!(node.space.pings(&ip));
        // Another address for the same attachment is not a repetition.
        place(&mut pod, "10.244.1.99", &mac);
        assert_eq!(pod.call("ADD").refusal().0, 100);
        pod.del();
        let mut pod = Sandbox::new(&node, "late");
        place(&mut pod, "10.244.1.40", &mac);
        let (code, said) = pod.call("ADD").refusal();
        assert_eq!(code, 100, "{said}");
        assert!(
            said.contains("10.244.1.40 is taken by pod default/taken"),
            "{said}"
        );
        assert_eq!(pod.space.links(), Vec::<String>::new());
    }
}

#[test]
fn what_other_plugins_made_stays_in_the_result() {
    if !privileged("what_other_plugins_made_stays_in_the_result") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut pod = Sandbox::new(&node, "chained");
        pod.config["cniVersion"] = version.into();
        pod.config["prevResult"] = json!({
            "cniVersion": version,
            "interfaces": [{"name": "dummy0", "sandbox": "/elsewhere"}],
            "ips": [{"version": "4", "interface": 0, "address": "192.0.2.9/24"}],
            "routes": [{"dst": "198.51.100.0/24"}],
            "dns": {"nameservers": ["192.0.2.53"]},
        });
        let result = pod.add();
        assert_eq!(result["cniVersion"], version);
        let names = result["interfaces"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|interface| interface["name"].clone()).collect();
        assert_eq!(names, ["dummy0", "eth0"]);
        let ips = result["ips"].as_array().unwrap().iter();
        let owners: Vec<_> = ips.map(|ip| ip["interface"].clone()).collect();
        assert_eq!(owners, [0, 1, 1]);
        assert_eq!(result["routes"].as_array().unwrap().len(), 3);
        assert_eq!(result["dns"]["nameservers"][0], "192.0.2.53");
        if version != "0.3.1" {
            assert_eq!(pod.call("CHECK").result(), Value::Null, "{version}");
        }
        pod.del();
    }
}

#[test]
fn a_namespace_may_be_gone_before_del() {
    if !privileged("a_namespace_may_be_gone_before_del") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    for netns in ["", "/run/netns/long-gone", "/proc/self/status"] {
        let mut pod = Sandbox::new(&node, "a");
        let result = pod.add();
        pod.space = Space::new();
        for _ in 0..2 {
            assert_eq!(pod.call_in("DEL", netns).result(), Value::Null);
        }
        assert_eq!(node.client().ports().unwrap().len(), 1);
        assert!(!node.space.pings(&Sandbox::addresses(&result)[0]));
    }
}

#[test]
fn what_was_deleted_without_a_daemon_is_gone_with_the_next() {
    if !privileged("what_was_deleted_without_a_daemon_is_gone_with_the_next") {
        return;
    }
    let mut node = Node::new();
    node.start(&[]);
    let space = {
        let mut pod = Sandbox::new(&node, "a");
        pod.add();
        Space(pod.space.0.try_clone().unwrap())
    };
    assert!(node.stop().0.success());
    let del = |node: &Node| {
        let mut pod = Sandbox::new(node, "a");
        pod.space = Space(space.0.try_clone().unwrap());
        for _ in 0..2 {
            assert_eq!(pod.call("DEL").result(), Value::Null);
        }
    };
    del(&node);
    let notes = || {
        std::fs::read_dir(node.path("state/deleted"))
            .unwrap()
            .count()
    };
    assert_eq!(notes(), 1);
    let before = notes();
    assert_eq!(before, 1);
    let folder = node.path("state/deleted");
    node.start(&[]);
    eventually("the note is settled", || {
        (std::fs::read_dir(&folder).unwrap().count() == 0).then_some(())
    });
    eventually("the interface is gone", || {
        space.links().is_empty().then_some(())
    });
    assert_eq!(node.client().ports().unwrap().len(), 1);
}
