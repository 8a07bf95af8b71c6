//! The plugin as a runtime calls it, against a real daemon.

mod attachments;
mod delegation;
mod runtime;
mod verbs;
mod wrong_input;

pub(crate) use runtime::Sandbox;
