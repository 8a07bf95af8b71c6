//! What does the next daemon know of this one's connections?
//!
//! Owns the file beside the control socket into which the connection table is written now and
//! then, and when the daemon leaves. It is of one boot, and is read once. A file that cannot be
//! had or written costs memory of connections, nothing else, and is told.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use weft_policy::{Conntrack, Moment};
use weft_sys::uptime;

/// The file, beside the control socket.
const NAME: &str = "connections";

/// Connections on their way from one daemon to the next.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    boot: String,
    /// What the daemon before this one knew, until it is taken in.
    inherited: Option<Vec<u8>>,
}

impl Memory {
    /// Reads what the daemon before this one left beside `socket`.
    pub(super) fn open(socket: &Path) -> Self {
        let path = socket.with_file_name(NAME);
        let boot = uptime::boot_id().unwrap_or_default();
        let inherited = match fs::read(&path) {
            Ok(bytes) => of_boot(&bytes, &boot).map(<[u8]>::to_vec),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "connections are forgotten");
                }
                None
            }
        };
        Self {
            path,
            boot,
            inherited,
        }
    }

    /// Takes in what was left, once; `owner_of` names the port that an address is at now.
    pub(super) fn restore(
        &mut self,
        conntrack: &Conntrack,
        now: Moment,
        owner_of: impl Fn(IpAddr) -> Option<u32>,
    ) {
        let Some(bytes) = self.inherited.take() else {
            return;
        };
        match conntrack.import(&bytes, now, owner_of) {
            Ok(count) => tracing::info!(
                imported = count.imported,
                expired = count.expired,
                gone = count.gone,
                "connections of the daemon before are known"
            ),
            Err(error) => tracing::warn!(%error, "connections of the daemon before are forgotten"),
        }
    }

    /// Writes down what is known now.
    pub(super) fn save(&self, conntrack: &Conntrack, now: Moment) {
        if self.inherited.is_some() {
            // Nothing that is worth more than what is there.
            return;
        }
        let mut bytes = self.boot.clone().into_bytes();
        bytes.push(b'\n');
        bytes.extend(conntrack.export(now));
        if let Err(error) = self.write(&bytes) {
            tracing::warn!(path = %self.path.display(), %error, "connections are not written down");
        }
    }

    /// A reader meets the old file or the new one. Neither outlives a power cut, nor should.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.with_extension("tmp");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(temporary, &self.path)
    }

    /// Removes what is written down: there is nobody to whom it could matter.
    pub(super) fn forget(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "connections stay written down");
            }
            _ => {}
        }
    }
}

/// The table in a file, if it was written in this boot.
fn of_boot<'b>(bytes: &'b [u8], boot: &str) -> Option<&'b [u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (written, rest) = bytes.split_at_checked(end)?;
    (written == boot.as_bytes() && !boot.is_empty()).then(|| rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_policy::Config;

    fn table() -> Conntrack {
        Conntrack::new(Config::default())
    }

    #[test]
    fn a_file_is_of_one_boot_and_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("weft.sock");
        Memory::open(&socket).save(&table(), Moment::ZERO);
        let mut memory = Memory::open(&socket);
        assert!(memory.inherited.is_some());
        memory.restore(&table(), Moment::ZERO, |_| None);
        assert!(memory.inherited.is_none());
        let text = fs::read(folder.path().join(NAME)).unwrap();
        let mut other = b"another boot\n".to_vec();
        other.extend(of_boot(&text, &memory.boot).unwrap());
        fs::write(folder.path().join(NAME), other).unwrap();
        assert!(Memory::open(&socket).inherited.is_none());
        memory.forget();
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn damage_costs_memory_alone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("weft.sock");
        let boot = uptime::boot_id().unwrap();
        for bytes in [
            "",
            "no line",
            &format!("{boot}\n"),
            &format!("{boot}\nrubbish"),
        ] {
            fs::write(folder.path().join(NAME), bytes).unwrap();
            let mut memory = Memory::open(&socket);
            memory.restore(&table(), Moment::ZERO, |_| None);
            memory.save(&table(), Moment::ZERO);
            assert!(Memory::open(&socket).inherited.is_some());
        }
    }
}
