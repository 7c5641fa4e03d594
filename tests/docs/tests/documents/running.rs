//! The commands of `blvm` that documents show are run, against a node with the example modules; names that stand for something
//! are given one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::commands::{RUN, commands};
use super::markdown::documents;
use super::programs::built;
use super::root;

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

const MODULES: [&str; 3] = ["block-watch", "fee-alarm", "reorg-log"];

/// What the names of synopses stand for.
const NAMES: [(&str, &str); 5] = [
    ("modules.NAME.KEY=VALUE", "modules.fee-alarm.above_sat_per_vb=60"),
    ("NAME", "fee-alarm"),
    ("blvm tail TOPIC", "blvm tail chain --from oldest --count 1"),
    ("target/release/blvm", "blvm"),
    ("…", ""),
];

/// A regtest node in which the examples are installed. Dropping it kills it.
struct Node {
    child: Child,
    datadir: TempDir,
}

fn blvm(words: &[String]) -> Command {
    let mut command = Command::new(built("blvm"));
    command.args(words).current_dir(root()).stdin(Stdio::null()).env("BLVM_LOG", "error");
    command
}

/// What every node here is told besides.
fn alone(datadir: &Path) -> Vec<String> {
    let words =
        ["--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0", "--allow-weak-isolation", "--datadir"];
    words.iter().map(|word| (*word).to_owned()).chain([datadir.display().to_string()]).collect()
}

impl Node {
    fn start() -> Self {
        let datadir = tempfile::tempdir().unwrap();
        for name in MODULES {
            let to = datadir.path().join("installed").join(name);
            std::fs::create_dir_all(&to).unwrap();
            std::fs::copy(built(name), to.join(name)).unwrap();
            let manifest = root().join("sdk/examples").join(name).join("module.toml");
            std::fs::copy(manifest, to.join("module.toml")).unwrap();
        }
        let words = ["run", "--mine-interval", "200ms"].map(str::to_owned);
        let words = [words.to_vec(), alone(datadir.path())].concat();
        let child = blvm(&words).stdout(Stdio::null()).spawn().unwrap();
        let node = Node { child, datadir };
        let begin = Instant::now();
        let offers = |name: &str| node.run(&format!("blvm {name}")).status.success();
        while !offers("fee-alarm") || !offers("reorg-log") {
            assert!(begin.elapsed() < PATIENCE, "the modules offer no commands");
            std::thread::sleep(Duration::from_millis(10));
        }
        node
    }

    /// A command as it is shown, to this node: its directory goes before what is a module's, else behind it.
    fn run(&self, command: &str) -> Output {
        let mut words = shlex::split(command).unwrap();
        words.remove(0);
        let datadir = ["--datadir".to_owned(), self.datadir.path().display().to_string()];
        let is_of_a_module = words.first().is_some_and(|word| MODULES.contains(&word.as_str()));
        match words.first().map(String::as_str) {
            Some("doctor") => {}
            _ if is_of_a_module => drop(words.splice(0..0, datadir)),
            _ => words.extend(datadir),
        }
        blvm(&words).output().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The commands of `blvm`, and of `make run` as those they become, each once.
fn shown() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut nodes, mut others) = (BTreeSet::new(), BTreeSet::new());
    for document in documents() {
        if RUN.iter().any(|(name, _)| document.path == Path::new(name)) {
            continue;
        }
        for block in document.blocks.iter().filter(|block| block.language() == "sh") {
            for command in commands(&block.text) {
                let command = NAMES.iter().fold(without_options(&command), |command, (name, stands_for)| {
                    command.replace(name, stands_for)
                });
                let words = shlex::split(&command).unwrap();
                match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    // `make demo` is this one.
                    ["make", "run", arguments] if arguments.contains("--demo") => {}
                    ["make", "run"] => _ = nodes.insert("--module sdk/examples/block-watch".to_owned()),
                    ["make", "run", arguments] => {
                        let arguments = arguments.strip_prefix("ARGS=").unwrap();
                        nodes.insert(format!("--module sdk/examples/block-watch {arguments}"));
                    }
                    ["blvm", "run", ..] => _ = nodes.insert(command["blvm run".len()..].to_owned()),
                    ["blvm", ..] => _ = others.insert(command),
                    _ => {}
                }
            }
        }
    }
    (nodes, others)
}

/// What a synopsis says may be left out, is.
fn without_options(command: &str) -> String {
    let mut text = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        rest = after.split_once(']').unwrap().1;
    }
    text + rest
}

#[test]
fn every_command_to_a_node_that_is_shown_is_run() {
    let (_, shown) = shown();
    let node = Node::start();
    for command in &shown {
        let output = node.run(command);
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        // What it says of a host on which modules are refused is an answer too.
        let is_right =
            output.status.success() || (command == "blvm doctor" && output.status.code() == Some(1));
        assert!(is_right && !(out.is_empty() && err.is_empty()), "{command}: {}\n{out}{err}", output.status);
    }
    eprintln!("run: {shown:#?}");
    assert!(shown.len() >= 10, "{shown:#?}");
}

#[test]
fn every_node_that_is_shown_runs() {
    let (shown, _) = shown();
    assert!(shown.len() >= 3, "{shown:#?}");
    let run = |arguments: &String| {
        let datadir: PathBuf = tempfile::tempdir().unwrap().keep();
        let words = [shlex::split(arguments).unwrap(), alone(&datadir)].concat();
        let all = [vec!["run".to_owned(), "--for".to_owned(), "1s".to_owned()], words].concat();
        let output = blvm(&all).output().unwrap();
        std::fs::remove_dir_all(&datadir).unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(
            output.status.success() && out.contains("height"),
            "{arguments}: {}\n{out}{err}",
            output.status
        );
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = shown.iter().map(|arguments| scope.spawn(move || run(arguments))).collect();
        running.into_iter().for_each(|running| running.join().unwrap());
    });
}
