//! The eight modules: started, stopped, killed as their roles want it, judged when they end, and started again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::clock::Clock;
use blvm_bus::message::Topic;
use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::system::System;
use blvm_bus::request::Permission;
use blvm_node_adapter::module::{Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule};
use blvm_node_adapter::topics::Topics;
use blvm_sandbox::ExitReport;
use blvm_tests::isolation::needs_weak_isolation;
use blvm_tests::soak::content::{mix, next_random};
use blvm_tests::soak::schedule::{MODULES, Role, Schedule};
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use crate::Failed;
use crate::answers::Answers;
use crate::judge::{Ended, Judge};
use crate::usage::POOL;

const MODULE: &str = env!("CARGO_BIN_EXE_soak-module");

/// Exit status of a module that plays [`Role::Exit`].
const DIED: i32 = 3;

/// Threads of the runtime that are there all the time.
pub(crate) const POOL_THREADS: usize = 2;

/// Time between the end of a module and its next start.
const RESTART: Duration = Duration::from_millis(200);

/// Time a module has to read what is left and end, once the topics are closed.
const DRAIN: Duration = Duration::from_secs(60);

/// What happened to modules in one phase.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Happened {
    pub(crate) started: u64,
    pub(crate) killed: u64,
    pub(crate) stopped: u64,
    pub(crate) ended: u64,
}

/// One of the eight.
struct Slot {
    process: Option<Process>,
    start_at: Instant,
    /// The shift whose stop was carried out, or begun.
    stopped_in: Option<u64>,
}

struct Process {
    running: RunningModule,
    /// First sequences that count, once it is attached.
    starts: Option<BTreeMap<u32, u64>>,
    kill_at: Instant,
    was_killed: bool,
    is_stopped: bool,
    /// Roles it may have played.
    roles: BTreeSet<Role>,
}

/// The modules of a run.
pub(crate) struct Modules {
    host: ModuleHost,
    runtime: Runtime,
    topics: Arc<Topics>,
    schedule: Schedule,
    slots: Vec<Slot>,
    random: u64,
    directory: PathBuf,
    is_closing: bool,
    happened: Happened,
    /// Every role that was played by a running module.
    pub(crate) played: BTreeSet<Role>,
    /// What they said when they ended.
    pub(crate) judge: Judge,
    pids: Vec<u32>,
}

impl Modules {
    /// None runs yet.
    pub(crate) fn new(topics: &Arc<Topics>, schedule: Schedule, directory: &Path) -> Result<Self, Failed> {
        let directory = directory.join("modules");
        let options = ModuleOptions {
            data_directory: directory.clone(),
            allow_weak_isolation: needs_weak_isolation(),
            limits: RequestLimits::default(),
        };
        // Threads that wait for work go soon: they are counted here.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(POOL_THREADS)
            .thread_name(POOL)
            .thread_keep_alive(Duration::from_millis(200))
            .enable_all()
            .build()?;
        let host = ModuleHost::new(Arc::clone(topics), Arc::new(Answers), None, "regtest", options)?;
        let slot = |_| Slot { process: None, start_at: Instant::now(), stopped_in: None };
        Ok(Modules {
            host,
            runtime,
            topics: Arc::clone(topics),
            schedule,
            slots: (0..MODULES).map(slot).collect(),
            random: mix(&[schedule.seed, 77]),
            directory,
            is_closing: false,
            happened: Happened::default(),
            played: BTreeSet::new(),
            judge: Judge::default(),
            pids: Vec::new(),
        })
    }

    /// Carries out what is due now.
    pub(crate) fn tick(&mut self) -> Result<(), Failed> {
        for index in 0..self.slots.len() {
            self.take_ended(index);
            if self.slots[index].process.is_none() {
                if !self.is_closing && self.slots[index].start_at <= Instant::now() {
                    self.start(index)?;
                }
                continue;
            }
            self.steer(index);
        }
        Ok(())
    }

    /// What happened since the last call.
    pub(crate) fn take_happened(&mut self) -> Happened {
        std::mem::take(&mut self.happened)
    }

    /// The names of the roles at this moment.
    pub(crate) fn roles(&self) -> Vec<&'static str> {
        let shift = self.schedule.shift_at(Clock::MONOTONIC.now());
        (0..MODULES).map(|index| self.schedule.role(shift, index).name()).collect()
    }

    /// How many are attached.
    pub(crate) fn attached(&self) -> usize {
        let processes = self.slots.iter().filter_map(|slot| slot.process.as_ref());
        processes.filter(|process| process.starts.is_some()).count()
    }

    /// Waits until all have ended by themselves; the topics are closed.
    pub(crate) fn end(&mut self) -> Result<(), Failed> {
        self.is_closing = true;
        let deadline = Instant::now() + DRAIN;
        while self.slots.iter().any(|slot| slot.process.is_some()) {
            self.tick()?;
            if Instant::now() > deadline {
                for process in self.slots.iter_mut().filter_map(|slot| slot.process.as_mut()) {
                    self.judge.fault(&format!("{} does not end", process.running.name()));
                    process.was_killed = true;
                    process.running.signal(Signal::SIGKILL)?;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Process ids that were given out and are in use still.
    pub(crate) fn left(&self) -> Vec<u32> {
        let ours = crate::usage::children();
        self.pids.iter().copied().filter(|pid| ours.contains(pid)).collect()
    }

    fn start(&mut self, index: usize) -> Result<(), Failed> {
        let manifest = Manifest {
            permissions: vec![
                Permission::ReadBlockchain,
                Permission::ReadMempool,
                Permission::ReadNetwork,
                Permission::SubscribeEvents,
            ],
            ..Manifest::new(&format!("soak-{index}"), MODULE)
        };
        let Schedule { seed, start_ns, shift, shifts, last_phase } = self.schedule;
        let numbers = [seed, start_ns, shift.as_millis() as u64, shifts, last_phase, index as u64];
        let arguments = numbers.map(|number| OsString::from(number.to_string()));
        let _in_runtime = self.runtime.enter();
        let running = self.host.start(manifest, &arguments)?;
        self.pids.push(running.pid());
        self.happened.started += 1;
        let life = Duration::from_millis(20 + next_random(&mut self.random) % 900);
        self.slots[index].process = Some(Process {
            running,
            starts: None,
            kill_at: Instant::now() + life,
            was_killed: false,
            is_stopped: false,
            roles: BTreeSet::new(),
        });
        Ok(())
    }

    /// Stops, continues and kills.
    fn steer(&mut self, index: usize) {
        let (now, schedule) = (Clock::MONOTONIC.now(), self.schedule);
        let shift = schedule.shift_at(now);
        let role = if self.is_closing { Role::Read } else { schedule.role(shift, index) };
        let slot = &mut self.slots[index];
        let Some(process) = &mut slot.process else { return };
        if process.starts.is_none() {
            let attached = async { tokio::time::timeout(Duration::ZERO, process.running.attached()).await };
            process.starts = self.runtime.block_on(attached).ok().flatten();
        }
        process.roles.insert(role);
        if process.starts.is_some() {
            self.played.insert(role);
        }
        // Stopped for the middle of a shift, each in another part of it.
        let into = Duration::from_nanos(now.saturating_sub(schedule.begin_ns(shift)));
        let part = |salt| mix(&[schedule.seed, shift, index as u64, salt]) % 1_000;
        let from = schedule.shift.mul_f64(part(20) as f64 / 4_000.0);
        let to = schedule.shift.mul_f64(1.0 - part(21) as f64 / 4_000.0);
        let wants_stop = role == Role::Stop && (from..to).contains(&into);
        // A signal to a module that has just ended comes to nothing.
        if wants_stop && !process.is_stopped && slot.stopped_in != Some(shift) {
            let _ = process.running.signal(Signal::SIGSTOP);
            process.is_stopped = true;
            slot.stopped_in = Some(shift);
            self.happened.stopped += 1;
        } else if !wants_stop && process.is_stopped {
            let _ = process.running.signal(Signal::SIGCONT);
            process.is_stopped = false;
        }
        if role == Role::Kill && process.kill_at <= Instant::now() && !process.was_killed {
            let _ = process.running.signal(Signal::SIGKILL);
            process.was_killed = true;
            self.happened.killed += 1;
        }
    }

    /// Judges a module that has ended.
    fn take_ended(&mut self, index: usize) {
        let has_ended = |process: &mut Process| process.running.has_exited();
        let Some(mut process) = self.slots[index].process.take_if(has_ended) else { return };
        let exit = self.runtime.block_on(process.running.exited());
        self.slots[index].start_at = Instant::now() + RESTART;
        self.happened.ended += 1;
        // It may have ended before its role was noticed here.
        let shift = self.schedule.shift_at(Clock::MONOTONIC.now());
        process.roles.extend([shift.saturating_sub(1), shift].map(|shift| self.schedule.role(shift, index)));
        let was_expected = match exit {
            ExitReport::Exited { status: 0 } => true,
            ExitReport::Exited { status: DIED } => process.roles.contains(&Role::Exit),
            ExitReport::Signalled { signal } => process.was_killed && signal == Signal::SIGKILL as i32,
            ExitReport::Exited { .. } | ExitReport::OutOfMemory => false,
        };
        let name = process.running.name();
        if !was_expected {
            self.judge.fault(&format!("{name} ended with {exit:?}, roles {:?}", process.roles));
        }
        let file = self.directory.join(name).join("account.json");
        let account = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        self.judge.take(Ended {
            name,
            pid: process.running.pid(),
            account,
            starts: process.starts,
            statistics: process.running.statistics(),
            next_sequences: read(&self.topics),
        });
    }
}

/// The next sequence of every topic that the modules read: the others are silent here.
fn read(topics: &Topics) -> Vec<(u32, u64)> {
    let is_read = |(topic, _): &(u32, u64)| {
        [Chain::NUMBER, Mempool::NUMBER, Peers::NUMBER, System::NUMBER].contains(topic)
    };
    topics.next_sequences().into_iter().filter(is_read).collect()
}
