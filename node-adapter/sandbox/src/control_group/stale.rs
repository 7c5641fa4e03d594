//! Groups that a node left behind when it was killed: removed by the next one that runs in the same group.

use std::fs;
use std::path::Path;

const PREFIX: &str = "blvm-";

/// The name of a node's directory: its process, when that started, and a number within it.
pub(super) fn directory_name(pid: u32, number: u64) -> String {
    let start = start_time(pid).unwrap_or(0);
    format!("{PREFIX}{pid}-{start}-{number}")
}

/// Removes directories of nodes that no longer run. Groups with processes stay: the kernel refuses.
pub(super) fn sweep(own_group: &Path) {
    let entries = fs::read_dir(own_group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_stale)) {
        let modules = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        for module in modules.filter(|module| module.path().is_dir()) {
            let _ = fs::remove_dir(module.path());
        }
        match fs::remove_dir(entry.path()) {
            Ok(()) => {
                tracing::debug!(path = %entry.path().display(), "removed the control groups of a node that is gone")
            }
            Err(error) => {
                tracing::warn!(path = %entry.path().display(), %error, "control groups of a node that is gone stay");
            }
        }
    }
}

/// Whether the directory belongs to a node that is gone; the start time tells a process from a later one with its number.
fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let numbers: Option<Vec<u64>> = rest.split('-').map(|part| part.parse().ok()).collect();
    let Some([pid, start, _]) = numbers.as_deref() else { return false };
    u32::try_from(*pid).is_ok_and(|pid| start_time(pid) != Some(*start))
}

/// When a process started, in clock ticks since the host did. Source: proc_pid_stat(5), field 22.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, may hold spaces and parentheses.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_processes_that_are_gone_are_stale() {
        let own = directory_name(std::process::id(), 3);
        assert!(!is_stale(&own));
        let start = start_time(std::process::id()).unwrap();
        let reused = format!("blvm-{}-{}-0", std::process::id(), start + 1);
        assert!(is_stale(&reused));
        // No process has this number: the kernel's limit is 2^22.
        assert!(is_stale("blvm-4194305-1-0"));
        for other in ["blvm-node", "blvm-1", "user.slice", "blvm-1-2-3-4", "blvm-a-1-0"] {
            assert!(!is_stale(other), "{other}");
        }
    }
}
