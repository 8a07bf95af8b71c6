//! From fields as they are written to objects whose values are what they say.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use weft_policy::model::{Isolation, ObjectName, Policy, Selector};
use weft_wire::Mac;

use super::super::objects::{
    ContainerPort, Located, NamespaceObject, NodeObject, Object, PodObject,
};
use super::raw::{Metadata, RawObject, RawStatus, Spec, Text};
use super::{ManifestError, line_of};

/// Where flannel publishes the MAC address of a node's tunnel end point.
const BACKEND_DATA: &str = "flannel.alpha.coreos.com/backend-data";
/// The label Kubernetes puts on every namespace.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

#[derive(Deserialize)]
struct BackendData {
    #[serde(rename = "VtepMAC")]
    vtep_mac: Option<String>,
}

/// Whether objects of this kind concern weft.
pub(super) fn is_read(kind: &str) -> bool {
    matches!(kind, "Node" | "Namespace" | "Pod" | "NetworkPolicy") || kind.ends_with("List")
}

/// The place of what is being checked, and what was found wrong so far.
struct Checker<'a> {
    offset: usize,
    line: usize,
    object: String,
    errors: &'a mut Vec<ManifestError>,
}

impl Checker<'_> {
    fn error(&mut self, line: usize, field: &str, what: impl Into<String>) {
        let (object, field) = (self.object.clone(), field.to_owned());
        self.errors.push(ManifestError {
            line,
            object,
            field,
            what: what.into(),
        });
    }

    fn line(&self, text: &Text) -> usize {
        line_of(text.referenced, self.offset)
    }

    /// Checks one value; `form` says what it should look like.
    fn value<T: FromStr>(&mut self, field: &str, text: &Text, form: &str) -> Option<Located<T>> {
        let line = self.line(text);
        let Ok(value) = text.value.trim().parse() else {
            self.error(line, field, format!("{:?} is not {form}", text.value));
            return None;
        };
        Some(Located { line, value })
    }

    fn address(&mut self, field: &str, text: &Text) -> Option<Located<IpAddr>> {
        self.value(field, text, "an IP address, such as 10.244.1.2")
    }

    fn cidr(&mut self, field: &str, text: &Text) -> Option<Located<IpNetwork>> {
        const FORM: &str = "a range, such as 10.244.1.0/24";
        let line = self.line(text);
        if !text.value.contains('/') {
            self.error(line, field, format!("{:?} is not {FORM}", text.value));
            return None;
        }
        let cidr: Located<IpNetwork> = self.value(field, text, FORM)?;
        if cidr.value.ip() != cidr.value.network() {
            let (network, prefix) = (cidr.value.network(), cidr.value.prefix());
            let what = format!("{} has host bits set; write {network}/{prefix}", cidr.value);
            self.error(line, field, what);
            return None;
        }
        Some(cidr)
    }
}

impl RawObject {
    /// Adds the object, or those of a list, to `objects`, or what is wrong to `errors`.
    pub(super) fn check(
        self,
        offset: usize,
        objects: &mut Vec<Located<Object>>,
        errors: &mut Vec<ManifestError>,
    ) {
        self.check_at(offset, offset + 1, objects, errors);
    }

    fn check_at(
        mut self,
        offset: usize,
        first_line: usize,
        objects: &mut Vec<Located<Object>>,
        errors: &mut Vec<ManifestError>,
    ) {
        let line = self
            .kind
            .as_ref()
            .map_or(first_line, |kind| line_of(kind.referenced, offset));
        if let Some(items) = self.items.take() {
            for item in items {
                let line = line_of(item.referenced, offset);
                item.value.check_at(offset, line, objects, errors);
            }
            return;
        }
        let mut checker = Checker {
            offset,
            line,
            object: String::new(),
            errors,
        };
        if let Some(object) = self.into_object(&mut checker) {
            objects.push(Located {
                line,
                value: object,
            });
        }
    }

    fn into_object(self, checker: &mut Checker<'_>) -> Option<Object> {
        let Some(kind) = self.kind.map(|kind| kind.value) else {
            let what = "is missing, so this is no Kubernetes object; write kind: Pod, for example";
            checker.error(checker.line, "kind", what);
            return None;
        };
        let version = match kind.as_str() {
            "Node" | "Namespace" | "Pod" => "v1",
            "NetworkPolicy" => "networking.k8s.io/v1",
            _ => return None,
        };
        let metadata = self.metadata.unwrap_or_default();
        let name = name(&metadata, &kind, checker)?;
        let found = self
            .api_version
            .as_ref()
            .map_or("", |found| found.value.as_str());
        if found != version {
            let line = self
                .api_version
                .as_ref()
                .map_or(checker.line, |text| checker.line(text));
            let what = format!("is {found:?}; weft reads {kind} objects of {version}");
            checker.error(line, "apiVersion", what);
            return None;
        }
        let (spec, status) = (
            self.spec.unwrap_or_default(),
            self.status.unwrap_or_default(),
        );
        Some(match kind.as_str() {
            "Node" => Object::Node(node(name, &metadata, &spec, &status, checker)),
            "Pod" => Object::Pod(pod(name, metadata, spec, status, checker)),
            "Namespace" => Object::Namespace(namespace(name, metadata)),
            _ => Object::NetworkPolicy(Arc::new(Policy {
                name: ObjectName::new(namespace_of(&metadata), name),
                pods: Selector::everything(),
                ingress: Isolation::Only(Vec::new()),
                egress: Isolation::None,
            })),
        })
    }
}

fn namespace_of(metadata: &Metadata) -> String {
    metadata
        .namespace
        .as_ref()
        .map_or_else(|| "default".to_owned(), |text| text.value.clone())
}

/// The object's name, checked as Kubernetes does for the characters that matter to us: names end
/// up in paths, in log lines and in terminals.
fn name(metadata: &Metadata, kind: &str, checker: &mut Checker<'_>) -> Option<String> {
    kind.clone_into(&mut checker.object);
    let Some(name) = &metadata.name else {
        checker.error(checker.line, "metadata.name", "is missing");
        return None;
    };
    for (field, text) in [
        ("metadata.name", Some(name)),
        ("metadata.namespace", metadata.namespace.as_ref()),
    ] {
        let Some(text) = text else { continue };
        if !is_name(&text.value) {
            let what = format!(
                "{:?} is not a name; use lower-case letters, digits, '-' and '.'",
                text.value
            );
            checker.error(checker.line(text), field, what);
            return None;
        }
    }
    checker.object = match kind {
        "Pod" | "NetworkPolicy" => format!("{kind} {}/{}", namespace_of(metadata), name.value),
        _ => format!("{kind} {}", name.value),
    };
    Some(name.value.clone())
}

fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edges = |edge: Option<u8>| edge.is_some_and(|b| b != b'-' && b != b'.');
    name.len() <= 253
        && name.bytes().all(inner)
        && edges(name.bytes().next())
        && edges(name.bytes().last())
}

fn namespace(name: String, metadata: Metadata) -> NamespaceObject {
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert(NAMESPACE_LABEL.to_owned(), name.clone());
    NamespaceObject { name, labels }
}

fn node(
    name: String,
    metadata: &Metadata,
    spec: &Spec,
    status: &RawStatus,
    checker: &mut Checker<'_>,
) -> NodeObject {
    let pod_cidrs = match (&spec.pod_cidrs, &spec.pod_cidr) {
        (Some(list), _) if !list.is_empty() => list
            .iter()
            .filter_map(|text| checker.cidr("spec.podCIDRs", text))
            .collect(),
        (_, Some(one)) => checker.cidr("spec.podCIDR", one).into_iter().collect(),
        _ => Vec::new(),
    };
    let addresses = status.addresses.iter().flatten();
    let internal_ips = addresses
        .filter(|address| address.kind == "InternalIP")
        .filter_map(|address| checker.address("status.addresses", &address.address))
        .collect();
    let annotation = metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(BACKEND_DATA));
    let vtep_mac = annotation.and_then(|text| backend_data(text, checker));
    NodeObject {
        name,
        pod_cidrs,
        internal_ips,
        vtep_mac,
    }
}

/// The MAC address in flannel's annotation; an annotation of another backend has none.
fn backend_data(text: &Text, checker: &mut Checker<'_>) -> Option<Located<Mac>> {
    const FIELD: &str = "metadata.annotations[flannel.alpha.coreos.com/backend-data]";
    let line = checker.line(text);
    let data: BackendData = match serde_json::from_str::<Option<BackendData>>(&text.value) {
        Ok(data) => data?,
        Err(error) => {
            checker.error(
                line,
                FIELD,
                format!("is not the JSON flannel writes: {error}"),
            );
            return None;
        }
    };
    let mac = data.vtep_mac?;
    match mac.parse::<Mac>() {
        Ok(value) if value.is_unicast() => Some(Located { line, value }),
        _ => {
            checker.error(
                line,
                FIELD,
                format!("VtepMAC {mac:?} is not a unicast MAC address"),
            );
            None
        }
    }
}

fn pod(
    name: String,
    metadata: Metadata,
    spec: Spec,
    status: RawStatus,
    checker: &mut Checker<'_>,
) -> PodObject {
    let ips = match (&status.pod_ips, &status.pod_ip) {
        (Some(list), _) if !list.is_empty() => list
            .iter()
            .filter_map(|entry| entry.ip.as_ref())
            .filter_map(|text| checker.address("status.podIPs", text))
            .collect(),
        (_, Some(one)) => checker.address("status.podIP", one).into_iter().collect(),
        _ => Vec::new(),
    };
    let ports = spec
        .containers
        .into_iter()
        .flatten()
        .flat_map(|c| c.ports.unwrap_or_default());
    let ports = ports.map(|port| ContainerPort {
        name: port.name,
        port: port.container_port,
        protocol: port.protocol.map(Into::into).unwrap_or_default(),
    });
    PodObject {
        namespace: namespace_of(&metadata),
        name,
        ports: ports.collect(),
        labels: metadata.labels.unwrap_or_default(),
        node_name: spec.node_name,
        host_network: spec.host_network.unwrap_or(false),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ips,
    }
}
