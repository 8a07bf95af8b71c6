//! The road, frame by frame: a literal situation in, a fate, counters and bytes out.
//!
//! Every frame goes through [`world::World::send`], which besides the case's own
//! expectation checks what must hold for all: one fate and one counter per frame, no buffer
//! lost, right MACs, right checksums, a well-formed tunnel.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]
#![expect(clippy::too_many_lines, reason = "tables of cases")]

mod bandwidth;
mod cluster;
mod deliveries;
mod drops;
mod errors;
mod flow_cache;
mod fragments;
mod gateway;
mod offloads;
mod oracle;
mod pieces;
mod policies;
mod related;
mod restart;
mod sweeps;
mod traces;
mod world;
