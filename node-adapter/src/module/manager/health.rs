//! Asking a module how it does. For display: nothing is ended because it does not answer.

use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{Call, CallReply, HealthState, ModuleHealth};

use super::Inner;
use super::info::Health;
use crate::module::calls::CallFailure;
use crate::module::host::RunningModule;

/// Time from one answer to the next question.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time from one answer to the next question where the module says meanwhile that it does otherwise: it cannot flood others
/// with changes.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Time a module has to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How the module does, as it answers within `deadline`; unknown if it could not be asked, or ended meanwhile.
pub(super) async fn ask(process: &RunningModule, deadline: Duration) -> Health {
    match process.caller().call(Call::Health, deadline).await {
        Ok(CallReply::Health(health)) => match health.state {
            HealthState::Degraded => Health::Degraded,
            HealthState::Unresponsive => Health::Unresponsive,
            HealthState::Healthy | HealthState::Unknown => Health::Healthy,
        },
        Err(CallFailure::Deadline { .. }) => Health::Unresponsive,
        _ => Health::Unknown,
    }
}

/// Asks a process again and again until it has exited.
pub(super) async fn watch(inner: Arc<Inner>, process: Arc<RunningModule>) {
    let mut reported = process.reported_health();
    loop {
        reported.mark_unchanged();
        let health = ask(&process, DEADLINE).await;
        if health != Health::Unknown {
            inner.known.set_health(&process, health);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = said_otherwise(&mut reported) => {}
            _ = process.exited() => return,
        }
    }
}

/// Once the module has reported of itself, but not at once.
async fn said_otherwise(reported: &mut tokio::sync::watch::Receiver<Option<ModuleHealth>>) {
    tokio::time::sleep(LEAST_INTERVAL).await;
    if reported.changed().await.is_err() {
        // The process is gone; its exit is seen elsewhere.
        std::future::pending().await
    }
}
