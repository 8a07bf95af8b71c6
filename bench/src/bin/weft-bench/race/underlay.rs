//! Does the link between the nodes pass super-frames, or only packets of its MTU?
//!
//! A veth pair passes whatever it is given, which no wire does. With its segmentation and checksum
//! offloads off the kernel cuts super-frames and completes checksums before they are sent, and with
//! GRO on the receiver merges again, as a network card's driver does. Both sides of a race get the
//! same.

use anyhow::{Context as _, Result};
use weft_sys::ethtool;

use super::Underlay;
use super::sides::Side;

/// Features that leave work to a driver which a veth never does, in the order in which they can be
/// switched off: each before what it needs. The kernel refuses segmentation without checksums, and
/// that of ECN without any other of TCP (`netdev_fix_features`).
const LEFT_TO_A_DRIVER: [&str; 7] = [
    "tx-udp_tnl-csum-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp6-segmentation",
    "tx-tcp-segmentation",
    "tx-checksum-ip-generic",
];
const MERGES: &str = "rx-gro";

/// Sets the links of a side.
pub(super) fn set(side: &Side, underlay: Underlay) -> Result<()> {
    let passes = underlay == Underlay::PassThrough;
    for (netns, interface) in side.links()? {
        let change = || -> Result<()> {
            let mut features = LEFT_TO_A_DRIVER;
            if passes {
                features.reverse();
            }
            for feature in features {
                ethtool::set_feature(&interface, feature, passes)?;
            }
            Ok(ethtool::set_feature(&interface, MERGES, !passes)?)
        };
        let changed = netns.run(change)?;
        changed
            .with_context(|| format!("cannot make {interface} a link of {}", underlay.name()))?;
    }
    Ok(())
}
