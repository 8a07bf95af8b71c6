//! How can the specification be misread? Each misreading changes one sentence of the oracle; a
//! comparison that does not notice it is worth nothing.

mod isolation;
mod labels;
mod peers;
mod ports;

use weft_policy::oracle::Reading;
use weft_policy::{Change, Cluster};

/// One wrong sentence.
#[derive(Clone, Copy, Debug)]
pub struct Misreading {
    /// What it says, as a name.
    pub name: &'static str,
    /// The specification with that sentence.
    pub reading: &'static dyn Reading,
}

/// Names readings, each by the methods of [`Reading`] that it replaces.
macro_rules! misreadings {
    ($($(#[$doc:meta])* $name:ident { $($methods:tt)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            struct $name;
            impl Reading for $name { $($methods)* }
        )*
        pub(super) const ALL: &[super::Misreading] = &[$(
            super::Misreading { name: stringify!($name), reading: &$name },
        )*];
    };
}
use misreadings;

/// Every misreading of the specification.
#[must_use]
pub fn all() -> Vec<Misreading> {
    [isolation::ALL, labels::ALL, peers::ALL, ports::ALL].concat()
}

/// Changes that somebody might fail to notice.
pub const UNNOTICED: [(&str, Notices); 8] = [
    ("NewPodsGoUnnoticed", |change, known| match change {
        Change::Pod(pod) => known.pods.contains_key(&pod.name),
        _ => true,
    }),
    ("PodLabelsStay", |change, known| match change {
        Change::Pod(pod) => known
            .pods
            .get(&pod.name)
            .is_none_or(|known| known.labels == pod.labels),
        _ => true,
    }),
    ("PodPortsStay", |change, known| match change {
        Change::Pod(pod) => known
            .pods
            .get(&pod.name)
            .is_none_or(|known| known.ports == pod.ports),
        _ => true,
    }),
    ("PodsThatAreGoneStay", |change, _| {
        !matches!(change, Change::PodGone(_))
    }),
    ("NamespaceLabelsStay", |change, known| match change {
        Change::Namespace(name, _) => !known.namespaces.contains_key(name),
        _ => true,
    }),
    ("NamespacesThatAreGoneStay", |change, _| {
        !matches!(change, Change::NamespaceGone(_))
    }),
    ("PoliciesStay", |change, known| match change {
        Change::Policy(policy) => !known.policies.contains_key(&policy.name),
        _ => true,
    }),
    ("PoliciesThatAreGoneStay", |change, _| {
        !matches!(change, Change::PolicyGone(_))
    }),
];

/// Whether somebody notices a change to what they know.
pub type Notices = fn(&Change, &Cluster) -> bool;
