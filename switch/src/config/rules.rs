//! What may each key of `weft.toml` hold?
//!
//! One function per section; each notes what is wrong with its line and goes on, so that all
//! mistakes of a file show at once. What it returns beside a mistake is never used.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::IpNetwork;

use super::reader::{Placed, Reader};
use super::{
    DEFAULT_COOL_DOWN, DEFAULT_MANIFESTS, DEFAULT_METRICS, DEFAULT_SPIN, DEFAULT_VNI,
    DEFAULT_VXLAN_PORT, HostDefaults, IpamConfig, MAX_SPIN, MAX_WORKERS, MIN_MTU, NodeConfig,
    VxlanConfig,
};

/// A day: an address that rests longer is better reserved.
const MAX_COOL_DOWN: u32 = 86_400;

pub(super) fn node(reader: &mut Reader<'_>, host: &HostDefaults) -> NodeConfig {
    let name = node_name(reader, host);
    let pod_cidrs = pod_cidrs(reader);
    let address = reader.string("node.address").and_then(|text| {
        let address = text.value.parse().ok();
        let usable = address.filter(|address| is_usable(*address));
        if usable.is_none() {
            let what = format!("\"{}\" is not an address a node can have", text.value);
            let next = "write the address other nodes reach this one at, such as \"192.0.2.1\"";
            reader.mistake(text.line, "node.address", what, next);
        }
        let inside = pod_cidrs
            .iter()
            .find(|cidr| usable.is_some_and(|a| cidr.contains(a)));
        if let Some(cidr) = inside {
            let what = format!("{} is inside the pod range {cidr}", text.value);
            let next = "write the address of the underlay, not one of the pods'";
            reader.mistake(text.line, "node.address", what, next);
        }
        usable
    });
    let range = 1..=MAX_WORKERS as i64;
    let workers = number(
        reader,
        "node.workers",
        range,
        "or leave it out for one per core",
    );
    let mtu = number(
        reader,
        "node.mtu",
        MIN_MTU.into()..=65_000,
        "or leave it out to derive it",
    );
    let spin_us = number(
        reader,
        "node.spin_us",
        0..=MAX_SPIN.into(),
        "where 0 is to sleep at once",
    );
    NodeConfig {
        name,
        address,
        pod_cidrs,
        workers: workers
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(host.cores),
        mtu: mtu.and_then(|n| u16::try_from(n).ok()),
        spin_us: spin_us
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(DEFAULT_SPIN),
    }
}

/// A name as Kubernetes gives nodes: a DNS subdomain (RFC 1123).
fn node_name(reader: &mut Reader<'_>, host: &HostDefaults) -> String {
    let given = reader.string("node.name");
    let line = given
        .as_ref()
        .map_or_else(|| reader.section_line("node"), |text| text.line);
    let name = given.map_or_else(|| host.hostname.to_lowercase(), |text| text.value);
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        let what = format!("{name:?} is not a node name");
        let next = "write lower-case letters, digits, '-' and '.', such as \"node-a\"";
        reader.mistake(line, "node.name", what, next);
    }
    name
}

fn is_usable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

fn pod_cidrs(reader: &mut Reader<'_>) -> Vec<IpNetwork> {
    const FIELD: &str = "node.pod_cidrs";
    const EXAMPLE: &str =
        "write one range per family, such as [\"10.244.1.0/24\", \"fd00:10:244:1::/64\"]";
    let Some(list) = reader.strings(FIELD) else {
        if !reader.mistakes.iter().any(|mistake| mistake.field == FIELD) {
            let line = reader.section_line("node");
            reader.mistake(line, FIELD, "is missing", EXAMPLE);
        }
        return Vec::new();
    };
    if list.value.is_empty() {
        reader.mistake(list.line, FIELD, "is empty", EXAMPLE);
    }
    let mut accepted: Vec<IpNetwork> = Vec::new();
    for text in list.value {
        let Some(cidr) = pod_cidr(reader, FIELD, &text) else {
            continue;
        };
        let same_family = accepted
            .iter()
            .find(|other| other.is_ipv4() == cidr.is_ipv4());
        if let Some(other) = same_family {
            let what = if other.contains(cidr.network()) || cidr.contains(other.network()) {
                format!("{cidr} overlaps {other}")
            } else {
                format!("{cidr} is the second range of its family, after {other}")
            };
            reader.mistake(text.line, FIELD, what, "keep one range of each family");
        } else {
            accepted.push(cidr);
        }
    }
    accepted
}

/// A range in which the node's own address (the base), one reserved address and at least one pod
/// have room.
fn pod_cidr(reader: &mut Reader<'_>, field: &str, text: &Placed<String>) -> Option<IpNetwork> {
    let Some(cidr) = text
        .value
        .contains('/')
        .then(|| text.value.parse().ok())
        .flatten()
    else {
        let what = format!("\"{}\" is not a range", text.value);
        let next = "write address/length, such as \"10.244.1.0/24\"";
        reader.mistake(text.line, field, what, next);
        return None;
    };
    let cidr: IpNetwork = cidr;
    let (shortest, longest) = if cidr.is_ipv4() { (8, 30) } else { (16, 126) };
    if cidr.ip() != cidr.network() {
        let next = format!("write \"{}/{}\"", cidr.network(), cidr.prefix());
        reader.mistake(text.line, field, format!("{cidr} has host bits set"), next);
        return None;
    }
    if !(shortest..=longest).contains(&cidr.prefix()) {
        let next = format!("write a length between /{shortest} and /{longest}");
        reader.mistake(
            text.line,
            field,
            format!("{cidr} is no size for a pod range"),
            next,
        );
        return None;
    }
    if !is_usable(cidr.network()) || cidr.network().is_loopback() {
        let next = "write a unicast range, such as \"10.244.1.0/24\"";
        reader.mistake(text.line, field, format!("{cidr} cannot hold pods"), next);
        return None;
    }
    Some(cidr)
}

fn number(
    reader: &mut Reader<'_>,
    field: &str,
    range: std::ops::RangeInclusive<i64>,
    otherwise: &str,
) -> Option<i64> {
    let Placed { line, value } = reader.integer(field)?;
    if range.contains(&value) {
        return Some(value);
    }
    let separator = if otherwise.is_empty() { "" } else { ", " };
    let next = format!(
        "write {} to {}{separator}{otherwise}",
        range.start(),
        range.end()
    );
    reader.mistake(line, field, format!("{value} is out of range"), next);
    None
}

pub(super) fn vxlan(reader: &mut Reader<'_>) -> VxlanConfig {
    let vni = number(reader, "vxlan.vni", 1..=0xff_ffff, "");
    let port = number(reader, "vxlan.port", 1..=0xffff, "");
    VxlanConfig {
        vni: vni
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(DEFAULT_VNI),
        port: port
            .and_then(|n| u16::try_from(n).ok())
            .unwrap_or(DEFAULT_VXLAN_PORT),
    }
}

pub(super) fn ipam(reader: &mut Reader<'_>, ranges: &[IpNetwork]) -> IpamConfig {
    const FIELD: &str = "ipam.reserved";
    let mut reserved = BTreeSet::new();
    for text in reader
        .strings(FIELD)
        .map_or_else(Vec::new, |list| list.value)
    {
        let address: Option<IpAddr> = text.value.parse().ok();
        match address.filter(|address| ranges.iter().any(|range| range.contains(*address))) {
            Some(address) => {
                reserved.insert(address);
            }
            None => {
                let what = format!("\"{}\" is not an address of node.pod_cidrs", text.value);
                let next = "write addresses of the node's ranges, such as [\"10.244.1.5\"]";
                reader.mistake(text.line, FIELD, what, next);
            }
        }
    }
    let most = i64::from(MAX_COOL_DOWN);
    let seconds = number(reader, "ipam.cool_down_seconds", 0..=most, "");
    let seconds = seconds.and_then(|n| u32::try_from(n).ok());
    IpamConfig {
        reserved,
        cool_down: Duration::from_secs(seconds.unwrap_or(DEFAULT_COOL_DOWN).into()),
    }
}

pub(super) fn cluster(reader: &mut Reader<'_>) -> PathBuf {
    if let Some(source) = reader
        .string("cluster.source")
        .filter(|s| s.value != "manifests")
    {
        let what = format!("\"{}\" is not a source this version knows", source.value);
        reader.mistake(source.line, "cluster.source", what, "write \"manifests\"");
    }
    path(reader, "cluster.path", DEFAULT_MANIFESTS)
}

pub(super) fn path(reader: &mut Reader<'_>, field: &str, default: &str) -> PathBuf {
    let Some(text) = reader.string(field) else {
        return default.into();
    };
    let path = PathBuf::from(&text.value);
    if !path.is_absolute() {
        let what = format!("\"{}\" is not an absolute path", text.value);
        reader.mistake(
            text.line,
            field,
            what,
            format!("write one, such as \"{default}\""),
        );
    }
    path
}

pub(super) fn metrics(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let text = reader.string("metrics.listen").unwrap_or_else(|| Placed {
        line: 0,
        value: DEFAULT_METRICS.to_owned(),
    });
    if text.value.is_empty() {
        return None;
    }
    let listen = text.value.parse().ok();
    if listen.is_none() {
        let what = format!("\"{}\" is not an address and port", text.value);
        let next = "write \"127.0.0.1:9568\", or \"\" to serve no metrics";
        reader.mistake(text.line, "metrics.listen", what, next);
    }
    listen
}
