//! The directory in which an operator's modules are installed.
//!
//! | step | after a kill there |
//! |---|---|
//! | a directory `.blvm-…` beside the others is filled, each file written through to the disk | the next change removes it; nodes pass it over |
//! | the manifest in it is read and the program hashed, as a node does | the same |
//! | it takes the place of the module's directory in one step, `renameat2` | the module is the new one; the old one is in `.blvm-…` |
//! | what it replaced is removed | nothing is left to do |

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use blvm_manifest::{FileError, MANIFEST_FILE, NodeFile};
use clap::Args;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use tempfile::TempDir;

use crate::error::FileFault;

/// What unfinished directories begin with.
const PREFIX: &str = ".blvm-";

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("no data directory is known, as neither XDG_DATA_HOME nor HOME is set: give one with --datadir")]
    NoHome,
    #[error(transparent)]
    NodeFile(#[from] FileError),
    #[error(transparent)]
    File(#[from] FileFault),
    #[error(
        "{} holds a Cargo.toml: it is somebody's source, and no module installed by this tool; move it out of the modules directory",
        path.display()
    )]
    Source { path: PathBuf },
    #[error("the file system of {} cannot exchange two directories: remove module {name} first, then install it", path.display())]
    NoExchange { path: PathBuf, name: String },
    #[error("no module {name} is installed in {}{}", path.display(), others(installed))]
    NotInstalled { name: String, path: PathBuf, installed: Vec<String> },
}

fn others(installed: &[String]) -> String {
    if installed.is_empty() { String::new() } else { format!("; there are {}", installed.join(", ")) }
}

/// Which modules directory.
#[derive(Debug, Clone, Args)]
pub(crate) struct DirectoryArguments {
    /// Data directory of the node; without it that of the user's node.
    #[arg(long, value_name = "DIR")]
    datadir: Option<PathBuf>,

    /// Network of the user's node.
    #[arg(long, value_name = "NETWORK", default_value = "regtest", conflicts_with = "datadir",
        value_parser = ["mainnet", "testnet", "testnet4", "signet", "regtest"])]
    network: String,

    /// Where modules are installed; without it `modules_dir` in the data directory's blvm.toml, or `installed` there.
    #[arg(long, value_name = "DIR")]
    modules_dir: Option<PathBuf>,
}

impl DirectoryArguments {
    /// The node's data directory: the same as `blvm` takes.
    pub(crate) fn data_directory(&self) -> Result<PathBuf, DirectoryError> {
        if let Some(asked) = &self.datadir {
            return Ok(asked.clone());
        }
        let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
        Ok(home.ok_or(DirectoryError::NoHome)?.join("blvm").join(&self.network))
    }

    /// Where its modules are installed.
    pub(crate) fn modules_directory(&self) -> Result<PathBuf, DirectoryError> {
        if let Some(asked) = &self.modules_dir {
            return Ok(asked.clone());
        }
        let data = self.data_directory()?;
        Ok(NodeFile::read(None, &data)?.modules_directory(None, &data))
    }

    /// The options of `blvm` that lead to the same node.
    pub(crate) fn shown(&self) -> String {
        match &self.datadir {
            Some(datadir) => format!(" --datadir {}", datadir.display()),
            None if self.network == "regtest" => String::new(),
            None => format!(" --network {}", self.network),
        }
    }
}

/// A modules directory that nobody else changes with this tool.
#[derive(Debug)]
pub(crate) struct ModulesDirectory {
    path: PathBuf,
    lock: Flock<File>,
}

impl ModulesDirectory {
    /// Makes the directory where it is missing, waits until it is nobody else's, and removes what others have left unfinished.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(FileFault::at(path, "made"))?;
        let lock = File::open(path).map_err(FileFault::at(path, "opened"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| FileFault::at(path, "locked")(error.into()))?;
        let directory = ModulesDirectory { path: path.to_owned(), lock };
        directory.sweep().map_err(FileFault::at(path, "cleaned of an unfinished installation"))?;
        Ok(directory)
    }

    /// Where the module is, or would be.
    pub(crate) fn of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory to be filled. Removed with the value.
    pub(crate) fn begin(&self) -> Result<TempDir, DirectoryError> {
        let mut builder = tempfile::Builder::new();
        let mode: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let made = builder.prefix(PREFIX).permissions(mode).tempdir_in(&self.path);
        Ok(made.map_err(FileFault::at(&self.path, "written to"))?)
    }

    /// The filled directory becomes the module's; what was there is removed.
    pub(crate) fn put(&self, filled: TempDir, name: &str) -> Result<(), DirectoryError> {
        let path = self.of(name);
        self.refuse_source(&path)?;
        let rename = |flags| renameat2(AT_FDCWD, filled.path(), AT_FDCWD, &path, flags);
        let moved = match rename(RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => match rename(RenameFlags::RENAME_EXCHANGE) {
                Err(Errno::EINVAL) => {
                    return Err(DirectoryError::NoExchange {
                        path: self.path.clone(),
                        name: name.to_owned(),
                    });
                }
                // What was replaced now has the temporary name.
                exchanged => exchanged.map(|()| remove(&filled.keep())),
            },
            // Nothing has the temporary name any longer.
            moved => moved.map(|()| {
                let _ = filled.keep();
            }),
        };
        moved.map_err(|error| FileFault::at(&path, "written")(error.into()))?;
        self.sync(&path)
    }

    /// The module is gone, from one moment to the next.
    pub(crate) fn take(&self, name: &str) -> Result<(), DirectoryError> {
        let path = self.of(name);
        if fs::symlink_metadata(path.join(MANIFEST_FILE)).is_err() {
            let installed = self.names().map_err(FileFault::at(&self.path, "read"))?;
            return Err(DirectoryError::NotInstalled {
                name: name.to_owned(),
                path: self.path.clone(),
                installed,
            });
        }
        self.refuse_source(&path)?;
        let aside = self.begin()?;
        fs::rename(&path, aside.path().join(name)).map_err(FileFault::at(&path, "removed"))?;
        self.sync(&path)
    }

    /// Names of what has a manifest.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().join(MANIFEST_FILE).exists() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// An author may have made the directory of the sources the modules directory: these are nobody's to replace.
    fn refuse_source(&self, path: &Path) -> Result<(), DirectoryError> {
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if !is_link && path.join("Cargo.toml").exists() {
            return Err(DirectoryError::Source { path: path.to_owned() });
        }
        Ok(())
    }

    /// What the directory says now holds after a power failure too.
    fn sync(&self, changed: &Path) -> Result<(), DirectoryError> {
        Ok(self.lock.sync_all().map_err(FileFault::at(changed, "written through to the disk"))?)
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                remove(&entry.path());
            }
        }
        Ok(())
    }
}

/// Removes a directory, or a link, that nobody looks for any more. What cannot be removed now is left to the next change.
fn remove(path: &Path) {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let _ = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(directory: &ModulesDirectory, text: &str) -> TempDir {
        let filled = directory.begin().unwrap();
        fs::write(filled.path().join(MANIFEST_FILE), text).unwrap();
        filled
    }

    #[test]
    fn a_module_is_put_replaced_and_taken_and_nothing_else_is_left() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("installed");
        let directory = ModulesDirectory::open(&path).unwrap();
        fs::create_dir(path.join(".blvm-of-a-killed-one")).unwrap();
        for text in ["one", "two"] {
            directory.put(fill(&directory, text), "pool").unwrap();
            assert_eq!(fs::read_to_string(path.join("pool/module.toml")).unwrap(), text);
        }
        drop(directory);
        let directory = ModulesDirectory::open(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "swept");
        let error = directory.take("pol").unwrap_err().to_string();
        assert!(error.ends_with("; there are pool"), "{error}");
        directory.take("pool").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn sources_are_neither_replaced_nor_removed_and_a_link_to_them_is() {
        let root = tempfile::tempdir().unwrap();
        let directory = ModulesDirectory::open(root.path()).unwrap();
        let source = directory.of("mine");
        fs::create_dir(&source).unwrap();
        for file in ["Cargo.toml", MANIFEST_FILE] {
            fs::write(source.join(file), "").unwrap();
        }
        let is_refused = |outcome| matches!(outcome, Err(DirectoryError::Source { .. }));
        assert!(is_refused(directory.put(fill(&directory, ""), "mine")));
        assert!(is_refused(directory.take("mine")));
        std::os::unix::fs::symlink("mine", directory.of("linked")).unwrap();
        directory.put(fill(&directory, "new"), "linked").unwrap();
        assert!(source.join("Cargo.toml").is_file());
        assert_eq!(fs::read_to_string(directory.of("linked").join(MANIFEST_FILE)).unwrap(), "new");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }
}
