//! One loaded module: what is done when its process ends, wanted or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::sync::{mpsc, oneshot};

use super::info::{ExitReason, ModuleState};
use super::plan::Plan;
use super::process::Ending;
use super::restart::{Crashes, Verdict};
use super::{Inner, health};
use crate::module::host::RunningModule;

/// What a supervisor is told.
pub(super) enum Order {
    /// End the process, and the supervisor with it.
    Stop {
        /// Why.
        ending: Ending,
        /// Told when it is done.
        answer: oneshot::Sender<Stopped>,
    },
}

/// A module that was ended.
pub(super) struct Stopped {
    /// Its last process.
    pub(super) process: Arc<RunningModule>,
    /// What it ran from.
    pub(super) plan: Arc<Plan>,
}

/// What is to be done next.
enum Next {
    /// Watch on.
    Go,
    /// The module is not loaded any more.
    End(ModuleState),
}

/// Watches over one loaded module.
pub(super) struct Supervisor {
    inner: Arc<Inner>,
    process: Arc<RunningModule>,
    plan: Arc<Plan>,
    /// When the process got to work.
    since: Instant,
    crashes: Crashes,
}

impl Supervisor {
    pub(super) fn new(inner: Arc<Inner>, process: Arc<RunningModule>, plan: Arc<Plan>) -> Self {
        tokio::spawn(health::watch(Arc::clone(&inner), Arc::clone(&process)));
        Supervisor { inner, process, plan, since: Instant::now(), crashes: Crashes::default() }
    }

    /// Until it is told to stop, or the module is given up.
    pub(super) async fn go_on(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let next = tokio::select! {
                order = orders.recv() => return self.obey(order).await,
                exit = self.process.exited() => self.after(exit.into(), &mut orders).await,
            };
            match next {
                Some(Next::Go) => {}
                Some(Next::End(state)) => return self.inner.known.unloaded(self.process.name(), state),
                None => return,
            }
        }
    }

    /// Ends the process; without an order the manager is gone.
    async fn obey(self, order: Option<Order>) {
        let Some(Order::Stop { ending, answer }) = order else {
            self.process.expect_exit();
            // It may exit at this very moment: then there is nobody to signal.
            let _ = self.process.signal(Signal::SIGKILL);
            return;
        };
        let (inner, name) = (&self.inner, self.process.name());
        if !self.process.has_exited() {
            inner.known.set_state(name, ModuleState::Stopping);
            inner.finish(&self.process, &self.plan, ending).await;
        }
        inner.known.ended(name, &self.process);
        // Who asked may not wait any more.
        let _ = answer.send(Stopped { process: self.process, plan: self.plan });
    }

    /// The process has ended by itself. `None` if an order came meanwhile and was obeyed.
    async fn after(&mut self, exit: ExitReason, orders: &mut mpsc::Receiver<Order>) -> Option<Next> {
        let name = self.process.name().to_owned();
        self.inner.known.ended(&name, &self.process);
        if exit == ExitReason::Status(0) {
            return Some(Next::End(ModuleState::Stopped));
        }
        let mut worked = self.since.elapsed();
        loop {
            let wait = match self.crashes.note(&self.inner.options.restart, worked) {
                Verdict::Restart(wait) => wait,
                Verdict::GiveUp => {
                    let crashes = self.crashes.in_a_row();
                    tracing::error!(
                        module = name,
                        crashes,
                        "given up: it crashed too often; load it again once it is mended"
                    );
                    return Some(Next::End(ModuleState::Failed));
                }
            };
            self.inner.known.set_state(&name, ModuleState::Waiting);
            tracing::info!(
                module = name,
                wait_ms = wait.as_millis() as u64,
                "the module will be started again"
            );
            tokio::select! {
                order = orders.recv() => {
                    self.answer_without_process(order);
                    return None;
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.inner.known.set_state(&name, ModuleState::Starting);
            // The program that was checked when it was loaded, whatever is in its place now.
            let program = Some(self.process.program().clone());
            match self.inner.begin(&self.plan, program, self.process.resume()).await {
                Ok(process) => {
                    self.inner.known.restarted(&process);
                    tokio::spawn(health::watch(Arc::clone(&self.inner), Arc::clone(&process)));
                    (self.process, self.since) = (process, Instant::now());
                    return Some(Next::Go);
                }
                // It did not get to work, however long that took.
                Err(error) => {
                    worked = Duration::ZERO;
                    tracing::warn!(module = name, %error, "the module could not be started again");
                }
            }
        }
    }

    fn answer_without_process(&self, order: Option<Order>) {
        if let Some(Order::Stop { answer, .. }) = order {
            let _ = answer.send(Stopped { process: Arc::clone(&self.process), plan: Arc::clone(&self.plan) });
        }
    }
}
