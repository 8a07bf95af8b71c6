//! What does one Pod manifest ask for, and is it sound?
//!
//! Owns the checks that need nothing but the manifest. Where the pod goes is decided in `place`.

use std::net::IpAddr;

use serde_saphyr::Spanned;

use super::endpoint::{PodRef, Protocol};
use super::error::Problem;
use super::manifest::{ContainerPort, Document, Place};
use super::name;
use super::plan::Listen;

/// A pod as its manifest wants it.
#[derive(Debug)]
pub(crate) struct Wanted<'d> {
    pub(crate) name: PodRef,
    pub(crate) document: &'d Document,
    pub(crate) node: Option<&'d Spanned<String>>,
    /// Addresses given, with the line of each.
    pub(crate) addresses: Vec<(IpAddr, u64)>,
    pub(crate) listen: Vec<Listen>,
}

impl<'d> Wanted<'d> {
    /// Checks one Pod document.
    pub(crate) fn new(document: &'d Document) -> Result<Self, Problem> {
        let place = &document.place;
        let metadata = &document.object.metadata;
        let Some(name) = &metadata.name else {
            return Err(place
                .problem(0, "is missing", "name the pod")
                .field("metadata.name"));
        };
        name::check_subdomain(&name.value).map_err(|message| {
            place
                .problem(name.referenced.line(), message, "name the pod")
                .field("metadata.name")
        })?;
        let namespace = metadata
            .namespace
            .as_ref()
            .map_or("default", |n| n.value.as_str());
        name::check_label(namespace).map_err(|message| {
            let line = metadata
                .namespace
                .as_ref()
                .map_or(0, |n| n.referenced.line());
            place
                .problem(line, message, "correct the namespace")
                .field("metadata.namespace")
        })?;
        Ok(Self {
            name: PodRef {
                namespace: namespace.to_owned(),
                name: name.value.clone(),
            },
            document,
            node: document
                .object
                .spec
                .node_name
                .as_ref()
                .filter(|n| !n.value.is_empty()),
            addresses: addresses(document)?,
            listen: listen(document)?,
        })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.document.place
    }
}

/// `status.podIPs`, or `status.podIP` alone.
fn addresses(document: &Document) -> Result<Vec<(IpAddr, u64)>, Problem> {
    let status = &document.object.status;
    let single = status.pod_ip.iter().filter(|_| status.pod_ips.is_empty());
    let given = status.pod_ips.iter().map(|one| &one.ip).chain(single);
    let mut addresses: Vec<(IpAddr, u64)> = Vec::new();
    for text in given {
        let line = text.referenced.line();
        let problem = |message: String| {
            let next = "give at most one IPv4 and one IPv6 address";
            document
                .place
                .problem(line, message, next)
                .field("status.podIPs")
        };
        let address: IpAddr = text
            .value
            .parse()
            .map_err(|_| problem(format!("\"{}\" is not an IP address", text.value)))?;
        if let Some((first, _)) = addresses
            .iter()
            .find(|(a, _)| a.is_ipv4() == address.is_ipv4())
        {
            return Err(problem(format!(
                "{address} is of the same family as {first}"
            )));
        }
        addresses.push((address, line));
    }
    Ok(addresses)
}

/// Ports of all containers.
fn listen(document: &Document) -> Result<Vec<Listen>, Problem> {
    let mut all = Vec::new();
    for port in document
        .object
        .spec
        .containers
        .iter()
        .flat_map(|c| &c.ports)
    {
        if port.container_port.value == 0 {
            let line = port.container_port.referenced.line();
            let next = "ports are 1 to 65535";
            let problem = document.place.problem(line, "0 is not a port", next);
            return Err(problem.field("spec.containers.ports.containerPort"));
        }
        all.push(Listen {
            port: port.container_port.value,
            protocol: protocol(document, port)?,
        });
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn protocol(document: &Document, port: &ContainerPort) -> Result<Protocol, Problem> {
    let Some(text) = &port.protocol else {
        return Ok(Protocol::Tcp);
    };
    match text.value.as_str() {
        "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => {
            let message = format!("\"{other}\" is none of TCP, UDP, SCTP");
            let problem =
                document
                    .place
                    .problem(text.referenced.line(), message, "correct the protocol");
            Err(problem.field("spec.containers.ports.protocol"))
        }
    }
}
