//! JSON-RPC and the commands of `blvm` against a node with modules: what `docs/rpc.md` shows, run by `curl` as it is shown, and
//! a module's methods and commands, its log, and who answers for it.
#![allow(clippy::unwrap_used, missing_docs)]

mod logs;
mod shutdown;
mod trust;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_tests::log::PATIENCE;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

const DOCUMENT: &str = include_str!("../../../docs/rpc.md");

/// A node with a modules directory, and in it one module that is loaded from there by name. Dropping it kills it.
struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it has logged.
    log: Arc<Mutex<String>>,
    datadir: TempDir,
    modules: TempDir,
}

fn blvm(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idle-node"));
    command.args(words).stdin(Stdio::null()).env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    command
}

impl Node {
    fn start(module: &str) -> Self {
        let node = Node::start_with(&[]);
        node.install(module, "command-module", "0.1.0", "capabilities = [\"register_rpc_endpoint\"]\n");
        node
    }

    fn start_with(more: &[&str]) -> Self {
        let [datadir, modules] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let options = ["--mine-interval", "0s", "--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0"];
        let mut child = blvm(&["run", "--json", "--allow-weak-isolation"])
            .args(options)
            .args(more)
            .args([Path::new("--datadir"), datadir.path(), Path::new("--modules-dir"), modules.path()])
            .env("BLVM_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.read_line(&mut String::new()).unwrap() > 0, "the node ended early");
        let log = read_all(child.stderr.take().unwrap());
        Node { child, output, log, datadir, modules }
    }

    /// Installs a module by hand, as docs/operating.md says, while the node runs.
    fn install(&self, module: &str, program: &str, version: &str, more: &str) {
        let release = self.files(module).join("target/release");
        std::fs::create_dir_all(&release).unwrap();
        let built = match program {
            "command-module" => env!("CARGO_BIN_EXE_command-module"),
            _ => env!("CARGO_BIN_EXE_managed-module"),
        };
        std::fs::copy(built, release.join(program)).unwrap();
        let manifest =
            format!("name = \"{module}\"\nversion = \"{version}\"\nentry_point = \"{program}\"\n{more}");
        std::fs::write(self.files(module).join("module.toml"), manifest).unwrap();
    }

    /// The directory of a module's files.
    fn files(&self, module: &str) -> PathBuf {
        self.modules.path().join(module)
    }

    /// Installs a module that does, from its next start on, what the words say: see `managed-module`.
    fn install_managed(&self, module: &str, behaviour: &str) {
        self.behave(module, behaviour);
        let capabilities = "capabilities = [\"read_mempool\", \"subscribe_events\"]\n";
        self.install(module, "managed-module", "0.1.0", capabilities);
    }

    fn behave(&self, module: &str, behaviour: &str) {
        let data = self.datadir.path().join("modules").join(module);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("behaviour"), behaviour).unwrap();
    }

    /// Waits until the node's log holds `text`.
    fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log.lock().contains(text) {
            assert!(Instant::now() < deadline, "not logged: {text}\n{}", self.log.lock());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a command against it; `--datadir` goes before what is a module's, else behind it.
    fn ask(&self, words: &[&str]) -> Output {
        blvm(words).arg("--datadir").arg(self.datadir.path()).output().unwrap()
    }

    fn result(&self, words: &[&str]) -> String {
        said(&self.ask(words), 0).0
    }

    fn module_command(&self, words: &[&str]) -> Output {
        blvm(&[]).arg("--datadir").arg(self.datadir.path()).args(words).output().unwrap()
    }
}

/// What comes of a pipe until it is closed.
fn read_all(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let read = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&read);
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut some) {
            to.lock().push_str(&String::from_utf8_lossy(&some[..count]));
        }
    });
    read
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Standard output and error, after a look at the exit status.
fn said(output: &Output, status: i32) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    (out, err)
}

/// The code blocks of the document: language and text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut blocks = Vec::new();
    let mut rest = DOCUMENT;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (language, after) = after.split_once('\n').unwrap();
        let (text, after) = after.split_once("\n```").unwrap();
        blocks.push((language, text));
        rest = after;
    }
    blocks
}

/// Whether everything shown is there; of lists the first entry is looked at, of values only what they are.
fn shows(shown: &Value, found: &Value) -> bool {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            shown.iter().all(|(key, value)| found.get(key).is_some_and(|found| shows(value, found)))
        }
        (Value::Array(shown), Value::Array(found)) => match (shown.first(), found.first()) {
            (Some(shown), Some(found)) => shows(shown, found),
            _ => true,
        },
        (Value::Null, _) | (_, Value::Null) => true,
        _ => std::mem::discriminant(shown) == std::mem::discriminant(found),
    }
}

#[test]
fn what_the_document_shows_is_what_curl_gets() {
    let mut node = Node::start("block-watch");
    let blocks = blocks();
    let mut count = 0;
    for (index, (language, text)) in blocks.iter().enumerate() {
        if *language != "sh" {
            continue;
        }
        let output = Command::new("bash")
            .args(["-c", text])
            .env("DATADIR", node.datadir.path())
            .env("no_proxy", "*")
            .output()
            .unwrap();
        let (answer, _) = said(&output, 0);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{text}: {answer}");
        if let Some(("json", shown)) = blocks.get(index + 1) {
            let shown: Value = serde_json::from_str(shown).unwrap();
            assert!(shows(&shown, &answer["result"]), "{text}\n{answer}");
        }
        count += 1;
    }
    assert_eq!(count, 11, "every example");
    // The last one stops the node.
    let mut rest = String::new();
    node.output.read_to_string(&mut rest).unwrap();
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_module_is_loaded_shown_asked_reloaded_and_unloaded_by_commands() {
    let node = Node::start("weather");
    assert!(said(&node.module_command(&["weather"]), 2).1.contains("no command weather"));
    assert!(node.result(&["load", "weather"]).starts_with("module weather 0.1.0 is running, process "));
    let (_, error) = said(&node.ask(&["load", "weather"]), 1);
    assert!(error.contains("loaded already") && error.contains("(-32021)"), "{error}");
    assert!(
        node.result(&["module", "list"]).lines().nth(1).unwrap().starts_with("weather  0.1.0    running")
    );
    let show = node.result(&["module", "show", "weather"]);
    assert!(
        show.contains("may            register_rpc_endpoint") && show.contains("seals          holds: "),
        "{show}"
    );
    let pid = |json: &str| serde_json::from_str::<Value>(json).unwrap()["pid"].as_u64().unwrap();
    let before = pid(&node.result(&["module", "show", "weather", "--json"]));
    assert_ne!(pid(&node.result(&["reload", "weather", "--json"])), before);

    // Its methods, as those of the node.
    let echo = node.result(&["rpc", "weather_echo", "a=[1, null]", "b=x", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&echo).unwrap(), serde_json::json!({"a": [1, null], "b": "x"}));
    let (_, error) = said(&node.ask(&["rpc", "weather_fail"]), 1);
    assert!(error.contains("it rains") && error.contains("(-32027)"), "{error}");
    assert!(said(&node.ask(&["rpc", "weather_ehco"]), 1).1.contains("did you mean weather_echo?"));
    assert!(node.result(&["rpc", "help"]).contains("weather_fail"));

    // Its command.
    let (help, _) = said(&node.module_command(&["weather"]), 0);
    assert!(help.contains("blvm weather today CITY") && help.contains("the weather of today"), "{help}");
    assert_eq!(said(&node.module_command(&["weather", "today", "Oslo"]), 0).0, "sun in Oslo\n");
    let (out, error) = said(&node.module_command(&["weather", "tomorrow"]), 2);
    assert_eq!((out.as_str(), error.as_str()), ("", "today CITY is all there is\n"));
    let (_, error) = said(&node.module_command(&["climate"]), 2);
    assert!(error.contains("no command climate") && error.contains("have weather"), "{error}");

    // What it printed in both of its lives, and nothing of it once it is unloaded.
    let logs = node.result(&["module", "logs", "weather", "-n", "50"]);
    assert_eq!(logs.lines().filter(|line| line.ends_with("stderr it is ready")).count(), 2, "{logs}");
    assert_eq!(node.result(&["unload", "weather"]), "module weather is unloaded\n");
    assert!(said(&node.ask(&["unload", "weather"]), 1).1.contains("(-32022)"));
    assert!(said(&node.ask(&["rpc", "weather_echo"]), 1).1.contains("(-32601)"));
}
