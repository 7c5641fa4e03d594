//! One control group per module: what all its memory, tasks and processor time together may come to.
//!
//! The node makes a directory of its own, `blvm-PID-START-N`, in the group it runs in, in each hierarchy of the host that can
//! limit something, and in it one group per module. Where it may not write there, [`ControlGroups::unavailable`] says why
//! and modules run without: nothing else of their isolation depends on it.
//!
//! | file | what |
//! |---|---|
//! | `control_group` | the groups of one node, and of one module |
//! | `hierarchy` | where the node's own group lies, in cgroup v2 and v1 |
//! | `stale` | groups of nodes that are gone |
//!
//! Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{memory,pids}.rst.

mod hierarchy;
mod stale;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::child::{open_process, signal_process};
use hierarchy::Version;

/// Length of the interval over which processor time is counted, in microseconds. Source: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// A group is removed once its last process has left it, which takes the kernel a moment after the exit.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// What a group can bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Controller {
    /// Memory of every kind, without swap.
    Memory,
    /// Tasks: processes and threads.
    Pids,
    /// Processor time.
    Cpu,
}

impl Controller {
    /// Every controller that is used.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one group may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    /// Memory of every kind, in bytes: private, shared anonymous, page cache, what the kernel holds for it. Pages of the bus count
    /// for whom touches them first, which is the node.
    pub memory_bytes: u64,
    /// Tasks: processes and threads.
    pub tasks: u64,
    /// Processor time, in hundredths of one processor.
    pub cpu_percent: u32,
}

/// Why a controller is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// No hierarchy of the host has it.
    #[error("no control group hierarchy with this controller is mounted: mount cgroup2 at /sys/fs/cgroup")]
    NotMounted,
    /// The node may not make groups below its own.
    #[error(
        "{} is not writable ({errno}): run the node under systemd with Delegate=yes, or let its user write there",
        directory.display()
    )]
    NotWritable {
        /// The node's own group.
        directory: PathBuf,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The node shares its group with other processes, so that the kernel hands out no controllers below it.
    #[error(
        "{} holds other processes too: run the node under systemd with Delegate=yes, in a group of its own",
        directory.display()
    )]
    Shared {
        /// The node's own group.
        directory: PathBuf,
    },
    /// The node's own group was not given the controller.
    #[error("{} was not given this controller: run the node under systemd with Delegate=yes", directory.display())]
    NotDelegated {
        /// The node's own group.
        directory: PathBuf,
    },
}

/// Why a module's group could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be set up: something else changed the node's control groups", path.display())]
pub struct GroupError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> GroupError + '_ {
    |source| GroupError { path: path.to_owned(), source }
}

/// The node's directory in one hierarchy.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left to the next start if a module's group still stands in it.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// The groups of one node. Its directories go with it, once its modules have gone.
#[derive(Debug)]
pub struct ControlGroups {
    places: Arc<Vec<Place>>,
    unavailable: Vec<(Controller, Unavailable)>,
    made: AtomicU64,
}

impl ControlGroups {
    /// Finds what this host lets the node do, makes its directories, and removes those of nodes that are gone.
    ///
    /// Where the node runs alone in a delegated group of cgroup v2, it moves itself into a child of it, `blvm-node`: the kernel
    /// hands out controllers only below a group without processes.
    #[must_use]
    pub fn find() -> Self {
        static NODES: AtomicU64 = AtomicU64::new(0);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let name = stale::directory_name(std::process::id(), number);
        let mut places: Vec<Place> = Vec::new();
        let mut reasons: Vec<(Controller, Unavailable)> = Vec::new();
        for found in hierarchy::find() {
            stale::sweep(&found.directory);
            let has =
                |controller: &Controller| places.iter().any(|place| place.controllers.contains(controller));
            let wanted: Vec<_> =
                found.controllers.iter().copied().filter(|controller| !has(controller)).collect();
            let is_needed = !wanted.is_empty() || found.version == Version::Two;
            if !is_needed {
                continue;
            }
            match found.enter(&name, &wanted) {
                Ok((controllers, reason)) => {
                    let missing = wanted.iter().filter(|controller| !controllers.contains(controller));
                    reasons.extend(missing.filter_map(|controller| Some((*controller, reason.clone()?))));
                    let (directory, version) = (found.directory.join(&name), found.version);
                    places.push(Place { directory, version, controllers });
                }
                Err(reason) => reasons.extend(wanted.iter().map(|controller| (*controller, reason.clone()))),
            }
        }
        let has = |controller: &Controller| places.iter().any(|place| place.controllers.contains(controller));
        let unavailable = Controller::ALL
            .into_iter()
            .filter(|controller| !has(controller))
            .map(|controller| {
                let reason = reasons.iter().find(|(known, _)| *known == controller);
                (controller, reason.map_or(Unavailable::NotMounted, |(_, reason)| reason.clone()))
            })
            .collect();
        ControlGroups { places: Arc::new(places), unavailable, made: AtomicU64::new(0) }
    }

    /// What the groups bound.
    #[must_use]
    pub fn available(&self) -> Vec<Controller> {
        let all = Controller::ALL.into_iter();
        all.filter(|controller| self.unavailable.iter().all(|(missing, _)| missing != controller)).collect()
    }

    /// What they do not, and why.
    #[must_use]
    pub fn unavailable(&self) -> &[(Controller, Unavailable)] {
        &self.unavailable
    }

    /// Makes a group for a module, or none where none can bound anything.
    ///
    /// # Errors
    ///
    /// [`GroupError`].
    pub fn create(&self, limits: GroupLimits) -> Result<Option<ControlGroup>, GroupError> {
        if self.available().is_empty() {
            return Ok(None);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        // Dropped half-way it removes what was made.
        let mut group = ControlGroup { directories: Vec::new(), _places: Arc::clone(&self.places) };
        for place in self.places.iter() {
            let directory = place.directory.join(format!("module-{number}"));
            fs::create_dir(&directory).map_err(at(&directory))?;
            group.directories.push((directory.clone(), place.version));
            for controller in &place.controllers {
                limit(&directory, place.version, *controller, limits)?;
            }
        }
        Ok(Some(group))
    }
}

/// Writes one limit.
fn limit(
    directory: &Path,
    version: Version,
    controller: Controller,
    limits: GroupLimits,
) -> Result<(), GroupError> {
    let write = |name: &str, value: &str| {
        let path = directory.join(name);
        fs::write(&path, value).map_err(|source| GroupError { path, source })
    };
    // Kernels without accounting of swap do not have these files.
    let write_where_known = |name: &str, value: &str| {
        if directory.join(name).exists() { write(name, value) } else { Ok(()) }
    };
    let memory = limits.memory_bytes.to_string();
    let quota_us = u64::from(limits.cpu_percent).saturating_mul(CPU_PERIOD_US) / 100;
    match (controller, version) {
        (Controller::Memory, Version::Two) => {
            write("memory.max", &memory)?;
            write_where_known("memory.swap.max", "0")
        }
        (Controller::Memory, Version::One) => {
            write("memory.limit_in_bytes", &memory)?;
            // Memory and swap together.
            write_where_known("memory.memsw.limit_in_bytes", &memory)
        }
        (Controller::Pids, _) => write("pids.max", &limits.tasks.to_string()),
        (Controller::Cpu, Version::Two) => write("cpu.max", &format!("{quota_us} {CPU_PERIOD_US}")),
        (Controller::Cpu, Version::One) => {
            write("cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
            write("cpu.cfs_quota_us", &quota_us.to_string())
        }
    }
}

/// The group of one module. Dropping it kills what is left in it, and removes it.
#[derive(Debug)]
pub struct ControlGroup {
    directories: Vec<(PathBuf, Version)>,
    /// The directories above, which cannot go before it.
    _places: Arc<Vec<Place>>,
}

impl ControlGroup {
    /// The files through which a process enters.
    pub(crate) fn entries(&self) -> Result<Vec<OwnedFd>, Errno> {
        self.directories
            .iter()
            .map(|(directory, _)| {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_CLOEXEC)
                    .open(directory.join("cgroup.procs"));
                file.map(OwnedFd::from)
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
            })
            .collect()
    }

    /// How many of its processes the kernel has killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let files = self.directories.iter().map(|(directory, version)| match version {
            Version::Two => directory.join("memory.events"),
            Version::One => directory.join("memory.oom_control"),
        });
        files
            .filter_map(|path| fs::read_to_string(path).ok())
            .filter_map(|text| {
                text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok())
            })
            .sum()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for (directory, version) in &self.directories {
            let mut removed = fs::remove_dir(directory);
            let mut killed = Ok(());
            for _ in 0..REMOVE_TRIES {
                match &removed {
                    // Processes are in it, or one that was reaped is still leaving it.
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                    _ => break,
                }
                killed = kill_members(directory, *version);
                std::thread::sleep(REMOVE_PAUSE);
                removed = fs::remove_dir(directory);
            }
            let path = directory.display();
            match (removed, killed) {
                (Ok(()), _) => {}
                (Err(_), Err(error)) => {
                    tracing::error!(%path, %error, "what a module left behind cannot be ended: end the processes in cgroup.procs there");
                }
                (Err(error), Ok(())) => {
                    tracing::warn!(%path, %error, "a module's control group stays");
                }
            }
        }
    }
}

/// Ends every process in a group.
fn kill_members(directory: &Path, version: Version) -> io::Result<()> {
    if version == Version::Two {
        match fs::write(directory.join("cgroup.kill"), "1") {
            // Before Linux 5.14 there is no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => return answer,
        }
    }
    // One after another, and by the caller again while some are left.
    kill_those_of(directory, members(directory)?)
}

/// The numbers of the processes in a group.
fn members(directory: &Path) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))?;
    // 0 stands for a process outside this one's PID namespace.
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
}

/// Ends those processes that are in the group.
///
/// A number may have been given to another process since it was read. Opened first and looked for then, it is a member's:
/// the one that was opened, or a later one, which the signal does not reach.
fn kill_those_of(directory: &Path, pids: Vec<i32>) -> io::Result<()> {
    let opened: Vec<_> = pids.into_iter().map(|pid| (pid, open_process(pid))).collect();
    let still = members(directory)?;
    for (_, process) in opened.into_iter().filter(|(pid, _)| still.contains(pid)) {
        match process.and_then(|process| signal_process(process, Signal::SIGKILL)) {
            // Gone already.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
