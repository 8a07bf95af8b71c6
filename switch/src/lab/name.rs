//! What are a lab's namespaces called, and which names can a lab, node or pod have?
//!
//! Owns the naming scheme `weft.<lab>.<node>` and `weft.<lab>.<namespace>.<pod>`, by which
//! `lab down` finds everything even when the lab's own notes are gone. A lab's name holds no dot, so
//! the prefix `weft.<lab>.` belongs to exactly one lab.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The namespace that holds the underlay's bridge.
pub(crate) const FABRIC: &str = "fabric";
/// The host beyond the nodes.
pub(crate) const OUTSIDE: &str = "outside";
/// Longest lab name; leaves room for the node's name in a socket path of 107 bytes.
const LAB_NAME_MAX: usize = 32;
/// Longest node name: a DNS label (RFC 1123), which keeps `weft.<lab>.<node>` apart from pods.
const NODE_NAME_MAX: usize = 63;
/// Longest file name Linux takes (`NAME_MAX`), hence the longest name of a network namespace.
pub(crate) const NETNS_NAME_MAX: usize = 255;

/// Name of a lab: a DNS label of at most 32 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct LabName(String);

impl LabName {
    /// Checks the rules; the error says which one is broken.
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        if name.len() > LAB_NAME_MAX {
            return Err(format!(
                "\"{name}\" is longer than {LAB_NAME_MAX} characters"
            ));
        }
        check_label(name)?;
        Ok(Self(name.to_owned()))
    }

    /// Stands in while the problems of a file are collected; never leaves its checks.
    pub(crate) fn placeholder() -> Self {
        Self("lab".to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What every namespace of this lab begins with.
    pub(crate) fn prefix(&self) -> String {
        format!("weft.{self}.")
    }

    /// The namespace of a node, of the fabric or of the outside host.
    pub(crate) fn netns(&self, member: &str) -> String {
        format!("weft.{self}.{member}")
    }

    pub(crate) fn pod_netns(&self, namespace: &str, pod: &str) -> String {
        format!("weft.{self}.{namespace}.{pod}")
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for LabName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name)
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

/// FNV-1a, 64 bits: the same number for the same name in every version, for names and MAC addresses
/// of links.
pub(crate) fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A MAC address of an end of a link: the same when the link is made anew, so that neighbours need
/// not learn it again.
pub(crate) fn stable_mac(text: &str) -> [u8; 6] {
    let [_, _, _, a, b, c, d, e] = stable_hash(text).to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// A node's name: a DNS label that is not one of the lab's own namespaces.
pub(crate) fn check_node(name: &str) -> Result<(), String> {
    if name == FABRIC || name == OUTSIDE {
        return Err(format!(
            "\"{name}\" is the name of one of the lab's own namespaces"
        ));
    }
    if name.contains('.') {
        return Err(format!(
            "\"{name}\" holds a dot, so its namespace could be taken for a pod's"
        ));
    }
    if name.len() > NODE_NAME_MAX {
        return Err(format!(
            "\"{name}\" is longer than {NODE_NAME_MAX} characters"
        ));
    }
    check_label(name)
}

/// A DNS label (RFC 1123): `[a-z0-9]([-a-z0-9]*[a-z0-9])?`.
pub(crate) fn check_label(name: &str) -> Result<(), String> {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let good = bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || *b == b'-');
    if good {
        Ok(())
    } else {
        Err(format!(
            "\"{name}\" is not a DNS label (lower-case letters, digits and '-', not at an end)"
        ))
    }
}

/// A DNS subdomain (RFC 1123): labels joined by dots, at most 253 characters. Pods have such names.
pub(crate) fn check_subdomain(name: &str) -> Result<(), String> {
    if name.len() > 253 {
        return Err(format!("\"{name}\" is longer than 253 characters"));
    }
    if name.split('.').all(|label| check_label(label).is_ok()) {
        Ok(())
    } else {
        Err(format!(
            "\"{name}\" is not a DNS name (labels of a-z, 0-9 and '-' joined by dots)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_names() {
        for good in ["a", "two-nodes", "3", "x9"] {
            assert_eq!(LabName::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a.b",
            "A",
            "a_b",
            "a/b",
            "..",
            &"x".repeat(33),
        ] {
            assert!(LabName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_cannot_look_like_pods_or_the_labs_own() {
        assert!(check_node("node-a").is_ok());
        assert_eq!(
            check_node("x.y").unwrap_err(),
            "\"x.y\" holds a dot, so its namespace could be taken for a pod's"
        );
        assert!(check_node("fabric").is_err());
        assert!(check_node("outside").is_err());
    }

    #[test]
    fn namespaces_have_the_labs_prefix() {
        let lab = LabName::new("l").unwrap();
        assert_eq!(lab.prefix(), "weft.l.");
        assert_eq!(lab.netns("node-a"), "weft.l.node-a");
        assert_eq!(lab.pod_netns("default", "a"), "weft.l.default.a");
    }
}
