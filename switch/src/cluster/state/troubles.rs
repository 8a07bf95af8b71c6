//! What is wrong, by what it is about, and what became of it since somebody last asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::objects::ObjectKey;
use super::Trouble;

/// What a trouble is about; all troubles of a subject are replaced together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The source of state.
    Source,
    /// A file.
    Origin(Arc<str>),
    /// An object that is defined more than once.
    Double(ObjectKey),
    /// A pod's addresses.
    Pod(ObjectKey),
    /// The nodes together.
    Nodes,
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    by_subject: BTreeMap<Subject, Vec<Trouble>>,
    /// How many subjects have it: two may have the same to say.
    count: BTreeMap<Trouble, usize>,
    /// Those touched since the last [`Troubles::differences`], and whether they were there.
    touched: BTreeMap<Trouble, bool>,
}

impl Troubles {
    pub(super) fn set(&mut self, subject: Subject, troubles: Vec<Trouble>) {
        if troubles.is_empty() && !self.by_subject.contains_key(&subject) {
            return;
        }
        for trouble in &troubles {
            self.touch(trouble);
            *self.count.entry(trouble.clone()).or_default() += 1;
        }
        let before = if troubles.is_empty() {
            self.by_subject.remove(&subject)
        } else {
            self.by_subject.insert(subject, troubles)
        };
        for trouble in before.unwrap_or_default() {
            self.touch(&trouble);
            if let Some(count) = self.count.get_mut(&trouble) {
                *count -= 1;
                if *count == 0 {
                    self.count.remove(&trouble);
                }
            }
        }
    }

    fn touch(&mut self, trouble: &Trouble) {
        if !self.touched.contains_key(trouble) {
            let there = self.count.contains_key(trouble);
            self.touched.insert(trouble.clone(), there);
        }
    }

    /// What appeared and what was resolved since this was last asked.
    pub(super) fn differences(&mut self) -> (Vec<Trouble>, Vec<Trouble>) {
        let (mut appeared, mut resolved) = (Vec::new(), Vec::new());
        for (trouble, was_there) in std::mem::take(&mut self.touched) {
            match (was_there, self.count.contains_key(&trouble)) {
                (false, true) => appeared.push(trouble),
                (true, false) => resolved.push(trouble),
                _ => {}
            }
        }
        (appeared, resolved)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Trouble> {
        self.count.keys()
    }
}
