//! Nothing is ever half installed: killed, interrupted, or on a full disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use blvm_manifest::{Discovered, hash_program};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{entries, node, result, signal, tool, under, wait_until};

/// Long enough to be caught half written.
const PROGRAM_BYTES: usize = 96 << 20;

/// An author's directory with a program built, and a modules directory.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Place { root: tempfile::tempdir().unwrap() };
        fs::create_dir(place.source()).unwrap();
        place
    }

    fn source(&self) -> PathBuf {
        self.root.path().join("source")
    }

    fn modules(&self) -> PathBuf {
        self.root.path().join("installed")
    }

    /// Builds the module `pool`, as far as installing it goes.
    fn build(&self, version: &str, program_bytes: usize, more: &str) {
        let program: Vec<u8> = version.bytes().cycle().take(program_bytes).collect();
        fs::write(self.source().join("pool"), program).unwrap();
        let manifest =
            format!("# mine\nname = \"pool\"\nversion = \"{version}\"\nentry_point = \"pool\"\n{more}");
        fs::write(self.source().join("module.toml"), manifest).unwrap();
    }

    fn install(&self) -> Command {
        let mut command = tool(&["install", "--no-build", "--json", "--path"]);
        command.arg(self.source()).arg("--modules-dir").arg(self.modules());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The version that a node would load; everything about it is right.
    fn installed(&self) -> String {
        let mut found = Discovered::default();
        found.look(&self.modules(), None);
        assert!(found.refused.is_empty(), "{:?}", found.refused);
        let manifest = &found.modules["pool"];
        let program = hash_program(&manifest.program).unwrap();
        assert_eq!(manifest.binary.sha256, Some(program.sha256));
        assert_eq!(manifest.binary.size_bytes, Some(program.size_bytes));
        assert_eq!(fs::metadata(&manifest.program).unwrap().permissions().mode() & 0o777, 0o755);
        manifest.version.to_string()
    }

    /// The directory that is being filled.
    fn begun(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(self.modules()).ok()?;
        entries
            .map_while(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(".blvm-") && path.exists())
    }

    fn has_begun_with(&self, file: &str, least_bytes: u64) -> bool {
        let found = self.begun().and_then(|begun| fs::metadata(begun.join(file)).ok());
        found.is_some_and(|found| found.len() >= least_bytes)
    }
}

#[test]
fn a_killed_installation_leaves_the_old_module_or_the_new_one_whole() {
    let place = Place::new();
    place.build("0.0.1", PROGRAM_BYTES, "");
    result(&place.install().output().unwrap(), 0);
    let half = PROGRAM_BYTES as u64 / 2;
    let points: [(&str, &dyn Fn() -> bool); 5] = [
        ("begun", &|| place.begun().is_some()),
        ("program begun", &|| place.has_begun_with("pool", 1)),
        ("program half", &|| place.has_begun_with("pool", half)),
        ("manifest written", &|| place.has_begun_with("module.toml", 1)),
        ("exchanged", &|| {
            let there = fs::read_to_string(place.modules().join("pool/module.toml"));
            there.is_ok_and(|text| text.contains("version = \"0.5."))
        }),
    ];
    let mut before = "0.0.1".to_owned();
    let mut seen = Vec::new();
    for (index, (point, is_reached)) in points.iter().enumerate() {
        let version = format!("0.{}.{index}", index + 1);
        place.build(&version, PROGRAM_BYTES, "");
        let mut child = place.install().spawn().unwrap();
        wait_until(point, || is_reached() || child.try_wait().unwrap().is_some());
        // It may have been faster; then there is nothing to kill.
        let _ = child.kill();
        child.wait().unwrap();
        let after = place.installed();
        assert!(after == before || after == version, "{point}: {after}");
        seen.push((*point, after == version));
        before = after;
    }
    eprintln!("killed at, and the new version was there: {seen:?}");
    assert!(seen.iter().any(|(_, is_new)| !is_new), "no kill came in time: {seen:?}");
    assert!(seen.last().unwrap().1, "after the exchange the new one is there");
    // What the killed ones have left is removed by the next.
    place.build("1.0.0", PROGRAM_BYTES, "");
    assert_eq!(result(&place.install().output().unwrap(), 0)["replaced"], before);
    assert_eq!(place.installed(), "1.0.0");
    assert_eq!(entries(&place.modules()), [place.modules().join("pool")]);
}

#[test]
fn ctrl_c_installs_nothing_and_cleans_up() {
    let place = Place::new();
    place.build("1.0.0", 100, "");
    result(&place.install().output().unwrap(), 0);
    place.build("2.0.0", PROGRAM_BYTES, "");
    let child = place.install().spawn().unwrap();
    wait_until("program begun", || place.has_begun_with("pool", 1));
    signal(&child, Signal::SIGINT);
    let error = result(&child.wait_with_output().unwrap(), 1);
    assert!(error["error"].as_str().unwrap().contains("nothing was installed"), "{error}");
    assert_eq!(place.installed(), "1.0.0");
    assert_eq!(entries(&place.modules()), [place.modules().join("pool")]);
}

#[test]
fn a_file_that_cannot_grow_leaves_the_old_module_whole() {
    let place = Place::new();
    place.build("1.0.0", 100, "");
    result(&place.install().output().unwrap(), 0);
    place.build("2.0.0", 4 << 20, "");
    // In units of 1,024 bytes; without the trap the signal ends the process.
    let error = result(&under("trap '' XFSZ; ulimit -f 1024", &place.install()), 1);
    let error = error["error"].as_str().unwrap();
    assert!(error.contains("File too large") && error.contains("what was installed before stays"), "{error}");
    assert_eq!(place.installed(), "1.0.0");
    // And by the signal, like a kill.
    assert_eq!(under("ulimit -f 1024", &place.install()).status.code(), None);
    assert_eq!(place.installed(), "1.0.0");
    result(&place.install().output().unwrap(), 0);
    assert_eq!(place.installed(), "2.0.0");
    assert_eq!(entries(&place.modules()), [place.modules().join("pool")]);
}

#[test]
fn a_full_disk_leaves_the_old_module_whole() {
    let place = Place::new();
    let mount = format!("mount -t tmpfs -o size=6m none {}", place.modules().display());
    fs::create_dir(place.modules()).unwrap();
    let mut unshare = Command::new("unshare");
    if !unshare
        .args(["-m", "bash", "-c", &mount])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|done| done.success())
    {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    }
    let at = |name: &str| place.root.path().join(name);
    let sources = [("1.0.0", 1 << 20), ("2.0.0", 8 << 20), ("3.0.0", 2 << 20)];
    for (version, bytes) in sources {
        place.build(version, bytes, "");
        fs::rename(place.source(), at(version)).unwrap();
        fs::create_dir(place.source()).unwrap();
    }
    // The old one, the one that is too long, what a node then finds, and one that fits.
    let script = format!(
        "{mount}; for version in 1.0.0 2.0.0 list 3.0.0 list; do \
         if [ $version = list ]; then \"$0\" list --json --modules-dir \"$1\"; ls -A \"$1\"; \
         else \"$0\" install --no-build --json --path {}/$version --modules-dir \"$1\"; echo $?; fi; done",
        place.root.path().display()
    );
    let tool = tool(&[]);
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "bash", "-c", &script]).arg(tool.get_program()).arg(place.modules());
    let output = unshare.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let [first, zero, second, one, list, pool, third, again, last, only] = lines[..] else {
        panic!("{text}")
    };
    assert_eq!([zero, one, again, pool, only], ["0", "1", "0", "pool", "pool"], "{text}");
    assert!(first.contains("installed") && third.contains("installed"), "{text}");
    assert!(second.contains("No space left on device"), "{second}");
    for (list, version) in [(list, "1.0.0"), (last, "3.0.0")] {
        let list: Value = serde_json::from_str(list).unwrap();
        let module = &list["modules"][0];
        assert_eq!(
            (module["version"].as_str(), module["program"].as_str()),
            (Some(version), Some("as installed"))
        );
    }
}

#[test]
fn a_name_is_found_in_the_operators_index_and_nowhere_else() {
    let place = Place::new();
    place.build("1.2.0", 100, "");
    let index = place.root.path().join("index.toml");
    let install = |name: &str| {
        let mut command = tool(&["install", "--no-build", "--json", name, "--modules-dir"]);
        command.arg(place.modules()).arg("--index").arg(&index).output().unwrap()
    };
    let error = |name: &str| result(&install(name), 1)["error"].as_str().unwrap().to_owned();
    assert!(error("pool").contains("nowhere else"), "no index");
    fs::write(
        &index,
        "[modules.pool]\npath = \"source\"\nversion = \"^1\"\n[modules.other]\npath = \"source\"\n",
    )
    .unwrap();
    assert!(error("blvm-sdk").contains("only other, pool"));
    assert!(error("other").contains("there is the module pool"));
    assert_eq!(result(&install("pool"), 0)["version"], "1.2.0");
    assert_eq!(place.installed(), "1.2.0");

    // From a repository, at one commit.
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(words);
        let output = git.current_dir(place.source()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    place.build("1.3.0", 100, "");
    for words in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "first"]] {
        git(words);
    }
    let rev = git(&["rev-parse", "HEAD"]);
    place.build("1.4.0", 100, "");
    git(&["commit", "--quiet", "--all", "-m", "second"]);
    let url = format!("file://{}", place.source().display());
    let write =
        |rev: &str| fs::write(&index, format!("[modules.pool]\ngit = \"{url}\"\nrev = \"{rev}\"\n")).unwrap();
    write(&rev);
    assert_eq!(result(&install("pool"), 0)["version"], "1.3.0");
    write(&"0".repeat(40));
    assert!(error("pool").contains("git did not fetch commit 000"));
    assert_eq!(place.installed(), "1.3.0");
}

#[test]
fn a_signed_module_is_installed_as_it_was_signed_or_not_at_all() {
    let place = Place::new();
    let blvm = |words: &[&str]| {
        let output = Command::new(node()).args(words).current_dir(place.root.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let key = blvm(&["module", "sign", "--generate-key", "key"]);
    let maintainers = format!(
        "[signatures]\nthreshold = \"1-of-1\"\nmaintainers = [{{ name = \"a\", public_key = \"{key}\" }}]\n"
    );
    place.build("1.0.0", 100, &maintainers);
    blvm(&["module", "sign", "source", "--key", "key"]);
    result(&place.install().output().unwrap(), 0);
    let read = |directory: &Path| fs::read_to_string(directory.join("module.toml")).unwrap();
    assert_eq!(read(&place.modules().join("pool")), read(&place.source()));
    fs::write(place.source().join("pool"), "another program").unwrap();
    let error = result(&place.install().output().unwrap(), 1);
    assert!(error["error"].as_str().unwrap().contains("is another than was signed"), "{error}");
}
