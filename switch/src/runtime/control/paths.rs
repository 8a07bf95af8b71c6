//! How large a packet does the way to each peer carry?
//!
//! Asks the kernel, which knows the MTU of the interface and what routers between the nodes have
//! said (RFC 1191, RFC 8201), and keeps the peers' MTUs in step. Asked when a worker's datagram was
//! too long, every second while a way is narrower than the node's own MTU, and with every look.
//! Pods hear the new MTU from the road; a wider way they find when they try again, as on any path.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use weft_encap::{Mtu, Underlay, pod_mtu};
use weft_policy::Span;
use weft_sys::udp;

use super::Control;
use crate::cluster::PeerNode;

/// Between two questions while a way is narrow.
const INTERVAL: Span = Span::from_secs(1);
/// The subject of what is wrong here.
const SUBJECT: &str = "path-mtu";

impl Control {
    /// Looks at the ways to all peers, and publishes what has changed.
    pub(super) fn follow_paths(&mut self) {
        let begun = self.now();
        let (narrow, too_narrow) = self.narrow_paths();
        if narrow != self.facts.narrow {
            for (vtep, mtu) in &narrow {
                if self.facts.narrow.get(vtep) != Some(mtu) {
                    tracing::info!(%vtep, mtu, "pods' packets to this peer may have so many bytes");
                }
            }
            for vtep in self.facts.narrow.keys() {
                if !narrow.contains_key(vtep) {
                    tracing::info!(%vtep, "the way to this peer carries what pods send again");
                }
            }
            self.facts.narrow = narrow;
            self.publish_change(begun);
        }
        match too_narrow {
            None => {
                self.problems.remove(SUBJECT);
            }
            Some((name, mtu)) => self.problem(
                SUBJECT,
                format!("the path MTU to {name}, {mtu} bytes, leaves pods less than IP needs"),
                "raise the MTU of the links between the nodes",
            ),
        }
        self.next_path = if self.facts.narrow.is_empty() {
            self.next_look
        } else {
            self.now() + INTERVAL
        };
    }

    /// What fits the ways that carry less than pods send, and a peer to whom IP itself does not.
    fn narrow_paths(&self) -> (BTreeMap<IpAddr, u16>, Option<(String, u32)>) {
        let (mut narrow, mut too_narrow) = (BTreeMap::new(), None);
        for peer in &self.cluster.desired().peers {
            let to = SocketAddr::new(peer.vtep, self.facts.vxlan_port);
            // Without a route there is nothing to send by either.
            let Ok(mtu) = udp::path_mtu(self.facts.vtep, to) else {
                continue;
            };
            let least = least(peer);
            let room = pod_mtu(
                u16::try_from(mtu).unwrap_or(u16::MAX),
                Underlay::of(peer.vtep),
            );
            let room = room.filter(|room| *room >= least).unwrap_or_else(|| {
                too_narrow = Some((peer.name.clone(), mtu));
                least
            });
            if room.get() < self.facts.pod_mtu {
                narrow.insert(peer.vtep, room.get());
            }
        }
        (narrow, too_narrow)
    }
}

/// What a link to a peer's pods must carry.
fn least(peer: &PeerNode) -> Mtu {
    if peer.pod_cidrs.iter().any(ipnetwork::IpNetwork::is_ipv6) {
        Mtu::MIN_IPV6
    } else {
        Mtu::MIN
    }
}
