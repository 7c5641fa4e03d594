//! One process of a module: from its start until it is at work, and its orderly end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_bus::request::Call;
use blvm_sandbox::{ExitReport, SealedBinary};
use nix::sys::signal::Signal;

use super::error::BeginError;
use super::info::Health;
use super::plan::Plan;
use super::{Inner, health};
use crate::module::calls::CallFailure;
use crate::module::host::{RunningModule, StartRequest};

/// Part of the time to end that passes in silence.
const NOTICE: Duration = Duration::from_secs(1);

/// Time the kernel has to end a process after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Why a process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Somebody asked for it.
    Asked,
    /// The topics are closed: it reads what is left and ends by itself.
    Closed,
}

impl Inner {
    /// Starts a process and waits until it has attached. If it does not, none is left.
    pub(super) async fn begin(
        self: &Arc<Self>,
        plan: &Plan,
        program: Option<SealedBinary>,
        resume: BTreeMap<u32, u64>,
    ) -> Result<Arc<RunningModule>, BeginError> {
        let process = self.start(plan, program, resume).await?;
        let until = Instant::now() + plan.limits.startup_deadline;
        self.attach(&process, plan, until).await?;
        Ok(process)
    }

    async fn start(
        self: &Arc<Self>,
        plan: &Plan,
        program: Option<SealedBinary>,
        resume: BTreeMap<u32, u64>,
    ) -> Result<Arc<RunningModule>, BeginError> {
        if self.closing.is_cancelled() {
            return Err(BeginError::Stopping);
        }
        let inner = Arc::clone(self);
        let mut request = StartRequest {
            program,
            resume,
            expected_sha256: Some(plan.program_sha256),
            config: plan.config.clone(),
            config_origins: plan.config_origins.clone(),
            limits: plan.limits.clone(),
            ..StartRequest::new(plan.manifest.clone())
        };
        // Opens the log, copies the program and waits for the fork.
        let started = tokio::task::spawn_blocking(move || {
            request.log = inner.logs.open(&request.manifest.name);
            inner.host.start_with(request)
        });
        Ok(Arc::new(started.await.map_err(|_| BeginError::Stopping)??))
    }

    /// Waits until the process has attached. If it has not by `until`, it is ended.
    async fn attach(
        &self,
        process: &Arc<RunningModule>,
        plan: &Plan,
        until: Instant,
    ) -> Result<(), BeginError> {
        let attached = tokio::select! {
            attached = tokio::time::timeout_at(until.into(), process.attached()) => attached,
            () = self.closing.cancelled() => {
                self.kill(process).await;
                return Err(BeginError::Stopping);
            }
        };
        match attached {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(BeginError::Ended { how: process.exited().await.into() }),
            Err(_) => {
                self.kill(process).await;
                Err(BeginError::Late { deadline: plan.limits.startup_deadline })
            }
        }
    }

    /// As `begin`, and waits until the process says that all is well, both within one deadline. If it does not, none is left.
    pub(super) async fn begin_healthy(
        self: &Arc<Self>,
        plan: &Plan,
        resume: BTreeMap<u32, u64>,
    ) -> Result<Arc<RunningModule>, BeginError> {
        let process = self.start(plan, None, resume).await?;
        let deadline = plan.limits.startup_deadline;
        let until = Instant::now() + deadline;
        self.attach(&process, plan, until).await?;
        let health = tokio::select! {
            health = health::ask(&process, until.saturating_duration_since(Instant::now())) => health,
            how = process.exited() => return Err(BeginError::Ended { how: how.into() }),
            () = self.closing.cancelled() => {
                self.kill(&process).await;
                return Err(BeginError::Stopping);
            }
        };
        if health == Health::Healthy {
            return Ok(process);
        }
        self.kill(&process).await;
        Err(BeginError::Unhealthy { health, deadline })
    }

    /// Ends a process: asks, then SIGTERM, then SIGKILL. `None` if the kernel itself cannot end it.
    pub(super) async fn finish(
        &self,
        process: &RunningModule,
        plan: &Plan,
        ending: Ending,
    ) -> Option<ExitReport> {
        process.expect_exit();
        let name = process.name();
        let deadline = Instant::now() + plan.limits.stop_deadline;
        // A module without topics does not see them close.
        let has_topics = process.starts().is_some_and(|starts| !starts.is_empty());
        if ending == Ending::Closed && has_topics || ask_to_stop(process, plan.limits.stop_deadline).await {
            let wait = deadline.saturating_duration_since(Instant::now());
            if let Ok(report) = tokio::time::timeout(NOTICE.min(wait), process.exited()).await {
                return Some(report);
            }
            tracing::info!(module = name, seconds = wait.as_secs(), "waiting for the module to finish");
            if let Ok(report) = tokio::time::timeout(wait.saturating_sub(NOTICE), process.exited()).await {
                return Some(report);
            }
            tracing::warn!(module = name, "the module does not stop by itself");
        }
        for (signal, deadline) in
            [(Signal::SIGTERM, self.options.terminate_deadline), (Signal::SIGKILL, KILL_DEADLINE)]
        {
            tracing::info!(module = name, signal = signal.as_str(), "signalled");
            let _ = process.signal(signal);
            if let Ok(report) = tokio::time::timeout(deadline, process.exited()).await {
                return Some(report);
            }
        }
        tracing::error!(module = name, "the module outlives SIGKILL");
        None
    }

    /// Ends a process that is of no use. One that the kernel cannot end is remembered: no other is started beside it.
    async fn kill(&self, process: &Arc<RunningModule>) {
        process.expect_exit();
        // It may exit at this very moment: then there is nobody to signal.
        let _ = process.signal(Signal::SIGKILL);
        if tokio::time::timeout(KILL_DEADLINE, process.exited()).await.is_err() {
            tracing::error!(module = process.name(), "the module outlives SIGKILL");
            self.known.lingers(process);
        }
    }
}

/// Whether the module has understood that it is to stop, or has ended already.
async fn ask_to_stop(process: &RunningModule, deadline: Duration) -> bool {
    let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
    match process.caller().call(Call::Stop { deadline_ms }, deadline).await {
        Ok(_) | Err(CallFailure::Gone { .. }) => true,
        Err(error) => {
            tracing::warn!(module = process.name(), %error, "the module does not take the order to stop");
            false
        }
    }
}
