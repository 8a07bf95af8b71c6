//! What can weft do, shown in half a minute with real packets?
//!
//! Owns the story of `lab demo`: a small dual-stack lab, one line per promise with ✓ or ✗ and a
//! number, and nothing left behind.

use std::path::Path;

use super::down;
use super::error::{LabError, LabResult};
use super::file::LabFile;
use super::manifest;
use super::name::LabName;
use super::plan::Plan;
use super::record::Lock;
use super::time::{Interrupt, Stopwatch};
use super::up;
use crate::text::say;

mod policy;
mod story;

const LAB: &str = include_str!("lab.yaml");
const PODS: &str = include_str!("pods.yaml");

/// Shows everything; answers whether all of it held.
pub(crate) fn run(name: &str, keep: bool) -> LabResult<bool> {
    let name = LabName::new(name)
        .map_err(|message| LabError::usage(message, "choose a name such as demo"))?;
    up::check_host()?;
    if down::exists(&name)? {
        return Err(taken(&name));
    }
    let interrupt = Interrupt::install()?;
    let watch = Stopwatch::start();
    let file = Path::new("demo/lab.yaml");
    let plan = plan(&name)?;
    let done = up::up(&name, file, false, &interrupt, |before| {
        if before.is_some() {
            Err(taken(&name))
        } else {
            Ok(plan)
        }
    })?;
    let size = format!(
        "{} nodes, {} pods and an outside host are up",
        done.record.plan.nodes.len(),
        done.record.plan.pods.len()
    );
    story::line(
        true,
        &size,
        &format!("{:.1} s", watch.elapsed().as_secs_f64()),
    );
    let held = story::tell(&done.record.plan, &interrupt);
    if keep && !matches!(held, Err(LabError::Interrupted)) {
        say(&format!(
            "\nthe lab stays up; next: weft lab status --lab {name}, weft lab down {name}\n"
        ));
        return held;
    }
    let removed = Lock::hold(&name, || down::sweep(&name))?;
    let what = format!(
        "{} processes and {} namespaces are gone again",
        removed.processes, removed.namespaces
    );
    story::line(
        true,
        &what,
        &format!("{:.1} s in all", watch.elapsed().as_secs_f64()),
    );
    held
}

fn taken(name: &LabName) -> LabError {
    LabError::usage(
        format!("lab {name} is up already"),
        format!("weft lab down {name}, or weft lab demo --name other"),
    )
}

/// The demo's lab under the name asked for.
fn plan(name: &LabName) -> LabResult<Plan> {
    let mut file = LabFile::parse(Path::new("demo/lab.yaml"), LAB)?;
    file.name = name.clone();
    Plan::new(
        &file,
        &manifest::parse(Path::new("demo/pods.yaml"), PODS)?,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_a_lab() {
        let plan = plan(&LabName::new("demo").unwrap()).unwrap();
        assert_eq!((plan.nodes.len(), plan.pods.len()), (3, 6));
        assert!(plan.pods.iter().all(|pod| pod.addresses.len() == 2));
    }
}
