//! What the caller asks for.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::{ControlGroup, Reach, SealedBinary};

/// What a module process is started from, and with what.
///
/// The module gets what stands here and nothing else.
#[derive(Debug)]
pub struct SpawnRequest {
    /// The program file. It is copied before it runs: the module's user needs no access to this path.
    pub program: PathBuf,
    /// Refuses any other program: the SHA-256 that the bytes to be executed must have.
    pub expected_sha256: Option<[u8; 32]>,
    /// A program that ran before, instead of a new copy of `program`, which then only gives its name.
    pub sealed: Option<SealedBinary>,
    /// What lists of processes show as the command, after `memfd:` and cut to 15 bytes in all; the name of the program's file if
    /// there is none. A program that ran before keeps the name it had.
    ///
    /// Source: PR_SET_NAME(2const); Linux before 6.14 shows a number, which no name changes.
    pub name: Option<OsString>,
    /// Arguments after the program's own name.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Handed to the module as descriptors 3, 4, 5, … in this order; the node's own copies are closed.
    pub descriptors: Vec<OwnedFd>,
    /// The files and TCP ports it may reach, through a Landlock ruleset it enters for good just before it starts; must let
    /// it execute its dynamic loader and read its libraries, but need not name the program. `None` leaves files and ports
    /// unconfined, which is not counted as a missing layer.
    pub reach: Option<Reach>,
    /// Lets it make TCP and UDP sockets. Without, the system call filter leaves it no network at all.
    pub may_use_network: bool,
    /// The control group it starts in, removed once it has ended.
    pub control_group: Option<ControlGroup>,
    /// User and group of the module's own. `None` keeps the node's, and its supplementary groups.
    pub uid: Option<UidGid>,
    /// Resource limits.
    pub limits: Limits,
    /// Entered with the node's rights, before the user changes. `/` by default.
    pub working_directory: PathBuf,
    /// Leaves the module dumpable: debuggers attach and backtraces have symbols, but any process of the
    /// same user may then read and write its memory. For development.
    pub allow_debugging: bool,
    /// Goes on without layers this host cannot apply, and lists them in [`crate::Child::weak`]. Never lifts the
    /// ban on user 0.
    pub allow_weak_isolation: bool,
}

impl SpawnRequest {
    /// Asks for `program` with no arguments, no environment, no descriptors and the default limits,
    /// under the node's user, without network.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            sealed: None,
            name: None,
            expected_sha256: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            reach: None,
            may_use_network: false,
            control_group: None,
            uid: None,
            limits: Limits::default(),
            working_directory: PathBuf::from("/"),
            allow_debugging: false,
            allow_weak_isolation: false,
        }
    }
}

/// A user and a group; neither may be 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidGid {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
}

/// Resource limits of a module, soft and hard alike.
///
/// Each is lowered to the node's own hard limit where that is smaller. Always zero: core files, real-time
/// priority, raised priority, POSIX message queues; at most 1,024 signals are queued.
///
/// Source: getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Private writable memory in bytes, thread stacks included. Mappings of the bus do not count, and neither does shared
    /// anonymous memory: only a cgroup bounds that.
    pub data_bytes: u64,
    /// One above the highest descriptor number.
    pub open_files: u64,
    /// Threads of **all** processes of the module's user together; `None` keeps the node's limit.
    pub processes: Option<u64>,
    /// Memory the module may lock, in bytes.
    pub memlock_bytes: u64,
    /// Size in bytes up to which a module may grow a file; `None` keeps the node's limit.
    pub file_bytes: Option<u64>,
}

impl Default for Limits {
    /// 1 GiB of data, 1,024 descriptors, 8,192 threads, nothing locked, files as the node.
    fn default() -> Self {
        Self {
            data_bytes: 1 << 30,
            open_files: 1024,
            processes: Some(8192),
            memlock_bytes: 0,
            file_bytes: None,
        }
    }
}
