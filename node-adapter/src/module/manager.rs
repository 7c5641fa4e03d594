//! The modules of a node: found, loaded, watched over, reloaded and unloaded.
//!
//! | file | what |
//! |---|---|
//! | `info` | what is said of a module |
//! | `error` | why something was not done |
//! | `dependents` | whether a new version does harm |
//! | `fresh` | manifests as they are on disk now |
//! | `known` | what the manager knows, and the events it sends when that changes |
//! | `logs` | each module's log, open once |
//! | `plan` | what a process is started from |
//! | `health` | asking a module how it does |
//! | `process` | one process: from its start until it is at work, and its orderly end |
//! | `supervise` | one loaded module: crashes, waits, restarts |
//! | `restart` | the rules for restarts |
//! | `watch` | changes in the modules directory |
//!
//! One change is made at a time: loads, unloads and reloads wait for each other. A module that crashes needs nobody's leave.
//! Every wait has an end, so a module that does not answer holds nothing up for longer than its deadlines.

mod dependents;
mod error;
mod fresh;
mod health;
mod info;
mod known;
mod logs;
mod plan;
mod process;
mod restart;
mod supervise;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use blvm_manifest::Manifest;
use blvm_manifest::NODE_FILE;
use semver::Version;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::host::{ModuleHost, RunningModule};
use crate::topics::Topics;
pub use error::{BeginError, LoadError, ReloadError, UnloadError};
use fresh::Fresh;
pub use info::{ExitReason, Health, ModuleInfo, ModuleState, TopicInfo};
use known::{Found, Known};
use logs::Logs;
use plan::Plan;
use process::Ending;
pub use restart::RestartPolicy;
use supervise::{Order, Stopped, Supervisor};

/// How modules are found and kept at work.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Each directory in it with a `module.toml` is a module.
    pub modules_directory: Option<PathBuf>,
    /// Whether the modules directory may be missing: then it holds nothing yet.
    pub may_lack_modules_directory: bool,
    /// Where programs of modules are looked for besides their own directories.
    pub build_directory: PathBuf,
    /// Where each module's log stands; none is written without it.
    pub log_directory: Option<PathBuf>,
    /// The operator's file, which then has to be there; read anew whenever a module is loaded or reloaded.
    pub config: Option<PathBuf>,
    /// The node's data directory: without [`Self::config`] its `blvm.toml` is read, if there is one.
    pub data_directory: Option<PathBuf>,
    /// Loads nothing that is not signed by people the operator trusts, whatever `blvm.toml` says.
    pub require_signatures: bool,
    /// Time a module has after SIGTERM, before SIGKILL.
    pub terminate_deadline: Duration,
    /// When crashed modules are started again.
    pub restart: RestartPolicy,
}

impl ManagerOptions {
    /// No modules directory, programs in `build_directory`, no logs, no operator's file; 3 s after SIGTERM.
    pub fn new(build_directory: impl Into<PathBuf>) -> Self {
        ManagerOptions {
            modules_directory: None,
            may_lack_modules_directory: false,
            build_directory: build_directory.into(),
            log_directory: None,
            config: None,
            data_directory: None,
            require_signatures: false,
            terminate_deadline: Duration::from_secs(3),
            restart: RestartPolicy::default(),
        }
    }
}

/// The modules of one node. Clones are the same manager.
#[derive(Clone)]
pub struct ModuleManager {
    inner: Arc<Inner>,
}

/// What all of the manager's tasks share.
struct Inner {
    host: Arc<ModuleHost>,
    options: ManagerOptions,
    node_version: Version,
    known: Known,
    logs: Logs,
    /// Whether the node ends.
    closing: CancellationToken,
    /// Whether there was an operator's file: it must not vanish, and its rules with it.
    had_node_file: AtomicBool,
    /// Looks through the modules directory by the watcher, each to its end.
    looks: AtomicU64,
    /// Held while something is loaded, unloaded or reloaded.
    changing: AsyncMutex<Gate>,
}

/// Whether anything is loaded any more.
struct Gate {
    is_open: bool,
}

impl ModuleManager {
    /// A manager without modules. Its calls must be made inside a Tokio runtime.
    pub fn new(host: ModuleHost, topics: Arc<Topics>, options: ManagerOptions) -> Self {
        let host = Arc::new(host);
        let known = Known::new(topics, host.directory());
        let changing = AsyncMutex::new(Gate { is_open: true });
        let node_version = node_version();
        let logs = Logs::new(options.log_directory.clone());
        let had_node_file = options.data_directory.as_ref().is_some_and(|data| data.join(NODE_FILE).exists());
        ModuleManager {
            inner: Arc::new(Inner {
                host,
                options,
                node_version,
                known,
                logs,
                closing: CancellationToken::new(),
                had_node_file: AtomicBool::new(had_node_file),
                looks: AtomicU64::new(0),
                changing,
            }),
        }
    }

    /// What starts its modules and serves them.
    pub fn host(&self) -> &ModuleHost {
        &self.inner.host
    }

    /// Looks through the modules directory, on the caller's thread. What cannot be read is logged and left out; the others are
    /// known afterwards.
    pub fn discover(&self) {
        watch::look(&self.inner, false);
    }

    /// Looks through the modules directory every second from now on, for as long as the manager is there, and says what
    /// changed: `ModuleInstalled`, `ModuleUpdated`, `ModuleRemoved`. With `loads`, what is installed is loaded; with
    /// `unloads`, what is removed is unloaded.
    pub fn watch(&self, loads: bool, unloads: bool) {
        tokio::spawn(watch::watch(Arc::downgrade(&self.inner), loads, unloads));
    }

    /// How often the modules directory was looked through as [`Self::watch`] says, and all that was seen acted upon.
    pub fn looks(&self) -> u64 {
        // Relaxed: whoever sees a look asks for its results under locks.
        self.inner.looks.load(Ordering::Relaxed)
    }

    /// Makes the module in `directory` known, wherever it is.
    ///
    /// # Errors
    ///
    /// [`LoadError::Manifest`], and [`LoadError::SameName`] if another directory has that name already.
    pub fn add_directory(&self, directory: &Path) -> Result<String, LoadError> {
        let manifest = Manifest::read(directory, &self.inner.options.build_directory)?;
        self.add(Found { directory: Some(directory.to_owned()), text: None, manifest })
    }

    /// Makes a module known whose manifest is part of this program.
    ///
    /// # Errors
    ///
    /// As [`Self::add_directory`].
    pub fn add_text(&self, text: &'static str) -> Result<String, LoadError> {
        let manifest = Manifest::read_text(text, &self.inner.options.build_directory)?;
        self.add(Found { directory: None, text: Some(text), manifest })
    }

    fn add(&self, found: Found) -> Result<String, LoadError> {
        let name = found.manifest.name.clone();
        if self.inner.known.add(found) { Ok(name) } else { Err(LoadError::SameName { name }) }
    }

    /// Starts a module, after those it needs that are not loaded yet, and waits until it is at work. What is in their
    /// directories is read anew.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; then no process of it is left. What it needs and got to work stays.
    pub async fn load(&self, name: &str) -> Result<ModuleInfo, LoadError> {
        self.load_from(None, name).await
    }

    /// Takes manifests from `read`, where they were read already.
    async fn load_from(&self, read: Option<Fresh>, name: &str) -> Result<ModuleInfo, LoadError> {
        let (manager, name) = (self.clone(), name.to_owned());
        // A task of its own: what was begun is brought to its end, whether the caller waits for it or not.
        let load = tokio::spawn(async move { manager.load_now(read, &name).await });
        load.await.unwrap_or(Err(LoadError::Stopping))
    }

    async fn load_now(&self, read: Option<Fresh>, name: &str) -> Result<ModuleInfo, LoadError> {
        let gate = self.inner.changing.lock().await;
        if !gate.is_open {
            return Err(LoadError::Stopping);
        }
        let known = &self.inner.known;
        if known.is_loaded(name) {
            return Err(LoadError::Loaded { name: name.to_owned() });
        }
        if !known.contains(name) {
            self.look_again().await?;
        }
        // What it needs may be another version than when it was found; what is wrong there is told when it is loaded.
        let fresh = match read {
            Some(fresh) => fresh,
            None => self.read_unloaded().await?,
        };
        fresh.for_each(|manifest| known.set_manifest(manifest));
        let manifest = self.take(&fresh, name).await?;
        known.set_manifest(&manifest);
        for needed in known.graph(None).load_order_of(name)?.into_iter().filter(|needed| needed != name) {
            if !known.is_loaded(&needed) {
                self.load_one(self.take(&fresh, &needed).await?).await?;
            }
        }
        self.load_one(manifest).await?;
        self.info(name).ok_or_else(|| self.inner.unknown(name))
    }

    /// Loads every known module that is enabled and not loaded, each after those it needs; answers what was not loaded. What is
    /// in their directories is read once, at the beginning.
    pub async fn load_all(&self) -> Vec<(String, LoadError)> {
        let fresh = match self.read_unloaded().await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, "the manifests of modules were not read");
                return Vec::new();
            }
        };
        fresh.for_each(|manifest| self.inner.known.set_manifest(manifest));
        let resolution = self.inner.known.graph(None).resolve();
        for ignored in &resolution.ignored {
            tracing::warn!("an optional module is left out: {ignored}");
        }
        let mut failed: Vec<_> =
            resolution.refused.into_iter().map(|(name, error)| (name, error.into())).collect();
        for name in resolution.order {
            match self.load_from(Some(fresh.clone()), &name).await {
                Ok(_) => {}
                // Loaded meanwhile because another one needs it.
                Err(LoadError::Loaded { .. }) => {}
                Err(LoadError::LeftOut { source, .. }) => {
                    tracing::info!(module = name, "not loaded: {source}")
                }
                Err(error) => failed.push((name, error)),
            }
        }
        failed
    }

    async fn load_one(&self, manifest: Manifest) -> Result<(), LoadError> {
        let inner = &self.inner;
        let name = &manifest.name.clone();
        let plan = inner.plan(manifest).await?;
        if let Some(pid) = inner.known.living(name) {
            let source = BeginError::StillRunning { pid };
            return Err(LoadError::Begin { name: name.to_owned(), source });
        }
        inner.known.set_manifest(&plan.manifest);
        inner.known.set_state(name, ModuleState::Starting);
        match inner.begin(&plan, None, BTreeMap::new()).await {
            Ok(process) => {
                inner.adopt(process, plan, true);
                Ok(())
            }
            Err(source) => {
                inner.known.set_state(name, ModuleState::Failed);
                Err(LoadError::Begin { name: name.to_owned(), source })
            }
        }
    }

    /// Ends a module, and before it those that need it; answers the names of those that were ended, in order. For each it takes
    /// no longer than its deadlines.
    ///
    /// # Errors
    ///
    /// [`UnloadError`].
    pub async fn unload(&self, name: &str) -> Result<Vec<String>, UnloadError> {
        let (manager, asked) = (self.clone(), name.to_owned());
        // A task of its own, as for a load.
        let unload = tokio::spawn(async move { manager.unload_now(&asked).await });
        unload.await.unwrap_or_else(|_| Err(UnloadError::Unknown { name: name.to_owned() }))
    }

    async fn unload_now(&self, name: &str) -> Result<Vec<String>, UnloadError> {
        let _gate = self.inner.changing.lock().await;
        let inner = &self.inner;
        if !inner.known.is_loaded(name) {
            return Err(match inner.known.info(name) {
                Some(info) => UnloadError::NotLoaded { name: name.to_owned(), state: info.state },
                None => UnloadError::Unknown { name: name.to_owned() },
            });
        }
        let mut order = inner.known.graph(None).unload_order_of(name);
        order.retain(|name| inner.known.is_loaded(name));
        for name in &order {
            inner.end(name, Ending::Asked).await;
            let is_down = inner.known.living(name).is_none();
            inner.known.unloaded(name, if is_down { ModuleState::Stopped } else { ModuleState::Failed });
        }
        Ok(order)
    }

    /// Replaces a module's process by one from what is in its directory now. The old process has exited before the new one
    /// starts, and the new one reads on where the old one had finished. If it does not get to work, the program from before
    /// runs again.
    ///
    /// # Errors
    ///
    /// [`ReloadError`].
    pub async fn reload(&self, name: &str) -> Result<ModuleInfo, ReloadError> {
        let (manager, asked) = (self.clone(), name.to_owned());
        // A task of its own, as for a load.
        let reload = tokio::spawn(async move { manager.reload_now(&asked).await });
        reload.await.unwrap_or_else(|_| {
            let name = name.to_owned();
            Err(ReloadError::Refused { name, source: LoadError::Stopping })
        })
    }

    async fn reload_now(&self, name: &str) -> Result<ModuleInfo, ReloadError> {
        let gate = self.inner.changing.lock().await;
        let inner = &self.inner;
        let named = || name.to_owned();
        let refused = |source| ReloadError::Refused { name: named(), source };
        if !gate.is_open {
            return Err(refused(LoadError::Stopping));
        }
        if !inner.known.contains(name) {
            return Err(ReloadError::Unknown { name: named() });
        }
        if !inner.known.is_loaded(name) {
            return Err(ReloadError::NotLoaded { name: named() });
        }
        // Everything that can be wrong with the new one without starting it is found out before the old one ends.
        let manifest = self.read_again(name).await.map_err(refused)?;
        self.check_dependents(&manifest).map_err(refused)?;
        let plan = inner.plan(manifest).await.map_err(refused)?;
        let Some(old) = inner.end(name, Ending::Asked).await else {
            return Err(ReloadError::NotLoaded { name: named() });
        };
        if let Some(pid) = inner.known.living(name) {
            inner.known.unloaded(name, ModuleState::Failed);
            let still = || BeginError::StillRunning { pid };
            return Err(ReloadError::Down { name: named(), reason: Box::new(still()), source: still() });
        }
        inner.known.set_state(name, ModuleState::Starting);
        let failed = match inner.begin_healthy(&plan, old.process.resume()).await {
            Ok(process) => {
                let pid = process.pid();
                inner.adopt(process, plan, false);
                inner.known.reloaded(name, pid);
                return self.info(name).ok_or(ReloadError::Unknown { name: named() });
            }
            Err(error) => error,
        };
        tracing::warn!(module = name, error = %failed, "the new module does not work: back to the one before");
        let program = Some(old.process.program().clone());
        match inner.begin(&old.plan, program, old.process.resume()).await {
            Ok(process) => {
                inner.adopt(process, old.plan, false);
                Err(ReloadError::RolledBack { name: named(), source: failed })
            }
            Err(source) => {
                inner.known.unloaded(name, ModuleState::Failed);
                Err(ReloadError::Down { name: named(), reason: Box::new(failed), source })
            }
        }
    }

    /// Every known module, by name.
    pub fn list(&self) -> Vec<ModuleInfo> {
        self.inner.known.list()
    }

    /// What is known of one.
    pub fn info(&self, name: &str) -> Option<ModuleInfo> {
        self.inner.known.info(name)
    }

    /// The last process of each loaded module, by name; it may have exited.
    pub fn processes(&self) -> Vec<Arc<RunningModule>> {
        self.inner.known.processes()
    }

    /// Where a module's log stands, if logs are written.
    pub fn log_path(&self, name: &str) -> Option<PathBuf> {
        self.inner.logs.path(name)
    }

    /// Ends all modules, each within its deadlines and all at the same time; nothing is loaded afterwards. `close` closes the
    /// topics: modules read what is left and end by themselves.
    pub async fn shutdown(&self, close: impl FnOnce()) {
        // What is being started is given up: nobody waits for it any more.
        self.inner.closing.cancel();
        self.inner.changing.lock().await.is_open = false;
        // What ends from here on ends because the node does, whether it waits to be asked or not.
        self.inner.known.begin_closing();
        close();
        let ends: Vec<_> = self
            .inner
            .known
            .loaded()
            .into_iter()
            .map(|name| {
                let inner = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    inner.end(&name, Ending::Closed).await;
                    inner.known.unloaded(&name, ModuleState::Stopped);
                })
            })
            .collect();
        for end in ends {
            // A task that panicked has said so.
            let _ = end.await;
        }
    }
}

/// The version of this node, which modules may depend on.
fn node_version() -> Version {
    let number = |text: &str| text.parse().unwrap_or_default();
    Version::new(
        number(env!("CARGO_PKG_VERSION_MAJOR")),
        number(env!("CARGO_PKG_VERSION_MINOR")),
        number(env!("CARGO_PKG_VERSION_PATCH")),
    )
}

impl Inner {
    /// A process that is at work gets its supervisor. With `is_new` the module counts as loaded from here on.
    fn adopt(self: &Arc<Self>, process: Arc<RunningModule>, plan: Arc<Plan>, is_new: bool) {
        let (orders, received) = mpsc::channel(1);
        self.known.adopted(&process, &plan, orders, is_new);
        let supervisor = Supervisor::new(Arc::clone(self), process, plan);
        tokio::spawn(supervisor.go_on(received));
    }

    /// Ends a loaded module's process; `None` if its supervisor has given up meanwhile.
    async fn end(&self, name: &str, ending: Ending) -> Option<Stopped> {
        let orders = self.known.orders(name)?;
        let (answer, stopped) = oneshot::channel();
        orders.send(Order::Stop { ending, answer }).await.ok()?;
        stopped.await.ok()
    }
}
