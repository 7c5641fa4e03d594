//! One process of a module: from its start until it is at work, and its orderly end.

use std::sync::Arc;
use std::time::Duration;

use blvm_sandbox::ExitReport;
use nix::sys::signal::Signal;

use super::Inner;
use super::error::BeginError;
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
    pub(super) async fn begin(&self, request: StartRequest) -> Result<Arc<RunningModule>, BeginError> {
        let host = Arc::clone(&self.host);
        // Copies the program and waits for the fork.
        let started = tokio::task::spawn_blocking(move || host.start_with(request)).await;
        let process = Arc::new(started.map_err(|_| BeginError::Stopping)??);
        let deadline = self.options.start_deadline;
        match tokio::time::timeout(deadline, process.attached()).await {
            Ok(Some(_)) => Ok(process),
            Ok(None) => Err(BeginError::Ended { how: process.exited().await.into() }),
            Err(_) => {
                process.expect_exit();
                // It may exit at this very moment: then there is nobody to signal.
                let _ = process.signal(Signal::SIGKILL);
                process.exited().await;
                Err(BeginError::Late { deadline })
            }
        }
    }

    /// Ends a process: asks, then SIGTERM, then SIGKILL. `None` if the kernel itself cannot end it.
    pub(super) async fn finish(&self, process: &RunningModule, ending: Ending) -> Option<ExitReport> {
        process.expect_exit();
        let name = process.name();
        if ending == Ending::Closed || self.ask_to_stop(process).await {
            let wait = self.options.stop_deadline;
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

    /// Whether the module has understood that it is to stop.
    async fn ask_to_stop(&self, _process: &RunningModule) -> bool {
        false
    }
}
