//! Every link leads to a file that is there, and to a heading that stands in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::markdown::{Document, documents};
use super::{assert_none, root};

const SUMMARY: &str = "docs/SUMMARY.md";

/// What rustdoc makes: `scripts/book --check-rustdoc` looks there, once it is made.
const RUSTDOC: &str = "target/doc";

/// A link's file from the root of the tree, and its anchor; `None` if it leads elsewhere.
fn file_of(document: &Document, link: &str) -> Option<(PathBuf, String)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    if path.is_empty() {
        return Some((document.path.clone(), anchor.to_owned()));
    }
    let mut file = document.path.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => assert!(file.pop(), "{}: {link}", document.path.display()),
            part => file.push(part),
        }
    }
    Some((file, anchor.to_owned()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let documents = documents();
    let by_path: BTreeMap<_, _> =
        documents.iter().map(|document| (document.path.clone(), document)).collect();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in &documents {
        for (line, link) in &document.links {
            let Some((file, anchor)) = file_of(document, link) else { continue };
            if file.starts_with(RUSTDOC) {
                continue;
            }
            count += 1;
            let is_right = match by_path.get(&file) {
                Some(document) => anchor.is_empty() || document.anchors.contains(&anchor),
                None => anchor.is_empty() && root().join(&file).exists(),
            };
            if !is_right {
                wrong.push(format!("{}: {link} leads nowhere", document.place(*line)));
            }
        }
    }
    assert_none(&wrong);
    assert!(count > 100, "{count} links");
}

/// What is no chapter has no place in the book, and a link to it would be dead there.
#[test]
fn the_book_has_every_document_and_what_its_chapters_link_to() {
    let documents = documents();
    let summary = documents.iter().find(|document| document.path == Path::new(SUMMARY)).unwrap();
    let chapters: Vec<_> = summary.links.iter().map(|(_, link)| file_of(summary, link).unwrap().0).collect();
    let once: BTreeSet<_> = chapters.iter().collect();
    assert_eq!(once.len(), chapters.len(), "a chapter twice");
    let mut wrong = Vec::new();
    for document in &documents {
        let is_chapter = once.contains(&document.path);
        if document.path.starts_with("docs") && !is_chapter && document.path != Path::new(SUMMARY) {
            wrong.push(format!("{} is in no place of {SUMMARY}", document.path.display()));
        }
        for (line, link) in document.links.iter().filter(|_| is_chapter) {
            let Some((file, _)) = file_of(document, link) else { continue };
            if file.starts_with(RUSTDOC) {
                continue;
            }
            if root().join(&file).is_dir() {
                wrong.push(format!("{}: {link} is a directory: link to a file in it", document.place(*line)));
            } else if file.extension().is_some_and(|ending| ending == "md") && !once.contains(&file) {
                wrong.push(format!("{}: {link} is no chapter of {SUMMARY}", document.place(*line)));
            }
        }
    }
    assert_none(&wrong);
}
