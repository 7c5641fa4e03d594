//! What a module was installed from, kept in its directory for `update`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::index::{Found, Index, IndexError};

/// The file's name. Nodes do not look at it.
const FILE: &str = ".source.toml";

/// Where a module is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Source {
    /// A directory.
    Path(PathBuf),
    /// The entry of its name in this index.
    Index(PathBuf),
}

impl Source {
    /// What an installed module says of itself; `None` if it was put there in another way.
    pub(crate) fn of(installed: &Path) -> Option<Self> {
        toml::from_str(&fs::read_to_string(installed.join(FILE)).ok()?).ok()
    }

    /// The same from wherever one asks later.
    pub(super) fn absolute(&self) -> Self {
        let absolute = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match self {
            Source::Path(path) => Source::Path(absolute(path)),
            Source::Index(path) => Source::Index(absolute(path)),
        }
    }

    /// Name and text of the file; nothing for a path that TOML cannot hold.
    pub(super) fn file(&self) -> Option<(&'static str, String)> {
        let text = toml::to_string(&self.absolute()).ok()?;
        Some((FILE, format!("# What `cargo blvm-module update` builds this module from.\n{text}")))
    }

    /// The module's directory; of an entry with a repository it is fetched.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Found, IndexError> {
        match (self, name) {
            (Source::Index(file), Some(name)) => Index::read(file)?.find(name),
            (Source::Path(path) | Source::Index(path), _) => Ok(Found::at(path.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a \"b\" ü");
        fs::create_dir(&place).unwrap();
        for source in [Source::Path(place.clone()), Source::Index(place.clone())] {
            let (name, text) = source.file().unwrap();
            fs::write(directory.path().join(name), text).unwrap();
            assert_eq!(Source::of(directory.path()), Some(source.absolute()));
        }
        fs::write(directory.path().join(FILE), "nothing = 1").unwrap();
        assert_eq!(Source::of(directory.path()), None);
    }
}
