//! The program as it will run: a sealed copy in memory, hashed after the seal.
//!
//! The file may be replaced or rewritten at any moment; the copy cannot. Its hash is taken from the sealed bytes,
//! so what was checked is what runs.

use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use sha2::{Digest, Sha256};

use crate::SpawnError;

/// A module is a few megabytes; this bounds what a wrong path can cost.
const LIMIT_BYTES: u64 = 1 << 30;

/// Longer names of memory files are refused. Source: memfd_create(2).
const LONGEST_NAME_BYTES: usize = 249;

/// `MFD_EXEC` (Linux 6.3): states the intent, or the kernel logs a warning.
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

/// A program in sealed memory. Cheap to clone: there is one copy.
#[derive(Debug, Clone)]
pub struct SealedBinary {
    pub(crate) file: Arc<File>,
    pub(crate) sha256: [u8; 32],
}

impl SealedBinary {
    /// Copies `program`. Unless `is_readable`, the copy can be executed but not read by the module's user:
    /// the kernel starts such a program non-dumpable. `name` is what lists of processes and of memory show.
    ///
    /// Source: `would_dump` and `begin_new_exec` in fs/exec.c.
    pub(crate) fn copy(program: &Path, name: &OsStr, is_readable: bool) -> Result<Self, SpawnError> {
        let mut source = open(program)?;
        let seal = |cause: io::Error| SpawnError::Seal { program: program.into(), cause };

        let mut file = create(program, name)?;
        // One byte beyond the limit tells a file of that size from a larger one.
        let copied = io::copy(&mut (&mut source).take(LIMIT_BYTES + 1), &mut file).map_err(seal)?;
        if copied > LIMIT_BYTES {
            return Err(SpawnError::ProgramTooLarge { program: program.into(), limit_bytes: LIMIT_BYTES });
        }
        let mode = if is_readable { 0o555 } else { 0o111 };
        fchmod(&file, Mode::from_bits_truncate(mode)).map_err(|errno| seal(errno.into()))?;
        let seals =
            SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| seal(errno.into()))?;

        let mut magic = [0; 4];
        let found = file.read_at(&mut magic, 0).map_err(seal)?;
        if magic.get(..found) != Some(b"\x7fELF".as_slice()) {
            return Err(SpawnError::NotExecutable { program: program.into() });
        }
        file.rewind().map_err(seal)?;
        let mut hasher = Sha256::new();
        io::copy(&mut file, &mut hasher).map_err(seal)?;
        Ok(Self { file: Arc::new(file), sha256: hasher.finalize().into() })
    }
}

fn open(program: &Path) -> Result<File, SpawnError> {
    let unreadable = |cause: io::Error| match cause.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => SpawnError::ProgramNotFound { program: program.into() },
        // A socket, or a device without a driver.
        Some(libc::ENXIO) => SpawnError::ProgramNotRegular { program: program.into() },
        _ => SpawnError::ProgramUnreadable { program: program.into(), cause },
    };
    // Without O_NONBLOCK a FIFO would block until somebody writes.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(program)
        .map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(SpawnError::ProgramNotRegular { program: program.into() });
    }
    Ok(file)
}

fn create(program: &Path, name: &OsStr) -> Result<File, SpawnError> {
    let name = name.as_bytes();
    let name = CString::new(&name[..name.len().min(LONGEST_NAME_BYTES)])
        .map_err(|_| SpawnError::ContainsNul { what: "the name" })?;
    let name = name.as_c_str();
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let created = match memfd_create(name, flags | MFD_EXEC) {
        // Before Linux 6.3 the flag is unknown, and memory files are executable.
        Err(Errno::EINVAL) => memfd_create(name, flags),
        answer => answer,
    };
    match created {
        Ok(memory) => Ok(memory.into()),
        Err(Errno::EACCES) => Err(SpawnError::MemfdNoExec),
        Err(errno) => Err(SpawnError::Seal { program: program.into(), cause: errno.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_takes_no_write_and_keeps_its_length() {
        let program = std::env::current_exe().unwrap();
        let sealed = SealedBinary::copy(&program, "x".repeat(300).as_ref(), false).unwrap();
        let length = sealed.file.metadata().unwrap().len();
        assert_eq!(sealed.file.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(sealed.file.set_len(length - 1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(sealed.file.set_len(length + 1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(length, std::fs::metadata(program).unwrap().len());
    }

    #[test]
    fn the_hash_is_that_of_the_file() {
        let program = std::env::current_exe().unwrap();
        let expected: [u8; 32] = Sha256::digest(std::fs::read(&program).unwrap()).into();
        assert_eq!(SealedBinary::copy(&program, "x".as_ref(), true).unwrap().sha256, expected);
    }
}
