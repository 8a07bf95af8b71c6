//! Is another plugin asked for addresses as the specification has it, and never left with what
//! nobody uses?

use std::time::Duration;

use serde_json::{Value, json};
use weft_cni::daemon::{Call, Code};
use weft_cni::plugin::{Limits, answer};
use weft_sys::netlink::{Netlink, link};

use crate::common::{Host, Manner, Pod, Ran, privileged, run};

/// A host whose pods' addresses `host-local` gives, in the way `FAKE_IPAM` says.
struct Delegating {
    host: Host,
    pod: Pod,
}

impl Delegating {
    fn new() -> Self {
        let host = Host::new();
        host.install_ipam("host-local");
        Self {
            host,
            pod: Pod::new(),
        }
    }

    /// The example of the specification's appendix, but for the plugin's own keys.
    fn config(&self) -> Value {
        let mut config = self.host.config();
        config["name"] = "dbnet".into();
        config["ipam"] = json!({
            "type": "host-local", "subnet": "10.1.0.0/16", "gateway": "10.1.0.1",
        });
        config["keyA"] = json!(["some more", "plugin specific", "configuration"]);
        config["cni.dev/valid-attachments"] = json!([]);
        config["prevResult"] = Value::Null;
        config
    }

    fn env(&self, verb: &str, manner: &str) -> Vec<(String, String)> {
        let mut env = self.host.env(verb, &self.pod.path);
        let log = self.host.path("ipam.log").to_str().unwrap().to_owned();
        env.push(("FAKE_IPAM".into(), manner.into()));
        env.push(("FAKE_IPAM_LOG".into(), log));
        env
    }

    fn run(&self, verb: &str, manner: &str) -> Ran {
        let config = self.config().to_string();
        run(&self.env(verb, manner), config.as_bytes())
    }

    /// Runs it in this process, with limits that a test can wait for.
    fn code_soon(&self, verb: &str, manner: &str) -> u32 {
        let soon = Duration::from_secs(2);
        let limits = Limits {
            add: soon,
            del: soon,
            check: soon,
            gc: soon,
            status: soon,
            undo: Duration::from_secs(60),
        };
        let environment = self.env(verb, manner).into_iter().collect();
        let config = self.config().to_string();
        match answer(&environment, config.as_bytes(), &limits) {
            Ok(_) => 0,
            Err(error) => error.code.0,
        }
    }
}

#[test]
fn its_address_is_the_pods() {
    if !privileged("its_address_is_the_pods") {
        return;
    }
    for manner in ["", "old"] {
        let test = Delegating::new();
        let daemon = test.host.daemon(Manner::Up);
        let ran = test.run("ADD", manner);
        assert_eq!(ran.exit, 0, "{ran:?}");
        let result = ran.json();
        assert_eq!(result["ips"][0]["address"], "10.1.0.5/32");
        assert_eq!(result["ips"][0]["gateway"], "169.254.1.1");
        let dns = if manner == "old" {
            Value::Null
        } else {
            json!({"nameservers": ["10.1.0.2"]})
        };
        assert_eq!(result["dns"], dns);
        let calls = daemon.calls();
        let [Call::Attach(attach)] = &calls[..] else {
            panic!("{calls:?}");
        };
        assert!(attach.delegated);
        assert_eq!(attach.ips, ["10.1.0.5/16".parse().unwrap()]);
        assert_eq!(test.host.ipam_verbs(), ["ADD"]);
        // The complete configuration, to the byte.
        let log = test.host.path("ipam.log.stdin");
        assert_eq!(
            std::fs::read_to_string(log).unwrap(),
            test.config().to_string()
        );
    }
}

#[test]
fn what_it_reserved_is_given_back_when_add_fails() {
    if !privileged("what_it_reserved_is_given_back_when_add_fails") {
        return;
    }
    for (manner, ipam, code) in [
        (Manner::Refusing(Code::Conflict), "", 100),
        (Manner::Closing, "", 11),
        (Manner::Up, "fail:ADD", 107),
        (Manner::Up, "garbage:ADD", 6),
        (Manner::Up, "babble:ADD", 100),
        (Manner::Up, "die:ADD", 100),
    ] {
        let test = Delegating::new();
        let daemon = test.host.daemon(manner.clone());
        let ran = test.run("ADD", ipam);
        assert_eq!(ran.code(), code, "{manner:?}, {ipam}: {ran:?}");
        assert_eq!(test.host.ipam_verbs(), ["ADD", "DEL"], "{manner:?}, {ipam}");
        assert!(daemon.attached().is_empty());
        // A daemon that may have attached the pod after all must not keep the address in use.
        let noted = matches!(manner, Manner::Closing);
        assert_eq!(test.host.notes().len(), usize::from(noted), "{manner:?}");
    }
}

#[test]
fn its_error_is_passed_on() {
    if !privileged("its_error_is_passed_on") {
        return;
    }
    let test = Delegating::new();
    let _daemon = test.host.daemon(Manner::Up);
    let ran = test.run("ADD", "fail:ADD");
    let expected = json!({
        "cniVersion": "1.1.0", "code": 107,
        "msg": "the IPAM plugin host-local failed: no address is free", "details": "10.1.0.0/16",
    });
    assert_eq!(ran.json(), expected);
    for verb in ["DEL", "GC", "STATUS"] {
        assert_eq!(
            test.run(verb, &format!("fail:{verb}")).code(),
            107,
            "{verb}"
        );
    }
    assert_eq!(test.run("DEL", "fail:DEL").code(), 107);
}

#[test]
fn every_verb_reaches_it() {
    if !privileged("every_verb_reaches_it") {
        return;
    }
    let test = Delegating::new();
    let daemon = test.host.daemon(Manner::Up);
    let result = test.run("ADD", "").json();
    let mut config = test.config();
    config["prevResult"] = result;
    let check = run(&test.env("CHECK", ""), config.to_string().as_bytes());
    assert_eq!(check.exit, 0, "{check:?}");
    for verb in ["STATUS", "GC", "DEL", "DEL"] {
        let ran = test.run(verb, "");
        assert_eq!((ran.stdout.as_str(), ran.exit), ("", 0), "{verb}: {ran:?}");
    }
    let verbs = ["ADD", "CHECK", "STATUS", "GC", "DEL", "DEL"];
    assert_eq!(test.host.ipam_verbs(), verbs);
    assert!(daemon.attached().is_empty());
}

#[test]
fn without_a_daemon_it_is_told_all_the_same() {
    if !privileged("without_a_daemon_it_is_told_all_the_same") {
        return;
    }
    let test = Delegating::new();
    assert_eq!(test.run("DEL", "").exit, 0);
    assert_eq!(test.host.notes(), ["c1:eth0"]);
    let gc = test.run("GC", "fail:GC");
    assert_eq!(gc.code(), 11);
    assert!(gc.stdout.contains("no address is free"), "{gc:?}");
    assert_eq!(test.host.ipam_verbs(), ["DEL", "GC"]);
}

#[test]
fn one_that_hangs_is_stopped() {
    if !privileged("one_that_hangs_is_stopped") {
        return;
    }
    std::thread::scope(|scope| {
        for (verb, told) in [
            ("ADD", vec!["ADD", "DEL"]),
            ("DEL", vec!["DEL"]),
            ("GC", vec!["GC"]),
            ("STATUS", vec!["STATUS"]),
        ] {
            scope.spawn(move || {
                let test = Delegating::new();
                let _daemon = test.host.daemon(Manner::Up);
                let code = test.code_soon(verb, &format!("hang:{verb}"));
                assert_eq!(code, 11, "{verb}");
                assert_eq!(test.host.ipam_verbs(), told, "{verb}");
            });
        }
    });
}

#[test]
fn a_living_interface_keeps_its_reservation() {
    if !privileged("a_living_interface_keeps_its_reservation") {
        return;
    }
    let test = Delegating::new();
    let daemon = test.host.daemon(Manner::Up);
    let mut netlink = Netlink::open_in(&test.pod.netns).unwrap();
    link::add_veth(&mut netlink, "eth0", "peer", None).unwrap();
    let ran = test.run("ADD", "");
    assert_eq!(ran.code(), 100, "{ran:?}");
    assert!(ran.stdout.contains("exists already"), "{ran:?}");
    assert!(test.host.ipam_verbs().is_empty());
    assert!(daemon.calls().is_empty());
}

#[test]
fn a_plugin_that_cannot_be_found_is_named() {
    if !privileged("a_plugin_that_cannot_be_found_is_named") {
        return;
    }
    let test = Delegating::new();
    let daemon = test.host.daemon(Manner::Up);
    for name in [
        "whereabouts",
        "../host-local",
        "/bin/sh",
        "..",
        "weft-cni",
        "loopback",
    ] {
        let mut config = test.config();
        config["ipam"]["type"] = name.into();
        let ran = run(&test.env("ADD", ""), config.to_string().as_bytes());
        assert_eq!(ran.code(), 7, "{name}: {ran:?}");
        assert!(ran.stdout.contains("cannot delegate"), "{ran:?}");
    }
    assert!(daemon.calls().is_empty());
}
