//! Which knobs does a namespace's network stack have, and how are they turned?
//!
//! Owns reading and writing `/proc/sys`. Below `net` it shows the calling thread's namespace
//! (sysctl(8), Documentation/networking/ip-sysctl.rst). It never decides which values are right.

use std::fs;
use std::path::PathBuf;

use crate::error::{Context, Result, SysError};

/// The value of a knob such as `net/ipv4/ip_forward`, without white space around it.
///
/// # Errors
/// [`SysError::is_not_found`] if this kernel or interface has no such knob.
pub fn get(key: &str) -> Result<String> {
    let path = path_of(key)?;
    let value = fs::read_to_string(path).context(|| format!("read sysctl {key}"))?;
    Ok(value.trim().to_owned())
}

/// Sets a knob.
///
/// # Errors
/// [`SysError::is_not_found`] if there is no such knob, EROFS where `/proc/sys` is mounted
/// read-only, EINVAL for a value it does not take.
pub fn set(key: &str, value: &str) -> Result<()> {
    let path = path_of(key)?;
    fs::write(path, value).context(|| format!("set sysctl {key} = {value}"))
}

/// Sets a knob unless it has that value, so that nothing is written where nothing changes (and
/// nothing fails on a read-only `/proc/sys` that is right already). Returns whether it was set.
///
/// # Errors
/// As [`set`].
pub fn ensure(key: &str, value: &str) -> Result<bool> {
    if get(key)? == value {
        return Ok(false);
    }
    set(key, value)?;
    Ok(true)
}

/// Keys are written with slashes, since interface names may have dots.
fn path_of(key: &str) -> Result<PathBuf> {
    let plain = !key.is_empty() && key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !plain || key.contains('\0') {
        let why = "a key is written with slashes: net/ipv4/ip_forward";
        return Err(SysError::invalid(format!("use sysctl {key:?}"), why));
    }
    Ok(PathBuf::from("/proc/sys").join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_every_kernel_has_can_be_read() {
        assert_eq!(get("kernel/ostype").unwrap(), "Linux");
        assert!(
            !ensure("kernel/ostype", "Linux").unwrap(),
            "nothing to write"
        );
        assert!(get("net/ipv4/no_such_knob").unwrap_err().is_not_found());
    }

    #[test]
    fn keys_stay_below_proc_sys() {
        for bad in ["", "/etc/passwd", "../version", "net//ipv4", "net/./x"] {
            assert!(path_of(bad).is_err(), "{bad}");
        }
    }
}
