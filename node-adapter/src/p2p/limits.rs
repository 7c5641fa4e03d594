//! How much of the node one peer may use: each share is a bucket that fills with time and is spent by messages.
//!
//! Shares are far above what honest peers need. Where a peer is expected to send much (it serves blocks to us), spending more
//! makes it wait: it is not read meanwhile. What nobody asked for is dropped beyond the share.

use std::time::Duration;

use tokio::time::Instant;

/// Least time between two reports of one share, so that reports are no flood themselves.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Longest pause of one message.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Messages, blocks apart.
    Messages,
    /// Bytes; those of blocks count an eighth.
    Bytes,
    /// Announced items.
    Inventory,
    /// Items asked for; a `getheaders` counts as [`GET_HEADERS_ITEMS`].
    Requests,
    /// Addresses.
    Addresses,
    /// Raw packets for modules.
    Packets,
    /// Bytes of raw packets for modules.
    PacketBytes,
}

/// What a `getheaders` costs in items asked for.
pub(super) const GET_HEADERS_ITEMS: u64 = 100;

/// Shares there are.
const SHARES: usize = 7;

/// A share: what may be spent at once, and what comes back in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Most that is held.
    pub burst: f64,
    /// What is added in a second.
    pub per_second: f64,
}

/// The shares of one peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Messages without blocks. Default 20,000 at once, 2,000 a second.
    pub messages: Limit,
    /// Bytes; those of blocks count an eighth. Default 64 MB at once, 16 MB a second.
    pub bytes: Limit,
    /// Announced items; more are dropped. Default 100,000 at once (two full `inv`), 2,000 a second.
    pub inventory: Limit,
    /// Items asked for. Default 50,000 at once (a full `getdata`), 2,000 a second.
    pub requests: Limit,
    /// Addresses; more are dropped. Default 1,000 at once, 0.1 a second.
    ///
    /// Source: `MAX_ADDR_PROCESSING_TOKEN_BUCKET` and `MAX_ADDR_RATE_PER_SECOND` in Bitcoin Core's `src/net_processing.cpp`.
    pub addresses: Limit,
    /// Raw packets for modules; more are dropped. Default 2,000 at once, 500 a second.
    pub packets: Limit,
    /// Their bytes; more are dropped. Default 4 MB at once, 2 MB a second.
    pub packet_bytes: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |burst, per_second| Limit { burst, per_second };
        Self {
            messages: limit(20_000.0, 2_000.0),
            bytes: limit(64e6, 16e6),
            inventory: limit(100_000.0, 2_000.0),
            requests: limit(50_000.0, 2_000.0),
            addresses: limit(1_000.0, 0.1),
            packets: limit(2_000.0, 500.0),
            packet_bytes: limit(4e6, 2e6),
        }
    }
}

impl Share {
    /// What it is, in words for a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Inventory => "announcements",
            Self::Requests => "requests",
            Self::Addresses => "addresses",
            Self::Packets => "packets",
            Self::PacketBytes => "packet bytes",
        }
    }
}

/// What one peer has left.
#[derive(Debug)]
pub(super) struct Meter {
    buckets: [Bucket; SHARES],
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: Limit,
    level: f64,
    filled: Instant,
    reported: Option<Instant>,
}

impl Meter {
    /// All shares are full.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let bucket = |limit: Limit| Bucket { limit, level: limit.burst, filled: now, reported: None };
        Self {
            // In the order of `Share`.
            buckets: [
                bucket(limits.messages),
                bucket(limits.bytes),
                bucket(limits.inventory),
                bucket(limits.requests),
                bucket(limits.addresses),
                bucket(limits.packets),
                bucket(limits.packet_bytes),
            ],
        }
    }

    /// Spends `amount`, also where less is left; answers how long the peer has to wait before it is read again.
    pub fn spend(&mut self, share: Share, amount: u64, now: Instant) -> Duration {
        let bucket = self.filled(share, now);
        bucket.level -= amount as f64;
        if bucket.level >= 0.0 {
            return Duration::ZERO;
        }
        let wait = Duration::try_from_secs_f64(-bucket.level / bucket.limit.per_second);
        wait.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
    }

    /// Spends `amount` if all of it is left.
    pub fn try_spend(&mut self, share: Share, amount: u64, now: Instant) -> bool {
        let bucket = self.filled(share, now);
        let is_left = bucket.level >= amount as f64;
        if is_left {
            bucket.level -= amount as f64;
        }
        is_left
    }

    /// Spends as much of `amount` as is left; answers how much that was.
    pub fn spend_up_to(&mut self, share: Share, amount: usize, now: Instant) -> usize {
        let bucket = self.filled(share, now);
        // Not negative, and at most `amount`.
        let taken = (bucket.level.max(0.0) as usize).min(amount);
        bucket.level -= taken as f64;
        taken
    }

    /// Whether to report that a share was exceeded: not more than once a second.
    pub fn is_to_be_reported(&mut self, share: Share, now: Instant) -> bool {
        let bucket = &mut self.buckets[share as usize];
        let is_due = bucket.reported.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL);
        if is_due {
            bucket.reported = Some(now);
        }
        is_due
    }

    fn filled(&mut self, share: Share, now: Instant) -> &mut Bucket {
        let bucket = &mut self.buckets[share as usize];
        let came = now.duration_since(bucket.filled).as_secs_f64() * bucket.limit.per_second;
        bucket.level = (bucket.level + came).min(bucket.limit.burst);
        bucket.filled = now;
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(burst: f64, per_second: f64) -> (Meter, Instant) {
        let limit = Limit { burst, per_second };
        let now = Instant::now();
        let limits = Limits { messages: limit, inventory: limit, packets: limit, ..Limits::default() };
        (Meter::new(&limits, now), now)
    }

    #[test]
    fn spending_the_share_costs_no_time_and_more_costs_the_time_to_fill() {
        let (mut meter, now) = meter(100.0, 10.0);
        assert_eq!(meter.spend(Share::Messages, 100, now), Duration::ZERO);
        assert_eq!(meter.spend(Share::Messages, 1, now), Duration::from_millis(100));
        let later = now + Duration::from_millis(100);
        assert_eq!(meter.spend(Share::Messages, 1, later), Duration::from_millis(100));
        assert_eq!(meter.spend(Share::Messages, 1_000_000, later), LONGEST_PAUSE);
    }

    #[test]
    fn a_share_fills_up_to_its_burst_and_not_beyond() {
        let (mut meter, now) = meter(100.0, 10.0);
        assert_eq!(meter.spend_up_to(Share::Inventory, 150, now), 100);
        assert_eq!(meter.spend_up_to(Share::Inventory, 1, now), 0);
        assert_eq!(meter.spend_up_to(Share::Inventory, 150, now + Duration::from_secs(2)), 20);
        assert_eq!(meter.spend_up_to(Share::Inventory, 150, now + Duration::from_secs(1_000)), 100);
        assert_eq!(meter.spend_up_to(Share::Inventory, usize::MAX, now + Duration::from_secs(1_001)), 10);
    }

    #[test]
    fn what_does_not_fit_is_not_spent() {
        let (mut meter, now) = meter(10.0, 0.0);
        assert!(!meter.try_spend(Share::Packets, 11, now));
        assert!(meter.try_spend(Share::Packets, 10, now) && !meter.try_spend(Share::Packets, 1, now));
        assert_eq!(meter.spend(Share::Packets, 1, now), LONGEST_PAUSE, "a share that never fills");
    }

    #[test]
    fn shares_do_not_touch_each_other_and_reports_are_a_second_apart() {
        let (mut meter, now) = meter(1.0, 0.0);
        assert!(meter.try_spend(Share::Packets, 1, now) && meter.try_spend(Share::Messages, 1, now));
        assert!(meter.is_to_be_reported(Share::Packets, now));
        assert!(!meter.is_to_be_reported(Share::Packets, now + REPORT_INTERVAL / 2));
        assert!(meter.is_to_be_reported(Share::Messages, now));
        assert!(meter.is_to_be_reported(Share::Packets, now + REPORT_INTERVAL));
    }
}
