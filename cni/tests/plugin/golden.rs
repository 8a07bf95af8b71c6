//! Does the plugin answer as CNI specification 1.1.0 has it? Environment and stdin in, stdout and
//! exit code out, byte for byte.

use crate::common::{run, run_as};

struct Case {
    name: &'static str,
    env: &'static [(&'static str, &'static str)],
    stdin: &'static str,
    stdout: &'static str,
    exit: i32,
}

const ADD: &[(&str, &str)] = &[
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/c1"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
];
const CHECK: &[(&str, &str)] = &[
    ("CNI_COMMAND", "CHECK"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/c1"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
];
const DEL: &[(&str, &str)] = &[
    ("CNI_COMMAND", "DEL"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", ""),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
];
const GC: &[(&str, &str)] = &[("CNI_COMMAND", "GC"), ("CNI_PATH", "/opt/cni/bin")];
const STATUS: &[(&str, &str)] = &[("CNI_COMMAND", "STATUS")];
const VERSION: &[(&str, &str)] = &[("CNI_COMMAND", "VERSION")];

#[rustfmt::skip]
const CASES: &[Case] = &[
    // VERSION
    Case { name: "version echoes the runtime's version", env: VERSION, stdin: r#"{"cniVersion":"0.4.0"}"#, exit: 0,
        stdout: "{\"cniVersion\":\"0.4.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n" },
    Case { name: "version without stdin", env: VERSION, stdin: "", exit: 0,
        stdout: "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n" },
    Case { name: "version without a version", env: VERSION, stdin: "{}", exit: 0,
        stdout: "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n" },
    Case { name: "version of a runtime from the future", env: VERSION, stdin: r#"{"cniVersion":"2.0.0","new":[1]}"#, exit: 0,
        stdout: "{\"cniVersion\":\"2.0.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n" },
    Case { name: "version with garbage", env: VERSION, stdin: "{", exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"cannot decode the configuration on stdin\",\"details\":\"EOF while parsing an object at line 1 column 1\"}\n" },
    // The command
    Case { name: "no command", env: &[], stdin: r#"{"cniVersion":"1.0.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":4,\"msg\":\"CNI_COMMAND is not set\",\"details\":\"one of ADD, DEL, CHECK, GC, STATUS, VERSION\"}\n" },
    Case { name: "empty command", env: &[("CNI_COMMAND", "")], stdin: r#"{"cniVersion":"1.0.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":4,\"msg\":\"CNI_COMMAND is not set\",\"details\":\"one of ADD, DEL, CHECK, GC, STATUS, VERSION\"}\n" },
    Case { name: "unknown command", env: &[("CNI_COMMAND", "add")], stdin: r#"{"cniVersion":"1.0.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":4,\"msg\":\"unknown CNI_COMMAND: add\",\"details\":\"one of ADD, DEL, CHECK, GC, STATUS, VERSION\"}\n" },
    Case { name: "missing variables are named", env: &[("CNI_COMMAND", "ADD"), ("CNI_IFNAME", "eth0")], stdin: r#"{"cniVersion":"1.0.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":4,\"msg\":\"ADD needs variables that are not set\",\"details\":\"CNI_CONTAINERID, CNI_NETNS, CNI_PATH\"}\n" },
    // The configuration
    Case { name: "no configuration", env: ADD, stdin: "", exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"cannot decode the configuration on stdin\",\"details\":\"EOF while parsing a value at line 1 column 0\"}\n" },
    Case { name: "a version that is no string", env: ADD, stdin: r#"{"cniVersion":1}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"cannot decode the configuration on stdin\",\"details\":\"invalid type: integer `1`, expected a string at line 1 column 15\"}\n" },
    Case { name: "no version means 0.1.0", env: ADD, stdin: r#"{"name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":1,\"msg\":\"unsupported cniVersion 0.1.0\",\"details\":\"supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0\"}\n" },
    Case { name: "unsupported version", env: ADD, stdin: r#"{"cniVersion":"0.3.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":1,\"msg\":\"unsupported cniVersion 0.3.0\",\"details\":\"supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0\"}\n" },
    Case { name: "check before 0.4.0", env: CHECK, stdin: r#"{"cniVersion":"0.3.1","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"0.3.1\",\"code\":1,\"msg\":\"cniVersion 0.3.1 does not know CHECK\",\"details\":\"since 0.4.0\"}\n" },
    Case { name: "gc before 1.1.0", env: GC, stdin: r#"{"cniVersion":"1.0.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.0.0\",\"code\":1,\"msg\":\"cniVersion 1.0.0 does not know GC\",\"details\":\"since 1.1.0\"}\n" },
    Case { name: "status before 1.1.0", env: STATUS, stdin: r#"{"cniVersion":"1.0.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.0.0\",\"code\":1,\"msg\":\"cniVersion 1.0.0 does not know STATUS\",\"details\":\"since 1.1.0\"}\n" },
    Case { name: "no network name", env: ADD, stdin: r#"{"cniVersion":"1.0.0"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.0.0\",\"code\":7,\"msg\":\"the configuration has no name\",\"details\":\"name\"}\n" },
    Case { name: "a name that is no name", env: ADD, stdin: r#"{"cniVersion":"1.0.0","name":"../x"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.0.0\",\"code\":7,\"msg\":\"the network has a malformed name\",\"details\":\"name: \\\"../x\\\" is not made of letters, digits, _ . and -, beginning with a letter or digit\"}\n" },
    Case { name: "a list in place of the configuration", env: ADD, stdin: r#"["1.0.0","weft"]"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"cannot decode the configuration on stdin\",\"details\":\"not an object\"}\n" },
    // Well-formed calls where there is nothing to act on
    Case { name: "a namespace that is none", env: ADD, stdin: r#"{"cniVersion":"1.0.0","name":"weft","type":"weft-cni","runtimeConfig":{}}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.0.0\",\"code\":8,\"msg\":\"CNI_NETNS \\\"/run/netns/c1\\\" cannot be opened\",\"details\":\"No such file or directory (os error 2); is the pod gone?\"}\n" },
    Case { name: "check without a record", env: CHECK, stdin: r#"{"cniVersion":"0.4.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"0.4.0\",\"code\":7,\"msg\":\"the configuration has no prevResult\",\"details\":\"CHECK compares with prevResult, which the runtime must pass\"}\n" },
    Case { name: "gc without a list", env: GC, stdin: r#"{"cniVersion":"1.1.0","name":"weft"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":7,\"msg\":\"the configuration does not say which attachments are valid\",\"details\":\"GC needs cni.dev/valid-attachments, which the runtime must pass\"}\n" },
    Case { name: "gc without a daemon", env: GC, stdin: r#"{"cniVersion":"1.1.0","name":"weft","socket":"/nonexistent/s","cni.dev/valid-attachments":[]}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":11,\"msg\":\"cannot collect what is left of attachments\",\"details\":\"no weft daemon listens at /nonexistent/s: No such file or directory (os error 2); start it with `weft daemon`, or correct `socket` in the network configuration\"}\n" },
    Case { name: "status without a daemon", env: STATUS, stdin: r#"{"cniVersion":"1.1.0","name":"weft","socket":"/nonexistent/s"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"1.1.0\",\"code\":51,\"msg\":\"the weft daemon does not answer: no pod can be attached, and running ones may be cut off\",\"details\":\"no weft daemon listens at /nonexistent/s: No such file or directory (os error 2); start it with `weft daemon`, or correct `socket` in the network configuration\"}\n" },
    Case { name: "del with neither daemon nor state directory", env: DEL, stdin: r#"{"cniVersion":"0.3.1","name":"weft","socket":"/nonexistent/s","stateDir":"/nonexistent/state"}"#, exit: 1,
        stdout: "{\"cniVersion\":\"0.3.1\",\"code\":5,\"msg\":\"cannot detach the pod, nor note that for the daemon\",\"details\":\"no weft daemon listens at /nonexistent/s: No such file or directory (os error 2); start it with `weft daemon`, or correct `socket` in the network configuration; and cannot create /nonexistent/state: No such file or directory (os error 2)\"}\n" },
];

#[test]
fn every_call_gets_its_golden_reply() {
    for case in CASES {
        let ran = run(case.env, case.stdin.as_bytes());
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str(), ran.exit),
            (case.stdout, "", case.exit),
            "{}",
            case.name
        );
    }
}

#[test]
fn endless_input_is_refused() {
    let ran = run(ADD, &vec![b' '; (1 << 20) + 1]);
    assert_eq!(ran.code(), 6, "{ran:?}");
}

#[test]
fn by_hand_it_explains_itself_on_stderr() {
    let none: [(&str, &str); 0] = [];
    let ran = run_as(env!("CARGO_BIN_EXE_weft-cni"), &["--help"], &none, b"");
    assert_eq!((ran.stdout.as_str(), ran.exit), ("", 0));
    let versions = "CNI versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0";
    assert!(ran.stderr.contains(versions), "{ran:?}");
}
