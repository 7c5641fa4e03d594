//! `list` and `remove`: what is installed.

use std::path::Path;

use blvm_manifest::{Discovered, Manifest, hash_program};
use clap::Args;
use serde_json::json;

use crate::directory::{DirectoryArguments, DirectoryError, ModulesDirectory};
use crate::error::{ToolError, with_causes};
use crate::output::Output;

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("{} need module {name}: remove them first, or say --force", needed_by.join(" and "))]
    Needed { name: String, needed_by: Vec<String> },
}

/// List the modules that are installed, and whether their programs are those that were installed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module list
  cargo blvm-module list --datadir /var/lib/blvm --json")]
pub(crate) struct ListArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
}

/// What can be said of a program.
fn state(manifest: &Manifest) -> &'static str {
    match (manifest.binary.sha256, hash_program(&manifest.program)) {
        (_, Err(_)) => "unreadable",
        (None, Ok(_)) => "no hash",
        (Some(said), Ok(program)) if said == program.sha256 => "as installed",
        (Some(_), Ok(_)) => "changed",
    }
}

/// `list`.
pub(crate) fn list(arguments: &ListArguments, output: Output) -> Result<(), ToolError> {
    let path = arguments.directory.modules_directory()?;
    let found = look(&path);
    let modules = found.modules.values().map(|manifest| {
        let Manifest { name, version, directory, .. } = manifest;
        json!({ "module": name, "version": version.to_string(), "directory": directory, "program": state(manifest) })
    });
    let refused: Vec<_> = found.refused.iter().map(|error| with_causes(error)).collect();
    let json = json!({
        "result": "listed", "directory": path, "modules": modules.collect::<Vec<_>>(), "refused": refused,
    });
    let width = found.modules.keys().map(String::len).max().unwrap_or(0);
    let mut lines: Vec<_> = found
        .modules
        .values()
        .map(|manifest| {
            let Manifest { name, version, .. } = manifest;
            format!("{name:width$}  {version}  {}", state(manifest))
        })
        .collect();
    lines.extend(refused.iter().map(|error| format!("cannot be loaded: {error}")));
    if lines.is_empty() {
        lines.push(format!("no module is installed in {}", path.display()));
    }
    output.result(&lines.join("\n"), &json)
}

/// Modules of a directory that may not be there yet.
fn look(path: &Path) -> Discovered {
    let mut found = Discovered::default();
    if path.exists() {
        found.look(path, None);
    }
    found
}

/// Names of the modules of a directory.
pub(crate) fn installed_names(path: &Path) -> Vec<String> {
    look(path).modules.into_keys().collect()
}

/// Remove an installed module. Its own data stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module remove fee-alarm
  cargo blvm-module remove fee-alarm --datadir /var/lib/blvm")]
pub(crate) struct RemoveArguments {
    /// Its name.
    name: String,

    /// Also where other modules need it.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    directory: DirectoryArguments,
}

/// `remove`.
pub(crate) fn remove(arguments: &RemoveArguments, output: Output) -> Result<(), ToolError> {
    let name = &arguments.name;
    let path = arguments.directory.modules_directory().map_err(RemoveError::from)?;
    let found = look(&path);
    let needs = |manifest: &&Manifest| manifest.dependencies.contains_key(name) && manifest.name != *name;
    let needed_by: Vec<_> = found.modules.values().filter(needs).map(|other| other.name.clone()).collect();
    if !needed_by.is_empty() && !arguments.force {
        return Err(RemoveError::Needed { name: name.clone(), needed_by }.into());
    }
    // Not made only to say that nothing is in it.
    if !blvm_manifest::is_module_name(name) || !path.is_dir() {
        let error = DirectoryError::NotInstalled { name: name.clone(), path, installed: Vec::new() };
        return Err(error.into());
    }
    ModulesDirectory::open(&path).and_then(|directory| directory.take(name))?;
    let next = format!("blvm unload {name}{}", arguments.directory.shown());
    let text = format!(
        "module {name} is removed from {}; its own data stays\nA node that runs it goes on until: {next}",
        path.display()
    );
    output.result(&text, &json!({ "result": "removed", "module": name, "directory": path, "next": [next] }))
}
