//! Does the plugin answer as CNI specification 1.1.0 has it? Environment and stdin in, stdout and
//! exit code out, byte for byte.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Stdio};

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

macro_rules! refused {
    ($version:literal, $code:literal, $verb:literal) => {
        concat!(
            r#"{"cniVersion":""#,
            $version,
            r#"","code":"#,
            $code,
            r#","msg":"this release of weft-cni does not serve "#,
            $verb,
            r#"","details":"attachments through the plugin come with a later release; "#,
            "`weft lab` attaches pods over the daemon's control socket\"}\n"
        )
    };
}

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
    // Well-formed calls of verbs that a later release serves
    Case { name: "add", env: ADD, stdin: r#"{"cniVersion":"1.0.0","name":"weft","type":"weft-cni","runtimeConfig":{}}"#, exit: 1,
        stdout: refused!("1.0.0", 100, "ADD") },
    Case { name: "del, with the namespace gone", env: DEL, stdin: r#"{"cniVersion":"0.3.1","name":"weft"}"#, exit: 1,
        stdout: refused!("0.3.1", 100, "DEL") },
    Case { name: "check", env: CHECK, stdin: r#"{"cniVersion":"0.4.0","name":"weft"}"#, exit: 1,
        stdout: refused!("0.4.0", 100, "CHECK") },
    Case { name: "gc", env: GC, stdin: r#"{"cniVersion":"1.1.0","name":"weft","cni.dev/valid-attachments":[]}"#, exit: 1,
        stdout: refused!("1.1.0", 100, "GC") },
    Case { name: "status", env: STATUS, stdin: r#"{"cniVersion":"1.1.0","name":"weft"}"#, exit: 1,
        stdout: refused!("1.1.0", 50, "STATUS") },
];

fn run(env: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> (String, String, i32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft-cni"))
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    // The plugin may answer without reading: a broken pipe here is no failure.
    let _ = child.stdin.take().expect("piped").write_all(stdin);
    let output = child.wait_with_output().expect("the plugin ends");
    let text = |bytes| String::from_utf8(bytes).expect("the plugin writes UTF-8");
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code().expect("no signal"),
    )
}

#[test]
fn every_call_gets_its_golden_reply() {
    for case in CASES {
        let (stdout, stderr, exit) = run(case.env, &[], case.stdin.as_bytes());
        assert_eq!(
            (stdout.as_str(), stderr.as_str(), exit),
            (case.stdout, "", case.exit),
            "{}",
            case.name
        );
    }
}

#[test]
fn endless_input_is_refused() {
    let (stdout, _, exit) = run(ADD, &[], &vec![b' '; (1 << 20) + 1]);
    assert!(stdout.contains(r#""code":6"#), "{stdout}");
    assert_eq!(exit, 1);
}

#[test]
fn by_hand_it_explains_itself_on_stderr() {
    let (stdout, stderr, exit) = run(&[], &["--help"], b"");
    assert_eq!((stdout.as_str(), exit), ("", 0));
    assert!(
        stderr.contains("CNI versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        "{stderr}"
    );
}
