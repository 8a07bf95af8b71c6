//! Why can an address not be given?

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_cni::daemon::Identity;

/// Why [`Ledger::choose`](super::Ledger::choose) finds no address; each says the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Every address of a range is held or resting.
    #[error("{range} has no free address: {used} held, {cooling} resting after use{}; \
        delete pods, or give the node a larger range in node.pod_cidrs", next_free(*.next_free_in))]
    Exhausted {
        /// The range.
        range: IpNetwork,
        /// How many of its addresses attachments hold.
        used: u64,
        /// How many rest.
        cooling: u64,
        /// When the first of those is free again; absent if none rests.
        next_free_in: Option<Duration>,
    },
    /// An asked address has a holder.
    #[error("{ip} is held by interface {} of container {}; \
        ask for another address, or delete that container", .by.ifname, .by.container_id)]
    Taken {
        /// The address.
        ip: IpAddr,
        /// Who holds it.
        by: Identity,
    },
    /// An asked address is in no range of the node.
    #[error("{ip} is not in this node's ranges ({}); ask for an address in one of them", list(.ranges))]
    OutOfRange {
        /// The address.
        ip: IpAddr,
        /// The ranges.
        ranges: Vec<IpNetwork>,
    },
    /// An asked address is kept from pods by configuration.
    #[error(
        "{ip} is reserved on this node; ask for another address, or take it off the reserved ones"
    )]
    Reserved {
        /// The address.
        ip: IpAddr,
    },
    /// An asked address is the node's own, its gateway's or the broadcast address of its range.
    #[error(
        "{ip} is no pod's address: {range} keeps its first two and, in IPv4, its last; \
        ask for another address"
    )]
    NotAPodAddress {
        /// The address.
        ip: IpAddr,
        /// Its range.
        range: IpNetwork,
    },
    /// Two asked addresses are of one family.
    #[error("{first} and {second} are of one family; ask for at most one address of each")]
    SecondOfFamily {
        /// The first of them.
        first: IpAddr,
        /// The second.
        second: IpAddr,
    },
    /// The node has no range at all.
    #[error("this node has no range of pod addresses; set node.pod_cidrs")]
    NoRange,
}

fn next_free(wait: Option<Duration>) -> String {
    // Rounded up, so that the address is free once the seconds have passed.
    wait.map_or_else(String::new, |wait| {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        format!(", the next is free in {seconds} s")
    })
}

fn list(ranges: &[IpNetwork]) -> String {
    let mut text = String::new();
    for (number, range) in ranges.iter().enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{range}");
    }
    text
}

/// Why a record does not apply; the ledger is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// An address of a reservation has another holder.
    #[error("{ip} is held by interface {} of container {}", .by.ifname, .by.container_id)]
    Held {
        /// The address.
        ip: IpAddr,
        /// Who holds it.
        by: Identity,
    },
    /// The attachment exists with other addresses.
    #[error("interface {} of container {} is attached with other addresses; release it first",
        .0.ifname, .0.container_id)]
    Attached(Identity),
}
