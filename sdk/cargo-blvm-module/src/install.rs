//! `install`: a module is built, looked at, and put into the modules directory, all of it or nothing.

mod index;
mod package;

use std::path::PathBuf;

use blvm_manifest::Manifest;
use clap::Args;
use serde_json::json;

use crate::compile::{Built, CargoArguments, compile};
use crate::directory::{DirectoryArguments, DirectoryError, ModulesDirectory};
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::{Project, release};
use crate::run::RunError;
use crate::signals::Signals;
use index::{Found, Index, IndexError};

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Incompatible(#[from] blvm_manifest::Incompatible),
    #[error(transparent)]
    File(#[from] FileFault),
    #[error(
        "module {name} is signed, and the program is another than was signed: sign it again, or install the signed program with --no-build"
    )]
    OtherThanSigned { name: String },
    #[error("what was written is not what was built: the disk of {} is faulty, or somebody else writes there", path.display())]
    Damaged { path: PathBuf },
    #[error("interrupted; nothing was installed")]
    Interrupted,
}

/// Build a module, verify it, and put it into the modules directory of a node: all of it or nothing.
///
/// A version that is there is replaced in one step. Names are looked for in the operator's own index file and nowhere else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module install
  cargo blvm-module install --path modules/fee-alarm --datadir /var/lib/blvm
  cargo blvm-module install fee-alarm --index /etc/blvm/modules-index.toml")]
pub(crate) struct InstallArguments {
    /// Name of a module in the index.
    #[arg(conflicts_with = "path")]
    name: Option<String>,

    /// Directory of the module; without it, and without a name, the current one.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,

    /// The operator's file that says where modules are; without it `modules-index.toml` in the data directory.
    #[arg(long, value_name = "FILE", requires = "name")]
    index: Option<PathBuf>,

    /// Install the program that was built last: beside module.toml, or in the directory's target/release.
    #[arg(long)]
    no_build: bool,

    #[command(flatten)]
    cargo: CargoArguments,

    #[command(flatten)]
    directory: DirectoryArguments,
}

/// `install`.
pub(crate) fn install(arguments: &InstallArguments, output: Output) -> Result<(), ToolError> {
    let found = match &arguments.name {
        Some(name) => find(name, arguments)?,
        None => Found::at(arguments.path.clone().unwrap_or_else(|| PathBuf::from("."))),
    };
    let project = Project::read(found.directory())?;
    found.check(&project.manifest).map_err(InstallError::from)?;
    project.manifest.check_compatibility(&release()).map_err(InstallError::from)?;
    let built = match arguments.no_build {
        true => last_built(&project)?,
        false => compile(&project, &arguments.cargo, output)?,
    };
    // From here on there is something to clean up.
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let (path, replaced) = put(&project, &built, &arguments.directory, &signals)?;
    let Manifest { name, version, .. } = &project.manifest;
    let (word, was) = match &replaced {
        Some(old) => ("reload", format!(" in the place of {old}")),
        None => ("load", String::new()),
    };
    let next = format!("blvm {word} {name}{}", arguments.directory.shown());
    let text = format!(
        "{name} {version} is installed in {}{was}\nTo start it in a node that runs: {next}",
        path.display()
    );
    let json = json!({
        "result": "installed", "module": name, "version": version.to_string(), "directory": path,
        "hash": built.hash(), "size_bytes": built.program.size_bytes, "replaced": replaced, "next": [next],
    });
    output.result(&text, &json)
}

/// Looks for a module by its name, in the operator's file and nowhere else.
fn find(name: &str, arguments: &InstallArguments) -> Result<Found, InstallError> {
    let file = match &arguments.index {
        Some(file) => file.clone(),
        None => arguments.directory.data_directory()?.join("modules-index.toml"),
    };
    Ok(Index::read(&file)?.find(name)?)
}

/// The program that was built before.
fn last_built(project: &Project) -> Result<Built, ToolError> {
    let elsewhere = std::env::var_os("CARGO_TARGET_DIR").map(|target| PathBuf::from(target).join("release"));
    let elsewhere = elsewhere.unwrap_or_else(|| project.directory.clone());
    let manifest = Manifest::read(&project.directory, &elsewhere)?;
    Ok(Built::read(manifest.program).map_err(InstallError::from)?)
}

/// Puts it there; answers where it is, and which version it replaced.
fn put(
    project: &Project,
    built: &Built,
    arguments: &DirectoryArguments,
    signals: &Signals,
) -> Result<(PathBuf, Option<String>), InstallError> {
    let name = &project.manifest.name;
    let directory = ModulesDirectory::open(&arguments.modules_directory()?)?;
    let path = directory.of(name);
    let old = Project::read(&path).ok().map(|old| old.manifest.version.to_string());
    let filled = directory.begin()?;
    package::write(filled.path(), project, built, signals)?;
    directory.put(filled, name)?;
    Ok((path, old))
}
