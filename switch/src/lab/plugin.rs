//! How does the lab speak to the CNI plugin?
//!
//! Owns starting it as a container runtime does: the verb in the environment, the network
//! configuration on stdin, JSON on stdout. The plugin is this very program under the name
//! `weft-cni` (decision 0010). Knows nothing of the daemon behind it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use weft_sys::netns::NETNS_DIR;

use super::error::{LabError, LabResult};
use super::plan::{Node, Plan, Pod};
use super::pods::IFNAME;
use super::procs;
use super::record::Folder;

/// The name of the CNI network that labs' pods belong to.
const NETWORK: &str = "weft";

/// A pod of the lab, as its runtime would name it.
pub(crate) struct Sandbox<'a> {
    plan: &'a Plan,
    node: &'a Node,
    pod: &'a Pod,
}

impl<'a> Sandbox<'a> {
    pub(crate) const fn new(plan: &'a Plan, node: &'a Node, pod: &'a Pod) -> Self {
        Self { plan, node, pod }
    }

    /// Gives the pod its interface and the addresses of the plan.
    pub(crate) fn add(&self) -> LabResult<()> {
        let ips: Vec<String> = self.pod.addresses.iter().map(ToString::to_string).collect();
        self.call("ADD", &json!({ "ips": ips }))
    }

    /// Takes it away; a pod that has none is no error.
    pub(crate) fn del(&self) -> LabResult<()> {
        self.call("DEL", &json!({}))
    }

    fn call(&self, verb: &str, runtime: &Value) -> LabResult<()> {
        let (lab, node) = (self.plan.name.as_str(), self.node.name.as_str());
        let config = json!({
            "cniVersion": "1.1.0",
            "name": NETWORK,
            "type": weft_cni::plugin::NAME,
            "socket": crate::api::lab_socket(lab, node),
            "stateDir": Folder::of(&self.plan.name).state(node),
            "runtimeConfig": runtime,
        });
        let said = self.run(verb, &config).map_err(|error| {
            LabError::failed(
                format!("cannot start {}: {error}", weft_cni::plugin::NAME),
                "",
            )
        })?;
        said.map_err(|why| {
            let pod = &self.pod.name;
            LabError::failed(
                format!(
                    "{} {verb} of pod {pod} on {node}: {why}",
                    weft_cni::plugin::NAME
                ),
                format!("weft status --lab {lab} --node {node}"),
            )
        })
    }

    /// The outcome of one run, or why there was none.
    fn run(&self, verb: &str, config: &Value) -> std::io::Result<Result<(), String>> {
        let name = &self.pod.name;
        let pod = format!(
            "K8S_POD_NAMESPACE={};K8S_POD_NAME={}",
            name.namespace, name.name
        );
        let netns: PathBuf = Path::new(NETNS_DIR).join(&self.pod.netns);
        let mut command = procs::weft().map_err(std::io::Error::other)?;
        command
            .arg0(weft_cni::plugin::NAME)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.pod.netns)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", IFNAME)
            .env("CNI_PATH", "/opt/cni/bin")
            .env("CNI_ARGS", format!("IgnoreUnknown=1;{pod}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(config.to_string().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |field: &str| {
            let text = told.get(field).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Ok(Err(match (text("msg"), text("details")) {
            (msg, _) if msg.is_empty() => {
                format!(
                    "{}: {}",
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                )
            }
            (msg, details) if details.is_empty() => msg,
            (msg, details) => format!("{msg}: {details}"),
        }))
    }
}
