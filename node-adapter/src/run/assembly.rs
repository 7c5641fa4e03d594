//! Everything `blvm run` starts, in order, and stops in the reverse one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::ScriptBuf;
use blvm_bus::message::system::{NodeShutdown, NodeStartupCompleted};
use blvm_manifest::{ModulesTable, NodeFile};
use tempfile::TempDir;

use super::RunError;
use super::cli::RunArguments;
use super::ledger::Ledger;
use super::operations::NodeOperations;
use super::status::{ModuleStatus, Status};
use crate::demo::wallet::Wallet;
use crate::embedded::{EmbeddedNode, EmbeddedOptions, Network, WireNetwork as _};
use crate::module::{LoadError, ManagerOptions, ModuleHost, ModuleManager, ModuleOptions, PathListener};
use crate::p2p::{self, P2p, P2pOptions};
use crate::rpc;
use crate::source::{EventSink, NetworkApi, NodeApi};
use crate::topics::{Topics, TopicsOptions};

/// The module of a demonstration that names none; its program is built beside this one.
const DEMO_MANIFEST: &str = include_str!("../../../sdk/examples/block-watch/module.toml");

/// Where installed modules stand in the data directory.
const INSTALLED_DIRECTORY: &str = "installed";

/// Where each module works, and may write.
const MODULES_DIRECTORY: &str = "modules";

/// Where each module's log stands.
pub(crate) const LOG_DIRECTORY: &str = "logs";

/// Where the addresses of other nodes are kept.
const ADDRESSES_FILE: &str = "addresses.json";

/// Where the addresses that may not connect are kept.
const BANS_FILE: &str = "bans.json";

/// Where the seed of the keys that mined coins go to is kept.
const SEED_FILE: &str = "regtest-wallet.seed";

/// A running node with its bus and its modules.
pub(crate) struct Assembly {
    pub(crate) topics: Arc<Topics>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) node: Arc<EmbeddedNode>,
    pub(crate) modules: ModuleManager,
    /// What the operator said of modules when the node started.
    modules_table: ModulesTable,
    /// The modules that each must get to work.
    named_modules: Vec<String>,
    /// The peers; who asks about them asks here.
    pub(crate) p2p: Arc<P2p>,
    by_path: Option<PathListener>,
    rpc: Option<rpc::Server>,
    datadir: PathBuf,
    /// Removed with all that is in it when the assembly is dropped.
    _temporary: Option<TempDir>,
}

impl Assembly {
    /// Opens everything but the modules.
    pub(crate) async fn open(arguments: &RunArguments) -> Result<Self, RunError> {
        match blvm_sandbox::protect_this_process() {
            Ok(()) => {}
            Err(error) if arguments.allow_weak_isolation => {
                tracing::warn!(%error, "the node's own process is not protected");
            }
            Err(error) => return Err(error.into()),
        }
        let (datadir, temporary) = data_directory(arguments)?;
        let topics = Arc::new(Topics::create(TopicsOptions::default())?);
        let ledger = Arc::new(Ledger::new(Arc::clone(&topics) as Arc<dyn EventSink>, arguments.demo));
        let sink = Arc::clone(&ledger) as Arc<dyn EventSink>;
        let (feed, news) = p2p::feed(Arc::clone(&sink));
        let mut options = EmbeddedOptions::new(&datadir, arguments.network);
        options.reindexes = arguments.reindex;
        // Opening reads the whole chain: not on a thread that serves others.
        let opened = tokio::task::spawn_blocking(move || EmbeddedNode::open(options, Arc::new(feed)));
        let node = Arc::new(opened.await.map_err(join_error)??);
        let peers = peer_options(arguments, &datadir);
        let p2p = Arc::new(P2p::start(peers, Arc::clone(&node) as Arc<dyn NodeApi>, sink, news).await?);
        let node_file = NodeFile::read(arguments.config.as_deref(), &datadir)?;
        let in_file = |path: &Option<PathBuf>| path.as_ref().map(|path| node_file.resolve(path));
        let options = ModuleOptions {
            data_directory: in_file(&node_file.modules.data_dir)
                .unwrap_or_else(|| datadir.join(MODULES_DIRECTORY)),
            allow_weak_isolation: arguments.allow_weak_isolation,
            limits: arguments.limits.limits(),
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let network_api = Some(Arc::clone(&p2p) as Arc<dyn NetworkApi>);
        let host = ModuleHost::new(Arc::clone(&topics), api, network_api, arguments.network.name(), options)?;
        if let Err(error) = host.write_audit_log(&datadir) {
            tracing::warn!(%error, "the audit logs cannot be written: grants and denials are in this log only");
        }
        let by_path = if arguments.no_attach { None } else { Some(host.listen(&datadir)?) };
        let tip = node.chain_tip();
        topics.publish_system(&NodeStartupCompleted {
            network: arguments.network.name().to_owned(),
            height: tip.height,
            tip: tip.hash,
        });
        tracing::info!(
            network = arguments.network.name(),
            datadir = %datadir.display(),
            peers = ?p2p.local_addrs(),
            height = tip.height,
            "node started"
        );
        let modules_table = node_file.modules.clone();
        let options = manager_options(arguments, &datadir, &node_file)?;
        let modules = ModuleManager::new(host, Arc::clone(&topics), options);
        let mut assembly = Assembly {
            topics,
            ledger,
            node,
            modules,
            modules_table,
            named_modules: Vec::new(),
            p2p,
            by_path,
            rpc: None,
            datadir,
            _temporary: temporary,
        };
        // Before anybody can ask for a module: names belong to those of the command line, and what is there was not installed
        // while the node runs.
        assembly.find_modules(arguments).await?;
        let operations = NodeOperations::new(Arc::clone(&assembly.topics), assembly.modules.clone());
        assembly.rpc = serve_rpc(arguments, &assembly.datadir, operations).await?;
        Ok(assembly)
    }

    /// Makes the modules known that are named on the command line, then those of the modules directory. A demonstration
    /// without any takes the example.
    async fn find_modules(&mut self, arguments: &RunArguments) -> Result<(), RunError> {
        if !self.modules_table.enabled {
            return Ok(());
        }
        for directory in &arguments.modules {
            self.named_modules.push(self.modules.add_directory(directory)?);
        }
        if arguments.demo && arguments.modules.is_empty() {
            self.named_modules.push(self.modules.add_text(DEMO_MANIFEST)?);
        }
        self.look_through_modules_directory().await
    }

    async fn look_through_modules_directory(&self) -> Result<(), RunError> {
        let modules = self.modules.clone();
        // Reads every manifest: not on a thread that serves others.
        tokio::task::spawn_blocking(move || modules.discover()).await.map_err(join_error)
    }

    /// Looks at the disk that holds the data, for ever.
    pub(crate) async fn watch_disk(&self, threshold_bytes: u64) {
        let sink = Arc::clone(&self.ledger) as Arc<dyn EventSink>;
        super::disk::watch(self.datadir.clone(), threshold_bytes, sink).await;
    }

    /// Offers the node the blocks of the files named on the command line.
    pub(crate) async fn import(&self, arguments: &RunArguments) -> Result<(), RunError> {
        for path in &arguments.import {
            let (node, path) = (Arc::clone(&self.node), path.clone());
            let imported = tokio::task::spawn_blocking(move || node.import(&path));
            imported.await.map_err(join_error)??;
        }
        Ok(())
    }

    /// Loads the modules named on the command line, each of which must get to work, then those of the modules directory, of
    /// which some may not.
    pub(crate) async fn start_modules(&self) -> Result<(), RunError> {
        let table = &self.modules_table;
        if !table.enabled {
            tracing::info!("no modules: blvm.toml says modules.enabled = false");
            return Ok(());
        }
        for name in &self.named_modules {
            match self.modules.load(name).await {
                // Somebody was faster by JSON-RPC.
                Ok(_) | Err(LoadError::Loaded { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // An import takes its time: what was installed meanwhile is loaded too.
        self.look_through_modules_directory().await?;
        for (name, error) in self.modules.load_all().await {
            log_failure(&name, &error);
        }
        if table.watch_enabled {
            self.modules.watch(table.watch_auto_load, table.watch_auto_unload);
        }
        Ok(())
    }

    /// Where peers dial.
    pub(crate) fn listen_address(&self) -> Option<SocketAddr> {
        self.p2p.local_addrs().first().copied()
    }

    /// The script mined coins go to.
    pub(crate) fn payout(&self) -> Result<ScriptBuf, RunError> {
        Ok(self.wallet()?.script_pubkey())
    }

    /// Whose coins are mined: its seed is kept in the data directory. It has none of them yet.
    pub(crate) fn wallet(&self) -> Result<Wallet, RunError> {
        let path = self.datadir.join(SEED_FILE);
        let at = |source| RunError::File { path: path.clone(), source };
        let seed = match std::fs::read(&path) {
            Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
                let advice = "a seed has 32 bytes: remove the file to get a new one";
                at(io::Error::new(io::ErrorKind::InvalidData, advice))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = random_seed().map_err(at)?;
                write_private(&path, &seed).map_err(at)?;
                seed
            }
            Err(error) => return Err(at(error)),
        };
        Ok(Wallet::new(&seed))
    }

    /// Does something on the node that takes long, on a thread of its own.
    pub(crate) async fn on_node<T, E>(
        &self,
        payout: &ScriptBuf,
        work: impl FnOnce(&EmbeddedNode, &ScriptBuf) -> Result<T, E> + Send + 'static,
    ) -> Result<T, RunError>
    where
        T: Send + 'static,
        E: Send + 'static,
        RunError: From<E>,
    {
        let (node, payout) = (Arc::clone(&self.node), payout.clone());
        let done = tokio::task::spawn_blocking(move || work(&node, &payout)).await;
        Ok(done.map_err(join_error)??)
    }

    /// How things stand.
    pub(crate) fn status(&self) -> Status {
        let processes = self.modules.processes();
        let modules = processes.iter().map(|process| ModuleStatus {
            name: process.name().to_owned(),
            is_running: !process.has_exited(),
            statistics: process.statistics(),
        });
        Status {
            height: self.node.chain_tip().height,
            mempool: self.node.mempool_size(),
            peers: self.p2p.peer_count(),
            modules: modules.collect(),
        }
    }

    /// Stops everything in order: JSON-RPC, peers, the way in by path, the node's submissions, the bus, then the modules once they have read it all.
    pub(crate) async fn stop(&mut self, reason: &str) {
        if let Some(rpc) = self.rpc.take() {
            rpc.stop().await;
        }
        self.p2p.shutdown().await;
        self.by_path = None;
        // Nothing new from here on; what the node is at now is still published: its mempool answers after that.
        self.node.stop();
        let node = Arc::clone(&self.node);
        if let Err(error) = tokio::task::spawn_blocking(move || node.mempool_transactions().len()).await {
            tracing::error!(%error, "the node does not answer any more");
        }
        self.topics.publish_system(&NodeShutdown { reason: reason.to_owned() });
        self.modules.shutdown(|| self.topics.close()).await;
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        // While the directory is still locked: socket, token and cookie of the next run are not ours to remove.
        self.by_path = None;
        self.rpc = None;
        // Before a temporary directory goes: work that still holds the node must not write there any more.
        self.node.close();
    }
}

/// Where to listen and whom to dial.
fn peer_options(arguments: &RunArguments, datadir: &Path) -> P2pOptions {
    let default_port = if arguments.demo { 0 } else { arguments.network.default_port() };
    let mut listen = arguments.listen.clone();
    if listen.is_empty() {
        listen.push(SocketAddr::from((Ipv4Addr::LOCALHOST, default_port)));
    }
    P2pOptions {
        listen,
        connect: arguments.connect.clone(),
        outbound: arguments.outbound().into(),
        // On regtest all nodes are near.
        dials_local: arguments.network == Network::Regtest,
        seeds: arguments.seeds().iter().map(ToString::to_string).collect(),
        minimum_work: arguments.minimum_work.unwrap_or_else(|| arguments.network.minimum_work()),
        seed_port: arguments.network.default_port(),
        allows_remote_peers: arguments.allow_remote_peers,
        bans: Some(datadir.join(BANS_FILE)),
        addresses: Some(datadir.join(ADDRESSES_FILE)),
        reports_traffic: arguments.traffic_events,
        ..P2pOptions::new(arguments.network.wire())
    }
}

/// JSON-RPC, unless nobody wants it.
async fn serve_rpc(
    arguments: &RunArguments,
    datadir: &Path,
    operations: NodeOperations,
) -> Result<Option<rpc::Server>, RunError> {
    if arguments.no_rpc {
        rpc::Server::clean(datadir);
        return Ok(None);
    }
    let default_port = if arguments.demo { 0 } else { arguments.network.rpc_port() };
    let options = rpc::ServerOptions {
        directory: datadir.to_owned(),
        listen: arguments.rpc_listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, default_port).into()),
        may_move: arguments.rpc_listen.is_none(),
        limits: rpc::Limits::default(),
    };
    Ok(Some(rpc::Server::start(options, Arc::new(operations)).await?))
}

/// Where modules are, and how they are kept at work.
fn manager_options(
    arguments: &RunArguments,
    datadir: &Path,
    node_file: &NodeFile,
) -> Result<ManagerOptions, RunError> {
    let executable = std::env::current_exe().map_err(RunError::Runtime)?;
    let mut options = ManagerOptions::new(executable.parent().unwrap_or(Path::new(".")));
    let asked = arguments.modules_dir.clone();
    let asked = asked.or_else(|| node_file.modules.modules_dir.as_ref().map(|path| node_file.resolve(path)));
    // Nobody makes the usual one before there is something to install.
    options.may_lack_modules_directory = asked.is_none();
    options.modules_directory = Some(asked.unwrap_or_else(|| datadir.join(INSTALLED_DIRECTORY)));
    options.require_signatures = arguments.require_signatures;
    options.config.clone_from(&arguments.config);
    options.data_directory = Some(datadir.to_owned());
    options.log_directory = Some(datadir.join(LOG_DIRECTORY));
    Ok(options)
}

fn log_failure(module: &str, error: &LoadError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(module, error, "a module of the modules directory was not loaded; the node goes on");
}

fn data_directory(arguments: &RunArguments) -> Result<(PathBuf, Option<TempDir>), RunError> {
    if let Some(datadir) = &arguments.datadir {
        return Ok((datadir.clone(), None));
    }
    if arguments.demo {
        let directory =
            tempfile::Builder::new().prefix("blvm-demo-").tempdir().map_err(RunError::Temporary)?;
        return Ok((directory.path().to_owned(), Some(directory)));
    }
    Ok((data_directory_of(None, arguments.network)?, None))
}

/// The directory asked for, or the one where the user's nodes of that network have their data.
pub(crate) fn data_directory_of(asked: Option<&Path>, network: Network) -> Result<PathBuf, RunError> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data_home = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    let data_home = data_home.ok_or(RunError::NoHome)?;
    Ok(data_home.join("blvm").join(network.name()))
}

/// 32 bytes of the system's random numbers.
pub(crate) fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(seed)
}

/// A new file that only its owner may read and write; one that is there already is an error.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}

fn join_error(error: tokio::task::JoinError) -> RunError {
    RunError::Runtime(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: RunArguments,
    }

    #[test]
    fn modules_are_looked_for_in_the_usual_directory_before_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let of = |more: &[&str]| {
            let arguments = Line::try_parse_from([&["run"], more].concat()).unwrap().arguments;
            let node_file = NodeFile::empty(PathBuf::new());
            let options = manager_options(&arguments, directory.path(), &node_file).unwrap();
            (options.modules_directory.unwrap(), options.may_lack_modules_directory)
        };
        assert_eq!(of(&[]), (directory.path().join("installed"), true));
        assert_eq!(of(&["--modules-dir", "/there"]), (PathBuf::from("/there"), false));
    }
}
