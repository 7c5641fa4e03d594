//! Changing one value of `blvm.toml`: comments, order and everything else stay.

use std::io;
use std::path::PathBuf;

use toml_edit::{DocumentMut, Item, Key, Table, TableLike, Value};

use super::NodeFile;
use crate::configuration::{KeyPath, dotted};
use crate::file_error::FileError;
use crate::replace_file::replace_file;

/// `KEY=VALUE`, as `blvm config set` takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The key.
    pub key: KeyPath,
    /// What stands behind the equals sign.
    pub text: String,
}

/// Why a value was not set. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no equals sign.
    #[error("{text:?} is no KEY=VALUE, as in modules.pool.port=3333")]
    NoAssignment {
        /// What there is.
        text: String,
    },
    /// What stands before the equals sign is no key.
    #[error("{key:?} is no key of TOML, as in modules.pool.port")]
    NoKey {
        /// What there is.
        key: String,
    },
    /// A value stands where the key goes through.
    #[error("{key} is a value and no table")]
    NoTable {
        /// The key.
        key: String,
    },
    /// The key is a table.
    #[error("{key} is a table: set a key in it")]
    Table {
        /// The key.
        key: String,
    },
    /// The file would be wrong afterwards, or is now.
    #[error(transparent)]
    Invalid(#[from] FileError),
    /// The file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl std::str::FromStr for Assignment {
    type Err = SetError;

    fn from_str(text: &str) -> Result<Self, SetError> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| SetError::NoAssignment { text: text.to_owned() })?;
        let keys = Key::parse(key.trim()).map_err(|_| SetError::NoKey { key: key.to_owned() })?;
        let key = keys.into_iter().map(|key| key.get().to_owned()).collect();
        Ok(Assignment { key, text: value.trim().to_owned() })
    }
}

impl NodeFile {
    /// The same file with one value changed; [`Self::write`] keeps it. The text is read as TOML writes values, and as a
    /// string if it is nothing in TOML, or if `is_text`.
    ///
    /// # Errors
    ///
    /// [`SetError::Invalid`] if the file would be wrong: an unknown key, say.
    pub fn with(&self, assignment: &Assignment, is_text: bool) -> Result<NodeFile, SetError> {
        let unreadable = |_| SetError::NoKey { key: dotted(&assignment.key) };
        let mut document: DocumentMut = self.text.parse().map_err(unreadable)?;
        let written = || assignment.text.parse::<Value>().ok().filter(|_| !is_text);
        let value = written().unwrap_or_else(|| assignment.text.as_str().into());
        put(document.as_table_mut(), &assignment.key, value)?;
        Ok(NodeFile::parse(&document.to_string(), &self.path)?)
    }

    /// Writes the file: the old one stays until the new one is on the disk, and its permissions are kept. A new one is for
    /// its owner alone.
    ///
    /// # Errors
    ///
    /// [`SetError::Write`].
    pub fn write(&self) -> Result<(), SetError> {
        replace_file(&self.path, &self.text)
            .map_err(|source| SetError::Write { path: self.path.clone(), source })
    }
}

/// Puts a value where the keys lead.
fn put(root: &mut Table, key: &[String], mut value: Value) -> Result<(), SetError> {
    let no_key = || SetError::NoKey { key: dotted(key) };
    let (last, above) = key.split_last().ok_or_else(no_key)?;
    let mut table: &mut dyn TableLike = root;
    for (index, name) in above.iter().enumerate() {
        let new = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        table = table
            .entry(name)
            .or_insert_with(new)
            .as_table_like_mut()
            .ok_or_else(|| SetError::NoTable { key: dotted(&key[..=index]) })?;
    }
    match table.get_mut(last) {
        Some(old) if old.is_table_like() || old.is_array_of_tables() => {
            return Err(SetError::Table { key: dotted(key) });
        }
        Some(Item::Value(old)) => {
            // A comment behind the value stays.
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        _ => {
            table.insert(last, Item::Value(value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn set(text: &str, assignment: &str) -> Result<String, SetError> {
        let file = NodeFile::parse(text, Path::new("blvm.toml"))?;
        Ok(file.with(&assignment.parse()?, false)?.text)
    }

    #[test]
    fn one_value_changes_and_comments_stay() {
        let text = "# mine\n[modules.pool] # the pool\nport = 1 # was 2\n# end\n";
        let changed = set(text, "modules.pool.port=3333").unwrap();
        assert_eq!(changed, text.replace("port = 1", "port = 3333"));
        let added = set(text, "modules.pool.name = a b").unwrap();
        assert_eq!(added, "# mine\n[modules.pool] # the pool\nport = 1 # was 2\nname = \"a b\"\n# end\n");
        assert_eq!(set("", "modules.enabled=false").unwrap(), "[modules]\nenabled = false\n");
        assert_eq!(set("", "modules.pool.fees.least=1.5").unwrap(), "[modules.pool.fees]\nleast = 1.5\n");
        let inline = "[modules]\npool = { port = 1 }\n";
        assert_eq!(set(inline, "modules.pool.port=2").unwrap(), "[modules]\npool = { port = 2 }\n");
        assert_eq!(set("", "modules.pool.\"a.b\"=[1, 2]").unwrap(), "[modules.pool]\n\"a.b\" = [1, 2]\n");
    }

    #[test]
    fn what_would_make_the_file_wrong_is_refused() {
        for (text, assignment, told) in [
            ("", "modules.enabled", "is no KEY=VALUE"),
            ("", "modules..enabled=1", "is no key of TOML"),
            ("", "=1", "is no key of TOML"),
            ("", "modules.enable=true", "unknown key; did you mean \"enabled\"?"),
            ("", "modules.enabled=perhaps", "must be a boolean, and is a string"),
            ("", "colour=1", "colour: unknown key"),
            ("", "modules.pool.limits.max_memory=1", "did you mean \"max_memory_bytes\"?"),
            ("[modules.pool]\nport = 1\n", "modules.pool=\"1\"", "modules.pool is a table"),
            (
                "[modules.pool]\nport = 1\n",
                "modules.pool.port.x=1",
                "modules.pool.port is a value and no table",
            ),
        ] {
            let error = set(text, assignment).unwrap_err().to_string();
            assert!(error.contains(told), "{assignment}: {error}");
        }
    }

    #[test]
    fn a_string_may_look_like_a_number() {
        let file = NodeFile::empty("blvm.toml");
        let assignment = "modules.pool.password=1234".parse().unwrap();
        assert_eq!(file.with(&assignment, true).unwrap().text, "[modules.pool]\npassword = \"1234\"\n");
    }

    #[test]
    fn the_file_is_replaced_whole_and_keeps_its_permissions_and_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blvm.toml");
        NodeFile::empty(&path)
            .with(&"modules.enabled=true".parse().unwrap(), false)
            .unwrap()
            .write()
            .unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = NodeFile::read(Some(&link), directory.path()).unwrap();
        file.with(&"modules.enabled=false".parse().unwrap(), false).unwrap().write().unwrap();
        assert!(link.is_symlink() && mode(&path) == 0o640);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[modules]\nenabled = false\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left over");
        let error = NodeFile::empty("nowhere/blvm.toml").write().unwrap_err();
        assert!(error.to_string().contains("nowhere/blvm.toml cannot be written"));
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back(key in "[a-z ._\"\\\\=]{1,6}", value in any::<String>()) {
            let path = vec!["modules".to_owned(), "pool".to_owned(), "k".to_owned() + &key];
            let assignment = Assignment { key: path, text: value.clone() };
            let file = NodeFile::empty("blvm.toml").with(&assignment, true).unwrap();
            let table: toml::Table = file.text.parse().unwrap();
            prop_assert_eq!(table["modules"]["pool"]["k".to_owned() + &key].as_str(), Some(value.as_str()));
            let again = format!("{}={value}", dotted(&assignment.key)).parse::<Assignment>();
            if !key.contains('=') {
                prop_assert_eq!(again.unwrap().key, assignment.key);
            }
        }
    }
}
