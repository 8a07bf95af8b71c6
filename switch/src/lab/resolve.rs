//! Which namespace and which address does an endpoint's name stand for?
//!
//! Pure: looks into the plan only.

use std::net::IpAddr;

use super::endpoint::Endpoint;
use super::file::Family;
use super::plan::Plan;

/// An endpoint of this lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Where to send from; absent for a bare address.
    pub(crate) netns: Option<String>,
    /// IPv4 first.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Resolved {
    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        let wanted = |a: &&IpAddr| a.is_ipv4() == (family == Family::Ipv4);
        self.addresses.iter().find(wanted).copied()
    }
}

impl Plan {
    /// Finds an endpoint; the message says what there is instead.
    pub(crate) fn member_of(&self, endpoint: &Endpoint) -> Result<Resolved, String> {
        match endpoint {
            Endpoint::Address(address) => Ok(Resolved {
                netns: None,
                addresses: vec![*address],
            }),
            Endpoint::Pod(name) => self.pod(name).map_or_else(
                || Err(format!("there is no pod {name} in lab {}", self.name)),
                |pod| {
                    Ok(Resolved {
                        netns: Some(pod.netns.clone()),
                        addresses: pod.addresses.clone(),
                    })
                },
            ),
            Endpoint::Node(name) => {
                let Some(node) = self.node(name) else {
                    let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
                    let all = names.join(", ");
                    return Err(format!(
                        "there is no node {name} in lab {}; it has {all}",
                        self.name
                    ));
                };
                Ok(member(&node.member))
            }
            Endpoint::Outside => self.outside.as_ref().map(member).ok_or_else(|| {
                format!(
                    "lab {} has no outside host; say outside: true in lab.yaml",
                    self.name
                )
            }),
        }
    }

    /// The families both ends have, IPv4 first.
    pub(crate) fn families(from: &Resolved, to: &Resolved) -> Vec<Family> {
        let both =
            |family: &Family| from.address(*family).is_some() && to.address(*family).is_some();
        [Family::Ipv4, Family::Ipv6]
            .into_iter()
            .filter(both)
            .collect()
    }
}

fn member(member: &super::plan::Member) -> Resolved {
    Resolved {
        netns: Some(member.netns.clone()),
        addresses: vec![IpAddr::V4(member.ipv4), IpAddr::V6(member.ipv6)],
    }
}
