//! What a module can ask about modules.

use std::time::Duration;

use blvm_bus::request::{CliSpec, ModuleHealth, ModuleSummary, ModulesReply, ModulesRequest, Reply, Request};

use super::{CallError, Client, milliseconds};

impl Client {
    /// Publishes an event; answers its sequence. One about payments ([`NAMES`](crate::payments::NAMES)) goes to the topic
    /// `payments` and needs `publish:NAME`; another goes to `modules` and needs that or `publish_events`.
    ///
    /// Others read it with this module's name, stamped by the node. Names have letters and digits, at most 64 bytes; payloads
    /// at most 320 bytes.
    ///
    /// # Errors
    ///
    /// [`CallError`]; refused with `Quota` is what comes faster than one module may publish.
    pub fn publish_event(&mut self, name: &str, payload: &[u8]) -> Result<u64, CallError> {
        let request = ModulesRequest::PublishEvent { name: name.to_owned(), payload: payload.to_vec() };
        self.modules(request, self.deadline_ms, |reply| match reply {
            ModulesReply::Published { sequence } => Some(sequence),
            _ => None,
        })
    }

    /// Calls a method that another module offers, and waits at most `deadline` for its answer. Needs `call_module`.
    ///
    /// Calls of the node that come meanwhile are kept for [`Session::next_call`](crate::Session::next_call). A call that would
    /// close a circle of modules waiting for each other is refused at once.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn call_module(
        &mut self,
        module: &str,
        method: &str,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let request = ModulesRequest::CallModule {
            module: module.to_owned(),
            method: method.to_owned(),
            payload: payload.to_vec(),
        };
        self.modules(request, milliseconds(deadline), |reply| match reply {
            ModulesReply::Called { payload } => Some(payload),
            _ => None,
        })
    }

    /// Offers these methods to other modules, and no others any more; they come as [`Call::Api`](crate::request::Call::Api).
    /// Needs `register_module_api`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn register_module_api(&mut self, methods: &[&str]) -> Result<(), CallError> {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        self.modules(ModulesRequest::RegisterApi { methods }, self.deadline_ms, registered)
    }

    /// Offers nothing to other modules any more. Needs `register_module_api`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn unregister_module_api(&mut self) -> Result<(), CallError> {
        self.modules(ModulesRequest::UnregisterApi, self.deadline_ms, |reply| unregistered(reply).map(drop))
    }

    /// Offers a method through the node's JSON-RPC; it comes as [`Call::Rpc`](crate::request::Call::Rpc). Needs
    /// `register_rpc_endpoint`.
    ///
    /// # Errors
    ///
    /// [`CallError`]; names of other modules' methods and of the node's own are refused.
    pub fn register_rpc_endpoint(&mut self, method: &str, about: &str) -> Result<(), CallError> {
        let (method, about) = (method.to_owned(), about.to_owned());
        self.modules(ModulesRequest::RegisterRpcEndpoint { method, about }, self.deadline_ms, registered)
    }

    /// Offers the method no longer; whether it was offered. Needs `register_rpc_endpoint`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn unregister_rpc_endpoint(&mut self, method: &str) -> Result<bool, CallError> {
        let method = method.to_owned();
        self.modules(ModulesRequest::UnregisterRpcEndpoint { method }, self.deadline_ms, unregistered)
    }

    /// Offers a command through `blvm`, instead of the one before; it comes as
    /// [`Call::Command`](crate::request::Call::Command). Needs `register_rpc_endpoint`.
    ///
    /// # Errors
    ///
    /// [`CallError`]; names of other modules' commands and of the node's own are refused.
    pub fn register_cli_spec(&mut self, spec: CliSpec) -> Result<(), CallError> {
        self.modules(ModulesRequest::RegisterCliSpec(spec), self.deadline_ms, registered)
    }

    /// Every module the node knows, by name. Needs `discover_modules`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn discover_modules(&mut self) -> Result<Vec<ModuleSummary>, CallError> {
        self.modules(ModulesRequest::DiscoverModules, self.deadline_ms, |reply| match reply {
            ModulesReply::Modules(modules) => Some(modules),
            _ => None,
        })
    }

    /// What the node knows of module `name`. Needs `discover_modules`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn module_info(&mut self, name: &str) -> Result<Option<ModuleSummary>, CallError> {
        let request = ModulesRequest::GetModuleInfo { name: name.to_owned() };
        self.modules(request, self.deadline_ms, |reply| match reply {
            ModulesReply::Module(module) => Some(module),
            _ => None,
        })
    }

    /// Whether module `name` is loaded and at work. Needs `discover_modules`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn is_module_available(&mut self, name: &str) -> Result<bool, CallError> {
        let request = ModulesRequest::IsModuleAvailable { name: name.to_owned() };
        self.modules(request, self.deadline_ms, |reply| match reply {
            ModulesReply::Available(is_available) => Some(is_available),
            _ => None,
        })
    }

    /// Says how this module does, without having been asked: healthy or degraded. It is what the node is answered from here on,
    /// as with [`Session::set_health`](crate::Session::set_health).
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn report_module_health(&mut self, health: ModuleHealth) -> Result<(), CallError> {
        self.modules(ModulesRequest::ReportHealth(health.clone()), self.deadline_ms, |reply| match reply {
            ModulesReply::HealthNoted => Some(()),
            _ => None,
        })?;
        self.calls.set_health(health);
        Ok(())
    }

    /// How module `name` does; `None` if the node knows none of that name. Needs `discover_modules`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn module_health(&mut self, name: &str) -> Result<Option<ModuleHealth>, CallError> {
        let request = ModulesRequest::GetHealth { name: name.to_owned() };
        self.modules(request, self.deadline_ms, |reply| match reply {
            ModulesReply::Health(health) => Some(health),
            _ => None,
        })
    }

    fn modules<T>(
        &mut self,
        request: ModulesRequest,
        deadline_ms: u32,
        take: impl FnOnce(ModulesReply) -> Option<T>,
    ) -> Result<T, CallError> {
        let request = Request::Modules(Box::new(request));
        match self.call_within(&request, deadline_ms)?.reply {
            Reply::Modules(reply) => take(*reply),
            _ => None,
        }
        .ok_or(CallError::Unexpected { request: request.name() })
    }
}

fn registered(reply: ModulesReply) -> Option<()> {
    matches!(reply, ModulesReply::Registered).then_some(())
}

fn unregistered(reply: ModulesReply) -> Option<bool> {
    match reply {
        ModulesReply::Unregistered(was_there) => Some(was_there),
        _ => None,
    }
}
