//! Who may talk: policy tables, verdicts and connection tracking.
//!
//! | module | answers |
//! |---|---|
//! | [`table`] | may this flow pass? |
//! | [`verdict`] | the words of a decision |
//! | [`conntrack`] | has this flow been decided already, and is this packet a reply? |
//! | [`tcp_state`] | where does a TCP connection stand? |
//! | [`time`] | when, as an integer |
//!
//! Pure: no I/O and no clock; neither [`Table::decide`] nor [`Conntrack`] blocks
//! or allocates per packet, and both are shared by all workers.

#![forbid(unsafe_code)]

pub mod conntrack;
pub mod table;
pub mod tcp_state;
pub mod time;
pub mod verdict;

pub use conntrack::{
    Config, Conntrack, EntryRef, FlowInfo, FlowState, Full, Lookup, Related, Sighting, Stats,
    Timeouts,
};
pub use table::Table;
pub use tcp_state::TcpState;
pub use time::{Moment, Span};
pub use verdict::{Direction, Epoch, PolicySetId, RuleId, Verdict};
