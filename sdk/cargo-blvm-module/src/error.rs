//! Why a command failed.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use blvm_manifest::ManifestError;

use crate::check::CheckError;
use crate::compile::CompileError;
use crate::directory::DirectoryError;
use crate::install::InstallError;
use crate::list::RemoveError;
use crate::new::NewError;
use crate::run::RunError;
use crate::update::{UpdateError, UpdateInstalledError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ToolError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    New(#[from] NewError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error(transparent)]
    UpdateInstalled(#[from] UpdateInstalledError),
    /// The result could not be printed.
    #[error("the standard output cannot be written")]
    Output(#[source] io::Error),
}

/// A file or directory that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {}", path.display(), attempt)]
pub(crate) struct FileFault {
    path: PathBuf,
    attempt: &'static str,
    #[source]
    source: io::Error,
}

impl FileFault {
    /// For `map_err`: `path` cannot be `attempt`, "written" say.
    pub(crate) fn at(path: &Path, attempt: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| FileFault { path, attempt, source }
    }
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    line
}
