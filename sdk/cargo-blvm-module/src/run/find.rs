//! Where the node's program is.

use std::path::{Path, PathBuf};

use super::RunError;

/// The one asked for; or the `blvm` beside this program, in PATH, or in the target directory of the SDK's workspace.
pub(super) fn node(asked: Option<&Path>) -> Result<PathBuf, RunError> {
    if let Some(path) = asked {
        return match path.is_file() {
            true => Ok(path.to_owned()),
            false => Err(RunError::NotThere { path: path.to_owned() }),
        };
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release");
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = beside.into_iter().chain(std::env::split_paths(&path)).chain([workspace.clone()]);
    let found = places.map(|place| place.join("blvm")).find(|program| program.is_file());
    found.ok_or(RunError::NoNode { workspace })
}
