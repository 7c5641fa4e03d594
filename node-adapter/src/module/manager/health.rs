//! Asking a module how it does. For display: nothing is ended because it does not answer.

use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{Call, CallReply, HealthState};

use super::Inner;
use super::info::Health;
use crate::module::calls::CallFailure;
use crate::module::host::RunningModule;

/// Time from one answer to the next question.
const INTERVAL: Duration = Duration::from_secs(5);

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
    loop {
        let health = ask(&process, DEADLINE).await;
        if health != Health::Unknown {
            inner.known.set_health(&process, health);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = process.exited() => return,
        }
    }
}
