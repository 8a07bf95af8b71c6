//! STATUS: would an ADD be served now?
//!
//! Kubernetes shows the answer as the condition of the node, so it is a sentence for an operator:
//! what is wrong, and what to do. 50 says that pods cannot be attached, 51 that attached ones may
//! be cut off as well.

use std::time::Duration;

use super::ask::{ask, explain};
use crate::call::{Call, Verb};
use crate::daemon::codec::CodecError;
use crate::daemon::{self, ClientError, Readiness};
use crate::deadline::Deadline;
use crate::ipam::Delegate;
use crate::spec::{CniError, Code};

pub(super) fn status(call: &Call<'_>, limit: Duration) -> Result<(), CniError> {
    let deadline = Deadline::after(limit);
    match ask::<Readiness>(call, daemon::Call::Ready, &[], deadline) {
        Ok(readiness) => judge(readiness)?,
        Err(error) => return Err(unheard(&error)),
    }
    match Delegate::of(call)? {
        Some(delegate) => delegate.pass(Verb::Status, deadline),
        None => Ok(()),
    }
}

fn judge(readiness: Readiness) -> Result<(), CniError> {
    if readiness.ready {
        return Ok(());
    }
    let code = if readiness.impaired {
        Code::LIMITED_CONNECTIVITY
    } else {
        Code::NOT_AVAILABLE
    };
    let why = match readiness.why {
        why if why.is_empty() => "it does not say why".to_owned(),
        why => why,
    };
    let next = match readiness.next {
        next if next.is_empty() => "see `weft status`".to_owned(),
        next => next,
    };
    Err(CniError::new(
        code,
        format!("the weft daemon is not ready: {why}"),
        next,
    ))
}

/// A daemon that does not answer may not forward either; one that answers in another version, or
/// with a refusal, does.
fn unheard(error: &ClientError) -> CniError {
    let alive = match error {
        ClientError::Connect { .. } => false,
        ClientError::Talk { source, .. } => !matches!(source, CodecError::Io(_)),
        ClientError::Refused(_) => true,
    };
    let (code, msg) = if alive {
        (
            Code::NOT_AVAILABLE,
            "the weft daemon does not serve this plugin",
        )
    } else {
        (
            Code::LIMITED_CONNECTIVITY,
            "the weft daemon does not answer: no pod can be attached, and running ones may be cut off",
        )
    };
    CniError::new(code, msg, explain(error))
}
