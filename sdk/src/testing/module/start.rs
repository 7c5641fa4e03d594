//! Starting a module under test: its configuration, its rights, its name.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use blvm_bus::request::{LoadedModule, Permission};

use super::TestModule;
use super::lives::{Life, Lives};
use crate::config::{self, ConfigError};
use crate::module::probe::TimedOut;
use crate::module::{Module, Observer, RunError, run_again, topics, work};
use crate::session::{Session, SessionError};
use crate::testing::TestNode;
use crate::testing::grants::{Grants, Read};

/// The manifest of the package under test, beside its `Cargo.toml`.
const MANIFEST_FILE: &str = "module.toml";

/// A module about to be started under a [`TestNode`].
///
/// It may do what the `module.toml` of the package under test asks for, if there is one, and everything if there is none.
#[must_use = "start() it"]
pub struct ModuleTest<M> {
    node: TestNode,
    settings: String,
    manifest: Manifest,
    name: Option<String>,
    is_by_path: bool,
    module: PhantomData<fn() -> M>,
}

/// Where the module's rights come from.
enum Manifest {
    OfPackage,
    Text(String),
    Grants(Grants),
}

impl<M> Debug for ModuleTest<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleTest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<M: Module> ModuleTest<M> {
    pub(in crate::testing) fn new(node: TestNode) -> Self {
        let (settings, manifest) = (String::new(), Manifest::OfPackage);
        ModuleTest { node, settings, manifest, name: None, is_by_path: false, module: PhantomData }
    }

    /// With this configuration (TOML); with none it is empty.
    pub fn settings(self, toml: &str) -> Self {
        ModuleTest { settings: toml.to_owned(), ..self }
    }

    /// With the rights that this text of a `module.toml` asks for, and no others.
    pub fn manifest(self, module_toml: &str) -> Self {
        ModuleTest { manifest: Manifest::Text(module_toml.to_owned()), ..self }
    }

    /// With these rights, and no others.
    pub fn permissions(self, permissions: &[Permission]) -> Self {
        ModuleTest { manifest: Manifest::Grants(Grants::of(permissions)), ..self }
    }

    /// With all rights, whatever the package's manifest asks for.
    pub fn all_permissions(self) -> Self {
        ModuleTest { manifest: Manifest::Grants(Grants::all()), ..self }
    }

    /// Under this name, for tests with several; else under that of the manifest, or of the module.
    pub fn name(self, name: &str) -> Self {
        ModuleTest { name: Some(name.to_owned()), ..self }
    }

    /// As a program that no node has started, by [`run_by_path`](crate::module::run_by_path): it may read everything and change
    /// nothing, offers no methods and commands, and when the node is gone it waits for the next one, with which it is built anew.
    pub fn by_path(self) -> Self {
        ModuleTest { is_by_path: true, ..self }
    }

    /// Starts it. It is at work when this returns: it was built, and everything it offers is registered.
    ///
    /// # Errors
    ///
    /// [`RunError`] as [`serve`](crate::module::serve) gives it: among them what the node refuses, settings that cannot be read,
    /// and what the module's `new` failed with.
    ///
    /// # Panics
    ///
    /// If the manifest cannot be read, or the module does not start within the node's limit.
    #[track_caller]
    pub fn start(self) -> Result<TestModule<M>, RunError> {
        let ModuleTest { node, settings, manifest, name, is_by_path, .. } = self;
        let Read { name: named, version, grants } = manifest.read();
        let name = name.or(named).unwrap_or_else(|| M::NAME.to_owned());
        let module = LoadedModule { name, version: version.unwrap_or_else(|| "0.1.0".to_owned()) };
        let lives = Arc::new(Lives::<M>::new(is_by_path));
        let run: Box<dyn FnOnce() -> Result<(), RunError> + Send> = if is_by_path {
            let (node, lives) = (node.clone(), Arc::clone(&lives));
            Box::new(move || by_path(&node, &lives, &module, &settings))
        } else {
            let connection = node.connect(module, grants, settings);
            let life = Life::new(connection.party);
            lives.begins(&life);
            let (socket, wake) = (connection.socket, connection.wake);
            Box::new(move || {
                let session = Session::attach_over(socket, wake, topics::<M>(), M::WAIT)?;
                let settings = session.config_as();
                live(&life, session, settings, true)
            })
        };
        let thread = {
            let lives = Arc::clone(&lives);
            let run = move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                lives.ends(outcome.unwrap_or_else(|panic| {
                    let message = crate::module::panic_message(&*panic);
                    Err(RunError::New { error: crate::module::Error::new(format!("it panicked: {message}")) })
                }));
            };
            let thread = std::thread::Builder::new().name(M::NAME.to_owned()).spawn(run);
            thread.unwrap_or_else(|error| panic!("the module cannot be started: {error}"))
        };
        let module = TestModule { node, lives, thread: Some(thread) };
        match module.lives.at_work(module.limit()) {
            Ok(Some(_)) => Ok(module),
            Ok(None) => match module.wait_ended() {
                Ok(()) => panic!("module {} ended before it was at work", M::NAME),
                Err(error) => Err(error),
            },
            Err(TimedOut) => panic!("module {} did not start within {:?}", M::NAME, module.limit()),
        }
    }
}

/// A life, until its end.
fn live<M: Module>(
    life: &Life<M>,
    session: Session,
    settings: Result<M::Settings, ConfigError>,
    offers: bool,
) -> Result<(), RunError> {
    life.party.state().leases = session.leases();
    let observer = Observer::of(Arc::clone(&life.probe));
    let outcome = settings
        .map_err(RunError::from)
        .and_then(|settings| work::<M>(session, settings, offers, observer, Arc::clone(&life.callee)));
    life.probe.ends();
    outcome
}

/// A life with each node that comes, until the test has enough of it.
fn by_path<M: Module>(
    node: &TestNode,
    lives: &Lives<M>,
    module: &LoadedModule,
    config: &str,
) -> Result<(), RunError> {
    let life = std::cell::RefCell::new(None);
    let attach = || {
        let connected = node.connect_by_path(module.clone());
        let (party, socket, token) = connected.ok_or_else(|| SessionError::Connect {
            path: PathBuf::from("(the test node)"),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let session = Session::authenticate(socket, &token, topics::<M>(), M::WAIT)?;
        let begun = Life::new(party);
        lives.begins(&begun);
        if lives.is_unwanted() {
            // Ended meanwhile, by who could not know of this life.
            begun.party.hang_up();
        }
        *life.borrow_mut() = Some(begun);
        Ok(session)
    };
    let work = |session| match life.borrow_mut().take() {
        Some(life) => live(&life, session, config::read(config, &[], M::NAME), false),
        None => Ok(()),
    };
    // A pause ends with the node's return: no test waits for it.
    let pause = |_: Duration| {
        let inner = node.inner();
        let is_awaited = |world: &mut crate::testing::world::World| !world.is_up() && !lives.is_unwanted();
        let waited = inner.changed.wait_while(inner.world(), is_awaited);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !lives.is_unwanted()
    };
    run_again::<M>(attach, work, pause).map_or(Ok(()), Err)
}

impl Manifest {
    #[track_caller]
    fn read(self) -> Read {
        let read = |text: &str, of: &str| match Grants::read(text) {
            Ok(read) => read,
            Err(error) => panic!("{of} cannot be read: {error}"),
        };
        match self {
            Manifest::Grants(grants) => Read { grants, ..Read::default() },
            Manifest::Text(text) => read(&text, "the manifest of the test"),
            Manifest::OfPackage => {
                // Cargo says it to every test that it runs.
                let Some(package) = std::env::var_os("CARGO_MANIFEST_DIR") else {
                    panic!(
                        "what the module may do is not known: Cargo has not started this test, and CARGO_MANIFEST_DIR is not set; set it, or say it with .manifest(include_str!(\"../module.toml\")) or .all_permissions()"
                    )
                };
                let path = Path::new(&package).join(MANIFEST_FILE);
                match std::fs::read_to_string(&path) {
                    Ok(text) => read(&text, &path.display().to_string()),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        Read { grants: Grants::all(), ..Read::default() }
                    }
                    Err(error) => panic!("{} cannot be read: {error}", path.display()),
                }
            }
        }
    }
}
