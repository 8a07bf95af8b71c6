//! Is this frame within its pod's bandwidth?
//!
//! A policer, not a shaper: what is above the rate is dropped, nothing waits. One [`Meter`]
//! per port and direction, shared by all workers and by every publication of the tables. It
//! is one word, the moment at which the bucket will be full again (generic cell rate
//! algorithm). Nothing locks, waits or allocates; a port without limits pays for one check.
//!
//! In any time t a meter admits at most rate · t and a burst, or one frame where that is
//! more: a full bucket lets any frame pass, so that no limit is a wall. Workers that race for
//! it may add one frame each, which the next ones pay for.

use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use weft_policy::{Direction, Moment};
use weft_wire::Frame;

use super::Turn;
use super::drop::DropReason;
use super::offload;
use super::ports::PortEntry;

/// Time is counted in parts of a nanosecond, or rounding would be what limits small frames
/// beyond 10 Gb/s. A daemon that runs for nine years then stops limiting.
const TICKS_PER_NANO: u64 = 64;
const TICKS_PER_SECOND: u64 = 1_000_000_000 * TICKS_PER_NANO;

/// Races against other workers before a frame is charged whatever they do.
const ATTEMPTS: usize = 4;

/// The bandwidth of one port; directions are the pod's.
#[derive(Debug)]
pub struct Limits {
    /// Out of the pod.
    pub egress: Option<Meter>,
    /// Into the pod.
    pub ingress: Option<Meter>,
}

/// A rate, and how much of it was used.
#[derive(Debug)]
pub struct Meter {
    rate: NonZeroU64,
    /// A burst as time at the rate, in ticks.
    depth: u64,
    /// When the bucket is full again, in ticks.
    full_at: AtomicU64,
}

impl Meter {
    /// A meter that lets `rate` bits a second pass, and `burst` bits at once after silence.
    #[must_use]
    pub const fn new(rate: NonZeroU64, burst: u64) -> Self {
        let depth = burst as u128 * TICKS_PER_SECOND as u128 / rate.get() as u128;
        Self {
            rate,
            #[expect(clippy::cast_possible_truncation, reason = "checked")]
            depth: if depth > u64::MAX as u128 {
                u64::MAX
            } else {
                depth as u64
            },
            full_at: AtomicU64::new(0),
        }
    }

    /// Whether a frame of so many bytes, Ethernet header included, may pass now; if so it is
    /// charged. A clock that stands still or steps back gives no credit.
    pub fn admit(&self, now: Moment, frame_bytes: usize) -> bool {
        let cost = self.cost(frame_bytes);
        self.charge(now, cost, |old, new| {
            self.full_at.compare_exchange(old, new, Relaxed, Relaxed)
        })
    }

    /// Charges a frame if there is room for it; `exchange` replaces the word.
    #[inline]
    fn charge(
        &self,
        now: Moment,
        cost: u64,
        exchange: impl Fn(u64, u64) -> Result<u64, u64>,
    ) -> bool {
        let now = now.as_nanos().saturating_mul(TICKS_PER_NANO);
        let mut full_at = self.full_at.load(Relaxed);
        for _ in 0..ATTEMPTS {
            let is_full = full_at <= now;
            let next = full_at.max(now).checked_add(cost);
            let fits = next.is_some_and(|next| next <= now.saturating_add(self.depth));
            if !is_full && !fits {
                return false;
            }
            match exchange(full_at, next.unwrap_or(u64::MAX)) {
                Ok(_) => return true,
                Err(current) => full_at = current,
            }
        }
        // There was room at every look, and the others have just brought the word up to now.
        // So this frame passes, and the next ones pay for it.
        self.full_at.fetch_add(cost, Relaxed);
        true
    }

    /// How long a frame takes at the rate, rounded up.
    fn cost(&self, frame_bytes: usize) -> u64 {
        let bits = u64::try_from(frame_bytes).unwrap_or(u64::MAX);
        bits.saturating_mul(8 * TICKS_PER_SECOND)
            .div_ceil(self.rate.get())
    }
}

impl Turn<'_> {
    /// Lets a frame pass in this direction while the port's bandwidth lasts.
    #[inline]
    pub(super) fn stay_within(
        &self,
        direction: Direction,
        port: &PortEntry,
        frame: &Frame,
    ) -> Result<(), DropReason> {
        match port.limits.as_deref() {
            None => Ok(()),
            Some(limits) => self.measure(direction, limits, offload::wire_len(frame)),
        }
    }

    #[inline(never)]
    fn measure(
        &self,
        direction: Direction,
        limits: &Limits,
        frame_bytes: usize,
    ) -> Result<(), DropReason> {
        let meter = match direction {
            Direction::Egress => limits.egress.as_ref(),
            Direction::Ingress => limits.ingress.as_ref(),
        };
        match meter {
            Some(meter) if self.path.metered && !meter.admit(self.now, frame_bytes) => {
                Err(DropReason::RateLimited)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const START: Moment = Moment::from_secs(1_000);
    const KILO: u64 = 1_000;
    const GIGA: u64 = 1_000_000_000;

    fn meter(rate: u64, burst: u64) -> Meter {
        Meter::new(NonZeroU64::new(rate).unwrap(), burst)
    }

    fn after(nanos: u64) -> Moment {
        Moment::from_nanos(START.as_nanos() + nanos)
    }

    /// Frames of this size that pass at one moment.
    fn passing(meter: &Meter, now: Moment, frame_bytes: usize, most: usize) -> usize {
        (0..most)
            .take_while(|_| meter.admit(now, frame_bytes))
            .count()
    }

    /// At 8 Mb/s a byte takes a microsecond.
    #[test]
    fn a_burst_passes_then_as_much_as_time_gives() {
        let meter = meter(8_000 * KILO, 8 * 3_000);
        for (micros, frame, admitted) in [
            (0, 1_500, true),
            (0, 1_500, true),
            (0, 1, false),
            (1, 1, true),
            (1_499, 1_499, false),
            (1_499, 1_498, true),
            (2_999, 1_500, true),
            (2_999, 60, false),
            // Silence fills the bucket and no more.
            (90_000_000, 2_000, true),
            (90_000_000, 1_000, true),
            (90_000_000, 1, false),
        ] {
            let now = after(micros * KILO);
            assert_eq!(
                meter.admit(now, frame),
                admitted,
                "{micros} µs, {frame} bytes"
            );
        }
        let part = meter.admit(after(90_000_001 * KILO - 1), 1);
        assert!(!part, "a nanosecond early");
    }

    #[test]
    fn in_the_long_run_the_rate_passes() {
        for rate in [
            64 * KILO,
            1_000 * KILO,
            333_333_333,
            GIGA,
            100 * GIGA,
            400 * GIGA,
        ] {
            for frame in [60_usize, 1_514, 9_000] {
                let burst = 8 * 18_000;
                let meter = meter(rate, burst);
                let bits = 8 * frame as u64;
                // Offered: three times the rate, or what a clock of nanoseconds can say.
                let step = (bits * GIGA / rate / 3).max(1);
                let (mut nanos, mut admitted) = (0, 0);
                for _ in 0..100_000 {
                    nanos += step;
                    admitted += bits * u64::from(meter.admit(after(nanos), frame));
                }
                let given = u128::from(rate) * u128::from(nanos) / u128::from(GIGA);
                let given = u64::try_from(given).unwrap();
                assert!(admitted <= given + burst, "{rate} b/s, {frame} bytes");
                assert!(
                    admitted >= given / 100 * 99,
                    "{rate} b/s, {frame}: {admitted} of {given}"
                );
            }
        }
    }

    #[test]
    fn a_burst_smaller_than_a_frame_is_no_wall() {
        for burst in [0, 1, 8 * 999] {
            let meter = meter(8_000 * KILO, burst);
            for (micros, admitted) in [
                (0, true),
                (0, false),
                (999, false),
                (1_000, true),
                (1_001, false),
            ] {
                let now = after(micros * KILO);
                assert_eq!(
                    meter.admit(now, 1_000),
                    admitted,
                    "{burst} bits, {micros} µs"
                );
            }
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_steps_back_gives_nothing() {
        let meter = meter(8_000 * KILO, 8 * 1_000);
        assert_eq!(passing(&meter, START, 100, 1_000), 10);
        assert_eq!(passing(&meter, START, 100, 1_000), 0);
        assert_eq!(passing(&meter, Moment::ZERO, 100, 1_000), 0);
        assert_eq!(passing(&meter, after(100 * KILO), 100, 1_000), 1);
    }

    /// Another worker is quicker every time: the frame passes and is paid for.
    #[test]
    fn a_frame_that_loses_every_race_is_charged() {
        let meter = meter(8_000 * KILO, 8 * 1_000);
        assert!(meter.admit(START, 100));
        let brought_up = meter.full_at.load(Relaxed);
        let tries = Cell::new(0);
        let lose = |_, _| {
            tries.set(tries.get() + 1);
            Err(brought_up)
        };
        assert!(meter.charge(START, meter.cost(400), lose));
        assert_eq!(tries.get(), ATTEMPTS);
        assert_eq!(passing(&meter, START, 100, 1_000), 5);
    }

    #[test]
    fn a_lost_race_may_leave_no_room() {
        let meter = meter(8_000 * KILO, 8 * 1_000);
        let tries = Cell::new(0);
        let lose = |old: u64, _| {
            tries.set(tries.get() + 1);
            Err(old.max(START.as_nanos() * TICKS_PER_NANO) + meter.cost(600))
        };
        assert!(!meter.charge(START, meter.cost(500), lose));
        assert_eq!(tries.get(), 1);
    }

    #[test]
    fn no_number_is_too_large() {
        // What runtimes give for "no burst asked for".
        let burst = u64::from(u32::MAX);
        let usual = meter(10_000 * KILO, burst);
        let frames = usize::try_from(burst / 8 / 9_000).unwrap();
        assert_eq!(passing(&usual, START, 9_000, 1_000_000), frames);
        let slow = meter(1, burst);
        let passed = passing(&slow, START, 9_000, 1_000_000);
        assert!(passed > 0 && passed <= frames, "{passed}");
        let fast = meter(u64::MAX, u64::MAX);
        assert_eq!(passing(&fast, START, 9_000, 1_000), 1_000);
        let end = Moment::from_nanos(u64::MAX);
        for meter in [usual, slow, fast, meter(1, u64::MAX), meter(u64::MAX, 0)] {
            assert!(meter.admit(end, usize::MAX));
            assert!(meter.admit(end, 60));
        }
    }

    #[test]
    fn one_frame_larger_than_time_itself_passes_a_full_bucket_only() {
        let meter = meter(1, 8);
        assert!(meter.admit(START, usize::MAX));
        assert!(!meter.admit(START, 1));
        assert!(!meter.admit(after(GIGA), 1));
    }
}
