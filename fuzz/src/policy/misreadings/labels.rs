//! Misreadings of labels and selectors.

use std::collections::BTreeSet;

use weft_policy::Cluster;
use weft_policy::model::{Operator, Pod, Policy, Requirement, Selector};
use weft_policy::oracle::{Lookup, Reading, pod_label};

super::misreadings! {
    /// NotIn also matches objects without the label.
    NotInNeedsTheLabel {
        fn is_not_in(&self, value: Option<&str>, values: &BTreeSet<String>) -> bool {
            value.is_some_and(|value| !values.contains(value))
        }
    }
    NotInExcludesTheFirstValueOnly {
        fn is_not_in(&self, value: Option<&str>, values: &BTreeSet<String>) -> bool {
            value != values.first().map(String::as_str)
        }
    }
    InNeedsNoLabel {
        fn is_in(&self, value: Option<&str>, values: &BTreeSet<String>) -> bool {
            value.is_none_or(|value| values.contains(value))
        }
    }
    InTakesTheFirstValueOnly {
        fn is_in(&self, value: Option<&str>, values: &BTreeSet<String>) -> bool {
            value.is_some() && value == values.first().map(String::as_str)
        }
    }
    InTakesAnyValue {
        fn is_in(&self, value: Option<&str>, _: &BTreeSet<String>) -> bool {
            value.is_some()
        }
    }
    ExistsAlwaysHolds {
        fn exists(&self, _: Option<&str>) -> bool {
            true
        }
    }
    DoesNotExistAlwaysHolds {
        fn does_not_exist(&self, _: Option<&str>) -> bool {
            true
        }
    }
    DoesNotExistIsExists {
        fn does_not_exist(&self, value: Option<&str>) -> bool {
            value.is_some()
        }
    }
    ExpressionsAreIgnored {
        fn requirement_holds(&self, requirement: &Requirement, label: &Lookup<'_>) -> bool {
            match &requirement.operator {
                Operator::In(values) => self.is_in(label(&requirement.key), values),
                _ => true,
            }
        }
    }
    RequirementsAreOred {
        fn selector_matches(&self, selector: &Selector, label: &Lookup<'_>) -> bool {
            let requirements = &selector.requirements;
            requirements.is_empty()
                || requirements.iter().any(|one| self.requirement_holds(one, label))
        }
    }
    EmptySelectorsMatchNothing {
        fn selector_matches(&self, selector: &Selector, label: &Lookup<'_>) -> bool {
            let requirements = &selector.requirements;
            !requirements.is_empty()
                && requirements.iter().all(|one| self.requirement_holds(one, label))
        }
    }
    PoliciesSelectInAllNamespaces {
        fn selects(&self, policy: &Policy, pod: &Pod) -> bool {
            self.selector_matches(&policy.pods, &pod_label(pod))
        }
    }
    PoliciesSelectTheirWholeNamespace {
        fn selects(&self, policy: &Policy, pod: &Pod) -> bool {
            policy.name.namespace == pod.name.namespace
        }
    }
    NamespacesHaveNoLabelOfTheirName {
        fn namespace_label<'a>(
            &self,
            cluster: &'a Cluster,
            namespace: &'a str,
            key: &str,
        ) -> Option<&'a str> {
            cluster.namespaces.get(namespace)?.get(key).map(String::as_str)
        }
    }
    NamespacesWithoutAnObjectHaveNoName {
        fn namespace_label<'a>(
            &self,
            cluster: &'a Cluster,
            namespace: &'a str,
            key: &str,
        ) -> Option<&'a str> {
            let labels = cluster.namespaces.get(namespace)?;
            if key == weft_policy::model::NAMESPACE_NAME {
                return Some(namespace);
            }
            labels.get(key).map(String::as_str)
        }
    }
}
