//! Who may talk: policy tables, verdicts and connection tracking.
//!
//! | module | answers |
//! |---|---|
//! | [`model`], [`cidr`] | what does a NetworkPolicy say? |
//! | [`cluster`] | which pods, namespaces and policies are there? |
//! | [`engine`] | how do they become a table? |
//! | [`table`] | may this flow pass? |
//! | [`explain`] | why, or why not, for people |
//! | [`oracle`] | may it, by the letter of the specification? |
//! | [`verdict`] | the words of a decision |
//! | [`conntrack`] | has this flow been decided already, and is this packet a reply? |
//! | [`fragments`] | which flow does a later fragment belong to? |
//! | [`tcp_state`] | where does a TCP connection stand? |
//! | [`time`] | when, as an integer |
//!
//! Pure: no I/O and no clock; neither [`Table::decide`] nor [`Conntrack`] blocks
//! or allocates per packet, and both are shared by all workers.

#![forbid(unsafe_code)]

pub mod cidr;
pub mod cluster;
pub mod conntrack;
pub mod engine;
pub mod explain;
pub mod fragments;
pub mod model;
pub mod oracle;
pub mod table;
pub mod tcp_state;
pub mod time;
pub mod verdict;

pub use cidr::Cidr;
pub use cluster::{Change, Cluster};
pub use conntrack::{
    Config, Conntrack, EntryRef, FlowInfo, FlowState, Full, ImportCount, ImportError, Lookup,
    Related, Resumed, Sighting, Stats, Timeouts, UdpState,
};
pub use engine::Engine;
pub use explain::{Explanation, Question, RuleName, explain};
pub use fragments::{FragmentConfig, FragmentError, Fragments, Opening};
pub use table::{Size, Table};
pub use tcp_state::TcpState;
pub use time::{Moment, Span};
pub use verdict::{Direction, Epoch, PolicySetId, RuleId, Verdict};
