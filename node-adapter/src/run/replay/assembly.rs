//! What modules run under while a recording is played: topics, answers, processes. No node.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::super::RunError;
use super::super::assembly::LOG_DIRECTORY;
use super::super::cli::ReplayArguments;
use super::ReplayCommandError;
use crate::embedded::Network;
use crate::module::{LoadError, ManagerOptions, ModuleHost, ModuleManager, ModuleOptions, PathListener};
use crate::replay::ReplayNode;
use crate::source::NodeApi;
use crate::topics::{Topics, TopicsOptions};

/// Where each module works, and may write.
const MODULES_DIRECTORY: &str = "modules";

/// Topics and modules of a replay.
pub(super) struct Stage {
    pub(super) topics: Arc<Topics>,
    pub(super) node: Arc<ReplayNode>,
    pub(super) modules: ModuleManager,
    /// Those that must get to work.
    pub(super) names: Vec<String>,
    by_path: Option<PathListener>,
    /// Removed with all that is in it.
    _temporary: Option<TempDir>,
}

impl Stage {
    /// Everything but the processes of the modules.
    pub(super) fn open(arguments: &ReplayArguments, network: Network) -> Result<Self, RunError> {
        match blvm_sandbox::protect_this_process() {
            Ok(()) => {}
            Err(error) if arguments.allow_weak_isolation => {
                tracing::warn!(%error, "the node's own process is not protected");
            }
            Err(error) => return Err(error.into()),
        }
        let (datadir, temporary) = data_directory(arguments.datadir.as_deref())?;
        let topics = Arc::new(Topics::create(TopicsOptions::default())?);
        let node = ReplayNode::open(&arguments.file, Arc::clone(&topics), network.name());
        let node = Arc::new(node.map_err(ReplayCommandError::from)?);
        let options = ModuleOptions {
            data_directory: datadir.join(MODULES_DIRECTORY),
            allow_weak_isolation: arguments.allow_weak_isolation,
            limits: arguments.limits.without_clock(),
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let host = ModuleHost::new(Arc::clone(&topics), api, None, network.name(), options)?;
        // Who names a directory may look on: with `blvm tail` and `blvm status`.
        let by_path = if temporary.is_none() { Some(host.listen(&datadir)?) } else { None };
        let executable = std::env::current_exe().map_err(RunError::Runtime)?;
        let mut options = ManagerOptions::new(executable.parent().unwrap_or(Path::new(".")));
        options.config.clone_from(&arguments.config);
        options.log_directory = Some(datadir.join(LOG_DIRECTORY));
        let modules = ModuleManager::new(host, Arc::clone(&topics), options);
        let names = arguments.modules.iter().map(|directory| modules.add_directory(directory));
        let names = names.collect::<Result<_, _>>()?;
        Ok(Stage { topics, node, modules, names, by_path, _temporary: temporary })
    }

    /// Starts the modules; each is at work afterwards.
    pub(super) async fn start_modules(&self) -> Result<(), RunError> {
        for name in &self.names {
            match self.modules.load(name).await {
                // Another one needs it.
                Ok(_) | Err(LoadError::Loaded { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends the modules once they have read everything.
    pub(super) async fn stop(self) {
        drop(self.by_path);
        self.modules.shutdown(|| self.topics.close()).await;
    }
}

fn data_directory(asked: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), RunError> {
    let Some(path) = asked else {
        let directory = tempfile::Builder::new().prefix("blvm-replay-").tempdir();
        let directory = directory.map_err(RunError::Temporary)?;
        return Ok((directory.path().to_owned(), Some(directory)));
    };
    let at = |source| RunError::File { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(at)?;
    if std::fs::read_dir(path).map_err(at)?.next().is_some() {
        return Err(ReplayCommandError::NotEmpty { path: path.to_owned() }.into());
    }
    Ok((path.to_owned(), None))
}
