//! What does one file hold, given what it held before and what is wrong with it now?
//!
//! An object with errors keeps its last good version from this file. Without one, whatever it
//! might have forbidden is forbidden: see [`Closes`].

use std::collections::BTreeSet;
use std::sync::Arc;

use weft_policy::model::{Isolation, ObjectName, Policy, Selector};

use super::super::manifest::{Broken, Closes, Manifest, ManifestError};
use super::super::objects::{Object, ObjectKey};
use super::{EDIT, Trouble};

/// One remembered origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub(super) held: Vec<Held>,
    pub(super) troubles: Vec<Trouble>,
    pub(super) notices: Vec<Trouble>,
    /// It may hold any policy, and cannot be read.
    pub(super) closes_all: bool,
    /// Namespaces whose object it holds in a form that cannot be read.
    pub(super) unlabelled: BTreeSet<String>,
    /// Whether it could ever be read.
    pub(super) was_read: bool,
}

/// One object it holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) key: ObjectKey,
    pub(super) line: usize,
    pub(super) object: Arc<Object>,
    /// It stands for one that cannot be read and that has no good version.
    stands_in: bool,
}

/// What became of an object with errors.
enum Outcome {
    Kept,
    Closed(Closes),
}

impl Origin {
    /// What it holds after reading it anew.
    pub(super) fn read(name: &str, manifest: Manifest, before: Option<&Self>) -> Self {
        let Manifest {
            objects,
            errors,
            broken,
            notices,
            skipped: _,
        } = manifest;
        let mut origin = Self {
            notices: notices.iter().map(|n| notice(name, n)).collect(),
            was_read: true,
            ..Self::default()
        };
        for object in objects {
            origin.held.push(Held {
                key: object.value.key(),
                line: object.line,
                object: Arc::new(object.value),
                stands_in: false,
            });
        }
        let before = before.map_or(&[][..], |before| &before.held);
        let outcomes = origin.settle_broken(name, broken, before);
        for (index, error) in errors.iter().enumerate() {
            let outcome = outcomes.iter().find(|(about, _)| about.contains(&index));
            let consequence = outcome.map(|(_, outcome)| consequence(outcome));
            origin.troubles.push(Trouble {
                place: format!("{name}:{}", error.line),
                what: format!("{error}{}", consequence.unwrap_or_default()),
                next: EDIT.into(),
            });
        }
        origin
    }

    /// What it holds after it could not be read.
    pub(super) fn rejected(name: &str, errors: &[ManifestError], before: Option<&Self>) -> Self {
        let mut origin = before.cloned().unwrap_or_default();
        origin.closes_all |= !origin.was_read;
        let consequence = consequence(&if origin.was_read {
            Outcome::Kept
        } else {
            Outcome::Closed(Closes::Everything)
        });
        let trouble = |error: &ManifestError| Trouble {
            place: format!("{name}:{}", error.line),
            what: format!("{error}{consequence}"),
            next: EDIT.into(),
        };
        origin.troubles = errors.iter().map(trouble).collect();
        origin
    }

    /// Decides for every broken object whether its last version stays or what is closed.
    fn settle_broken(
        &mut self,
        name: &str,
        broken: Vec<Broken>,
        before: &[Held],
    ) -> Vec<(std::ops::Range<usize>, Outcome)> {
        if broken.is_empty() {
            return Vec::new();
        }
        let present: BTreeSet<_> = self.held.iter().map(|held| held.key.clone()).collect();
        let mut missing: Vec<_> = before
            .iter()
            .filter(|held| !held.stands_in && !present.contains(&held.key))
            .collect();
        let mut outcomes = Vec::new();
        let (known, unknown): (Vec<_>, Vec<_>) = broken.into_iter().partition(|b| b.key.is_some());
        for broken in known {
            let last = missing
                .iter()
                .position(|h| Some(&h.key) == broken.key.as_ref());
            let outcome = if let Some(last) = last {
                self.held.push(missing.swap_remove(last).clone());
                Outcome::Kept
            } else {
                self.close(name, &broken);
                Outcome::Closed(broken.closes)
            };
            outcomes.push((broken.errors, outcome));
        }
        if unknown.is_empty() {
            return outcomes;
        }
        // Any of the missing may be one of the unknown, so all of them stay. Where there are more
        // unknown ones than policies missing, some of them are new.
        let mut policies = missing
            .iter()
            .filter(|h| h.key.kind == "NetworkPolicy")
            .count();
        let any_kind = unknown.iter().any(|b| b.closes != Closes::Nothing);
        let may_be = |held: &&&Held| any_kind || matches!(held.key.kind, "Pod" | "Node");
        let kept = missing.iter().filter(may_be);
        self.held.extend(kept.map(|held| (*held).clone()));
        for broken in unknown {
            let outcome = if policies > 0 && broken.closes != Closes::Nothing {
                policies -= 1;
                Outcome::Kept
            } else {
                self.close(name, &broken);
                Outcome::Closed(broken.closes)
            };
            outcomes.push((broken.errors, outcome));
        }
        outcomes
    }

    fn close(&mut self, name: &str, broken: &Broken) {
        let policy = match &broken.closes {
            Closes::Nothing => return,
            Closes::Everything => {
                self.closes_all = true;
                return;
            }
            Closes::Peers(namespace) => {
                self.unlabelled.insert(namespace.clone());
                return;
            }
            Closes::Policy(policy) => Arc::clone(policy),
            Closes::Namespace(namespace) => Arc::new(Policy {
                name: ObjectName::new(namespace, format!("unreadable:{name}:{}", broken.line)),
                pods: Selector::everything(),
                ingress: Isolation::Only(Vec::new()),
                egress: Isolation::Only(Vec::new()),
            }),
        };
        let object = Object::NetworkPolicy(policy);
        self.held.push(Held {
            key: object.key(),
            line: broken.line,
            object: Arc::new(object),
            stands_in: true,
        });
    }
}

/// What is closed, or not, because of an error.
fn consequence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Kept => "; the version read before stays in force".into(),
        Outcome::Closed(Closes::Nothing) => "; until that is corrected it is left out".into(),
        Outcome::Closed(Closes::Peers(namespace)) => format!(
            "; until that is corrected no selector of a policy matches the pods of {namespace}"
        ),
        Outcome::Closed(Closes::Policy(policy)) => {
            let way = match (policy.ingress.isolates(), policy.egress.isolates()) {
                (true, false) => "into",
                (false, true) => "out of",
                _ => "into and out of",
            };
            let pods = if policy.pods == Selector::everything() {
                format!("all pods of namespace {}", policy.name.namespace)
            } else {
                "the pods it selects".into()
            };
            format!("; until that is corrected it allows nothing {way} {pods}")
        }
        Outcome::Closed(Closes::Namespace(namespace)) => format!(
            "; until that is corrected nothing may pass into or out of the pods of namespace \
             {namespace}"
        ),
        Outcome::Closed(Closes::Everything) => {
            "; it may hold a NetworkPolicy, so until that is corrected nothing may pass into or \
             out of any pod of this node"
                .into()
        }
    }
}

pub(super) fn notice(origin: &str, notice: &ManifestError) -> Trouble {
    Trouble {
        place: format!("{origin}:{}", notice.line),
        what: notice.to_string(),
        next: "nothing, if that is meant".into(),
    }
}

pub(super) fn skipped(origin: &str, line: usize, kind: &str) -> Trouble {
    Trouble {
        place: format!("{origin}:{line}"),
        what: format!("{kind} objects do not concern weft and are skipped, here and elsewhere"),
        next: "nothing".into(),
    }
}
