//! What does a Node say?

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use weft_policy::model::ObjectName;
use weft_wire::Mac;

use super::super::objects::{Located, NodeObject};
use super::labels::required;
use super::reader::{Reader, Spot};

/// Where flannel publishes the MAC address of a node's tunnel end point.
const BACKEND_DATA: &str = "flannel.alpha.coreos.com/backend-data";

#[derive(Deserialize)]
struct BackendData {
    #[serde(rename = "VtepMAC")]
    vtep_mac: Option<String>,
}

pub(super) fn node(reader: &mut Reader, root: &Spot<'_>, name: &ObjectName) -> NodeObject {
    let spec = root.field("spec").filter(|spec| reader.is_map(spec));
    let mut pod_cidrs = Vec::new();
    if let Some(spec) = &spec {
        reader.no_misspelling(spec, &["podCIDR", "podCIDRs"]);
        let list = spec.field("podCIDRs");
        let items = list.as_ref().map(|list| reader.items(list));
        for item in items.iter().flatten() {
            pod_cidrs.extend(cidr(reader, item, "spec.podCIDRs"));
        }
        if items.is_none_or(|items| items.is_empty())
            && let Some(one) = spec.field("podCIDR")
        {
            pod_cidrs.extend(cidr(reader, &one, "spec.podCIDR"));
        }
    }
    let status = root.field("status").filter(|status| reader.is_map(status));
    let internal_ips = status.map_or_else(Vec::new, |status| internal_ips(reader, &status));
    let metadata = root.field("metadata");
    let annotations = metadata.as_ref().and_then(|m| m.field("annotations"));
    let data = annotations.as_ref().and_then(|all| all.field(BACKEND_DATA));
    let vtep_mac = data.and_then(|data| backend_data(reader, &data));
    NodeObject {
        name: name.name.clone(),
        pod_cidrs,
        internal_ips,
        vtep_mac,
    }
}

fn internal_ips(reader: &mut Reader, status: &Spot<'_>) -> Vec<Located<IpAddr>> {
    let mut ips = Vec::new();
    let Some(addresses) = status.field("addresses") else {
        return ips;
    };
    for address in reader.items(&addresses) {
        let kind = required(reader, &address, "type").and_then(|kind| reader.text(&kind));
        if kind == Some("InternalIP")
            && let Some(ip) = required(reader, &address, "address")
        {
            ips.extend(reader.address(&ip, "status.addresses"));
        }
    }
    ips
}

fn cidr(reader: &mut Reader, spot: &Spot<'_>, field: &str) -> Option<Located<IpNetwork>> {
    let text = reader.text(spot)?.trim();
    let parsed = text.contains('/').then(|| text.parse::<IpNetwork>().ok());
    let Some(value) = parsed.flatten() else {
        let what = format!("{text:?} is not a range, such as 10.244.1.0/24");
        reader.error_at(spot.line(), field, what);
        return None;
    };
    if value.ip() != value.network() {
        let (network, prefix) = (value.network(), value.prefix());
        let what = format!("{value} has host bits set; write {network}/{prefix}");
        reader.error_at(spot.line(), field, what);
        return None;
    }
    let line = spot.line();
    Some(Located { line, value })
}

/// The MAC address in flannel's annotation; an annotation of another backend has none.
fn backend_data(reader: &mut Reader, spot: &Spot<'_>) -> Option<Located<Mac>> {
    const FIELD: &str = "metadata.annotations[flannel.alpha.coreos.com/backend-data]";
    let line = spot.line();
    let data = serde_json::from_str::<Option<BackendData>>(reader.text(spot)?);
    let data = match data {
        Ok(data) => data?,
        Err(error) => {
            let what = format!("is not the JSON flannel writes: {error}");
            reader.error_at(line, FIELD, what);
            return None;
        }
    };
    let mac = data.vtep_mac?;
    match mac.parse::<Mac>() {
        Ok(value) if value.is_unicast() => Some(Located { line, value }),
        _ => {
            let what = format!("VtepMAC {mac:?} is not a unicast MAC address");
            reader.error_at(line, FIELD, what);
            None
        }
    }
}
