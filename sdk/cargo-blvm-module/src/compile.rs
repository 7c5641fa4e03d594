//! Cargo builds a module, or runs its tests.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use blvm_manifest::{Program, hash_program};
use clap::Args;
use serde_json::{Value, json};

use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::Project;

/// Why a module was not built, or its tests did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("{} is missing: a module is a Cargo package; `cargo blvm-module new NAME` makes one", path.display())]
    NoPackage { path: PathBuf },
    #[error("Cargo cannot be started: install Rust from https://rustup.rs")]
    Cargo(#[source] std::io::Error),
    #[error("Cargo did not build module {name}: what it says stands above")]
    Failed { name: String },
    #[error(
        "Cargo built no program \"{wanted}\" in {}: module.toml names it as entry_point{}",
        directory.display(),
        built(found)
    )]
    NoProgram { wanted: String, directory: PathBuf, found: Vec<String> },
    #[error("Cargo does not understand the package of module {name}: what it says stands above")]
    Metadata { name: String },
    #[error("the tests of module {name} did not pass")]
    Tests { name: String },
    #[error(transparent)]
    File(#[from] FileFault),
}

fn built(found: &[String]) -> String {
    match found {
        [] => "; the package has no program: add src/main.rs".to_owned(),
        found => format!("; the package has {}", found.join(", ")),
    }
}

/// What Cargo is told besides.
#[derive(Debug, Clone, Args)]
pub(crate) struct CargoArguments {
    /// Take nothing from the network.
    #[arg(long)]
    offline: bool,

    /// Build with exactly the versions in Cargo.lock.
    #[arg(long)]
    locked: bool,
}

impl CargoArguments {
    /// `cargo WORD` for the module.
    fn cargo(&self, word: &str, project: &Project) -> Result<Command, CompileError> {
        let file = project.cargo_file();
        if !file.is_file() {
            return Err(CompileError::NoPackage { path: file });
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        cargo.arg(word).arg("--manifest-path").arg(file).stdin(Stdio::null());
        for (is_wanted, option) in [(self.offline, "--offline"), (self.locked, "--locked")] {
            if is_wanted {
                cargo.arg(option);
            }
        }
        Ok(cargo)
    }
}

impl CargoArguments {
    /// What `cargo metadata` says of the module and of what it depends on.
    pub(crate) fn metadata(&self, project: &Project) -> Result<Value, CompileError> {
        let output = self.metadata_of_host(project)?.stderr(Stdio::inherit()).output();
        let output = output.map_err(CompileError::Cargo)?;
        let metadata = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
        metadata.ok_or_else(|| CompileError::Metadata { name: project.manifest.name.clone() })
    }

    /// The same where Cargo may not understand the package, and nobody wants to know why.
    pub(crate) fn metadata_quietly(&self, project: &Project) -> Result<Option<Value>, CompileError> {
        let output = self.metadata_of_host(project)?.stderr(Stdio::null()).output();
        let output = output.map_err(CompileError::Cargo)?;
        Ok(serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success()))
    }

    /// For this machine alone: a build has fetched no packages of other systems, and `--offline` would want them.
    fn metadata_of_host(&self, project: &Project) -> Result<Command, CompileError> {
        let mut cargo = self.cargo("metadata", project)?;
        cargo.args(["--format-version", "1", "--filter-platform", "host-tuple"]);
        Ok(cargo)
    }
}

/// A program that Cargo has built.
#[derive(Debug)]
pub(crate) struct Built {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it is known by.
    pub(crate) program: Program,
}

impl Built {
    /// Reads and hashes the program.
    pub(crate) fn read(path: PathBuf) -> Result<Self, FileFault> {
        let program = hash_program(&path).map_err(FileFault::at(&path, "read"))?;
        Ok(Built { path, program })
    }

    /// Its hash as manifests have it.
    pub(crate) fn hash(&self) -> String {
        let digits: String = self.program.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{digits}")
    }
}

/// Builds the program that the manifest names. Cargo's own progress goes to stderr; as JSON each package is an object.
pub(crate) fn compile(
    project: &Project,
    arguments: &CargoArguments,
    output: Output,
) -> Result<Built, ToolError> {
    let name = || project.manifest.name.clone();
    let mut cargo = arguments.cargo("build", project)?;
    cargo.arg("--release").arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(CompileError::Cargo)?;
    let mut programs = Vec::new();
    if let Some(messages) = child.stdout.take() {
        // What is no JSON is a build script's own.
        for message in BufReader::new(messages).lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str::<Value>(&message) else { continue };
            if message["reason"] != "compiler-artifact" {
                continue;
            }
            if output.is_json && message["fresh"] == false {
                let (package, target) = (&message["package_id"], &message["target"]["name"]);
                output.progress("", &json!({ "event": "compiled", "package": package, "target": target }))?;
            }
            if let Some(program) = message["executable"].as_str() {
                programs.push(PathBuf::from(program));
            }
        }
    }
    if !child.wait().map_err(CompileError::Cargo)?.success() {
        return Err(CompileError::Failed { name: name() }.into());
    }
    let wanted = Path::new(&project.manifest.entry_point).file_name();
    match programs.iter().find(|program| program.file_name() == wanted) {
        Some(program) => Ok(Built::read(program.clone()).map_err(CompileError::from)?),
        None => {
            let found = programs.iter().filter_map(|program| program.file_name());
            Err(CompileError::NoProgram {
                wanted: project.manifest.entry_point.clone(),
                directory: project.directory.clone(),
                found: found.map(|name| name.to_string_lossy().into_owned()).collect(),
            }
            .into())
        }
    }
}

/// Build a module in the release profile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module build
  cargo blvm-module build --path modules/fee-alarm --json")]
pub(crate) struct BuildArguments {
    /// Directory of the module.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,

    #[command(flatten)]
    cargo: CargoArguments,
}

/// `build`.
pub(crate) fn build(arguments: &BuildArguments, output: Output) -> Result<(), ToolError> {
    let project = Project::read(&arguments.path)?;
    let begun = Instant::now();
    let built = compile(&project, &arguments.cargo, output)?;
    let manifest = &project.manifest;
    let (path, size, seconds) =
        (built.path.display(), built.program.size_bytes, begun.elapsed().as_secs_f64());
    let text =
        format!("{path} is module {} {}: {size} bytes, {}", manifest.name, manifest.version, built.hash());
    let json = json!({
        "result": "built", "module": manifest.name, "version": manifest.version.to_string(), "program": built.path,
        "size_bytes": size, "hash": built.hash(), "seconds": seconds,
    });
    output.result(&text, &json)
}

/// Run the tests of a module, in the release profile as it is built.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module test
  cargo blvm-module test -- plural --nocapture")]
pub(crate) struct TestArguments {
    /// Directory of the module.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,

    #[command(flatten)]
    cargo: CargoArguments,

    /// What the tests themselves are told.
    #[arg(last = true, value_name = "ARGUMENT")]
    rest: Vec<OsString>,
}

/// `test`. What the tests print is no result, and goes to stderr where results are JSON.
pub(crate) fn test(arguments: &TestArguments, output: Output) -> Result<(), ToolError> {
    let project = Project::read(&arguments.path)?;
    let name = &project.manifest.name;
    let begun = Instant::now();
    let mut cargo = arguments.cargo.cargo("test", &project)?;
    cargo.arg("--release");
    if !arguments.rest.is_empty() {
        cargo.arg("--").args(&arguments.rest);
    }
    if output.is_json {
        cargo.stdout(Stdio::from(std::io::stderr()));
    }
    if !cargo.status().map_err(CompileError::Cargo)?.success() {
        return Err(CompileError::Tests { name: name.clone() }.into());
    }
    let seconds = begun.elapsed().as_secs_f64();
    output.result(
        &format!("the tests of module {name} passed"),
        &json!({ "result": "passed", "module": name, "seconds": seconds }),
    )
}
