//! The words a decision is made of: which way, under which tables, what, and why.

/// Which way a packet goes, as its pod sees it and NetworkPolicy says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Out of the pod.
    Egress,
    /// Into the pod.
    Ingress,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }
}

/// Which publication of the tables: a counter, one more for each, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether this epoch was published after `other`; epochs live at one time
    /// are less than 2³¹ publications apart.
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        ahead != 0 && ahead < 1 << 31
    }
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(pub u32);

impl RuleId {
    /// No policy selects the pod in this direction, so everything is allowed.
    pub const DEFAULT: Self = Self(0);
    /// The highest number a table may give; connection tracking keeps 24 bits.
    pub const MAX: Self = Self(0x00ff_ffff);
}

/// What becomes of a flow in one direction, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may pass.
    Allow(RuleId),
    /// It may not.
    Deny(RuleId),
}

impl Verdict {
    /// Whether the flow may pass.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Which compiled set of policies a pod obeys; pods selected alike share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicySetId(pub u32);

impl PolicySetId {
    /// The set of pods that no policy selects.
    pub const UNSELECTED: Self = Self(0);
    /// The set of pods nothing may reach and that may reach nothing: no policies are known yet.
    pub const CLOSED: Self = Self(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opposite_of_the_opposite_is_itself() {
        for direction in [Direction::Egress, Direction::Ingress] {
            assert_ne!(direction.opposite(), direction);
            assert_eq!(direction.opposite().opposite(), direction);
        }
    }

    #[test]
    fn epochs_order_across_the_wrap() {
        for (earlier, later) in [(0, 1), (7, 900), (u32::MAX, 0), (u32::MAX - 3, 5)] {
            assert!(Epoch(later).is_after(Epoch(earlier)), "{earlier} {later}");
            assert!(!Epoch(earlier).is_after(Epoch(later)), "{earlier} {later}");
        }
        assert!(!Epoch(4).is_after(Epoch(4)));
        assert_eq!(Epoch(u32::MAX).next(), Epoch(0));
    }
}
