//! The documents, taken apart.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::root;

/// One document.
pub struct Document {
    /// From the root of the tree.
    pub path: PathBuf,
    pub links: Vec<(usize, String)>,
    /// What stands in backticks outside of links' targets and blocks.
    pub code: Vec<(usize, String)>,
    pub blocks: Vec<Block>,
    /// Where `#…` of a link can lead.
    pub anchors: BTreeSet<String>,
}

/// A block of code.
pub struct Block {
    /// Of its first line.
    pub line: usize,
    /// What stands behind the backticks.
    pub info: String,
    pub text: String,
}

impl Block {
    /// The first word of the info: what kind of text it is.
    pub fn language(&self) -> &str {
        self.info.split([' ', ',']).next().unwrap_or_default()
    }
}

impl Document {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let mut document = Document {
            path: path.to_owned(),
            links: Vec::new(),
            code: Vec::new(),
            blocks: Vec::new(),
            anchors: BTreeSet::new(),
        };
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        let mut seen = HashMap::new();
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
            let line = 1 + text[..range.start].matches('\n').count();
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let times: &mut u32 = seen.entry(anchor.clone()).or_default();
                    let repeated = format!("{anchor}-{times}");
                    document.anchors.insert(if *times == 0 { anchor } else { repeated });
                    *times += 1;
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block { line: line + 1, info, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
                Event::Text(part) => match (&mut block, &mut heading) {
                    (Some(block), _) => block.text.push_str(&part),
                    (_, Some(heading)) => heading.push_str(&part),
                    _ => {}
                },
                Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                    document.code.push((line, part.into_string()));
                }
                _ => {}
            }
        }
        document
    }

    /// `docs/operating.md:12`.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// The anchor of a heading, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

/// Every document of the tree.
pub fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    find(&root(), Path::new(""), &mut paths);
    paths.sort();
    assert!(paths.len() > 20, "{paths:?}");
    paths.iter().map(|path| Document::read(path)).collect()
}

fn find(root: &Path, directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(directory)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = directory.join(&name);
        // What is built, what a fuzzer found, and names that begin with a point.
        let is_passed_over =
            name.starts_with('.') || ["target", "artifacts", "corpus"].contains(&name.as_str());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !is_passed_over {
            find(root, &path, paths);
        } else if kind.is_file() && name.ends_with(".md") {
            paths.push(path);
        }
    }
}

#[test]
fn a_heading_is_led_to_as_github_does() {
    assert_eq!(anchor("What a `module` may use: (TCP)"), "what-a-module-may-use-tcp");
    assert_eq!(anchor("blvm.toml"), "blvmtoml");
}
