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

/// Features that leave work to a driver which a veth never does.
const LEFT_TO_A_DRIVER: [&str; 7] = [
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-checksum-ip-generic",
];
const MERGES: &str = "rx-gro";

/// Sets the links of a side.
pub(super) fn set(side: &Side, underlay: Underlay) -> Result<()> {
    let passes = underlay == Underlay::PassThrough;
    for (netns, interface) in side.links()? {
        let change = || -> Result<()> {
            // Checksums go last when switched off and first when switched on: segmentation needs
            // them.
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
