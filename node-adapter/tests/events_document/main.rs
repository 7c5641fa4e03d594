//! Is `docs/events.md` true? It is written from the types of the messages, from the sources that send them, and from the
//! names of the tests that provoke them. `BLVM_UPDATE=1` writes it anew.
#![allow(clippy::unwrap_used, missing_docs)]

mod names;
mod provoked;
mod tree;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use blvm_bus::message::{KindLayout, KnownTopic, TOPICS, topic_named};
use blvm_node_adapter::topics::access;

use names::{Here, NAMES};
use provoked::{Provoked, UNSENT, provoked};
use tree::Tree;

const INTRODUCTION: &str = "# Events

What the node tells its modules: every kind of message of every topic, with its fields, the permission it needs, the source
that sends it, and the test that makes the node send it. Fields stand byte by byte in [messages](messages.md); how topics
are read is in [protocol](protocol.md). Numbers and names are stable: kinds are added at the end of a topic.

Hashes are in internal byte order. Times ending in `_s` are seconds since 1970; every message also carries when it was
published, in nanoseconds of the monotonic clock.

Written by `node-adapter/tests/events_document`, which also checks it:
`BLVM_UPDATE=1 cargo test --release -p blvm-node-adapter --test events_document`.
";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md")
}

/// The text of a documentation comment as Markdown outside Rust.
fn text(document: &str) -> String {
    document.split_whitespace().collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

fn generated(tree: &Tree) -> String {
    let mut page = INTRODUCTION.to_owned();
    for topic in TOPICS {
        let access = access(topic.number).unwrap();
        let named = if access.is_named { ", and `[topics]` of the manifest must name it" } else { "" };
        write!(
            page,
            "\n## Topic `{}`\n\nNumber {}, permission `{}`{named}.\n",
            topic.name,
            topic.number,
            access.permission.name()
        )
        .unwrap();
        topic.layouts.iter().for_each(|kind| describe(&mut page, tree, topic, kind));
    }
    page.push_str(
        "\n## Names known from blvm-node\n\nThe events of blvm-node 0.1.83, and what became of each.\n",
    );
    for (area, names) in NAMES {
        write!(page, "\n### {area}\n\n| name there | here |\n|---|---|\n").unwrap();
        for (name, here) in *names {
            let here = match here {
                Here::Is(topic, kind) if !is_sent(tree, topic, kind) => {
                    format!("`{kind}` of `{topic}`, not sent yet")
                }
                Here::Is(topic, kind) => format!("`{kind}` of `{topic}`"),
                Here::Not(why) => format!("not emitted: {why}"),
            };
            writeln!(page, "| {name} | {here} |").unwrap();
        }
    }
    page
}

fn describe(page: &mut String, tree: &Tree, topic: &KnownTopic, kind: &KindLayout) {
    write!(
        page,
        "\n### {}: `{}`\n\n{}\n\n| field | type | meaning |\n|---|---|---|\n",
        kind.number,
        kind.name,
        text(kind.document)
    )
    .unwrap();
    for field in kind.fields {
        let meaning = text(field.document);
        writeln!(page, "| `{}` | `{}` | {meaning} |", field.name, field.type_name).unwrap();
    }
    page.push('\n');
    let Provoked { made_as, test } = provoked(topic.name, kind.name);
    let makers = tree.makers(made_as);
    let unsent = UNSENT.iter().find(|(of, name, _)| (*of, *name) == (topic.name, kind.name));
    match (makers.as_slice(), test) {
        ([], _) => {
            let why = unsent.map_or("it comes with a part of the node that is being made", |(.., why)| *why);
            writeln!(page, "Nobody sends it: {why}.").unwrap();
        }
        (makers, test) => {
            let event = made_as.rsplit([':', '&']).next().unwrap();
            let provoked = match test.and_then(|test| Some((test, tree.test(test, &[event, kind.name])?))) {
                Some((test, file)) => format!("Provoked by `{test}` in `{file}`."),
                None => "No test provokes it yet.".to_owned(),
            };
            let makers: Vec<_> = makers.iter().map(|path| format!("`{path}`")).collect();
            writeln!(page, "Sent by {}. {provoked}", makers.join(", ")).unwrap();
        }
    }
}

fn is_sent(tree: &Tree, topic: &str, kind: &str) -> bool {
    !tree.makers(provoked(topic, kind).made_as).is_empty()
}

#[test]
fn the_document_is_that_of_the_code() {
    let generated = generated(&Tree::read());
    if std::env::var_os("BLVM_UPDATE").is_some() {
        std::fs::write(path(), &generated).unwrap();
    }
    let found = std::fs::read_to_string(path()).unwrap_or_default();
    let difference = found.lines().zip(generated.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == generated,
        "docs/events.md is out of date at {difference:?}: \
         BLVM_UPDATE=1 cargo test --release -p blvm-node-adapter --test events_document"
    );
}

#[test]
fn every_name_is_told_once_and_leads_to_a_kind_there_is() {
    let mut seen = BTreeSet::new();
    for (name, here) in NAMES.iter().flat_map(|(_, names)| names.iter()) {
        assert!(seen.insert(name), "{name} stands there twice");
        if let Here::Is(topic, kind) = here {
            let known = topic_named(topic).unwrap_or_else(|| panic!("no topic {topic}"));
            assert!(known.kind_number(kind).is_some(), "{name}: {topic} has no kind {kind}");
        }
    }
    // 3 more of the 118 stand for the four of Dandelion.
    assert_eq!(seen.len() + 3, 118, "{seen:?}");
}

#[test]
fn what_makes_an_event_is_told_from_what_takes_one() {
    let tree = Tree::read();
    assert!(!tree.makers("NodeEvent::BlockConnected").is_empty());
    assert!(tree.makers("NodeEvent::BlockConn").is_empty());
    assert!(tree.makers("NodeEvent::Nothing").is_empty());
}
