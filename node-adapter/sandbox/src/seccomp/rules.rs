//! What is denied, and why. Denied calls answer EPERM.
//!
//! All comparisons look at the lower 32 bits of an argument: each of these arguments is an `int` or `unsigned int` in
//! the kernel, which ignores the upper half of the register. A 64-bit comparison could be passed with junk up there.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// Constants that libc lacks on some of our targets. Source: include/uapi/asm-generic/{fcntl,mman-common,sockios,unistd}.h,
/// include/uapi/linux/{ioprio,prctl}.h.
mod uapi {
    pub(super) const F_SETOWN: u64 = 8;
    pub(super) const F_SETSIG: u64 = 10;
    pub(super) const F_SETOWN_EX: u64 = 15;
    pub(super) const F_SETLEASE: u64 = 1024;
    pub(super) const FIOSETOWN: u64 = 0x8901;
    pub(super) const SIOCSPGRP: u64 = 0x8902;
    pub(super) const TIOCSCTTY: u64 = 0x540e;
    pub(super) const TIOCSTI: u64 = 0x5412;
    pub(super) const TIOCLINUX: u64 = 0x541c;
    pub(super) const PRIO_PROCESS: u64 = 0;
    pub(super) const IOPRIO_WHO_PROCESS: u64 = 1;
    pub(super) const PR_SET_PDEATHSIG: u64 = 1;
    pub(super) const PR_SET_DUMPABLE: u64 = 4;
    pub(super) const PR_SET_MM: u64 = 35;
    pub(super) const PR_SCHED_CORE: u64 = 62;
    pub(super) const PR_SET_PTRACER: u64 = 0x5961_6d61;
    pub(super) const AF_UNIX: u64 = 1;
    pub(super) const AF_INET: u64 = 2;
    pub(super) const AF_INET6: u64 = 10;
    pub(super) const AF_NETLINK: u64 = 16;
    pub(super) const NETLINK_ROUTE: u64 = 0;
    pub(super) const IPPROTO_TCP: u64 = 6;
    pub(super) const IPPROTO_UDP: u64 = 17;
    pub(super) const SOCK_TYPE_MASK: u64 = 0xf;
    pub(super) const SOCK_DGRAM: u64 = 2;
    pub(super) const SOCK_RAW: u64 = 3;
    pub(super) const MSG_FASTOPEN: u64 = 0x2000_0000;
    pub(super) const CLONE_THREAD: u64 = 0x1_0000;
    pub(super) const MADV_COLLAPSE: u64 = 25;
    pub(super) const SYS_SETXATTRAT: libc::c_long = 463;
}

/// Denied whatever the arguments.
const ALWAYS: &[c_long] = &[
    // Other processes: their memory, their descriptors, their pages.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Signals to others; what remains is compared with the own pid below. `tkill` names only a thread.
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    // Does all of this behind the filter's back.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // Outlives the module, or reaches others of the same user by name: System V objects, message queues, keys.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Attributes need no writable descriptor and stay with a memory file: kernel memory without bound that outlives the module.
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    uapi::SYS_SETXATTRAT,
    // The host, and parts of the kernel no module needs and many exploits do.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
];

/// Calls that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_modify_ldt,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: &[c_long] = &[];

/// The denied calls, in the form seccompiler takes: any rule of a call denies it, no rules deny it always.
pub(super) struct Rules {
    pub(super) denied: BTreeMap<i64, Vec<SeccompRule>>,
    pub(super) own_pid_uses: usize,
    own_pid: u32,
}

type Built<T = ()> = Result<T, BackendError>;

impl Rules {
    /// Lists everything a module with the pid `own_pid` is denied.
    pub(super) fn all(own_pid: u32, may_use_network: bool) -> Built<Self> {
        let mut rules = Self { denied: BTreeMap::new(), own_pid_uses: 0, own_pid };
        for &call in ALWAYS.iter().chain(ALWAYS_HERE) {
            rules.denied.insert(call, Vec::new());
        }
        rules.processes()?;
        rules.descriptor_signals()?;
        rules.prctl()?;
        if may_use_network {
            rules.sockets()?;
        } else {
            // Any rule of a call denies it, no rules deny it always.
            rules.denied.insert(libc::SYS_socket, Vec::new());
        }
        rules.socket_pairs()?;
        rules.memory()?;
        Ok(rules)
    }

    /// New processes, signals, limits and priorities: the own process only.
    ///
    /// An own-pid comparison also refuses 0 (the group), -1 (everybody) and every other negative value (a group).
    fn processes(&mut self) -> Built {
        self.deny_if(libc::SYS_clone, [masked(0, uapi::CLONE_THREAD, 0)?])?;
        for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_tgsigqueueinfo] {
            let other = self.not_own(0)?;
            self.deny_if(call, [other])?;
        }
        for call in [
            libc::SYS_prlimit64,
            libc::SYS_sched_setattr,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setaffinity,
            libc::SYS_get_robust_list,
        ] {
            let other = self.not_own(0)?;
            self.deny_if(call, [ne(0, 0)?, other])?;
        }
        for (call, process) in
            [(libc::SYS_setpriority, uapi::PRIO_PROCESS), (libc::SYS_ioprio_set, uapi::IOPRIO_WHO_PROCESS)]
        {
            self.deny_if(call, [ne(0, process)?])?;
            let other = self.not_own(1)?;
            self.deny_if(call, [ne(1, 0)?, other])?;
        }
        Ok(())
    }

    /// Descriptors that signal their owner, terminals, and file leases, on which another process's `open` waits.
    fn descriptor_signals(&mut self) -> Built {
        for command in [uapi::F_SETOWN, uapi::F_SETOWN_EX, uapi::F_SETSIG, uapi::F_SETLEASE] {
            self.deny_if(libc::SYS_fcntl, [eq(1, command)?])?;
        }
        for command in [uapi::FIOSETOWN, uapi::SIOCSPGRP, uapi::TIOCSTI, uapi::TIOCLINUX, uapi::TIOCSCTTY] {
            self.deny_if(libc::SYS_ioctl, [eq(1, command)?])?;
        }
        Ok(())
    }

    /// What undoes a layer, hides what runs, or (core scheduling) idles the other half of a core the node runs on.
    fn prctl(&mut self) -> Built {
        for option in [uapi::PR_SET_PDEATHSIG, uapi::PR_SET_PTRACER, uapi::PR_SET_MM, uapi::PR_SCHED_CORE] {
            self.deny_if(libc::SYS_prctl, [eq(0, option)?])?;
        }
        self.deny_if(libc::SYS_prctl, [eq(0, uapi::PR_SET_DUMPABLE)?, ne(1, 0)?])
    }

    /// TCP and UDP sockets, the route netlink that name resolution asks, and connected pairs.
    fn sockets(&mut self) -> Built {
        let call = libc::SYS_socket;
        // AF_UNIX above all: it reaches every local service, whatever the network rules say.
        self.deny_if(call, [ne(0, uapi::AF_INET)?, ne(0, uapi::AF_INET6)?, ne(0, uapi::AF_NETLINK)?])?;
        self.deny_if(call, [eq(0, uapi::AF_NETLINK)?, ne(2, uapi::NETLINK_ROUTE)?])?;
        // Multipath TCP and SCTP pass Landlock's rules for TCP ports unseen.
        self.deny_if(
            call,
            [ne(0, uapi::AF_NETLINK)?, ne(2, 0)?, ne(2, uapi::IPPROTO_TCP)?, ne(2, uapi::IPPROTO_UDP)?],
        )?;
        // Types from 4 on: protocol 0 with SOCK_SEQPACKET is SCTP again.
        for bit in [4, 8] {
            self.deny_if(call, [masked(1, bit, bit)?])?;
        }
        Ok(())
    }

    /// Connected pairs, which are no network.
    fn socket_pairs(&mut self) -> Built {
        // A datagram pair is not bound to its peer: sendto reaches any AF_UNIX name. SOCK_RAW becomes SOCK_DGRAM.
        for kind in [uapi::SOCK_DGRAM, uapi::SOCK_RAW] {
            self.deny_if(libc::SYS_socketpair, [masked(1, uapi::SOCK_TYPE_MASK, kind)?])?;
        }
        self.deny_if(libc::SYS_socketpair, [ne(0, uapi::AF_UNIX)?])?;
        // TCP Fast Open connects without the check that Landlock relies on.
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            self.deny_if(call, [masked(flags, uapi::MSG_FASTOPEN, uapi::MSG_FASTOPEN)?])?;
        }
        Ok(())
    }

    /// Collapsing a segment into large pages works on a read-only mapping, and takes all of it out of the node's page
    /// tables, locked or not: the publisher faults.
    fn memory(&mut self) -> Built {
        self.deny_if(libc::SYS_madvise, [eq(2, uapi::MADV_COLLAPSE)?])
    }

    /// Denies `call` when all `conditions` hold.
    fn deny_if<const N: usize>(&mut self, call: c_long, conditions: [SeccompCondition; N]) -> Built {
        let rule = SeccompRule::new(conditions.into())?;
        self.denied.entry(call).or_default().push(rule);
        Ok(())
    }

    fn not_own(&mut self, argument: u8) -> Built<SeccompCondition> {
        self.own_pid_uses += 1;
        ne(argument, u64::from(self.own_pid))
    }
}

fn eq(argument: u8, value: u64) -> Built<SeccompCondition> {
    compare(argument, SeccompCmpOp::Eq, value)
}

fn ne(argument: u8, value: u64) -> Built<SeccompCondition> {
    compare(argument, SeccompCmpOp::Ne, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Built<SeccompCondition> {
    compare(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn compare(argument: u8, operator: SeccompCmpOp, value: u64) -> Built<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}
