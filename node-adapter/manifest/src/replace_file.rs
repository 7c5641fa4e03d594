//! A file of the operator's or of a maintainer's gets another text: all of it or nothing, also if power fails.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// Puts `text` in the place of what is at `path`, with the owner and the permissions that are there; 0600 if nothing is there.
/// What a link leads to is replaced, not the link.
///
/// # Errors
///
/// What the system says; then the file is as it was. `PermissionDenied` if it is somebody else's, to whom this process cannot
/// give files.
pub fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let mut mode = 0o600;
    if let Ok(old) = std::fs::metadata(&path) {
        let new = file.as_file().metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
        mode = old.permissions().mode();
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_and_permissions_stay_and_nothing_is_left_beside_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        replace_file(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
        if nix::unistd::Uid::effective().is_root() {
            std::os::unix::fs::chown(&file, Some(61_300), Some(61_301)).unwrap();
            replace_file(&file, "newer").unwrap();
            let owned = std::fs::metadata(&file).unwrap();
            assert_eq!((owned.uid(), owned.gid()), (61_300, 61_301), "still its service's");
        }
        replace_file(&directory.path().join("other"), "").unwrap();
        let other = std::fs::metadata(directory.path().join("other")).unwrap();
        assert_eq!(other.permissions().mode() & 0o777, 0o600);
    }
}
