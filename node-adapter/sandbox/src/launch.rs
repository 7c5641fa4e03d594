//! The fork, and the parent's side of it.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_long};
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use crate::child::Child;
use crate::plan::{ParentSide, Plan};
use crate::stages::{self, Vectors};
use crate::step::{Failure, Step};
use crate::{Layer, SpawnError, WeakReason};

/// Forks `plan`'s child and waits until it runs its program, or has failed.
///
/// Must be called on the spawner's thread, all signals blocked: the child dies with the thread that forks it, and no
/// handler of the node may run in it.
pub(crate) fn launch(mut plan: Plan, parent: ParentSide) -> Result<Child, SpawnError> {
    let arguments = pointers(&plan.arguments);
    let environment = pointers(&plan.environment);
    let vectors = Vectors { arguments: &arguments, environment: &environment };

    let mut pidfd: c_int = -1;
    // SAFETY: without CLONE_VM the child gets a copy of this thread and its memory, like fork(2); the kernel
    // writes the descriptor to `pidfd`, in the parent only. The child runs nothing but `stages::run`.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD),
            ptr::null_mut::<u8>(),
            &raw mut pidfd,
            ptr::null_mut::<c_int>(),
            0_usize,
        )
    };
    if pid == 0 {
        stages::run(&mut plan, &vectors);
    }
    if pid == -1 {
        return Err(SpawnError::Prepare { action: "fork", errno: Errno::last() });
    }
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // Closes our end of the error pipe, or reading it would never end.
    drop(plan);

    // A pid is a C int.
    let mut child = Child::new(pid as i32, pidfd, parent.binary, parent.enforced, parent.weak);
    child.control_group = parent.control_group;
    // From here on an early return kills and reaps the child, which may be half-way.
    read_reports(parent.reports, &mut child, parent.needs_filter_for_ports)?;
    child.stdout = Some(parent.stdout);
    child.stderr = Some(parent.stderr);
    Ok(child)
}

/// Reads until the exec, or the child's end, closes the pipe.
fn read_reports(
    mut reports: File,
    child: &mut Child,
    needs_filter_for_ports: bool,
) -> Result<(), SpawnError> {
    loop {
        let mut record = [0; Failure::BYTES];
        match read_record(&mut reports, &mut record)? {
            0 => return Ok(()),
            Failure::BYTES => {}
            _ => return Err(SpawnError::BadReport),
        }
        let failure = Failure::from_bytes(record).ok_or(SpawnError::BadReport)?;
        let errno = Errno::from_raw(failure.errno);
        if failure.step != Step::Seccomp {
            return Err(SpawnError::Step { step: failure.step, errno });
        }
        child.lose(Layer::Seccomp, WeakReason::FilterRefused { errno });
        if needs_filter_for_ports && child.enforced().contains(&Layer::Ports) {
            child.lose(Layer::Ports, WeakReason::FilterRefused { errno });
        }
    }
}

fn read_record(reports: &mut File, record: &mut [u8]) -> Result<usize, SpawnError> {
    loop {
        match reports.read(record) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                return Err(SpawnError::Prepare { action: "read the new process's reports", errno });
            }
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
