//! What does tshark see in a capture?
//!
//! Owns running tshark over a pcap file and one packet of its answer, with what an engineer would
//! call a fault in a VXLAN packet (RFC 7348). It never looks at the bytes itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::command;
use super::host::Family;

const VXLAN_PORT: u16 = 8472;

/// What tshark is asked about every packet. Where a packet has two of a layer, the outer is first.
const FIELDS: &[&str] = &[
    "frame.number",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "ip.proto",
    "ip.flags.df",
    "ip.flags.mf",
    "ip.frag_offset",
    "ip.ttl",
    "ipv6.hlim",
    "ipv6.fraghdr.offset",
    "udp.srcport",
    "udp.dstport",
    "tcp.srcport",
    "tcp.dstport",
    "vxlan.flags",
    "vxlan.vni",
    "ip.checksum.status",
    "udp.checksum.status",
    "tcp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.message",
];

/// One packet as tshark sees it: the values of each field, outermost first.
pub(crate) struct Packet(BTreeMap<&'static str, Vec<String>>);

impl Packet {
    pub(crate) fn all(&self, field: &str) -> &[String] {
        self.0.get(field).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn first(&self, field: &str) -> &str {
        self.all(field).first().map_or("", String::as_str)
    }

    pub(crate) fn second(&self, field: &str) -> &str {
        self.all(field).get(1).map_or("", String::as_str)
    }

    pub(crate) fn is_vxlan(&self) -> bool {
        !self.all("vxlan.vni").is_empty()
    }

    pub(crate) fn outer_source(&self, underlay: Family) -> &str {
        match underlay {
            Family::V4 => self.first("ip.src"),
            Family::V6 => self.first("ipv6.src"),
        }
    }

    /// A part of a fragmented inner packet, whose transport checksum covers more than is here.
    pub(crate) fn is_fragment(&self) -> bool {
        let yes = |value: &String| value == "1" || value == "True";
        let offset = |value: &String| value != "0";
        self.all("ip.flags.mf").iter().any(yes)
            || self.all("ip.frag_offset").iter().any(offset)
            || !self.all("ipv6.fraghdr.offset").is_empty()
    }

    /// Whether the inner packet tells its flow's ports: whole TCP and UDP.
    pub(crate) fn has_ports(&self) -> bool {
        let transport =
            !self.second("udp.srcport").is_empty() || !self.first("tcp.srcport").is_empty();
        transport && !self.is_fragment()
    }

    /// Source, destination and ports of the inner packet.
    pub(crate) fn flow(&self, underlay: Family) -> String {
        let inner = |outer: Family, field: &str| match underlay == outer {
            true => self.second(field).to_owned(),
            false => self.first(field).to_owned(),
        };
        let v4 = ["ip.src", "ip.dst"].map(|field| inner(Family::V4, field));
        let v6 = ["ipv6.src", "ipv6.dst"].map(|field| inner(Family::V6, field));
        let udp = ["udp.srcport", "udp.dstport"].map(|field| self.second(field).to_owned());
        let tcp = ["tcp.srcport", "tcp.dstport"].map(|field| self.first(field).to_owned());
        format!("{v4:?} {v6:?} UDP {udp:?} TCP {tcp:?}")
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self, underlay: Family, from_weft: bool) -> Option<String> {
        const GOOD: &str = "1";
        const UNVERIFIED: &str = "2";
        const ABSENT: &str = "3";
        const ERROR: &str = "8388608";
        let wrong = |field: &str, allowed: &[&str]| {
            let bad = self
                .all(field)
                .iter()
                .find(|value| !allowed.contains(&value.as_str()));
            bad.map(|value| format!("{field} is {value}"))
        };
        if !self.all("_ws.malformed").is_empty() {
            return Some("malformed".to_owned());
        }
        if self.all("_ws.expert.severity").iter().any(|s| s == ERROR) {
            let why = self.all("_ws.expert.message").join(", ");
            return Some(format!("tshark's experts find: {why}"));
        }
        wrong("ip.checksum.status", &[GOOD])
            .or_else(|| wrong("vxlan.flags", &["0x0800"]))
            .or_else(|| wrong("vxlan.vni", &["1"]))
            .or_else(|| {
                let transport: &[&str] = match self.is_fragment() {
                    true => &[GOOD, UNVERIFIED],
                    false => &[GOOD],
                };
                // The kernel may send outer UDP over IPv4 without a checksum (RFC 7348 §5).
                let outer = self.first("udp.checksum.status");
                if outer != GOOD && (from_weft || underlay == Family::V6 || outer != ABSENT) {
                    return Some(format!("the outer UDP checksum is {outer}"));
                }
                let inner = self.all("udp.checksum.status").get(1);
                if inner.is_some_and(|status| !transport.contains(&status.as_str())) {
                    return Some(format!("the inner UDP checksum is {inner:?}"));
                }
                [
                    "tcp.checksum.status",
                    "icmp.checksum.status",
                    "icmpv6.checksum.status",
                ]
                .iter()
                .find_map(|field| wrong(field, transport))
            })
            .or_else(|| self.wrong_outer(underlay).filter(|_| from_weft))
    }

    /// VTEPs do not fragment (RFC 7348 §4.3), and the outer TTL is never the inner one.
    fn wrong_outer(&self, underlay: Family) -> Option<String> {
        let port: u16 = self.first("udp.srcport").parse().unwrap_or(0);
        let ttl = match underlay {
            Family::V4 => self.first("ip.ttl"),
            Family::V6 => self.first("ipv6.hlim"),
        };
        let df = underlay == Family::V6 || ["1", "True"].contains(&self.first("ip.flags.df"));
        if port < 49152 {
            return Some(format!("outer source port {port}"));
        }
        if ttl != "64" {
            return Some(format!("outer TTL {ttl}"));
        }
        (!df).then(|| "outer DF is clear".to_owned())
    }
}

/// Lets tshark take every packet of a file apart.
pub(crate) fn dissect(tshark: &Path, file: &Path) -> Vec<Packet> {
    let mut question = Command::new(tshark);
    question
        .arg("-n")
        .arg("-r")
        .arg(file)
        .args(["-T", "fields"]);
    question.args(["-E", "occurrence=a", "-E", "aggregator=,"]);
    question.args(["-d", &format!("udp.port=={VXLAN_PORT},vxlan")]);
    // Payloads are only bytes: what tshark would guess from a port number is never there.
    for payload in [
        "udp.port==1-8471",
        "udp.port==8473-65535",
        "tcp.port==1-65535",
    ] {
        question.args(["-d", &format!("{payload},data")]);
    }
    for protocol in ["ip", "udp", "tcp"] {
        question.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    for protocol in ["ip", "ipv6"] {
        question.args(["-o", &format!("{protocol}.defragment:FALSE")]);
    }
    for field in FIELDS {
        question.args(["-e", field]);
    }
    let answer = command::run(&mut question, Duration::from_secs(60)).ok();
    answer.lines().map(packet).collect()
}

fn packet(line: &str) -> Packet {
    let values = |text: &str| match text {
        "" => Vec::new(),
        text => text.split(',').map(str::to_owned).collect(),
    };
    let columns: Vec<&str> = line.split('\t').collect();
    assert_eq!(columns.len(), FIELDS.len(), "tshark's line: {line}");
    let fields = FIELDS.iter().zip(columns);
    Packet(fields.map(|(field, text)| (*field, values(text))).collect())
}
