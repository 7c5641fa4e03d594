//! The child, from fork to exec: gives up everything that was not granted.
//!
//! Runs in a copy of a multi-threaded process, so only system calls and plain memory: no allocation, no lock, no panic.
//! Calls that glibc wraps for all threads (`setresuid`, `setresgid`, `setgroups`) are made directly: the wrapper would
//! wait for threads that the fork did not copy.
//!
//! | order | because |
//! |---|---|
//! | non-dumpable first | the child holds a copy of the node until the exec |
//! | control groups before anything else is used | what the child does counts |
//! | descriptors before the open-file limit | places may lie above it |
//! | bounding set before the user | needs `CAP_SETPCAP` |
//! | death signal after the user | `setresuid` clears it |
//! | parent check after the death signal | the node may have died before |
//! | filter last | it denies some of the steps before |
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

use crate::UidGid;
use crate::descriptors::Descriptors;
use crate::plan::{Limit, Plan};
use crate::seccomp::{Filter, Instruction};
use crate::step::{Failure, Step};

/// `_LINUX_CAPABILITY_VERSION_3`. Source: include/uapi/linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// The kernel answers EINVAL beyond its last capability; 64 is what version 3 can hold.
const CAPABILITIES: c_int = 64;
const SIGNALS: c_int = 64;
/// `getpriority` the system call answers 20 minus the nice value.
const PRIORITY_OF_NICE_0: c_long = 20;
/// Exit status of a child that never reached its program; the reports say why.
const NOT_STARTED: c_int = 127;

/// Arguments and environment as exec takes them: pointers, ending with null.
pub(crate) struct Vectors<'a> {
    pub(crate) arguments: &'a [*const c_char],
    pub(crate) environment: &'a [*const c_char],
}

/// Takes every step and becomes the module, or reports and exits.
///
/// `extern "C"`: a panic would end the process here instead of unwinding into a second copy of the node.
pub(crate) extern "C" fn run(plan: &mut Plan, vectors: &Vectors<'_>) -> ! {
    let mut report_to = plan.descriptors.report().as_raw_fd();
    let Err(failure) = take_steps(plan, vectors, &mut report_to);
    report(report_to, failure);
    // SAFETY: ends this process at once, without the node's exit handlers.
    unsafe { libc::_exit(NOT_STARTED) }
}

fn take_steps(
    plan: &mut Plan,
    vectors: &Vectors<'_>,
    report_to: &mut c_int,
) -> Result<std::convert::Infallible, Failure> {
    become_undumpable()?;
    enter_groups(&plan.groups)?;
    start_session()?;
    reset_signals()?;
    place_descriptors(&plan.descriptors, report_to)?;
    enter(&plan.working_directory)?;
    set_limits(&plan.limits)?;
    leave_priority()?;
    empty_capability_sets()?;
    if let Some(uid) = plan.uid {
        become_user(uid)?;
    }
    drop_capabilities()?;
    ask_for_death_signal(plan.node_pid)?;
    // A change of the user resets it to fs.suid_dumpable.
    become_undumpable()?;
    prctl(Step::NoNewPrivs, libc::PR_SET_NO_NEW_PRIVS, 1)?;
    if plan.descriptors.landlock().is_some() {
        enter_ruleset(plan.descriptors.landlock_place())?;
    }
    if let Some(filter) = &mut plan.filter
        && let Err(failure) = load(filter)
    {
        if !plan.is_weak_seccomp_allowed {
            return Err(failure);
        }
        report(*report_to, failure);
    }
    execute(plan.descriptors.binary_place(), vectors)
}

fn become_undumpable() -> Result<(), Failure> {
    prctl(Step::Dumpable, libc::PR_SET_DUMPABLE, 0)
}

/// Process 0 is the one that writes.
fn enter_groups(groups: &[OwnedFd]) -> Result<(), Failure> {
    let own = b"0";
    for group in groups {
        // SAFETY: `own` lives through the call and is only read.
        check(Step::ControlGroup, unsafe {
            libc::syscall(libc::SYS_write, group.as_raw_fd(), own.as_ptr(), own.len())
        })?;
    }
    Ok(())
}

fn start_session() -> Result<(), Failure> {
    // SAFETY: takes no memory.
    check(Step::Session, unsafe { libc::syscall(libc::SYS_setsid) })
}

/// Exec resets handlers, but keeps ignored signals and the mask; std ignores SIGPIPE in the node.
fn reset_signals() -> Result<(), Failure> {
    // `struct sigaction` of the kernel, all zero: SIG_DFL, no flags, empty mask. Not the C library's call, which
    // may take a lock for SIGABRT.
    let default = [0_u64; 4];
    for signal in 1..=SIGNALS {
        // Fails for SIGKILL and SIGSTOP, which cannot be ignored anyway.
        // SAFETY: `default` is at least as large as the kernel's structure, and only read.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    let empty = 0_u64;
    // SAFETY: `empty` is a kernel signal set of the size given, and lives through the call.
    check(Step::Signals, unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty,
            ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    })
}

fn place_descriptors(descriptors: &Descriptors, report_to: &mut c_int) -> Result<(), Failure> {
    for (place, descriptor) in (0..).zip(descriptors.placed()) {
        duplicate(descriptor.as_raw_fd(), place, 0)?;
    }
    duplicate(descriptors.report().as_raw_fd(), descriptors.report_place(), libc::O_CLOEXEC)?;
    *report_to = descriptors.report_place();
    duplicate(descriptors.binary().as_raw_fd(), descriptors.binary_place(), libc::O_CLOEXEC)?;
    if let Some(ruleset) = descriptors.landlock() {
        duplicate(ruleset.as_raw_fd(), descriptors.landlock_place(), libc::O_CLOEXEC)?;
    }
    // SAFETY: closes numbers of this process's own table; the owners above exist only in the node.
    check(Step::Descriptors, unsafe {
        libc::syscall(libc::SYS_close_range, descriptors.first_free(), c_int::MAX, 0)
    })
}

/// `from` is never `to`: every descriptor of a plan stands above all places.
fn duplicate(from: c_int, to: c_int, flags: c_int) -> Result<(), Failure> {
    // SAFETY: takes no memory; what `to` named in this process is not used by anything after the fork.
    check(Step::Descriptors, unsafe { libc::syscall(libc::SYS_dup3, from, to, flags) })
}

fn enter(working_directory: &CStr) -> Result<(), Failure> {
    // SAFETY: takes no memory.
    unsafe { libc::umask(0o077) };
    // SAFETY: a C string made before the fork.
    check(Step::WorkingDirectory, unsafe { libc::syscall(libc::SYS_chdir, working_directory.as_ptr()) })
}

fn set_limits(limits: &[Limit]) -> Result<(), Failure> {
    for Limit { resource, value } in limits {
        // SAFETY: process 0 is this one; `value` is a limit in the kernel's 64-bit form, and only read.
        check(Step::Limits, unsafe {
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                *resource,
                ptr::from_ref(value),
                ptr::null_mut::<libc::rlimit64>(),
            )
        })?;
    }
    Ok(())
}

/// A node under a real-time policy or with a raised priority does not share either with its modules.
fn leave_priority() -> Result<(), Failure> {
    // SAFETY: takes no memory.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    let is_real_time = [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE]
        .iter()
        .any(|&known| policy & !c_long::from(libc::SCHED_RESET_ON_FORK) == c_long::from(known));
    if is_real_time {
        let priority: c_int = 0;
        // SAFETY: `priority` stands for a `struct sched_param`, which is one int, and is only read.
        check(Step::Scheduling, unsafe {
            libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const priority)
        })?;
    }
    // SAFETY: takes no memory.
    let priority = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    if priority <= PRIORITY_OF_NICE_0 {
        return Ok(());
    }
    // SAFETY: takes no memory.
    check(Step::Scheduling, unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 0) })
}

fn empty_capability_sets() -> Result<(), Failure> {
    prctl(Step::CapabilitySets, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL)?;
    for capability in 0..CAPABILITIES {
        match prctl(Step::CapabilitySets, libc::PR_CAPBSET_DROP, capability) {
            // Beyond the last capability this kernel knows.
            Err(Failure { errno: libc::EINVAL, .. }) => break,
            // A node without CAP_SETPCAP: with no_new_privs the bounding set means nothing.
            Err(Failure { errno: libc::EPERM, .. }) => break,
            answer => answer?,
        }
    }
    Ok(())
}

fn become_user(UidGid { uid, gid }: UidGid) -> Result<(), Failure> {
    // SAFETY: no groups, so no memory is read.
    check(Step::Groups, unsafe { libc::syscall(libc::SYS_setgroups, 0_usize, ptr::null::<libc::gid_t>()) })?;
    // SAFETY: takes no memory.
    check(Step::Gid, unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: takes no memory.
    check(Step::Uid, unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

fn drop_capabilities() -> Result<(), Failure> {
    // `struct __user_cap_header_struct`: version, and process 0 for this one.
    let header = [CAPABILITY_VERSION, 0];
    // Two times effective, permitted, inheritable.
    let none = [0_u32; 6];
    // SAFETY: both arrays have the layout and length of version 3, and are only read.
    check(Step::Capabilities, unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) })
}

fn ask_for_death_signal(node_pid: i32) -> Result<(), Failure> {
    prctl(Step::DeathSignal, libc::PR_SET_PDEATHSIG, libc::SIGKILL)?;
    // SAFETY: takes no memory.
    let parent = unsafe { libc::syscall(libc::SYS_getppid) };
    // 0 where the node is outside this process's PID namespace: then nothing could tell a dead node from a live one.
    if parent == c_long::from(node_pid) {
        Ok(())
    } else {
        Err(Failure { step: Step::Parent, errno: libc::ESRCH })
    }
}

fn enter_ruleset(ruleset: c_int) -> Result<(), Failure> {
    // SAFETY: takes no memory.
    check(Step::Landlock, unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) })
}

fn load(filter: &mut Filter) -> Result<(), Failure> {
    // SAFETY: takes no memory. The direct call, because a C library may remember the node's pid.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    // A pid is a positive int.
    filter.set_own_pid(pid as u32);
    let instructions: &[Instruction] = filter.instructions();
    let program = libc::sock_fprog {
        // Below 4096: seccompiler refuses longer programs.
        len: instructions.len() as u16,
        filter: instructions.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions with the kernel's layout, and the kernel only reads them.
    check(Step::Seccomp, unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    })
}

fn execute(program: c_int, vectors: &Vectors<'_>) -> Result<std::convert::Infallible, Failure> {
    // SAFETY: the path is an empty C string; both vectors end with null and point to C strings made before the fork.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            vectors.arguments.as_ptr(),
            vectors.environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Failure { step: Step::Execute, errno: Errno::last_raw() })
}

fn prctl(step: Step, option: c_int, value: c_int) -> Result<(), Failure> {
    // SAFETY: only called with options that take numbers; unused arguments must be 0.
    check(step, unsafe {
        libc::syscall(libc::SYS_prctl, option, c_long::from(value), 0_usize, 0_usize, 0_usize)
    })
}

fn check(step: Step, answer: c_long) -> Result<(), Failure> {
    if answer == -1 { Err(Failure { step, errno: Errno::last_raw() }) } else { Ok(()) }
}

/// If even this fails, the parent sees a child that exited with [`NOT_STARTED`].
fn report(to: c_int, failure: Failure) {
    let bytes = failure.to_bytes();
    // SAFETY: `bytes` lives through the call and is only read.
    unsafe { libc::syscall(libc::SYS_write, to, bytes.as_ptr(), bytes.len()) };
}
