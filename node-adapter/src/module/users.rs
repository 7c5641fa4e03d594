//! A directory for each module and, where the node runs as root, a user that nothing else on the host has.
//!
//! A module keeps its user from run to run: it is who owns its directory. A new one is searched for from a place in the range
//! that differs by the node's data directory, so that nodes on one host give different ones, and is not given if a module's
//! directory here, a process on the host or the host's list of users has it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use blvm_sandbox::UidGid;
use nix::unistd::{Uid, User};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// User ids given to modules: the range that systemd keeps for users made at run time (systemd.exec(5), `DynamicUser`).
const MODULE_UIDS: RangeInclusive<u32> = 61_184..=65_519;

/// How long processes of a node that was killed may take to go: the kernel has sent them SIGKILL.
const LEFTOVERS_GO: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The directories of one node's modules, and whom they belong to.
#[derive(Debug)]
pub(crate) struct Users {
    directory: PathBuf,
    choosing: Mutex<()>,
}

/// Why a module has no user.
#[derive(Debug, thiserror::Error)]
enum NoUser {
    #[error("each of the {} user ids for modules is taken: remove directories of modules that are no longer used", MODULE_UIDS.count())]
    NoneLeft,
    #[error(
        "user {uid} owns {} too: two modules never share a user; give one of the two directories, with all in it, to another user from {} to {} (chown -R)",
        other.display(), MODULE_UIDS.start(), MODULE_UIDS.end()
    )]
    OwnsAnother { uid: u32, other: PathBuf },
    #[error(
        "user {uid}, who owns it, runs process {pid}, which this node has not started: is the directory a copy of another node's, or is it a service to which systemd gave this user (DynamicUser)? Stop it, or give the directory, with all in it, to another user from {} to {} (chown -R)",
        MODULE_UIDS.start(), MODULE_UIDS.end()
    )]
    RunsElsewhere { uid: u32, pid: u32 },
}

impl From<NoUser> for io::Error {
    fn from(error: NoUser) -> Self {
        io::Error::other(error)
    }
}

impl Users {
    /// Of the modules that have their directories in `directory`, which need not be there yet.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Users { directory, choosing: Mutex::new(()) }
    }

    /// Where the module of that name works.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the module's directory if it is missing, and gives it to a user of its own where the node may choose one.
    ///
    /// Waits up to ten seconds for processes that a killed node has left behind.
    ///
    /// # Errors
    ///
    /// What the system says of the directory; or that its user is another's too, or none is left, and what to do.
    pub(crate) fn make_directory(&self, name: &str) -> io::Result<Option<UidGid>> {
        let path = self.path(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let _one_at_a_time = self.choosing.lock();
        let owner = fs::metadata(&path)?.uid();
        let uid = if MODULE_UIDS.contains(&owner) {
            self.check_kept(&path, owner)?;
            owner
        } else {
            self.choose()?
        };
        // It may have been made by hand, for a configuration.
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        chown(&path, Some(uid), Some(uid))?;
        Ok(Some(UidGid { uid, gid: uid }))
    }

    /// Whether the user who owns a directory is its module's alone.
    fn check_kept(&self, path: &Path, uid: u32) -> io::Result<()> {
        if let Some((_, other)) =
            self.owners()?.into_iter().find(|(owner, other)| *owner == uid && other != path)
        {
            return Err(NoUser::OwnsAnother { uid, other }.into());
        }
        let deadline = Instant::now() + LEFTOVERS_GO;
        let own = std::process::id();
        loop {
            let foreign = processes()?.find(|process| process.uid == uid && process.parent != own);
            match foreign {
                None => return Ok(()),
                Some(Process { pid, .. }) if Instant::now() >= deadline => {
                    return Err(NoUser::RunsElsewhere { uid, pid }.into());
                }
                Some(_) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    /// A user that has nothing yet.
    fn choose(&self) -> io::Result<u32> {
        let mut taken: Vec<u32> = self.owners()?.into_iter().map(|(owner, _)| owner).collect();
        taken.extend(processes()?.map(|process| process.uid));
        let start = start_of(&fs::canonicalize(&self.directory)?);
        let mut candidates = (start..=*MODULE_UIDS.end()).chain(*MODULE_UIDS.start()..start);
        // Who has no name is unknown to the host; where it cannot say, nobody is known.
        let is_known = |uid| matches!(User::from_uid(Uid::from_raw(uid)), Ok(Some(_)));
        let free = candidates.find(|uid| !taken.contains(uid) && !is_known(*uid));
        Ok(free.ok_or(NoUser::NoneLeft)?)
    }

    /// Whom each entry of the directory belongs to.
    fn owners(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let owner = |entry: io::Result<fs::DirEntry>| {
            let path = entry?.path();
            // A link's owner is nobody's: what it leads to is a module's directory.
            match fs::metadata(&path) {
                Ok(metadata) => Ok(Some((metadata.uid(), path))),
                // It went meanwhile, or leads nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        fs::read_dir(&self.directory)?.filter_map(|entry| owner(entry).transpose()).collect()
    }
}

/// Where the search begins for the modules of a data directory.
fn start_of(canonical: &Path) -> u32 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(canonical.as_os_str().as_bytes()));
    let count = MODULE_UIDS.end() - MODULE_UIDS.start() + 1;
    MODULE_UIDS.start() + u32::from_le_bytes([a, b, c, d]) % count
}

struct Process {
    pid: u32,
    parent: u32,
    /// Its real user.
    uid: u32,
}

/// The processes of the host, as far as this process sees them; those that are only waited for are none.
///
/// Source: proc_pid_status(5).
fn processes() -> io::Result<impl Iterator<Item = Process>> {
    let numbers = fs::read_dir("/proc")?.flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // What ended meanwhile cannot be read. A process chooses its name, of whatever bytes.
    let read = |pid: u32| fs::read(format!("/proc/{pid}/status")).ok();
    Ok(pids.filter_map(move |pid| process(pid, &String::from_utf8_lossy(&read(pid)?))))
}

fn process(pid: u32, status: &str) -> Option<Process> {
    // The name, on the first line, cannot hold a line's end: the kernel writes it as `\n`.
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    // One whose first thread has ended is said to be a zombie, and lives on in its others.
    if matches!(field("State:")?, "Z" | "X") && matches!(field("Threads:"), None | Some("0" | "1")) {
        return None;
    }
    Some(Process { pid, parent: field("PPid:")?.parse().ok()?, uid: field("Uid:")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Only root gives users.
    fn as_root() -> Option<tempfile::TempDir> {
        if !Uid::effective().is_root() {
            eprintln!("skipped: only root can give modules users of their own");
            return None;
        }
        Some(tempfile::tempdir().unwrap())
    }

    fn of(directory: &Path) -> Users {
        Users::new(directory.join("modules"))
    }

    fn given(users: &Users, name: &str) -> u32 {
        users.make_directory(name).unwrap().unwrap().uid
    }

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn two_nodes_give_their_modules_different_users_and_keep_them() {
        let Some(directory) = as_root() else { return };
        let (a, root) = (directory.path().join("a"), directory.path().canonicalize().unwrap());
        let start = |node: &str| start_of(&root.join(node).join("modules"));
        // Of nodes that begin at the same place one sees what the other has given only while that runs.
        let b = (0..).map(|number| format!("b{number}")).find(|b| start(b).abs_diff(start("a")) > 4).unwrap();
        let (first, second) = (of(&a), of(&directory.path().join(b)));
        let users = [given(&first, "x"), given(&first, "y"), given(&second, "x"), given(&second, "y")];
        let mut different = users.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 4, "{users:?}");
        assert!(users.iter().all(|uid| MODULE_UIDS.contains(uid)));
        assert_eq!((given(&of(&a), "y"), given(&second, "x")), (users[1], users[2]));
    }

    #[test]
    fn a_user_with_a_process_is_given_to_nobody_else() {
        let Some(directory) = as_root() else { return };
        let users = of(directory.path());
        fs::create_dir(&users.directory).unwrap();
        let start = start_of(&users.directory.canonicalize().unwrap());
        let run =
            |uid| Running(Command::new("sleep").arg("1000").uid(uid).stdin(Stdio::null()).spawn().unwrap());
        let _running = run(start);
        assert_ne!(given(&users, "x"), start);
    }

    #[test]
    fn a_directory_whose_user_runs_elsewhere_is_refused_and_says_which_process() {
        let Some(directory) = as_root() else { return };
        let users = of(directory.path());
        let uid = given(&users, "x");
        // Of another parent than this process: the shell's.
        let script = "sleep 1000 & echo $!; wait";
        let shell = Command::new("sh").args(["-c", script]).uid(uid).stdout(Stdio::piped()).spawn().unwrap();
        let mut shell = Running(shell);
        let mut line = String::new();
        let out = shell.0.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(out), &mut line).unwrap();
        let refused = users.make_directory("x").unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", line.trim())) && refused.contains("chown -R"),
            "{refused}"
        );
        let pid = nix::unistd::Pid::from_raw(line.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(given(&users, "x"), uid, "its process has gone");
    }

    #[test]
    fn two_directories_of_one_user_are_refused() {
        let Some(directory) = as_root() else { return };
        let users = of(directory.path());
        let uid = given(&users, "x");
        let copy = users.path("y");
        fs::create_dir(&copy).unwrap();
        chown(&copy, Some(uid), Some(uid)).unwrap();
        let refused = users.make_directory("y").unwrap_err().to_string();
        assert!(refused.contains(&users.path("x").display().to_string()), "{refused}");
    }

    #[test]
    fn starts_lie_in_the_range_and_differ() {
        let starts: Vec<_> = ["/var/lib/a", "/var/lib/b", "/"].map(|path| start_of(Path::new(path))).into();
        assert!(starts.iter().all(|start| MODULE_UIDS.contains(start)));
        assert!(starts[0] != starts[1] && starts[1] != starts[2]);
    }

    #[test]
    fn a_process_that_is_only_waited_for_is_none() {
        let status = |state, threads| {
            format!(
                "Name:\tUid: 7\nState:\t{state} (x)\nPPid:\t12\nUid:\t61184\t1\t1\t1\nThreads:\t{threads}\n"
            )
        };
        let found = process(3, &status("S", 1)).unwrap();
        assert_eq!((found.pid, found.parent, found.uid), (3, 12, 61_184));
        assert!(process(3, &status("Z", 1)).is_none());
        assert!(process(3, &status("Z", 2)).is_some(), "its first thread has ended, another runs");
        assert!(process(3, "").is_none());
    }
}
