//! DNS seeds: names that resolve to nodes, asked where the address book leads to nobody.
//!
//! A seed learns this node's address, or its resolver's, and chooses what it answers. So seeds are asked as seldom as can be,
//! and never for more than a first step: what they name goes to the book, as if it had been seen some days ago.
//!
//! Source: `ThreadDNSAddressSeed` in Bitcoin Core's `src/net.cpp`.

use std::time::Duration;

use bitcoin::p2p::ServiceFlags;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use super::addresses::{DOUBTFUL_S, now_s};
use super::context::Context;

/// Time without any outbound peer after which seeds are asked although the book has addresses left.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two rounds; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Longest time one seed may take.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);

/// Addresses taken of one seed, so that none of them fills the book.
///
/// Source: `nMaxIPs` in `ThreadDNSAddressSeed`.
const PER_SEED: usize = 32;

/// What a seed's nodes are said to offer: seeds are asked for such nodes only, by a name that begins with `x9.`
const OFFERED: ServiceFlags = ServiceFlags::NETWORK;

/// When to ask.
#[derive(Debug)]
pub(super) struct Seeds {
    /// Since when there is no outbound peer.
    alone_since: Option<Instant>,
    next: Instant,
    pause: Duration,
}

impl Seeds {
    /// Nobody was asked yet.
    pub fn new(now: Instant) -> Self {
        Self { alone_since: Some(now), next: now, pause: FIRST_PAUSE }
    }

    /// Whether to ask at `now`: without outbound peers, when the book has nothing to dial, or nobody who answers for long.
    pub fn is_due(&mut self, has_peers: bool, is_book_empty: bool, now: Instant) -> bool {
        if has_peers {
            *self = Self { alone_since: None, next: self.next, pause: FIRST_PAUSE };
            return false;
        }
        let since = *self.alone_since.get_or_insert(now);
        let is_late = now.duration_since(since) >= PATIENCE;
        if now < self.next || !(is_book_empty || is_late) {
            return false;
        }
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Asks every seed, and enters what it names in the book.
    pub async fn ask(&self, context: &Context) {
        for seed in &context.options.seeds {
            let found = tokio::select! {
                () = context.stop.cancelled() => return,
                found = timeout(LOOKUP_PATIENCE, lookup_host((seed.as_str(), context.options.seed_port))) => found,
            };
            match found {
                Ok(Ok(addresses)) => {
                    let seen_s = now_s().saturating_sub(DOUBTFUL_S);
                    let mut count = 0;
                    for address in addresses.take(PER_SEED) {
                        context.addresses.learn(address, OFFERED.to_u64(), Some(seen_s), &*context.sink);
                        count += 1;
                    }
                    tracing::info!(seed, count, "a DNS seed named nodes");
                }
                Ok(Err(error)) => tracing::info!(seed, %error, "a DNS seed cannot be resolved"),
                Err(_) => tracing::info!(seed, "a DNS seed does not answer"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_asked_only_by_who_knows_nobody_and_ever_more_seldom() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seeds = Seeds::new(start);
        assert!(!seeds.is_due(false, false, at(0)), "the book comes first");
        assert!(!seeds.is_due(false, false, at(59)));
        assert!(seeds.is_due(false, false, at(60)), "nobody of it answers");
        assert!(!seeds.is_due(false, true, at(119)));
        assert!(seeds.is_due(false, true, at(120)));
        assert!(!seeds.is_due(false, true, at(239)) && seeds.is_due(false, true, at(240)));
        let rounds = (241..100_000).filter(|second| seeds.is_due(false, true, at(*second))).count();
        assert!((25..35).contains(&rounds), "once an hour: {rounds}");
        assert!(!seeds.is_due(true, true, at(200_000)));
        assert!(!seeds.is_due(false, false, at(200_001)), "the last peer has just gone");
        assert!(seeds.is_due(false, true, at(200_002)));
    }

    #[test]
    fn an_empty_book_asks_at_once() {
        let now = Instant::now();
        assert!(Seeds::new(now).is_due(false, true, now));
    }
}
