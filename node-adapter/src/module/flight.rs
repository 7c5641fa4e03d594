//! Requests of one party that the node has taken and not answered: how many, and the bytes of what it keeps for them.

use std::sync::Arc;

use blvm_bus::request::Refusal;
use parking_lot::Mutex;

use super::limits::RequestLimits;

/// Counts what is in flight.
#[derive(Debug)]
pub(super) struct Flight {
    limit: u32,
    limit_bytes: u64,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u32,
    bytes: u64,
}

/// One request in flight; dropped when it is answered.
#[derive(Debug)]
pub(super) struct InFlight {
    bytes: u64,
    counts: Arc<Mutex<Counts>>,
}

impl Flight {
    /// Nothing is in flight. One request may always be: else nothing could be asked.
    pub(super) fn new(limits: &RequestLimits) -> Self {
        let (limit, limit_bytes) = (limits.requests_in_flight.max(1), limits.bytes_in_flight);
        Flight { limit, limit_bytes, counts: Arc::default() }
    }

    /// One more request, with a body of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Limit`] names what there is too much of.
    pub(super) fn take(&self, bytes: u64) -> Result<InFlight, Refusal> {
        let mut counts = self.counts.lock();
        if counts.requests >= self.limit {
            let what = "requests in flight".to_owned();
            return Err(Refusal::Limit { what, limit: u64::from(self.limit) });
        }
        if counts.bytes > 0 && counts.bytes + bytes > self.limit_bytes {
            let what = "bytes of requests in flight".to_owned();
            return Err(Refusal::Limit { what, limit: self.limit_bytes });
        }
        counts.requests += 1;
        counts.bytes += bytes;
        Ok(InFlight { bytes, counts: Arc::clone(&self.counts) })
    }
}

impl InFlight {
    /// What is kept for it has `bytes` from now on, instead of its body.
    pub(super) fn set_bytes(&mut self, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.bytes = counts.bytes - self.bytes + bytes;
        self.bytes = bytes;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.requests -= 1;
        counts.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_requests_and_bytes_are_in_flight_and_a_long_one_alone() {
        let limits =
            RequestLimits { requests_in_flight: 3, bytes_in_flight: 100, ..RequestLimits::default() };
        let flight = Flight::new(&limits);
        let limit = |what: &str, limit| Refusal::Limit { what: what.to_owned(), limit };
        let requests = limit("requests in flight", 3);
        let bytes = limit("bytes of requests in flight", 100);
        let mut waiting = flight.take(30).unwrap();
        assert_eq!(flight.take(1_000).unwrap_err(), bytes);
        // Of one that only waits nothing is kept: it keeps no long one out.
        waiting.set_bytes(0);
        let long = flight.take(1_000).unwrap();
        assert_eq!(flight.take(1).unwrap_err(), bytes);
        drop(long);
        // An answer that is there counts in its place.
        waiting.set_bytes(100);
        assert_eq!(flight.take(1).unwrap_err(), bytes);
        drop(waiting);
        let most = flight.take(99).unwrap();
        let rest = flight.take(1).unwrap();
        assert_eq!(flight.take(1).unwrap_err(), bytes);
        let _none = flight.take(0).unwrap();
        assert_eq!(flight.take(0).unwrap_err(), requests);
        drop(rest);
        let _again = flight.take(1).unwrap();
        drop(most);
        let counts = flight.counts.lock();
        assert_eq!((counts.requests, counts.bytes), (2, 1));
        drop(counts);
    }
}
