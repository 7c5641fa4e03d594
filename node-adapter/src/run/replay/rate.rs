//! The pace of a replay.

use std::str::FromStr;
use std::time::Duration;

/// How fast a recording is played; never faster than its modules read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// As fast as the modules read.
    Full,
    /// So many times as fast as it was recorded.
    Times(f64),
    /// So many messages a second.
    PerSecond(f64),
}

/// Slowest and fastest factor and rate: a time beyond them would not fit.
const BOUNDS: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| BOUNDS.contains(number));
        let rate = match text {
            "full" => Some(Rate::Full),
            "real" => Some(Rate::Times(1.0)),
            _ => match (text.strip_suffix('x'), text.strip_suffix("/s")) {
                (Some(times), _) => number(times).map(Rate::Times),
                (_, Some(messages)) => number(messages).map(Rate::PerSecond),
                _ => None,
            },
        };
        rate.ok_or_else(|| "not a pace, such as full, real, 2x, 0.5x or 50/s".to_owned())
    }
}

impl Rate {
    /// When a message is due, from the start of the replay: message `number`, from 0, published `at_ns` after the start of the
    /// recording. `None` if at once.
    pub(super) fn due(self, number: u64, at_ns: u64) -> Option<Duration> {
        let seconds = match self {
            Rate::Full => return None,
            Rate::Times(times) => at_ns as f64 / 1e9 / times,
            Rate::PerSecond(messages) => number as f64 / messages,
        };
        // A time that long never comes.
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paces_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Rate>();
        assert_eq!(read("full"), Ok(Rate::Full));
        assert_eq!(read("real"), Ok(Rate::Times(1.0)));
        assert_eq!(read("2x"), Ok(Rate::Times(2.0)));
        assert_eq!(read("0.5x"), Ok(Rate::Times(0.5)));
        assert_eq!(read("50/s"), Ok(Rate::PerSecond(50.0)));
        for wrong in ["", "fast", "0x", "-1x", "x", "/s", "0/s", "infx", "nan/s", "5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn messages_are_due_as_the_pace_says() {
        let second = 1_000_000_000;
        assert_eq!(Rate::Full.due(7, second), None);
        assert_eq!(Rate::Times(2.0).due(7, 3 * second), Some(Duration::from_millis(1_500)));
        assert_eq!(Rate::PerSecond(4.0).due(6, 3 * second), Some(Duration::from_millis(1_500)));
        assert_eq!(Rate::Times(1e-6).due(0, u64::MAX).map(|due| due > Duration::from_secs(1)), Some(true));
    }
}
