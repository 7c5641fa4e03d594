//! A whole node with a modules directory, as its own process.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blvm_tests::log::PATIENCE;
use parking_lot::Mutex;
use tempfile::TempDir;

/// Dropping it kills it.
pub struct Blvm {
    child: Child,
    _output: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    datadir: TempDir,
    modules: TempDir,
}

fn blvm(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idle-node"));
    command.args(words).stdin(Stdio::null()).env("BLVM_LOG", "error").env_remove("RUST_BACKTRACE");
    command
}

impl Blvm {
    /// With these texts as `blvm.toml` and in the node's environment.
    pub fn start(node_file: &str, environment: &[(&str, &str)]) -> Self {
        let [datadir, modules] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let config = modules.path().join("blvm.toml");
        std::fs::write(&config, node_file).unwrap();
        let options = ["--mine-interval", "0s", "--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0"];
        let mut child = blvm(&["run", "--json", "--allow-weak-isolation"])
            .args(options)
            .args([Path::new("--datadir"), datadir.path()])
            .args([Path::new("--modules-dir"), modules.path()])
            .args([Path::new("--config"), &config])
            .env("BLVM_LOG", "info,module=trace")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.read_line(&mut String::new()).unwrap() > 0, "the node ended early");
        let log = read_all(child.stderr.take().unwrap());
        Blvm { child, _output: output, log, datadir, modules }
    }

    /// Installs the module `given-module` by hand under a name, with a `config.toml` and more lines in its manifest.
    pub fn install(&self, name: &str, config: &str, more: &str) {
        let directory = self.directory(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_given-module"), directory.join("given-module")).unwrap();
        let manifest =
            format!("name = \"{name}\"\nversion = \"0.1.0\"\nentry_point = \"given-module\"\n{more}");
        std::fs::write(directory.join("module.toml"), manifest).unwrap();
        std::fs::write(directory.join("config.toml"), config).unwrap();
    }

    /// Where a module's files are.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.modules.path().join(name)
    }

    /// Runs a command of the node's.
    pub fn ask(&self, words: &[&str]) -> Output {
        blvm(words).arg("--datadir").arg(self.datadir.path()).output().unwrap()
    }

    /// Runs a command of a module's.
    pub fn command(&self, words: &[&str]) -> Output {
        blvm(&[]).arg("--datadir").arg(self.datadir.path()).args(words).output().unwrap()
    }

    /// What a command says that succeeds.
    pub fn result(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that fails.
    pub fn error(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Waits until a module's log has a line that ends so; the line.
    pub fn logs(&self, module: &str, end: &str) -> String {
        wait_for(&format!("{end} in the log of {module}"), || {
            let log = self.ask(&["module", "logs", module, "-n", "100000"]).stdout;
            let log = String::from_utf8(log).unwrap();
            log.lines().find(|line| line.ends_with(end)).map(str::to_owned).ok_or(log)
        })
    }

    /// Waits until the node's own log has a line with this in it; the line.
    pub fn node_logs(&self, text: &str) -> String {
        wait_for(&format!("{text} in the node's log"), || {
            let log = self.log.lock().clone();
            log.lines().find(|line| line.contains(text)).map(str::to_owned).ok_or(log)
        })
    }
}

impl Drop for Blvm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `look` finds something; what it has seen otherwise is told at the end.
pub fn wait_for<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what} was not found: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
