//! What JSON-RPC asks of the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::message::topic_named;
use blvm_bus::request::PROTOCOL_VERSION;
use jsonrpsee_server::types::ErrorObjectOwned;
use nix::sys::signal::{Signal, raise};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::module_calls;
use super::module_metrics::Figures;
use crate::module::{
    BeginError, LoadError, ModuleManager, Registry, ReloadError, RunningModule, UnloadError,
};
use crate::plain::with_causes;
use crate::rpc::error::{
    ALREADY_LOADED, BUSY, DEPENDENCY, NO_SUCH_MODULE, NOT_LOADED, NOT_STARTED, STOPPING, error, internal,
};
use crate::rpc::{Answering, Call, METHODS, Operations};
use crate::topics::Topics;

/// The node, as JSON-RPC reaches it.
#[derive(Clone)]
pub(super) struct NodeOperations {
    topics: Arc<Topics>,
    modules: ModuleManager,
    registry: Arc<Registry>,
    /// How long a module may take for a call.
    deadline: Duration,
    /// Room for calls to modules.
    calls: Arc<Semaphore>,
}

/// Calls to modules that are worked on at once: modules that do not answer leave the rest of what the server works on at once
/// to the node's own methods.
const MAX_CALLS: usize = 48;

impl Operations for NodeOperations {
    fn carry_out(&self, call: Call) -> Answering {
        let node = self.clone();
        Box::pin(async move { node.answer(call).await })
    }

    fn module_methods(&self) -> Vec<String> {
        self.registry.methods().into_iter().map(|offered| offered.method).collect()
    }
}

impl NodeOperations {
    pub(super) fn new(topics: Arc<Topics>, modules: ModuleManager) -> Self {
        let (registry, deadline) = (modules.host().registry(), modules.host().limits().deadline);
        registry.reserve_methods(METHODS.iter().map(|method| method.name));
        NodeOperations { topics, modules, registry, deadline, calls: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    /// A place for a call to a module.
    fn place(&self) -> Result<SemaphorePermit<'_>, ErrorObjectOwned> {
        let full = |_| error(BUSY, format!("{MAX_CALLS} calls wait for modules already: try again later"));
        self.calls.try_acquire().map_err(full)
    }

    async fn answer(&self, call: Call) -> Result<Value, ErrorObjectOwned> {
        match call {
            Call::BusInfo => self.bus_info(),
            Call::Stop => stop(),
            Call::LoadModule { name } => said(&self.modules.load(&name).await.map_err(load_error)?),
            Call::UnloadModule { name } => {
                let stopped = self.modules.unload(&name).await.map_err(unload_error)?;
                Ok(json!({ "stopped": stopped }))
            }
            Call::ReloadModule { name } => said(&self.modules.reload(&name).await.map_err(reload_error)?),
            Call::ListModules => said(&self.modules.list()),
            Call::ModuleInfo { name } => self.module_info(&name),
            Call::ModuleMetrics { name } => self.module_metrics(&name),
            Call::ModuleCliSpecs => Ok(module_calls::specs(&self.registry)),
            Call::RunModuleCli { module, arguments } => {
                let _place = self.place()?;
                module_calls::run(&self.registry, &module, arguments, self.deadline).await
            }
            Call::Module { method, params } => {
                let _place = self.place()?;
                module_calls::call(&self.registry, &method, params, self.deadline).await
            }
            // `help` is answered where the methods are.
            call => Err(internal(format!("nobody answers {call:?}"))),
        }
    }

    fn bus_info(&self) -> Result<Value, ErrorObjectOwned> {
        let modules = self.modules.processes();
        let programs = self.modules.host().attached_programs();
        let readers = |topic: &str| {
            // What the node has given it, not what it says of itself.
            let reads = |module: &&Arc<RunningModule>| {
                let number = topic_named(topic).map(|topic| topic.number);
                let has =
                    |starts: BTreeMap<u32, u64>| number.is_some_and(|number| starts.contains_key(&number));
                !module.has_exited() && module.starts().is_some_and(has)
            };
            let by_path =
                programs.iter().filter(|program| program.topics.iter().any(|read| read.topic == topic));
            let modules = modules.iter().filter(reads).map(|module| module.name());
            modules.chain(by_path.map(|program| program.name.as_str())).map(Value::from).collect()
        };
        let mut segments = Vec::new();
        for segment in self.topics.describe() {
            let readers: Value = readers(segment.topic);
            let mut segment: Map<_, _> = serde_json::to_value(segment)
                .ok()
                .and_then(|segment| segment.as_object().cloned())
                .ok_or_else(|| internal("a segment cannot be described"))?;
            segment.insert("readers".to_owned(), readers);
            segments.push(segment);
        }
        let (taken, limit) = self.topics.lease_pages();
        Ok(json!({
            "run_id": self.topics.run_id().to_string(),
            "layout_version": LAYOUT_VERSION,
            "protocol_version": PROTOCOL_VERSION,
            "bytes": self.topics.segment_bytes(),
            "lease_pages": { "taken": taken, "limit": limit, "leases_each": self.topics.leases() },
            "segments": segments,
            "attached_by_path": programs,
        }))
    }

    /// The figures of one module, or of all where none is named.
    fn module_metrics(&self, name: &str) -> Result<Value, ErrorObjectOwned> {
        let directory = self.modules.host().directory();
        let metrics = match name {
            "" => directory.all_metrics(),
            name => vec![directory.metrics_of(name).ok_or_else(|| self.not_loaded(name))?],
        };
        said(&metrics.into_iter().map(Figures::from).collect::<Vec<_>>())
    }

    fn not_loaded(&self, name: &str) -> ErrorObjectOwned {
        match self.modules.info(name) {
            Some(info) => unload_error(UnloadError::NotLoaded { name: name.to_owned(), state: info.state }),
            None => self.unknown(name),
        }
    }

    fn unknown(&self, name: &str) -> ErrorObjectOwned {
        let known: Vec<_> = self.modules.list().into_iter().map(|module| module.name).collect();
        load_error(LoadError::Unknown { name: name.to_owned(), known })
    }

    fn module_info(&self, name: &str) -> Result<Value, ErrorObjectOwned> {
        let info = self.modules.info(name).ok_or_else(|| self.unknown(name))?;
        let mut info = serde_json::to_value(info).map_err(|error| internal(error.to_string()))?;
        if let Some(info) = info.as_object_mut() {
            info.insert("log".to_owned(), json!(self.modules.log_path(name)));
            let metrics = self.modules.host().directory().metrics_of(name);
            info.insert("metrics".to_owned(), json!(metrics.map_or(0, |metrics| metrics.series.len())));
        }
        Ok(info)
    }
}

/// Stops the node as Ctrl-C does.
fn stop() -> Result<Value, ErrorObjectOwned> {
    raise(Signal::SIGTERM).map_err(|errno| internal(format!("the node cannot be stopped: {errno}")))?;
    Ok(json!("the node is stopping"))
}

fn said(value: &impl Serialize) -> Result<Value, ErrorObjectOwned> {
    serde_json::to_value(value).map_err(|error| internal(error.to_string()))
}

fn load_error(failed: LoadError) -> ErrorObjectOwned {
    let code = match &failed {
        LoadError::Unknown { .. } => NO_SUCH_MODULE,
        LoadError::Loaded { .. } => ALREADY_LOADED,
        LoadError::Stopping | LoadError::Begin { source: BeginError::Stopping, .. } => STOPPING,
        LoadError::Dependency(_) => DEPENDENCY,
        _ => NOT_STARTED,
    };
    error(code, with_causes(&failed))
}

fn unload_error(failed: UnloadError) -> ErrorObjectOwned {
    let code = match &failed {
        UnloadError::Unknown { .. } => NO_SUCH_MODULE,
        UnloadError::NotLoaded { .. } => NOT_LOADED,
    };
    error(code, with_causes(&failed))
}

fn reload_error(failed: ReloadError) -> ErrorObjectOwned {
    let code = match &failed {
        ReloadError::Unknown { .. } => NO_SUCH_MODULE,
        ReloadError::NotLoaded { .. } => NOT_LOADED,
        ReloadError::Refused { source: LoadError::Stopping, .. } => STOPPING,
        _ => NOT_STARTED,
    };
    error(code, with_causes(&failed))
}
