//! When to ping a peer, and when to give it up.

use std::time::Duration;

use tokio::time::Instant;

use super::close::CloseReason;

/// What [`Keepalive::due`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a ping with this nonce.
    Ping(u64),
    /// Nothing before [`Keepalive::next`].
    Nothing,
}

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    heard: Instant,
    next_ping: Instant,
    /// The oldest ping without a pong.
    unanswered: Option<(u64, Instant)>,
    last_nonce: u64,
}

impl Keepalive {
    /// Pings every `interval`; gives up after `timeout` without a message, or without a pong.
    pub fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self { interval, timeout, heard: now, next_ping: now + interval, unanswered: None, last_nonce: 0 }
    }

    /// Notes that a whole message came.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes a pong and answers the round trip; one that answers nothing is ignored.
    pub fn pong(&mut self, nonce: u64, now: Instant) -> Option<Duration> {
        let (_, since) = self.unanswered.take_if(|(asked, _)| *asked == nonce)?;
        Some(now.duration_since(since))
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        let given_up = self.heard + self.timeout;
        let unanswered = self.unanswered.map(|(_, since)| since + self.timeout);
        unanswered.unwrap_or(self.next_ping).min(given_up)
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Result<Due, CloseReason> {
        let silent = now.duration_since(self.heard);
        if silent >= self.timeout {
            return Err(CloseReason::Inactive { silent_ms: silent.as_millis() });
        }
        if let Some((_, since)) = self.unanswered {
            let waited = now.duration_since(since);
            if waited >= self.timeout {
                return Err(CloseReason::PingTimeout { waited_ms: waited.as_millis() });
            }
            return Ok(Due::Nothing);
        }
        if now < self.next_ping {
            return Ok(Due::Nothing);
        }
        self.last_nonce += 1;
        self.unanswered = Some((self.last_nonce, now));
        self.next_ping = now + self.interval;
        Ok(Due::Ping(self.last_nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn pings_follow_the_interval_while_pongs_come() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, TIMEOUT, start);
        assert_eq!(keepalive.next(), at(start, 2));
        assert_eq!(keepalive.due(at(start, 1)).unwrap(), Due::Nothing);
        assert_eq!(keepalive.due(at(start, 2)).unwrap(), Due::Ping(1));
        assert_eq!(keepalive.pong(9, at(start, 3)), None);
        assert_eq!(keepalive.due(at(start, 4)).unwrap(), Due::Nothing, "one ping at a time");
        assert_eq!(keepalive.pong(1, at(start, 3)), Some(Duration::from_secs(1)));
        assert_eq!(keepalive.due(at(start, 4)).unwrap(), Due::Ping(2));
    }

    #[test]
    fn silence_ends_the_connection_at_the_timeout() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Duration::from_secs(60), TIMEOUT, start);
        assert_eq!(keepalive.next(), at(start, 10));
        assert!(keepalive.due(at(start, 9)).is_ok());
        assert!(matches!(keepalive.due(at(start, 10)), Err(CloseReason::Inactive { silent_ms: 10_000 })));
    }

    #[test]
    fn chatter_without_pongs_ends_the_connection_too() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, TIMEOUT, start);
        assert_eq!(keepalive.due(at(start, 2)).unwrap(), Due::Ping(1));
        keepalive.heard(at(start, 11));
        assert_eq!(keepalive.next(), at(start, 12));
        assert!(matches!(keepalive.due(at(start, 12)), Err(CloseReason::PingTimeout { waited_ms: 10_000 })));
    }
}
