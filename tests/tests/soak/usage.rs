//! What this process uses: memory, descriptors, threads, children.

use std::collections::BTreeMap;
use std::fs;

use blvm_tests::memory::{mapped_resident_bytes, private_resident_bytes};
use serde_json::json;

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of the bus: segments and lease pages.
    pub(crate) bus_bytes: usize,
    /// Heap and stacks.
    pub(crate) private_bytes: usize,
    pub(crate) descriptors: usize,
    /// But for those below.
    pub(crate) threads: usize,
    /// Threads of the runtime: those that wait for work come and go.
    pub(crate) pool_threads: usize,
}

/// Name of the runtime's threads.
pub(crate) const POOL: &str = "soak-pool";

impl Usage {
    /// As it is now.
    pub(crate) fn now() -> Self {
        let count = |directory| fs::read_dir(directory).map_or(0, Iterator::count);
        // From one look: counted one after the other, a thread that comes in between would be subtracted only.
        let mut threads = thread_names();
        let pool_threads = threads.remove(POOL).unwrap_or(0);
        Usage {
            bus_bytes: mapped_resident_bytes("blvm-"),
            private_bytes: private_resident_bytes(),
            // Looking takes one.
            descriptors: count("/proc/self/fd") - 1,
            threads: threads.values().sum(),
            pool_threads,
        }
    }

    /// The least of each: what is there all the time, without what comes and goes.
    pub(crate) fn least(self, other: Usage) -> Usage {
        Usage {
            bus_bytes: self.bus_bytes.min(other.bus_bytes),
            private_bytes: self.private_bytes.min(other.private_bytes),
            descriptors: self.descriptors.min(other.descriptors),
            threads: self.threads.min(other.threads),
            pool_threads: self.pool_threads.min(other.pool_threads),
        }
    }

    /// For the report.
    pub(crate) fn to_json(self) -> serde_json::Value {
        json!({
            "bus_kib": self.bus_bytes >> 10,
            "private_kib": self.private_bytes >> 10,
            "descriptors": self.descriptors,
            "threads": self.threads,
            "pool_threads": self.pool_threads,
        })
    }
}

/// How many threads there are of each name.
pub(crate) fn thread_names() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok) {
        if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
            *names.entry(name.trim_end().to_owned()).or_default() += 1;
        }
    }
    names
}

/// The processes whose parent this one is, zombies included.
pub(crate) fn children() -> Vec<u32> {
    children_of(std::process::id())
}

/// The processes whose parent is `parent`.
///
/// Source: proc_pid_stat(5).
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat_field(*pid, 1) == Some(u64::from(parent))).collect()
}

/// What a process and all its threads have used of the processor so far, in clock ticks.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    // utime and stime.
    [11, 12].into_iter().filter_map(|field| stat_field(pid, field)).sum()
}

/// The same in nanoseconds, of the threads that run now; `None` where the kernel does not count them.
///
/// Source: Documentation/scheduler/sched-stats.rst, "/proc/<pid>/schedstat".
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks
        .filter_map(Result::ok)
        .map(|task| {
            let line = fs::read_to_string(task.path().join("schedstat")).ok()?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

/// A field of /proc/PID/stat, counted from the state, which is 0.
fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(field)?.parse().ok()
}
