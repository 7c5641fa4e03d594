//! Why a file of the operator's, or of a module's configuration, is not used.

use std::io;
use std::path::PathBuf;

use crate::mistake::Mistake;

/// Why a file is not used. It is never left out silently, and nothing else takes its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{}: {}", path.display(), crate::mistake::in_one_line(mistakes))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the file; at least one.
        mistakes: Vec<Mistake>,
    },
}
