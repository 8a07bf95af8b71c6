//! What is the rule with this number called?
//!
//! Owns the numbers of rules. A number means one rule for as long as the rule's policy says the
//! same; numbers set free are taken again only once many others wait, so that whoever remembers
//! an old verdict finds no name rather than a wrong one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{RuleId, RuleName};

const PAGE: u32 = 256;

/// So many numbers stay out of use before the first is taken again.
const REST: usize = 1 << 16;

type Page = [Option<Arc<RuleName>>; PAGE as usize];

/// Names by number, in pages that are copied when they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pages: Vec<Option<Arc<Page>>>,
    bytes: usize,
}

impl Rules {
    pub(crate) fn get(&self, rule: RuleId) -> Option<&RuleName> {
        let page = self.pages.get((rule.0 / PAGE) as usize)?.as_ref()?;
        page.get((rule.0 % PAGE) as usize)?.as_deref()
    }

    fn set(&mut self, rule: RuleId, name: Option<Arc<RuleName>>) {
        let number = (rule.0 / PAGE) as usize;
        if number >= self.pages.len() {
            self.pages.resize(number + 1, None);
        }
        let Some(place) = self.pages.get_mut(number) else {
            return;
        };
        let page =
            Arc::make_mut(place.get_or_insert_with(|| Arc::new([const { None }; PAGE as usize])));
        let Some(slot) = page.get_mut((rule.0 % PAGE) as usize) else {
            return;
        };
        self.bytes += name.as_deref().map_or(0, name_bytes);
        self.bytes -= slot.as_deref().map_or(0, name_bytes);
        *slot = name;
        if page.iter().all(Option::is_none) {
            *place = None;
        }
        while self.pages.last().is_some_and(Option::is_none) {
            self.pages.pop();
        }
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let pages = self.pages.iter().flatten().count();
        size_of_val(&*self.pages) + pages * size_of::<Page>() + self.bytes
    }
}

fn name_bytes(name: &RuleName) -> usize {
    size_of::<RuleName>() + name.policy.namespace.len() + name.policy.name.len()
}

/// Gives numbers to rules.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    rules: Rules,
    last: u32,
    free: VecDeque<RuleId>,
}

impl Numbers {
    /// A number for a rule. Beyond sixteen million rules there are none left: the highest number
    /// stands for all the others, and has no name.
    pub(crate) fn take(&mut self, name: RuleName) -> RuleId {
        let reused = match self.last + 1 < RuleId::MAX.0 && self.free.len() <= REST {
            true => None,
            false => self.free.pop_front(),
        };
        let rule = match reused {
            Some(rule) => rule,
            None if self.last + 1 < RuleId::MAX.0 => {
                self.last += 1;
                RuleId(self.last)
            }
            None => return RuleId::MAX,
        };
        self.rules.set(rule, Some(Arc::new(name)));
        rule
    }

    /// The rule is gone.
    pub(crate) fn give_back(&mut self, rule: RuleId) {
        if self.rules.get(rule).is_some() {
            self.rules.set(rule, None);
            self.free.push_back(rule);
        }
    }

    /// The names of this moment.
    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Direction;
    use crate::model::ObjectName;

    fn name(index: usize) -> RuleName {
        RuleName {
            policy: ObjectName::new("x", "allow"),
            direction: Direction::Ingress,
            index: Some(index),
        }
    }

    #[test]
    fn a_number_means_one_rule_and_is_not_soon_another() {
        let mut numbers = Numbers::default();
        let first = numbers.take(name(0));
        let second = numbers.take(name(1));
        assert_ne!(first, RuleId::DEFAULT);
        assert_eq!(numbers.rules().get(first), Some(&name(0)));
        numbers.give_back(first);
        numbers.give_back(first);
        assert_eq!(numbers.rules().get(first), None);
        assert_eq!(numbers.rules().get(second), Some(&name(1)));
        for index in 0..1_000 {
            let other = numbers.take(name(index));
            assert_ne!(other, first);
            numbers.give_back(other);
        }
        numbers.give_back(second);
        assert_eq!(numbers.rules().bytes(), 0);
    }

    #[test]
    fn numbers_come_back_after_a_rest() {
        let mut numbers = Numbers::default();
        let all: Vec<RuleId> = (0..REST + 2)
            .map(|index| numbers.take(name(index)))
            .collect();
        for &rule in &all {
            numbers.give_back(rule);
        }
        assert_eq!(Some(&numbers.take(name(0))), all.first());
    }
}
