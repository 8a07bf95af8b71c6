//! What do the plugin's tests share? A runtime's side of a call, namespaces, and a daemon that is
//! none.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use weft_sys::caps;
use weft_sys::netns::Netns;

mod fake_daemon;

pub(crate) use fake_daemon::{FakeDaemon, Manner};

/// Whether this process may run privileged tests; if not, says so past the capture of output.
pub(crate) fn privileged(test: &str) -> bool {
    let Err(missing) = caps::check() else {
        return true;
    };
    let line = format!("SKIPPED (needs root): {test}: {missing}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// What one run of a plugin gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: i32,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Exit code and error code; 0 for one that succeeded.
    pub(crate) fn code(&self) -> u64 {
        if self.exit == 0 {
            return 0;
        }
        assert_eq!(self.exit, 1, "{self:?}");
        self.json()["code"].as_u64().unwrap()
    }
}

/// Runs the plugin with that environment and nothing else.
pub(crate) fn run<K, V>(env: &[(K, V)], stdin: &[u8]) -> Ran
where
    K: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    run_as(env!("CARGO_BIN_EXE_weft-cni"), &[], env, stdin)
}

/// Runs the plugin at `program` with arguments, which no runtime gives.
pub(crate) fn run_as<K, V>(
    program: impl AsRef<Path>,
    arguments: &[&str],
    env: &[(K, V)],
    stdin: &[u8],
) -> Ran
where
    K: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let mut child = Command::new(program.as_ref())
        .args(arguments)
        .env_clear()
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The plugin may answer without reading: a broken pipe here is no failure.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        exit: output.status.code().unwrap(),
    }
}

/// A runtime's folder: a socket that a daemon may listen on, a state directory, plugins.
#[derive(Debug)]
pub(crate) struct Host {
    folder: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("weft.sock")
    }

    pub(crate) fn daemon(&self, manner: Manner) -> FakeDaemon {
        FakeDaemon::start(&self.socket(), manner)
    }

    /// A configuration of the newest version that leads nowhere but here.
    pub(crate) fn config(&self) -> Value {
        json!({
            "cniVersion": "1.1.0",
            "name": "weft",
            "type": "weft-cni",
            "socket": self.socket(),
            "stateDir": self.path("state"),
        })
    }

    /// The variables of a verb on `eth0` of container `c1` in `netns`.
    pub(crate) fn env(&self, verb: &str, netns: &str) -> Vec<(String, String)> {
        let plugins = self.path("bin");
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", plugins.to_str().unwrap()),
        ];
        variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// Puts the IPAM plugin of these tests where the plugin looks, as `name`.
    pub(crate) fn install_ipam(&self, name: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/delegates/fake-ipam");
        std::fs::create_dir_all(self.path("bin")).unwrap();
        std::os::unix::fs::symlink(script, self.path("bin").join(name)).unwrap();
    }

    /// The verbs the IPAM plugin got, which it notes where `FAKE_IPAM_LOG` says.
    pub(crate) fn ipam_verbs(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("ipam.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The names of the notes left for the daemon.
    pub(crate) fn notes(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("state/deleted")) else {
            return vec![];
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

/// A pod's network namespace, and the path that leads other processes to it.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) netns: Netns,
    pub(crate) path: String,
}

impl Pod {
    pub(crate) fn new() -> Self {
        let netns = Netns::anonymous().unwrap();
        let fd = netns.as_fd().as_raw_fd();
        let path = format!("/proc/{}/fd/{fd}", std::process::id());
        Self { netns, path }
    }
}
