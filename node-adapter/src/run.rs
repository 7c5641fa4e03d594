//! The program `blvm`. `blvm run`: a node, its bus and its modules, until Ctrl-C or for a given time.
//!
//! | file | what |
//! |---|---|
//! | `cli` | the command line |
//! | `assembly` | everything started in order, and stopped in the reverse one |
//! | `limits` | what one module may ask, from the command line |
//! | `rpc_client` | asking a running node by JSON-RPC |
//! | `rpc_command` | `blvm rpc` |
//! | `module_command` | `blvm module …`, `blvm load`, `unload` and `reload` |
//! | `module_text` | what they say to people |
//! | `module_calls` | methods and commands of modules, through JSON-RPC |
//! | `module_json` | what a module answers, as a bounded JSON value |
//! | `module_cli` | `blvm NAME COMMAND…`: the commands of modules |
//! | `module_logs` | `blvm module logs` |
//! | `trust_command` | `blvm module sign` and `verify`: who answers for a module |
//! | `operations` | what JSON-RPC asks of the node |
//! | `operator` | commands on the standard input |
//! | `pay` | payments of the node's own coins to itself |
//! | `status` | the line per second |
//! | `ledger` | what the node did, for the report and the demonstration |
//! | `demo` | `--demo`: traffic of every kind, then a proof |
//! | `report` | the last line |
//! | `node_status` | `blvm status`: how a running node stands |
//! | `doctor` | `blvm doctor`: what the host can enforce |
//! | `attach` | attaching to a running node by its directory |
//! | `disk` | a look at the disk now and then |
//! | `config_command` | `blvm config`, `blvm configpath`: the configuration of modules |
//! | `tail` | `blvm tail`: what a running node publishes |
//! | `record` | `blvm record`: what a running node publishes, in a file |
//! | `replay` | `blvm replay`: a recording played to modules |

mod assembly;
mod attach;
mod cli;
mod config_command;
mod demo;
mod disk;
mod doctor;
mod ledger;
mod limits;
mod module_calls;
mod module_cli;
mod module_command;
mod module_json;
mod module_logs;
mod module_metrics;
mod module_text;
mod node_status;
mod operations;
mod operator;
mod pay;
mod record;
mod replay;
mod report;
mod rpc_client;
mod rpc_command;
mod status;
mod tail;
mod trust_command;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bitcoin::ScriptBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::embedded::{MineError, Network, ReorgError};
use crate::module::{ListenError, LoadError};
use crate::p2p::BindError;
use crate::topics::TopicsError;
use assembly::Assembly;
use cli::{ModuleCommand, RunArguments};

/// What is logged unless `BLVM_LOG` says otherwise.
const DEFAULT_LOG: &str = "info,kernel=warn";

/// How often modules are looked for that are still there after the second signal.
const HASTE: Duration = Duration::from_millis(100);

/// Why `blvm run` ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Only regtest has blocks mined here.
    #[error("{what} is possible on regtest only, not on {network}: proof of work is not trivial there")]
    RegtestOnly {
        /// What was asked for.
        what: &'static str,
        /// The network.
        network: Network,
    },
    /// Blocks could not be read from a file.
    #[error(transparent)]
    Import(#[from] crate::embedded::ImportError),
    /// No place for the data.
    #[error("there is no home directory for the node's data: give one with --datadir")]
    NoHome,
    /// The temporary directory could not be made.
    #[error("a temporary data directory cannot be made: give one with --datadir")]
    Temporary(#[source] io::Error),
    /// The node's own process could not be protected from its modules.
    #[error(
        "the node's process cannot be protected from its modules; --allow-weak-isolation goes on without"
    )]
    Protect(#[from] blvm_sandbox::ProtectError),
    /// The bus could not be set up.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// The node could not be opened.
    #[error(transparent)]
    Open(#[from] crate::embedded::OpenError),
    /// The port could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The thread that spawns modules could not be started.
    #[error(transparent)]
    Spawner(#[from] blvm_sandbox::StartError),
    /// Nobody could attach by path.
    #[error(transparent)]
    Attach(#[from] ListenError),
    /// The operator's file is wrong.
    #[error(transparent)]
    NodeFile(#[from] blvm_manifest::FileError),
    /// JSON-RPC cannot be served.
    #[error(transparent)]
    Rpc(#[from] crate::rpc::ServeError),
    /// A module was not loaded.
    #[error(transparent)]
    Module(#[from] LoadError),
    /// A block could not be mined.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// Not every payment was made.
    #[error(transparent)]
    Pay(#[from] pay::PayError),
    /// A reorganisation could not be made.
    #[error(transparent)]
    Reorganise(#[from] ReorgError),
    /// A file of the node could not be written or read.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime, its signals or one of its tasks failed.
    #[error("the program cannot go on; is a limit on threads or descriptors reached (ulimit -a)?")]
    Runtime(#[source] io::Error),
    /// The standard output was closed.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    /// No running node could be reached.
    #[error(transparent)]
    Reach(#[from] attach::AttachError),
    /// A running node did not answer.
    #[error(transparent)]
    Status(#[from] node_status::StatusError),
    /// A topic could not be shown.
    #[error(transparent)]
    Tail(#[from] tail::TailError),
    /// Nothing could be recorded, or not further.
    #[error(transparent)]
    Record(#[from] record::RecordError),
    /// A recording could not be played, or not to its end.
    #[error(transparent)]
    Replay(#[from] replay::ReplayCommandError),
    /// A configuration was not shown or changed.
    #[error(transparent)]
    Config(#[from] config_command::ConfigCommandError),
    /// A running node did not do what it was asked by JSON-RPC.
    #[error(transparent)]
    Ask(#[from] rpc_client::AskError),
    /// A module was not signed, or is not trusted.
    #[error(transparent)]
    Trust(#[from] trust_command::TrustCommandError),
    /// It was asked a second time to stop.
    #[error(
        "asked twice to stop: the node's state is written, but its modules were killed before they had finished"
    )]
    CutShort,
    /// A module has never printed anything.
    #[error("there is no log of a module {name}: it would be {}; blvm module list says what there is", path.display())]
    NoLog {
        /// Which.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The command line asks for something that is not there.
    #[error("{0}; see blvm --help")]
    Usage(String),
    /// The demonstration went wrong.
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
}

/// The whole program: reads the command line, runs, and answers with 0 done, 1 failed, 2 wrong use.
pub fn main() -> ExitCode {
    let (command, node) = match cli::parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    if let Err(code) = start_logging() {
        return code;
    }
    let outcome = match command {
        cli::Command::Run(arguments) => block_on(run(*arguments)),
        cli::Command::Status(arguments) => block_on(node_status::run(arguments)),
        cli::Command::Doctor(arguments) => block_on(doctor::run(arguments)),
        cli::Command::Tail(arguments) => block_on(tail::run(arguments)),
        cli::Command::Record(arguments) => block_on(record::run(arguments)),
        cli::Command::Replay(arguments) => block_on(replay::run(*arguments)),
        cli::Command::Config(command) => config_command::run(&command),
        cli::Command::ConfigPath(arguments) => config_command::path(&arguments),
        cli::Command::Rpc(arguments) => block_on(rpc_command::run(arguments)),
        cli::Command::Module(arguments) => block_on(module_command::run(arguments.command)),
        cli::Command::Load(arguments) => block_on(module_command::run(ModuleCommand::Load(arguments))),
        cli::Command::Unload(arguments) => block_on(module_command::run(ModuleCommand::Unload(arguments))),
        cli::Command::Reload(arguments) => block_on(module_command::run(ModuleCommand::Reload(arguments))),
        cli::Command::Other(words) => block_on(module_cli::run(words, node)),
        cli::Command::DemoPeer(arguments) => block_on(demo::peer(arguments)),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            if matches!(error, RunError::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn start_logging() -> Result<(), ExitCode> {
    let wanted = std::env::var("BLVM_LOG").unwrap_or_else(|_| DEFAULT_LOG.to_owned());
    let filter = tracing_subscriber::EnvFilter::builder().parse(&wanted).map_err(|error| {
        eprintln!("blvm: BLVM_LOG=\"{wanted}\" cannot be read: {error}; try BLVM_LOG={DEFAULT_LOG}");
        ExitCode::from(2)
    })?;
    // Logs go to stderr: stdout belongs to the status and the report. A second start keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .try_init();
    Ok(())
}

fn block_on(work: impl Future<Output = Result<ExitCode, RunError>>) -> Result<ExitCode, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(work)
}

async fn run(arguments: RunArguments) -> Result<ExitCode, RunError> {
    refuse_mining(&arguments)?;
    // Signals first: a Ctrl-C during the start must still clean up.
    let mut stop = StopSignals::listen()?;
    if arguments.demo {
        return demo::run(&arguments, &mut stop).await;
    }
    let mut assembly = Assembly::open(&arguments).await?;
    let outcome = serve(&arguments, &assembly, &mut stop).await;
    let reason = if outcome.is_ok() { "it was asked to" } else { "it failed" };
    let was_cut_short = stop_in_order(&mut assembly, reason, &mut stop).await;
    outcome?;
    report::print_summary(&report::Report::new(&assembly), arguments.json)?;
    if was_cut_short { Err(RunError::CutShort) } else { Ok(ExitCode::SUCCESS) }
}

/// Stops everything in order. An interrupt ends the modules at once; the node still writes its state. Answers whether a module
/// was ended that way.
///
/// Another SIGTERM is no haste: a service manager sends it when the program of `ExecStop`, `blvm rpc stop` say, has ended.
async fn stop_in_order(assembly: &mut Assembly, reason: &str, stop: &mut StopSignals) -> bool {
    let modules = assembly.modules.clone();
    let (mut is_in_haste, mut has_killed) = (false, false);
    let mut stopping = std::pin::pin!(assembly.stop(reason));
    loop {
        tokio::select! {
            () = &mut stopping => return has_killed,
            () = stop.interrupted() => {
                is_in_haste = true;
                tracing::warn!("asked again to stop: modules are not waited for any longer");
            }
            // One that was just being started comes later.
            () = tokio::time::sleep(HASTE), if is_in_haste => {}
        }
        for module in modules.processes().iter().filter(|module| is_in_haste && !module.has_exited()) {
            // It may exit at this very moment: then there is nobody to signal.
            has_killed |= module.signal(nix::sys::signal::Signal::SIGKILL).is_ok();
        }
    }
}

/// Blocks are mined here on regtest only.
fn refuse_mining(arguments: &RunArguments) -> Result<(), RunError> {
    let network = arguments.network;
    if network == Network::Regtest {
        return Ok(());
    }
    let what = if arguments.demo {
        "--demo"
    } else if arguments.mine_first > 0 {
        "--mine-first"
    } else if !arguments.mine_interval().is_zero() {
        "--mine-interval"
    } else {
        return Ok(());
    };
    Err(RunError::RegtestOnly { what, network })
}

async fn serve(
    arguments: &RunArguments,
    assembly: &Assembly,
    stop: &mut StopSignals,
) -> Result<(), RunError> {
    tokio::select! {
        imported = assembly.import(arguments) => imported?,
        () = stop.wait() => return Ok(()),
    }
    tokio::select! {
        mined = mine_first(arguments.mine_first, assembly) => mined?,
        () = stop.wait() => return Ok(()),
    }
    tokio::select! {
        started = assembly.start_modules() => started?,
        () = stop.wait() => return Ok(()),
    }
    let end = arguments.duration.map(|duration| Instant::now() + duration);
    tokio::select! {
        outcome = work(arguments, assembly) => outcome,
        () = assembly.watch_disk(arguments.low_disk) => Ok(()),
        () = until(end) => Ok(()),
        () = stop.wait() => Ok(()),
    }
}

/// Mines, shows the status and does what the operator asks, until the operator stops it.
async fn work(arguments: &RunArguments, assembly: &Assembly) -> Result<(), RunError> {
    let payout = assembly.payout()?;
    let mut operator = operator::Operator::listen();
    let mut seconds = every(Duration::from_secs(1));
    let mine_interval = arguments.mine_interval();
    let mut mining = every(mine_interval);
    mining.reset();
    loop {
        tokio::select! {
            _ = seconds.tick() => status::print(&assembly.status(), arguments.json)?,
            _ = mining.tick(), if !mine_interval.is_zero() => mine(assembly, &payout).await?,
            command = operator.next() => {
                if operator::carry_out(command, assembly, &payout).await.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// Mines blocks that no module sees come.
async fn mine_first(blocks: u32, assembly: &Assembly) -> Result<(), RunError> {
    let payout = assembly.payout()?;
    for _ in 0..blocks {
        assembly.on_node(&payout, |node, payout| node.mine_block(payout)).await?;
    }
    Ok(())
}

async fn mine(assembly: &Assembly, payout: &ScriptBuf) -> Result<(), RunError> {
    match assembly.on_node(payout, |node, payout| node.mine_block(payout)).await {
        // The engine does not like this block; the next one may do.
        Err(RunError::Mine(error @ MineError::Refused { .. })) => {
            tracing::error!(%error, "a block was not mined");
            Ok(())
        }
        // Anything else is for good.
        outcome => outcome.map(|_| ()),
    }
}

/// Ctrl-C and SIGTERM.
pub(crate) struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, RunError> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt()).map_err(RunError::Runtime)?,
            terminate: signal(SignalKind::terminate()).map_err(RunError::Runtime)?,
        })
    }

    /// Waits for Ctrl-C.
    async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }

    /// Waits for one of them.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ticks at a steady rate; late ticks are not made up for. A zero period ticks hourly: its user disables it.
pub(crate) fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(if period.is_zero() { Duration::from_secs(3600) } else { period });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until `end`, or for ever without one.
pub(crate) async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
