//! Misreadings of who is isolated, and of how rules and policies add up.

use weft_policy::model::{Isolation, ObjectName, Pod, Policy, Rule};
use weft_policy::oracle::{Reading, View};
use weft_policy::{Cluster, Direction, Question};

super::misreadings! {
    OnlyTheReceiverDecides {
        fn passes(&self, cluster: &Cluster, question: &Question) -> bool {
            self.allows(cluster, Direction::Ingress, question)
        }
    }
    OnlyTheSenderDecides {
        fn passes(&self, cluster: &Cluster, question: &Question) -> bool {
            self.allows(cluster, Direction::Egress, question)
        }
    }
    OneEndIsEnough {
        fn passes(&self, cluster: &Cluster, question: &Question) -> bool {
            self.allows(cluster, Direction::Egress, question)
                || self.allows(cluster, Direction::Ingress, question)
        }
    }
    PodsMayBlockThemselves {
        fn is_itself(&self, _: &Question) -> bool {
            false
        }
    }
    IsolationIsForBothDirections {
        fn isolates(&self, policy: &Policy, _: Direction) -> bool {
            policy.ingress.isolates() || policy.egress.isolates()
        }
    }
    DirectionsAreSwapped {
        fn section<'a>(&self, policy: &'a Policy, direction: Direction) -> &'a Isolation {
            match direction {
                Direction::Egress => &policy.ingress,
                Direction::Ingress => &policy.egress,
            }
        }
    }
    NoRulesIsolateNothing {
        fn isolates(&self, policy: &Policy, direction: Direction) -> bool {
            !self.section(policy, direction).rules().is_empty()
        }
    }
    PolicyTypesEgressNeedsRules {
        fn isolates(&self, policy: &Policy, direction: Direction) -> bool {
            match direction {
                Direction::Egress => !policy.egress.rules().is_empty(),
                Direction::Ingress => policy.ingress.isolates(),
            }
        }
    }
    EveryPolicyIsForIngress {
        fn isolates(&self, policy: &Policy, direction: Direction) -> bool {
            direction == Direction::Ingress || policy.egress.isolates()
        }
    }
    UnselectedPodsAreClosed {
        fn combined(&self, isolating: &[View<'_>]) -> bool {
            isolating.iter().any(|view| self.policy_allows(view))
        }
    }
    AllPoliciesMustAllow {
        fn combined(&self, isolating: &[View<'_>]) -> bool {
            isolating.iter().all(|view| self.policy_allows(view))
        }
    }
    TheFirstPolicyDecides {
        fn combined(&self, isolating: &[View<'_>]) -> bool {
            isolating.first().is_none_or(|view| self.policy_allows(view))
        }
    }
    TheLastPolicyDecides {
        fn combined(&self, isolating: &[View<'_>]) -> bool {
            isolating.last().is_none_or(|view| self.policy_allows(view))
        }
    }
    PoliciesOfOtherPodsAllowToo {
        fn combined(&self, isolating: &[View<'_>]) -> bool {
            let Some(view) = isolating.first() else {
                return true;
            };
            let namespace = &view.pod.name.namespace;
            let policies = view.cluster.policies.values();
            policies
                .filter(|policy| policy.name.namespace == *namespace)
                .any(|policy| self.policy_allows(&View { policy, ..*view }))
        }
    }
    AllRulesMustMatch {
        fn policy_allows(&self, view: &View<'_>) -> bool {
            let rules = self.section(view.policy, view.direction).rules();
            !rules.is_empty() && rules.iter().all(|rule| self.rule_allows(view, rule))
        }
    }
    TheFirstRuleDecides {
        fn policy_allows(&self, view: &View<'_>) -> bool {
            let rules = self.section(view.policy, view.direction).rules();
            rules.first().is_some_and(|rule| self.rule_allows(view, rule))
        }
    }
    PeersOrPorts {
        fn rule_allows(&self, view: &View<'_>, rule: &Rule) -> bool {
            self.peers_match(view, &rule.peers) || self.ports_match(view, &rule.ports)
        }
    }
    RulesForNoProtocolWithoutPorts {
        fn rule_allows(&self, view: &View<'_>, rule: &Rule) -> bool {
            view.question.protocol.is_some()
                && self.peers_match(view, &rule.peers)
                && self.ports_match(view, &rule.ports)
        }
    }
    OnlyTheFirstAddressIsThePods {
        fn pod_at<'a>(
            &self,
            cluster: &'a Cluster,
            address: std::net::IpAddr,
        ) -> Option<&'a Pod> {
            let mut pods = cluster.pods.values().map(AsRef::as_ref);
            pods.find(|pod| pod.addresses.first() == Some(&address))
        }
    }
    FinishedPodsKeepTheirAddresses {
        fn pod_at<'a>(
            &self,
            cluster: &'a Cluster,
            address: std::net::IpAddr,
        ) -> Option<&'a Pod> {
            let named = |name: &ObjectName| cluster.pods.get(name).map(AsRef::as_ref);
            let mut pods = cluster.pods.values().map(AsRef::as_ref);
            pods.find(|pod| pod.addresses.contains(&address)).or_else(|| {
                let of = |index: &u8| crate::policy::things::addresses_of(*index);
                (0..crate::policy::things::PODS)
                    .find(|index| of(index).contains(&address))
                    .and_then(|index| named(&crate::policy::things::pod_name(index)))
                    .filter(|pod| pod.addresses.is_empty())
            })
        }
    }
}
