//! Is `CNI_NETNS` a network namespace a pod's interface may be put into?
//!
//! Owns opening the path and judging what it led to. Whatever else it is (a file, a FIFO, another
//! kind of namespace, the node's own) is refused before anybody acts in it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstatfs, open as open_file};
use rustix::io::Errno;
use weft_sys::netns::Netns;

use crate::environment::Environment;
use crate::spec::{CniError, Code};

/// `f_type` of namespace files (linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Opens the namespace at `path`.
pub(crate) fn open(path: &str, environment: &Environment) -> Result<Netns, CniError> {
    let invalid = |msg: &str, details: String| {
        CniError::new(
            Code::INVALID_NETNS,
            format!("CNI_NETNS {path:?} {msg}"),
            details,
        )
    };
    let file = open_nonblocking(path)
        .map_err(|error| invalid("cannot be opened", format!("{error}; is the pod gone?")))?;
    let kind = fstatfs(&file).map_err(|error| kernel("look at", path, error.into()))?;
    if u64::try_from(kind.f_type) != Ok(NSFS_MAGIC) {
        let details = "name one, such as /run/netns/NAME or /proc/PID/ns/net";
        return Err(invalid("is no network namespace", details.to_owned()));
    }
    let netns = Netns::from_fd(file);
    let id = |netns: &Netns| netns.id().map_err(|e| kernel("identify", path, e.source));
    let own = Netns::current().map_err(|e| kernel("identify this one beside", path, e.source))?;
    if id(&netns)? == id(&own)? {
        if overridden(environment) {
            return Ok(netns);
        }
        let details = "a pod there would share the node's interfaces; \
                       CNI_NETNS_OVERRIDE=true allows it";
        return Err(invalid("is the plugin's own", details.to_owned()));
    }
    match netns.run(|| ()) {
        Ok(()) => Ok(netns),
        Err(error) if error.errno() == Some(Errno::INVAL.raw_os_error()) => {
            let details = "it is a namespace of another kind";
            Err(invalid("is no network namespace", details.to_owned()))
        }
        Err(error) => Err(CniError::new(
            Code::IO,
            format!("cannot enter CNI_NETNS {path:?}"),
            error,
        )),
    }
}

/// Opening a FIFO must not wait for its writer, nor a terminal become ours.
fn open_nonblocking(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(open_file(path, flags, Mode::empty())?)
}

fn kernel(what: &str, path: &str, error: io::Error) -> CniError {
    CniError::new(Code::IO, format!("cannot {what} CNI_NETNS {path:?}"), error)
}

fn overridden(environment: &Environment) -> bool {
    let value = environment.get("CNI_NETNS_OVERRIDE");
    value.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str) -> CniError {
        open(path, &Environment::default()).unwrap_err()
    }

    #[test]
    fn what_is_no_network_namespace_is_refused() {
        for path in [
            "/nonexistent/netns",
            "relative",
            "/",
            "/dev/null",
            "/proc/self/status",
            "a\0b",
        ] {
            assert_eq!(refused(path).code, Code::INVALID_NETNS, "{path:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let mode = Mode::RUSR | Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        let error = refused(fifo.to_str().unwrap());
        assert!(error.msg.ends_with("is no network namespace"), "{error}");
    }

    #[test]
    fn ones_own_namespace_needs_permission() {
        let own = "/proc/thread-self/ns/net";
        let error = refused(own);
        assert!(error.msg.ends_with("is the plugin's own"), "{error}");
        for (value, allowed) in [("1", true), ("True", true), ("0", false), ("yes", false)] {
            let environment = [("CNI_NETNS_OVERRIDE", value)].into_iter().collect();
            assert_eq!(open(own, &environment).is_ok(), allowed, "{value}");
        }
    }

    #[test]
    fn a_namespace_of_another_kind_is_refused() {
        if let Err(missing) = weft_sys::caps::check() {
            let line = format!("SKIPPED (needs root): a_namespace_of_another_kind: {missing}\n");
            io::Write::write_all(&mut io::stderr(), line.as_bytes()).unwrap();
            return;
        }
        let error = refused("/proc/self/ns/uts");
        assert_eq!(error.code, Code::INVALID_NETNS, "{error}");
        assert!(error.details.contains("another kind"), "{error}");
    }
}
