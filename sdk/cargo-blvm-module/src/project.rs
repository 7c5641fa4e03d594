//! A module's directory, as its author has it.

use std::fs;
use std::path::{Path, PathBuf};

use blvm_manifest::{MANIFEST_FILE, Manifest, ManifestError};
use semver::Version;

/// A module's directory.
#[derive(Debug)]
pub(crate) struct Project {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// What its `module.toml` says. Nobody has looked for the program.
    pub(crate) manifest: Manifest,
    /// The same as text.
    pub(crate) text: String,
}

impl Project {
    /// Reads `directory/module.toml`.
    pub(crate) fn read(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(MANIFEST_FILE);
        let text =
            fs::read_to_string(&path).map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        let manifest = Manifest::parse(&text, &path)?;
        Ok(Project { directory: directory.to_owned(), manifest, text })
    }

    /// The first line of the manifest, from 1, where `text` stands outside a comment.
    pub(crate) fn line_of(&self, text: &str) -> Option<usize> {
        let code = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
        self.text.lines().position(|line| code(line).contains(text)).map(|line| line + 1)
    }

    /// Its `Cargo.toml`.
    pub(crate) fn cargo_file(&self) -> PathBuf {
        self.directory.join("Cargo.toml")
    }
}

/// The release that this tool belongs to, as the node does.
pub(crate) fn release() -> Version {
    // Cargo takes no other for a version.
    env!("CARGO_PKG_VERSION").parse().unwrap_or(Version::new(0, 0, 0))
}
