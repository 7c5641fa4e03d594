//! Test helper: the node under attack. Publishes known blocks all the time, hosts a good and several hostile modules, and
//! says in the end whether anything of it was hurt.
//!
//! `hostile-node SETTING DIRECTORY [UID]`: becomes user UID first, if it is given. Prints what the host cannot enforce and the
//! lines of the hostile modules, then `ready PID`; goes on until its input closes; its last line is a report.
//!
//! `hostile-node outlive SETTING DIRECTORY [UID]`: starts one module that means to outlive it, prints `outlive PID`, and waits to
//! be killed.
#![forbid(unsafe_code)]

mod publish;
mod verify;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::layout::Geometry;
use blvm_bus::request::Permission;
use blvm_node_adapter::module::{
    Manifest, ModuleHost, ModuleOptions, RequestLimits, RunningModule, Sandbox, StartRequest,
};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sandbox::{ControlGroups, ExitReport, confines_ports, landlock_abi};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use publish::{Publishing, TestNode};

/// Small, so that the terms are reused all the time; a body stays for about a second all the same.
const CHAIN: Geometry = Geometry { depth: 1024, slot_bytes: 128, terms: 18, term_bytes: 128 << 10 };

/// A hostile module that takes longer has hung, or has hung the node.
const PATIENCE: Duration = Duration::from_secs(40);

/// The limit on descriptors that most systems start a service with.
const OPEN_FILES: u64 = 1024;

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["outlive", setting, directory, uid @ ..] => begin(setting, directory, uid.first().copied(), true),
        [setting, directory, uid @ ..] => begin(setting, directory, uid.first().copied(), false),
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

fn begin(setting: &str, directory: &str, uid: Option<&str>, is_outlived: bool) -> Result<(), Failed> {
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
    let directory = Path::new(directory);
    if is_outlived {
        runtime.block_on(be_outlived(setting, directory))
    } else {
        runtime.block_on(run(setting, directory))
    }
}

fn become_user(id: u32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Starts a module that means to outlive this process, and waits to be killed.
async fn be_outlived(setting: &str, directory: &Path) -> Result<(), Failed> {
    let (_topics, host) = host(directory)?;
    let module = start(&host, "outlive", "hostile-module", &["outlive", setting], &Network::default())?;
    let ready = directory.join("modules/outlive/ready");
    while !ready.exists() {
        if module.has_exited() {
            return Err("the module ended early".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println(&format!("outlive {}", module.pid()))?;
    std::future::pending().await
}

fn host(directory: &Path) -> Result<(Arc<Topics>, ModuleHost), Failed> {
    let options = TopicsOptions { chain: CHAIN, leases: 2, lease_holders: 4 };
    let topics = Arc::new(Topics::create(options)?);
    let node = Arc::new(TestNode);
    let options = ModuleOptions {
        data_directory: directory.join("modules"),
        // What is missing then is told, attempt by attempt.
        allow_weak_isolation: landlock_abi().is_err(),
        limits: RequestLimits::default(),
    };
    let host = ModuleHost::new(Arc::clone(&topics), node, None, "regtest", options)?;
    Ok((topics, host))
}

/// What this host cannot enforce for modules of this node, as the attempts name it.
fn lacking() -> Vec<&'static str> {
    let abi = landlock_abi().unwrap_or(0);
    let mut lacks = Vec::new();
    lacks.extend((abi == 0).then_some("landlock"));
    lacks.extend((!confines_ports(abi)).then_some("ports"));
    lacks.extend(ControlGroups::find().unavailable().iter().map(|(controller, _)| controller.as_str()));
    lacks
}

async fn run(setting: &str, directory: &Path) -> Result<(), Failed> {
    let (topics, host) = host(directory)?;
    let lacks = lacking();
    println(&serde_json::json!({ "setting": setting, "lacks": lacks }).to_string())?;
    // Somebody listens who does not listen to modules.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port().to_string();
    let granted = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let network = Network { port: (!lacks.contains(&"ports")).then_some(granted), is_spared: true };
    let spared = Network { is_spared: true, ..Network::default() };
    // As `blvm run` does: what a module must not reach is there to be reached.
    let _by_path = host.listen(directory)?;
    let witness = start(&host, "witness", "hostile-witness", &[], &spared)?;
    witness.attached().await.ok_or("the witness was not attached")?;
    let publishing = Publishing::start(Arc::clone(&topics))?;

    let other = witness.pid().to_string();
    let granted = granted.to_string();
    let known = std::iter::once(setting).chain(lacks.iter().copied()).collect::<Vec<_>>().join(",");
    let bounded = Network::default();
    let attacks: [(&str, &[&str], &Network); 5] = [
        ("module", &["module", &known, &other, &granted, &port], &network),
        ("seal-first", &["seal-first", &known], &spared),
        ("half-frame", &["half-frame", &known], &spared),
        ("hold", &["hold", &known], &spared),
        ("bombs", &["bombs", &known, &port], &bounded),
    ];
    for (name, arguments, network) in attacks {
        let module = start(&host, name, "hostile-module", arguments, network)?;
        let exit = tokio::time::timeout(PATIENCE, module.exited()).await;
        // What it found until then is told in any case.
        print_attempts(&directory.join("modules").join(name))?;
        match exit {
            Ok(ExitReport::Exited { status: 0 }) => {}
            Ok(exit) => return Err(format!("the hostile module {name} ended early: {exit:?}").into()),
            Err(_) => return Err(format!("the hostile module {name} hangs").into()),
        }
    }
    for (name, what) in [("shared-memory", "shared memory"), ("memory-files", "memory files")] {
        let module = start(&host, name, "hostile-module", &[name, &known], &bounded)?;
        let result = match tokio::time::timeout(PATIENCE, module.exited()).await? {
            ExitReport::OutOfMemory => "refused",
            ExitReport::Exited { status: 0 } if lacks.contains(&"memory") => "not_enforceable",
            ExitReport::Exited { status: 0 } => "succeeded",
            exit => return Err(format!("the hostile module {name} ended otherwise: {exit:?}").into()),
        };
        let attempt = format!("bombs: {what} without end");
        let line = serde_json::json!({
            "setting": setting, "attempt": attempt, "layer": "control_group", "result": result, "errno": null,
        });
        println(&line.to_string())?;
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

/// What a module may reach, and whether it has more processor time than others.
#[derive(Default)]
struct Network {
    /// To listen on, and to connect to.
    port: Option<u16>,
    /// What it tries is measured by the clock.
    is_spared: bool,
}

fn start(
    host: &ModuleHost,
    name: &str,
    program: &str,
    arguments: &[&str],
    network: &Network,
) -> Result<RunningModule, Failed> {
    let ports: Vec<u16> = network.port.into_iter().collect();
    let rights = [Permission::NetworkListen, Permission::NetworkConnect];
    let rights = if ports.is_empty() { &[][..] } else { &rights[..] };
    let manifest = Manifest {
        sandbox: Sandbox { listen: ports.clone(), connect: ports, ..Sandbox::default() },
        permissions: [
            Permission::ReadBlockchain,
            Permission::ReadMempool,
            Permission::ReadNetwork,
            Permission::SubscribeEvents,
        ]
        .iter()
        .chain(rights)
        .copied()
        .collect(),
        ..Manifest::new(name, beside_this(program)?)
    };
    let arguments = arguments.iter().map(Into::into).collect();
    let mut request = StartRequest { arguments, ..StartRequest::new(manifest) };
    if network.is_spared {
        request.limits.cpu_percent = 400;
    }
    Ok(host.start_with(request)?)
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
