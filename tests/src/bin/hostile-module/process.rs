//! Attempts on the node's process, on the other module's, and on the walls of the sandbox.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

use crate::kernel::{Answer, View, call, call_that_forks, invoke};
use crate::report::{Layer, Report, Setting, Target};
use crate::segment::{close, open};

/// Numbers that libc lacks. Source: include/uapi/linux/{ioprio,kcmp,pidfd,prctl,sockios}.h.
const FIOSETOWN: i32 = 0x8901;
const SIOCSPGRP: i32 = 0x8902;
const F_SETOWN_EX: i32 = 15;
const F_SETSIG: i32 = 10;
const PIDFD_GET_MNT_NAMESPACE: i32 = 0xff03;
const SO_PEERPIDFD: i32 = 77;
const X32_BIT: libc::c_long = 0x4000_0000;
const SIGSTOP: i32 = libc::SIGSTOP;

const EPERM: &[Errno] = &[Errno::EPERM];
const EACCES: &[Errno] = &[Errno::EACCES];

/// Everything on another process: `who` is "node" or "other module".
pub(crate) fn attack(report: &mut Report, target: &Target, who: &str, pid: i32) -> io::Result<()> {
    open_its_files(report, who, pid)?;
    reach_its_memory(report, target, who, pid)?;
    reach_it_by_pidfd(report, target, who, pid)?;
    signal_it(report, target, who, pid)?;
    change_how_it_runs(report, who, pid)
}

/// Files under /proc: of a process that is not dumpable, they are root's.
fn open_its_files(report: &mut Report, who: &str, pid: i32) -> io::Result<()> {
    let mut files = vec![("mem", libc::O_RDWR)];
    let read = ["maps", "smaps", "environ", "auxv", "pagemap", "syscall", "stack", "fd", "map_files", "io"];
    files.extend(read.map(|name| (name, libc::O_RDONLY)));
    files.extend(["ns/mnt", "root/", "cwd/", "exe"].map(|name| (name, libc::O_RDONLY)));
    let write = ["oom_score_adj", "clear_refs", "coredump_filter", "comm", "autogroup"];
    files.extend(write.map(|name| (name, libc::O_WRONLY)));
    for (name, flags) in files {
        let answer = open(&format!("/proc/{pid}/{name}"), flags);
        if answer == Err(Errno::ENOENT) {
            // This kernel has no such file.
            continue;
        }
        let verb = if flags == libc::O_RDONLY { "read" } else { "write" };
        let attempt = format!("{who}: open /proc/PID/{name} to {verb}");
        let layer = report.files_layer(Layer::Dumpable);
        report.refused(&attempt, layer, &[Errno::EACCES, Errno::EPERM], &answer)?;
        if let Ok(fd) = answer {
            close(fd);
        }
    }
    let descriptor = open(&format!("/proc/{pid}/fd/3"), libc::O_RDWR);
    // For root there may be no such descriptor, or a socket, which cannot be opened.
    if !matches!(descriptor, Err(Errno::ENOENT | Errno::ENXIO)) {
        let layer = report.files_layer(Layer::Dumpable);
        report.refused(&format!("{who}: open /proc/PID/fd/3"), layer, EACCES, &descriptor)?;
    }
    if let Ok(fd) = descriptor {
        close(fd);
    }
    // This one opens for everybody and is refused when it is written.
    let slack = open(&format!("/proc/{pid}/timerslack_ns"), libc::O_WRONLY).and_then(|slack| {
        let written = call!(libc::SYS_write, slack, &b"50000"[..], 5);
        close(slack);
        written
    });
    let layer = report.files_layer(Layer::Capabilities);
    let expected = &[Errno::EPERM, Errno::EACCES];
    report.refused(&format!("{who}: write /proc/PID/timerslack_ns"), layer, expected, &slack)
}

fn reach_its_memory(report: &mut Report, target: &Target, who: &str, pid: i32) -> io::Result<()> {
    let bytes = [0_u8; 8];
    let local = [bytes.as_ptr() as u64, 8];
    // The address does not matter: the permission is checked first.
    let remote = [target.chain.address as u64, 8];
    for (name, number) in
        [("process_vm_readv", libc::SYS_process_vm_readv), ("process_vm_writev", libc::SYS_process_vm_writev)]
    {
        let answer = call!(number, pid, &local[..], 1, &remote[..], 1, 0);
        // For root the address is wrong, and nothing else: EFAULT is a yes.
        let answer = if answer == Err(Errno::EFAULT) { Ok(0) } else { answer };
        report.refused(&format!("{who}: {name}"), Layer::Seccomp, EPERM, &answer)?;
    }
    for (name, request) in [("PTRACE_ATTACH", libc::PTRACE_ATTACH), ("PTRACE_SEIZE", libc::PTRACE_SEIZE)] {
        let answer = call!(libc::SYS_ptrace, request, pid, 0, 0);
        if answer.is_ok() {
            let_go(pid);
        }
        report.refused(&format!("{who}: {name}"), Layer::Seccomp, EPERM, &answer)?;
    }
    for (name, answer) in [
        ("kcmp", call!(libc::SYS_kcmp, pid, pid, 1, 0, 0)),
        ("move_pages", call!(libc::SYS_move_pages, pid, 0, 0, 0, 0, 0)),
        ("migrate_pages", call!(libc::SYS_migrate_pages, pid, 0, 0, 0).or_else(without_such_memory)),
        ("get_robust_list", get_robust_list(pid)),
    ] {
        report.refused(&format!("{who}: {name}"), Layer::Seccomp, &[Errno::EPERM, Errno::ENOSYS], &answer)?;
    }
    Ok(())
}

fn get_robust_list(pid: i32) -> Answer {
    let (mut head, mut length) = ([0_u64], [0_u64]);
    call!(libc::SYS_get_robust_list, pid, &mut head[..], &mut length[..])
}

/// Ends what a successful attach began: waits until the process stands still, then lets it run.
fn let_go(pid: i32) {
    let _ = call!(libc::SYS_ptrace, libc::PTRACE_INTERRUPT, pid, 0, 0);
    let _ = call!(libc::SYS_wait4, pid, 0, libc::__WALL, 0);
    let _ = call!(libc::SYS_ptrace, libc::PTRACE_DETACH, pid, 0, 0);
}

fn reach_it_by_pidfd(report: &mut Report, target: &Target, who: &str, pid: i32) -> io::Result<()> {
    let opened = call!(libc::SYS_pidfd_open, pid, 0);
    // It names a process and gives no right over it.
    report.harmless(&format!("{who}: pidfd_open"), Layer::Kernel, &opened, || target.is_well())?;
    let Ok(pidfd) = opened else { return Ok(()) };
    let local = [target.chain.address as u64, 4096];
    let tries = [
        ("pidfd_getfd", call!(libc::SYS_pidfd_getfd, pidfd, 0, 0)),
        ("pidfd_send_signal", call!(libc::SYS_pidfd_send_signal, pidfd, SIGSTOP, 0, 0)),
        (
            "process_madvise",
            call!(libc::SYS_process_madvise, pidfd, &local[..], 1, libc::MADV_COLD, 0)
                .or_else(without_such_memory),
        ),
        ("process_mrelease", call!(libc::SYS_process_mrelease, pidfd, 0).or_else(without_such_memory)),
        ("setns", call!(libc::SYS_setns, pidfd, libc::CLONE_NEWNET)),
    ];
    for (name, answer) in &tries {
        undo_stop(report.setting, pid);
        report.refused(&format!("{who}: {name}"), Layer::Seccomp, EPERM, answer)?;
    }
    let namespace = call!(libc::SYS_ioctl, pidfd, PIDFD_GET_MNT_NAMESPACE, 0);
    let refusals: &[Errno] = &[Errno::EACCES, Errno::EPERM, Errno::ENOTTY];
    let attempt = format!("{who}: take its namespace from a pidfd");
    report.refused(&attempt, Layer::Dumpable, refusals, &namespace)?;
    // A pidfd is a descriptor.
    close(pidfd as RawFd);
    Ok(())
}

/// Root gets past the permission and fails at the address: that is a yes.
fn without_such_memory(errno: Errno) -> Answer {
    if matches!(errno, Errno::ENOMEM | Errno::EFAULT | Errno::EINVAL) { Ok(0) } else { Err(errno) }
}

/// Root stops the node where it tries: it must go on for the rest.
fn undo_stop(setting: Setting, pid: i32) {
    if setting == Setting::Root {
        let _ = call!(libc::SYS_kill, pid, libc::SIGCONT);
    }
}

fn signal_it(report: &mut Report, target: &Target, who: &str, pid: i32) -> io::Result<()> {
    // `siginfo_t`: number, errno, code SI_QUEUE, then whom it is from.
    let info = [u64::from(SIGSTOP as u32), u64::from(libc::SI_QUEUE as u32), 0, 0];
    let info: Vec<u64> = info.into_iter().chain([0; 12]).collect();
    let tries = [
        ("kill", libc::SYS_kill, vec![pid, SIGSTOP]),
        ("tgkill", libc::SYS_tgkill, vec![pid, pid, SIGSTOP]),
        ("tkill", libc::SYS_tkill, vec![pid, SIGSTOP]),
    ];
    for (name, number, values) in &tries {
        let mut arguments: Vec<_> = values.iter().map(|value| (*value).into()).collect();
        let answer = invoke(*number, &mut arguments);
        after_a_signal(report, target, &format!("{who}: SIGSTOP by {name}"), pid, answer)?;
    }
    let answer = call!(libc::SYS_rt_sigqueueinfo, pid, SIGSTOP, &info[..]);
    after_a_signal(report, target, &format!("{who}: SIGSTOP by rt_sigqueueinfo"), pid, answer)?;
    let answer = call!(libc::SYS_rt_tgsigqueueinfo, pid, pid, SIGSTOP, &info[..]);
    after_a_signal(report, target, &format!("{who}: SIGSTOP by rt_tgsigqueueinfo"), pid, answer)
}

fn after_a_signal(
    report: &mut Report,
    target: &Target,
    attempt: &str,
    pid: i32,
    answer: Answer,
) -> io::Result<()> {
    undo_stop(report.setting, pid);
    // What the call says is not all: the node must run and publish.
    let answer = if target.is_well() { answer } else { Ok(0) };
    report.refused(attempt, Layer::Seccomp, EPERM, &answer)
}

fn change_how_it_runs(report: &mut Report, who: &str, pid: i32) -> io::Result<()> {
    // `struct rlimit64`: no core files, which the node has forbidden itself already.
    let limit = [0_u64, 0];
    let all_cpus = [u64::MAX];
    let priority = [0_u64];
    let tries = [
        ("prlimit", call!(libc::SYS_prlimit64, pid, libc::RLIMIT_CORE, &limit[..], 0)),
        ("sched_setaffinity", call!(libc::SYS_sched_setaffinity, pid, 8, &all_cpus[..])),
        ("sched_setscheduler", call!(libc::SYS_sched_setscheduler, pid, libc::SCHED_OTHER, &priority[..])),
        ("setpriority", call!(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, 0)),
        ("ioprio_set", call!(libc::SYS_ioprio_set, 1, pid, 2 << 13 | 4)),
    ];
    for (name, answer) in &tries {
        report.refused(&format!("{who}: {name}"), Layer::Seccomp, EPERM, answer)?;
    }
    Ok(())
}

/// Signals that a descriptor sends to its owner: the owner would be the node.
pub(crate) fn own_its_socket(
    report: &mut Report,
    target: &Target,
    name: &str,
    socket: &impl AsRawFd,
) -> io::Result<()> {
    let (fd, pid) = (socket.as_raw_fd(), target.pid);
    // `struct f_owner_ex`: kind F_OWNER_PID, and the pid.
    let owner = [1 | (pid as u64) << 32];
    let owner_pid = [pid as u64];
    let tries = [
        ("F_SETSIG", call!(libc::SYS_fcntl, fd, F_SETSIG, SIGSTOP)),
        ("F_SETOWN", call!(libc::SYS_fcntl, fd, libc::F_SETOWN, pid)),
        ("F_SETOWN_EX", call!(libc::SYS_fcntl, fd, F_SETOWN_EX, &owner[..])),
        ("FIOSETOWN", call!(libc::SYS_ioctl, fd, FIOSETOWN, &owner_pid[..])),
        ("SIOCSPGRP", call!(libc::SYS_ioctl, fd, SIOCSPGRP, &owner_pid[..])),
    ];
    for (what, answer) in &tries {
        report.refused(&format!("{name}: {what} to the node"), Layer::Seccomp, EPERM, answer)?;
    }
    let flags = call!(libc::SYS_fcntl, fd, libc::F_GETFL).unwrap_or(0);
    let answer = call!(libc::SYS_fcntl, fd, libc::F_SETFL, flags | i64::from(libc::O_ASYNC));
    let attempt = format!("{name}: O_ASYNC without an owner");
    report.harmless(&attempt, Layer::Seccomp, &answer, || target.is_well())?;
    let peer = peer_pidfd(fd);
    report.harmless(&format!("{name}: SO_PEERPIDFD"), Layer::Kernel, &peer, || target.is_well())?;
    if let Ok(pidfd) = peer {
        let taken = call!(libc::SYS_pidfd_getfd, pidfd, 0, 0);
        report.refused(&format!("{name}: pidfd_getfd by SO_PEERPIDFD"), Layer::Seccomp, EPERM, &taken)?;
        close(pidfd);
    }
    Ok(())
}

fn peer_pidfd(socket: RawFd) -> Answer<RawFd> {
    let (mut pidfd, mut length) = ([0_u64], [4_u64]);
    call!(libc::SYS_getsockopt, socket, libc::SOL_SOCKET, SO_PEERPIDFD, &mut pidfd[..], &mut length[..])?;
    Ok(pidfd[0] as u32 as RawFd)
}

/// Ways out of the sandbox: other processes, other calls, other rights.
pub(crate) fn break_out(report: &mut Report, target: &Target) -> io::Result<()> {
    new_processes(report)?;
    other_calls(report)?;
    attach_by_path(report)?;
    other_rights(report, target)?;
    files_of_the_system(report, target)
}

fn new_processes(report: &mut Report) -> io::Result<()> {
    let exits: [u64; 11] = [0, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, 0];
    let size = size_of_val(&exits);
    let signal = libc::SIGCHLD;
    let clone =
        [("clone", signal), ("clone with CLONE_VFORK", signal | libc::CLONE_VFORK)].map(|(name, flags)| {
            (
                name,
                call_that_forks(libc::SYS_clone, &mut [flags.into(), 0.into(), 0.into(), 0.into(), 0.into()]),
            )
        });
    for (name, answer) in clone {
        report.refused(&format!("sandbox: {name}"), Layer::Seccomp, EPERM, &answer)?;
    }
    let clone3 = call_that_forks(libc::SYS_clone3, &mut [exits.as_slice().into(), size.into()]);
    report.refused("sandbox: clone3", Layer::Seccomp, &[Errno::ENOSYS], &clone3)?;
    #[cfg(target_arch = "x86_64")]
    for (name, number) in [("fork", libc::SYS_fork), ("vfork", libc::SYS_vfork)] {
        let answer = call_that_forks(number, &mut []);
        report.refused(&format!("sandbox: {name}"), Layer::Seccomp, EPERM, &answer)?;
    }
    Ok(())
}

fn other_calls(report: &mut Report) -> io::Result<()> {
    let own = std::process::id();
    let rings = [0_u64; 15];
    let mut pair = [0_u64];
    let tries = [
        ("io_uring_setup", call!(libc::SYS_io_uring_setup, 1, &rings[..])),
        ("unshare a user namespace", call!(libc::SYS_unshare, libc::CLONE_NEWUSER)),
        ("userfaultfd", call!(libc::SYS_userfaultfd, 1)),
        ("bpf", call!(libc::SYS_bpf, 0, 0, 0)),
        ("perf_event_open", call!(libc::SYS_perf_event_open, &rings[..], 0, -1, -1, 0)),
        ("socket AF_UNIX", call!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_DGRAM, 0)),
        ("socket to attach by path", call!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)),
        ("socket AF_ALG", call!(libc::SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
        (
            "socketpair of datagrams",
            call!(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_DGRAM, 0, &mut pair[..]),
        ),
        ("shmget", call!(libc::SYS_shmget, 0, 4096, 0o1600)),
        ("mq_open", call!(libc::SYS_mq_open, c"/blvm-hostile", libc::O_CREAT | libc::O_RDWR, 0o600, 0)),
        ("keyctl", call!(libc::SYS_keyctl, 0, -3, 1)),
        ("kill everybody, signal 0", call!(libc::SYS_kill, -1, 0)),
        ("kill the process group, signal 0", call!(libc::SYS_kill, 0, 0)),
        ("setpriority of the user", call!(libc::SYS_setpriority, libc::PRIO_USER, 0, 19)),
        ("PR_SET_PDEATHSIG off", call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0)),
        ("PR_SET_DUMPABLE on", call!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0)),
        ("PR_SET_PTRACER", call!(libc::SYS_prctl, libc::PR_SET_PTRACER, own, 0, 0, 0)),
        ("PR_SET_MM", call!(libc::SYS_prctl, libc::PR_SET_MM, libc::PR_SET_MM_BRK, 0, 0, 0)),
        ("PR_SCHED_CORE", call!(libc::SYS_prctl, 62, 1, 0, 0, 0)),
    ];
    for (name, answer) in &tries {
        report.refused(&format!("sandbox: {name}"), Layer::Seccomp, EPERM, answer)?;
    }
    #[cfg(target_arch = "x86_64")]
    {
        let answer = call!(X32_BIT | libc::SYS_kill, own, 0);
        report.refused("sandbox: kill by its x32 number", Layer::Seccomp, &[Errno::ENOSYS], &answer)?;
    }
    Ok(())
}

/// The node's socket with a path: a pair, which a module may have, must not become a way there.
fn attach_by_path(report: &mut Report) -> io::Result<()> {
    let path = b"../../bus.sock";
    let mut address = [0_u8; 24];
    address[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    address[2..2 + path.len()].copy_from_slice(path);
    let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    let answer = call!(libc::SYS_connect, one.as_raw_fd(), &address[..], 2 + path.len() + 1);
    // Connected already; and under a user of its own it cannot even come near.
    let expected = &[Errno::EISCONN, Errno::EACCES];
    report.refused("sandbox: connect a paired socket to bus.sock", Layer::Kernel, expected, &answer)
}

fn other_rights(report: &mut Report, target: &Target) -> io::Result<()> {
    let header = [0x2008_0522_u64];
    let all = [u64::MAX; 3];
    let privileged: [(&str, &[Errno], Answer); 6] = [
        ("capset", EPERM, call!(libc::SYS_capset, &header[..], &all[..])),
        ("setuid 0", EPERM, call!(libc::SYS_setuid, 0)),
        ("setgid 0", EPERM, call!(libc::SYS_setgid, 0)),
        ("setgroups", EPERM, call!(libc::SYS_setgroups, 1, &[0_u64][..])),
        ("PR_SET_SECUREBITS", EPERM, call!(libc::SYS_prctl, libc::PR_SET_SECUREBITS, 0, 0, 0, 0)),
        ("PR_CAP_AMBIENT raise", EPERM, {
            call!(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 21, 0, 0)
        }),
    ];
    let off = call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    report.refused("sandbox: no_new_privs off", Layer::Kernel, &[Errno::EINVAL], &off)?;
    for (name, expected, answer) in &privileged {
        report.refused(&format!("sandbox: {name}"), Layer::Capabilities, expected, answer)?;
    }
    let priority = [1_u64];
    let open_files = [1_u64 << 20, 1 << 20];
    let limited: [(&str, &[Errno], Answer); 5] = [
        ("real-time policy", EPERM, call!(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &priority[..])),
        ("raised priority", EACCES, call!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, -20)),
        ("raised limit", EPERM, call!(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &open_files[..], 0)),
        ("mlockall", EPERM, call!(libc::SYS_mlockall, libc::MCL_CURRENT | libc::MCL_FUTURE)),
        ("two gigabytes of private memory", &[Errno::ENOMEM], {
            call!(libc::SYS_mmap, 0, 2_u64 << 30, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        }),
    ];
    for (name, expected, answer) in &limited {
        report.refused(&format!("sandbox: {name}"), Layer::Rlimits, expected, answer)?;
    }
    // A filter that allows everything is added to the others, and takes nothing from them.
    let allow = [0x7fff_0000_0000_0006_u64];
    let program = [1_u64, allow.as_ptr() as u64];
    let loaded = call!(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program[..]);
    let killed = call!(libc::SYS_kill, target.pid, 0);
    report.harmless("sandbox: a filter of its own", Layer::Seccomp, &loaded, || killed == Err(Errno::EPERM))
}

/// Files that change the node, the host, or what both run on.
fn files_of_the_system(report: &mut Report, target: &Target) -> io::Result<()> {
    let mut paths: Vec<(String, String)> = [
        "/proc/sysrq-trigger",
        "/proc/kcore",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "/dev/mem",
        "/dev/userfaultfd",
    ]
    .map(|path| (path.to_owned(), path.to_owned()))
    .into();
    // A node's own control group, where it may be frozen; Landlock hides which that is, but not the topmost.
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", target.pid)).unwrap_or_default();
    for group in groups.lines().filter_map(|line| line.strip_prefix("0::")) {
        for file in ["cgroup.freeze", "cgroup.procs", "memory.high"] {
            paths.push((format!("/sys/fs/cgroup{group}/{file}"), format!("the node's {file}")));
        }
    }
    for file in ["cgroup.procs", "memory/cgroup.procs", "unified/cgroup.procs"] {
        paths.push((format!("/sys/fs/cgroup/{file}"), format!("the control groups' {file}")));
    }
    for (path, name) in paths {
        let answer = open(&path, libc::O_RDWR).or_else(|errno| {
            // Some of these cannot be read by anybody.
            if errno == Errno::EINVAL { open(&path, libc::O_WRONLY) } else { Err(errno) }
        });
        if matches!(answer, Err(Errno::ENOENT | Errno::ENXIO | Errno::ENODEV)) {
            continue;
        }
        let refusals: &[Errno] = &[Errno::EACCES, Errno::EPERM, Errno::EROFS];
        let layer = report.files_layer(Layer::Capabilities);
        report.refused(&format!("host: open {name} to write"), layer, refusals, &answer)?;
    }
    Ok(())
}

/// Pipes to the node's log: their size, and their other end.
pub(crate) fn attack_output(report: &mut Report, target: &Target) -> io::Result<()> {
    let grown = call!(libc::SYS_fcntl, 1, libc::F_SETPIPE_SZ, 1 << 20);
    report.harmless("output: F_SETPIPE_SZ", Layer::Kernel, &grown, || target.is_well())?;
    let shrunk = call!(libc::SYS_fcntl, 1, libc::F_SETPIPE_SZ, 4096);
    report.harmless("output: shrink the pipe", Layer::Kernel, &shrunk, || target.is_well())?;
    let other_end = open("/proc/self/fd/1", libc::O_RDONLY | libc::O_NONBLOCK);
    // Under the node's user it opens: what comes out is what this module printed.
    report.harmless("output: open the node's end", Layer::Kernel, &other_end, || target.is_well())?;
    let garbage = vec![b'\x1b'; 64 << 10];
    let flood =
        (0..16).map(|_| call!(libc::SYS_write, 1, &garbage[..], garbage.len())).collect::<Answer<Vec<_>>>();
    report.harmless("output: a megabyte of control bytes", Layer::Node, &flood, || target.is_well())
}

/// Root outside the sandbox writes the node's memory: nothing can forbid it, so it writes what is there.
pub(crate) fn write_as_root(report: &mut Report, pid: i32, view: &View) -> io::Result<()> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line = maps.lines().find(|line| line.contains("memfd:blvm-chain") && line.contains("rw-s"));
    let start = line.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    let Some(start) = start else { return Err(io::Error::other("the node has no chain segment")) };
    let magic = [view.load(0)];
    let memory = open(&format!("/proc/{pid}/mem"), libc::O_RDWR);
    let written = memory.and_then(|memory| {
        let written = call!(libc::SYS_pwrite64, memory, &magic[..], 8, start);
        close(memory);
        written
    });
    report.refused("node: write the segment through /proc/PID/mem", Layer::Dumpable, EACCES, &written)?;
    let (local, remote) = ([magic.as_ptr() as u64, 8], [start, 8]);
    let written = call!(libc::SYS_process_vm_writev, pid, &local[..], 1, &remote[..], 1, 0);
    report.refused("node: write the segment by process_vm_writev", Layer::Seccomp, EPERM, &written)
}
