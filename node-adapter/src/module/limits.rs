//! What one party may ask of the node: how fast, how long, and how much it may leave unread.

use std::time::Duration;

use blvm_bus::request::{MAX_FRAME_BYTES, MAX_SUBMISSION_BYTES, Refusal};
use tokio::time::Instant;

/// Limits of one party's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Requests a second over a longer time.
    pub per_second: u32,
    /// Requests at once, after a pause.
    pub burst: u32,
    /// The node's own bound on the time a request may take.
    pub deadline: Duration,
    /// Bytes of long answers that may wait to be taken; a single longer one may wait alone.
    pub unread_bytes: u64,
    /// Long answers that may wait to be taken.
    pub unread_answers: u32,
    /// Bytes of a frame's body.
    pub frame_bytes: usize,
    /// Bytes of a frame's body with a block in it.
    pub submission_bytes: usize,
    /// Blocks brought from elsewhere that may wait to be judged.
    pub queued_blocks: u32,
    /// Their bytes; a single longer one may wait alone.
    pub queued_block_bytes: u64,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits {
            per_second: 20_000,
            burst: 20_000,
            deadline: Duration::from_secs(30),
            unread_bytes: 256 << 20,
            unread_answers: 8,
            frame_bytes: MAX_FRAME_BYTES,
            submission_bytes: MAX_SUBMISSION_BYTES,
            queued_blocks: 64,
            queued_block_bytes: 64 << 20,
        }
    }
}

/// Counts requests: a bucket that fills with time and that each request takes one from.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    burst: u32,
    left: f64,
    filled: Instant,
}

impl Pace {
    pub(super) fn new(limits: &RequestLimits, now: Instant) -> Self {
        // Neither may be none at all: nothing could be asked any more.
        let (per_second, burst) = (limits.per_second.max(1), limits.burst.max(1));
        Pace { per_second, burst, left: f64::from(burst), filled: now }
    }

    /// Takes one request.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Refusal> {
        let per_second = f64::from(self.per_second);
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * per_second).min(f64::from(self.burst));
        self.filled = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        // At least one: a wait of less than a millisecond is rounded up.
        let retry_after_ms = ((1.0 - self.left) / per_second * 1000.0).ceil() as u32;
        Err(Refusal::Rate { per_second: self.per_second, retry_after_ms: retry_after_ms.max(1) })
    }
}

/// Refusals logged one by one in an interval.
const LOGGED_REFUSALS: u64 = 10;

/// The others of this time share one line.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Says which requests of a party were refused, without letting it write the log full.
#[derive(Debug)]
pub(super) struct RefusalLog {
    since: Instant,
    count: u64,
}

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Logged {
    /// Whether this refusal is.
    pub(super) is_told: bool,
    /// How many before it were not.
    pub(super) untold: u64,
}

impl RefusalLog {
    pub(super) fn new(now: Instant) -> Self {
        RefusalLog { since: now, count: 0 }
    }

    /// One more refusal.
    pub(super) fn note(&mut self, now: Instant) -> Logged {
        let mut untold = 0;
        if now.saturating_duration_since(self.since) >= LOG_INTERVAL {
            untold = self.untold();
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        Logged { is_told: self.count <= LOGGED_REFUSALS, untold }
    }

    /// How many were not told so far.
    pub(super) fn untold(&self) -> u64 {
        self.count.saturating_sub(LOGGED_REFUSALS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_then_what_the_rate_allows() {
        let limits = RequestLimits { per_second: 10, burst: 3, ..RequestLimits::default() };
        let start = Instant::now();
        let mut pace = Pace::new(&limits, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert!((0..3).all(|_| pace.take(start).is_ok()));
        assert_eq!(pace.take(start), Err(Refusal::Rate { per_second: 10, retry_after_ms: 100 }));
        assert_eq!(pace.take(at(40)), Err(Refusal::Rate { per_second: 10, retry_after_ms: 60 }));
        assert_eq!(pace.take(at(101)), Ok(()));
        assert!(pace.take(at(102)).is_err());
        // However long the pause, no more than a burst.
        assert_eq!((0..9).filter(|_| pace.take(at(60_000)).is_ok()).count(), 3);
    }

    #[test]
    fn a_flood_of_refusals_takes_few_lines_and_none_goes_uncounted() {
        let start = Instant::now();
        let mut log = RefusalLog::new(start);
        let told = (0..1_000).filter(|_| log.note(start).is_told).count();
        assert_eq!((told, log.untold()), (10, 990));
        let later = log.note(start + LOG_INTERVAL);
        assert_eq!(later, Logged { is_told: true, untold: 990 });
        assert_eq!(log.untold(), 0);
    }
}
