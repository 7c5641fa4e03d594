//! Keys and values as TOML writes them, on one line whatever is in them.

use std::fmt::Write;

use toml::Value;

/// The keys with points between.
pub fn dotted(key: &[String]) -> String {
    key.iter().map(|key| one_key(key)).collect::<Vec<_>>().join(".")
}

/// The value.
pub fn written(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(values) => format!("[{}]", values.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{} = {}", one_key(key), written(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
    }
}

fn one_key(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) }
}

/// A basic string: quotation marks, backslashes and control characters are escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // Writing to a string does not fail. Control characters are below 0x100.
            _ if character.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_value_it_is_one_line_and_read_back() {
        let text = "a = \"x\\n\\u001b\\\\\\\"\\u0085\"\n\"b c\" = [1, 2.0, { \"\" = [] }]\nd = 2026-01-01\ne = nan\n";
        let table: toml::Table = text.parse().unwrap();
        let lines: Vec<_> =
            table.iter().map(|(key, value)| format!("{} = {}\n", one_key(key), written(value))).collect();
        assert!(lines.iter().all(|line| !line.trim_end().chars().any(char::is_control)), "{lines:?}");
        let again: toml::Table = lines.concat().parse().unwrap();
        assert_eq!(again.to_string(), table.to_string());
        assert_eq!(dotted(&["a".to_owned(), "b\nc".to_owned()]), "a.\"b\\u000ac\"");
    }
}
