//! Where are the two ways of carrying a super-frame compared?
//!
//! Owns namespaces without a name, which go with the process, the links between them, and what a
//! link leaves undone. Everything is set before a measurement, nothing during one.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weft_sys::netlink::addr::{self, Address};
use weft_sys::netlink::neigh::{self, Neighbor};
use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;
use weft_sys::tap::{self, TapConfig, TapQueue};
use weft_sys::{ethtool, sysctl};
use weft_wire::Mac;

/// The sender of a link.
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The receiver of a link.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Nobody at all: the receiver's stack drops what is sent here because of its MAC.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const NOBODYS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Both ends of every link.
pub(crate) const LINK: &str = "under";

/// What a link does to super-frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Underlay {
    /// Passes them whole, as between containers of one host.
    Passes,
    /// Cuts them where they are sent and leaves checksums to a driver that does not exist.
    Cuts,
    /// Cuts them, completes checksums, and merges where they arrive: as between two cards.
    Wire,
}

impl Underlay {
    pub(crate) const ALL: [Self; 3] = [Self::Passes, Self::Cuts, Self::Wire];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Passes => "super-frames pass",
            Self::Cuts => "cut, checksums by the card",
            Self::Wire => "cut, checksums by the kernel",
        }
    }
}

/// A namespace and its configuration.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) netns: Netns,
    pub(crate) netlink: Netlink,
}

impl Space {
    pub(crate) fn new() -> Result<Self> {
        let netns = Netns::anonymous()?;
        let mut netlink = Netlink::open_in(&netns)?;
        let lo = link::index_of(&mut netlink, "lo")?;
        link::set_up(&mut netlink, lo)?;
        // Nothing but what is measured is to be sent.
        netns.run(|| sysctl::set("net/ipv6/conf/default/disable_ipv6", "1"))??;
        Ok(Self { netns, netlink })
    }

    /// Brings an interface up, with an address if there is one; its MAC.
    pub(crate) fn set_up(&mut self, name: &str, ip: Option<Ipv4Addr>) -> Result<[u8; 6]> {
        let held = link::get(&mut self.netlink, name)?.context("no such interface")?;
        if let Some(ip) = ip {
            let address = Address::new(held.index, ip.into(), 24);
            addr::ensure(&mut self.netlink, &address)?;
        }
        link::set_up(&mut self.netlink, held.index)?;
        held.mac.context("an interface without a MAC")
    }

    pub(crate) fn neighbour(&mut self, name: &str, ip: Ipv4Addr, mac: [u8; 6]) -> Result<()> {
        let index = link::index_of(&mut self.netlink, name)?;
        let ip = IpAddr::V4(ip);
        let neighbour = Neighbor { index, ip, mac };
        Ok(neigh::ensure(&mut self.netlink, &neighbour)?)
    }

    /// A TAP with offloads and one queue, up.
    pub(crate) fn tap(&mut self, name: &str, ip: Option<Ipv4Addr>) -> Result<TapQueue> {
        let open = || tap::open(Some(name), TapConfig::multi_queue(1));
        let opened = self.netns.run(open)?;
        let queue = opened?.pop().context("one queue")?;
        self.set_up(name, ip)?;
        Ok(queue)
    }

    /// Lets the kernel route what arrives at `from` as if it came from elsewhere; the MAC to send
    /// it to.
    pub(crate) fn route_from(&mut self, from: &str) -> Result<Mac> {
        let knobs = [
            ("ip_forward".to_owned(), "1"),
            (format!("conf/{from}/accept_local"), "1"),
            (format!("conf/{from}/rp_filter"), "0"),
            ("conf/all/rp_filter".to_owned(), "0"),
        ];
        self.netns.run(|| -> Result<()> {
            for (knob, value) in knobs {
                sysctl::set(&format!("net/ipv4/{knob}"), value)?;
            }
            Ok(())
        })??;
        Ok(Mac::new(self.set_up(from, None)?))
    }

    /// Diverts IPv4 that arrives at `from` and matches, to be sent by `to`, with tc(8).
    pub(crate) fn divert(&self, from: &str, matching: &str, to: &str) -> Result<()> {
        let filter = format!(
            "filter add dev {from} ingress protocol ip u32 {matching} \
             action mirred egress redirect dev {to}"
        );
        for arguments in [format!("qdisc add dev {from} clsact"), filter] {
            let mut tc = Command::new("tc");
            tc.args(arguments.split_whitespace());
            let ended = self.netns.spawn(tc).context("start tc(8)")?.wait()?;
            ensure!(ended.success(), "tc {arguments}: {ended}");
        }
        Ok(())
    }
}

/// Two namespaces, joined.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) near: Space,
    pub(crate) far: Space,
    pub(crate) near_mac: Mac,
    far_mac: Mac,
}

impl Link {
    pub(crate) fn new() -> Result<Self> {
        let (mut near, mut far) = (Space::new()?, Space::new()?);
        let into = Some(far.netns.as_fd());
        link::add_veth(&mut near.netlink, LINK, LINK, into)?;
        let near_mac = near.set_up(LINK, Some(NEAR))?;
        let far_mac = far.set_up(LINK, Some(FAR))?;
        near.neighbour(LINK, FAR, far_mac)?;
        near.neighbour(LINK, NOBODY, NOBODYS_MAC)?;
        far.neighbour(LINK, NEAR, near_mac)?;
        Ok(Self {
            near,
            far,
            near_mac: Mac::new(near_mac),
            far_mac: Mac::new(far_mac),
        })
    }

    /// The MAC that is known of `to`.
    pub(crate) fn mac_of(&self, to: Ipv4Addr) -> Mac {
        match to {
            NOBODY => Mac::new(NOBODYS_MAC),
            _ => self.far_mac,
        }
    }

    /// Sets what the link does; `merges` whether the receiver may merge.
    pub(crate) fn set(&self, underlay: Underlay, merges: bool) -> Result<()> {
        const SEGMENTATION: [&str; 6] = [
            "tx-tcp-segmentation",
            "tx-tcp6-segmentation",
            "tx-tcp-ecn-segmentation",
            "tx-udp-segmentation",
            "tx-udp_tnl-segmentation",
            "tx-udp_tnl-csum-segmentation",
        ];
        const CHECKSUMS: &str = "tx-checksum-ip-generic";
        self.near.netns.run(|| -> Result<()> {
            // Segmentation needs checksums: on before it, off after it.
            ethtool::set_feature(LINK, CHECKSUMS, true)?;
            for feature in SEGMENTATION {
                ethtool::set_feature(LINK, feature, underlay == Underlay::Passes)?;
            }
            let completes = underlay == Underlay::Wire;
            Ok(ethtool::set_feature(LINK, CHECKSUMS, !completes)?)
        })??;
        let gro = merges && underlay != Underlay::Passes;
        let merge = || ethtool::set_feature(LINK, "rx-gro", gro);
        Ok(self.far.netns.run(merge)??)
    }
}
