//! Attaching to a running node by its data directory.

use std::io;
use std::path::{Path, PathBuf};

use blvm_bus::request::{SOCKET_NAME, TOKEN_NAME};
use blvm_sdk::{Session, SessionError, Token, TokenError, Topics, Wait};

use super::RunError;
use super::assembly::data_directory_of;
use crate::embedded::Network;

/// Why a program could not attach.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Nobody listens.
    #[error(
        "no node runs on {}, or it was started with --no-attach: start one with blvm run, or name its directory with --datadir",
        path.display()
    )]
    NotRunning {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The token cannot be read.
    #[error("{}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// The node did not let this program in.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Attaches to the node of `directory`, or of the network's usual one.
pub(super) fn attach(
    directory: Option<&Path>,
    network: Network,
    topics: Topics,
) -> Result<Session, RunError> {
    let directory = data_directory_of(directory, network)?;
    let not_running = |source| AttachError::NotRunning { path: directory.clone(), source };
    let path = directory.join(TOKEN_NAME);
    let token = Token::read(&path).map_err(|error| match error {
        TokenError::Read(source) if source.kind() == io::ErrorKind::NotFound => not_running(source),
        source => AttachError::Token { path, source },
    })?;
    let session = Session::attach_path(&directory, &token, topics, Wait::Park);
    Ok(session.map_err(|error| match error {
        SessionError::Connect { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            not_running(source)
        }
        SessionError::Connect { source, .. } => {
            AttachError::Session(SessionError::Connect { path: directory.join(SOCKET_NAME), source })
        }
        error => AttachError::Session(error),
    })?)
}
