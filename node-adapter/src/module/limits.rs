//! What one party may ask of the node: how fast, how long, and how many of its answers it may hold.

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
    /// Requests taken and not answered yet.
    pub requests_in_flight: u32,
    /// Bytes of their bodies; a single longer one may be taken alone.
    pub bytes_in_flight: u64,
    /// Bytes of the long answers that it may hold; a single longer one it may hold alone.
    pub held_answer_bytes: u64,
    /// Long answers that it may hold: unread, open or mapped.
    pub held_answers: u32,
    /// Bytes of a frame's body.
    pub frame_bytes: usize,
    /// Bytes of a frame's body with a block in it.
    pub submission_bytes: usize,
    /// Blocks brought from elsewhere that may wait to be judged.
    pub queued_blocks: u32,
    /// Their bytes; a single longer one may wait alone.
    pub queued_block_bytes: u64,
    /// Events published a second over a longer time, and at once after a pause.
    pub events_per_second: u32,
    /// Their bytes: names and payloads.
    pub event_bytes_per_second: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits {
            per_second: 20_000,
            burst: 20_000,
            deadline: Duration::from_secs(30),
            requests_in_flight: 32,
            bytes_in_flight: 32 << 20,
            held_answer_bytes: 256 << 20,
            held_answers: 8,
            frame_bytes: MAX_FRAME_BYTES,
            submission_bytes: MAX_SUBMISSION_BYTES,
            queued_blocks: 64,
            queued_block_bytes: 64 << 20,
            events_per_second: 1_000,
            event_bytes_per_second: 128 << 10,
        }
    }
}

/// Counts what comes: a bucket that fills with time.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u32,
    most: u32,
    left: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one. Neither may be none at all: nothing could be taken any more.
    pub(super) fn new(per_second: u32, most: u32, now: Instant) -> Self {
        let (per_second, most) = (per_second.max(1), most.max(1));
        Bucket { per_second, most, left: f64::from(most), filled: now }
    }

    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Whether `amount` may be taken now; if not, after how many milliseconds.
    pub(super) fn look(&mut self, amount: u32, now: Instant) -> Result<(), u32> {
        let per_second = f64::from(self.per_second);
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * per_second).min(f64::from(self.most));
        self.filled = now;
        let missing = f64::from(amount) - self.left;
        if missing <= 0.0 {
            return Ok(());
        }
        // At least one: a wait of less than a millisecond is rounded up.
        Err(((missing / per_second * 1000.0).ceil() as u32).max(1))
    }

    /// Takes what was looked for.
    pub(super) fn spend(&mut self, amount: u32) {
        self.left -= f64::from(amount);
    }
}

/// Counts requests.
#[derive(Debug)]
pub(super) struct Pace(Bucket);

impl Pace {
    pub(super) fn new(limits: &RequestLimits, now: Instant) -> Self {
        Pace(Bucket::new(limits.per_second, limits.burst, now))
    }

    /// Takes one request.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Refusal> {
        match self.0.look(1, now) {
            Ok(()) => {
                self.0.spend(1);
                Ok(())
            }
            Err(retry_after_ms) => Err(Refusal::Rate { per_second: self.0.per_second, retry_after_ms }),
        }
    }
}

/// Refusals logged one by one in an interval.
const LOGGED_REFUSALS: u64 = 10;

/// The others of this time share one line.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// As that, in the audit log: at this pace one module takes two months to fill it.
pub(super) const AUDIT_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Says which requests of a party were refused, without letting it write the log full.
#[derive(Debug)]
pub(super) struct RefusalLog {
    interval: Duration,
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
    /// One in which the refusals of each `interval` take few lines.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        RefusalLog { interval, since: now, count: 0 }
    }

    /// One more refusal.
    pub(super) fn note(&mut self, now: Instant) -> Logged {
        let mut untold = 0;
        if now.saturating_duration_since(self.since) >= self.interval {
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
        let mut log = RefusalLog::new(LOG_INTERVAL, start);
        let told = (0..1_000).filter(|_| log.note(start).is_told).count();
        assert_eq!((told, log.untold()), (10, 990));
        let later = log.note(start + LOG_INTERVAL);
        assert_eq!(later, Logged { is_told: true, untold: 990 });
        assert_eq!(log.untold(), 0);
    }
}
