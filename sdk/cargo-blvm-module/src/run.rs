//! `run`: a module under a regtest node of its own, which is thrown away.
//!
//! The node is a process group of its own, so that Ctrl-C reaches it once, from here, and not a second time from the terminal;
//! and it ends with this process, however that ends.

mod audit;
mod find;
mod log;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

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
use audit::{Audit, News};
use log::{Line, Tail};

/// How often the module's log and the node are looked at.
const LOOK: Duration = Duration::from_millis(50);

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
    File(#[from] FileFault),
}

/// Lines of a module that are repeated when it has ended.
const LAST_WORDS: usize = 10;

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
/// go to the node: `mine 3`, `reorganise 2`, `help`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module run
  cargo blvm-module run --for 10s --mine-interval 500ms
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

    /// Time between two mined blocks; 0s mines none.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    mine_interval: String,

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
    let name = &project.manifest.name;
    let building = json!({ "event": "building", "module": name });
    output.progress(&format!("building {name}"), &building)?;
    let built = compile(&project, &arguments.cargo, output)?;
    // After Cargo, which Ctrl-C ends together with this process; from here on there is something to clean up.
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let place = Place::make(&project, &built).map_err(RunError::from)?;
    let mut node = start(arguments, &blvm, &place)?;
    let begun = json!({ "event": "node_started", "module": name, "node": blvm, "pid": node.id() });
    let text = format!("{name} runs under a node of its own; Ctrl-C ends both");
    let mut watch = Watch::new(&project, &place, output);
    let watched = output.progress(&text, &begun).and_then(|()| watch.until_end(&mut node, &signals));
    if watched.is_err() {
        // Nobody reads what it prints.
        stop(&node);
    }
    let status = node.wait().map_err(|source| RunError::Start { path: blvm, source })?;
    watched?;
    watch.judge(status)?;
    let end = json!({ "result": "ended", "module": name, "lines": watch.lines });
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
}

/// Starts the node through `exec` of this program, so that it ends with this process.
fn start(arguments: &RunArguments, blvm: &Path, place: &Place) -> Result<Child, RunError> {
    let at = |source| RunError::Start { path: blvm.to_owned(), source };
    let mut command = Command::new(std::env::current_exe().map_err(at)?);
    command.arg("exec").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(blvm);
    command.args(["run", "--network", "regtest", "--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0"]);
    command.args(["--mine-interval", &arguments.mine_interval]).args(&arguments.rest);
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
    command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().map_err(at)
}

/// What is seen of a module while it runs.
struct Watch<'a> {
    project: &'a Project,
    output: Output,
    printed: Tail,
    audit: Audit,
    /// How many lines it printed, and the last of them.
    lines: u64,
    last: VecDeque<String>,
    /// How often it attached: a module that ends before its time is started again.
    attached: usize,
}

impl<'a> Watch<'a> {
    fn new(project: &'a Project, place: &Place, output: Output) -> Self {
        let name = &project.manifest.name;
        let printed = Tail::new(place.data().join("logs").join(format!("{name}.log")));
        let audit = Audit::new(&place.data(), name);
        Watch { project, output, printed, audit, lines: 0, last: VecDeque::new(), attached: 0 }
    }

    /// Tells what the module prints, and what it may not, until the node has ended.
    fn until_end(&mut self, node: &mut Child, signals: &Signals) -> Result<(), ToolError> {
        if let Some(mut commands) = node.stdin.take() {
            // Ends with its input, with the node, or with this process.
            std::thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut commands));
        }
        let mut told = 0;
        loop {
            // Asked first, so that what it wrote before it ended is read.
            let has_ended = node.try_wait().map_err(FileFault::at(&self.project.directory, "watched"));
            let has_ended = has_ended.map_err(RunError::from)?.is_some();
            self.tell()?;
            if has_ended {
                return Ok(());
            }
            if signals.count() > told {
                told = signals.count();
                stop(node);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What has come since.
    fn tell(&mut self) -> Result<(), ToolError> {
        for news in self.audit.news() {
            let (text, json) = match news {
                News::Granted(granted) => {
                    self.attached += 1;
                    granted.told(&self.project.manifest.name)
                }
                News::Denied(denied) => denied.told(self.project),
            };
            self.output.progress(&text, &json)?;
        }
        for line in self.printed.lines() {
            let line = Line::parse(&line);
            self.output.result(&line.text, &line.json())?;
            self.lines += 1;
            if self.last.len() == LAST_WORDS {
                self.last.pop_front();
            }
            self.last.push_back(line.text);
        }
        Ok(())
    }

    /// Whether all of it went well.
    fn judge(&self, status: ExitStatus) -> Result<(), RunError> {
        let name = self.project.manifest.name.clone();
        let (denied, ended) = (self.audit.denied(), self.attached.saturating_sub(1));
        match status.success() {
            _ if denied > 0 => Err(RunError::Denied { name, count: denied }),
            false if self.attached == 0 => {
                Err(RunError::NeverAttached { name, words: self.last.iter().cloned().collect() })
            }
            false => Err(RunError::Node { status }),
            true if ended > 0 => Err(RunError::Restarted { name, count: ended }),
            true => Ok(()),
        }
    }
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
