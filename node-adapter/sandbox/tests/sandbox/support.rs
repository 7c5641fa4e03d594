//! What all tests need: requests, output, processes of others.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use blvm_sandbox::{Child, SpawnRequest, Spawner, UidGid};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");
/// A user that owns nothing.
pub const OTHER: UidGid = UidGid { uid: 60_001, gid: 60_001 };
/// Ends a test whose process never reaches the awaited state.
const PATIENCE_MS: u16 = 30_000;

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A request for the probe with these words, under a user of its own where that is possible.
pub fn request(words: &[&str]) -> SpawnRequest {
    let mut request = SpawnRequest::new(PROBE);
    request.arguments = words.iter().map(Into::into).collect();
    request.uid = is_root().then_some(OTHER);
    request
}

/// Spawns, reads all output, and waits for the end.
pub fn output_of(request: SpawnRequest) -> String {
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(request).unwrap();
    let output = read_all(child.stdout.take().unwrap());
    let errors = read_all(child.stderr.take().unwrap());
    child.wait().unwrap();
    assert_eq!(errors, "");
    output
}

pub fn read_all(descriptor: OwnedFd) -> String {
    let mut text = String::new();
    File::from(descriptor).read_to_string(&mut text).unwrap();
    text
}

/// Waits for the line that says the probe is parked, and leaves the pipe open.
pub fn await_ready(child: &mut Child) -> BufReader<File> {
    let mut lines = BufReader::new(File::from(child.stdout.take().unwrap()));
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    lines
}

/// A copy of the probe that every user may execute, wherever this repository lies.
pub struct PublicProbe {
    directory: PathBuf,
    pub path: PathBuf,
}

impl PublicProbe {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("blvm-sandbox-test-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let path = directory.join("probe");
        // Not by this process: a fork of another test would inherit the open file, and execve answer ETXTBSY.
        assert!(Command::new("cp").arg(PROBE).arg(&path).status().unwrap().success());
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self { directory, path }
    }

    /// The probe as an ordinary process of an unprivileged user.
    pub fn command(&self) -> Command {
        unprivileged(&self.path)
    }
}

/// A program as an ordinary process of a user without rights.
pub fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    if is_root() {
        command.uid(OTHER.uid).gid(OTHER.gid);
    }
    command
}

impl Drop for PublicProbe {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Opens a process that is not our child.
#[allow(unsafe_code)]
pub fn open_process(pid: i32) -> OwnedFd {
    // SAFETY: takes no memory.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(answer >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(answer as i32) }
}

/// Waits until the process behind a pidfd has ended.
pub fn await_end(pidfd: impl AsFd) {
    let mut waited = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut waited, PollTimeout::from(PATIENCE_MS)), Ok(1), "the process still runs");
}

/// The value of one line of `/proc/<pid>/status`.
pub fn status_value<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no line {name} in:\n{status}")).trim()
}

/// Whether an outer sandbox filters this test already, which leaves nothing to compare with.
pub fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status_value(&status, "Seccomp") != "0"
}

pub fn sha256(path: &Path) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(fs::read(path).unwrap()).into()
}
