//! Test helper: the node under attack. Publishes known blocks all the time, hosts a good and several hostile modules, and
//! says in the end whether anything of it was hurt.
//!
//! `hostile-node SETTING DIRECTORY [UID]`: becomes user UID first, if it is given. Prints the lines of the hostile modules,
//! then `ready PID`; goes on until its input closes; its last line is a report.
#![forbid(unsafe_code)]

mod publish;
mod verify;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::layout::Geometry;
use blvm_bus::request::Permission;
use blvm_node_adapter::module::{Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sandbox::ExitReport;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use publish::{Publishing, TestNode};

/// Small, so that the terms are reused all the time; a body stays for about a second all the same.
const CHAIN: Geometry = Geometry { depth: 1024, slot_bytes: 128, terms: 18, term_bytes: 128 << 10 };

/// A hostile module that takes longer has hung, or has hung the node.
const PATIENCE: Duration = Duration::from_secs(25);

/// The limit on descriptors that most systems start a service with.
const OPEN_FILES: u64 = 1024;

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [setting, directory] => begin(setting, directory, None),
        [setting, directory, uid] => begin(setting, directory, Some(uid)),
        _ => return ExitCode::from(2),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile-node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(setting: &str, directory: &str, uid: Option<&str>) -> Result<(), Failed> {
    // First of all, with one thread only.
    if let Some(uid) = uid {
        become_user(uid.parse()?)?;
    }
    blvm_sandbox::protect_this_process()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("BLVM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(setting, Path::new(directory)))
}

fn become_user(id: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

async fn run(setting: &str, directory: &Path) -> Result<(), Failed> {
    let options = TopicsOptions { chain: CHAIN, leases: 2, lease_holders: 4 };
    let topics = Arc::new(Topics::create(options)?);
    let node = Arc::new(TestNode);
    let options = ModuleOptions {
        data_directory: directory.join("modules"),
        allow_weak_isolation: false,
        limits: RequestLimits::default(),
    };
    let host = ModuleHost::new(Arc::clone(&topics), node, None, "regtest", options)?;
    // As `blvm run` does: what a module must not reach is there to be reached.
    let _by_path = host.listen(directory)?;
    let witness = start(&host, "witness", "hostile-witness", &[])?;
    witness.attached().await.ok_or("the witness was not attached")?;
    let publishing = Publishing::start(Arc::clone(&topics))?;

    let other = witness.pid().to_string();
    let attacks: [(&str, &[&str]); 4] = [
        ("module", &["module", setting, &other]),
        ("seal-first", &["seal-first", setting]),
        ("half-frame", &["half-frame", setting]),
        ("hold", &["hold", setting]),
    ];
    for (name, arguments) in attacks {
        let module = start(&host, name, "hostile-module", arguments)?;
        let exit = tokio::time::timeout(PATIENCE, module.exited()).await;
        // What it found until then is told in any case.
        print_attempts(&directory.join("modules").join(name))?;
        match exit {
            Ok(ExitReport::Exited { status: 0 }) => {}
            Ok(exit) => return Err(format!("the hostile module {name} ended early: {exit:?}").into()),
            Err(_) => return Err(format!("the hostile module {name} hangs").into()),
        }
    }
    println(&format!("ready {}", std::process::id()))?;
    // Whoever started this node attacks it now, and closes the pipe when that is over.
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;

    let published = publishing.stop()?;
    topics.close();
    let exit = tokio::time::timeout(PATIENCE, witness.exited()).await.map_err(|_| "the witness hangs")?;
    let report = verify::report(setting, &topics, &published, witness.statistics(), exit)?;
    println(&report.to_string())?;
    Ok(())
}

fn start(host: &ModuleHost, name: &str, program: &str, arguments: &[&str]) -> Result<RunningModule, Failed> {
    let manifest = Manifest {
        permissions: vec![
            Permission::ReadBlockchain,
            Permission::ReadMempool,
            Permission::ReadNetwork,
            Permission::SubscribeEvents,
        ],
        ..Manifest::new(name, beside_this(program)?)
    };
    let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
    Ok(host.start(manifest, &arguments)?)
}

fn beside_this(program: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(program))
}

fn print_attempts(directory: &Path) -> io::Result<()> {
    match std::fs::read_to_string(directory.join("attempts.jsonl")) {
        Ok(lines) => print(&lines),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn println(line: &str) -> io::Result<()> {
    print(&format!("{line}\n"))
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
