//! The socket that has a name: `bus.sock` in the node's data directory.
//!
//! A socket's address holds at most 107 bytes. A longer path goes through its directory's descriptor.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Name of the socket in the data directory.
pub const SOCKET_NAME: &str = "bus.sock";

/// Name of the token's file in the data directory.
pub const TOKEN_NAME: &str = "bus.token";

/// Name of the private directory in which the socket is made.
const NEW_NAME: &str = "bus.new";

/// Longest path in a socket's address, its end mark left out.
///
/// Source: unix(7), `sun_path`.
const MAX_PATH_BYTES: usize = 107;

/// A path short enough for a socket's address, valid as long as the descriptor beside it.
fn short(directory: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    let path = directory.join(name);
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        return Ok((path, None));
    }
    let directory = File::open(directory)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())), Some(directory)))
}

/// Listens in `directory`, which must be the caller's alone; the socket is the user's alone from its first moment.
///
/// A socket that an earlier run has left is replaced.
///
/// # Errors
///
/// What the system says.
pub fn listen_path(directory: &Path) -> io::Result<UnixListener> {
    let new = directory.join(NEW_NAME);
    // What a killed run has left.
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&new)?;
    let (path, _directory) = short(&new, SOCKET_NAME)?;
    let listener = UnixListener::bind(path)?;
    let made = new.join(SOCKET_NAME);
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(&made, directory.join(SOCKET_NAME))?;
    fs::remove_dir(&new)?;
    Ok(listener)
}

/// Connects to the socket of the node whose data directory is `directory`.
///
/// # Errors
///
/// What the system says: `NotFound` and `ConnectionRefused` where no node listens.
pub fn connect_path(directory: &Path) -> io::Result<UnixStream> {
    let (path, _directory) = short(directory, SOCKET_NAME)?;
    UnixStream::connect(path)
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn greet(directory: &Path, listener: &UnixListener) {
        let mut client = connect_path(directory).unwrap();
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
    }

    #[test]
    fn a_socket_is_its_users_alone_replaces_a_stale_one_and_its_path_may_be_long() {
        let top = std::env::temp_dir().join(format!("blvm-path-{}", std::process::id()));
        for directory in [top.clone(), top.join("d".repeat(200))] {
            fs::create_dir_all(&directory).unwrap();
            assert_eq!(connect_path(&directory).unwrap_err().kind(), io::ErrorKind::NotFound);
            let listener = listen_path(&directory).unwrap();
            greet(&directory, &listener);
            drop(listener);
            assert_eq!(connect_path(&directory).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            // As a run that was killed at the worst moment leaves it.
            fs::create_dir(directory.join(NEW_NAME)).unwrap();
            fs::write(directory.join(NEW_NAME).join(SOCKET_NAME), "").unwrap();
            let listener = listen_path(&directory).unwrap();
            greet(&directory, &listener);
            let mode = fs::metadata(directory.join(SOCKET_NAME)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!directory.join(NEW_NAME).exists());
        }
        fs::remove_dir_all(&top).unwrap();
    }
}
