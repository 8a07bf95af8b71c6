//! Which lab does a command mean when it names none, and which daemon by a lab's and a node's name?

use std::path::{Path, PathBuf};

use super::down;
use super::error::{LabError, LabResult};
use super::file::{LabFile, NodeKind};
use super::name::LabName;
use super::record::{self, Record};
use crate::api;

/// The lab named, else that of ./lab.yaml if it is up, else the only one there is.
pub(crate) fn lab(named: Option<&str>) -> LabResult<LabName> {
    if let Some(name) = named {
        return LabName::new(name).map_err(|message| {
            LabError::usage(message, "weft lab status lists the labs there are")
        });
    }
    let labs = record::labs();
    let here = LabFile::read(Path::new("lab.yaml"))
        .ok()
        .map(|file| file.name);
    if let Some(name) = here.filter(|name| labs.contains(name)) {
        return Ok(name);
    }
    match labs.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(LabError::usage(
            "no lab is up",
            "weft lab up -f lab.yaml, or weft lab demo --keep",
        )),
        several => {
            let names: Vec<&str> = several.iter().map(LabName::as_str).collect();
            Err(LabError::usage(
                format!("several labs are up: {}", names.join(", ")),
                "name one with --lab",
            ))
        }
    }
}

/// The notes of a lab that is up.
pub(crate) fn record(named: Option<&str>) -> LabResult<Record> {
    let name = lab(named)?;
    if let Some(record) = Record::load(&name)? {
        return Ok(record);
    }
    if down::exists(&name)? {
        return Err(LabError::failed(
            format!("lab {name} has lost its notes"),
            format!("weft lab down {name}, then weft lab up"),
        ));
    }
    let labs: Vec<String> = record::labs().iter().map(ToString::to_string).collect();
    let there = if labs.is_empty() {
        "no lab is".to_owned()
    } else {
        format!("up: {}", labs.join(", "))
    };
    Err(LabError::usage(
        format!("lab {name} is not up; {there}"),
        "weft lab up -f lab.yaml",
    ))
}

/// The control socket of a node's daemon.
pub(crate) fn socket_of(lab: &str, node: &str) -> LabResult<PathBuf> {
    let plan = record(Some(lab))?.plan;
    let daemons = plan.nodes_of(NodeKind::Weft).map(|node| node.name.as_str());
    let daemons: Vec<&str> = daemons.collect();
    if daemons.contains(&node) {
        return Ok(api::lab_socket(lab, node));
    }
    let message = match plan.node(node) {
        Some(_) => format!("node {node} of lab {lab} is a kernel node, which runs no daemon"),
        None => format!("there is no node {node} in lab {lab}"),
    };
    let next = match daemons.as_slice() {
        [] => "none of its nodes runs one".to_owned(),
        names => format!("--node {}", names.join(", or --node ")),
    };
    Err(LabError::usage(message, next))
}
