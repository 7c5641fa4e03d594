//! The calls a module is denied, made one after another.
#![allow(unsafe_code)]

use std::io::{self, Write};

use libc::c_long;
use nix::errno::Errno;

/// One call: its group, its name, its number and up to six arguments.
struct Call(&'static str, &'static str, c_long, &'static [Argument]);

/// An argument, filled in when the call is made.
#[derive(Clone, Copy)]
enum Argument {
    Is(c_long),
    Node,
    Own,
    /// The own pid, with a bit set that the kernel ignores.
    OwnWithJunk,
    NodeWithJunk,
}

use Argument::{Is, Node, NodeWithJunk, Own, OwnWithJunk};

/// Groups: `denied` answers EPERM only because of the filter; `privileged` would be refused to this user anyway;
/// `unknown` answers ENOSYS; `allowed` reaches the kernel.
const CALLS: &[Call] = &[
    Call("denied", "kill_node", libc::SYS_kill, &[Node, Is(0)]),
    Call("denied", "kill_node_with_junk", libc::SYS_kill, &[NodeWithJunk, Is(0)]),
    Call("denied", "kill_group", libc::SYS_kill, &[Is(0), Is(0)]),
    Call("denied", "kill_everybody", libc::SYS_kill, &[Is(-1), Is(0)]),
    Call("denied", "kill_everybody_32_bits", libc::SYS_kill, &[Is(0xffff_ffff), Is(0)]),
    Call("denied", "kill_other_group", libc::SYS_kill, &[Is(-0x7fff_fff0), Is(0)]),
    Call("denied", "tgkill_node", libc::SYS_tgkill, &[Node, Node, Is(0)]),
    Call("denied", "tkill_node", libc::SYS_tkill, &[Node, Is(0)]),
    Call("denied", "tkill_own", libc::SYS_tkill, &[Own, Is(0)]),
    Call("denied", "rt_sigqueueinfo_node", libc::SYS_rt_sigqueueinfo, &[Node, Is(0), Is(0)]),
    Call("denied", "rt_tgsigqueueinfo_node", libc::SYS_rt_tgsigqueueinfo, &[Node, Node, Is(0), Is(0)]),
    Call("denied", "pidfd_send_signal", libc::SYS_pidfd_send_signal, &[Is(-1), Is(0), Is(0), Is(0)]),
    Call("denied", "pidfd_getfd", libc::SYS_pidfd_getfd, &[Is(-1), Is(0), Is(0)]),
    Call("denied", "ptrace", libc::SYS_ptrace, &[Is(libc::PTRACE_DETACH as c_long), Is(-1)]),
    Call("denied", "process_vm_readv", libc::SYS_process_vm_readv, &[Own, Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call(
        "denied",
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        &[Own, Is(0), Is(0), Is(0), Is(0), Is(0)],
    ),
    Call("denied", "process_madvise", libc::SYS_process_madvise, &[Is(-1), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "process_mrelease", libc::SYS_process_mrelease, &[Is(-1), Is(0)]),
    Call("denied", "kcmp", libc::SYS_kcmp, &[Own, Own, Is(1), Is(0), Is(0)]),
    Call("denied", "migrate_pages", libc::SYS_migrate_pages, &[Own, Is(0), Is(0), Is(0)]),
    Call("denied", "move_pages", libc::SYS_move_pages, &[Own, Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "prlimit_node", libc::SYS_prlimit64, &[Node, Is(0), Is(0), Is(0)]),
    Call("denied", "sched_setaffinity_node", libc::SYS_sched_setaffinity, &[Node, Is(0), Is(0)]),
    Call("denied", "sched_setscheduler_node", libc::SYS_sched_setscheduler, &[Node, Is(99), Is(0)]),
    Call("denied", "sched_setparam_node", libc::SYS_sched_setparam, &[Node, Is(0)]),
    Call("denied", "sched_setattr_node", libc::SYS_sched_setattr, &[Node, Is(0), Is(0)]),
    Call("denied", "get_robust_list_node", libc::SYS_get_robust_list, &[Node, Is(0), Is(0)]),
    Call("denied", "setpriority_node", libc::SYS_setpriority, &[Is(0), Node, Is(0)]),
    Call("denied", "setpriority_user", libc::SYS_setpriority, &[Is(2), Is(0), Is(0)]),
    Call("denied", "setpriority_group", libc::SYS_setpriority, &[Is(1), Is(0), Is(0)]),
    Call("denied", "ioprio_set_node", libc::SYS_ioprio_set, &[Is(1), Node, Is(0xe000)]),
    Call("denied", "ioprio_set_user", libc::SYS_ioprio_set, &[Is(3), Is(0), Is(0xe000)]),
    Call(
        "denied",
        "clone_process",
        libc::SYS_clone,
        &[Is(libc::SIGCHLD as c_long), Is(0), Is(0), Is(0), Is(0)],
    ),
    Call("denied", "unshare", libc::SYS_unshare, &[Is(0)]),
    Call("denied", "setns", libc::SYS_setns, &[Is(-1), Is(0)]),
    Call("denied", "io_uring_setup", libc::SYS_io_uring_setup, &[Is(0), Is(0)]),
    Call("denied", "io_uring_enter", libc::SYS_io_uring_enter, &[Is(-1), Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "io_uring_register", libc::SYS_io_uring_register, &[Is(-1), Is(0), Is(0), Is(0)]),
    Call("denied", "f_setown", libc::SYS_fcntl, &[Is(0), Is(8), Own]),
    Call("denied", "f_setown_with_junk", libc::SYS_fcntl, &[Is(0), Is((1 << 40) | 8), Own]),
    Call("denied", "f_setsig", libc::SYS_fcntl, &[Is(0), Is(10), Is(0)]),
    Call("denied", "f_setown_ex", libc::SYS_fcntl, &[Is(0), Is(15), Is(0)]),
    Call("denied", "f_setlease", libc::SYS_fcntl, &[Is(0), Is(1024), Is(9)]),
    Call("denied", "fiosetown", libc::SYS_ioctl, &[Is(0), Is(0x8901), Is(0)]),
    Call("denied", "siocspgrp", libc::SYS_ioctl, &[Is(0), Is((1 << 40) | 0x8902), Is(0)]),
    Call("denied", "tiocsti", libc::SYS_ioctl, &[Is(0), Is(0x5412), Is(0)]),
    Call("denied", "tioclinux", libc::SYS_ioctl, &[Is(0), Is(0x541c), Is(0)]),
    Call("denied", "tiocsctty", libc::SYS_ioctl, &[Is(0), Is(0x540e), Is(0)]),
    Call("denied", "pr_set_pdeathsig", libc::SYS_prctl, &[Is(1), Is(0), Is(0), Is(0), Is(0)]),
    Call(
        "denied",
        "pr_set_pdeathsig_with_junk",
        libc::SYS_prctl,
        &[Is((1 << 40) | 1), Is(0), Is(0), Is(0), Is(0)],
    ),
    Call("denied", "pr_set_dumpable_1", libc::SYS_prctl, &[Is(4), Is(1), Is(0), Is(0), Is(0)]),
    Call("denied", "pr_set_ptracer", libc::SYS_prctl, &[Is(0x5961_6d61), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "pr_sched_core", libc::SYS_prctl, &[Is(62), Is(99), Is(0), Is(0), Is(0)]),
    Call("denied", "socket_unix", libc::SYS_socket, &[Is(1), Is(1), Is(0)]),
    Call("denied", "socket_unix_with_junk", libc::SYS_socket, &[Is((1 << 40) | 1), Is(1), Is(0)]),
    Call("denied", "socket_vsock", libc::SYS_socket, &[Is(40), Is(1), Is(0)]),
    Call("denied", "socket_alg", libc::SYS_socket, &[Is(38), Is(5), Is(0)]),
    Call("denied", "socket_netlink_audit", libc::SYS_socket, &[Is(16), Is(3), Is(9)]),
    Call("denied", "socket_mptcp", libc::SYS_socket, &[Is(2), Is(1), Is(262)]),
    Call("denied", "socket_sctp", libc::SYS_socket, &[Is(2), Is(5), Is(0)]),
    Call("denied", "socketpair_datagram", libc::SYS_socketpair, &[Is(1), Is(2), Is(0), Is(0)]),
    Call("denied", "socketpair_raw_cloexec", libc::SYS_socketpair, &[Is(1), Is(0x8_0003), Is(0), Is(0)]),
    Call(
        "denied",
        "sendto_fast_open",
        libc::SYS_sendto,
        &[Is(-1), Is(0), Is(0), Is(0x2000_0000), Is(0), Is(0)],
    ),
    Call("denied", "sendmsg_fast_open", libc::SYS_sendmsg, &[Is(-1), Is(0), Is(0x2000_0000)]),
    Call("denied", "sendmmsg_fast_open", libc::SYS_sendmmsg, &[Is(-1), Is(0), Is(0), Is(0x2000_0000)]),
    Call("denied", "shmget", libc::SYS_shmget, &[Is(0), Is(0), Is(0)]),
    Call("denied", "semget", libc::SYS_semget, &[Is(0), Is(-1), Is(0)]),
    Call("denied", "msgctl", libc::SYS_msgctl, &[Is(-1), Is(0), Is(0)]),
    Call("denied", "mq_open", libc::SYS_mq_open, &[Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "add_key", libc::SYS_add_key, &[Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "request_key", libc::SYS_request_key, &[Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "keyctl", libc::SYS_keyctl, &[Is(9999), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "setxattr", libc::SYS_setxattr, &[Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "lsetxattr", libc::SYS_lsetxattr, &[Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "fsetxattr", libc::SYS_fsetxattr, &[Is(-1), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "setxattrat", 463, &[Is(-1), Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("denied", "madvise_collapse", libc::SYS_madvise, &[Is(0), Is(0), Is(25)]),
    Call("denied", "madvise_collapse_with_junk", libc::SYS_madvise, &[Is(0), Is(0), Is((1 << 40) | 25)]),
    Call("privileged", "mount", libc::SYS_mount, &[Is(0), Is(0), Is(0), Is(0), Is(0)]),
    Call("privileged", "umount2", libc::SYS_umount2, &[Is(0), Is(0)]),
    Call("privileged", "pivot_root", libc::SYS_pivot_root, &[Is(0), Is(0)]),
    Call("privileged", "fsopen", libc::SYS_fsopen, &[Is(0), Is(0)]),
    Call("privileged", "open_tree", libc::SYS_open_tree, &[Is(-1), Is(0), Is(0)]),
    Call("privileged", "move_mount", libc::SYS_move_mount, &[Is(-1), Is(0), Is(-1), Is(0), Is(0)]),
    Call("privileged", "bpf", libc::SYS_bpf, &[Is(0), Is(0), Is(0)]),
    Call("privileged", "perf_event_open", libc::SYS_perf_event_open, &[Is(0), Is(0), Is(-1), Is(-1), Is(0)]),
    Call("privileged", "userfaultfd", libc::SYS_userfaultfd, &[Is(0)]),
    Call("privileged", "syslog", libc::SYS_syslog, &[Is(10), Is(0), Is(0)]),
    Call("unknown", "clone3", libc::SYS_clone3, &[Is(0), Is(0)]),
    Call("allowed", "kill_own", libc::SYS_kill, &[Own, Is(0)]),
    Call("allowed", "kill_own_with_junk", libc::SYS_kill, &[OwnWithJunk, Is(0)]),
    Call("allowed", "tgkill_own", libc::SYS_tgkill, &[Own, Own, Is(0)]),
    Call("allowed", "prlimit_own", libc::SYS_prlimit64, &[Own, Is(0), Is(0), Is(0)]),
    Call("allowed", "prlimit_self", libc::SYS_prlimit64, &[Is(0), Is(0), Is(0), Is(0)]),
    Call("allowed", "setpriority_self", libc::SYS_setpriority, &[Is(0), Is(0), Is(19)]),
    Call("allowed", "ioprio_set_own", libc::SYS_ioprio_set, &[Is(1), Own, Is(0)]),
    Call("allowed", "pr_set_dumpable_0", libc::SYS_prctl, &[Is(4), Is(0), Is(0), Is(0), Is(0)]),
    Call("allowed", "madvise_dontneed", libc::SYS_madvise, &[Is(0), Is(0), Is(4)]),
    Call("allowed", "membarrier_query", libc::SYS_membarrier, &[Is(0), Is(0), Is(0)]),
];

#[cfg(target_arch = "x86_64")]
const CALLS_HERE: &[Call] = &[
    Call("denied", "fork", libc::SYS_fork, &[]),
    Call("denied", "modify_ldt", libc::SYS_modify_ldt, &[Is(99), Is(0), Is(0)]),
    Call("unknown", "x32_getpid", 0x4000_0000 | libc::SYS_getpid, &[]),
    Call("unknown", "x32_kill", 0x4000_0000 | libc::SYS_kill, &[Own, Is(0)]),
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS_HERE: &[Call] = &[];

/// Prints `group name answer` for every call.
pub(super) fn run(out: &mut impl Write) -> io::Result<()> {
    for Call(group, name, number, arguments) in CALLS.iter().chain(CALLS_HERE) {
        let mut values = [0; 6];
        for (value, argument) in values.iter_mut().zip(*arguments) {
            *value = argument.value();
        }
        writeln!(out, "{group} {name} {}", answer(*number, values))?;
    }
    Ok(())
}

fn answer(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> String {
    // SAFETY: every pointer argument in the table is null, so the kernel writes to no memory of ours.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    let is_fork = cfg!(target_arch = "x86_64") && number == 57 || number == libc::SYS_clone;
    if is_fork && result == 0 {
        // SAFETY: the child of a fork that should have been denied; ends at once.
        unsafe { libc::_exit(0) };
    }
    if result == -1 { format!("{:?}", Errno::last()) } else { "ok".into() }
}

impl Argument {
    fn value(self) -> c_long {
        let own = c_long::from(std::process::id());
        let node = c_long::from(std::os::unix::process::parent_id());
        match self {
            Is(value) => value,
            Own => own,
            Node => node,
            OwnWithJunk => own | 1 << 40,
            NodeWithJunk => node | 1 << 40,
        }
    }
}

/// Makes the 32-bit system call `getpid` (20), and prints what came of it.
#[cfg(target_arch = "x86_64")]
pub(super) fn foreign(out: &mut impl Write) -> io::Result<()> {
    let mut result: u64 = 20;
    // SAFETY: getpid takes nothing and changes no memory; the 32-bit entry may clear r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inout("rax") result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    writeln!(out, "survived {result}")
}

/// There is no second architecture to call.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn foreign(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "nothing to call")
}
