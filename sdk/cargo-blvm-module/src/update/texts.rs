//! Several files get another text: all of them are on the disk before the first is put in its place.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::FileFault;

/// A file that gets another text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) path: PathBuf,
    pub(super) old: String,
    pub(super) new: String,
}

/// Writes all of `texts`. A disk that is full leaves every file as it was; each file is the old one or the new one, whole, whenever
/// this ends. What a link leads to is replaced, not the link.
pub(super) fn write(texts: &[Text]) -> Result<(), FileFault> {
    put(texts.iter().map(|text| (text.path.as_path(), text.new.as_str())))
}

/// Writes what was there before.
pub(super) fn write_back(texts: &[Text]) -> Result<(), FileFault> {
    put(texts.iter().map(|text| (text.path.as_path(), text.old.as_str())))
}

fn put<'a>(texts: impl Iterator<Item = (&'a Path, &'a str)>) -> Result<(), FileFault> {
    let filled: Result<Vec<_>, _> = texts.map(|(path, text)| fill(path, text)).collect();
    for (path, file) in filled? {
        file.persist(&path).map_err(|error| FileFault::at(&path, "written")(error.error))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(FileFault::at(directory, "written through to the disk"))?;
    }
    Ok(())
}

/// A file beside the one at `path`, with its permissions and another text.
fn fill(path: &Path, text: &str) -> Result<(PathBuf, NamedTempFile), FileFault> {
    let path = fs::canonicalize(path).map_err(FileFault::at(path, "found"))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let filled = tempfile::Builder::new().prefix(".blvm-").tempfile_in(directory).and_then(|mut file| {
        let mode = fs::metadata(&path)?.permissions().mode();
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    filled.map(|file| (path.clone(), file)).map_err(FileFault::at(&path, "written; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_written_or_none() {
        let root = tempfile::tempdir().unwrap();
        let text =
            |name: &str| Text { path: root.path().join(name), old: "old".to_owned(), new: "new".to_owned() };
        let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
        fs::write(root.path().join("a"), "old").unwrap();
        let error = write(&[text("a"), text("gone/b")]).unwrap_err().to_string();
        assert!(error.contains("gone/b"), "{error}");
        assert_eq!(read("a"), "old");
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        fs::set_permissions(root.path().join("a"), Permissions::from_mode(0o640)).unwrap();
        write(&[text("link")]).unwrap();
        assert_eq!(read("a"), "new");
        assert_eq!(fs::metadata(root.path().join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        write_back(&[text("a")]).unwrap();
        assert_eq!(read("a"), "old");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "nothing beside them");
    }
}
