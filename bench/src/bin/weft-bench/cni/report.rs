//! In which form is an answer printed?

use std::io::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

use super::Form;
pub(super) use crate::machine::Machine;

pub(super) fn print<T: Serialize>(form: Form, answer: &T, text: fn(&T) -> String) -> Result<()> {
    let text = match form {
        Form::Table => text(answer),
        Form::Json => serde_json::to_string(answer)? + "\n",
    };
    // A reader who has seen enough is no error.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}
