//! What does a Pod say?

use weft_policy::model::{ObjectName, Protocol};

use super::super::objects::{ContainerPort, PodObject};
use super::labels::required;
use super::objects::labels;
use super::policy::protocol_of;
use super::reader::{Reader, Spot, near};

pub(super) fn pod(reader: &mut Reader, root: &Spot<'_>, name: &ObjectName) -> PodObject {
    let ObjectName { namespace, name } = name.clone();
    let mut pod = PodObject {
        namespace,
        name,
        labels: labels(reader, root),
        node_name: None,
        host_network: false,
        finished: false,
        ips: Vec::new(),
        ports: Vec::new(),
    };
    if let Some(spec) = root.field("spec").filter(|spec| reader.is_map(spec)) {
        pod_spec(reader, &spec, &mut pod);
    }
    if let Some(status) = root.field("status").filter(|status| reader.is_map(status)) {
        pod_status(reader, &status, &mut pod);
    }
    pod
}

fn pod_spec(reader: &mut Reader, spec: &Spot<'_>, pod: &mut PodObject) {
    const FIELDS: &[&str] = &["nodeName", "hostNetwork", "containers", "initContainers"];
    reader.no_misspelling(spec, FIELDS);
    let node = spec.field("nodeName");
    pod.node_name = node.and_then(|node| Some(reader.text(&node)?.to_owned()));
    let host = spec.field("hostNetwork");
    pod.host_network = host.is_some_and(|host| reader.flag(&host) == Some(true));
    for (field, init) in [("containers", false), ("initContainers", true)] {
        let Some(containers) = spec.field(field) else {
            continue;
        };
        for container in reader.items(&containers) {
            let policy = container.field("restartPolicy");
            let stays = policy.is_some_and(|policy| policy.as_text() == Some("Always"));
            // Only an init container that is a sidecar answers while the pod runs.
            if reader.is_map(&container) && (!init || stays) {
                container_ports(reader, &container, &mut pod.ports);
            }
        }
    }
}

fn container_ports(reader: &mut Reader, container: &Spot<'_>, ports: &mut Vec<ContainerPort>) {
    reader.no_misspelling(container, &["ports"]);
    let Some(list) = container.field("ports") else {
        return;
    };
    for item in reader.items(&list) {
        if !reader.is_map(&item) {
            continue;
        }
        reader.no_misspelling(&item, &["name", "containerPort", "protocol"]);
        let name = item.field("name").and_then(|name| reader.text(&name));
        let number = required(reader, &item, "containerPort");
        let number = number.and_then(|number| reader.port(&number));
        let protocol = item.field("protocol");
        let protocol = protocol.map_or(Some(Protocol::Tcp), |p| protocol_of(reader, &p));
        if let (Some(port), Some(protocol)) = (number, protocol) {
            ports.push(ContainerPort {
                name: name.map(str::to_owned),
                port,
                protocol,
            });
        }
    }
}

fn pod_status(reader: &mut Reader, status: &Spot<'_>, pod: &mut PodObject) {
    reader.no_misspelling(status, &["phase", "podIP", "podIPs"]);
    let phase = status.field("phase");
    let phase = phase.and_then(|phase| reader.text(&phase).map(|text| (text, phase)));
    if let Some((text, spot)) = phase {
        const PHASES: &[&str] = &["Pending", "Running", "Succeeded", "Failed", "Unknown"];
        if !PHASES.contains(&text)
            && let Some(meant) = near(text, PHASES)
        {
            reader.error(
                &spot,
                format!("{text:?} is not a phase; did you mean {meant}?"),
            );
        }
        pod.finished = matches!(text, "Succeeded" | "Failed");
    }
    let list = status.field("podIPs");
    let items = list.as_ref().map(|list| reader.items(list));
    for item in items.iter().flatten() {
        if reader.is_map(item)
            && let Some(ip) = item.field("ip")
        {
            pod.ips.extend(reader.address(&ip, "status.podIPs"));
        }
    }
    if items.is_none_or(|items| items.is_empty())
        && let Some(one) = status.field("podIP")
    {
        pod.ips.extend(reader.address(&one, "status.podIP"));
    }
}
