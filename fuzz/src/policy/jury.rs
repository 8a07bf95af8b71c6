//! Would a wrong answer be noticed, and how often? Everybody who misreads the specification, or
//! misses a kind of change, is asked what the court is asked.

use weft_policy::oracle::{Literal, Reading};
use weft_policy::{Cluster, Direction, Question};

use super::court::{Answer, Court};
use super::misreadings::{self, Misreading, Notices, UNNOTICED};
use super::scenario::Step;

/// Those who are wrong, and how often their answers were others than the table's.
#[derive(Debug)]
pub struct Jury {
    readers: Vec<(Misreading, u64)>,
    listeners: Vec<Listener>,
    known: Cluster,
}

/// Somebody who reads literally but does not learn of everything.
#[derive(Debug)]
struct Listener {
    name: &'static str,
    notices: Notices,
    known: Cluster,
    published: Cluster,
    differences: u64,
}

impl Default for Jury {
    fn default() -> Self {
        let listener = |(name, notices)| Listener {
            name,
            notices,
            known: Cluster::default(),
            published: Cluster::default(),
            differences: 0,
        };
        Self {
            readers: misreadings::all().into_iter().map(|m| (m, 0)).collect(),
            listeners: UNNOTICED.into_iter().map(listener).collect(),
            known: Cluster::default(),
        }
    }
}

impl Jury {
    /// Another scenario begins.
    pub fn forget(&mut self) {
        self.known = Cluster::default();
        for listener in &mut self.listeners {
            listener.known = Cluster::default();
            listener.published = Cluster::default();
        }
    }

    /// Compares everybody's answer with the one the court found right.
    pub fn take(&mut self, court: &Court, step: &Step, answer: Answer) {
        match step {
            Step::Change(change) => {
                for listener in &mut self.listeners {
                    if (listener.notices)(change, &self.known) {
                        listener.known.apply(change.clone());
                    }
                }
                self.known.apply(change.clone());
            }
            Step::Publish => {
                for listener in &mut self.listeners {
                    listener.published.clone_from(&listener.known);
                }
            }
            Step::Ask(question) if !court.is_closed() => self.ask(court, question, answer),
            _ => {}
        }
    }

    fn ask(&mut self, court: &Court, question: &Question, answer: Answer) {
        let cluster = court.cluster();
        for (misreading, differences) in &mut self.readers {
            *differences += u64::from(differs(misreading.reading, cluster, question, answer));
        }
        for listener in &mut self.listeners {
            let differs = differs(&Literal, &listener.published, question, answer);
            listener.differences += u64::from(differs);
        }
    }

    /// How often everybody was wrong.
    pub fn differences(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let readers = self.readers.iter();
        let listeners = self.listeners.iter();
        readers
            .map(|(misreading, differences)| (misreading.name, *differences))
            .chain(listeners.map(|listener| (listener.name, listener.differences)))
    }
}

/// Whether this reader says something else, at an end or, where both were asked, of the flow.
fn differs(reader: &dyn Reading, cluster: &Cluster, question: &Question, answer: Answer) -> bool {
    let ends = [
        (Direction::Egress, answer.egress),
        (Direction::Ingress, answer.ingress),
    ];
    let flow = match (answer.egress, answer.ingress) {
        (Some(egress), Some(ingress)) => Some(egress && ingress),
        _ => None,
    };
    flow.is_some_and(|flow| reader.passes(cluster, question) != flow)
        || ends.iter().any(|(direction, end)| {
            end.is_some_and(|end| reader.allows(cluster, *direction, question) != end)
        })
}
