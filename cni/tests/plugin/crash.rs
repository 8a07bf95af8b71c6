//! Whatever system call the plugin dies at, or the kernel refuses: does the DEL that a runtime owes
//! clear everything away?

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weft_cni::daemon::Identity;
use weft_cni::tombstone::Tombstones;

use crate::common::{FakeDaemon, Host, Manner, Pod, privileged, run};

/// Calls that change nothing but the process that makes them, and go with it.
const OF_THE_PROCESS: [&str; 21] = [
    "mmap",
    "mprotect",
    "munmap",
    "mremap",
    "madvise",
    "brk",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "sched_getaffinity",
    "gettid",
    "getrandom",
    "execve",
    "exit_group",
    "access",
    "pread64",
];

/// A runtime's call, run under strace.
struct Traced<'a> {
    host: &'a Host,
    env: Vec<(String, String)>,
    stdin: String,
}

impl Traced<'_> {
    /// Runs it with `inject` done to its calls; what is traced goes to a file of the host.
    fn run(&self, inject: Option<&str>) -> Option<i32> {
        let mut command = Command::new("strace");
        command.arg("-qq").arg("-o").arg(self.host.path("trace"));
        if let Some(inject) = inject {
            command.arg(format!("--inject={inject}"));
        }
        let mut child = command
            .arg(env!("CARGO_BIN_EXE_weft-cni"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        child.wait().unwrap().code()
    }

    /// How often it makes each call that matters.
    fn calls(&self) -> BTreeMap<String, usize> {
        assert_eq!(self.run(None), Some(0));
        let trace = std::fs::read_to_string(self.host.path("trace")).unwrap();
        let names = trace.lines().filter_map(|line| line.split_once('('));
        let mut calls = BTreeMap::new();
        for (name, _) in names {
            let name = name.trim();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.chars().all(plain) && !OF_THE_PROCESS.contains(&name) {
                *calls.entry(name.to_owned()).or_default() += 1;
            }
        }
        assert!(calls.len() > 5, "{trace}");
        calls
    }
}

/// Whether processes can be traced here; if not, says so.
fn traceable(test: &str) -> bool {
    let traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    if traced.is_ok_and(|status| status.success()) {
        return true;
    }
    let line = format!("SKIPPED (needs strace): {test}: it kills the plugin at system calls\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

fn noted(host: &Host) -> Vec<Identity> {
    let listed = Tombstones::open(&host.path("state"))
        .unwrap()
        .list()
        .unwrap();
    listed.into_iter().map(|stone| stone.identity).collect()
}

fn left_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_note_survives_death_at_every_call_and_leaves_nothing_else() {
    if !traceable("a_note_survives_death_at_every_call_and_leaves_nothing_else") {
        return;
    }
    let fresh = || {
        let host = Host::new();
        let env = host.env("DEL", "");
        let stdin = host.config().to_string();
        (host, env, stdin)
    };
    let (host, env, stdin) = fresh();
    let traced = Traced {
        host: &host,
        env,
        stdin,
    };
    let calls = traced.calls();
    assert!(
        calls.contains_key("fsync") && calls.contains_key("renameat"),
        "{calls:?}"
    );
    let mut killed = 0;
    for (name, times) in calls {
        for when in 1..=times {
            let (host, env, stdin) = fresh();
            let traced = Traced {
                host: &host,
                env: env.clone(),
                stdin: stdin.clone(),
            };
            let end = traced.run(Some(&format!("{name}:signal=KILL:when={when}")));
            assert_ne!(end, Some(1), "{name} {when}");
            killed += usize::from(end.is_none());
            // What it left must not be in the way of the next, nor of the daemon.
            let _ = noted(&host);
            let again = run(&env, stdin.as_bytes());
            assert_eq!(again.exit, 0, "after {name} {when}: {again:?}");
            assert_eq!(noted(&host).len(), 1, "after {name} {when}");
            assert_eq!(
                left_in(&host.path("state/deleted")),
                1,
                "after {name} {when}"
            );
        }
    }
    assert!(killed > 20, "{killed}");
}

#[test]
fn a_disk_that_refuses_is_told_and_leaves_nothing() {
    if !traceable("a_disk_that_refuses_is_told_and_leaves_nothing") {
        return;
    }
    for refusal in [
        "fsync:error=EIO:when=3",
        "renameat:error=EIO",
        "mkdirat:error=ENOSPC:when=1",
        "mkdirat:error=EROFS:when=2",
    ] {
        let host = Host::new();
        let traced = Traced {
            host: &host,
            env: host.env("DEL", ""),
            stdin: host.config().to_string(),
        };
        assert_eq!(traced.run(Some(refusal)), Some(1), "{refusal}");
        assert_eq!(noted(&host), [], "{refusal}");
        assert_eq!(left_in(&host.path("state/deleted")), 0, "{refusal}");
        let again = run(&traced.env, traced.stdin.as_bytes());
        assert_eq!(again.exit, 0, "{refusal}: {again:?}");
        assert_eq!(noted(&host).len(), 1, "{refusal}");
    }
}

/// A runtime whose pods' addresses another plugin gives, and a pod of it.
struct Scene {
    daemon: FakeDaemon,
    host: Host,
    pod: Pod,
}

impl Scene {
    fn new() -> Self {
        let host = Host::new();
        host.install_ipam("host-local");
        let daemon = host.daemon(Manner::Up);
        Self {
            daemon,
            host,
            pod: Pod::new(),
        }
    }

    fn env(&self, verb: &str) -> Vec<(String, String)> {
        let mut env = self.host.env(verb, &self.pod.path);
        let log = self.host.path("ipam.log").to_str().unwrap().to_owned();
        env.push(("FAKE_IPAM_LOG".into(), log));
        env
    }

    fn config(&self) -> Value {
        let mut config = self.host.config();
        config["ipam"] = json!({"type": "host-local"});
        config["cni.dev/valid-attachments"] = json!([]);
        config
    }

    fn traced(&self, verb: &str) -> Traced<'_> {
        Traced {
            host: &self.host,
            env: self.env(verb),
            stdin: self.config().to_string(),
        }
    }
}

#[test]
fn what_a_dying_verb_left_the_next_del_clears_away() {
    let test = "what_a_dying_verb_left_the_next_del_clears_away";
    if !privileged(test) || !traceable(test) {
        return;
    }
    for verb in ["ADD", "DEL", "GC"] {
        let mut killed = 0;
        for (name, times) in Scene::new().traced(verb).calls() {
            for when in 1..=times {
                let scene = Scene::new();
                if verb != "ADD" {
                    let config = scene.config().to_string();
                    assert_eq!(run(&scene.env("ADD"), config.as_bytes()).exit, 0);
                }
                let traced = scene.traced(verb);
                let end = traced.run(Some(&format!("{name}:signal=KILL:when={when}")));
                killed += usize::from(end.is_none());
                let del = run(&scene.env("DEL"), scene.config().to_string().as_bytes());
                let place = format!("{verb}, {name} {when}");
                assert_eq!(del.exit, 0, "after {place}: {del:?}");
                assert!(scene.daemon.attached().is_empty(), "after {place}");
                let verbs = scene.host.ipam_verbs();
                assert_eq!(
                    verbs.last().map(String::as_str),
                    Some("DEL"),
                    "after {place}"
                );
                assert!(scene.host.notes().is_empty(), "after {place}");
            }
        }
        assert!(killed > 20, "{verb}: {killed}");
    }
}
