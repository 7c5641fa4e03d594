//! Options of `blvm run` that bound what one module may ask of the node.

use std::time::Duration;

use clap::Args;

use super::cli::{parse_bytes, parse_time};
use crate::module::RequestLimits;

/// Least bytes of a frame: a hello fits.
const LEAST_FRAME_BYTES: u64 = 4 << 10;

/// Least bytes of a frame with a block in it: the largest block fits.
const LEAST_SUBMISSION_BYTES: u64 = (4 << 20) + (64 << 10);

/// Most bytes of a frame: each module may have one that is not complete.
const MOST_FRAME_BYTES: u64 = 256 << 20;

/// Most requests a second.
const MOST_REQUESTS: u64 = 10_000_000;

/// Longest that a request may take.
const MOST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "What one module may ask of the node")]
pub(crate) struct LimitArguments {
    /// Requests a second over a longer time.
    #[arg(long, default_value = "20000", value_name = "N", value_parser = count(1, MOST_REQUESTS))]
    request_rate: u64,

    /// Requests at once after a pause; without it as many as in a second.
    #[arg(long, value_name = "N", value_parser = count(1, MOST_REQUESTS))]
    request_burst: Option<u64>,

    /// Longest that the node works on a request, and that a module may take for a call.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_deadline)]
    request_deadline: Duration,

    /// Requests that it may have without an answer.
    #[arg(long, default_value = "32", value_name = "N", value_parser = count(1, 1_000))]
    requests_in_flight: u64,

    /// Bytes of these requests; a single longer one is taken alone.
    #[arg(long, default_value = "32MiB", value_name = "BYTES", value_parser = bytes(4 << 10, 1 << 30))]
    request_bytes_in_flight: u64,

    /// Length of a request.
    #[arg(long, default_value = "1MiB", value_name = "BYTES", value_parser = bytes(LEAST_FRAME_BYTES, MOST_FRAME_BYTES))]
    request_bytes: u64,

    /// Length of a request with a block in it; never less than --request-bytes.
    #[arg(long, default_value = "8MiB", value_name = "BYTES", value_parser = bytes(LEAST_SUBMISSION_BYTES, MOST_FRAME_BYTES))]
    submission_bytes: u64,

    /// Long answers that it may hold: unread, open or mapped. Each is a descriptor of the node's.
    #[arg(long, default_value = "8", value_name = "N", value_parser = count(1, 64))]
    held_answers: u64,

    /// Bytes of these answers; a single longer one it may hold alone.
    #[arg(long, default_value = "256MiB", value_name = "BYTES", value_parser = bytes(64 << 10, 16 << 30))]
    held_answer_bytes: u64,

    /// Blocks from elsewhere that may wait to be judged.
    #[arg(long, default_value = "64", value_name = "N", value_parser = count(1, 100_000))]
    queued_blocks: u64,

    /// Bytes of these blocks; a single longer one may wait alone.
    #[arg(long, default_value = "64MiB", value_name = "BYTES", value_parser = bytes(1 << 20, 16 << 30))]
    queued_block_bytes: u64,

    /// Events that it may publish a second.
    #[arg(long, default_value = "1000", value_name = "N", value_parser = count(1, 1_000_000))]
    event_rate: u64,

    /// Bytes of these events a second.
    #[arg(long, default_value = "128KiB", value_name = "BYTES", value_parser = bytes(1 << 10, 1 << 30))]
    event_bytes: u64,
}

impl LimitArguments {
    /// As [`LimitArguments::limits`], without those that are so much a second: in a replay what a module is answered does not
    /// depend on how fast it is played.
    pub(crate) fn without_clock(&self) -> RequestLimits {
        RequestLimits {
            per_second: u32::MAX,
            burst: u32::MAX,
            events_per_second: u32::MAX,
            event_bytes_per_second: u32::MAX,
            ..self.limits()
        }
    }

    pub(crate) fn limits(&self) -> RequestLimits {
        // The parsers have bounded them all far below what the narrower types hold.
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        RequestLimits {
            per_second: small(self.request_rate),
            burst: small(self.request_burst.unwrap_or(self.request_rate)),
            deadline: self.request_deadline,
            requests_in_flight: small(self.requests_in_flight),
            bytes_in_flight: self.request_bytes_in_flight,
            held_answer_bytes: self.held_answer_bytes,
            held_answers: small(self.held_answers),
            frame_bytes: size(self.request_bytes),
            submission_bytes: size(self.submission_bytes.max(self.request_bytes)),
            queued_blocks: small(self.queued_blocks),
            queued_block_bytes: self.queued_block_bytes,
            events_per_second: small(self.event_rate),
            event_bytes_per_second: small(self.event_bytes),
        }
    }
}

/// Reads a count between two bounds.
fn count(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let count = text.parse().map_err(|_| "not a whole number".to_owned())?;
        between(count, least, most, "")
    }
}

/// Reads a number of bytes between two bounds.
fn bytes(least: u64, most: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text: &str| between(parse_bytes(text)?, least, most, " bytes")
}

fn between(value: u64, least: u64, most: u64, unit: &str) -> Result<u64, String> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("it must be between {least} and {most}{unit}"))
    }
}

fn parse_deadline(text: &str) -> Result<Duration, String> {
    let deadline = parse_time(text)?;
    if (Duration::from_millis(1)..=MOST_DEADLINE).contains(&deadline) {
        Ok(deadline)
    } else {
        Err("it must be between 1ms and 1day".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArguments,
    }

    fn read(arguments: &[&str]) -> Result<RequestLimits, String> {
        let arguments = std::iter::once("blvm").chain(arguments.iter().copied());
        Line::try_parse_from(arguments)
            .map(|line| line.limits.limits())
            .map_err(|error| error.render().to_string())
    }

    #[test]
    fn without_options_the_limits_are_the_defaults() {
        assert_eq!(read(&[]), Ok(RequestLimits::default()));
    }

    #[test]
    fn each_option_sets_its_limit() {
        let default = RequestLimits::default();
        for (option, value, expected) in [
            ("--request-rate", "50", RequestLimits { per_second: 50, burst: 50, ..default }),
            ("--request-burst", "9", RequestLimits { burst: 9, ..default }),
            (
                "--request-deadline",
                "250ms",
                RequestLimits { deadline: Duration::from_millis(250), ..default },
            ),
            ("--requests-in-flight", "3", RequestLimits { requests_in_flight: 3, ..default }),
            ("--request-bytes-in-flight", "2MiB", RequestLimits { bytes_in_flight: 2 << 20, ..default }),
            ("--request-bytes", "64KiB", RequestLimits { frame_bytes: 64 << 10, ..default }),
            (
                "--request-bytes",
                "16MiB",
                RequestLimits { frame_bytes: 16 << 20, submission_bytes: 16 << 20, ..default },
            ),
            ("--submission-bytes", "5MiB", RequestLimits { submission_bytes: 5 << 20, ..default }),
            ("--held-answers", "1", RequestLimits { held_answers: 1, ..default }),
            ("--held-answer-bytes", "1GiB", RequestLimits { held_answer_bytes: 1 << 30, ..default }),
            ("--queued-blocks", "2", RequestLimits { queued_blocks: 2, ..default }),
            ("--queued-block-bytes", "8000000", RequestLimits { queued_block_bytes: 8_000_000, ..default }),
            ("--event-rate", "5", RequestLimits { events_per_second: 5, ..default }),
            ("--event-bytes", "4KiB", RequestLimits { event_bytes_per_second: 4 << 10, ..default }),
        ] {
            assert_eq!(read(&[option, value]), Ok(expected), "{option} {value}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_may_be_asked_for() {
        for (option, value, named) in [
            ("--request-rate", "0", "between 1 and 10000000"),
            ("--request-rate", "fast", "whole number"),
            ("--request-burst", "1.5", "whole number"),
            ("--request-deadline", "0s", "between 1ms and 1day"),
            ("--request-deadline", "2days", "between 1ms and 1day"),
            ("--requests-in-flight", "0", "between 1 and 1000"),
            ("--request-bytes-in-flight", "1", "between 4096 and"),
            ("--request-bytes", "1KiB", "between 4096 and"),
            ("--request-bytes", "1GiB", "between 4096 and"),
            ("--submission-bytes", "1MiB", "between 4259840 and"),
            ("--submission-bytes", "much", "such as 512KiB"),
            ("--held-answers", "65", "between 1 and 64"),
            ("--held-answer-bytes", "1", "between 65536 and"),
            ("--queued-blocks", "0", "between 1 and 100000"),
            ("--queued-block-bytes", "0", "between 1048576 and"),
        ] {
            let error = read(&[option, value]).unwrap_err();
            assert!(error.contains(named) && error.contains(option), "{error}");
        }
    }
}
