//! What may a disk hold after a power cut?
//!
//! Owns a disk in memory that remembers what was made durable and what only might have been, one
//! sector at a time, and that fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::disk::Disk;

/// A power cut keeps or loses so many bytes together.
const SECTOR: usize = 256;

/// So much of an append that fails is written.
const SHORT: usize = 7;

/// Changes of which every subset is tried; of more, some.
const EXHAUSTIVE: usize = 12;

/// A handle to the disk; copies see the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Simulated(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    file: Option<FileState>,
    /// What was in the place of the file before an install that is not durable yet.
    replaced: Option<Option<FileState>>,
    staged: Option<Vec<u8>>,
    /// Bit 0 says whether the next operation fails.
    faults: u64,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    durable: Vec<u8>,
    /// Changes since, in order.
    pending: Vec<Change>,
    /// What a reader sees while the power is on.
    seen: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

/// What a power cut leaves: the file, or none.
pub(super) type Image = Option<Vec<u8>>;

impl Simulated {
    /// A disk with this on it, durably.
    pub(super) fn with(image: Image) -> Self {
        let file = image.map(|bytes| FileState {
            seen: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        });
        let state = State {
            file,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Lets the operations fail whose bits are set, the next being bit 0.
    pub(super) fn fail(&self, faults: u64) {
        self.0.lock().unwrap().faults = faults;
    }

    /// What a reader sees now.
    pub(super) fn seen(&self) -> Image {
        let state = self.0.lock().unwrap();
        state.file.as_ref().map(|file| file.seen.clone())
    }

    /// What a power cut now may leave.
    pub(super) fn images(&self) -> Vec<Image> {
        let state = self.0.lock().unwrap();
        let files = std::iter::once(&state.file).chain(&state.replaced);
        let images = |file: &Option<FileState>| match file {
            Some(file) => file.images().into_iter().map(Some).collect(),
            None => vec![None],
        };
        files.flat_map(images).collect()
    }

    fn operate<T>(
        &self,
        operation: impl FnOnce(&mut State, io::Result<()>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let fails = state.faults & 1 == 1;
        state.faults >>= 1;
        let outcome = if fails {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        };
        operation(&mut state, outcome)
    }
}

impl State {
    fn file(&mut self) -> &mut FileState {
        self.file.as_mut().unwrap()
    }
}

impl FileState {
    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = self.seen.len();
            let (piece, after) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
            self.change(Change::Write(at, piece.to_vec()));
            rest = after;
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn images(&self) -> Vec<Vec<u8>> {
        let count = self.pending.len();
        let kept = |mask: u64| {
            let mut image = self.durable.clone();
            for (number, change) in self.pending.iter().enumerate() {
                if mask >> number & 1 == 1 {
                    change.apply(&mut image);
                }
            }
            image
        };
        let mut images: Vec<Vec<u8>> = if count <= EXHAUSTIVE {
            (0..1 << count).map(kept).collect()
        } else {
            // Odd multiples of a large odd number: bits that look random.
            (0..512_u64)
                .map(|number| kept(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8))
                .chain((0..=count).map(|first| kept((1 << first) - 1)))
                .collect()
        };
        // Torn at every byte: all before, a part of this one, nothing after.
        let mut image = self.durable.clone();
        for change in &self.pending {
            if let Change::Write(at, bytes) = change {
                let parts = (1..bytes.len()).map(|part| Change::Write(*at, bytes[..part].to_vec()));
                images.extend(parts.map(|part| {
                    let mut torn = image.clone();
                    part.apply(&mut torn);
                    torn
                }));
            }
            change.apply(&mut image);
        }
        images
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*at..end].copy_from_slice(bytes);
            }
            Self::Cut(length) => image.resize(*length, 0),
        }
    }
}

impl Disk for Simulated {
    fn path(&self) -> &Path {
        Path::new("/simulated/attachments.journal")
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.operate(|state, outcome| {
            outcome?;
            Ok(state.file.as_ref().map(|file| file.seen.clone()))
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.operate(|state, outcome| {
            let written = if outcome.is_ok() {
                bytes
            } else {
                &bytes[..SHORT]
            };
            state.file().write(written);
            outcome
        })
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.operate(|state, outcome| {
            outcome?;
            let length = usize::try_from(length).unwrap();
            state.file().change(Change::Cut(length));
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.operate(|state, outcome| {
            let file = state.file();
            // After a failure the kernel takes what it could not write for written.
            let pending = std::mem::take(&mut file.pending);
            outcome?;
            for change in pending {
                change.apply(&mut file.durable);
            }
            Ok(())
        })
    }

    fn stage(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.operate(|state, outcome| {
            outcome?;
            state.staged = Some(bytes.to_vec());
            Ok(())
        })
    }

    fn install(&mut self) -> io::Result<()> {
        self.operate(|state, outcome| {
            outcome?;
            let staged = state.staged.take().unwrap();
            let old = state.file.replace(FileState {
                seen: staged.clone(),
                durable: staged,
                pending: Vec::new(),
            });
            // Of several installs in a row the first still hides what is durable.
            state.replaced.get_or_insert(old);
            Ok(())
        })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.operate(|state, outcome| {
            outcome?;
            state.replaced = None;
            Ok(())
        })
    }
}
