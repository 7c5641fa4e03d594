//! A running module process.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::{ControlGroup, Layer, SealedBinary, WeakReason};

/// A module process that this node started.
///
/// Dropping it kills the process with SIGKILL and reaps it, which blocks until the kernel has ended it.
///
/// Nothing else in the node may reap unknown children (`waitpid(-1)`, SIGCHLD ignored): the exit report would be lost.
#[derive(Debug)]
pub struct Child {
    /// The read end of the module's standard output; take it to drain it. A module that fills it waits.
    pub stdout: Option<OwnedFd>,
    /// The read end of the module's standard error; take it to drain it.
    pub stderr: Option<OwnedFd>,
    pid: i32,
    pidfd: OwnedFd,
    program: SealedBinary,
    enforced: Vec<Layer>,
    weak: Vec<(Layer, WeakReason)>,
    exit: Option<ExitReport>,
    /// Until it has ended.
    pub(crate) control_group: Option<ControlGroup>,
}

/// Sends `signal` to the process a pidfd names, never to another that got its number.
///
/// # Errors
///
/// `ESRCH` if the process was reaped.
///
/// Source: pidfd_send_signal(2).
pub fn signal_process(pidfd: impl AsFd, signal: Signal) -> Result<(), Errno> {
    // SAFETY: the descriptor is borrowed and so open; a null siginfo asks for the plain signal.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal as libc::c_int,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(answer).map(drop)
}

/// Opens the process that has a number now.
///
/// # Errors
///
/// `ESRCH` if there is none.
///
/// Source: pidfd_open(2).
pub(crate) fn open_process(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no memory.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let number = Errno::result(answer)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it. A descriptor is a C int.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReport {
    /// It exited by itself.
    Exited {
        /// The exit status, 0 to 255.
        status: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number; real-time signals have no other name.
        signal: i32,
    },
    /// The kernel killed it because its control group had no memory left.
    OutOfMemory,
}

impl Child {
    pub(crate) fn new(
        pid: i32,
        pidfd: OwnedFd,
        program: SealedBinary,
        enforced: Vec<Layer>,
        weak: Vec<(Layer, WeakReason)>,
    ) -> Self {
        Self {
            stdout: None,
            stderr: None,
            pid,
            pidfd,
            program,
            enforced,
            weak,
            exit: None,
            control_group: None,
        }
    }

    /// Moves a layer from the enforced ones to the missing ones.
    pub(crate) fn lose(&mut self, layer: Layer, reason: WeakReason) {
        self.enforced.retain(|enforced| *enforced != layer);
        self.weak.push((layer, reason));
    }

    /// Returns the process id, for display: it may be reused once the exit was reported.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the SHA-256 of the bytes that were executed.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.program.sha256
    }

    /// Returns what runs, for starting the very same again ([`crate::SpawnRequest::sealed`]).
    #[must_use]
    pub fn program(&self) -> &SealedBinary {
        &self.program
    }

    /// Returns the layers the kernel enforces on this process. A layer neither here nor in
    /// [`Child::weak`] was not asked for.
    #[must_use]
    pub fn enforced(&self) -> &[Layer] {
        &self.enforced
    }

    /// Returns the missing layers; empty unless the request allowed weak isolation.
    #[must_use]
    pub fn weak(&self) -> &[(Layer, WeakReason)] {
        &self.weak
    }

    /// Sends `signal` to the process, never to another that got its number.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the process was reaped.
    ///
    /// Source: pidfd_send_signal(2).
    pub fn kill(&self, signal: Signal) -> Result<(), Errno> {
        signal_process(&self.pidfd, signal)
    }

    /// Waits until the process has ended, and reaps it. Afterwards returns the same report at once.
    ///
    /// # Errors
    ///
    /// `ECHILD` if something else in the node reaped it.
    pub fn wait(&mut self) -> Result<ExitReport, Errno> {
        loop {
            match self.reap(0) {
                Ok(Some(report)) => return Ok(report),
                // Without WNOHANG the kernel reports an end or an error.
                Ok(None) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Returns how the process ended, reaping it, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitReport>, Errno> {
        self.reap(libc::WNOHANG)
    }

    fn reap(&mut self, flags: libc::c_int) -> Result<Option<ExitReport>, Errno> {
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        // A descriptor is never negative.
        let id = self.pidfd.as_raw_fd() as libc::id_t;
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: `info` has room for what the kernel writes.
        let answer = unsafe { libc::waitid(libc::P_PIDFD, id, info.as_mut_ptr(), libc::WEXITED | flags) };
        Errno::result(answer)?;
        // SAFETY: all bytes were zeroed, which is a valid value, and the kernel has overwritten some.
        let info = unsafe { info.assume_init() };
        // SAFETY: the call succeeded, so these are the fields of SIGCHLD, or zero while the process runs.
        if unsafe { info.si_pid() } == 0 {
            return Ok(None);
        }
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        // Dropped here: that kills what the process may have left behind.
        let group = self.control_group.take();
        let oom_kills = group.map_or(0, |group| group.oom_kills());
        self.exit = Some(match info.si_code {
            libc::CLD_EXITED => ExitReport::Exited { status },
            libc::CLD_KILLED if status == libc::SIGKILL && oom_kills > 0 => ExitReport::OutOfMemory,
            _ => ExitReport::Signalled { signal: status },
        });
        Ok(self.exit)
    }
}

/// The pidfd: readable once the process has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_some() {
            return;
        }
        // Either fails only if somebody else has reaped the process, and then nothing is left to do.
        let _ = self.kill(Signal::SIGKILL);
        let _ = self.wait();
    }
}
