//! DEL: how does a pod give its interface back, whoever is there to take it?
//!
//! A runtime may not retry a DEL that fails, and a pod whose DEL fails never goes away. So a
//! daemon that is not there, or too slow, is left a note ([`Tombstones`]) and the DEL succeeds.
//! The namespace is not looked at: it may be gone, and the interface goes with it.

use std::time::Duration;

use super::ask::{ask, explain, failed, undecided};
use crate::call::{Call, Verb};
use crate::daemon::{self, Detach, Detached, Identity};
use crate::deadline::Deadline;
use crate::ipam::Delegate;
use crate::spec::{CniError, Code};
use crate::tombstone::Tombstones;

/// Both sides are told even if one fails; the interface's first, so that its address is out of
/// use before it is free.
pub(super) fn del(call: &Call<'_>, identity: &Identity, limit: Duration) -> Result<(), CniError> {
    let detached = detach(call, identity, Deadline::after(limit));
    let delegate = Delegate::of(call);
    let released = match &delegate {
        Ok(Some(delegate)) => delegate.pass(Verb::Del, Deadline::after(limit)),
        Ok(None) => Ok(()),
        Err(error) => Err(error.clone()),
    };
    detached.and(released)
}

/// Tells the daemon, or leaves it a note.
pub(super) fn detach(
    call: &Call<'_>,
    identity: &Identity,
    deadline: Deadline,
) -> Result<(), CniError> {
    let question = daemon::Call::Detach(Detach {
        container_id: identity.container_id.clone(),
        ifname: identity.ifname.clone(),
    });
    let Err(error) = ask::<Detached>(call, question, &[], deadline) else {
        return Ok(());
    };
    if !undecided(&error) {
        return Err(failed("detach the pod", &error));
    }
    let noted = Tombstones::open(call.config.state_dir())
        .and_then(|tombstones| tombstones.note(identity, &call.network));
    noted.map_err(|unnoted| {
        let msg = "cannot detach the pod, nor note that for the daemon";
        let why = explain(&error);
        CniError::new(Code::IO, msg, format!("{why}; and {unnoted}"))
    })
}
