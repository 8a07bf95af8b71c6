//! Which rule decides about each port?
//!
//! Owns the order of precedence: rules paint the ports they speak of in the order of their rank,
//! and what is painted stays painted. Rules of NetworkPolicy only allow, so the paint is the rule
//! and the order only chooses whom a verdict names; ordered tiers, whose rules also deny and
//! pass, are the same work with another paint (see docs/decisions/0009-policy-compilation.md and
//! the test below).

/// The ports of one protocol, each with the paint of the first who painted it.
#[derive(Debug)]
pub(super) struct Canvas<Paint> {
    /// Sorted and disjoint.
    strokes: Vec<Stroke<Paint>>,
}

/// Ports painted at one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stroke<Paint> {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) paint: Paint,
}

impl<Paint: Copy + PartialEq> Canvas<Paint> {
    pub(super) const fn new() -> Self {
        Self {
            strokes: Vec::new(),
        }
    }

    /// Paints the ports from `first` to `last` that are bare so far.
    pub(super) fn paint(&mut self, first: u16, last: u16, paint: Paint) {
        if first > last {
            return;
        }
        let before = self.strokes.partition_point(|stroke| stroke.last < first);
        let overlapping = self.strokes.iter().skip(before);
        let overlapping: Vec<_> = overlapping
            .take_while(|stroke| stroke.first <= last)
            .copied()
            .collect();
        let after = before + overlapping.len();
        let mut strokes = Vec::with_capacity(2 * overlapping.len() + 1);
        let mut bare = Some(first);
        for stroke in overlapping {
            if let Some(first) = bare.filter(|&bare| bare < stroke.first) {
                let last = stroke.first - 1;
                strokes.push(Stroke { first, last, paint });
            }
            strokes.push(stroke);
            bare = stroke.last.checked_add(1);
        }
        if let Some(first) = bare.filter(|&bare| bare <= last) {
            strokes.push(Stroke { first, last, paint });
        }
        self.strokes.splice(before..after, strokes);
    }

    /// What is painted; neighbours of one paint are one stroke.
    pub(super) fn finish(self) -> impl Iterator<Item = Stroke<Paint>> {
        let mut strokes = self.strokes.into_iter().peekable();
        std::iter::from_fn(move || {
            let mut stroke = strokes.next()?;
            while let Some(next) = strokes.next_if(|next| {
                next.paint == stroke.paint && stroke.last.checked_add(1) == Some(next.first)
            }) {
                stroke.last = next.last;
            }
            Some(stroke)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_to_paint_a_port_keeps_it() {
        let mut canvas = Canvas::new();
        canvas.paint(80, 90, 'a');
        canvas.paint(85, 95, 'b');
        canvas.paint(0, 65_535, 'c');
        canvas.paint(5, 4, 'd');
        let strokes: Vec<_> = canvas
            .finish()
            .map(|stroke| (stroke.first, stroke.last, stroke.paint))
            .collect();
        assert_eq!(
            strokes,
            [
                (0, 79, 'c'),
                (80, 90, 'a'),
                (91, 95, 'b'),
                (96, 65_535, 'c')
            ]
        );
    }

    proptest! {
        #[test]
        fn painting_is_asking_the_rules_one_by_one(
            rules in proptest::collection::vec((any::<u16>(), any::<u16>(), 0u8..4), 0..20),
            near in any::<bool>(),
        ) {
            let scale = |port: u16| if near { port % 16 } else { port };
            let rules: Vec<_> = rules
                .into_iter()
                .map(|(first, last, paint)| (scale(first), scale(last), paint))
                .collect();
            let mut canvas = Canvas::new();
            for &(first, last, paint) in &rules {
                canvas.paint(first, last, paint);
            }
            let strokes: Vec<_> = canvas.finish().collect();
            for pair in strokes.windows(2) {
                prop_assert!(pair[0].last < pair[1].first);
            }
            let ports = rules.iter().flat_map(|&(first, last, _)| {
                [first, first.wrapping_sub(1), last, last.wrapping_add(1)]
            });
            for port in ports.chain([0, 65_535]) {
                let asked = rules.iter().find(|rule| rule.0 <= port && port <= rule.1);
                let painted = strokes.iter().find(|s| s.first <= port && port <= s.last);
                prop_assert_eq!(asked.map(|rule| rule.2), painted.map(|stroke| stroke.paint));
            }
        }
    }

    /// Accept, Deny and Pass of ClusterNetworkPolicy: within a tier the first rule decides; what
    /// it passes is bare again for the next tier.
    #[test]
    fn ordered_tiers_are_more_of_the_same_paint() {
        #[derive(Clone, Copy, Debug, PartialEq)]
        enum Action {
            Accept,
            Deny,
            Pass,
        }
        let tiers: [&[(u16, u16, Action)]; 3] = [
            &[(80, 80, Action::Pass), (0, 99, Action::Deny)],
            &[(80, 80, Action::Accept), (90, 200, Action::Accept)],
            &[(0, 65_535, Action::Deny)],
        ];
        let mut canvas = Canvas::new();
        for tier in tiers {
            for &(first, last, action) in tier {
                canvas.paint(first, last, action);
            }
            canvas.strokes.retain(|stroke| stroke.paint != Action::Pass);
        }
        let strokes: Vec<_> = canvas
            .finish()
            .map(|stroke| (stroke.first, stroke.last, stroke.paint))
            .collect();
        assert_eq!(
            strokes,
            [
                (0, 79, Action::Deny),
                (80, 80, Action::Accept),
                (81, 99, Action::Deny),
                (100, 200, Action::Accept),
                (201, 65_535, Action::Deny),
            ]
        );
    }
}
