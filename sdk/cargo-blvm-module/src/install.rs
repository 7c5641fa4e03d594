//! `install`: a module is built, looked at, and put into the modules directory, all of it or nothing.

mod index;
mod package;
mod source;

use std::path::{Path, PathBuf};

use blvm_manifest::Manifest;
use clap::Args;
use serde_json::{Value, json};

use crate::check::declared;
use crate::compile::{Built, CargoArguments, compile};
use crate::directory::{DirectoryArguments, DirectoryError, ModulesDirectory};
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::{Project, release};
use crate::run::RunError;
use crate::signals::Signals;
use index::IndexError;

pub(crate) use source::Source;

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
    #[error(
        "module {name} does not say what it was installed from: install it again, with --path DIR or by its name in the index"
    )]
    NoSource { name: String },
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
    let source = match (&arguments.name, &arguments.index) {
        (None, _) => Source::Path(arguments.path.clone().unwrap_or_else(|| PathBuf::from("."))),
        (Some(_), Some(file)) => Source::Index(file.clone()),
        (Some(_), None) => {
            let data = arguments.directory.data_directory().map_err(InstallError::from)?;
            Source::Index(data.join("modules-index.toml"))
        }
    };
    let order = Order {
        name: arguments.name.as_deref(),
        source: &source,
        builds: !arguments.no_build,
        puts: Puts::Always,
        cargo: &arguments.cargo,
        directory: &arguments.directory,
    };
    let (text, mut json) = order.carry_out(output)?.told(&arguments.directory);
    json["result"] = "installed".into();
    output.result(&text, &json)
}

/// One module that is to be installed.
pub(crate) struct Order<'a> {
    /// What it must be called.
    pub(crate) name: Option<&'a str>,
    pub(crate) source: &'a Source,
    /// Otherwise the program that was built last is taken.
    pub(crate) builds: bool,
    pub(crate) puts: Puts,
    pub(crate) cargo: &'a CargoArguments,
    pub(crate) directory: &'a DirectoryArguments,
}

/// When a module that was built is put into the modules directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Puts {
    Always,
    /// If it is another than the one there.
    IfOther,
    Never,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is installed.
    Put,
    /// It was there already.
    Same,
    /// It is another than the one there, and was not put there.
    Other,
}

/// A module that was built to be installed.
pub(crate) struct Installed {
    manifest: Manifest,
    built: Built,
    path: PathBuf,
    replaced: Option<Replaced>,
    pub(crate) outcome: Outcome,
}

/// What was there before.
struct Replaced {
    version: String,
    /// Permissions that it did not ask for.
    more: Vec<String>,
    /// Its `config.toml` is another, and is kept under this name.
    kept: Option<&'static str>,
}

impl Order<'_> {
    /// Builds it, looks at it, and puts it there.
    pub(crate) fn carry_out(&self, output: Output) -> Result<Installed, ToolError> {
        let found = self.source.find(self.name).map_err(InstallError::from)?;
        let project = Project::read(found.directory())?;
        found.check(&project.manifest).map_err(InstallError::from)?;
        project.manifest.check_compatibility(&release()).map_err(InstallError::from)?;
        let built = match self.builds {
            false => last_built(&project)?,
            true => compile(&project, self.cargo, output)?,
        };
        let directory = self.directory.modules_directory().map_err(InstallError::from)?;
        let path = directory.join(&project.manifest.name);
        let is_same = self.puts != Puts::Always && package::is_same(&path, &project, &built)?;
        if is_same || self.puts == Puts::Never {
            let outcome = if is_same { Outcome::Same } else { Outcome::Other };
            return Ok(Installed { manifest: project.manifest, built, path, replaced: None, outcome });
        }
        // From here on there is something to clean up.
        let signals = Signals::listen().map_err(RunError::Signals)?;
        let put = put(&project, &built, self.source, &directory, &signals);
        Signals::take_again().map_err(RunError::Signals)?;
        let replaced = put?;
        Ok(Installed { manifest: project.manifest, built, path, replaced, outcome: Outcome::Put })
    }
}

impl Installed {
    /// For people and for programs.
    pub(crate) fn told(&self, directory: &DirectoryArguments) -> (String, Value) {
        let Installed { manifest: Manifest { name, version, .. }, built, path, replaced, outcome } = self;
        let mut json = json!({
            "module": name, "version": version.to_string(), "directory": path, "hash": built.hash(),
            "size_bytes": built.program.size_bytes,
        });
        match outcome {
            Outcome::Put => {}
            Outcome::Same => return (format!("{name} {version} is up to date in {}", path.display()), json),
            Outcome::Other => {
                return (format!("{name} {version} is another than the one in {}", path.display()), json);
            }
        }
        let next = format!(
            "blvm {} {name}{}",
            if replaced.is_some() { "reload" } else { "load" },
            directory.shown()
        );
        let mut text = format!("{name} {version} is installed in {}", path.display());
        if let Some(Replaced { version, more, kept }) = replaced {
            text += &format!(
                " in the place of {version}; what it keeps and its configuration by the operator stay"
            );
            if !more.is_empty() {
                text += &format!("\nIt asks for more than before: {}", more.join(", "));
            }
            if let Some(kept) = kept {
                text += &format!(
                    "\nIts config.toml is another; what was there before is in {}",
                    path.join(kept).display()
                );
            }
        }
        text += &format!("\nTo start it in a node that runs: {next}");
        json["replaced"] = replaced.as_ref().map(|old| old.version.clone()).into();
        json["more_permissions"] = replaced.as_ref().map(|old| old.more.clone()).unwrap_or_default().into();
        json["kept_config"] = replaced.as_ref().and_then(|old| old.kept).into();
        json["next"] = vec![next].into();
        (text, json)
    }
}

/// The program that was built before.
fn last_built(project: &Project) -> Result<Built, ToolError> {
    let elsewhere = std::env::var_os("CARGO_TARGET_DIR").map(|target| PathBuf::from(target).join("release"));
    let elsewhere = elsewhere.unwrap_or_else(|| project.directory.clone());
    let manifest = Manifest::read(&project.directory, &elsewhere)?;
    Ok(Built::read(manifest.program).map_err(InstallError::from)?)
}

/// Puts it there; answers what it replaced.
fn put(
    project: &Project,
    built: &Built,
    source: &Source,
    directory: &Path,
    signals: &Signals,
) -> Result<Option<Replaced>, InstallError> {
    let name = &project.manifest.name;
    let directory = ModulesDirectory::open(directory)?;
    let path = directory.of(name);
    let filled = directory.begin()?;
    package::write(filled.path(), project, built, source, signals)?;
    let kept = package::keep_configuration(&path, filled.path(), signals)?;
    let replaced = Project::read(&path).ok().map(|old| {
        let had = declared(&old.manifest);
        let more = declared(&project.manifest).into_iter().filter(|name| !had.contains(name)).collect();
        Replaced { version: old.manifest.version.to_string(), more, kept }
    });
    directory.put(filled, name)?;
    Ok(replaced)
}
