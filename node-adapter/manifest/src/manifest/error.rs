//! Why a module is refused.

use std::path::{Path, PathBuf};

use crate::mistake::Mistake;

/// Why a module is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// There is no readable manifest.
    #[error("{} cannot be read: give a directory with a module.toml", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What it says is wrong.
    #[error("{}: {}", path.display(), crate::mistake::in_one_line(mistakes))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the file; at least one.
        mistakes: Vec<Mistake>,
    },
    /// There is no such program.
    #[error("{}: the program \"{entry_point}\" is in none of {}; build the module first", path.display(), places(searched))]
    NoProgram {
        /// The file.
        path: PathBuf,
        /// The entry point.
        entry_point: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
}

impl ManifestError {
    /// The manifest.
    pub fn path(&self) -> &Path {
        match self {
            ManifestError::Read { path, .. }
            | ManifestError::Invalid { path, .. }
            | ManifestError::NoProgram { path, .. } => path,
        }
    }
}

fn places(searched: &[PathBuf]) -> String {
    let places: Vec<_> = searched.iter().map(|place| place.display().to_string()).collect();
    places.join(", ")
}
