//! What modules offer through the node: methods of JSON-RPC, commands, and methods for other modules.
//!
//! What a module registers is its own while its process lives, and gone with it. Nobody takes a name that another has, or the
//! node; who offers what is known by the process, not by a name it sends. What bears the name of another module that is known
//! ends when that becomes known: `pool_balance` is never had of anybody but `pool`, where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::request::{Call, CallReply, CliSpec, CommandOutput, ModuleRefusal, Refusal, encode};
use blvm_manifest::is_module_name;
use parking_lot::{Mutex, MutexGuard};

use super::calls::{CallFailure, ModuleCaller};
use super::directory::Directory;

/// Methods of JSON-RPC that one module may offer, and methods for other modules.
const MAX_METHODS: usize = 64;

/// Longest name of a method or command.
const MAX_NAME_BYTES: usize = 64;

/// Longest description of a method.
const MAX_ABOUT_BYTES: usize = 512;

/// Longest description of a command with its arguments, as an archive.
const MAX_SPEC_BYTES: usize = 64 << 10;

/// Methods of the node's own JSON-RPC, also those of versions to come.
const NODE_METHODS: [&str; 15] = [
    "getbusinfo",
    "getmoduleclispecs",
    "getmoduleinfo",
    "getmodulelogs",
    "getmodulemetrics",
    "getnodestatus",
    "getrpcinfo",
    "help",
    "listmodules",
    "loadmodule",
    "reloadmodule",
    "runmodulecli",
    "stop",
    "unloadmodule",
    "uptime",
];

/// Commands of `blvm`, also those of versions to come.
const NODE_COMMANDS: [&str; 20] = [
    "attach",
    "config",
    "configpath",
    "demo",
    "doctor",
    "help",
    "install",
    "load",
    "logs",
    "module",
    "record",
    "reload",
    "replay",
    "rpc",
    "run",
    "status",
    "stop",
    "tail",
    "top",
    "unload",
];

/// Why something that a module offers was not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No module that runs offers it.
    #[error("no module that runs offers {kind} \"{name}\"")]
    NotOffered {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The module was asked.
    #[error(transparent)]
    Call(#[from] CallFailure),
}

/// A method of JSON-RPC that a module offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleMethod {
    /// Its name.
    pub method: String,
    /// The module.
    pub module: String,
    /// What it does, in the module's words.
    pub about: String,
}

/// A command that a module offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleCommand {
    /// The module.
    pub module: String,
    /// Its name, its arguments, and what they mean.
    pub spec: CliSpec,
}

/// What the modules of one node offer.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<State>,
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct State {
    /// By name of the module.
    modules: BTreeMap<String, Offers>,
    node_methods: BTreeSet<String>,
    node_commands: BTreeSet<String>,
}

/// What one process offers.
#[derive(Debug)]
struct Offers {
    /// Number of its connection.
    owner: u64,
    caller: ModuleCaller,
    methods: BTreeMap<String, String>,
    command: Option<CliSpec>,
    api: BTreeSet<String>,
}

impl Registry {
    /// Nothing is offered yet. The names of the modules in `directory` are theirs.
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        let state = State {
            modules: BTreeMap::new(),
            node_methods: NODE_METHODS.map(str::to_owned).into(),
            node_commands: NODE_COMMANDS.map(str::to_owned).into(),
        };
        Registry { state: Mutex::new(state), directory }
    }

    /// Keeps names of the node's own JSON-RPC from modules. Call it before modules are started.
    pub fn reserve_methods<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        self.lock().node_methods.extend(names.into_iter().map(str::to_owned));
    }

    /// Keeps names of the node's own commands from modules. Call it before modules are started.
    pub fn reserve_commands<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        self.lock().node_commands.extend(names.into_iter().map(str::to_owned));
    }

    /// Every method of JSON-RPC that modules offer now.
    pub fn methods(&self) -> Vec<ModuleMethod> {
        let state = self.offered();
        let offers = state.modules.iter();
        offers
            .flat_map(|(module, offers)| {
                offers.methods.iter().map(|(method, about)| ModuleMethod {
                    method: method.clone(),
                    module: module.clone(),
                    about: about.clone(),
                })
            })
            .collect()
    }

    /// Every command that modules offer now.
    pub fn specs(&self) -> Vec<ModuleCommand> {
        let state = self.offered();
        let offers = state.modules.iter();
        offers
            .filter_map(|(module, offers)| {
                Some(ModuleCommand { module: module.clone(), spec: offers.command.clone()? })
            })
            .collect()
    }

    /// Calls a method of JSON-RPC that a module offers: parameters and result are one JSON value each, as text. The result is
    /// what the module sent, unread.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn call_rpc(
        &self,
        method: &str,
        params: String,
        deadline: Duration,
    ) -> Result<String, RegistryError> {
        let caller = self.find("method", method, |offers| offers.methods.contains_key(method))?;
        let call = Call::Rpc { method: method.to_owned(), params };
        match caller.call(call, deadline).await? {
            CallReply::Rpc(result) => Ok(result),
            _ => Err(no_answer(&caller, "rpc")),
        }
    }

    /// Runs a command that a module offers; `name` is the module's, or else the command's.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn run_command(
        &self,
        name: &str,
        arguments: Vec<String>,
        deadline: Duration,
    ) -> Result<CommandOutput, RegistryError> {
        let (caller, command) = {
            let state = self.offered();
            let of_module = state.modules.get(name).filter(|offers| offers.command.is_some());
            let offers = of_module.or_else(|| state.modules.values().find(|offers| offers.has_command(name)));
            let spec = offers.and_then(|offers| Some((offers.caller.clone(), offers.command.as_ref()?)));
            let (caller, spec) = spec.ok_or_else(|| not_offered("command", name))?;
            (caller, spec.name.clone())
        };
        match caller.call(Call::Command { name: command, arguments }, deadline).await? {
            CallReply::Command(output) => Ok(output),
            _ => Err(no_answer(&caller, "command")),
        }
    }

    /// Who offers method `method` of `module` to other modules.
    pub(super) fn api(&self, module: &str, method: &str) -> Result<ModuleCaller, Refusal> {
        // Both go into messages, and these into the node's log.
        if !is_module_name(module) {
            let message = "that is no name of a module".to_owned();
            return Err(refusal(ModuleRefusal::BadName, message));
        }
        check_name("method", method)?;
        let state = self.lock();
        let Some(offers) = state.modules.get(module) else {
            let message = format!("no module {module} runs");
            return Err(refusal(ModuleRefusal::NotAvailable, message));
        };
        if !offers.api.contains(method) {
            let message = format!("module {module} offers no method {method} to other modules");
            return Err(refusal(ModuleRefusal::UnknownMethod, message));
        }
        Ok(offers.caller.clone())
    }

    /// The process of connection `owner` is attached and may be called. One more of the same name is not.
    pub(super) fn enter(&self, owner: u64, caller: ModuleCaller) {
        let module = caller.module().to_owned();
        let mut state = self.lock();
        if state.modules.contains_key(&module) {
            tracing::warn!(module, "another process of this module is attached: this one can offer nothing");
            return;
        }
        let (methods, command, api) = (BTreeMap::new(), None, BTreeSet::new());
        state.modules.insert(module, Offers { owner, caller, methods, command, api });
    }

    /// What the process of connection `owner` has registered is offered no longer.
    pub(super) fn leave(&self, owner: u64) {
        self.lock().modules.retain(|_, offers| offers.owner != owner);
    }

    /// What begins with the name of another module that is known and `_` is that one's.
    pub(super) fn register_method(&self, owner: u64, method: String, about: String) -> Result<(), Refusal> {
        check_name("method", &method)?;
        check_length("description", about.len(), MAX_ABOUT_BYTES)?;
        let mut state = self.offered();
        if state.node_methods.contains(&method) {
            return Err(reserved("method", &method));
        }
        if let Some(other) = state.taken(owner, |offers| offers.methods.contains_key(&method)) {
            return Err(taken("method", &method, other));
        }
        let offers = state.of(owner)?;
        if let Some(module) = self.bears_name_of(&method, offers.caller.module()) {
            return Err(named_after("method", &method, module));
        }
        if offers.methods.len() >= MAX_METHODS && !offers.methods.contains_key(&method) {
            return Err(Refusal::Limit {
                what: "methods of one module".to_owned(),
                limit: MAX_METHODS as u64,
            });
        }
        offers.methods.insert(method, about);
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn unregister_method(&self, owner: u64, method: &str) -> Result<bool, Refusal> {
        Ok(self.lock().of(owner)?.methods.remove(method).is_some())
    }

    /// The name of another module that is known is no name of a command, whether that module runs or not.
    pub(super) fn register_command(&self, owner: u64, spec: CliSpec) -> Result<(), Refusal> {
        check_name("command", &spec.name)?;
        check_length("bytes of a command's description", encode(&spec).len(), MAX_SPEC_BYTES)?;
        let mut state = self.offered();
        if state.node_commands.contains(&spec.name) {
            return Err(reserved("command", &spec.name));
        }
        let own = state.of(owner)?.caller.module().to_owned();
        // A module's name is a way to its command too.
        let is_module = state.modules.contains_key(&spec.name) || self.directory.is_known(&spec.name);
        if is_module && spec.name != own {
            return Err(named_after("command", &spec.name, &spec.name));
        }
        if let Some(other) = state.taken(owner, |offers| offers.has_command(&spec.name)) {
            return Err(taken("command", &spec.name, other));
        }
        state.of(owner)?.command = Some(spec);
        Ok(())
    }

    /// Offers these methods to other modules, and none else.
    pub(super) fn register_api(&self, owner: u64, methods: Vec<String>) -> Result<(), Refusal> {
        if methods.len() > MAX_METHODS {
            let what = "methods for other modules of one module".to_owned();
            return Err(Refusal::Limit { what, limit: MAX_METHODS as u64 });
        }
        for method in &methods {
            check_name("method", method)?;
        }
        self.lock().of(owner)?.api = methods.into_iter().collect();
        Ok(())
    }

    /// What is offered now. The process of a module may have exited before its connection is done with its last request: what
    /// it offered is gone with the process.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.modules.retain(|_, offers| !offers.caller.is_gone());
        state
    }

    /// As [`Self::lock`]; what bears the name of a module that has become known since it was registered has ended too.
    fn offered(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        for (module, offers) in &mut state.modules {
            offers.methods.retain(|method, _| {
                let other = self.bears_name_of(method, module);
                if let Some(other) = other {
                    tracing::warn!(
                        module,
                        method,
                        other,
                        "a method bears the name of another module: it ends"
                    );
                }
                other.is_none()
            });
            let is_others = |spec: &CliSpec| spec.name != *module && self.directory.is_known(&spec.name);
            if let Some(spec) = offers.command.take_if(|spec| is_others(spec)) {
                tracing::warn!(
                    module,
                    command = spec.name,
                    "a command bears the name of another module: it ends"
                );
            }
        }
        state
    }

    /// The module besides `module` that is known and whose name `method` begins with.
    fn bears_name_of<'a>(&self, method: &'a str, module: &str) -> Option<&'a str> {
        // No module's name has an underscore.
        let (other, _) = method.split_once('_')?;
        (other != module && self.directory.is_known(other)).then_some(other)
    }

    fn find(
        &self,
        kind: &'static str,
        name: &str,
        offers_it: impl Fn(&Offers) -> bool,
    ) -> Result<ModuleCaller, RegistryError> {
        let state = self.offered();
        let found = state.modules.values().find(|offers| offers_it(offers));
        found.map(|offers| offers.caller.clone()).ok_or_else(|| not_offered(kind, name))
    }
}

impl State {
    /// What the process of connection `owner` offers.
    fn of(&mut self, owner: u64) -> Result<&mut Offers, Refusal> {
        self.modules.values_mut().find(|offers| offers.owner == owner).ok_or_else(|| {
            let message = "another process of this module is attached".to_owned();
            refusal(ModuleRefusal::NameTaken, message)
        })
    }

    /// The module besides `owner`'s that has something.
    fn taken(&self, owner: u64, has: impl Fn(&Offers) -> bool) -> Option<String> {
        let found = self.modules.iter().find(|(_, offers)| offers.owner != owner && has(offers));
        found.map(|(module, _)| module.clone())
    }
}

impl Offers {
    fn has_command(&self, name: &str) -> bool {
        self.command.as_ref().is_some_and(|spec| spec.name == name)
    }
}

fn not_offered(kind: &'static str, name: &str) -> RegistryError {
    RegistryError::NotOffered { kind, name: name.to_owned() }
}

fn no_answer(caller: &ModuleCaller, call: &'static str) -> RegistryError {
    CallFailure::NoAnswer { module: caller.module().to_owned(), call }.into()
}

fn refusal(rule: ModuleRefusal, message: String) -> Refusal {
    Refusal::Module { rule, message }
}

fn reserved(kind: &str, name: &str) -> Refusal {
    refusal(ModuleRefusal::NameReserved, format!("{kind} {name} is the node's own"))
}

fn taken(kind: &str, name: &str, module: String) -> Refusal {
    refusal(ModuleRefusal::NameTaken, format!("{kind} {name} is offered by module {module} already"))
}

fn named_after(kind: &str, name: &str, module: &str) -> Refusal {
    refusal(ModuleRefusal::NameTaken, format!("{kind} {name} bears the name of module {module}"))
}

/// Lower-case letters, digits, hyphens and underscores, a letter first.
fn check_name(kind: &str, name: &str) -> Result<(), Refusal> {
    let is_right = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        && name.len() <= MAX_NAME_BYTES;
    if is_right {
        return Ok(());
    }
    let message = format!(
        "the name of a {kind} has lower-case letters, digits, - and _, begins with a letter and has at most {MAX_NAME_BYTES} bytes"
    );
    Err(refusal(ModuleRefusal::BadName, message))
}

fn check_length(what: &str, found: usize, limit: usize) -> Result<(), Refusal> {
    if found > limit {
        return Err(Refusal::Limit { what: what.to_owned(), limit: limit as u64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use blvm_bus::request::{ModuleHealth, ModuleState, ModuleSummary};

    use super::*;
    use crate::module::calls::CallDesk;

    #[test]
    fn what_an_exited_process_offered_is_free_though_its_connection_has_not_ended() {
        let registry = Registry::new(Arc::default());
        let (old, new) = (CallDesk::new("mesh"), CallDesk::new("mesh"));
        registry.enter(1, old.caller());
        registry.register_method(1, "routes".to_owned(), String::new()).unwrap();
        registry.enter(2, new.caller());
        let taken = registry.register_method(2, "more".to_owned(), String::new());
        assert!(matches!(taken, Err(Refusal::Module { rule: ModuleRefusal::NameTaken, .. })));
        old.close();
        assert!(registry.methods().is_empty());
        registry.enter(2, new.caller());
        registry.register_method(2, "routes".to_owned(), String::new()).unwrap();
        // The old connection ends late: it takes nothing of the new one's with it.
        registry.leave(1);
        assert_eq!(registry.methods().len(), 1);
    }

    #[test]
    fn one_module_offers_so_much_and_no_more() {
        let registry = Registry::new(Arc::default());
        let desk = CallDesk::new("mesh");
        registry.enter(1, desk.caller());
        let method = |name: String, about: String| registry.register_method(1, name, about);
        let register = |number: usize| method(format!("method{number}"), String::new());
        assert!((0..MAX_METHODS).all(|number| register(number).is_ok()));
        assert!(matches!(register(MAX_METHODS), Err(Refusal::Limit { limit: 64, .. })));
        // Again is not more.
        register(3).unwrap();
        let about = method("method1".to_owned(), "x".repeat(MAX_ABOUT_BYTES + 1));
        assert!(matches!(about, Err(Refusal::Limit { .. })));
        let api = |count| registry.register_api(1, (0..count).map(|number| format!("m{number}")).collect());
        assert!(api(MAX_METHODS).is_ok() && api(MAX_METHODS + 1).is_err());
        let spec =
            |about: usize| CliSpec { name: "c".to_owned(), about: "x".repeat(about), ..CliSpec::default() };
        assert!(registry.register_command(1, spec(MAX_SPEC_BYTES - 200)).is_ok());
        assert!(registry.register_command(1, spec(MAX_SPEC_BYTES)).is_err());
    }

    fn becomes_known(directory: &Directory, name: &str) {
        let summary = ModuleSummary {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            state: ModuleState::Stopped,
            health: ModuleHealth::default(),
            is_loaded: false,
            pid: None,
        };
        directory.update(name, |module| *module = Some(summary), || {});
    }

    #[test]
    fn what_was_registered_under_the_name_of_a_module_that_comes_later_ends_when_it_comes() {
        let known = Arc::default();
        let registry = Registry::new(Arc::clone(&known));
        becomes_known(&known, "mesh");
        let desk = CallDesk::new("mesh");
        registry.enter(1, desk.caller());
        for name in ["pool_balance", "mesh_routes", "pools_all", "pool"] {
            registry.register_method(1, name.to_owned(), String::new()).unwrap();
        }
        let command = CliSpec { name: "pool".to_owned(), ..CliSpec::default() };
        registry.register_command(1, command.clone()).unwrap();
        assert_eq!((registry.methods().len(), registry.specs().len()), (4, 1));

        becomes_known(&known, "pool");
        let named = |registry: &Registry| -> Vec<_> {
            registry.methods().into_iter().map(|method| method.method).collect()
        };
        assert_eq!(named(&registry), ["mesh_routes", "pool", "pools_all"]);
        assert!(registry.specs().is_empty());
        // It is that module's, as if nobody had ever had it.
        let pool = CallDesk::new("pool");
        registry.enter(2, pool.caller());
        registry.register_method(2, "pool_balance".to_owned(), String::new()).unwrap();
        registry.register_command(2, command).unwrap();
        let found =
            registry.find("method", "pool_balance", |offers| offers.methods.contains_key("pool_balance"));
        assert_eq!(found.unwrap().module(), "pool");
        assert_eq!(registry.specs()[0].module, "pool");
    }

    #[test]
    fn a_module_takes_no_name_of_another_that_is_known_though_it_does_not_run() {
        let known = Arc::default();
        let registry = Registry::new(Arc::clone(&known));
        ["mesh", "pool"].iter().for_each(|name| becomes_known(&known, name));
        let desk = CallDesk::new("mesh");
        registry.enter(1, desk.caller());
        let method = |name: &str| registry.register_method(1, name.to_owned(), String::new());
        let command = |name: &str| {
            registry.register_command(1, CliSpec { name: name.to_owned(), ..CliSpec::default() })
        };
        let is_taken =
            |outcome| matches!(outcome, Err(Refusal::Module { rule: ModuleRefusal::NameTaken, .. }));
        assert!(is_taken(method("pool_balance")) && is_taken(command("pool")));
        for name in ["mesh_routes", "poolside", "other_thing", "pool-balance"] {
            method(name).unwrap();
        }
        command("mesh").unwrap();
        command("pools").unwrap();
    }

    #[test]
    fn a_name_that_would_forge_a_line_of_the_log_is_in_no_message() {
        let registry = Registry::new(Arc::default());
        for (module, method) in [("x\n2026 INFO forged", "ask"), ("mesh", "a\u{1b}[2J"), ("", "ask")] {
            let refused = registry.api(module, method).unwrap_err();
            assert!(matches!(refused, Refusal::Module { rule: ModuleRefusal::BadName, .. }), "{refused}");
            assert!(!refused.to_string().contains(char::is_control));
        }
    }
}
