//! `Cargo.lock` as it was: Cargo writes it also where it is only asked what a package is made of.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What stood in the lock files that Cargo may write for a package.
#[derive(Debug)]
pub(super) struct Lock {
    /// `None`: there was no file.
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Lock {
    /// Remembers those of the package in `directory` and of the workspaces it may be in.
    pub(super) fn read(directory: &Path) -> Self {
        let is_package = |place: &&Path| place.join("Cargo.toml").is_file();
        let files = directory.ancestors().filter(is_package).map(|place| {
            let path = place.join("Cargo.lock");
            let text = fs::read(&path).ok();
            (path, text)
        });
        Lock { files: files.collect() }
    }

    /// Puts back what has changed; each file whole or not at all.
    pub(super) fn write_back(&self) -> io::Result<()> {
        for (path, text) in &self.files {
            match (text, fs::read(path).ok()) {
                (Some(text), now) if now.as_ref() != Some(text) => replace(path, text)?,
                (None, Some(_)) => fs::remove_file(path)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text)?;
    if let Ok(now) = fs::metadata(path) {
        file.as_file().set_permissions(now.permissions())?;
    }
    file.persist(path)?;
    Ok(())
}
