//! CHECK: is the pod's interface still what the runtime was told?
//!
//! What the runtime was told is in `prevResult`; what is, the daemon compares.

use std::os::fd::AsFd as _;
use std::time::Duration;

use super::ask::{ask, failed};
use crate::call::{Call, Sandbox, Verb};
use crate::daemon::{self, Check, Checked};
use crate::deadline::Deadline;
use crate::ipam::Delegate;
use crate::namespace;
use crate::spec::{CniError, Code, Success};

pub(super) fn check(call: &Call<'_>, sandbox: &Sandbox, limit: Duration) -> Result<(), CniError> {
    let deadline = Deadline::after(limit);
    let question = told(call, sandbox)?;
    let netns = namespace::open(&sandbox.netns, call.environment)?;
    if let Some(delegate) = Delegate::of(call)? {
        delegate.pass(Verb::Check, deadline)?;
    }
    let question = daemon::Call::Check(question);
    ask::<Checked>(call, question, &[netns.as_fd()], deadline)
        .map(|_| ())
        .map_err(|error| failed("vouch for the pod's interface", &error))
}

/// Our part of the runtime's record.
fn told(call: &Call<'_>, sandbox: &Sandbox) -> Result<Check, CniError> {
    let json = &call.config.prev_result;
    if json.is_null() {
        let details = "CHECK compares with prevResult, which the runtime must pass";
        return Err(CniError::new(
            Code::INVALID_CONFIG,
            "the configuration has no prevResult",
            details,
        ));
    }
    let result = Success::read(json.clone())
        .map_err(|error| CniError::new(Code::DECODE, "cannot read prevResult", error))?;
    let ifname = &sandbox.identity.ifname;
    let ours = result.interfaces.iter().position(|interface| {
        let sandboxed = interface.sandbox.as_deref() == Some(sandbox.netns.as_str());
        sandboxed && interface.name == *ifname
    });
    let Some(index) = ours else {
        let netns = &sandbox.netns;
        let msg = format!("prevResult has no interface {ifname} in {netns}");
        let details = "ADD said there is one; delete the pod's sandbox and make it anew";
        return Err(CniError::new(Code::MISMATCH, msg, details));
    };
    let interface = result.interfaces.get(index);
    let ips = result.ips.iter();
    Ok(Check {
        container_id: sandbox.identity.container_id.clone(),
        ifname: ifname.clone(),
        ips: ips
            .filter(|ip| ip.interface == Some(index))
            .map(|ip| ip.address)
            .collect(),
        mac: interface.and_then(|interface| interface.mac.clone()),
        mtu: interface
            .and_then(|interface| interface.mtu)
            .and_then(|mtu| u16::try_from(mtu).ok()),
    })
}
