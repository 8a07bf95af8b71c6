//! GC: what is left of attachments nobody wants any more?
//!
//! Releases as much as it can and tells every error (CNI specification 1.1.0, section 2): a daemon
//! that is down keeps no delegated plugin from cleaning up.

use std::time::Duration;

use super::ask::{ask, failed};
use crate::call::{Call, Verb};
use crate::daemon::{self, Collected, Gc, Identity};
use crate::deadline::Deadline;
use crate::ipam::Delegate;
use crate::spec::{CniError, Code};

pub(super) fn gc(call: &Call<'_>, limit: Duration) -> Result<(), CniError> {
    let Some(valid) = call.config.valid_attachments() else {
        // Not the same as an empty list, which releases everything.
        let details = "GC needs cni.dev/valid-attachments, which the runtime must pass";
        let msg = "the configuration does not say which attachments are valid";
        return Err(CniError::new(Code::INVALID_CONFIG, msg, details));
    };
    let valid = valid.into_iter().map(|key| Identity {
        container_id: key.container_id,
        ifname: key.ifname,
    });
    let question = daemon::Call::Gc(Gc {
        network: call.network.clone(),
        valid: valid.collect(),
    });
    let collected = ask::<Collected>(call, question, &[], Deadline::after(limit))
        .map_err(|error| failed("collect what is left of attachments", &error));
    let delegated = delegated(call, limit);
    match (collected, delegated) {
        (Err(one), Err(other)) => {
            let details = format!("{}; also: {other}", one.details);
            Err(CniError { details, ..one })
        }
        (collected, delegated) => collected.and(delegated),
    }
}

fn delegated(call: &Call<'_>, limit: Duration) -> Result<(), CniError> {
    match Delegate::of(call)? {
        Some(delegate) => delegate.pass(Verb::Gc, Deadline::after(limit)),
        None => Ok(()),
    }
}
