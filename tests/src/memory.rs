//! What this process holds of the bus, as the kernel counts it.

use std::fs;

/// Bytes of the mapped memory file `name` that are in memory here. All bus files: `blvm-`.
///
/// # Panics
///
/// If the kernel does not say: nothing can be tested then.
///
/// Source: proc_pid_smaps(5).
pub fn mapped_resident_bytes(name: &str) -> usize {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("the kernel shows this process its mappings");
    let file = format!("/memfd:{name}");
    let mut is_counted = false;
    let mut resident_kib = 0;
    for line in smaps.lines() {
        match line.split_once(':').filter(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || c == '_')) {
            Some(("Rss", value)) if is_counted => resident_kib += kib(value),
            Some(_) => {}
            // A line that is not `key: value` begins the next mapping.
            None => is_counted = line.contains(&file),
        }
    }
    resident_kib << 10
}

/// Bytes of private memory in use here: the heap, stacks, and the programs' own data.
///
/// # Panics
///
/// If the kernel does not say.
///
/// Source: proc_pid_status(5), `RssAnon`.
pub fn private_resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel shows this process its status");
    let value = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    kib(value.expect("Linux 4.5 and newer count private memory")) << 10
}

/// Whether a thread of that name runs in this process.
///
/// # Panics
///
/// If the kernel does not list the threads.
pub fn has_thread(name: &str) -> bool {
    let tasks = fs::read_dir("/proc/self/task").expect("the kernel lists this process's threads");
    tasks
        .filter_map(Result::ok)
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .any(|comm| comm.trim_end() == name)
}

/// The state of a process: `R`, `S`, `T` (stopped), `Z` and so on; `None` if there is none with this id.
///
/// Source: proc_pid_stat(5).
pub fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn kib(value: &str) -> usize {
    let number = value.trim().strip_suffix("kB").map(str::trim);
    number.and_then(|number| number.parse().ok()).expect("the kernel counts in kB")
}
