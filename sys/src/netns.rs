//! Which network namespace does a call act in, and how do namespaces come and go?
//!
//! Owns named namespaces (a bind mount under `/run/netns`, as `ip netns` makes them, so that
//! `ip netns exec` finds them), finding those of others, and entering one for a closure or a child
//! process. The calling
//! thread never changes its own namespace. See network_namespaces(7), ip-netns(8).

#![expect(unsafe_code, reason = "unshare(2) and pre_exec have no safe form")]

mod search;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{panic, thread};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::error::{Context, Result, SysError};
pub use search::{find, held, live};

/// Where named namespaces are mounted.
pub const NETNS_DIR: &str = "/run/netns";

/// An open network namespace. It lives at least as long as this handle.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

/// What tells one namespace from another: device and inode of its nsfs file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Device of the nsfs file.
    pub device: u64,
    /// Inode of the nsfs file.
    pub inode: u64,
}

impl Netns {
    /// Makes a namespace with a name, empty but for a loopback device that is down.
    ///
    /// # Errors
    /// [`SysError::is_exists`] if the name is taken; a permission error without CAP_SYS_ADMIN.
    pub fn create(name: &str) -> Result<Self> {
        let path = path_of(name)?;
        prepare_directory().context(|| format!("prepare {NETNS_DIR}"))?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .context(|| format!("create network namespace {name}"))?;
        let made = on_own_thread(|| {
            new_namespace()?;
            Ok(mount_bind("/proc/thread-self/ns/net", &path)?)
        });
        if made.is_err() {
            // The mount point is ours and empty; the error to report is the one before.
            let _ = fs::remove_file(&path);
        }
        made.context(|| format!("create network namespace {name}"))?;
        Self::open(&path)
    }

    /// Makes a namespace without a name; it goes with its last user.
    ///
    /// # Errors
    /// A permission error without CAP_SYS_ADMIN.
    pub fn anonymous() -> Result<Self> {
        let file = on_own_thread(|| {
            new_namespace()?;
            File::open("/proc/thread-self/ns/net")
        })
        .context(|| "create a network namespace".to_owned())?;
        Ok(Self { fd: file.into() })
    }

    /// Opens a namespace: a name under [`NETNS_DIR`], or a path if there is a slash in it, such
    /// as `/proc/1234/ns/net`.
    ///
    /// # Errors
    /// [`SysError::is_not_found`] if there is none.
    pub fn open(name_or_path: impl AsRef<Path>) -> Result<Self> {
        let given = name_or_path.as_ref();
        let path = match given.to_str() {
            Some(name) if !name.contains('/') => path_of(name)?,
            _ => given.to_owned(),
        };
        let file =
            File::open(&path).context(|| format!("open network namespace {}", given.display()))?;
        Ok(Self { fd: file.into() })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// A namespace that somebody else opened. Whether `fd` is one shows when it is entered;
    /// [`Self::is_netns`] tells before.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Whether `fd` is a network namespace: not another kind of namespace, nor any other file.
    ///
    /// # Errors
    /// If the file cannot be looked at.
    pub fn is_netns(fd: BorrowedFd<'_>) -> Result<bool> {
        search::is_netns(fd).context(|| "look at a network namespace".to_owned())
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self
            .fd
            .try_clone()
            .context(|| "duplicate a network namespace".to_owned())?;
        Ok(Self { fd })
    }

    /// What tells this namespace from others.
    ///
    /// # Errors
    /// If fstat(2) fails.
    pub fn id(&self) -> Result<NetnsId> {
        let file = File::from(self.try_clone()?.fd);
        let metadata = file
            .metadata()
            .context(|| "identify a network namespace".to_owned())?;
        Ok(NetnsId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Removes the name. The namespace itself goes with its last process or open handle.
    /// Returns whether there was one.
    ///
    /// # Errors
    /// A permission error without CAP_SYS_ADMIN; never because it does not exist.
    pub fn delete(name: &str) -> Result<bool> {
        let path = path_of(name)?;
        let what = || format!("delete network namespace {name}");
        loop {
            match unmount(&path, UnmountFlags::DETACH) {
                // Namespaces may be stacked on one name by mistake: take all of them off.
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOENT) => break,
                Err(error) => return Err(error).context(what),
            }
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context(what),
        }
    }

    /// Whether there is a namespace of that name.
    pub fn exists(name: &str) -> bool {
        path_of(name).is_ok_and(|path| path.exists())
    }

    /// The names that begin with `prefix`, sorted.
    ///
    /// # Errors
    /// If [`NETNS_DIR`] cannot be read; none at all is not an error.
    pub fn list(prefix: &str) -> Result<Vec<String>> {
        let what = || format!("list {NETNS_DIR}");
        let entries = match fs::read_dir(NETNS_DIR) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(what),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.context(what)?.file_name();
            if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Runs `f` inside the namespace, on a thread of its own that ends with it.
    ///
    /// # Errors
    /// If the namespace cannot be entered: `f` was not called then.
    ///
    /// # Panics
    /// If `f` does, with its payload.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        let fd = self.fd.as_fd();
        on_own_thread(move || {
            enter(fd)?;
            Ok(f())
        })
        .context(|| "enter a network namespace".to_owned())
    }

    /// Makes the child of `command` start inside the namespace, however it is started.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn enter_on_exec(&self, command: &mut Command) -> Result<()> {
        let fd = self.try_clone()?.fd;
        let hook = move || enter(fd.as_fd());
        // SAFETY: pre_exec runs the hook after fork(2), where only async-signal-safe calls are
        // allowed: it makes one system call, setns(2), and allocates nothing, since an error made
        // of an errno is a plain number.
        unsafe { command.pre_exec(hook) };
        Ok(())
    }

    /// Starts `command` inside the namespace.
    ///
    /// The child is forked from the calling thread, not from a helper thread, so a parent death
    /// signal ([`crate::process::die_with_parent`]) means the caller.
    ///
    /// # Errors
    /// If the program cannot be started or the namespace cannot be entered.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        self.enter_on_exec(&mut command)?;
        command.spawn().context(|| {
            let program = command.get_program().to_string_lossy().into_owned();
            format!("start {program} in a network namespace")
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.fd
    }
}

fn enter(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(
        fd,
        Some(LinkNameSpaceType::Network),
    )?)
}

fn new_namespace() -> io::Result<()> {
    // SAFETY: unshare(2) is unsafe for CLONE_FILES only, after which other threads do not know
    // this thread's descriptors; the flag here is CLONE_NEWNET alone.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Runs `f` on a thread that ends with it, so that a namespace it enters is left for good.
fn on_own_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned());
        match thread.spawn_scoped(scope, f)?.join() {
            Ok(result) => result,
            Err(payload) => panic::resume_unwind(payload),
        }
    })
}

fn path_of(name: &str) -> Result<PathBuf> {
    let bad = name.is_empty() || name.contains(['/', '\0']) || name == "." || name == "..";
    if bad || name.len() > 255 {
        return Err(SysError::invalid(
            format!("use network namespace name {name:?}"),
            "a name is a file name of at most 255 bytes",
        ));
    }
    Ok(Path::new(NETNS_DIR).join(name))
}

/// Makes [`NETNS_DIR`] a shared mount, so that names made here appear in other mount namespaces.
///
/// The lock keeps two makers from mounting it over itself twice, as ip-netns(8) does.
fn prepare_directory() -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(NETNS_DIR)?;
    let directory = File::open(NETNS_DIR)?;
    flock(&directory, FlockOperation::LockExclusive)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match mount_change(NETNS_DIR, shared) {
        Err(Errno::INVAL) => {
            mount_bind_recursive(NETNS_DIR, NETNS_DIR)?;
            Ok(mount_change(NETNS_DIR, shared)?)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names() {
        for bad in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
            assert!(path_of(bad).is_err(), "{bad:?}");
        }
        assert_eq!(path_of("weft.a").unwrap(), Path::new("/run/netns/weft.a"));
    }

    #[test]
    fn current_namespace_has_an_identity() {
        let one = Netns::current().unwrap().id().unwrap();
        let two = Netns::open("/proc/self/ns/net").unwrap().id().unwrap();
        assert_eq!(one, two);
    }
}
