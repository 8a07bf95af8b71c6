//! How does a pod get its loopback interface?
//!
//! Owns the plugin `loopback`, which runtimes start beside the pod network's: it brings `lo` up in
//! the pod's namespace and says so. It needs no daemon. Whatever `CNI_IFNAME` says, the interface
//! is `lo`.

use std::net::IpAddr;
use std::process::ExitCode;

use ipnetwork::IpNetwork;
use weft_sys::error::SysError;
use weft_sys::netlink::{Netlink, addr, link};
use weft_sys::netns::Netns;

use crate::call::{Call, Operation, Question, Sandbox};
use crate::environment::Environment;
use crate::namespace;
use crate::plugin::Answer;
use crate::spec::{CniError, Code, Interface, IpConfig, Success, Version};
use crate::stdio;

/// The name of the program, and of `type` in a network configuration.
pub const NAME: &str = "loopback";

const LO: &str = "lo";

/// Loopback has no hardware address; this is how the kernel writes that.
const NO_MAC: &str = "00:00:00:00:00:00";

/// Serves the one call this process was started for.
#[must_use]
pub fn main() -> ExitCode {
    stdio::serve(about, answer)
}

fn about() -> String {
    format!(
        "loopback (weft-cni {}): the CNI plugin that brings up a pod's loopback interface.\n\
         CNI versions: {}",
        env!("CARGO_PKG_VERSION"),
        Version::ALL.map(Version::name).join(", "),
    )
}

/// The answer to a call.
///
/// # Errors
/// The error object to write to stdout.
pub fn answer(environment: &Environment, stdin: &[u8]) -> Result<Answer, CniError> {
    let call = match Question::read(environment, stdin)? {
        Question::Version(supported) => return Answer::json(&supported),
        Question::Call(call) => call,
    };
    let outcome = match &call.operation {
        Operation::Add(sandbox) => {
            add(&call, sandbox).and_then(|result| Answer::result(&result, call.version))
        }
        Operation::Check(sandbox) => check(&call, sandbox).map(|()| Answer::Done),
        Operation::Del(_, netns) => del(&call, netns.as_deref()).map(|()| Answer::Done),
        // It keeps nothing and needs nothing.
        Operation::Gc | Operation::Status => Ok(Answer::Done),
    };
    outcome.map_err(|error| error.in_version(call.version))
}

fn failed(what: &str, netns: &str) -> impl FnOnce(SysError) -> CniError {
    let msg = format!("cannot {what} {LO} in {netns}");
    move |error| CniError::new(Code::IO, msg, error)
}

fn set(netns: &Netns, up: bool) -> Result<(), SysError> {
    let mut netlink = Netlink::open_in(netns)?;
    let index = link::index_of(&mut netlink, LO)?;
    let change = link::Change {
        up: Some(up),
        ..link::Change::default()
    };
    link::change(&mut netlink, index, &change)
}

/// The addresses the kernel gave it on coming up.
fn addresses(netns: &Netns) -> Result<Vec<addr::Address>, SysError> {
    let mut netlink = Netlink::open_in(netns)?;
    let index = link::index_of(&mut netlink, LO)?;
    addr::list(&mut netlink, Some(index))
}

/// What the plugins before this one did is passed on as it is: nothing of it is changed.
fn add(call: &Call<'_>, sandbox: &Sandbox) -> Result<Success, CniError> {
    let path = &sandbox.netns;
    let netns = namespace::open(path, call.environment)?;
    set(&netns, true).map_err(failed("bring up", path))?;
    if !call.config.prev_result.is_null() {
        let previous = Success::read(call.config.prev_result.clone());
        return previous
            .map_err(|error| CniError::new(Code::DECODE, "cannot read prevResult", error));
    }
    let addresses = addresses(&netns).map_err(failed("list addresses of", path))?;
    let ip = |address: &addr::Address| {
        Some(IpConfig {
            interface: Some(0),
            address: IpNetwork::new(address.ip, address.prefix_len).ok()?,
            gateway: None,
        })
    };
    Ok(Success {
        interfaces: vec![Interface {
            name: LO.to_owned(),
            mac: Some(NO_MAC.to_owned()),
            sandbox: Some(path.clone()),
            ..Interface::default()
        }],
        ips: addresses.iter().filter_map(ip).collect(),
        ..Success::default()
    })
}

fn check(call: &Call<'_>, sandbox: &Sandbox) -> Result<(), CniError> {
    let path = &sandbox.netns;
    let netns = namespace::open(path, call.environment)?;
    let look = || link::get(&mut Netlink::open_in(&netns)?, LO);
    let lo = look().map_err(failed("look at", path))?;
    let mismatch = |details: &str| {
        let msg = format!("{LO} in {path} is not as it was made");
        Err(CniError::new(Code::MISMATCH, msg, details))
    };
    if !lo.is_some_and(|lo| lo.up) {
        return mismatch("it is down; `ip link set lo up` there brings it up");
    }
    let addresses = addresses(&netns).map_err(failed("list addresses of", path))?;
    let local = |ip: IpAddr| ip.is_ipv4() && ip.is_loopback();
    if addresses.iter().any(|address| local(address.ip)) {
        return Ok(());
    }
    mismatch("127.0.0.1 is missing")
}

/// A namespace that is gone took its loopback along.
fn del(call: &Call<'_>, netns: Option<&str>) -> Result<(), CniError> {
    let Some(path) = netns.filter(|path| std::path::Path::new(path).exists()) else {
        return Ok(());
    };
    let netns = namespace::open(path, call.environment)?;
    match set(&netns, false) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map_err(failed("bring down", path)),
    }
}
