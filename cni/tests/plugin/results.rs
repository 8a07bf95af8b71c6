//! Is the runtime told what was made, in the form of its version?

use serde_json::{Value, json};
use weft_cni::daemon::Call;

use crate::common::{Host, Manner, Pod, privileged, run};

fn add(host: &Host, pod: &Pod, config: &Value) -> Value {
    let ran = run(&host.env("ADD", &pod.path), config.to_string().as_bytes());
    assert_eq!(ran.exit, 0, "{ran:?}");
    ran.json()
}

fn with(mut config: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("{changes}");
    };
    config.as_object_mut().unwrap().extend(changes);
    config
}

#[test]
fn each_version_has_its_result() {
    if !privileged("each_version_has_its_result") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let daemon = host.daemon(Manner::Up);
    let result = |version: &str, mtu: &str, four: &str, six: &str| {
        let sandbox = &pod.path;
        let [host4, host6] = ["10.244.1.5/32", "fd00:10:244:1::5/128"];
        format!(
            r#"{{"cniVersion":"{version}","dns":{{"nameservers":["10.96.0.10"],"search":["svc"]}},"interfaces":[{{"mac":"02:00:0a:f4:01:05",{mtu}"name":"eth0","sandbox":"{sandbox}"}}],"ips":[{{"address":"{host4}","gateway":"169.254.1.1","interface":0{four}}},{{"address":"{host6}","gateway":"fe80::1","interface":0{six}}}],"routes":[{{"dst":"0.0.0.0/0","gw":"169.254.1.1"}},{{"dst":"::/0","gw":"fe80::1"}}]}}"#
        ) + "\n"
    };
    let (four, six) = (r#","version":"4""#, r#","version":"6""#);
    for (version, expected) in [
        ("0.3.1", result("0.3.1", "", four, six)),
        ("0.4.0", result("0.4.0", "", four, six)),
        ("1.0.0", result("1.0.0", "", "", "")),
        ("1.1.0", result("1.1.0", r#""mtu":1450,"#, "", "")),
    ] {
        let dns = json!({"nameservers": ["10.96.0.10"], "search": ["svc"]});
        let config = with(host.config(), json!({"cniVersion": version, "dns": dns}));
        let ran = run(&host.env("ADD", &pod.path), config.to_string().as_bytes());
        assert_eq!((ran.stdout, ran.exit), (expected, 0), "{version}");
        assert_eq!(ran.stderr, "");
    }
    // The descriptor leads to the pod's namespace, whatever the path says.
    assert_eq!(daemon.namespaces(), vec![pod.netns.id().unwrap(); 4]);
}

#[test]
fn the_daemon_is_told_all_that_the_runtime_wishes() {
    if !privileged("the_daemon_is_told_all_that_the_runtime_wishes") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let daemon = host.daemon(Manner::Up);
    let mut env = host.env("ADD", &pod.path);
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;X=y";
    env.push(("CNI_ARGS".into(), args.into()));
    let config = with(
        host.config(),
        json!({"mtu": 1400, "runtimeConfig": {
            "ips": ["10.244.1.9"], "mac": "02:11:22:33:44:55",
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 2048, "ingressBurst": 1600},
        }}),
    );
    let ran = run(&env, config.to_string().as_bytes());
    assert_eq!(ran.exit, 0, "{ran:?}");
    let calls = daemon.calls();
    let [Call::Attach(attach)] = &calls[..] else {
        panic!("{calls:?}");
    };
    let told = serde_json::to_value(attach).unwrap();
    let expected = json!({
        "container_id": "c1", "ifname": "eth0", "network": "weft", "netns": pod.path,
        "namespace": "shop", "pod": "web-0", "uid": "u-1",
        "ips": ["10.244.1.9/32"], "mac": "02:11:22:33:44:55", "mtu": 1400,
        "ports": [{"host_port": 8080, "container_port": 80, "protocol": "tcp"}],
        "bandwidth": {
            "ingress_rate": 2048, "ingress_burst": 1600, "egress_rate": 0, "egress_burst": 0,
        },
    });
    assert_eq!(told, expected);
}

#[test]
fn without_arguments_it_is_an_attachment_without_a_pod() {
    if !privileged("without_arguments_it_is_an_attachment_without_a_pod") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let daemon = host.daemon(Manner::Up);
    add(&host, &pod, &host.config());
    let calls = daemon.calls();
    let [Call::Attach(attach)] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert_eq!((&*attach.namespace, &*attach.pod), ("", ""));
    assert!(attach.ips.is_empty() && attach.mac.is_none() && attach.mtu.is_none());
}

#[test]
fn a_result_of_plugins_before_is_kept_and_added_to() {
    if !privileged("a_result_of_plugins_before_is_kept_and_added_to") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let _daemon = host.daemon(Manner::Up);
    let before = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "net1", "mac": "99:88:77:66:55:44", "sandbox": pod.path, "mtu": 9000},
        ],
        "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1}],
        "routes": [{"dst": "192.0.2.0/24", "gw": "10.1.0.1", "priority": 7}],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "a"},
    });
    let result = add(
        &host,
        &pod,
        &with(host.config(), json!({"prevResult": before})),
    );
    assert_eq!(result["interfaces"][0], before["interfaces"][0]);
    assert_eq!(result["interfaces"][1], before["interfaces"][1]);
    assert_eq!(result["interfaces"][2]["name"], "eth0");
    assert_eq!(result["ips"][0], before["ips"][0]);
    assert_eq!(result["ips"][1]["interface"], 2);
    assert_eq!(result["ips"][2]["interface"], 2);
    assert_eq!(result["routes"][0], before["routes"][0]);
    assert_eq!(result["routes"][1]["dst"], "0.0.0.0/0");
    assert_eq!(result["dns"], before["dns"]);
    // Ours, if we say something.
    let config = json!({"prevResult": before, "dns": {"nameservers": ["10.96.0.10"]}});
    let result = add(&host, &pod, &with(host.config(), config));
    assert_eq!(result["dns"], json!({"nameservers": ["10.96.0.10"]}));
}

#[test]
fn check_compares_what_is_ours_in_the_record() {
    if !privileged("check_compares_what_is_ours_in_the_record") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let daemon = host.daemon(Manner::Up);
    let result = add(&host, &pod, &host.config());
    let check = |record: &Value| {
        let config = with(host.config(), json!({"prevResult": record}));
        run(&host.env("CHECK", &pod.path), config.to_string().as_bytes())
    };
    let fine = check(&result);
    assert_eq!((fine.stdout.as_str(), fine.exit), ("", 0), "{fine:?}");
    // A later plugin of the chain has added to it.
    let mut longer = result.clone();
    let veth = json!({"name": "host0"});
    longer["interfaces"].as_array_mut().unwrap().insert(0, veth);
    for ip in longer["ips"].as_array_mut().unwrap() {
        ip["interface"] = 1.into();
    }
    let other = json!({"address": "192.0.2.1/24", "interface": 0});
    longer["ips"].as_array_mut().unwrap().push(other);
    assert_eq!(check(&longer).exit, 0);
    let calls = daemon.calls();
    let Some(Call::Check(asked)) = calls.last() else {
        panic!("{calls:?}");
    };
    assert_eq!(asked.ips.len(), 2);
    assert_eq!(asked.mac.as_deref(), Some("02:00:0a:f4:01:05"));
    assert_eq!(asked.mtu, Some(1450));
    for (key, value) in [
        ("address", json!("10.244.1.6/32")),
        ("interface", json!(null)),
    ] {
        let mut wrong = result.clone();
        wrong["ips"][0][key] = value;
        assert_eq!(check(&wrong).code(), 102, "{key}");
    }
    for (key, value) in [("name", "eth1"), ("sandbox", "/run/netns/other")] {
        let mut wrong = result.clone();
        wrong["interfaces"][0][key] = value.into();
        let before = daemon.calls().len();
        assert_eq!(check(&wrong).code(), 102, "{key}");
        assert_eq!(daemon.calls().len(), before, "{key}");
    }
    assert_eq!(check(&json!({"ips": [1]})).code(), 6);
}
