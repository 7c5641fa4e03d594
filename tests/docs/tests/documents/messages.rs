//! Every message that docs/troubleshooting.md explains stands in the code, word for word.

use std::fs;
use std::path::Path;

use super::markdown::Document;
use super::{assert_none, root};

const DOCUMENT: &str = "docs/troubleshooting.md";

/// Where messages come from.
const SOURCES: [&str; 4] = ["bus/src", "sdk/src", "sdk/cargo-blvm-module/src", "node-adapter"];

/// A message is a sentence: names of commands and keys in the same tables are shorter.
const LEAST_WORDS: usize = 5;

/// The texts that stand in the code, as they print: values are `…`, lines that go on are joined, `\"` is a quote.
fn printed(directory: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("tests") {
            printed(&path, texts);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            texts.extend(literals(without_tests(&source)).iter().map(|text| with_values(text)));
        }
    }
}

/// What the file's own tests say is no message: all before `#[cfg(test)]`, other attributes, and a module with its braces.
fn without_tests(source: &str) -> &str {
    let mark = "\n#[cfg(test)]\n";
    let is_module = |at: &usize| {
        let item = source[at + mark.len()..].lines().find(|line| !line.starts_with("#["));
        item.is_some_and(|item| item.starts_with("mod ") && item.ends_with('{'))
    };
    let end = source.match_indices(mark).map(|(at, _)| at).find(is_module);
    &source[..end.unwrap_or(source.len())]
}

/// The strings of a source, neither comments nor names.
fn literals(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|after| (after, after.trim_start_matches('#')));
        if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some((after, text)) =
            raw.and_then(|(after, text)| Some((after, text.strip_prefix('"')?)))
        {
            let end = format!("\"{}", "#".repeat(after.len() - text.len() - 1));
            let (text, after) = text.split_once(&end).unwrap_or((text, ""));
            found.push(text);
            rest = after;
        } else if first == '"' {
            let mut is_escaped = false;
            let end = rest[1..].find(|letter| {
                let is_end = letter == '"' && !is_escaped;
                is_escaped = letter == '\\' && !is_escaped;
                is_end
            });
            let end = end.map_or(rest.len(), |end| end + 1);
            found.push(&rest[1..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            // A character that is a quotation mark, or escaped.
            rest = &rest[if rest.starts_with("'\\") { 3 } else { 2 }..];
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn with_values(source: &str) -> String {
    let mut joined = String::new();
    for part in source.split("\\\n") {
        joined.push_str(if joined.is_empty() { part } else { part.trim_start() });
    }
    let joined = joined.replace("\\\"", "\"").replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut text = String::new();
    let mut rest = joined.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        match after.split_once('}') {
            Some((value, after)) if !value.contains(['\n', '"', ' ', '{']) => {
                text.push('…');
                rest = after;
            }
            _ => {
                text.push('{');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text.replace('\u{1}', "{").replace('\u{2}', "}")
}

#[test]
fn every_message_that_is_explained_is_one_of_the_code() {
    let mut code = Vec::new();
    for source in SOURCES {
        printed(&root().join(source), &mut code);
    }
    let document = Document::read(Path::new(DOCUMENT));
    let messages = document.code.iter().filter(|(_, text)| text.split(' ').count() >= LEAST_WORDS);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (line, message) in messages {
        count += 1;
        if !code.iter().any(|text| text.contains(message)) {
            wrong.push(format!("{}: no code says {message:?}", document.place(*line)));
        }
    }
    assert_none(&wrong);
    assert!(count > 30, "{count} messages");
}

#[test]
fn comments_and_tests_say_nothing() {
    let source = "/// \"a\"\nb(\"c \\\" d\", '\"', '\\'', r#\"e\"f\"#); // \"g\"\n\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n\"h\"}";
    assert_eq!(literals(without_tests(source)), ["c \\\" d", "e\"f"]);
}

#[test]
fn values_are_dots_and_the_rest_stands_as_it_is() {
    assert_eq!(with_values("\"{a}: {b:?} is \\\"{c}\\\" and \\\n    {{}}\""), "\"…: … is \"…\" and {}\"");
}
