//! A container runtime's side of a call: the verb in the environment, JSON on stdin and stdout.

use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::super::rig::{Node, Space};

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) exit: Option<i32>,
    /// What the plugin wrote; null if nothing.
    pub(crate) said: Value,
}

impl Called {
    /// The result of a call that has to succeed.
    #[track_caller]
    pub(crate) fn result(self) -> Value {
        assert_eq!(self.exit, Some(0), "{}", self.said);
        self.said
    }

    /// The code and words of a call that has to fail, with an object that a runtime understands.
    #[track_caller]
    pub(crate) fn refusal(self) -> (u64, String) {
        let said = &self.said;
        assert_eq!(self.exit, Some(1), "{said}");
        assert!(said["cniVersion"].is_string(), "{said}");
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let (msg, details) = (text("msg"), text("details"));
        assert!(!msg.is_empty() && !details.is_empty(), "{said}");
        (said["code"].as_u64().unwrap(), format!("{msg}; {details}"))
    }
}

/// Runs the plugin on a node, with these variables and nothing else.
pub(crate) fn call(node: &Node, variables: &[(&str, &str)], stdin: &[u8]) -> Called {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command
        .arg0("weft-cni")
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = node.space.0.spawn(command).unwrap();
    // The plugin may answer before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")),
    };
    Called {
        exit: output.status.code(),
        said,
    }
}

/// One interface of one container, as its runtime knows it.
pub(crate) struct Sandbox<'n> {
    pub(crate) node: &'n Node,
    pub(crate) space: Space,
    pub(crate) id: String,
    pub(crate) ifname: String,
    /// `CNI_ARGS`.
    pub(crate) args: String,
    /// What is on stdin.
    pub(crate) config: Value,
}

impl<'n> Sandbox<'n> {
    /// The pod `default/NAME`, not attached yet.
    pub(crate) fn new(node: &'n Node, name: &str) -> Self {
        Self {
            node,
            space: Space::new(),
            id: format!("container-{name}"),
            ifname: "eth0".to_owned(),
            args: format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"),
            config: json!({
                "cniVersion": "1.1.0",
                "name": "weft",
                "type": "weft-cni",
                "socket": node.socket(),
                "stateDir": node.path("state"),
            }),
        }
    }

    /// The same with what the runtime gives for this attachment.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.config["runtimeConfig"][key] = value;
        self
    }

    /// Another interface of the same container.
    pub(crate) fn second(&self, ifname: &str) -> Self {
        let space = Space(self.space.0.try_clone().unwrap());
        Self {
            node: self.node,
            space,
            id: self.id.clone(),
            ifname: ifname.to_owned(),
            args: self.args.clone(),
            config: self.config.clone(),
        }
    }

    /// `CNI_NETNS`: a path as good as one under /run/netns, which is the host's.
    pub(crate) fn netns(&self) -> String {
        let fd = self.space.0.as_fd().as_raw_fd();
        format!("/proc/{}/fd/{fd}", std::process::id())
    }

    pub(crate) fn call(&self, verb: &str) -> Called {
        self.call_in(verb, &self.netns())
    }

    /// The same for a namespace that the runtime says is elsewhere.
    pub(crate) fn call_in(&self, verb: &str, netns: &str) -> Called {
        let plugins = self.node.path("bin");
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", &self.id),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", &self.ifname),
            ("CNI_PATH", plugins.to_str().unwrap()),
            ("CNI_ARGS", &self.args),
        ];
        call(self.node, &variables, self.config.to_string().as_bytes())
    }

    /// ADDs it; its result is what the next calls say was before.
    pub(crate) fn add(&mut self) -> Value {
        let result = self.call("ADD").result();
        self.config["prevResult"] = result.clone();
        result
    }

    pub(crate) fn del(&self) {
        assert_eq!(self.call("DEL").result(), Value::Null);
    }

    /// The addresses of a result, without prefix.
    pub(crate) fn addresses(result: &Value) -> Vec<String> {
        let ips = result["ips"].as_array().unwrap().iter();
        let text = ips.map(|ip| ip["address"].as_str().unwrap());
        text.map(|text| text.split('/').next().unwrap().to_owned())
            .collect()
    }
}
