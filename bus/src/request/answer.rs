//! Long answers: archives in sealed memfds, so that neither side can change or cut them while the other reads.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::MAX_ANSWER_BYTES;
use crate::segment::{add_seals, create_memfd};

const ANSWER_SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

/// Why a long answer was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// A system call failed.
    #[error("the answer's memory cannot be read")]
    Kernel(#[from] io::Error),
    /// It is not sealed.
    #[error("the answer's memory is not sealed: it could change while it is read")]
    NotSealed,
    /// It has another length than the frame says, or an impossible one.
    #[error("the answer has {found_bytes} bytes, its frame says {said_bytes}, {limit_bytes} are taken")]
    Length {
        /// Its length.
        found_bytes: u64,
        /// What the frame says.
        said_bytes: u64,
        /// The most taken.
        limit_bytes: u64,
    },
}

/// Puts an archive into a sealed memfd.
///
/// # Errors
///
/// What the kernel says: ENFILE or EMFILE without descriptors, ENOSPC without memory.
pub fn seal_answer(archive: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(create_memfd("blvm-answer")?);
    file.write_all(archive)?;
    add_seals(&file, ANSWER_SEALS)?;
    Ok(OwnedFd::from(file))
}

/// Reads an answer of `said_bytes` out of its memfd.
///
/// # Errors
///
/// [`AnswerError`].
pub fn read_answer(descriptor: OwnedFd, said_bytes: u64) -> Result<Vec<u8>, AnswerError> {
    let seals = fcntl(&descriptor, FcntlArg::F_GET_SEALS).map_err(io::Error::from)?;
    if seals & ANSWER_SEALS.bits() != ANSWER_SEALS.bits() {
        return Err(AnswerError::NotSealed);
    }
    let file = File::from(descriptor);
    let found_bytes = file.metadata()?.len();
    if found_bytes != said_bytes || found_bytes > MAX_ANSWER_BYTES as u64 {
        return Err(AnswerError::Length { found_bytes, said_bytes, limit_bytes: MAX_ANSWER_BYTES as u64 });
    }
    // Bounded just above.
    let mut bytes = vec![0; found_bytes as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_and_one_of_another_length_or_unsealed_is_refused() {
        let answer = seal_answer(&[7; 100_000]).unwrap();
        assert_eq!(read_answer(answer.try_clone().unwrap(), 100_000).unwrap(), vec![7; 100_000]);
        assert!(matches!(read_answer(answer, 99_999), Err(AnswerError::Length { found_bytes: 100_000, .. })));
        let loose = create_memfd("loose").unwrap();
        assert!(matches!(read_answer(loose, 0), Err(AnswerError::NotSealed)));
    }
}
