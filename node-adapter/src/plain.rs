//! Text before it reaches a log or a terminal. What comes from elsewhere may hold control characters, which could forge lines,
//! or steer the terminal.

use std::error::Error;

/// The text without control characters; line breaks and tabs stay.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// The text in one line: each control character is a space, and after `most_bytes` it is cut.
pub(crate) fn one_line(text: &str, most_bytes: usize) -> String {
    let kept = text.floor_char_boundary(most_bytes);
    let mut line: String = text[..kept].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if kept < text.len() {
        line.push('…');
    }
    line
}

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // A transparent error, or one that tells its cause, has said it already.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    // A module may have said part of it.
    one_line(&line, usize::MAX)
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn each_cause_is_told_once_and_in_one_line() {
        let told = |text, cause: Option<Told>| Told(text, cause.map(Box::new));
        let error = told("not loaded", Some(told("not loaded", Some(told("its\nname is \u{1b}[31m", None)))));
        assert_eq!(with_causes(&error), "not loaded: its name is  [31m");
    }

    #[test]
    fn nothing_that_steers_a_terminal_or_begins_a_line_is_left() {
        let text = "a\tb\r\n\u{1b}[31mc\u{9b}1m\u{7f}é\0";
        assert_eq!(printable(text), "a\tb\n[31mc1mé");
        assert_eq!(one_line(text, usize::MAX), "a b   [31mc 1m é ");
        assert_eq!(one_line("aé", 3), "aé");
        assert_eq!(one_line("aéb", 2), "a…");
    }
}
