//! A node at work that is recorded, and replays of that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use blvm_tests::isolation::weak_isolation_option;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(240);

const MODULE: &str = "replayed";

/// What a node did while it was recorded.
pub struct Live {
    pub recording: PathBuf,
    /// What the module wrote.
    pub chain: String,
    pub mempool: String,
    _directory: TempDir,
}

/// What came of a replay.
pub struct Replayed {
    pub status: Option<i32>,
    /// The last line of its output.
    pub outcome: Value,
    pub log: String,
    pub chain: String,
    pub mempool: String,
    pub order: String,
}

pub fn blvm(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idle-node"));
    command.args(words).stdin(Stdio::null()).env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    command
}

/// The one run that all tests are about: blocks, payments and a reorganisation, recorded from its beginning on.
pub fn live() -> &'static Live {
    static LIVE: LazyLock<Live> = LazyLock::new(Live::run);
    &LIVE
}

impl Live {
    fn run() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (datadir, recording) = (directory.path().join("node"), directory.path().join("recording"));
        let module = write_manifest(directory.path());
        let mut node = blvm(&["run", "--demo", "--for", "5s", "--no-rpc", "--datadir"])
            .arg(&datadir)
            .arg("--module")
            .arg(&module)
            .args(weak_isolation_option())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let recorder = record(&datadir, &recording, &["--topics", "chain,mempool", "--from", "0", "--json"]);
        let status = node.wait().unwrap();
        assert!(status.success(), "the node ended with {status}");
        let output = recorder.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let totals: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(totals["missed"] == 0 && totals["records"].as_u64() > Some(100), "{totals}");
        let written = datadir.join("modules").join(MODULE);
        let read = |name: &str| fs::read_to_string(written.join(name)).unwrap();
        Live { recording, chain: read("chain"), mempool: read("mempool"), _directory: directory }
    }
}

/// Records the node in `datadir`, once it lets programs in.
pub fn record(datadir: &Path, file: &Path, more: &[&str]) -> Child {
    await_state("the node lets programs in", || datadir.join("bus.token").exists());
    let mut command = blvm(&["record"]);
    command.arg(file).arg("--datadir").arg(datadir).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Plays the recording to the module.
pub fn replay(recording: &Path, more: &[&str]) -> Replayed {
    replay_to(MODULE, env!("CARGO_BIN_EXE_replayed-module"), recording, more)
}

/// Plays the recording to the module that writes what it views.
pub fn replay_to_view(recording: &Path, more: &[&str]) -> Replayed {
    replay_to("viewing", env!("CARGO_BIN_EXE_viewing-module"), recording, more)
}

fn replay_to(name: &str, program: &str, recording: &Path, more: &[&str]) -> Replayed {
    let directory = tempfile::tempdir().unwrap();
    let datadir = directory.path().join("replay");
    let module = write_manifest_of(name, program, directory.path());
    let mut command = blvm(&["replay", "--json"]);
    command.arg(recording).arg("--module").arg(&module).args(weak_isolation_option());
    if !more.contains(&"--datadir") {
        command.arg("--datadir").arg(&datadir);
    }
    let Output { status, stdout, stderr } = command.args(more).output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    let written = datadir.join("modules").join(name);
    let read = |name: &str| fs::read_to_string(written.join(name)).unwrap_or_default();
    Replayed {
        status: status.code(),
        outcome: stdout.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap()),
        log: String::from_utf8(stderr).unwrap(),
        chain: read("chain"),
        mempool: read("mempool"),
        order: read("order"),
    }
}

/// What `blvm replay --check` says.
pub fn check(recording: &Path) -> Value {
    let output = blvm(&["replay", "--check", "--json"]).arg(recording).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(if told["is_whole"] == true { 0 } else { 1 }));
    told
}

pub fn await_state(what: &str, is_reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_reached() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The directory of the module; its program is beside the node's.
fn write_manifest(directory: &Path) -> PathBuf {
    write_manifest_of(MODULE, env!("CARGO_BIN_EXE_replayed-module"), directory)
}

fn write_manifest_of(name: &str, program: &str, directory: &Path) -> PathBuf {
    let directory = directory.join(name);
    fs::create_dir(&directory).unwrap();
    let program = Path::new(program).file_name().unwrap().to_str().unwrap();
    let manifest = format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\nentry_point = \"{program}\"\n\
        capabilities = [\"read_blockchain\", \"read_mempool\", \"subscribe_events\"]\n"
    );
    fs::write(directory.join("module.toml"), manifest).unwrap();
    directory
}
