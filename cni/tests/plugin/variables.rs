//! Is every variable that is missing or malformed named, before anything is done?

use crate::common::{Host, Manner, Pod, Ran, privileged, run};

fn changed(host: &Host, verb: &str, netns: &str, key: &str, value: Option<&str>) -> Ran {
    let mut env = host.env(verb, netns);
    env.retain(|(name, _)| name != key);
    env.extend(value.map(|value| (key.to_owned(), value.to_owned())));
    run(&env, host.config().to_string().as_bytes())
}

#[test]
fn each_missing_variable_is_named() {
    let host = Host::new();
    let daemon = host.daemon(Manner::Up);
    let attachment: &[&str] = &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    let needed: [(&str, &[&str]); 4] = [
        ("ADD", attachment),
        ("CHECK", attachment),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", &["CNI_PATH"]),
    ];
    for (verb, variables) in needed {
        for variable in variables {
            for value in [None, Some("")] {
                let ran = changed(&host, verb, "/x", variable, value);
                assert_eq!(ran.code(), 4, "{verb} without {variable}");
                assert_eq!(ran.json()["details"], **variable, "{verb}");
            }
        }
    }
    assert!(daemon.calls().is_empty());
}

#[test]
fn malformed_names_are_refused() {
    let host = Host::new();
    let daemon = host.daemon(Manner::Up);
    let long = "x".repeat(201);
    for verb in ["ADD", "CHECK", "DEL"] {
        for id in [
            "../../etc",
            "a/b",
            ".hidden",
            "-rf",
            "a b",
            "a:b",
            "\u{1b}[2J",
            &long,
        ] {
            let ran = changed(&host, verb, "/x", "CNI_CONTAINERID", Some(id));
            assert_eq!(ran.code(), 4, "{verb} of {id:?}");
            assert!(ran.stdout.contains("CNI_CONTAINERID"), "{ran:?}");
            assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
        }
        for ifname in [
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "sixteen-letters-",
            "\n",
            "\u{7}",
        ] {
            let ran = changed(&host, verb, "/x", "CNI_IFNAME", Some(ifname));
            assert_eq!(ran.code(), 4, "{verb} of {ifname:?}");
            assert!(ran.stdout.contains("CNI_IFNAME"), "{ran:?}");
        }
    }
    assert!(daemon.calls().is_empty());
    assert!(host.notes().is_empty());
}

#[test]
fn malformed_arguments_are_refused_but_never_by_del() {
    if !privileged("malformed_arguments_are_refused_but_never_by_del") {
        return;
    }
    let (host, pod) = (Host::new(), Pod::new());
    let daemon = host.daemon(Manner::Up);
    let bad = ["IP", "IP=1=2", ";", "FOO=bar", "IgnoreUnknown=perhaps"];
    for args in bad {
        let ran = changed(&host, "ADD", &pod.path, "CNI_ARGS", Some(args));
        assert_eq!(ran.code(), 4, "{args}");
        assert!(ran.stdout.contains("CNI_ARGS"), "{ran:?}");
        let ran = changed(&host, "DEL", &pod.path, "CNI_ARGS", Some(args));
        assert_eq!(ran.exit, 0, "{args}");
    }
    assert_eq!(daemon.calls().len(), bad.len());
}

#[test]
fn a_path_that_leads_to_no_pod_is_refused() {
    let host = Host::new();
    let daemon = host.daemon(Manner::Up);
    for path in [
        "/nonexistent",
        "/",
        "/dev/null",
        "/proc/self/status",
        "/proc/thread-self/ns/net",
    ] {
        for verb in ["ADD", "CHECK"] {
            let mut config = host.config();
            let eth0 = serde_json::json!({"name": "eth0", "sandbox": path});
            config["prevResult"] = serde_json::json!({"interfaces": [eth0]});
            let ran = run(&host.env(verb, path), config.to_string().as_bytes());
            assert_eq!(ran.code(), 8, "{verb} in {path}");
        }
    }
    assert!(daemon.calls().is_empty());
}
