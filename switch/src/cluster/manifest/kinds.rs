//! What to do with an object, going by its kind and its API.

use super::reader::near;

/// What a document's `kind` and `apiVersion` make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// One that weft reads, by its kind.
    Read(&'static str),
    /// Nearly so: what was meant.
    Misspelt(&'static str),
    /// It restricts traffic by an API weft does not know.
    ForeignPolicy,
    /// It holds others.
    List,
    /// No concern of weft's.
    Other,
}

const READ: [&str; 4] = ["Node", "Namespace", "Pod", "NetworkPolicy"];
/// The API of NetworkPolicy, and the one it came from.
const GROUPS: [&str; 3] = ["networking.k8s.io", "extensions", ""];
/// Suffixes of the groups whose policies are another matter.
const FOREIGN_GROUPS: [&str; 8] = [
    "projectcalico.org",
    "cilium.io",
    "antrea.io",
    "antrea.tanzu.vmware.com",
    "policy.networking.k8s.io",
    "k8s.ovn.org",
    "kubeovn.io",
    "istio.io",
];
const FOREIGN_KINDS: [&str; 6] = [
    "EgressFirewall",
    "AuthorizationPolicy",
    "GlobalNetworkSet",
    "NetworkSet",
    "HostEndpoint",
    "Tier",
];

/// The apiVersion of objects of a kind weft reads.
pub(super) fn version(kind: &str) -> &'static str {
    match kind {
        "NetworkPolicy" => "networking.k8s.io/v1",
        _ => "v1",
    }
}

pub(super) fn sort(kind: &str, api_version: &str) -> Sort {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let foreign_group = FOREIGN_GROUPS.iter().any(|suffix| group.ends_with(suffix));
    if foreign_group && (kind.ends_with("Policy") || FOREIGN_KINDS.contains(&kind)) {
        return Sort::ForeignPolicy;
    }
    if let Some(known) = READ.into_iter().find(|known| *known == kind) {
        return Sort::Read(known);
    }
    if kind.ends_with("List") {
        return Sort::List;
    }
    let is_prefixed = kind.len() > "NetworkPolicy".len() && kind.ends_with("NetworkPolicy");
    if is_prefixed || (foreign_group && kind.contains("NetworkPolic")) || kind == "EgressFirewall" {
        return Sort::ForeignPolicy;
    }
    let lower = kind.to_lowercase();
    let of_our_api = group == "networking.k8s.io"
        && !matches!(
            kind,
            "Ingress" | "IngressClass" | "IPAddress" | "ServiceCIDR"
        );
    if of_our_api || lower.contains("networkpolic") || near(kind, &["NetworkPolicy"]).is_some() {
        return Sort::Misspelt("NetworkPolicy");
    }
    let core = GROUPS.contains(&group) && group != "networking.k8s.io";
    let misspelt = READ.into_iter().find(|known| {
        let known = known.to_lowercase();
        lower == known || lower == format!("{known}s") || strsim::osa_distance(&lower, &known) == 1
    });
    match misspelt {
        Some(known) if core => Sort::Misspelt(known),
        _ => Sort::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted() {
        const NETWORKING: &str = "networking.k8s.io/v1";
        for (kind, version, expected) in [
            ("Pod", "v1", Sort::Read("Pod")),
            ("NetworkPolicy", NETWORKING, Sort::Read("NetworkPolicy")),
            (
                "NetworkPolicy",
                "networking.k8s.oi/v1",
                Sort::Read("NetworkPolicy"),
            ),
            (
                "NetworkPolicy",
                "crd.projectcalico.org/v1",
                Sort::ForeignPolicy,
            ),
            ("NetworkPolicy", "projectcalico.org/v3", Sort::ForeignPolicy),
            ("CiliumNetworkPolicy", "cilium.io/v2", Sort::ForeignPolicy),
            (
                "AdminNetworkPolicy",
                "policy.networking.k8s.io/v1alpha1",
                Sort::ForeignPolicy,
            ),
            (
                "ClusterNetworkPolicy",
                "crd.antrea.io/v1beta1",
                Sort::ForeignPolicy,
            ),
            (
                "GlobalNetworkPolicy",
                "projectcalico.org/v3",
                Sort::ForeignPolicy,
            ),
            ("BaselineAdminNetworkPolicy", "", Sort::ForeignPolicy),
            (
                "MultiNetworkPolicy",
                "k8s.cni.cncf.io/v1beta1",
                Sort::ForeignPolicy,
            ),
            ("NetworkPolcy", NETWORKING, Sort::Misspelt("NetworkPolicy")),
            ("networkpolicy", "", Sort::Misspelt("NetworkPolicy")),
            ("NetworkPolicies", "x/v1", Sort::Misspelt("NetworkPolicy")),
            ("Policy", NETWORKING, Sort::Misspelt("NetworkPolicy")),
            ("NameSpace", "v1", Sort::Misspelt("Namespace")),
            ("pods", "v1", Sort::Misspelt("Pod")),
            ("List", "v1", Sort::List),
            ("NetworkPolicyList", NETWORKING, Sort::List),
            ("Ingress", NETWORKING, Sort::Other),
            ("Deployment", "apps/v1", Sort::Other),
            ("Job", "batch/v1", Sort::Other),
            ("Secret", "v1", Sort::Other),
            ("PodTemplate", "v1", Sort::Other),
            ("PodDisruptionBudget", "policy/v1", Sort::Other),
        ] {
            assert_eq!(sort(kind, version), expected, "{kind} of {version}");
        }
    }
}
