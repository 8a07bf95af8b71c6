//! Where is the namespace of an identity, and which namespaces does anybody use?
//!
//! Owns walking over the names of namespaces (files in [`NETNS_DIR`], bind mounts of nsfs
//! anywhere) and over the tasks of all processes. Nothing but a namespace is ever opened: files
//! are identified first. It sees the caller's mount and process namespace. A namespace that only
//! this process's descriptors or devices keep is one that nobody uses.

#![expect(unsafe_code, reason = "NS_GET_NSTYPE has no safe form")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{NETNS_DIR, Netns, NetnsId};
use crate::caps::Capabilities;
use crate::error::{Context, Result, SysError};

/// `NSFS_MAGIC`.
const NSFS: i64 = 0x6e73_6673;
/// `NS_GET_NSTYPE`, linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Whether `fd` is a network namespace, rather than any other file.
///
/// # Errors
/// If the file cannot be looked at.
pub(super) fn is_netns(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // Kernels differ in the width of the field: only its low 32 bits are the number.
    if (rustix::fs::fstatfs(fd)?.f_type as i64) & 0xffff_ffff != NSFS {
        return Ok(false);
    }
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory; `fd` is open while borrowed.
    match unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) } {
        -1 => Err(io::Error::last_os_error()),
        kind => Ok(kind == libc::CLONE_NEWNET),
    }
}

/// A handle of the namespace `id`, if anybody uses it: looked for at `hint`, then among the names,
/// in all processes, and among the descriptors of other processes.
///
/// # Errors
/// If it was not found and not every place could be looked at, so that it may exist all the same.
pub fn find(id: NetnsId, hint: &Path) -> Result<Option<Netns>> {
    // Whatever is wrong with a hint, it only hints.
    if let Ok(Some(netns)) = open_if(hint, id) {
        return Ok(Some(netns));
    }
    let mut unseen = None;
    let mut found = None;
    places(|place| match open_if(place, id) {
        Ok(netns) => {
            found = netns;
            found.is_some()
        }
        Err(error) => {
            unseen.get_or_insert(error);
            false
        }
    })?;
    match (found, unseen) {
        (None, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// The namespaces that have a name or a process: of a file in [`NETNS_DIR`], a bind mount
/// anywhere in this mount namespace, or a thread of any process, this one's included.
///
/// Looking at thousands of threads takes milliseconds: not on a thread that forwards.
///
/// # Errors
/// If a place cannot be looked at, since what is used there would seem dead.
pub fn live() -> Result<BTreeSet<NetnsId>> {
    let mut live: BTreeSet<NetnsId> = mounts()?.into_iter().map(|mount| mount.id).collect();
    let mut failure = None;
    names(|path| look(path, &mut live, &mut failure))?;
    tasks(|path| look(path, &mut live, &mut failure))?;
    if let Some(error) = failure {
        return Err(error);
    }
    // A name whose mount is gone is a plain file.
    let nsfs = Netns::current()?.id()?.device;
    live.retain(|id| id.device == nsfs);
    Ok(live)
}

/// Which of these namespaces another process holds a descriptor of, though none may be in them.
///
/// Looks at every descriptor of every process: for the few that [`live`] did not name.
///
/// # Errors
/// If a process cannot be looked at.
pub fn held(ids: &BTreeSet<NetnsId>) -> Result<BTreeSet<NetnsId>> {
    let mut held = BTreeSet::new();
    descriptors(|path| {
        let id = identify(path).ok().flatten();
        held.extend(id.filter(|id| ids.contains(id)));
        held.len() == ids.len()
    })?;
    Ok(held)
}

/// Adds the namespace at `path`; stops at the first failure.
fn look(path: &Path, live: &mut BTreeSet<NetnsId>, failure: &mut Option<SysError>) -> bool {
    match identify(path) {
        Ok(id) => live.extend(id),
        Err(error) => *failure = Some(error),
    }
    failure.is_some()
}

/// Calls `visit` with every place a namespace may be at, until it returns true.
fn places(mut visit: impl FnMut(&Path) -> bool) -> Result<()> {
    if names(&mut visit)? {
        return Ok(());
    }
    for mount in mounts()? {
        if visit(&mount.path) {
            return Ok(());
        }
    }
    if tasks(&mut visit)? {
        return Ok(());
    }
    descriptors(visit).map(|_| ())
}

/// Calls `visit` with every file in [`NETNS_DIR`], until it returns true.
fn names(visit: impl FnMut(&Path) -> bool) -> Result<bool> {
    visit_entries(Path::new(NETNS_DIR), visit)
}

/// Calls `visit` with the namespace file of every thread of every process, until it returns true.
fn tasks(mut visit: impl FnMut(&Path) -> bool) -> Result<bool> {
    let mut failure = None;
    let stopped = visit_entries(Path::new("/proc"), |process| {
        if !is_number(process) {
            return false;
        }
        let threads = visit_entries(&process.join("task"), |thread| {
            visit(&thread.join("ns/net"))
        });
        threads.unwrap_or_else(|error| {
            failure = Some(error);
            true
        })
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(stopped),
    }
}

/// Calls `visit` with every descriptor of a network namespace that another process has open, until
/// it returns true. A process that may not be looked at has none.
fn descriptors(mut visit: impl FnMut(&Path) -> bool) -> Result<bool> {
    let own = format!("/proc/{}", std::process::id());
    visit_entries(Path::new("/proc"), |process| {
        if !is_number(process) || process == Path::new(&own) {
            return false;
        }
        let of_netns = |descriptor: &Path| {
            let target = fs::read_link(descriptor).unwrap_or_default();
            target.as_os_str().as_encoded_bytes().starts_with(b"net:[")
        };
        visit_entries(&process.join("fd"), |descriptor| {
            of_netns(descriptor) && visit(descriptor)
        })
        .unwrap_or(false)
    })
}

/// Calls `visit` with every entry of a directory, until it returns true. Nothing is there if the
/// directory is not.
fn visit_entries(directory: &Path, mut visit: impl FnMut(&Path) -> bool) -> Result<bool> {
    let what = || format!("list {}", directory.display());
    let Some(entries) = unless_gone(fs::read_dir(directory)).context(what)? else {
        return Ok(false);
    };
    for entry in entries {
        let Some(entry) = unless_gone(entry).context(what)? else {
            continue;
        };
        if visit(&entry.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_number(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.first().is_some_and(u8::is_ascii_digit)
}

/// What is gone between being listed and being looked at (a process may end at any time) is no
/// failure.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The identity of what is at `path`; it need not be a namespace.
fn identify(path: &Path) -> Result<Option<NetnsId>> {
    let error = match unless_gone(fs::metadata(path)) {
        Ok(found) => {
            return Ok(found.map(|metadata| NetnsId {
                device: metadata.dev(),
                inode: metadata.ino(),
            }));
        }
        Err(error) => error,
    };
    let error = SysError::new(format!("identify {}", path.display()), error);
    if !error.is_permission() {
        return Err(error);
    }
    if Capabilities::current()?.sys_ptrace {
        // A process of a user namespace around this one: it has more privilege than a container.
        return Ok(None);
    }
    Err(error.with_hint("seeing all processes needs root, or CAP_SYS_PTRACE"))
}

/// Opens what is at `path` if it is the namespace `id`.
fn open_if(path: &Path, id: NetnsId) -> Result<Option<Netns>> {
    if identify(path)? != Some(id) {
        return Ok(None);
    }
    let netns = match Netns::open(path) {
        Ok(netns) => netns,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    // The path may lead elsewhere by now.
    let is = netns.id()? == id && is_netns(netns.as_fd()).context(|| "identify".to_owned())?;
    Ok(is.then_some(netns))
}

/// A bind mount of a network namespace.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    path: PathBuf,
    id: NetnsId,
}

fn mounts() -> Result<Vec<Mount>> {
    const TABLE: &str = "/proc/thread-self/mountinfo";
    let table = fs::read(TABLE).context(|| format!("read {TABLE}"))?;
    let lines = table.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(parse).collect())
}

/// A line of proc_pid_mountinfo(5):
/// `1 2 0:4 net:[4026532281] /run/netns/a rw shared:1 - nsfs nsfs rw`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let device = std::str::from_utf8(fields.next()?).ok()?;
    let inode = std::str::from_utf8(fields.next()?).ok()?;
    let path = unescape(fields.next()?);
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let inode = inode.strip_prefix("net:[")?.strip_suffix(']')?;
    let id = NetnsId {
        device,
        inode: inode.parse().ok()?,
    };
    let path = PathBuf::from(OsString::from_vec(path));
    Some(Mount { path, id })
}

/// White space and backslashes are written as `\` and three octal digits.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let code = rest.split_at_checked(3).filter(|_| *first == b'\\');
        let octal = code.and_then(|(digits, rest)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, rest))
        });
        let (byte, rest) = octal.unwrap_or((*first, rest));
        bytes.push(byte);
        text = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_network_namespaces_are_read_from_the_table() {
        let line = br"85 32 0:4 net:[4026532281] /run/a\040b\134c rw shared:44 - nsfs nsfs rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.path, Path::new(r"/run/a b\c"));
        assert_eq!((mount.id.device, mount.id.inode), (4, 4_026_532_281));
        for other in [
            &b"85 32 0:4 mnt:[4026532281] /run/m rw - nsfs nsfs rw"[..],
            b"22 1 8:1 / / rw - ext4 /dev/sda1 rw",
            b"85 32 0:4",
            b"",
        ] {
            assert_eq!(parse(other), None);
        }
    }

    #[test]
    fn escapes_are_whole_or_nothing() {
        assert_eq!(unescape(br"a\011b"), b"a\tb");
        assert_eq!(unescape(br"a\01"), br"a\01");
        assert_eq!(unescape(br"a\999"), br"a\999");
    }

    #[test]
    fn only_a_network_namespace_is_one() {
        let own = Netns::current().unwrap();
        assert!(is_netns(own.as_fd()).unwrap());
        for other in ["/proc/self/ns/mnt", "/proc/self/stat", "/"] {
            let file = fs::File::open(other).unwrap();
            assert!(!is_netns(file.as_fd()).unwrap(), "{other}");
        }
    }
}
