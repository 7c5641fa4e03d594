//! What the manager knows of each module. Whatever changes here is told on `system` under the same lock: once, and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blvm_bus::message::system::{
    ModuleDiscovered, ModuleHealthChanged, ModuleInstalled, ModuleLoaded, ModuleReloaded, ModuleRemoved,
    ModuleStateChanged, ModuleUnloaded, ModuleUpdated, System,
};
use blvm_bus::message::{self, Kind};
use blvm_bus::request::{HealthState, ModuleHealth, ModuleSummary};
use blvm_manifest::{DependencyGraph, DiscoverError};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::info::{ExitReason, Health, ModuleInfo, ModuleState, TopicInfo};
use super::plan::Plan;
use super::supervise::Order;
use crate::module::Manifest;
use crate::module::directory::Directory;
use crate::module::host::RunningModule;
use crate::plain::{hex, with_causes};
use crate::topics::Topics;

/// A module that was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) directory: Option<PathBuf>,
    /// Its manifest, where it is part of this program.
    pub(super) text: Option<&'static str>,
    pub(super) manifest: Manifest,
}

struct Entry {
    found: Found,
    state: ModuleState,
    health: Health,
    restarts: u32,
    /// The way to its supervisor, while it is loaded.
    orders: Option<mpsc::Sender<Order>>,
    /// The last one, until the module is unloaded.
    process: Option<Arc<RunningModule>>,
    last_exit: Option<ExitReason>,
    /// What is known of who made it, since it was loaded.
    trust: Option<String>,
    /// Whether its directory is gone, and that was told: it is forgotten once it is not loaded.
    is_removed: bool,
}

pub(super) struct Known {
    topics: Arc<Topics>,
    /// What modules may know of each other.
    directory: Arc<Directory>,
    modules: Mutex<BTreeMap<String, Entry>>,
    is_closing: AtomicBool,
    /// What is wrong in the modules directory, as it was logged.
    complaints: Mutex<BTreeSet<String>>,
}

impl Known {
    pub(super) fn new(topics: Arc<Topics>, directory: Arc<Directory>) -> Self {
        Known {
            topics,
            directory,
            modules: Mutex::new(BTreeMap::new()),
            is_closing: AtomicBool::new(false),
            complaints: Mutex::new(BTreeSet::new()),
        }
    }

    /// Logs what is wrong in the modules directory, each thing once until it was mended.
    pub(super) fn complain(&self, errors: &[DiscoverError]) {
        let texts: BTreeSet<String> = errors.iter().map(|error| with_causes(error)).collect();
        let mut complaints = self.complaints.lock();
        for new in texts.difference(&complaints) {
            tracing::warn!("left out of the modules: {new}");
        }
        *complaints = texts;
    }

    /// Adds a module; `false` if another has that name.
    pub(super) fn add(&self, found: Found) -> bool {
        let mut modules = self.modules.lock();
        if let Some(entry) = modules.get(&found.manifest.name) {
            return entry.found.directory == found.directory && entry.found.text == found.text;
        }
        self.insert(&mut modules, found);
        true
    }

    /// Adds a module whose directory appeared while the node runs. One that is loaded may have been away.
    pub(super) fn install(&self, found: Found) {
        let mut modules = self.modules.lock();
        let (name, version) = (found.manifest.name.clone(), found.manifest.version.to_string());
        let event = ModuleInstalled { name: name.clone(), version };
        match modules.get_mut(&name) {
            None => {
                self.tell(None, &event, &name);
                self.insert(&mut modules, found);
            }
            Some(entry) if entry.is_removed => {
                entry.is_removed = false;
                self.tell(Some(entry), &event, &name);
            }
            Some(_) => {}
        }
    }

    fn insert(&self, modules: &mut BTreeMap<String, Entry>, found: Found) {
        let (name, version) = (found.manifest.name.clone(), found.manifest.version.to_string());
        let entry = Entry {
            found,
            state: ModuleState::Stopped,
            health: Health::Unknown,
            restarts: 0,
            orders: None,
            process: None,
            last_exit: None,
            trust: None,
            is_removed: false,
        };
        self.tell(Some(&entry), &ModuleDiscovered { name: name.clone(), version }, &name);
        modules.insert(name, entry);
    }

    /// The files of a module are others than before.
    pub(super) fn updated(&self, name: &str, version: &str) {
        let modules = self.modules.lock();
        if let Some(entry) = modules.get(name) {
            let event = ModuleUpdated { name: name.to_owned(), version: version.to_owned() };
            self.tell(Some(entry), &event, name);
        }
    }

    /// The directory of a module is gone. It is forgotten, but not before it is unloaded.
    pub(super) fn removed(&self, name: &str) {
        let mut modules = self.modules.lock();
        let Some(entry) = modules.get_mut(name) else { return };
        let stays = entry.orders.is_some();
        entry.is_removed = true;
        self.tell(stays.then_some(&*entry), &ModuleRemoved { name: name.to_owned() }, name);
        if !stays {
            modules.remove(name);
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.modules.lock().contains_key(name)
    }

    pub(super) fn is_loaded(&self, name: &str) -> bool {
        self.orders(name).is_some()
    }

    pub(super) fn orders(&self, name: &str) -> Option<mpsc::Sender<Order>> {
        self.modules.lock().get(name).and_then(|entry| entry.orders.clone())
    }

    pub(super) fn found(&self, name: &str) -> Option<Found> {
        self.modules.lock().get(name).map(|entry| entry.found.clone())
    }

    /// Who needs whom, with `instead` for the module of its name.
    pub(super) fn graph(&self, instead: Option<&Manifest>) -> DependencyGraph {
        let modules = self.modules.lock();
        let manifests = modules.values().map(|entry| &entry.found.manifest);
        manifests.chain(instead).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.modules.lock().keys().cloned().collect()
    }

    /// Names of the loaded modules.
    pub(super) fn loaded(&self) -> Vec<String> {
        let modules = self.modules.lock();
        modules.iter().filter(|(_, entry)| entry.orders.is_some()).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn processes(&self) -> Vec<Arc<RunningModule>> {
        self.modules.lock().values().filter_map(|entry| entry.process.clone()).collect()
    }

    /// Takes what a module's directory holds; a loaded module keeps what it runs from.
    pub(super) fn set_manifest(&self, manifest: &Manifest) {
        let mut modules = self.modules.lock();
        if let Some(entry) = modules.get_mut(&manifest.name).filter(|entry| entry.orders.is_none()) {
            entry.found.manifest = manifest.clone();
        }
    }

    pub(super) fn set_state(&self, name: &str, state: ModuleState) {
        if let Some(entry) = self.modules.lock().get_mut(name) {
            self.change(name, entry, state);
        }
    }

    fn change(&self, name: &str, entry: &mut Entry, state: ModuleState) {
        if entry.state == state {
            return;
        }
        let previous = std::mem::replace(&mut entry.state, state);
        let (state, previous) = (state.number(), previous.number());
        self.tell(Some(entry), &ModuleStateChanged { name: name.to_owned(), state, previous }, name);
    }

    /// A process is at work from `plan`; `orders` reach its supervisor.
    pub(super) fn adopted(
        &self,
        process: &Arc<RunningModule>,
        plan: &Plan,
        orders: mpsc::Sender<Order>,
        is_new: bool,
    ) {
        let (mut modules, name) = (self.modules.lock(), process.name());
        let Some(entry) = modules.get_mut(name) else { return };
        entry.found.manifest = plan.manifest.clone();
        entry.process = Some(Arc::clone(process));
        entry.trust = Some(plan.trust.clone());
        self.change(name, entry, ModuleState::Running);
        // Loaded from here on, and said to be in the same step.
        entry.orders = Some(orders);
        let version = plan.manifest.version.to_string();
        if is_new {
            (entry.restarts, entry.last_exit) = (0, None);
            self.tell(Some(entry), &ModuleLoaded { name: name.to_owned(), version }, name);
        }
    }

    /// A process is at work in place of one that crashed.
    pub(super) fn restarted(&self, process: &Arc<RunningModule>) {
        if let Some(entry) = self.modules.lock().get_mut(process.name()) {
            entry.process = Some(Arc::clone(process));
            entry.restarts = entry.restarts.saturating_add(1);
            self.change(process.name(), entry, ModuleState::Running);
        }
    }

    pub(super) fn reloaded(&self, name: &str, pid: u32) {
        let modules = self.modules.lock();
        if let Some(entry) = modules.get(name) {
            let version = entry.found.manifest.version.to_string();
            self.tell(Some(entry), &ModuleReloaded { name: name.to_owned(), version, pid }, name);
        }
    }

    /// How a module does, as its process answered; another process answers for itself.
    pub(super) fn set_health(&self, process: &Arc<RunningModule>, health: Health) {
        let mut modules = self.modules.lock();
        let Some(entry) = modules.get_mut(process.name()) else { return };
        let is_current = entry.process.as_ref().is_some_and(|current| Arc::ptr_eq(current, process));
        if is_current && entry.state == ModuleState::Running {
            self.change_health(process.name(), entry, health);
        }
    }

    fn change_health(&self, name: &str, entry: &mut Entry, health: Health) {
        if entry.health == health {
            return;
        }
        let previous = std::mem::replace(&mut entry.health, health).number();
        let event = ModuleHealthChanged { name: name.to_owned(), health: health.number(), previous };
        self.tell(Some(entry), &event, name);
    }

    /// Publishes, and shows the module `name` as it is now to others, in one step.
    fn tell<K: Kind<Topic = System>>(&self, entry: Option<&Entry>, event: &K, name: &str) {
        let publish = || self.topics.publish_system(event);
        self.directory.update(name, |module| *module = entry.map(summary), publish);
    }

    /// How a process ended.
    pub(super) fn ended(&self, name: &str, process: &RunningModule) {
        if let Some(entry) = self.modules.lock().get_mut(name) {
            entry.last_exit = process.exit().map(ExitReason::from);
            self.change_health(name, entry, Health::Unknown);
        }
    }

    /// A process that never got to work, and that the kernel cannot end.
    pub(super) fn lingers(&self, process: &Arc<RunningModule>) {
        if let Some(entry) = self.modules.lock().get_mut(process.name()) {
            entry.process = Some(Arc::clone(process));
        }
    }

    /// The process of a module that still lives, whether the module is loaded or not.
    pub(super) fn living(&self, name: &str) -> Option<u32> {
        let modules = self.modules.lock();
        let process = modules.get(name).and_then(|entry| entry.process.as_ref());
        process.filter(|process| !process.has_exited()).map(|process| process.pid())
    }

    /// From here on modules end because the node does.
    pub(super) fn begin_closing(&self) {
        // Under the lock that `unloaded` takes: a module is counted before it or after it.
        let _modules = self.modules.lock();
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// A module is not loaded any more. Its last process, and the descriptors that go with it, are forgotten, and with its
    /// directory gone the module too; but when the node ends, what the module has received goes into its report.
    pub(super) fn unloaded(&self, name: &str, state: ModuleState) {
        let mut modules = self.modules.lock();
        let Some(entry) = modules.get_mut(name) else { return };
        self.change(name, entry, state);
        // Relaxed: the lock orders it.
        let is_reported = self.is_closing.load(Ordering::Relaxed);
        // One that could not be ended is remembered.
        if !is_reported && entry.process.as_ref().is_some_and(|process| process.has_exited()) {
            entry.process = None;
        }
        let is_forgotten = entry.is_removed && entry.process.is_none();
        if entry.orders.take().is_some() {
            self.tell((!is_forgotten).then_some(&*entry), &ModuleUnloaded { name: name.to_owned() }, name);
        }
        if is_forgotten {
            modules.remove(name);
        }
    }

    pub(super) fn list(&self) -> Vec<ModuleInfo> {
        self.modules.lock().values().map(info).collect()
    }

    pub(super) fn info(&self, name: &str) -> Option<ModuleInfo> {
        self.modules.lock().get(name).map(info)
    }
}

fn summary(entry: &Entry) -> ModuleSummary {
    let health: HealthState = entry.health.into();
    let reported = entry.process.as_ref().and_then(|process| process.reported_health().borrow().clone());
    // Its own words, where they are about the same.
    let message = reported.filter(|reported| reported.state == health).map(|reported| reported.message);
    let running = entry.process.as_ref().filter(|process| !process.has_exited());
    ModuleSummary {
        name: entry.found.manifest.name.clone(),
        version: entry.found.manifest.version.to_string(),
        state: entry.state.into(),
        health: ModuleHealth { state: health, message: message.unwrap_or_default() },
        is_loaded: entry.orders.is_some(),
        pid: running.map(|process| process.pid()),
    }
}

fn info(entry: &Entry) -> ModuleInfo {
    let manifest = &entry.found.manifest;
    let running = entry.process.as_ref().filter(|process| !process.has_exited());
    let statistics = entry.process.as_ref().and_then(|process| process.statistics());
    let topics = statistics.iter().flat_map(|statistics| &statistics.topics).map(|topic| TopicInfo {
        topic: message::topic(topic.topic).map_or("unknown", |topic| topic.name).to_owned(),
        received: topic.received,
        missed: topic.missed,
    });
    ModuleInfo {
        name: manifest.name.clone(),
        version: manifest.version.to_string(),
        state: entry.state,
        health: entry.health,
        is_loaded: entry.orders.is_some(),
        pid: running.map(|process| process.pid()),
        restarts: entry.restarts,
        last_exit: entry.last_exit,
        directory: entry.found.directory.clone(),
        trust: entry.trust.clone(),
        program: manifest.program.clone(),
        program_sha256: running.map(|process| hex(&process.sha256())),
        permissions: manifest.permissions.iter().map(|permission| permission.name().to_owned()).collect(),
        enforced: running.map_or(Vec::new(), |process| {
            process.enforced().iter().map(|layer| (*layer).to_owned()).collect()
        }),
        layers: running.map_or(Vec::new(), |process| process.layers().to_vec()),
        topics: topics.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::TopicsOptions;

    fn known() -> Known {
        let chain = blvm_bus::layout::Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap();
        Known::new(Arc::new(topics), Arc::default())
    }

    fn found(version: &str) -> Found {
        let manifest = Manifest { version: version.parse().unwrap(), ..Manifest::new("x", "x") };
        Found { directory: None, text: None, manifest }
    }

    /// As if a process of `x` were at work.
    fn load(known: &Known) {
        known.modules.lock().get_mut("x").unwrap().orders = Some(mpsc::channel(1).0);
    }

    #[test]
    fn a_loaded_module_whose_directory_is_gone_is_forgotten_once_it_is_unloaded() {
        let known = known();
        known.add(found("1.0.0"));
        load(&known);
        known.removed("x");
        assert!(known.contains("x"));
        known.unloaded("x", ModuleState::Stopped);
        assert!(!known.contains("x") && !known.directory.is_known("x"));
    }

    #[test]
    fn a_loaded_module_whose_directory_comes_back_is_installed_and_stays() {
        let known = known();
        known.add(found("1.0.0"));
        load(&known);
        known.removed("x");
        known.install(found("1.0.0"));
        known.unloaded("x", ModuleState::Stopped);
        assert!(known.contains("x") && known.directory.is_known("x"));
    }

    #[test]
    fn a_loaded_module_keeps_the_manifest_it_runs_from() {
        let known = known();
        known.add(found("1.0.0"));
        let version = || known.info("x").unwrap().version;
        known.set_manifest(&found("1.1.0").manifest);
        assert_eq!(version(), "1.1.0");
        load(&known);
        known.set_manifest(&found("1.0.0").manifest);
        assert_eq!(version(), "1.1.0");
    }
}
