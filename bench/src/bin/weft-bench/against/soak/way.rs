//! How far is one direction, and did what arrived equal what was sent?
//!
//! Both ends sum what they handled and note the sum at every mark; the marks are compared while the
//! transfer goes on. Shared by the two threads that move the bytes and the one that looks on.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Bytes between two marks.
pub(super) const MARK: u64 = 16 << 20;

/// The CRC-32 of everything before this byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) offset: u64,
    pub(super) sum: u32,
}

/// What a receiver met when it paused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pauses {
    pub(super) count: u64,
    /// Those at whose end the sender could send no more.
    pub(super) full: u64,
    /// The longest time after a pause until the sender went on.
    pub(super) slowest_resume: Duration,
    /// The longest time without a byte otherwise.
    pub(super) longest_gap: Duration,
}

/// The marks of both ends, and how far they agree.
#[derive(Debug, Default)]
struct Marks {
    sent: Vec<Mark>,
    received: Vec<Mark>,
    compared: usize,
    /// The first mark that differs.
    differs: Option<Mark>,
}

/// One direction of a transfer.
#[derive(Debug)]
pub(super) struct Way {
    from: String,
    to: String,
    /// Bytes to move.
    pub(super) bytes: u64,
    sent: AtomicU64,
    received: AtomicU64,
    rests: AtomicBool,
    stalled: AtomicBool,
    marks: Mutex<Marks>,
    pauses: Mutex<Pauses>,
}

/// What became of one direction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    from: String,
    to: String,
    sent: u64,
    /// Bytes that arrived.
    pub(super) bytes: u64,
    gigabits_per_second: f64,
    /// CRC-32 of everything that was sent, and that arrived, at the last mark both reached.
    sent_sum: String,
    received_sum: String,
    /// Marks at which the sums were compared.
    compared: usize,
    pub(super) intact: bool,
    /// Offset before which something arrived otherwise than it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged_before: Option<u64>,
    /// Offset from which nothing came any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled_at: Option<u64>,
    longest_gap_millis: f64,
    pauses: u64,
    pauses_full: u64,
    slowest_resume_millis: f64,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    pub(super) fn new(from: &str, to: &str, bytes: u64) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            bytes,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            marks: Mutex::default(),
            pauses: Mutex::default(),
        }
    }

    pub(super) fn title(&self) -> String {
        format!("{} to {}", self.from, self.to)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub(super) fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Relaxed);
    }

    pub(super) fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Relaxed);
    }

    /// Whether no byte is to be expected: the receiver pauses, or has everything.
    pub(super) fn rests(&self) -> bool {
        self.rests.load(Relaxed)
    }

    pub(super) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Relaxed);
    }

    pub(super) fn stalled(&self) {
        self.stalled.store(true, Relaxed);
    }

    /// What to say of a direction in which nothing has come for so long.
    pub(super) fn stall(&self, limit: Duration) -> String {
        format!(
            "{} stalled: no byte for {} s after offset {}, {} of {} sent",
            self.title(),
            limit.as_secs_f64(),
            self.received(),
            self.sent(),
            self.bytes
        )
    }

    pub(super) fn mark_sent(&self, mark: Mark) {
        hold(&self.marks).sent.push(mark);
    }

    pub(super) fn mark_received(&self, mark: Mark) {
        hold(&self.marks).received.push(mark);
    }

    pub(super) fn note(&self, pauses: Pauses) {
        *hold(&self.pauses) = pauses;
    }

    /// Compares the marks that both ends have reached.
    pub(super) fn compare(&self) {
        let mut marks = hold(&self.marks);
        let both = marks.sent.len().min(marks.received.len());
        while marks.compared < both && marks.differs.is_none() {
            let at = marks.compared;
            let pair = (marks.sent.get(at).copied(), marks.received.get(at).copied());
            if pair.0 != pair.1 {
                marks.differs = pair.1;
            }
            marks.compared += 1;
        }
    }

    /// Whether what arrived is known to be something else than what was sent.
    pub(super) fn is_broken(&self) -> bool {
        hold(&self.marks).differs.is_some()
    }

    /// What became of it in so many seconds.
    pub(super) fn told(self, seconds: f64) -> Told {
        self.compare();
        let bytes = self.received();
        let stalled = self.stalled.load(Relaxed);
        let marks = hold(&self.marks);
        let last = marks.compared.checked_sub(1);
        let sum = |list: &[Mark]| {
            let mark = last.and_then(|last| list.get(last));
            mark.map_or_else(String::new, |mark| format!("{:08x}", mark.sum))
        };
        let (sent_sum, received_sum) = (sum(&marks.sent), sum(&marks.received));
        let pauses = *hold(&self.pauses);
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        Told {
            sent: self.sent(),
            bytes,
            gigabits_per_second: bytes as f64 * 8.0 / 1e9 / seconds,
            sent_sum,
            received_sum,
            compared: marks.compared,
            intact: marks.differs.is_none(),
            damaged_before: marks.differs.map(|mark| mark.offset),
            stalled_at: stalled.then_some(bytes),
            longest_gap_millis: millis(pauses.longest_gap),
            pauses: pauses.count,
            pauses_full: pauses.full,
            slowest_resume_millis: millis(pauses.slowest_resume),
            from: self.from.clone(),
            to: self.to.clone(),
        }
    }
}

impl Told {
    /// A line, and another one about pauses.
    pub(super) fn text(&self) -> String {
        let same = if self.intact { "=" } else { "≠" };
        let mut text = format!(
            "{} to {}: {} bytes, {:.2} Gb/s, crc32 {} {same} {} at {} marks, longest gap {:.0} ms\n",
            self.from,
            self.to,
            self.bytes,
            self.gigabits_per_second,
            self.sent_sum,
            self.received_sum,
            self.compared,
            self.longest_gap_millis
        );
        if let Some(offset) = self.damaged_before {
            let _ = writeln!(
                text,
                "    DAMAGED in the {MARK} bytes before offset {offset}"
            );
        }
        if self.pauses > 0 {
            let _ = writeln!(
                text,
                "    {} pauses, {} with all buffers full, sender on again within {:.1} ms",
                self.pauses, self.pauses_full, self.slowest_resume_millis
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(sent: &[(u64, u32)], received: &[(u64, u32)]) -> Way {
        let way = Way::new("a/x", "b/y", 100);
        let mark = |(offset, sum): (u64, u32)| Mark { offset, sum };
        sent.iter().for_each(|one| way.mark_sent(mark(*one)));
        received
            .iter()
            .for_each(|one| way.mark_received(mark(*one)));
        way.compare();
        way
    }

    #[test]
    fn marks_are_compared_as_far_as_both_ends_are() {
        let good = way(&[(10, 1), (20, 2)], &[(10, 1)]);
        assert!(!good.is_broken());
        assert_eq!(good.told(1.0).compared, 1);
    }

    #[test]
    fn another_sum_is_damage_and_told_with_its_place() {
        let bad = way(&[(10, 1), (20, 2), (30, 3)], &[(10, 1), (20, 9), (30, 3)]);
        assert!(bad.is_broken());
        let told = bad.told(1.0);
        assert_eq!((told.intact, told.damaged_before), (false, Some(20)));
        assert!(told.text().contains("DAMAGED"), "{}", told.text());
    }

    #[test]
    fn an_end_that_comes_early_is_damage() {
        assert!(way(&[(10, 1), (20, 2)], &[(10, 1), (15, 2)]).is_broken());
    }

    #[test]
    fn a_stall_names_direction_and_offset() {
        let way = way(&[], &[]);
        way.set_received(7);
        way.stalled();
        let said = way.stall(Duration::from_secs(10));
        assert!(
            said.contains("a/x to b/y stalled") && said.contains("offset 7"),
            "{said}"
        );
        assert_eq!(way.told(1.0).stalled_at, Some(7));
    }
}
