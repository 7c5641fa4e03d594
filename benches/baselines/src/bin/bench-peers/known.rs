//! Budgets that are known to be missed, each with the document that says why.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// All of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownMisses {
    #[serde(default)]
    miss: Vec<Miss>,
}

/// One.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Miss {
    /// Name of the comparison.
    name: String,
    /// The document, from the root of the repository.
    decision: String,
    /// The ratio that was measured when it was written.
    measured: f64,
}

impl KnownMisses {
    /// Reads `path` and sees that every document exists under `root`.
    ///
    /// # Errors
    ///
    /// If one does not, or `path` is no such list.
    pub fn read(path: &Path, root: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let known: KnownMisses =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        for miss in &known.miss {
            let is_decision =
                miss.decision.starts_with("docs/decisions/") && root.join(&miss.decision).is_file();
            if !is_decision {
                return Err(
                    format!("{}: {}: no decision {}", path.display(), miss.name, miss.decision).into()
                );
            }
        }
        Ok(known)
    }

    /// The document that says why `name` is missed, with what was measured then.
    pub fn document(&self, name: &str) -> Option<String> {
        let miss = self.miss.iter().find(|miss| miss.name == name)?;
        Some(format!("{} ({} then)", miss.decision, miss.measured))
    }

    /// Names that no comparison has.
    pub fn strangers<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a str> {
        let is_stranger = |miss: &&Miss| !names.contains(&miss.name);
        self.miss.iter().filter(is_stranger).map(|miss| miss.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_miss_names_a_decision_that_exists() {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join("known-misses.toml");
        fs::write(&list, "[[miss]]\nname = \"x\"\ndecision = \"docs/decisions/0009-x.md\"\nmeasured = 1.3\n")
            .unwrap();
        assert!(KnownMisses::read(&list, root.path()).is_err());
        fs::create_dir_all(root.path().join("docs/decisions")).unwrap();
        fs::write(root.path().join("docs/decisions/0009-x.md"), "").unwrap();
        let known = KnownMisses::read(&list, root.path()).unwrap();
        assert_eq!(known.document("x").unwrap(), "docs/decisions/0009-x.md (1.3 then)");
        assert_eq!(known.document("y"), None);
        assert_eq!(known.strangers(&["y".to_owned()]).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn the_list_of_the_repository_is_readable() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let known = KnownMisses::read(&here.join("known-misses.toml"), &here.join("../..")).unwrap();
        assert_eq!(known.strangers(&[]).count(), known.miss.len());
    }
}
