//! One message as a line: JSON for programs, columns for people.
//!
//! JSON: the keys `topic`, `sequence`, `kind`, `published_at_ns`, then the fields by their names and in their order, without
//! white space. Numbers are numbers, hashes are reversed as Bitcoin shows them, bytes are hexadecimal, what is not known is
//! `null`. The same message always gives the same line.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use blvm_bus::message::{Topic, Value};

/// Columns of the time within a timestamp of RFC 3339.
const TIME_OF_DAY: std::ops::Range<usize> = 11..23;

/// A message.
pub(super) struct Line<'a, E> {
    pub(super) sequence: u64,
    pub(super) published_at_ns: u64,
    pub(super) age_ns: u64,
    pub(super) event: &'a E,
}

// Writing to a string cannot fail.
impl<'a, E> Line<'_, E> {
    /// Adds it to `out`.
    pub(super) fn json<T: Topic<Event<'a> = E>>(&self, out: &mut String) {
        let mut fields = String::new();
        let kind = T::visit_event(self.event, &mut |name, value| {
            let _ = write!(fields, ",\"{name}\":");
            json_value(value, &mut fields);
        });
        let _ = writeln!(
            out,
            "{{\"topic\":\"{}\",\"sequence\":{},\"kind\":\"{kind}\",\"published_at_ns\":{}{fields}}}",
            T::NAME,
            self.sequence,
            self.published_at_ns,
        );
    }

    /// Adds it to `out`: time of day (UTC), sequence, kind, fields.
    pub(super) fn text<T: Topic<Event<'a> = E>>(&self, out: &mut String) {
        let mut fields = String::new();
        let kind = T::visit_event(self.event, &mut |name, value| {
            let _ = write!(fields, "  {name}=");
            text_value(value, &mut fields);
        });
        let age = Duration::from_nanos(self.age_ns);
        let published = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let time = humantime::format_rfc3339_millis(published).to_string();
        let time = time.get(TIME_OF_DAY).unwrap_or("-");
        let width = T::KINDS.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
        let _ = writeln!(out, "{time}  {:>8}  {kind:<width$}{fields}", self.sequence);
    }
}

/// Adds the line that says how many messages were overwritten before they were read.
pub(super) fn missed(messages: u64, as_json: bool, out: &mut String) {
    let _ = if as_json {
        writeln!(out, "{{\"missed\":{messages}}}")
    } else {
        writeln!(
            out,
            "{:>12}  {:>8}  {messages} messages were overwritten before they were read",
            "", "missed"
        )
    };
}

fn json_value(value: Value<'_>, out: &mut String) {
    let _ = match value {
        Value::U64(_) | Value::I64(_) | Value::Bool(_) => write!(out, "{value}"),
        Value::Hash(_) | Value::Bytes(_) => write!(out, "\"{value}\""),
        Value::Hashes(hashes) => {
            let texts: Vec<_> = hashes.iter().map(|hash| format!("\"{}\"", Value::Hash(hash))).collect();
            write!(out, "[{}]", texts.join(","))
        }
        Value::Numbers(numbers) => {
            let texts: Vec<_> = numbers.iter().map(|number| number.to_native().to_string()).collect();
            write!(out, "[{}]", texts.join(","))
        }
        Value::Text(text) => {
            json_text(text, out);
            Ok(())
        }
        // Absent, or of a kind this program does not know.
        _ => write!(out, "null"),
    };
}

/// As `serde_json` does, and the control characters it lets through as well: the line may go to a terminal.
fn json_text(text: &str, out: &mut String) {
    // Every text can be written as JSON.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    for character in quoted.chars() {
        let _ = if character.is_control() {
            write!(out, "\\u{:04x}", u32::from(character))
        } else {
            write!(out, "{character}")
        };
    }
}

fn text_value(value: Value<'_>, out: &mut String) {
    let _ = match value {
        Value::Bytes(bytes) => write!(out, "({} bytes)", bytes.len()),
        Value::Hashes(hashes) => write!(out, "({} hashes)", hashes.len()),
        // Quoted, and without control characters.
        Value::Text(text) => write!(out, "{text:?}"),
        value => write!(out, "{value}"),
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blvm_bus::message::chain::{BlockDisconnected, Chain};
    use blvm_bus::message::peers::{PeerDisconnected, Peers};
    use blvm_bus::message::{Kind, TOPICS};

    use super::*;

    fn lines<T: Topic, K: Kind<Topic = T>>(message: &K) -> (String, String) {
        let mut archive = blvm_bus::Scratch::new();
        message.archive_into(&mut archive);
        let event = T::decode(K::NUMBER, &archive).unwrap();
        let line = Line { sequence: 7, published_at_ns: 123, age_ns: 5, event: &event };
        let (mut json, mut text) = (String::new(), String::new());
        line.json::<T>(&mut json);
        line.text::<T>(&mut text);
        (json, text)
    }

    #[test]
    fn a_message_is_one_line_of_json_in_a_fixed_order_and_one_of_text() {
        let mut hash = [0; 32];
        hash[0] = 0xab;
        let (json, text) = lines::<Chain, _>(&BlockDisconnected { hash, previous: [1; 32], height: 9 });
        let reversed = format!("{}ab", "00".repeat(31));
        let previous = "01".repeat(32);
        assert_eq!(
            json,
            format!(
                "{{\"topic\":\"chain\",\"sequence\":7,\"kind\":\"BlockDisconnected\",\"published_at_ns\":123,\
                 \"hash\":\"{reversed}\",\"previous\":\"{previous}\",\"height\":9}}\n"
            )
        );
        let columns =
            format!("         7  BlockDisconnected  hash={reversed}  previous={previous}  height=9\n");
        assert_eq!(text[12..], columns);
    }

    #[test]
    fn what_a_peer_says_can_neither_break_a_line_nor_reach_the_terminal() {
        let reason = "a\"\\\n\u{1b}[2J\u{7f}\u{9b}é".to_owned();
        let (json, text) = lines::<Peers, _>(&PeerDisconnected { id: 3, reason: reason.clone() });
        for line in [&json, &text] {
            assert!(
                line.ends_with('\n') && !line.trim_end_matches('\n').contains(char::is_control),
                "{line:?}"
            );
        }
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["reason"], &value["id"]), (&reason.into(), &3.into()));
    }

    #[test]
    fn no_field_of_any_topic_has_the_name_of_a_key_of_the_line() {
        for topic in TOPICS {
            for field in topic.layouts.iter().flat_map(|kind| kind.fields) {
                let taken = ["topic", "sequence", "kind", "published_at_ns", "missed"];
                assert!(!taken.contains(&field.name), "{} of {}", field.name, topic.name);
            }
        }
    }

    #[test]
    fn losses_are_exact() {
        let mut out = String::new();
        missed(17, true, &mut out);
        assert_eq!(out, "{\"missed\":17}\n");
        missed(17, false, &mut out);
        assert!(out.contains(" 17 messages"));
    }
}
