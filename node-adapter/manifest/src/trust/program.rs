//! The hash of a program.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

/// Longest program that is hashed, in bytes: the sandbox starts no longer one.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// What a program is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// SHA-256 of its bytes. The sandbox compares it with those that it starts.
    pub sha256: [u8; 32],
    /// How many there are.
    pub size_bytes: u64,
}

/// Reads a program and hashes it. Waits for nothing: a pipe is refused.
///
/// # Errors
///
/// What reading says, or that it is no regular file of at most 1 GiB.
pub fn hash_program(path: &Path) -> io::Result<Program> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut hasher = Sha256::new();
    let size_bytes = io::copy(&mut file.take(MAX_PROGRAM_BYTES + 1), &mut hasher)?;
    if size_bytes > MAX_PROGRAM_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is longer than 1 GiB"));
    }
    Ok(Program { sha256: hasher.finalize().into(), size_bytes })
}
