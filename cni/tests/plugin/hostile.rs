//! Whatever comes in: is the answer an object a runtime can parse, and nothing done elsewhere?

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use weft_cni::Environment;
use weft_cni::plugin::{Answer, Limits, answer};

use crate::common::Host;

const SOON: Limits = Limits {
    add: Duration::from_millis(50),
    del: Duration::from_millis(50),
    check: Duration::from_millis(50),
    gc: Duration::from_millis(50),
    status: Duration::from_millis(50),
    undo: Duration::from_millis(50),
};

/// Keys that mean something somewhere in a configuration. Not among them: where the daemon and
/// its state are, which stay inside the test's folder.
const KEYS: [&str; 28] = [
    "cniVersion",
    "name",
    "type",
    "mtu",
    "ipam",
    "dns",
    "args",
    "cni",
    "ips",
    "mac",
    "runtimeConfig",
    "prevResult",
    "cni.dev/valid-attachments",
    "cni.dev/attachments",
    "portMappings",
    "hostPort",
    "containerPort",
    "hostIP",
    "protocol",
    "bandwidth",
    "ingressRate",
    "io.kubernetes.cri.pod-annotations",
    "weft.dev/ips",
    "interfaces",
    "address",
    "containerID",
    "ifname",
    "nameservers",
];

const WORDS: [&str; 12] = [
    "", "1.1.0", "0.3.1", "weft", "eth0", "c1", "10.0.0.1", "fd00::/8", "tcp", "../x", "\0", "true",
];

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            objects(inner).prop_map(Value::from),
        ]
    })
}

fn objects(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let keys = prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
    prop::collection::btree_map(keys, values, 0..8).prop_map(|map| map.into_iter().collect())
}

fn environments() -> impl Strategy<Value = Vec<(String, String)>> {
    let verbs = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "", "add"];
    let names = [
        "c1",
        "eth0",
        "",
        "/dev/null",
        "../x",
        "a b",
        "/proc/thread-self/ns/net",
    ];
    let pick = |words: &[&'static str]| {
        prop::sample::select(words.to_vec())
            .prop_map(str::to_owned)
            .boxed()
    };
    let text = prop_oneof![3 => pick(&names), 1 => "[^\0]{0,20}".boxed()];
    let args = prop_oneof![
        "[A-Z=;]{0,20}".boxed(),
        pick(&["IP=x", "IgnoreUnknown=1;A=b"])
    ];
    (pick(&verbs), text.clone(), text.clone(), text, args).prop_map(
        |(verb, id, netns, ifname, args)| {
            let pairs = [
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", id),
                ("CNI_NETNS", netns),
                ("CNI_IFNAME", ifname),
                ("CNI_PATH", "/nonexistent".to_owned()),
                ("CNI_ARGS", args),
            ];
            pairs.map(|(key, value)| (key.to_owned(), value)).into()
        },
    )
}

/// The answer, if it is one that a runtime can parse.
fn parseable(env: Vec<(String, String)>, stdin: &[u8]) -> Result<(), TestCaseError> {
    let environment: Environment = env.into_iter().collect();
    match answer(&environment, stdin, &SOON) {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Json(value)) => {
            prop_assert!(value.get("cniVersion").is_some(), "{value}");
            Ok(())
        }
        Err(error) => {
            let json = serde_json::to_value(&error).unwrap();
            prop_assert!(
                json["code"].is_u64() && json["cniVersion"].is_string(),
                "{json}"
            );
            prop_assert!(!error.msg.is_empty() && !error.details.is_empty(), "{json}");
            let control = |text: &str| text.chars().any(char::is_control);
            prop_assert!(!control(&error.msg), "{json}");
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_configuration_gets_an_answer(
        env in environments(),
        mut config in objects(values()),
        well_formed in any::<bool>(),
    ) {
        let host = Host::new();
        if well_formed {
            config.insert("cniVersion".into(), "1.1.0".into());
            config.insert("name".into(), "weft".into());
        }
        config.insert("socket".into(), json!(host.socket()));
        config.insert("stateDir".into(), json!(host.path("state")));
        parseable(env, Value::Object(config).to_string().as_bytes())?;
        for name in host.notes() {
            prop_assert!(name.contains(':') && !name.starts_with('.'), "{name}");
        }
    }

    #[test]
    fn any_bytes_get_an_answer(env in environments(), stdin in prop::collection::vec(any::<u8>(), 0..64)) {
        parseable(env, &stdin)?;
    }
}
