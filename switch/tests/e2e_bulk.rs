//! Does a large transfer stay whole where one end is the Linux kernel's VXLAN?
//!
//! The kernel joins and cuts by rules of its own: what it sends arrives in runs that weft merges,
//! and what weft cuts must be what it takes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::net::TcpStream;

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::bulk;
use common::host::{Family, Host};
use common::lab::{Lab, Spec};
use common::privileged;

/// Each way and family: `WEFT_BULK_MB`, or few.
fn megabytes() -> u64 {
    let asked = std::env::var("WEFT_BULK_MB").ok();
    asked.map_or(32, |text| text.parse().unwrap())
}

fn whole(from: &Host, to: &Host, family: Family) {
    let listener = to.listen(family);
    let at = listener.local_addr().unwrap();
    let client = from.run(|| TcpStream::connect(at).unwrap());
    let (server, _) = listener.accept().unwrap();
    bulk::both_ways(&client, &server, megabytes(), |_| {});
}

#[test]
fn transfers_with_a_kernel_peer_stay_whole() {
    if !privileged("transfers_with_a_kernel_peer_stay_whole") {
        return;
    }
    for underlay in Family::BOTH {
        let lab = Lab::up(&Spec {
            tag: "bulk",
            underlay,
        });
        let pod = |name: &str| lab.pods.iter().find(|pod| pod.name == name).unwrap();
        for family in Family::BOTH {
            whole(pod("a1"), pod("k1"), family);
            whole(pod("k2"), pod("b2"), family);
        }
    }
}
