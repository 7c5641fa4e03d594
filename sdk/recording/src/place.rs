//! The file of a new recording: it has its name only when its header is durable, and one writer at a time.
//!
//! A file that is to be replaced stays as it is until then: the new one is made beside it and takes its name with rename(2).
//! The writer holds flock(2) on the file as long as it is open. The entry in the directory is durable only after fsync(2) of
//! the directory: that man page says so.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::WriteError;

/// Makes the file with `header`, durable and locked.
pub(crate) fn place(path: &Path, header: &[u8], overwrites: bool) -> Result<File, WriteError> {
    let create = |source| WriteError::Create { path: path.to_owned(), source };
    if !overwrites {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: path.to_owned() },
            _ => create(source),
        })?;
        return begin(&file, path, header, path).map(|()| file);
    }
    // What a symbolic link names is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => lock(&File::open(&path).map_err(create)?, &path)?,
        Ok(_) => return Err(create(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(create(error)),
    }
    let beside = beside(&path).ok_or_else(|| create(io::ErrorKind::InvalidInput.into()))?;
    let file = OpenOptions::new().write(true).create_new(true).open(&beside).map_err(create)?;
    begin(&file, &beside, header, &path)?;
    Ok(file)
}

/// Locks the file at `made`, writes the header, and gives it the name `path`. Where that fails the file is removed.
fn begin(mut file: &File, made: &Path, header: &[u8], path: &Path) -> Result<(), WriteError> {
    let create = |source| WriteError::Create { path: path.to_owned(), source };
    let begun = lock(file, path).and_then(|()| {
        file.write_all(header).and_then(|()| file.sync_all()).map_err(create)?;
        if made != path {
            fs::rename(made, path).map_err(create)?;
        }
        Ok(())
    });
    if let Err(error) = begun {
        // It was made here a moment ago; if it cannot be removed the first error still says more.
        let _ = fs::remove_file(made);
        return Err(error);
    }
    sync_directory(path).map_err(create)
}

fn lock(file: &File, path: &Path) -> Result<(), WriteError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => WriteError::InUse { path: path.to_owned() },
        TryLockError::Error(source) => WriteError::Create { path: path.to_owned(), source },
    })
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{}", std::process::id()));
    Some(path.with_file_name(name))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match File::open(parent.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all()) {
        // Some file systems have no fsync of directories.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}
