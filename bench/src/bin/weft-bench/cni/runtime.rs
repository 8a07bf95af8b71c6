//! How does a container runtime ask the plugin?
//!
//! Owns starting the plugin for one verb (environment, configuration on stdin, JSON on stdout) and
//! the time from there until it has ended.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use weft_cni::plugin::NAME;
use weft_switch::runtime::Clock;

use super::space::Space;
use crate::stats::elapsed;

/// The namespace of all pods.
pub(super) const NAMESPACE: &str = "bench";
/// The CNI error code that asks to try again.
const TRY_AGAIN: u64 = 11;

/// What runs the plugin.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    program: PathBuf,
    socket: PathBuf,
    state: PathBuf,
}

/// What the runtime knows of one container.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) container: String,
    pub(super) pod: String,
    pub(super) space: Space,
}

/// How one call ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) took: Duration,
    pub(super) ok: bool,
    pub(super) said: Value,
}

impl Outcome {
    /// Its time and result; an error if it failed.
    pub(super) fn done(self, what: &str) -> Result<(Duration, Value)> {
        if !self.ok {
            bail!("{NAME} {what} failed: {}", self.said);
        }
        Ok((self.took, self.said))
    }

    /// Whether it failed and a runtime is to try again.
    pub(super) fn is_passing(&self) -> bool {
        !self.ok && self.said.get("code").and_then(Value::as_u64) == Some(TRY_AGAIN)
    }
}

impl Runtime {
    pub(super) fn new(programs: &Path, socket: PathBuf, state: PathBuf) -> Self {
        let program = programs.join(NAME);
        Self {
            program,
            socket,
            state,
        }
    }

    pub(super) fn add(&self, sandbox: &Sandbox) -> Result<Outcome> {
        self.call("ADD", Some(sandbox), Value::Null)
    }

    pub(super) fn del(&self, sandbox: &Sandbox) -> Result<Outcome> {
        self.call("DEL", Some(sandbox), Value::Null)
    }

    /// CHECK, against what ADD said.
    pub(super) fn check(&self, sandbox: &Sandbox, added: &Value) -> Result<Outcome> {
        self.call("CHECK", Some(sandbox), added.clone())
    }

    pub(super) fn status(&self) -> Result<Outcome> {
        self.call("STATUS", None, Value::Null)
    }

    pub(super) fn version(&self) -> Result<Outcome> {
        self.call("VERSION", None, Value::Null)
    }

    fn call(&self, verb: &str, sandbox: Option<&Sandbox>, previous: Value) -> Result<Outcome> {
        let mut config = json!({
            "cniVersion": "1.1.0",
            "name": "weft-bench",
            "type": NAME,
            "socket": self.socket,
            "stateDir": self.state,
        });
        if !previous.is_null()
            && let Some(config) = config.as_object_mut()
        {
            config.insert("prevResult".to_owned(), previous);
        }
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", "/opt/cni/bin");
        if let Some(Sandbox {
            container,
            pod,
            space,
        }) = sandbox
        {
            let pod = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={pod}");
            command
                .env("CNI_CONTAINERID", container)
                .env("CNI_NETNS", space.path())
                .env("CNI_IFNAME", "eth0")
                .env("CNI_ARGS", pod);
        }
        timed(command, config.to_string().as_bytes())
    }
}

/// Runs a program to its end.
pub(super) fn timed(mut command: Command, stdin: &[u8]) -> Result<Outcome> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let name = command.get_program().to_string_lossy().into_owned();
    let program = || format!("cannot run {name}");
    let clock = Clock::start();
    let mut child = command.spawn().with_context(program)?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that wants no input may have ended.
        let _ = pipe.write_all(stdin);
    }
    let output = child.wait_with_output().with_context(program)?;
    let took = elapsed(clock);
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let ok = output.status.success();
    Ok(Outcome { took, ok, said })
}
