//! A first module: new, built, tested, run, installed.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{entries, is_alive, node, result, signal, tool, under, wait_until, weak_isolation_option};

/// `cargo blvm-module run`, with a directory of its own for what is temporary.
struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    temporary: TempDir,
    node: u64,
}

impl Run {
    /// Until the module has printed its first block.
    fn start(module: &Path) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = tool(&["run", "--json", "--mine-interval", "300ms", "--path"])
            .arg(module)
            .arg("--blvm")
            .arg(node())
            .args(weak_isolation_option())
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut run = Run { child, lines, temporary, node: 0 };
        loop {
            let line = run.lines.next().expect("the module printed no block").unwrap();
            let object: Value = serde_json::from_str(&line).unwrap();
            if object["event"] == "node_started" {
                run.node = object["pid"].as_u64().unwrap();
            }
            if object["text"] == "block at height 1: 1 transaction" {
                assert_eq!((&object["event"], &object["stream"]), (&"printed".into(), &"stdout".into()));
                assert_ne!(run.node, 0);
                return run;
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The node ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_new_module_is_built_tested_prints_its_first_block_and_runs_installed() {
    let begun = Instant::now();
    let parent = tempfile::tempdir().unwrap();
    let made =
        result(&tool(&["new", "first-light", "--json", "--in"]).arg(parent.path()).output().unwrap(), 0);
    let module = parent.path().join("first-light");
    assert_eq!(made["directory"].as_str(), module.to_str());
    assert_eq!(made["next"][0], "cargo blvm-module run");

    let build = tool(&["build", "--json", "--path"]).arg(&module).output().unwrap();
    let built = result(&build, 0);
    let said = String::from_utf8_lossy(&build.stderr);
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(built["result"], "built");
    eprintln!("new and built after {:.1} s", begun.elapsed().as_secs_f64());
    let tested = result(&tool(&["test", "--json", "--path"]).arg(&module).output().unwrap(), 0);
    assert_eq!(tested["result"], "passed");

    // Ctrl-C ends the module, the node and the tool, and nothing is left.
    let mut run = Run::start(&module);
    eprintln!("the first block is printed after {:.1} s", begun.elapsed().as_secs_f64());
    signal(&run.child, Signal::SIGINT);
    let last = run.lines.by_ref().map(Result::unwrap).last().unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["result"], "ended");
    assert!(last["lines"].as_u64().unwrap() >= 2);
    assert_eq!(run.child.wait().unwrap().code(), Some(0));
    assert!(!is_alive(run.node));
    assert_eq!(entries(run.temporary.path()), [] as [&Path; 0]);

    // A tool that is killed takes the node with it.
    let mut run = Run::start(&module);
    signal(&run.child, Signal::SIGKILL);
    run.child.wait().unwrap();
    wait_until("the node ended", || !is_alive(run.node));

    tour(&module);
    full_disk(&module);
    installed(&module, built["hash"].as_str().unwrap());
    broken(&module);
}

/// Every kind of event of a chain and a mempool, and all of it read.
fn tour(module: &Path) {
    let temporary = tempfile::tempdir().unwrap();
    let mut run = tool(&["run", "--tour", "--json", "--path"]);
    run.arg(module).arg("--blvm").arg(node()).args(weak_isolation_option());
    let output = run.env("TMPDIR", temporary.path()).output().unwrap();
    assert_eq!(result(&output, 0)["result"], "ended");
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert!(of("step").iter().any(|step| step["step"] == "reorganise 2"));
    assert_eq!(of("attached")[0]["topics"][0], "chain");
    let report = of("report")[0];
    assert_eq!(report["reorganisations"], 1, "{report}");
    // Those that the reorganisation brings back come once more.
    assert!(report["transactions_added"].as_u64().unwrap() >= 9, "{report}");
    let chain = &report["topics"]["chain"];
    assert_eq!((chain["received"].as_u64(), chain["missed"].as_u64()), (Some(7), Some(0)), "{report}");
    assert_eq!(entries(temporary.path()), [] as [&Path; 0]);
}

/// No room for the program in the temporary directory: no node is started, and nothing is left.
fn full_disk(module: &Path) {
    let temporary = tempfile::tempdir().unwrap();
    let mut run = tool(&["run", "--json", "--path"]);
    run.arg(module).arg("--blvm").arg(node()).env("TMPDIR", temporary.path());
    let output = under("trap '' XFSZ; ulimit -f 512", &run);
    let error = result(&output, 1);
    assert!(error["error"].as_str().unwrap().contains("File too large"), "{error}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("node_started"));
    assert_eq!(entries(temporary.path()), [] as [&Path; 0]);
}

/// What was built is installed, and a node loads it from there.
fn installed(module: &Path, hash: &str) {
    let datadir = tempfile::tempdir().unwrap();
    let datadir = datadir.path();
    let install =
        tool(&["install", "--json", "--path"]).arg(module).arg("--datadir").arg(datadir).output().unwrap();
    let installed = result(&install, 0);
    assert_eq!((installed["result"].as_str(), installed["hash"].as_str()), (Some("installed"), Some(hash)));
    let log = datadir.join("logs/first-light.log");
    let mut node = std::process::Command::new(node())
        .args(["run", "--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0", "--mine-interval", "300ms"])
        .args(weak_isolation_option())
        .arg("--datadir")
        .arg(datadir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env("BLVM_LOG", "error")
        .spawn()
        .unwrap();
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the installed module printed a block", || printed().contains("stdout block at height"));
    signal(&node, Signal::SIGINT);
    assert_eq!(node.wait().unwrap().code(), Some(0));
    let remove = tool(&["remove", "first-light", "--json", "--datadir"]).arg(datadir).output().unwrap();
    assert_eq!(result(&remove, 0)["result"], "removed");
    assert_eq!(entries(&datadir.join("installed")), [] as [&Path; 0]);
}

/// What does not compile, whose test fails, or that ends at once, is told as such.
fn broken(module: &Path) {
    let main = module.join("src/main.rs");
    let text = std::fs::read_to_string(&main).unwrap();
    let try_with = |from: &str, to: &str, words: &[&str]| {
        assert!(text.contains(from));
        std::fs::write(&main, text.replace(from, to)).unwrap();
        let mut tool = tool(words);
        if words[0] == "run" {
            tool.arg("--blvm").arg(node()).args(weak_isolation_option());
        }
        let output = tool.args(["--json", "--path"]).arg(module).output().unwrap();
        result(&output, 1)["error"].as_str().unwrap().to_owned()
    };
    let error = try_with("fn describe(height: u32,", "fn describe(", &["build"]);
    assert!(error.contains("Cargo did not build module first-light"), "{error}");
    let reads_more = "#[on(TransactionAdded)] fn added(&self) {} #[on(BlockConnected)]";
    let error = try_with("#[on(BlockConnected)]", reads_more, &["check"]);
    assert!(error.contains("module first-light has 1 fault"), "{error}");
    let error = try_with("plural = if transactions == 1", "plural = if transactions == 2", &["test"]);
    assert!(error.contains("the tests of module first-light did not pass"), "{error}");
    let ends = "{ std::process::exit(3) } #[allow(dead_code)] fn other() -> ExitCode {";
    let error = try_with("-> ExitCode {", &format!("-> ExitCode {ends}"), &["run", "--for", "20s"]);
    assert!(error.contains("never got to work, and said nothing"), "{error}");
    let leaves = "self.count.fetch_add(1, Ordering::Relaxed); if height == 1 { std::process::exit(0) }";
    std::fs::write(&main, text.replace("self.count.fetch_add(1, Ordering::Relaxed);", leaves)).unwrap();
    let mut run = tool(&["run", "--json", "--mine-interval", "200ms", "--for", "6s", "--path"]);
    let output = run.arg(module).arg("--blvm").arg(node()).args(weak_isolation_option()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"module_ended\""), "{output:?}");
    let asks = "let _ = start.requests.client().mempool_size(); println!(\"attached";
    let error = try_with("println!(\"attached", asks, &["run", "--for", "2s"]);
    assert!(error.contains("was refused 1 kind of request"), "{error}");
    let panics = "panic!(\"last words\");";
    let error = try_with("blvm_sdk::run::<Blocks>()", panics, &["run", "--for", "20s"]);
    assert!(error.contains("its last words: thread 'main'") && error.contains("| last words"), "{error}");
}
