//! `new`: a directory with a module that builds, tests and runs.

use std::fs;
use std::path::{Path, PathBuf};

use blvm_manifest::is_module_name;
use clap::Args;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::json;

use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::sdk::{Sdk, SdkArguments, SdkError};
use crate::template;

/// Why no module was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewError {
    #[error(
        "{name:?} is no name of a module: use 1 to 64 lower-case letters, digits and hyphens, a letter first, and no word of Rust or Cargo, as in \"fee-alarm\""
    )]
    Name { name: String },
    #[error("{} is there already: choose another name, or remove it", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    Sdk(#[from] SdkError),
    #[error(transparent)]
    File(#[from] FileFault),
}

/// Make a module that builds, tests and runs, in a new directory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module new fee-alarm
  cargo blvm-module new fee-alarm --sdk ../bus/sdk
  cargo blvm-module new fee-alarm --sdk-git https://example.org/bus.git --rev 4f2a…")]
pub(crate) struct NewArguments {
    /// What it is called: 1 to 64 lower-case letters, digits and hyphens.
    name: String,

    /// Directory in which the new one is made.
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    parent: PathBuf,

    #[command(flatten)]
    sdk: SdkArguments,
}

/// Words that Cargo takes for no package, or Rust for no crate.
///
/// Source: the Rust reference, "Keywords"; `src/cargo/util/restricted_names.rs` of Cargo.
const RESERVED: &str = " abstract alloc as async await become box break build const continue core crate deps do dyn else \
    enum examples extern false final fn for gen if impl in incremental let loop macro match mod move mut override priv \
    proc-macro pub ref return self static std struct super test trait true try type typeof unsafe unsized use virtual \
    where while yield ";

/// Makes the directory: whole, or not at all.
pub(crate) fn new(arguments: &NewArguments, output: Output) -> Result<(), ToolError> {
    let name = &arguments.name;
    let is_free = !RESERVED.contains(&format!(" {name} "));
    if !is_module_name(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) || !is_free {
        return Err(NewError::Name { name: name.clone() }.into());
    }
    let sdk = Sdk::find(&arguments.sdk).map_err(NewError::from)?;
    let directory = arguments.parent.join(name);
    if fs::symlink_metadata(&directory).is_ok() {
        return Err(NewError::Exists { path: directory }.into());
    }
    write(&directory, name, &sdk)?;
    let shown = directory.display();
    let text = format!(
        "{shown} is a module that prints every block.

What to do next:
  cd {shown}
  cargo blvm-module run        builds it and starts it under a throw-away node; Ctrl-C ends both
  cargo blvm-module test       runs its tests
Then change src/main.rs. What it may do stands in module.toml; `cargo blvm-module check` compares the two."
    );
    let json = json!({
        "result": "created", "module": name, "directory": directory, "sdk": sdk.dependency().to_string(),
        "next": ["cargo blvm-module run", "cargo blvm-module test", "cargo blvm-module check"],
    });
    output.result(&text, &json)
}

/// Writes into a directory beside it first.
fn write(directory: &Path, name: &str, sdk: &Sdk) -> Result<(), NewError> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(parent)
        .map_err(FileFault::at(parent, "written to"))?;
    for (path, text) in template::files(name, &sdk.dependency()) {
        let file = temporary.path().join(path);
        let place = file.parent().unwrap_or(temporary.path());
        fs::create_dir_all(place).map_err(FileFault::at(place, "made"))?;
        fs::write(&file, text).map_err(FileFault::at(&file, "written"))?;
    }
    if let Some(lock) = sdk.lock_file() {
        fs::copy(&lock, temporary.path().join("Cargo.lock")).map_err(FileFault::at(&lock, "copied"))?;
    }
    renameat2(AT_FDCWD, temporary.path(), AT_FDCWD, directory, RenameFlags::RENAME_NOREPLACE)
        .map_err(|error| FileFault::at(directory, "made")(error.into()))?;
    // It is no longer there to be removed.
    let _ = temporary.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(name: &str, parent: &Path) -> NewArguments {
        let parent = parent.to_owned();
        NewArguments { name: name.to_owned(), parent, sdk: SdkArguments::default() }
    }

    fn make(arguments: &NewArguments) -> Result<(), ToolError> {
        new(arguments, Output { is_json: true })
    }

    #[test]
    fn a_name_that_cargo_or_the_node_refuses_makes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for name in
            ["", "Fee", "fee_alarm", "0fee", "-fee", "fn", "test", "enabled", "../up", &"x".repeat(65)]
        {
            let error = make(&arguments(name, directory.path())).unwrap_err();
            assert!(matches!(error, ToolError::New(NewError::Name { .. })), "{name}: {error}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_there_is_left_as_it_is_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("alarm"), "mine").unwrap();
        let error = make(&arguments("alarm", directory.path())).unwrap_err();
        assert!(matches!(error, ToolError::New(NewError::Exists { .. })), "{error}");
        assert_eq!(fs::read(directory.path().join("alarm")).unwrap(), b"mine");
        make(&arguments("other", directory.path())).unwrap();
        assert!(directory.path().join("other/Cargo.lock").is_file());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_sdk_is_a_path_or_a_repository_at_some_commit() {
        let directory = tempfile::tempdir().unwrap();
        let mut wrong = arguments("one", directory.path());
        wrong.sdk.sdk = Some(directory.path().into());
        assert!(matches!(make(&wrong).unwrap_err(), ToolError::New(NewError::Sdk(SdkError::None { .. }))));
        let url = "https://example.org/\"bus\".git".to_owned();
        let mut git = arguments("two", directory.path());
        (git.sdk.sdk_git, git.sdk.rev) = (Some(url.clone()), Some("4f2a".to_owned()));
        make(&git).unwrap();
        let text = fs::read_to_string(directory.path().join("two/Cargo.toml")).unwrap();
        let cargo: toml_edit::DocumentMut = text.parse().unwrap();
        let sdk = &cargo["dependencies"]["blvm-sdk"];
        assert_eq!((sdk["git"].as_str(), sdk["rev"].as_str()), (Some(url.as_str()), Some("4f2a")));
    }
}
