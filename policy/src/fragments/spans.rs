//! Which bytes of a datagram have passed?
//!
//! Owns the exact account of one datagram: runs of bytes with gaps between them, and
//! the length once the last fragment told it. Fragments in order make one run; where
//! there would be more than [`MOST`] runs, the account gives up.

/// Runs kept of one datagram.
pub(super) const MOST: usize = 8;

/// The bytes `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u16,
    pub(super) end: u16,
}

/// The fragment contradicts another one, or there is no room to remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

/// What has passed of a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spans {
    runs: [Run; MOST],
    len: u8,
    /// The datagram's length, from its last fragment.
    total: Option<u16>,
}

impl Spans {
    /// Takes the bytes of one fragment in; `more`: it is not the last.
    pub(super) fn add(&mut self, run: Run, more: bool) -> Result<(), Contradiction> {
        let passes_the_end = self.total.is_some_and(|total| !more || run.end > total);
        let ends_too_soon = !more && self.runs().iter().any(|other| other.end > run.end);
        let is_empty = run.start >= run.end;
        if passes_the_end || ends_too_soon || is_empty {
            return Err(Contradiction);
        }
        self.insert(run)?;
        if !more {
            self.total = Some(run.end);
        }
        Ok(())
    }

    /// Whether all of the datagram has passed.
    pub(super) fn is_complete(&self) -> bool {
        match (self.total, self.runs()) {
            (Some(total), [run]) => (run.start, run.end) == (0, total),
            _ => false,
        }
    }

    fn runs(&self) -> &[Run] {
        self.runs.get(..self.len.into()).unwrap_or_default()
    }

    /// Adds a run that overlaps no other; those it touches become part of it.
    fn insert(&mut self, run: Run) -> Result<(), Contradiction> {
        let (mut runs, mut len) = ([Run::default(); MOST], 0);
        let mut joined = run;
        for &other in self.runs() {
            if other.start < run.end && run.start < other.end {
                return Err(Contradiction);
            } else if other.end == run.start {
                joined.start = other.start;
            } else if other.start == run.end {
                joined.end = other.end;
            } else {
                *runs.get_mut(usize::from(len)).ok_or(Contradiction)? = other;
                len += 1;
            }
        }
        *runs.get_mut(usize::from(len)).ok_or(Contradiction)? = joined;
        (self.runs, self.len) = (runs, len + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(parts: &[(u16, u16, bool)]) -> (Spans, Result<(), Contradiction>) {
        let mut spans = Spans::default();
        let added = parts
            .iter()
            .try_for_each(|&(start, end, more)| spans.add(Run { start, end }, more));
        (spans, added)
    }

    #[test]
    fn parts_in_order_make_one_run() {
        let (mut spans, mut at) = (Spans::default(), 0);
        for _ in 0..100 {
            let run = Run {
                start: at,
                end: at + 8,
            };
            assert_eq!(spans.add(run, true), Ok(()));
            assert_eq!(
                spans.runs(),
                [Run {
                    start: 0,
                    end: at + 8
                }]
            );
            assert!(!spans.is_complete());
            at += 8;
        }
        assert_eq!(
            spans.add(
                Run {
                    start: at,
                    end: at + 1
                },
                false
            ),
            Ok(())
        );
        assert!(spans.is_complete());
    }

    #[test]
    fn what_contradicts_is_refused() {
        for (name, parts) in [
            ("twice", &[(0, 8, true), (0, 8, true)][..]),
            ("one byte", &[(0, 8, true), (16, 24, true), (8, 17, false)]),
            ("around", &[(0, 8, true), (16, 24, true), (8, 32, true)]),
            ("inside", &[(0, 80, true), (16, 24, true)]),
            ("empty", &[(0, 8, true), (8, 8, true)]),
            ("empty end", &[(0, 8, true), (8, 8, false)]),
            (
                "beyond the end",
                &[(0, 8, true), (16, 20, false), (24, 32, true)],
            ),
            (
                "end within",
                &[(0, 8, true), (32, 40, true), (8, 16, false)],
            ),
            (
                "a second end",
                &[(0, 8, true), (24, 32, false), (16, 24, false)],
            ),
            (
                "a later end",
                &[(0, 8, true), (24, 32, false), (32, 40, false)],
            ),
        ] {
            let (_, added) = account(parts);
            assert_eq!(added, Err(Contradiction), "{name}");
            assert_eq!(account(&parts[..parts.len() - 1]).1, Ok(()), "{name}");
        }
    }

    #[test]
    fn any_order_completes() {
        let parts = [(0, 8, true), (8, 24, true), (24, 32, true), (32, 39, false)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut spans = Spans::default();
            for (step, (start, end, more)) in
                order.map(|index| parts[index]).into_iter().enumerate()
            {
                assert!(!spans.is_complete());
                assert_eq!(
                    spans.add(Run { start, end }, more),
                    Ok(()),
                    "{order:?} {step}"
                );
            }
            assert!(spans.is_complete(), "{order:?}");
        }
    }

    #[test]
    fn runs_are_bounded() {
        let apart = |count: u16| {
            (0..count)
                .map(|n| (16 * n, 16 * n + 8, true))
                .collect::<Vec<_>>()
        };
        assert_eq!(account(&apart(8)).1, Ok(()));
        assert_eq!(account(&apart(9)).1, Err(Contradiction));
        let filled = [apart(8), vec![(8, 16, true), (200, 208, true)]].concat();
        assert_eq!(account(&filled).1, Ok(()));
    }
}
