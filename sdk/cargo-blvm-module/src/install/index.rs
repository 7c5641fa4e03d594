//! The operator's file that says where modules of which name are. No name is looked for anywhere else.
//!
//! ```toml
//! [modules.fee-alarm]
//! path = "../fee-alarm"                    # from the directory of this file on
//!
//! [modules.pool]
//! git = "https://example.org/pool.git"
//! rev = "<40 hexadecimal digits>"          # a commit and nothing that moves
//! directory = "module"                     # in the repository; its root without it
//! version = "^1.2"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use blvm_manifest::{Manifest, is_module_name};
use semver::VersionReq;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tempfile::TempDir;

use crate::error::FileFault;

/// Why a name leads to no module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error(
        "there is no index {}: names are looked for in the operator's own file and nowhere else; write one (docs/first-module.md), give another with --index, or install a directory with --path",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("the index {} is wrong", path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    #[error("the index {}: [modules.{name}] must have either `path`, or `git` with `rev`, a commit of 40 hexadecimal digits", path.display())]
    Entry { path: PathBuf, name: String },
    #[error("the index {} has no module {name}{}; it was looked for nowhere else", path.display(), known(names))]
    Unknown { path: PathBuf, name: String, names: Vec<String> },
    #[error("the index says that module {name} is at {}, and there is the module {found}", path.display())]
    OtherName { name: String, found: String, path: PathBuf },
    #[error("the index wants module {name} in version {wanted}, and there is {found}")]
    OtherVersion { name: String, wanted: VersionReq, found: semver::Version },
    #[error("git cannot be started: install it")]
    Git(#[source] std::io::Error),
    #[error("git did not fetch commit {rev} of {url}: what it says stands above")]
    Fetch { url: String, rev: String },
    #[error(transparent)]
    File(#[from] FileFault),
}

fn known(names: &[String]) -> String {
    if names.is_empty() { ", and no other".to_owned() } else { format!(", only {}", names.join(", ")) }
}

/// The file.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    modules: BTreeMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    modules: BTreeMap<String, Entry>,
}

/// Where one module is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: Option<PathBuf>,
    git: Option<String>,
    rev: Option<String>,
    directory: Option<PathBuf>,
    #[serde(default, deserialize_with = "constraint")]
    version: Option<VersionReq>,
}

fn constraint<'de, D: Deserializer<'de>>(value: D) -> Result<Option<VersionReq>, D::Error> {
    String::deserialize(value)?.parse().map(Some).map_err(D::Error::custom)
}

impl Index {
    /// Reads the file. An entry that is wrong refuses all of it.
    pub(crate) fn read(path: &Path) -> Result<Self, IndexError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(IndexError::Missing { path: path.to_owned() });
            }
            read => read.map_err(FileFault::at(path, "read"))?,
        };
        let text: Text =
            toml::from_str(&text).map_err(|source| IndexError::Invalid { path: path.to_owned(), source })?;
        if let Some(name) =
            text.modules.iter().find(|(name, entry)| !is_module_name(name) || !entry.is_right())
        {
            return Err(IndexError::Entry { path: path.to_owned(), name: name.0.clone() });
        }
        Ok(Index { path: path.to_owned(), modules: text.modules })
    }

    /// The module of that name; from a repository it is fetched.
    pub(crate) fn find(&self, name: &str) -> Result<Found, IndexError> {
        let Some(entry) = self.modules.get(name) else {
            let names = self.modules.keys().cloned().collect();
            return Err(IndexError::Unknown { path: self.path.clone(), name: name.to_owned(), names });
        };
        let (root, fetched) = match (&entry.path, &entry.git, &entry.rev) {
            (_, Some(url), Some(rev)) => {
                let fetched = fetch(url, rev)?;
                (fetched.path().to_owned(), Some(fetched))
            }
            (path, _, _) => {
                let beside = self.path.parent().unwrap_or(Path::new(""));
                (beside.join(path.as_deref().unwrap_or(Path::new(""))), None)
            }
        };
        let directory = root.join(entry.directory.as_deref().unwrap_or(Path::new("")));
        let asked = Some((name.to_owned(), entry.version.clone()));
        Ok(Found { directory, asked, _fetched: fetched })
    }
}

impl Entry {
    fn is_right(&self) -> bool {
        let is_commit =
            |rev: &String| matches!(rev.len(), 40 | 64) && rev.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut parts = self.directory.iter().flat_map(|path| path.components());
        let stays = parts.all(|part| matches!(part, Component::Normal(_)));
        let is_path = self.path.is_some() && self.git.is_none() && self.rev.is_none();
        let is_git = self.path.is_none() && self.git.is_some() && self.rev.as_ref().is_some_and(is_commit);
        stays && (is_path || is_git)
    }
}

/// A module's directory, and what it is to be.
#[derive(Debug)]
pub(crate) struct Found {
    directory: PathBuf,
    asked: Option<(String, Option<VersionReq>)>,
    /// Removed with this value.
    _fetched: Option<TempDir>,
}

impl Found {
    /// A directory that the author names.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Found { directory, asked: None, _fetched: None }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is the module that the index speaks of.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), IndexError> {
        let Some((name, version)) = &self.asked else { return Ok(()) };
        if manifest.name != *name {
            let (name, found) = (name.clone(), manifest.name.clone());
            return Err(IndexError::OtherName { name, found, path: self.directory.clone() });
        }
        match version {
            Some(wanted) if !wanted.matches(&manifest.version) => {
                let (wanted, found) = (wanted.clone(), manifest.version.clone());
                Err(IndexError::OtherVersion { name: name.clone(), wanted, found })
            }
            _ => Ok(()),
        }
    }
}

/// One commit of a repository, without its history. What comes has that hash: git looks.
fn fetch(url: &str, rev: &str) -> Result<TempDir, IndexError> {
    let directory = tempfile::Builder::new().prefix("blvm-module-fetch-").tempdir();
    let directory = directory.map_err(FileFault::at(&std::env::temp_dir(), "written to"))?;
    let steps: [&[&str]; 3] = [
        &["init", "--quiet"],
        &["fetch", "--quiet", "--depth", "1", "--", url, rev],
        &["checkout", "--quiet", "--detach", rev],
    ];
    for words in steps {
        let mut git = Command::new("git");
        git.args(words).current_dir(directory.path()).env("GIT_TERMINAL_PROMPT", "0");
        let git = git.stdin(Stdio::null()).stdout(Stdio::null());
        if !git.status().map_err(IndexError::Git)?.success() {
            return Err(IndexError::Fetch { url: url.to_owned(), rev: rev.to_owned() });
        }
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Result<Index, IndexError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.toml");
        fs::write(&path, text).unwrap();
        Index::read(&path)
    }

    #[test]
    fn an_entry_names_one_place_that_does_not_move() {
        let rev = "a".repeat(40);
        index("").unwrap();
        index("[modules.pool]\npath = \"pool\"").unwrap();
        index(&format!("[modules.pool]\ngit = \"u\"\nrev = \"{rev}\"\ndirectory = \"a/b\"")).unwrap();
        for (text, told) in [
            ("[modules.pool]", "either `path`, or `git`"),
            ("[modules.pool]\ngit = \"u\"", "either `path`, or `git`"),
            ("[modules.pool]\ngit = \"u\"\nrev = \"main\"", "40 hexadecimal digits"),
            (&format!("[modules.pool]\npath = \"p\"\ngit = \"u\"\nrev = \"{rev}\""), "either"),
            ("[modules.pool]\npath = \"p\"\ndirectory = \"../up\"", "either"),
            ("[modules.\"Pool\"]\npath = \"p\"", "modules.Pool"),
        ] {
            let error = index(text).unwrap_err();
            assert!(matches!(error, IndexError::Entry { .. }) && error.to_string().contains(told), "{error}");
        }
        for text in ["[modules.pool]\npth = \"p\"", "[modules.pool]\npath = \"p\"\nversion = \"new\"", "["] {
            assert!(matches!(index(text).unwrap_err(), IndexError::Invalid { .. }));
        }
        assert!(matches!(Index::read(Path::new("/nowhere")).unwrap_err(), IndexError::Missing { .. }));
    }

    #[test]
    fn a_name_is_looked_for_in_the_file_alone_and_must_be_the_modules_own() {
        let index = index("[modules.pool]\npath = \"pool\"\nversion = \"^1\"").unwrap();
        let error = index.find("blvm-sdk").unwrap_err().to_string();
        assert!(error.contains("only pool") && error.contains("nowhere else"), "{error}");
        let found = index.find("pool").unwrap();
        let manifest = |name: &str, version: &str| {
            let text = format!("name = \"{name}\"\nversion = \"{version}\"\nentry_point = \"p\"");
            Manifest::parse(&text, Path::new("module.toml")).unwrap()
        };
        found.check(&manifest("pool", "1.4.0")).unwrap();
        assert!(matches!(found.check(&manifest("pol", "1.4.0")), Err(IndexError::OtherName { .. })));
        assert!(matches!(found.check(&manifest("pool", "2.0.0")), Err(IndexError::OtherVersion { .. })));
    }
}
