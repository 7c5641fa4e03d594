//! What does a node cost that has nothing to do, with 32 modules that have nothing to do?
//!
//! The program `blvm` itself, on an empty chain; every module reads four topics and is parked. The processor's time
//! of all of them together is counted from the kernel's accounts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blvm_tests::isolation::weak_isolation_option;
use serde_json::json;

use crate::checks::Checks;
use crate::usage::{children_of, cpu_ns, cpu_ticks};
use crate::{Failed, Wanted};

const NODE: &str = env!("CARGO_BIN_EXE_idle-node");
const MODULE: &str = env!("CARGO_BIN_EXE_idle-module");

const MODULES: usize = 32;

/// The processor's time of all processes together, in per cent of one core, that breaks the check. Now each module
/// wakes up once a second to report, and the node prints a line; a loop that does not sleep takes 100.
const GATE_PERCENT: f64 = 2.0;

/// How long the costs are counted.
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(30);

/// After everybody is attached: what the start has set going comes to rest.
const SETTLING: Duration = Duration::from_secs(2);

/// Ends a wait for a state that never comes.
const PATIENCE: Duration = Duration::from_secs(40);

/// A node that outlives this test by no more than this, whatever ends it.
const NODE_LIFE: &str = "120s";

/// Runs it.
pub(crate) fn run(wanted: &Wanted, interrupted: &AtomicBool, checks: &mut Checks) -> Result<(), Failed> {
    let directory = tempfile::Builder::new().prefix("blvm-idle-").tempdir()?;
    let mut node = start(directory.path())?;
    let node_pid = node.0.id();
    let modules = directory.path().join("data/modules");
    let is_attached = |index: usize| modules.join(format!("idle-{index}")).join("attached").exists();
    let deadline = Instant::now() + PATIENCE;
    while !(0..MODULES).all(is_attached) {
        if interrupted.load(Ordering::Relaxed) {
            checks.skip("idle: interrupted");
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the modules are not all attached".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    sleep_unless(interrupted, SETTLING);

    let pids = children_of(node_pid);
    checks.check(pids.len() == MODULES, &format!("{} of {MODULES} idle modules run", pids.len()));
    let all = || pids.iter().copied().chain([node_pid]);
    let ticks = || all().map(cpu_ticks).sum::<u64>();
    let ns = || all().map(cpu_ns).sum::<Option<u64>>();
    let of_node = || cpu_ns(node_pid);
    let (begun, ticks_before, ns_before, node_before) = (Instant::now(), ticks(), ns(), of_node());
    sleep_unless(interrupted, if wanted.is_long() { LONG } else { SHORT });
    let seconds = begun.elapsed().as_secs_f64();
    let tick_seconds = (ticks() - ticks_before) as f64 / ticks_per_second();
    let percent = |seconds_used: f64| (seconds_used / seconds * 100_000.0).round() / 1_000.0;
    let since = |before: Option<u64>, now: Option<u64>| Some(now?.saturating_sub(before?) as f64 / 1e9);
    // The exact account where the kernel keeps one: a module that wakes up once a second is below a tick.
    let exact = since(ns_before, ns()).map(percent);
    println!(
        "{}",
        json!({
            "idle": MODULES,
            "seconds": seconds,
            "cpu_percent_ticks": percent(tick_seconds),
            "cpu_percent": exact,
            "cpu_percent_node": since(node_before, of_node()).map(percent),
            "gate_percent": GATE_PERCENT,
        })
    );
    if interrupted.load(Ordering::Relaxed) {
        checks.skip("idle: interrupted");
    } else {
        let used = exact.unwrap_or(percent(tick_seconds));
        checks.check(used < GATE_PERCENT, &format!("an idle node and its modules use {used} % of a core"));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(node_pid as i32), nix::sys::signal::Signal::SIGTERM)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match node.0.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => return Err("the idle node does not end".into()),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    checks.check(status.success(), &format!("the idle node ended with {status}"));
    let left: Vec<_> = pids.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
    checks.check(left.is_empty(), &format!("no idle module is left: {left:?}"));
    Ok(())
}

/// Starts the node with its modules, each in a directory of its own.
fn start(directory: &Path) -> Result<Running, Failed> {
    let mut command = Command::new(NODE);
    command.args(["run", "--mine-interval", "0s", "--listen", "127.0.0.1:0", "--json", "--for", NODE_LIFE]);
    command.args(weak_isolation_option()).arg("--datadir").arg(directory.join("data"));
    for index in 0..MODULES {
        let module = directory.join(format!("idle-{index}"));
        std::fs::create_dir(&module)?;
        let manifest = format!(
            "name = \"idle-{index}\"\nversion = \"0.1.0\"\nentry_point = \"idle-module\"\ncapabilities = \
             [\"read_blockchain\", \"read_mempool\", \"read_network\", \"subscribe_events\"]\n"
        );
        std::fs::write(module.join("module.toml"), manifest)?;
        std::fs::copy(MODULE, module.join("idle-module"))?;
        command.arg("--module").arg(module);
    }
    command.env("BLVM_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Running(command.spawn()?))
}

fn sleep_unless(interrupted: &AtomicBool, duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end && !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Clock ticks in the kernel's accounts.
fn ticks_per_second() -> f64 {
    match nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK) {
        Ok(Some(ticks)) => ticks as f64,
        _ => 100.0,
    }
}

/// A node that does not outlive the test; its modules do not outlive it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
