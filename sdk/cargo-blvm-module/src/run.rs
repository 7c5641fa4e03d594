//! `run`: a module under a regtest node of its own, which is thrown away.
//!
//! The node is a process group of its own, so that Ctrl-C reaches it once, from here, and not a second time from the terminal;
//! and it ends with this process, however that ends.

mod audit;
mod find;
mod log;
mod report;
mod scenario;
mod watch;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use blvm_manifest::{CONFIG_FILE, MANIFEST_FILE};
use clap::Args;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use serde_json::json;
use tempfile::TempDir;

use crate::compile::{Built, CargoArguments, compile};
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::Project;
use crate::signals::Signals;
use scenario::{Scenario, ScenarioError};
use watch::Watch;

/// Why a module did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(
        "there is no node to run it under: no blvm beside this program, in PATH or in {}; build it there (`make build`), or give its path with --blvm",
        workspace.display()
    )]
    NoNode { workspace: PathBuf },
    #[error("{} is no program: give the path of blvm with --blvm", path.display())]
    NotThere { path: PathBuf },
    #[error("the node {} cannot be started", path.display())]
    Start {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the node did not end well ({status}): what it says stands above")]
    Node { status: ExitStatus },
    #[error("module {name} never got to work{}", last_words(words))]
    NeverAttached { name: String, words: Vec<String> },
    #[error("module {name} was refused {count} {} for want of permissions: what module.toml has to say stands above", if *count == 1 { "kind of request" } else { "kinds of requests" })]
    Denied { name: String, count: usize },
    #[error("module {name} ended {count} {} and was started again: its last words stand above", if *count == 1 { "time" } else { "times" })]
    Restarted { name: String, count: usize },
    #[error("Ctrl-C cannot be listened for")]
    Signals(#[source] nix::Error),
    #[error("the process that started this one has ended")]
    Orphan,
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    File(#[from] FileFault),
}

/// Blocks before a scenario with payments: the coins of ten may be spent.
const BLOCKS_FOR_COINS: u32 = 110;

fn last_words(words: &[String]) -> String {
    if words.is_empty() {
        ", and said nothing".to_owned()
    } else {
        format!("; its last words: {}", words.join(" | "))
    }
}

/// Build a module and run it under a throw-away regtest node until Ctrl-C.
///
/// Prints what the module prints, and which requests were refused it for want of permissions: then the exit status is 1. The node's data is in a temporary directory, removed at the end. Lines on the standard input
/// go to the node: `mine 3`, `pay 5`, `reorganise 2`, `help`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module run
  cargo blvm-module run --for 10s --mine-interval 500ms
  cargo blvm-module run --tour                      # blocks, payments, a reorganisation
  cargo blvm-module run --scenario steps.txt --json
  cargo blvm-module run --blvm ~/bus/target/release/blvm
  cargo blvm-module run -- --traffic-events")]
pub(crate) struct RunArguments {
    /// Directory of the module.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,

    #[command(flatten)]
    cargo: CargoArguments,

    /// The node's program; without it the `blvm` beside this one, in PATH, or in the target directory of the SDK's workspace.
    #[arg(long, value_name = "PATH")]
    blvm: Option<PathBuf>,

    /// Time between two mined blocks; 0s mines none. Without it 2s, and none in a scenario.
    #[arg(long, value_name = "TIME")]
    mine_interval: Option<String>,

    /// Blocks that are mined before the module starts. Without it 110 if the scenario has payments, so that there are coins to pay with.
    #[arg(long, value_name = "N")]
    mine_first: Option<u32>,

    /// Play the steps of a file once the module has attached, a line each: mine [N], pay [N], reorganise DEPTH, clear-mempool,
    /// wait TIME, stop.
    #[arg(long, value_name = "FILE", conflicts_with = "tour")]
    scenario: Option<PathBuf>,

    /// Play a scenario that brings about each kind of event of the chain and the mempool, and end.
    #[arg(long)]
    tour: bool,

    /// Stop after this time.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,

    /// Run the module even where this host cannot isolate it as the node demands.
    #[arg(long)]
    allow_weak_isolation: bool,

    /// More options of `blvm run`.
    #[arg(last = true, value_name = "OPTION")]
    rest: Vec<String>,
}

/// `run`.
pub(crate) fn run(arguments: &RunArguments, output: Output) -> Result<(), ToolError> {
    let project = Project::read(&arguments.path)?;
    let blvm = find::node(arguments.blvm.as_deref())?;
    let scenario = match &arguments.scenario {
        Some(path) => Some(Scenario::read(path).map_err(RunError::from)?),
        None if arguments.tour => Some(Scenario::tour().map_err(RunError::from)?),
        None => None,
    };
    let name = &project.manifest.name;
    let building = json!({ "event": "building", "module": name });
    output.progress(&format!("building {name}"), &building)?;
    let built = compile(&project, &arguments.cargo, output)?;
    // After Cargo, which Ctrl-C ends together with this process; from here on there is something to clean up.
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let place = Place::make(&project, &built).map_err(RunError::from)?;
    let mut node = start(arguments, scenario.as_ref(), &blvm, &place)?;
    let begun = json!({ "event": "node_started", "module": name, "node": blvm, "pid": node.id() });
    let text = format!("{name} runs under a node of its own; Ctrl-C ends both");
    let mut watch = Watch::new(&project, &place.data(), scenario, output);
    let watched = output.progress(&text, &begun).and_then(|()| watch.until_end(&mut node, &signals));
    if watched.is_err() {
        // Nobody reads what it prints.
        stop(&node);
    }
    let status = node.wait().map_err(|source| RunError::Start { path: blvm, source })?;
    watched?;
    let report = report::read(&place.report(), name);
    if let Some((text, json)) = &report {
        output.progress(text, json)?;
    }
    watch.judge(status)?;
    let end = json!({ "result": "ended", "module": name, "lines": watch.lines() });
    if output.is_json { output.result("", &end) } else { Ok(()) }
}

/// Where a run takes place; gone with this value.
struct Place {
    directory: TempDir,
    name: String,
}

impl Place {
    /// The module stands there as it would be installed: wherever Cargo puts programs, the node finds it.
    fn make(project: &Project, built: &Built) -> Result<Self, FileFault> {
        let directory = tempfile::Builder::new().prefix("blvm-module-run-").tempdir();
        let directory = directory.map_err(FileFault::at(&std::env::temp_dir(), "written to"))?;
        let place = Place { directory, name: project.manifest.name.clone() };
        let module = place.module();
        let program = module.join(&project.manifest.entry_point);
        let beside = program.parent().unwrap_or(&module);
        fs::create_dir_all(beside).map_err(FileFault::at(beside, "made"))?;
        fs::copy(&built.path, &program).map_err(FileFault::at(&program, "written"))?;
        let manifest = module.join(MANIFEST_FILE);
        fs::write(&manifest, &project.text).map_err(FileFault::at(&manifest, "written"))?;
        let configuration = project.directory.join(CONFIG_FILE);
        if configuration.is_file() {
            fs::copy(&configuration, module.join(CONFIG_FILE))
                .map_err(FileFault::at(&configuration, "copied"))?;
        }
        Ok(place)
    }

    fn module(&self) -> PathBuf {
        self.directory.path().join("module").join(&self.name)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What the node prints.
    fn report(&self) -> PathBuf {
        self.directory.path().join("report")
    }
}

/// Starts the node through `exec` of this program, so that it ends with this process.
fn start(
    arguments: &RunArguments,
    scenario: Option<&Scenario>,
    blvm: &Path,
    place: &Place,
) -> Result<Child, RunError> {
    let at = |source| RunError::Start { path: blvm.to_owned(), source };
    let mut command = Command::new(std::env::current_exe().map_err(at)?);
    command.arg("exec").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(blvm);
    command.args(["run", "--network", "regtest", "--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0"]);
    let mine_interval = if scenario.is_some() { "0s" } else { "2s" };
    command.args(["--json", "--mine-interval", arguments.mine_interval.as_deref().unwrap_or(mine_interval)]);
    let first = if scenario.is_some_and(Scenario::pays) { BLOCKS_FOR_COINS } else { 0 };
    match arguments.mine_first.unwrap_or(first) {
        0 => {}
        blocks => drop(command.args(["--mine-first", &blocks.to_string()])),
    }
    command.args(&arguments.rest);
    command.args([Path::new("--datadir"), &place.data(), Path::new("--module"), &place.module()]);
    if let Some(time) = &arguments.time {
        command.args(["--for", time]);
    }
    if arguments.allow_weak_isolation {
        command.arg("--allow-weak-isolation");
    }
    // What goes well is no news here: the author looks at the module. Refusals are told from the audit log.
    if std::env::var_os("BLVM_LOG").is_none() {
        command.env("BLVM_LOG", "warn,audit=error,blvm_node_adapter::module::conversation=error");
    }
    let report = File::create(place.report()).map_err(FileFault::at(&place.report(), "written"))?;
    command.stdin(Stdio::piped()).stdout(report).process_group(0).spawn().map_err(at)
}

/// Asks the node to end, as Ctrl-C does.
fn stop(node: &Child) {
    let pid = Pid::from_raw(node.id().cast_signed());
    // It has not been waited for, so the number is still its own; it may have ended.
    let _ = kill(pid, Signal::SIGINT);
}

/// What `exec` is told.
#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// The process that starts it.
    #[arg(long)]
    parent: i32,

    /// The program and its arguments.
    #[arg(last = true, required = true)]
    words: Vec<std::ffi::OsString>,
}

/// Becomes the program, which is killed when the thread that started this process ends: the main thread of `run`.
///
/// Source: prctl(2), `PR_SET_PDEATHSIG`: kept over execve(2), but for programs that gain privileges.
pub(crate) fn exec(arguments: &ExecArguments) -> Result<(), ToolError> {
    prctl::set_pdeathsig(Signal::SIGTERM).and_then(|()| Signals::take_again()).map_err(RunError::Signals)?;
    if getppid() != Pid::from_raw(arguments.parent) {
        return Err(RunError::Orphan.into());
    }
    let [program, words @ ..] = arguments.words.as_slice() else { return Ok(()) };
    let source = Command::new(program).args(words).exec();
    Err(RunError::Start { path: PathBuf::from(program), source }.into())
}
