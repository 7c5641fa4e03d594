//! Requests about modules: events, calls from one to another, what they offer, who there is, and how they do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::message::Topic as _;
use blvm_bus::message::modules::{MAX_EVENT_NAME_BYTES, MAX_EVENT_PAYLOAD_BYTES, Modules};
use blvm_bus::message::payments::Payments;
use blvm_bus::request::{
    Call, CallReply, FrameHead, HealthState, MAX_HEALTH_BYTES, ModuleError, ModuleHealth, ModuleRefusal,
    ModulesReply, ModulesRequest, Permission, QuotaUnit, Refusal, Reply,
};
use tokio::time::Instant;

use super::Conversation;
use crate::module::calls::CallFailure;
use crate::module::flight::InFlight;
use crate::module::host::Shared;
use crate::topics::modules::{is_of_the_node, is_payment};

/// Calls to other modules that one module may have without an answer.
const MAX_CALLS_OUT: usize = 16;

impl Conversation {
    /// Whether this party may publish events of that name: those about payments one by one, so that nobody forges one.
    pub(super) fn may_publish(&self, name: &str) -> Result<(), Refusal> {
        let by_name = self.party.publishes().iter().any(|published| published == name);
        let by_right = !is_payment(name) && self.party.may(Permission::PublishEvents);
        if self.party.may_change() && (by_name || by_right) {
            return Ok(());
        }
        let permission = if is_payment(name) {
            format!("publish:{name}")
        } else {
            Permission::PublishEvents.name().to_owned()
        };
        Err(Refusal::Denied { permission })
    }

    /// Answers a request about modules that this party may send.
    pub(super) async fn modules(
        &mut self,
        head: FrameHead,
        request: ModulesRequest,
        place: InFlight,
    ) -> io::Result<()> {
        if let ModulesRequest::CallModule { module, method, payload } = request {
            return self.call_module(head, place, module, method, payload).await;
        }
        match self.answer_modules(request) {
            Ok(reply) => self.writer.send(head.correlation, &Reply::Modules(Box::new(reply)), &[]).await,
            Err(refusal) => self.refuse(head, refusal).await,
        }
    }

    fn answer_modules(&mut self, request: ModulesRequest) -> Result<ModulesReply, Refusal> {
        let shared = &*self.shared;
        let (registry, directory, number) = (&shared.registry, &shared.directory, self.number);
        match request {
            ModulesRequest::PublishEvent { name, payload } => self.publish(name, payload),
            ModulesRequest::RegisterApi { methods } => {
                registry.register_api(number, methods).map(|()| ModulesReply::Registered)
            }
            ModulesRequest::UnregisterApi => {
                registry.register_api(number, Vec::new()).map(|()| ModulesReply::Unregistered(true))
            }
            ModulesRequest::RegisterRpcEndpoint { method, about } => {
                registry.register_method(number, method, about).map(|()| ModulesReply::Registered)
            }
            ModulesRequest::UnregisterRpcEndpoint { method } => {
                registry.unregister_method(number, &method).map(ModulesReply::Unregistered)
            }
            ModulesRequest::RegisterCliSpec(spec) => {
                registry.register_command(number, spec).map(|()| ModulesReply::Registered)
            }
            ModulesRequest::DiscoverModules => Ok(ModulesReply::Modules(directory.all())),
            ModulesRequest::GetModuleInfo { name } => Ok(ModulesReply::Module(directory.get(&name))),
            ModulesRequest::IsModuleAvailable { name } => {
                Ok(ModulesReply::Available(directory.is_available(&name)))
            }
            ModulesRequest::ReportHealth(health) => {
                check_health(&health)?;
                directory.note_health(self.party.name(), health.clone());
                self.party.note_health(health);
                Ok(ModulesReply::HealthNoted)
            }
            ModulesRequest::GetHealth { name } => {
                Ok(ModulesReply::Health(directory.get(&name).map(|module| module.health)))
            }
            ModulesRequest::CallModule { .. } => {
                Err(Refusal::OutOfTurn { request: "call_module".to_owned(), state: "here".to_owned() })
            }
        }
    }

    fn publish(&mut self, name: String, payload: Vec<u8>) -> Result<ModulesReply, Refusal> {
        let is_right = name.len() <= MAX_EVENT_NAME_BYTES
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_right {
            let message = format!(
                "the name of an event has letters and digits, a letter first, and at most {MAX_EVENT_NAME_BYTES} bytes"
            );
            return Err(Refusal::Module { rule: ModuleRefusal::BadName, message });
        }
        if is_of_the_node(&name) {
            let message = format!("events called {name} are the node's own");
            return Err(Refusal::Module { rule: ModuleRefusal::NameReserved, message });
        }
        if payload.len() > MAX_EVENT_PAYLOAD_BYTES {
            let message =
                format!("the event's payload has {} bytes, {MAX_EVENT_PAYLOAD_BYTES} may be", payload.len());
            return Err(Refusal::Module { rule: ModuleRefusal::TooLarge, message });
        }
        self.quota.take(name.len() + payload.len(), Instant::now())?;
        let topic = if is_payment(&name) { Payments::NUMBER } else { Modules::NUMBER };
        if self.shared.topics.is_recorded(topic) {
            let node_source = self.shared.node.source_name().to_owned();
            return Err(Refusal::Unsupported { request: "publish_event".to_owned(), node_source });
        }
        match self.shared.topics.publish_of_module(self.party.name(), name, payload) {
            Ok(sequence) => Ok(ModulesReply::Published { sequence }),
            Err(error) => Err(Refusal::Node { reason: error.to_string() }),
        }
    }

    /// Calls another module, which may take its time: the answer goes out when it is there.
    async fn call_module(
        &mut self,
        head: FrameHead,
        mut place: InFlight,
        module: String,
        method: String,
        payload: Vec<u8>,
    ) -> io::Result<()> {
        if self.calls_out.len() >= MAX_CALLS_OUT {
            let what = "calls to other modules that wait".to_owned();
            return self.refuse(head, Refusal::Limit { what, limit: MAX_CALLS_OUT as u64 }).await;
        }
        let (shared, caller) = (Arc::clone(&self.shared), self.party.name().to_owned());
        let deadline = self.deadline(head);
        self.calls_out.spawn(async move {
            let called = call_other(&shared, caller, module, method, payload, deadline).await;
            // The answer takes the place of what was asked.
            place.set_bytes(called.as_ref().map_or(0, Vec::len) as u64);
            let reply = match called {
                Ok(payload) => Reply::Modules(Box::new(ModulesReply::Called { payload })),
                Err(refusal) => Reply::Refused(refusal),
            };
            (head, reply, place)
        });
        Ok(())
    }
}

async fn call_other(
    shared: &Shared,
    caller: String,
    module: String,
    method: String,
    payload: Vec<u8>,
    deadline: Duration,
) -> Result<Vec<u8>, Refusal> {
    let other = shared.registry.api(&module, &method)?;
    let _waiting = shared.waits.enter(&caller, &module).map_err(|circle| Refusal::Module {
        rule: ModuleRefusal::Circle,
        message: format!("modules would wait for each other: {}", circle.join(" -> ")),
    })?;
    match other.call(Call::Api { caller, method, payload }, deadline).await {
        Ok(CallReply::Api(payload)) => Ok(payload),
        Ok(_) => {
            let message = format!("module {module} answered with something else");
            Err(Refusal::Module { rule: ModuleRefusal::BadAnswer, message })
        }
        // Its own calls, not the other module, are what stands in the way.
        Err(CallFailure::TooManyOfCaller { limit, .. }) => {
            let what = format!("calls of one module that wait for module {module}");
            Err(Refusal::Limit { what, limit: u64::from(limit) })
        }
        Err(failure) => Err(Refusal::Module { rule: rule(&failure), message: failure.to_string() }),
    }
}

fn rule(failure: &CallFailure) -> ModuleRefusal {
    match failure {
        CallFailure::NotAttached { .. } => ModuleRefusal::NotAvailable,
        CallFailure::Gone { .. } => ModuleRefusal::Gone,
        CallFailure::Deadline { .. } => ModuleRefusal::Deadline,
        CallFailure::TooMany { .. } | CallFailure::TooManyOfCaller { .. } => ModuleRefusal::Busy,
        CallFailure::TooLong { .. } | CallFailure::AnswerTooLong { .. } | CallFailure::NoAnswer { .. } => {
            ModuleRefusal::BadAnswer
        }
        CallFailure::Module { error, .. } => match error {
            ModuleError::UnknownMethod { .. } => ModuleRefusal::UnknownMethod,
            ModuleError::WrongParameters { .. } => ModuleRefusal::WrongParameters,
            ModuleError::Panicked { .. } | ModuleError::Unanswered => ModuleRefusal::Panicked,
            ModuleError::Busy { .. } => ModuleRefusal::Busy,
            ModuleError::AnswerTooLong { .. } => ModuleRefusal::BadAnswer,
            _ => ModuleRefusal::Failed,
        },
    }
}

/// Of itself a module says that it does well, or not so well; that it does not answer is for others to say.
fn check_health(health: &ModuleHealth) -> Result<(), Refusal> {
    let is_right = matches!(health.state, HealthState::Healthy | HealthState::Degraded)
        && health.message.len() <= MAX_HEALTH_BYTES;
    if is_right {
        return Ok(());
    }
    let message = format!(
        "a module says that it is healthy or degraded, in at most {MAX_HEALTH_BYTES} bytes, found {} in {}",
        health.state.name(),
        health.message.len()
    );
    Err(Refusal::Module { rule: ModuleRefusal::BadHealth, message })
}

/// What one module may publish: events and their bytes.
#[derive(Debug)]
pub(super) struct Quota {
    events: crate::module::limits::Bucket,
    bytes: crate::module::limits::Bucket,
}

impl Quota {
    pub(super) fn new(limits: &crate::module::limits::RequestLimits, now: Instant) -> Self {
        use crate::module::limits::Bucket;
        let (events, bytes) = (limits.events_per_second, limits.event_bytes_per_second);
        // The longest event must fit, however little is allowed.
        let longest = (MAX_EVENT_NAME_BYTES + MAX_EVENT_PAYLOAD_BYTES) as u32;
        Quota { events: Bucket::new(events, events, now), bytes: Bucket::new(bytes, bytes.max(longest), now) }
    }

    /// Takes one event of so many bytes, or nothing.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), Refusal> {
        // Bounded by the longest event.
        let bytes = bytes as u32;
        let refused = |unit, per_second, retry_after_ms| Refusal::Quota { unit, per_second, retry_after_ms };
        self.events
            .look(1, now)
            .map_err(|wait| refused(QuotaUnit::Events, self.events.per_second(), wait))?;
        self.bytes
            .look(bytes, now)
            .map_err(|wait| refused(QuotaUnit::Bytes, self.bytes.per_second(), wait))?;
        self.events.spend(1);
        self.bytes.spend(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::limits::RequestLimits;

    #[test]
    fn events_and_their_bytes_are_counted_apart_and_what_is_refused_costs_nothing() {
        let limits = RequestLimits {
            events_per_second: 10,
            event_bytes_per_second: 1_000,
            ..RequestLimits::default()
        };
        let start = Instant::now();
        let mut quota = Quota::new(&limits, start);
        assert!((0..10).all(|_| quota.take(10, start).is_ok()));
        let events = Refusal::Quota { unit: QuotaUnit::Events, per_second: 10, retry_after_ms: 100 };
        assert_eq!(quota.take(10, start), Err(events));
        let later = start + Duration::from_secs(1);
        assert!((0..2).all(|_| quota.take(384, later).is_ok()));
        let Err(Refusal::Quota { unit: QuotaUnit::Bytes, per_second: 1_000, retry_after_ms }) =
            quota.take(384, later)
        else {
            panic!("not refused");
        };
        assert_eq!(retry_after_ms, 152);
        // A shorter one still fits: the refused one took no event either.
        assert!((0..8).all(|_| quota.take(20, later).is_ok()));
        // Little is allowed, and yet the longest event now and then.
        let little = RequestLimits { event_bytes_per_second: 1, ..limits };
        assert!(Quota::new(&little, start).take(384, start).is_ok());
    }
}
