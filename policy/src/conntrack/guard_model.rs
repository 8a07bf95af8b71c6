//! The protocol of `guard.rs` under every interleaving and every stale read that the memory
//! model allows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;

use super::guard::Guard;

const TAG: u16 = 7;

/// An entry of two words, both of which say the generation they belong to.
#[derive(Default)]
struct Guarded {
    guard: Guard,
    words: [AtomicU64; 2],
}

impl Guarded {
    /// Takes the entry over, if nobody else does; the generation.
    fn replace(&self) -> Option<u32> {
        let generation = self.guard.claim(self.guard.load())?;
        for word in &self.words {
            word.store(generation.into(), Relaxed);
        }
        self.guard.publish(generation, TAG, 0);
        Some(generation)
    }

    /// Reads the words as a lookup does; nothing if they may be of two flows.
    fn read(&self) -> Option<[u64; 2]> {
        let seen = self.guard.load();
        if !seen.is_live_with(TAG) {
            return None;
        }
        let words = self.words.each_ref().map(|word| word.load(Relaxed));
        self.guard.is_still(seen).then(|| {
            assert_eq!(words, [u64::from(seen.generation()); 2], "torn");
            words
        })
    }
}

/// Who reads while others take the entry over sees one flow or none.
#[test]
fn guard_never_shows_a_torn_entry() {
    loom::model(|| {
        let entry = Arc::new(Guarded::default());
        assert_eq!(entry.replace(), Some(1));
        let writer = thread::spawn({
            let entry = Arc::clone(&entry);
            move || entry.replace()
        });
        let reader = thread::spawn({
            let entry = Arc::clone(&entry);
            move || entry.read()
        });
        assert_eq!(writer.join().unwrap(), Some(2));
        reader.join().unwrap();
        assert_eq!(entry.read(), Some([2, 2]));
    });
}

/// Of workers that want one entry, whether to take it over or to end it, each generation has
/// one; that one moves the quota.
#[test]
fn guard_gives_an_entry_to_one_worker() {
    loom::model(|| {
        let entry = Arc::new(Guarded::default());
        entry.replace();
        let seen = entry.guard.load();
        let claims = [0, 1].map(|_| {
            let entry = Arc::clone(&entry);
            thread::spawn(move || entry.guard.claim(seen).is_some())
        });
        let ended = entry.guard.withdraw(seen);
        let claimed = claims.map(|claim| u8::from(claim.join().unwrap()));
        assert_eq!(u8::from(ended) + claimed.iter().sum::<u8>(), 1);
    });
}

/// Two entries for one flow: each inserter publishes its own, looks at both behind a fence and
/// withdraws the later one. One is left.
#[test]
fn guard_leaves_one_entry_of_a_flow_inserted_twice() {
    loom::model(|| {
        let bucket = Arc::new([Guarded::default(), Guarded::default()]);
        let insert = |own: usize| {
            let bucket = Arc::clone(&bucket);
            move || {
                bucket[own].replace().unwrap();
                fence(SeqCst);
                let mut found = bucket.iter().map(|entry| &entry.guard);
                let mut found = found.by_ref().map(|guard| (guard, guard.load()));
                let first = found.find(|(_, seen)| seen.is_live_with(TAG));
                let second = found.find(|(_, seen)| seen.is_live_with(TAG));
                if let (Some(_), Some((guard, seen))) = (first, second) {
                    guard.withdraw(seen);
                }
            }
        };
        let other = thread::spawn(insert(1));
        insert(0)();
        other.join().unwrap();
        let live = bucket.iter().filter(|entry| entry.guard.load().is_live());
        assert_eq!(live.count(), 1);
    });
}
