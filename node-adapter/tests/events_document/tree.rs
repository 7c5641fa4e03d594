//! What stands in the sources: who sends an event, and where a test is.

use std::path::{Path, PathBuf};

/// Everything of the project that may send an event or test that one is sent, by its path from the root.
pub(crate) struct Tree(Vec<(String, String)>);

impl Tree {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let mut files = Vec::new();
        for folder in ["node-adapter/src", "node-adapter/tests", "tests/tests"] {
            walk(&root.join(folder), &mut |path| {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            });
        }
        files.sort();
        Tree(files)
    }

    /// Files of the node that make what `expression` names, outside tests. What hands events on, or counts them, makes none.
    pub(crate) fn makers(&self, expression: &str) -> Vec<&str> {
        const HANDS_ON: [&str; 7] = [
            "node-adapter/src/topics",
            "node-adapter/src/source",
            "node-adapter/src/run/ledger.rs",
            "node-adapter/src/demo",
            "node-adapter/src/embedded/mining/feed.rs",
            "node-adapter/src/embedded/unconfirmed.rs",
            "node-adapter/src/p2p/news.rs",
        ];
        let makes = |line: &str| {
            let code = line.split("//").next().unwrap_or_default();
            let is_pattern =
                ["=>", "matches!", "let NodeEvent", "| NodeEvent"].iter().any(|sign| code.contains(sign));
            let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            !is_pattern && code.split(expression).skip(1).any(ends)
        };
        self.0
            .iter()
            .filter(|(path, _)| path.starts_with("node-adapter/src/"))
            .filter(|(path, _)| !HANDS_ON.iter().any(|part| path.starts_with(part)))
            .filter(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
            .filter(|(_, text)| text.split("\n#[cfg(test)]").next().unwrap().lines().any(makes))
            .map(|(path, _)| path.as_str())
            .collect()
    }

    /// The file with the test `name`, if there is one; it must speak of one of `words`, or compare words for events.
    pub(crate) fn test(&self, name: &str, words: &[&str]) -> Option<&str> {
        let signature = format!("fn {name}(");
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(_, text)| {
                let mut lines = text.lines();
                let mut attributes = String::new();
                lines.any(|line| {
                    let line = line.trim();
                    if line.starts_with("#[") {
                        attributes.push_str(line);
                    } else if line.contains(&signature) && attributes.contains("test") {
                        return true;
                    } else {
                        attributes.clear();
                    }
                    false
                })
            })
            .collect();
        assert!(found.len() < 2, "{} tests are called {name}", found.len());
        let (path, text) = found.first()?;
        // `words` in the tests of the embedded node, `said` in those of the manager: each event as one word, or one line.
        let in_words = ["words(&", "managed.said"].iter().any(|call| text.contains(call));
        let speaks = words.iter().any(|word| text.contains(word)) || in_words;
        assert!(speaks, "{name} in {path} speaks of none of {words:?}");
        Some(path)
    }
}

fn walk(folder: &Path, visit: &mut impl FnMut(PathBuf)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            visit(path);
        }
    }
}
