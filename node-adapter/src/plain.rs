//! Text from elsewhere, before it reaches a log or a terminal: control characters could forge lines, or steer the terminal.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_or_begins_a_line_is_left() {
        let text = "a\tb\r\n\u{1b}[31mc\u{9b}1m\u{7f}é\0";
        assert_eq!(printable(text), "a\tb\n[31mc1mé");
        assert_eq!(one_line(text, usize::MAX), "a b   [31mc 1m é ");
        assert_eq!(one_line("aé", 3), "aé");
        assert_eq!(one_line("aéb", 2), "a…");
    }
}
