//! Answers about modules: what they offer each other, publish, and how they do.

use std::time::Duration;

use blvm_bus::message::modules::{MAX_EVENT_NAME_BYTES, MAX_EVENT_PAYLOAD_BYTES, ModuleEvent};
use blvm_bus::message::payments::{self, PaymentEvent};
use blvm_bus::request::{
    Call, CallReply, HealthState, ModuleHealth, ModuleRefusal, ModuleState, ModuleSummary, ModulesReply,
    ModulesRequest, Refusal,
};

use crate::testing::node::Inner;
use crate::testing::party::{CallFailure, Party, PublishedEvent};

impl Inner {
    pub(super) fn modules(
        &self,
        party: Option<&Party>,
        request: &ModulesRequest,
        deadline: Duration,
    ) -> Result<ModulesReply, Refusal> {
        match request {
            ModulesRequest::PublishEvent { name, payload } => {
                let event = PublishedEvent { name: name.clone(), payload: payload.clone() };
                check_event(&event)?;
                let publisher = party.map_or_else(|| "test".to_owned(), |party| party.module.name.clone());
                if let Some(party) = party {
                    party.state().published.push(event.clone());
                }
                let PublishedEvent { name, payload } = event;
                let mut world = self.world();
                let sequence = if payments::NAMES.contains(&name.as_str()) {
                    world.publish(&PaymentEvent { publisher, name, payload })
                } else {
                    world.publish(&ModuleEvent { publisher, name, payload })
                };
                Ok(ModulesReply::Published { sequence })
            }
            ModulesRequest::CallModule { module, method, payload } => {
                let caller = party.map_or_else(|| "test".to_owned(), |party| party.module.name.clone());
                self.call_module(caller, module, method, payload, deadline)
            }
            ModulesRequest::DiscoverModules => Ok(ModulesReply::Modules(self.summaries())),
            ModulesRequest::GetModuleInfo { name } => {
                Ok(ModulesReply::Module(self.summaries().into_iter().find(|module| module.name == *name)))
            }
            ModulesRequest::IsModuleAvailable { name } => {
                Ok(ModulesReply::Available(self.summaries().iter().any(|module| module.name == *name)))
            }
            ModulesRequest::GetHealth { name } => {
                let found = self.summaries().into_iter().find(|module| module.name == *name);
                Ok(ModulesReply::Health(found.map(|module| module.health)))
            }
            request => match party {
                Some(party) => offered(party, request),
                None => Err(refused(ModuleRefusal::NotAvailable, "only a module offers something")),
            },
        }
    }

    fn call_module(
        &self,
        caller: String,
        module: &str,
        method: &str,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<ModulesReply, Refusal> {
        let other = self.parties().into_iter().find(|party| party.module.name == module && !party.is_gone());
        let other = other.ok_or_else(|| {
            let message =
                format!("no module {module} is attached: start one, or program when(\"call_module\")");
            refused(ModuleRefusal::NotAvailable, &message)
        })?;
        if !other.state().api.iter().any(|offered| offered == method) {
            let message = format!("module {module} offers no method {method}");
            return Err(refused(ModuleRefusal::UnknownMethod, &message));
        }
        let call = Call::Api { caller, method: method.to_owned(), payload: payload.to_vec() };
        match other.call(&call, deadline) {
            Ok(CallReply::Api(payload)) => Ok(ModulesReply::Called { payload }),
            Ok(_) => Err(refused(ModuleRefusal::BadAnswer, "it answered with something else")),
            Err(CallFailure::Gone) => Err(refused(ModuleRefusal::Gone, "it ended before it answered")),
            Err(CallFailure::TimedOut) => Err(refused(ModuleRefusal::Deadline, "it did not answer in time")),
            Err(CallFailure::Module(error)) => Err(refused(ModuleRefusal::Failed, &error.to_string())),
        }
    }

    fn summaries(&self) -> Vec<ModuleSummary> {
        let scripted = self.world().loaded.clone();
        let scripted = scripted.into_iter().map(|module| (module, None));
        let attached = self.parties().into_iter().filter(|party| !party.is_gone());
        let attached = attached.map(|party| (party.module.clone(), party.state().health.clone()));
        let mut modules: Vec<_> = scripted
            .chain(attached)
            .map(|(module, health)| ModuleSummary {
                name: module.name,
                version: module.version,
                state: ModuleState::Running,
                health: health
                    .unwrap_or(ModuleHealth { state: HealthState::Unknown, message: String::new() }),
                is_loaded: true,
                pid: None,
            })
            .collect();
        modules.sort_by(|left, right| left.name.cmp(&right.name));
        modules
    }
}

fn refused(rule: ModuleRefusal, message: &str) -> Refusal {
    Refusal::Module { rule, message: message.to_owned() }
}

fn check_event(event: &PublishedEvent) -> Result<(), Refusal> {
    let PublishedEvent { name, payload } = event;
    let is_right = name.len() <= MAX_EVENT_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_right {
        let message = format!(
            "the name of an event has letters and digits, a letter first, and at most {MAX_EVENT_NAME_BYTES} bytes"
        );
        return Err(refused(ModuleRefusal::BadName, &message));
    }
    if payload.len() > MAX_EVENT_PAYLOAD_BYTES {
        let message =
            format!("the event's payload has {} bytes, {MAX_EVENT_PAYLOAD_BYTES} may be", payload.len());
        return Err(refused(ModuleRefusal::TooLarge, &message));
    }
    Ok(())
}

/// What a module says it offers, and how it does.
fn offered(party: &Party, request: &ModulesRequest) -> Result<ModulesReply, Refusal> {
    let mut state = party.state();
    Ok(match request {
        ModulesRequest::RegisterApi { methods } => {
            state.api.clone_from(methods);
            ModulesReply::Registered
        }
        ModulesRequest::UnregisterApi => {
            state.api.clear();
            ModulesReply::Unregistered(true)
        }
        ModulesRequest::RegisterRpcEndpoint { method, .. } => {
            state.methods.push(method.clone());
            ModulesReply::Registered
        }
        ModulesRequest::UnregisterRpcEndpoint { method } => {
            let before = state.methods.len();
            state.methods.retain(|offered| offered != method);
            ModulesReply::Unregistered(state.methods.len() < before)
        }
        ModulesRequest::RegisterCliSpec(spec) => {
            state.command = Some(spec.clone());
            ModulesReply::Registered
        }
        ModulesRequest::ReportHealth(health) => {
            state.health = Some(health.clone());
            ModulesReply::HealthNoted
        }
        _ => return Err(refused(ModuleRefusal::NotAvailable, "the test node does not know that")),
    })
}
