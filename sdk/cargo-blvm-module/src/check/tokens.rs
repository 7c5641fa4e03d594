//! The words of a Rust source: what is code and what is not, as far as looking for names needs it.
//!
//! Comments are passed over, raw strings and characters understood. Macros are words as everything else.
//!
//! Source: the Rust reference, "Tokens" and "Comments".

/// A word, its line, from 1, and whether it is compiled only under some condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub(super) line: usize,
    pub(super) word: Word<'s>,
    pub(super) is_conditional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'s> {
    /// A name, a keyword or a number.
    Name(&'s str),
    /// What stands between the quotation marks of a string.
    Text(&'s str),
    /// Any other character.
    Sign(char),
}

impl<'s> Token<'s> {
    /// The name, if it is one.
    pub(super) fn name(&self) -> Option<&'s str> {
        match self.word {
            Word::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// All words of a source.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, word) = step(rest, first);
        if let Some(word) = word {
            tokens.push(Token { line, word, is_conditional: false });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The next word, or what is none, and its length in bytes.
fn step(rest: &str, first: char) -> (usize, Option<Word<'_>>) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (comment(rest), None);
    }
    if let Some((length, text)) = raw_string(rest) {
        return (length, Some(Word::Text(text)));
    }
    if first == '"' {
        let end = string(&rest[1..], '"');
        return (end + 2.min(rest.len() - end), Some(Word::Text(&rest[1..=end])));
    }
    if first == '\'' {
        // A character; or a lifetime, whose quotation mark is a sign.
        let after: Vec<char> = rest.chars().skip(1).take(2).collect();
        return match after[..] {
            ['\\', _] => (string(&rest[1..], '\'') + 2, None),
            [one, '\''] => (one.len_utf8() + 2, None),
            _ => (1, Some(Word::Sign('\''))),
        };
    }
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    if is_name(first) {
        let length = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
        return (length, Some(Word::Name(&rest[..length])));
    }
    let word = (!first.is_whitespace()).then_some(Word::Sign(first));
    (first.len_utf8(), word)
}

/// Length of a block comment, with those in it.
fn comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Bytes before the closing `mark`; all where there is none.
fn string(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == mark => return at,
            _ => {}
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, also of bytes or for C: its length, and the text in it.
fn raw_string(rest: &str) -> Option<(usize, &str)> {
    let start = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let inner = start.trim_start_matches('#');
    let text = inner.strip_prefix('"')?;
    let marks = start.len() - inner.len();
    let end = format!("\"{}", "#".repeat(marks));
    let length = text.find(&end).unwrap_or(text.len());
    let before = rest.len() - text.len();
    Some(((before + length + end.len()).min(rest.len()), &text[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_code() {
        let source = "a // b\n/* c /* d */ e */ f::<G>(\"h \\\" i\", r#\"j\"k\"#, 'l', '\\'', &'m n) // o";
        let words: Vec<_> = tokens(source).into_iter().map(|token| (token.line, token.word)).collect();
        let names = words.iter().filter_map(|(line, word)| match word {
            Word::Name(name) => Some((*line, *name)),
            _ => None,
        });
        assert_eq!(names.collect::<Vec<_>>(), [(1, "a"), (2, "f"), (2, "G"), (2, "m"), (2, "n")]);
        let texts = words.iter().filter_map(|(_, word)| match word {
            Word::Text(text) => Some(*text),
            _ => None,
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["h \\\" i", "j\"k"]);
    }

    #[test]
    fn no_text_ends_it_early_or_never() {
        for source in ["\"", "'", "/*", "r#\"", "r\"", "\"\\", "'\\", "'ü'", "ü\"ü", "b'", "", "'\\''"] {
            let _ = tokens(source);
            let cut: String = format!("{source} x {source}");
            let _ = tokens(&cut);
        }
    }
}
