//! How does the underlay of one node get slow and lossy where the kernel cannot do it?
//!
//! Owns `lab netem`: the node's link is taken off the fabric's bridge and a relay process carries
//! frames between the two, later or not at all. Removing the relay puts the link back. The relay's
//! loop is `relay_loop`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use weft_sys::netlink::{Netlink, link};
use weft_sys::netns::Netns;

use super::error::{LabError, LabResult};
use super::fabric::BRIDGE;
use super::helper;
use super::name::FABRIC;
use super::plan::{Node, Plan};
use super::procs::{self, ProcessId};
use super::record::{Folder, Record};
use super::time::Interrupt;

/// One million: losses are counted in parts of it.
pub(crate) const PPM: u32 = 1_000_000;

/// Faults of one node's underlay, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Added to each frame, microseconds; frames keep their order.
    pub(crate) delay_us: u64,
    /// Frames lost of a million.
    pub(crate) loss_ppm: u32,
    /// The same seed loses the same frames of a sequence.
    pub(crate) seed: u64,
}

/// A relay that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Netem {
    pub(crate) faults: Faults,
    pub(crate) process: ProcessId,
}

/// Sets the faults of a node in place of earlier ones.
pub(crate) fn set(
    record: &mut Record,
    node: &str,
    faults: Faults,
    interrupt: &Interrupt,
) -> LabResult<()> {
    clear(record, node)?;
    let netem = start(
        &record.plan,
        node_of(&record.plan, node)?,
        faults,
        interrupt,
    );
    match netem {
        Ok(netem) => {
            record.netem.insert(node.to_owned(), netem);
            record.save()
        }
        Err(error) => {
            attach_link(&record.plan, node)?;
            Err(error)
        }
    }
}

/// Removes the faults of a node; answers whether there were any.
pub(crate) fn clear(record: &mut Record, node: &str) -> LabResult<bool> {
    let had = record.netem.remove(node);
    if let Some(netem) = had {
        end(&netem)?;
    }
    attach_link(&record.plan, node)?;
    record.save()?;
    Ok(had.is_some())
}

/// Ends a relay's process.
pub(crate) fn end(netem: &Netem) -> LabResult<()> {
    netem.process.end()
}

/// Starts relays that died, whose nodes are cut off until then; answers how many.
pub(crate) fn heal(plan: &Plan, record: &mut Record, interrupt: &Interrupt) -> LabResult<usize> {
    let dead: Vec<(String, Faults)> = record
        .netem
        .iter()
        .filter(|(_, netem)| !netem.process.is_alive())
        .map(|(name, netem)| (name.clone(), netem.faults))
        .collect();
    let count = dead.len();
    for (name, faults) in dead {
        let Some(node) = plan.node(&name) else {
            record.netem.remove(&name);
            continue;
        };
        let netem = start(plan, node, faults, interrupt)?;
        record.netem.insert(name, netem);
    }
    Ok(count)
}

fn node_of<'p>(plan: &'p Plan, name: &str) -> LabResult<&'p Node> {
    plan.node(name).ok_or_else(|| {
        let names: Vec<&str> = plan.nodes.iter().map(|n| n.name.as_str()).collect();
        LabError::usage(
            format!("there is no node {name} in lab {}", plan.name),
            format!("use one of {}", names.join(", ")),
        )
    })
}

fn start(plan: &Plan, node: &Node, faults: Faults, interrupt: &Interrupt) -> LabResult<Netem> {
    let fabric = Netns::open(plan.name.netns(FABRIC))?;
    let folder = Folder::of(&plan.name);
    let log = folder.log(&format!("relay-{}", node.name));
    let mut command = procs::weft()?;
    command.args(["lab", "relay", "--state"]).arg(folder.path());
    for (flag, value) in [
        ("--link", node.member.number.to_string()),
        ("--mtu", plan.underlay.mtu.to_string()),
        ("--delay-us", faults.delay_us.to_string()),
        ("--loss-ppm", faults.loss_ppm.to_string()),
        ("--seed", faults.seed.to_string()),
    ] {
        command.args([flag, &value]);
    }
    let what = format!("the relay of {}", node.name);
    let process = helper::start(&what, command, Some(&fabric), &log, interrupt)?;
    Ok(Netem { faults, process })
}

/// Puts a node's link on the bridge.
fn attach_link(plan: &Plan, node: &str) -> LabResult<()> {
    let node = node_of(plan, node)?;
    let mut netlink = Netlink::open_in(&Netns::open(plan.name.netns(FABRIC))?)?;
    let master = Some(link::index_of(&mut netlink, BRIDGE)?);
    let port = link::index_of(&mut netlink, &node.member.fabric_link())?;
    Ok(link::change(
        &mut netlink,
        port,
        &link::Change {
            master,
            ..link::Change::default()
        },
    )?)
}

/// Reads `20ms`, `1.5s`, `300us`; a bare number is milliseconds.
pub(crate) fn parse_delay(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a delay such as 20ms, 300us or 1s");
    let (number, factor) = match text {
        _ if text.ends_with("us") => (text.trim_end_matches("us"), 1.0),
        _ if text.ends_with("ms") => (text.trim_end_matches("ms"), 1e3),
        _ if text.ends_with('s') => (text.trim_end_matches('s'), 1e6),
        _ => (text, 1e3),
    };
    let value = number.trim().parse::<f64>().map_err(|_| wrong())? * factor;
    if (0.0..=10e6).contains(&value) {
        Ok(round(value))
    } else {
        Err(format!("\"{text}\" is not between 0 and 10s"))
    }
}

/// Reads `1%`, `0.5%`; a bare number is percent.
pub(crate) fn parse_loss(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches('%').trim();
    let percent: f64 = number
        .parse()
        .map_err(|_| format!("\"{text}\" is not a loss such as 1%"))?;
    if (0.0..=100.0).contains(&percent) {
        Ok(u32::try_from(round(percent * 1e4)).unwrap_or(PPM))
    } else {
        Err(format!("\"{text}\" is not between 0% and 100%"))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers checked that the value is between 0 and ten million"
)]
fn round(value: f64) -> u64 {
    value.round() as u64
}

/// Arguments of the relay process.
#[derive(Debug, clap::Args)]
pub(crate) struct RelayArgs {
    /// Folder of the lab
    #[arg(long)]
    pub(crate) state: std::path::PathBuf,
    /// Number of the member whose link is relayed
    #[arg(long)]
    pub(crate) link: u16,
    /// MTU of the underlay
    #[arg(long)]
    pub(crate) mtu: u32,
    /// Added to each frame, microseconds
    #[arg(long)]
    pub(crate) delay_us: u64,
    /// Frames lost of a million
    #[arg(long)]
    pub(crate) loss_ppm: u32,
    /// Decides which frames are lost
    #[arg(long)]
    pub(crate) seed: u64,
}

impl RelayArgs {
    pub(crate) const fn faults(&self) -> Faults {
        Faults {
            delay_us: self.delay_us,
            loss_ppm: self.loss_ppm,
            seed: self.seed,
        }
    }

    /// The relay's own link on the bridge.
    pub(crate) fn tap(&self) -> String {
        format!("t{}", self.link)
    }

    /// The member's link on the fabric.
    pub(crate) fn port(&self) -> String {
        format!("m{}", self.link)
    }

    /// Whether the lab is still there.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_and_losses() {
        for (text, expected) in [
            ("20ms", 20_000),
            ("20", 20_000),
            ("1.5s", 1_500_000),
            ("300us", 300),
            ("0ms", 0),
        ] {
            assert_eq!(parse_delay(text), Ok(expected), "{text}");
        }
        for text in ["", "ms", "-1ms", "11s", "NaN", "fast"] {
            assert!(parse_delay(text).is_err(), "{text}");
        }
        for (text, expected) in [("1%", 10_000), ("0.5", 5_000), ("100%", PPM), ("0%", 0)] {
            assert_eq!(parse_loss(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "inf"] {
            assert!(parse_loss(text).is_err(), "{text}");
        }
    }
}
