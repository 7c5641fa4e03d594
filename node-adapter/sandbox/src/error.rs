//! Why a module was not started.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::{Layer, Step, WeakReason};

/// Why [`crate::Spawner::start`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system gave no thread.
    #[error("no thread for spawning modules: raise the node's process limit (ulimit -u)")]
    Thread(#[source] io::Error),
}

/// Why [`crate::Spawner::spawn`] started nothing. No process is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No file at this path.
    #[error("no program at {}: install the module, or correct its path", program.display())]
    ProgramNotFound {
        /// The path asked for.
        program: PathBuf,
    },
    /// A directory, a device, a pipe or a socket.
    #[error("{} is not a regular file: name the program itself", program.display())]
    ProgramNotRegular {
        /// The path asked for.
        program: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {}: give the node's user read access", program.display())]
    ProgramUnreadable {
        /// The path asked for.
        program: PathBuf,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The file is larger than a program can sensibly be.
    #[error("{} is larger than {limit_bytes} bytes: strip it, or name the program itself", program.display())]
    ProgramTooLarge {
        /// The path asked for.
        program: PathBuf,
        /// The largest size that is copied.
        limit_bytes: u64,
    },
    /// Not an ELF program for this machine. Scripts are refused: their interpreter would need the path.
    #[error("{} is not an ELF program for {}: build the module for this machine", program.display(), std::env::consts::ARCH)]
    NotExecutable {
        /// The path asked for.
        program: PathBuf,
    },
    /// The program names a dynamic loader that does not exist here.
    #[error("the dynamic loader of {} does not exist here: build the module for this system, or statically", program.display())]
    LoaderMissing {
        /// The path asked for.
        program: PathBuf,
    },
    /// The bytes are not the expected ones.
    #[error("{} has SHA-256 {}, expected {}: install the module again, or trust the new hash", program.display(), Hex(found), Hex(expected))]
    HashMismatch {
        /// The path asked for.
        program: PathBuf,
        /// What the caller expected.
        expected: [u8; 32],
        /// What the sealed copy has.
        found: [u8; 32],
    },
    /// The host forbids executable memory files.
    #[error("this host forbids executable memory files: set vm.memfd_noexec to 0 or 1")]
    MemfdNoExec,
    /// The program could not be copied into sealed memory.
    #[error("cannot copy {} into sealed memory: check free memory and that /proc is mounted", program.display())]
    Seal {
        /// The path asked for.
        program: PathBuf,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// An argument or a path contains a NUL byte.
    #[error("{what} contains a NUL byte: remove it")]
    ContainsNul {
        /// Which part of the request.
        what: &'static str,
    },
    /// An environment name is empty or contains `=`.
    #[error("environment name {name:?} is empty or contains '=': correct it")]
    EnvironmentName {
        /// The name asked for.
        name: OsString,
    },
    /// More descriptors granted than the module may have open.
    #[error("{granted} descriptors and stdio do not fit under {open_files} open files: raise the limit")]
    TooManyDescriptors {
        /// Descriptors granted.
        granted: usize,
        /// The limit, lowered to the node's own.
        open_files: u64,
    },
    /// The module would run as, or could become, user 0. Without capabilities root still owns files under /proc/sys.
    #[error("a module never runs as user 0: give it a user of its own, or run the node as another user")]
    UidZero,
    /// The module was to have group 0.
    #[error("a module never gets group 0: give it a group of its own")]
    GidZero,
    /// This host cannot apply a layer.
    #[error("the layer {layer} is missing: {reason}; or start the node with --allow-weak-isolation")]
    WeakIsolation {
        /// The missing layer.
        layer: Layer,
        /// Why it is missing.
        reason: WeakReason,
    },
    /// The Landlock ruleset could not be made.
    #[error("the files a module may reach cannot be confined")]
    Landlock {
        /// Why.
        #[source]
        source: Box<crate::LandlockError>,
    },
    /// The node's side of the spawn failed.
    #[error("cannot {action}: check the node's limits on files, processes and memory")]
    Prepare {
        /// What the node was doing.
        action: &'static str,
        /// What the kernel answered.
        #[source]
        errno: Errno,
    },
    /// The child failed on its way to the program.
    #[error("the new process failed at the step {step} ({errno}): {}", step.advice())]
    Step {
        /// Where it failed.
        step: Step,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The child reported something this version does not know. Only a damaged node does that.
    #[error("the new process sent a report nobody can read: restart the node")]
    BadReport,
    /// The spawner's thread is gone.
    #[error("the spawner's thread has ended: restart the node")]
    SpawnerGone,
}

/// Writes bytes as lower-case hexadecimal.
struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names the action for [`SpawnError::Prepare`].
pub(crate) fn cannot(action: &'static str) -> impl Fn(Errno) -> SpawnError {
    move |errno| SpawnError::Prepare { action, errno }
}
