//! Does a node with eight modules that stall, die, hoard, lie, flood, come and go keep its promises for as long as it runs?
//!
//! Every module plays random roles; at least two at any time read every topic and compare every byte with what its
//! sequence says. Afterwards each message was received or reported as missed, the node's memory is what it was, and
//! nothing is left. Then a node with 32 modules that have nothing to do: what it costs.
//!
//! `SOAK_SECONDS` (30) says how long, `SOAK_SEED` repeats the roles of an earlier run. One line of JSON per phase; the
//! last line counts. `make soak` runs it for ten minutes.
#![expect(clippy::print_stdout, reason = "the lines are what this test is run for")]

mod answers;
mod checks;
mod costs;
mod idle;
mod judge;
mod modules;
mod node_log;
mod publish;
mod torment;
mod usage;
mod verdict;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use blvm_bus::clock::Clock;
use checks::Checks;

type Failed = Box<dyn std::error::Error>;

/// Length of the short form, which is an ordinary test.
const SHORT: Duration = Duration::from_secs(30);

/// From here on it is the long form: longer phases, a longer look at an idle node.
const LONG: Duration = Duration::from_secs(120);

/// Time beyond what was asked for, after which something hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// What was asked for.
struct Wanted {
    duration: Duration,
    seed: u64,
}

impl Wanted {
    fn from_environment() -> Result<Self, String> {
        let number = |name: &str| match std::env::var(name) {
            Ok(text) => text.parse::<u64>().map(Some).map_err(|_| format!("{name}={text:?} is no number")),
            Err(_) => Ok(None),
        };
        let duration = number("SOAK_SECONDS")?.map_or(SHORT, Duration::from_secs);
        Ok(Wanted {
            duration,
            seed: number("SOAK_SEED")?.unwrap_or_else(|| Clock::MONOTONIC.now() % 1_000_000_000),
        })
    }

    fn is_long(&self) -> bool {
        self.duration >= LONG
    }
}

fn main() -> ExitCode {
    let wanted = match Wanted::from_environment() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(2);
        }
    };
    eprintln!("soak: {:?} with SOAK_SEED={}", wanted.duration, wanted.seed);
    let interrupted = listen_for_interrupts();
    let _watchdog = start_watchdog(wanted.duration + PATIENCE);
    let mut checks = Checks::default();
    if let Err(error) = torment::run(&wanted, &interrupted, &mut checks) {
        checks.check(false, &format!("the torment ended early: {error}"));
    }
    if interrupted.load(Ordering::Relaxed) {
        checks.skip("idle: interrupted");
    } else if let Err(error) = idle::run(&wanted, &interrupted, &mut checks) {
        checks.check(false, &format!("the idle node: {error}"));
    }
    let left = usage::children();
    checks.check(left.is_empty(), &format!("no process is left: {left:?}"));
    println!("{}", checks.sum());
    match (checks.failed, interrupted.load(Ordering::Relaxed)) {
        (0, false) => ExitCode::SUCCESS,
        (_, true) => ExitCode::from(130),
        _ => ExitCode::FAILURE,
    }
}

/// Set by Ctrl-C or SIGTERM: then everything ends in order, at once.
///
/// Its thread lives as long as this process.
fn listen_for_interrupts() -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&interrupted);
    let (listening, listens) = channel::<()>();
    let listen = async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        drop(listening);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("soak: interrupted");
        set.store(true, Ordering::Relaxed);
        // A second one ends this process; the kernel kills the modules with it.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    };
    std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() {
            runtime.block_on(listen);
        }
    });
    // Answers when the sender is gone: the signals are listened for, or cannot be.
    let _ = listens.recv();
    interrupted
}

/// Ends this process, and with it every module, unless the sender is dropped before `limit`.
fn start_watchdog(limit: Duration) -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    std::thread::spawn(move || {
        if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("soak: it hangs, after {limit:?}; ending it");
            println!("0 passed, 1 failed, 0 skipped");
            std::process::exit(101);
        }
    });
    sender
}
