//! `blvm replay FILE --check`: what a recording holds, and whether it is whole.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use blvm_bus::message::topic;
use blvm_recording::{Header, Recording, Summary, TopicSummary};
use serde_json::{Value, json};

use super::super::RunError;
use super::super::cli::ReplayArguments;
use super::ReplayCommandError;

/// Reads all of it. Exit status 1 if it is damaged.
pub(super) fn run(arguments: &ReplayArguments) -> Result<ExitCode, RunError> {
    let mut recording = Recording::open(&arguments.file).map_err(ReplayCommandError::from)?;
    let header = recording.header().clone();
    let summary = Summary::of(&mut recording).map_err(ReplayCommandError::from)?;
    let text =
        if arguments.json { format!("{}\n", as_json(&header, &summary)) } else { as_text(&header, &summary) };
    io::stdout().write_all(text.as_bytes()).map_err(RunError::Output)?;
    match summary.damage {
        None => Ok(ExitCode::SUCCESS),
        Some(damage) => Err(ReplayCommandError::Read(damage.into()).into()),
    }
}

fn as_text(header: &Header, summary: &Summary) -> String {
    let mut text =
        format!("{} of {}, begun {}\n", header.network, header.program, time(header.started_unix_ms));
    if let Some(base) = &header.base {
        text += &format!("the chain from the block after height {}\n", base.height);
    }
    let seconds = summary.duration_ns / 1_000_000_000;
    text += &format!("{} records in {seconds} s\n", summary.records);
    for (number, counts) in &summary.topics {
        let TopicSummary { standing, repaired, bodies_gone, missed, bytes, .. } = counts;
        text += &format!("  {}: {} messages, {} KiB", name(*number), counts.messages(), bytes >> 10);
        for (count, what) in [
            (standing, "that tell how things stood"),
            (repaired, "made from answers"),
            (bodies_gone, "without their bodies"),
            (missed, "missing"),
        ] {
            if *count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text += "\n";
        for (kind, count) in &counts.kinds {
            text += &format!("    {kind}: {count}\n");
        }
    }
    text += match (&summary.damage, summary.ended_unix_ms) {
        (None, Some(_)) => "whole\n",
        _ => "not whole\n",
    };
    text
}

/// A time, of a file that may say anything: RFC 3339 ends with the year 9999.
fn time(unix_ms: u64) -> String {
    if unix_ms >= 253_402_300_800_000 {
        return format!("{unix_ms} ms after 1970");
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}

fn as_json(header: &Header, summary: &Summary) -> Value {
    let topics = summary.topics.iter().map(|(number, counts)| {
        let TopicSummary { kinds, standing, repaired, bodies_gone, missed, bytes } = counts;
        let messages = counts.messages();
        let counts = json!({
            "messages": messages, "kinds": kinds, "standing": standing, "repaired": repaired,
            "bodies_gone": bodies_gone, "missed": missed, "bytes": bytes,
        });
        (name(*number).to_owned(), counts)
    });
    json!({
        "network": header.network,
        "program": header.program,
        "started_unix_ms": header.started_unix_ms,
        "base_height": header.base.map(|base| base.height),
        "records": summary.records,
        "duration_ns": summary.duration_ns,
        "ended_unix_ms": summary.ended_unix_ms,
        "topics": topics.collect::<serde_json::Map<_, _>>(),
        "is_whole": summary.damage.is_none(),
        "damage": summary.damage.as_ref().map(|damage| json!({
            "offset": damage.offset, "records": damage.records, "what": damage.kind.to_string(),
        })),
    })
}

fn name(number: u32) -> &'static str {
    topic(number).map_or("?", |topic| topic.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_that_a_header_may_hold_is_told() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(253_402_300_799_999), "9999-12-31T23:59:59Z");
        for beyond in [253_402_300_800_000, u64::MAX] {
            assert_eq!(time(beyond), format!("{beyond} ms after 1970"));
        }
    }
}
