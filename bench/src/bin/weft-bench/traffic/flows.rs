//! Did numbered datagrams stay in order, flow by flow?

use std::collections::HashMap;

/// The numbers seen, by source port. Each flow counts up from 0.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<u16, Numbers>,
    overtaken: u64,
}

/// The numbers of one flow.
#[derive(Debug, Default)]
struct Numbers {
    /// One more than the highest.
    next: u64,
    /// How many came.
    seen: u64,
}

impl Flows {
    /// The next datagram that arrived.
    pub(super) fn take(&mut self, port: u16, number: u32) {
        let number = u64::from(number);
        let flow = self.flows.entry(port).or_default();
        flow.seen += 1;
        if number < flow.next {
            self.overtaken += 1;
        } else {
            flow.next = number + 1;
        }
    }

    /// Datagrams that came after a higher number of their flow, or a second time.
    pub(super) const fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// Numbers below the highest of each flow that nobody brought, unless others came twice.
    pub(super) fn missing(&self) -> u64 {
        let missing = |flow: &Numbers| flow.next.saturating_sub(flow.seen);
        self.flows.values().map(missing).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[(u16, u32)]) -> (u64, u64) {
        let mut flows = Flows::default();
        for (port, number) in numbers {
            flows.take(*port, *number);
        }
        (flows.overtaken(), flows.missing())
    }

    #[test]
    fn order_is_each_flows_own() {
        assert_eq!(seen(&[(1, 0), (1, 1), (2, 0), (1, 2), (2, 1)]), (0, 0));
        assert_eq!(seen(&[(1, 5), (2, 0)]), (0, 5));
    }

    #[test]
    fn one_that_is_overtaken_counts_once_and_is_not_missing() {
        assert_eq!(seen(&[(1, 0), (1, 2), (1, 1), (1, 3)]), (1, 0));
        // One that overtook three leaves three behind it.
        assert_eq!(seen(&[(1, 3), (1, 0), (1, 1), (1, 2)]), (3, 0));
        assert_eq!(seen(&[(1, 0), (1, 0)]), (1, 0));
    }

    #[test]
    fn gaps_are_missing_until_they_are_filled() {
        assert_eq!(seen(&[(1, 0), (1, 4)]), (0, 3));
        assert_eq!(seen(&[(1, 0), (1, 4), (1, 2)]), (1, 2));
        assert_eq!(seen(&[(1, u32::MAX)]), (0, u64::from(u32::MAX)));
    }
}
