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

/// The code as one text, as it prints: values are `…`, lines that go on are joined, `\"` is a quote.
fn printed(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("tests") {
            printed(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            // What the file's own tests say is no message.
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            text.push_str(&with_values(source));
        }
    }
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
    let mut code = String::new();
    for source in SOURCES {
        printed(&root().join(source), &mut code);
    }
    let document = Document::read(Path::new(DOCUMENT));
    let messages = document.code.iter().filter(|(_, text)| text.split(' ').count() >= LEAST_WORDS);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (line, message) in messages {
        count += 1;
        if !code.contains(message) {
            wrong.push(format!("{}: no code says {message:?}", document.place(*line)));
        }
    }
    assert_none(&wrong);
    assert!(count > 30, "{count} messages");
}

#[test]
fn values_are_dots_and_the_rest_stands_as_it_is() {
    assert_eq!(with_values("\"{a}: {b:?} is \\\"{c}\\\" and \\\n    {{}}\""), "\"…: … is \"…\" and {}\"");
}
