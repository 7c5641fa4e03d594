//! Long answers: archives in sealed memfds, so that neither side can change or cut them while the other reads, and the sender
//! can see whether anybody still has one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::MAX_ANSWER_BYTES;
use super::descriptors::is_open_elsewhere;
use crate::segment::{add_seals, create_memfd, reopen_read_only};

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

/// An archive in a sealed memfd, as its sender keeps it: the memory is the sender's as long as anybody has it, however its
/// receiver has it (an unread message, a descriptor, a mapping).
#[derive(Debug)]
pub struct SealedAnswer {
    /// An open file of the sender's own, without the right to write.
    kept: OwnedFd,
    bytes: u64,
}

impl SealedAnswer {
    /// Puts an archive into a sealed memfd.
    ///
    /// # Errors
    ///
    /// What the kernel says: ENFILE or EMFILE without descriptors, ENOSPC without memory.
    pub fn new(archive: &[u8]) -> io::Result<Self> {
        let mut file = File::from(create_memfd("blvm-answer")?);
        file.write_all(archive)?;
        add_seals(&file, ANSWER_SEALS)?;
        // The one that may write goes: the kernel counts readers only (see `is_held`).
        Ok(SealedAnswer { kept: reopen_read_only(&file)?, bytes: archive.len() as u64 })
    }

    /// Length of the archive.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is sent: another open file of the same memory, without the right to write. Drop it once it is sent.
    ///
    /// # Errors
    ///
    /// ENFILE or EMFILE without descriptors.
    pub fn to_send(&self) -> io::Result<OwnedFd> {
        Ok(reopen_read_only(&self.kept)?)
    }

    /// Whether anybody has what [`SealedAnswer::to_send`] gave: as a descriptor, in a message on its way, or mapped. Costs two
    /// system calls.
    ///
    /// # Errors
    ///
    /// What fcntl(2) says where memfds take no leases.
    pub fn is_held(&self) -> io::Result<bool> {
        is_open_elsewhere(self.kept.as_fd())
    }
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
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::memory::Mapped;
    use crate::request::{recv_with_descriptors, send_with_descriptors};

    #[test]
    fn an_answer_is_read_back_and_one_of_another_length_or_unsealed_is_refused() {
        let answer = SealedAnswer::new(&[7; 100_000]).unwrap();
        assert_eq!(answer.bytes(), 100_000);
        assert_eq!(read_answer(answer.to_send().unwrap(), 100_000).unwrap(), vec![7; 100_000]);
        let wrong = read_answer(answer.to_send().unwrap(), 99_999);
        assert!(matches!(wrong, Err(AnswerError::Length { found_bytes: 100_000, .. })));
        let loose = create_memfd("loose").unwrap();
        assert!(matches!(read_answer(loose, 0), Err(AnswerError::NotSealed)));
    }

    #[test]
    fn an_answer_is_held_while_it_is_on_its_way_open_or_mapped_and_not_after() {
        let answer = SealedAnswer::new(&[7; 100_000]).unwrap();
        assert!(!answer.is_held().unwrap());
        // On its way.
        let (node, module) = UnixStream::pair().unwrap();
        send_with_descriptors(&node, b"x", &[answer.to_send().unwrap().as_fd()]).unwrap();
        assert!(answer.is_held().unwrap());
        // Open, twice.
        let mut descriptors = Vec::new();
        recv_with_descriptors(&module, &mut [0; 1], &mut descriptors).unwrap();
        let received = descriptors.remove(0);
        let second = received.try_clone().unwrap();
        assert!(answer.is_held().unwrap());
        // Mapped.
        let mapping = Mapped::read_only(&second, 100_000).unwrap();
        drop((received, second));
        assert!(answer.is_held().unwrap());
        drop(mapping);
        assert!(!answer.is_held().unwrap());
        // Nobody takes it out of a socket that is gone.
        send_with_descriptors(&node, b"x", &[answer.to_send().unwrap().as_fd()]).unwrap();
        assert!(answer.is_held().unwrap());
        drop((node, module));
        assert!(!answer.is_held().unwrap());
        assert_eq!(read_answer(answer.to_send().unwrap(), 100_000).unwrap(), vec![7; 100_000]);
    }
}
