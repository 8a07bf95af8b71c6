//! What does a network configuration say?
//!
//! Owns the keys of one plugin's configuration as a runtime passes it on stdin. Unknown keys are
//! none of our business, and `null` is an absent key, since Go writes nil lists so. What only some
//! verbs need (`runtimeConfig`, `args`, `prevResult`) is kept unread until one does: a DEL never
//! fails for it. Never judges whether a value can be honoured.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::daemon::{DEFAULT_SOCKET, DEFAULT_STATE};

/// One plugin's configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Where the daemon listens.
    socket: Option<PathBuf>,
    /// Where the daemon keeps its state.
    state_dir: Option<PathBuf>,
    /// The interface's MTU in bytes; absent or 0: the daemon's.
    pub mtu: Option<u64>,
    /// The plugin that gives addresses.
    ipam: Option<Ipam>,
    /// The pods' resolver.
    #[serde(default, deserialize_with = "null_is_default")]
    pub dns: Dns,
    /// What the operator or the runtime adds by convention, such as `args.cni.ips`.
    #[serde(default)]
    pub args: Value,
    /// What the runtime wishes for this attachment.
    #[serde(default)]
    pub runtime_config: Value,
    /// What the plugins before this one did, or for DEL and CHECK the whole chain.
    #[serde(default)]
    pub prev_result: Value,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    #[serde(deserialize_with = "null_is_empty")]
    valid: Option<Vec<AttachmentKey>>,
    #[serde(default, rename = "cni.dev/attachments")]
    #[serde(deserialize_with = "null_is_empty")]
    valid_by_old_name: Option<Vec<AttachmentKey>>,
}

impl Config {
    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        let default = Path::new(DEFAULT_SOCKET);
        self.socket.as_deref().filter(not_empty).unwrap_or(default)
    }

    /// Where the daemon keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        let default = Path::new(DEFAULT_STATE);
        let given = self.state_dir.as_deref().filter(not_empty);
        given.unwrap_or(default)
    }

    /// The IPAM plugin to delegate to; none if the daemon gives the addresses.
    #[must_use]
    pub fn delegate(&self) -> Option<&str> {
        let kind = self.ipam.as_ref()?.kind.as_deref();
        kind.filter(|kind| !kind.is_empty())
    }

    /// GC: the attachments that are still wanted, under either name that runtimes use (an earlier
    /// text of the specification had the second one); none if the runtime did not say.
    #[must_use]
    pub fn valid_attachments(&self) -> Option<Vec<AttachmentKey>> {
        let both = [&self.valid, &self.valid_by_old_name];
        if both.iter().all(|list| list.is_none()) {
            return None;
        }
        let mut valid: Vec<AttachmentKey> = both.into_iter().flatten().flatten().cloned().collect();
        valid.sort();
        valid.dedup();
        Some(valid)
    }
}

fn not_empty(path: &&Path) -> bool {
    !path.as_os_str().is_empty()
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A key that is there with `null` is an empty list; one that is not there is none.
fn null_is_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<AttachmentKey>>, D::Error> {
    null_is_default(deserializer).map(Some)
}

/// The `ipam` key.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ipam {
    /// The name of a plugin.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What tells attachments apart, as the specification spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct AttachmentKey {
    /// `CNI_CONTAINERID`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// How pods resolve names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of the servers, best first.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub domain: String,
    /// Domains to try short names in.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The capabilities a runtime fills in, by CONVENTIONS.md of the specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    /// Ports of the node that lead to the pod.
    #[serde(deserialize_with = "null_is_default")]
    pub port_mappings: Vec<PortMapping>,
    /// Addresses, each with or without a prefix length.
    #[serde(deserialize_with = "null_is_default")]
    pub ips: Vec<String>,
    /// The interface's MAC address.
    pub mac: Option<String>,
    /// Limits of the pod's traffic.
    pub bandwidth: Option<Bandwidth>,
    /// How the pod resolves names.
    pub dns: Option<RuntimeDns>,
    /// The pod's annotations; only strings count.
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: Map<String, Value>,
}

/// One of `runtimeConfig.portMappings`, its numbers as yet unjudged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port of the node; 0: none.
    #[serde(default)]
    pub host_port: i64,
    /// Port of the pod.
    pub container_port: i64,
    /// `tcp`, `udp` or `sctp` in any case; absent: TCP.
    pub protocol: Option<String>,
    /// The node's address that serves it; absent, empty or unspecified: every one.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
}

/// `runtimeConfig.bandwidth`: bits per second, and bits.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    /// Into the pod.
    pub ingress_rate: u64,
    /// Into the pod, at once.
    pub ingress_burst: u64,
    /// Out of the pod.
    pub egress_rate: u64,
    /// Out of the pod, at once.
    pub egress_burst: u64,
}

/// `runtimeConfig.dns`, whose keys differ from those of a result's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RuntimeDns {
    #[serde(deserialize_with = "null_is_default")]
    servers: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    searches: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    options: Vec<String>,
}

impl From<RuntimeDns> for Dns {
    fn from(dns: RuntimeDns) -> Self {
        Self {
            nameservers: dns.servers,
            domain: String::new(),
            search: dns.searches,
            options: dns.options,
        }
    }
}

/// `args.cni`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CniArgs {
    /// Addresses, each with or without a prefix length.
    #[serde(deserialize_with = "null_is_default")]
    pub ips: Vec<String>,
    /// The interface's MAC address.
    pub mac: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn absent_null_and_empty_keys_are_the_defaults() {
        for json in [
            "{}",
            r#"{"socket":null,"stateDir":null,"ipam":null,"dns":null,"args":null}"#,
            r#"{"socket":"","stateDir":"","ipam":{},"dns":{},"unknown":[1]}"#,
            r#"{"ipam":{"type":""}}"#,
        ] {
            let config = read(json);
            assert_eq!(config.socket(), Path::new("/run/weft/weft.sock"), "{json}");
            assert_eq!(config.state_dir(), Path::new("/var/lib/weft"), "{json}");
            assert_eq!(config.delegate(), None, "{json}");
            assert!(config.dns.is_empty(), "{json}");
        }
    }

    #[test]
    fn valid_attachments_are_those_under_both_names() {
        let key = |id: &str| AttachmentKey {
            container_id: id.into(),
            ifname: "eth0".into(),
        };
        let list = |id: &str| format!(r#"[{{"containerID":"{id}","ifname":"eth0"}}]"#);
        let new = format!(r#"{{"cni.dev/valid-attachments":{}}}"#, list("a"));
        assert_eq!(read(&new).valid_attachments(), Some(vec![key("a")]));
        let old = format!(r#"{{"cni.dev/attachments":{}}}"#, list("a"));
        assert_eq!(read(&old).valid_attachments(), Some(vec![key("a")]));
        let both = format!(
            r#"{{"cni.dev/attachments":{},"cni.dev/valid-attachments":{}}}"#,
            list("a"),
            list("b")
        );
        let keys = vec![key("a"), key("b")];
        assert_eq!(read(&both).valid_attachments(), Some(keys));
        let null = r#"{"cni.dev/valid-attachments":null}"#;
        assert_eq!(read(null).valid_attachments(), Some(vec![]));
        assert_eq!(read("{}").valid_attachments(), None);
    }

    #[test]
    fn capabilities_as_runtimes_send_them() {
        let config: RuntimeConfig = serde_json::from_str(
            r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":""}],
                "ips":null,"mac":"02:00:00:00:00:01","cgroupPath":"/x",
                "bandwidth":{"ingressRate":2048,"ingressBurst":4294967295},
                "dns":{"servers":["10.96.0.10"],"searches":["a.svc"],"options":["ndots:5"]},
                "io.kubernetes.cri.pod-annotations":{"weft.dev/ips":"10.0.0.1"}}"#,
        )
        .unwrap();
        let [port] = &config.port_mappings[..] else {
            panic!("{config:?}");
        };
        assert_eq!((port.host_port, port.container_port), (8080, 80));
        assert!(config.ips.is_empty());
        assert_eq!(config.bandwidth.unwrap().ingress_burst, 4_294_967_295);
        assert_eq!(config.annotations["weft.dev/ips"], "10.0.0.1");
        let dns = Dns::from(config.dns.unwrap());
        assert_eq!(dns.nameservers, ["10.96.0.10"]);
        assert_eq!((dns.search.len(), dns.options.len()), (1, 1));
    }
}
