//! `check`: what is wrong with a module before it is started.
//!
//! Looked at are `module.toml`, `Cargo.toml`, the Rust sources in `src/`, and the SDK that Cargo takes. What a dependency of the
//! module asks of the node is not seen.

mod sdk;
mod tokens;
mod uses;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use blvm_manifest::Manifest;
use clap::Args;
use serde_json::{Value, json};

use crate::compile::CargoArguments;
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::{Project, release};
use uses::{Use, uses};

/// Why a module is not right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("module {name} has {count} {}: they stand above", if *count == 1 { "fault" } else { "faults" })]
    Faults { name: String, count: usize },
    #[error(transparent)]
    File(#[from] FileFault),
}

/// Look for what is wrong with a module: manifest, permissions its source uses, versions of the SDK.
///
/// Uses are found by name in the sources in src/; what a dependency asks of the node is not seen.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module check
  cargo blvm-module check --path modules/fee-alarm --json
  cargo blvm-module check --ignore submit_block     # a method of the module's own is called so")]
pub(crate) struct CheckArguments {
    /// Directory of the module.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,

    /// A request that the source does not make of the node, though it calls something of that name; may be repeated.
    #[arg(long, value_name = "REQUEST")]
    ignore: Vec<String>,

    #[command(flatten)]
    cargo: CargoArguments,
}

/// Something that is wrong, or may be.
struct Finding {
    is_fault: bool,
    place: String,
    text: String,
}

/// `check`.
pub(crate) fn check(arguments: &CheckArguments, output: Output) -> Result<(), ToolError> {
    let project = Project::read(&arguments.path)?;
    let manifest = &project.manifest;
    let mut findings = Vec::new();
    let mut add = |is_fault, place: &str, text: String| {
        findings.push(Finding { is_fault, place: place.to_owned(), text });
    };
    if let Err(error) = manifest.check_compatibility(&release()) {
        add(true, "module.toml", error.to_string());
    }
    let metadata = arguments.cargo.metadata(&project)?;
    for text in program_faults(manifest, &metadata) {
        add(true, "Cargo.toml", text);
    }
    let sdk = sdk::found(&metadata);
    match &sdk {
        Some((path, found)) if *found != sdk::OURS => add(
            true,
            "Cargo.toml",
            format!(
                "the SDK in {} speaks protocol {} and layout {}, and this tool's node {} and {}: take both from one release",
                path.display(),
                found.protocol,
                found.layout,
                sdk::OURS.protocol,
                sdk::OURS.layout
            ),
        ),
        Some(_) => {}
        None => add(
            true,
            "Cargo.toml",
            "the package does not depend on blvm-sdk: only with it a module attaches to a node".to_owned(),
        ),
    }
    let used = sources(&project.directory).map_err(CheckError::from)?;
    let is_ignored =
        |used: &Use| arguments.ignore.iter().any(|name| used.what == format!("the request {name}"));
    let used: Vec<_> = used.into_iter().filter(|(_, used)| !is_ignored(used)).collect();
    for (place, text) in undeclared(manifest, &used) {
        add(true, &place, text);
    }
    for text in unused(manifest, &used) {
        add(false, "module.toml", text);
    }
    for Finding { is_fault, place, text } in &findings {
        let severity = if *is_fault { "fault" } else { "note" };
        let json = json!({ "event": "finding", "severity": severity, "place": place, "text": text });
        output.result(&format!("{severity}: {place}: {text}"), &json)?;
    }
    let name = manifest.name.clone();
    let count = findings.iter().filter(|finding| finding.is_fault).count();
    if count > 0 {
        return Err(CheckError::Faults { name, count }.into());
    }
    let (protocol, layout) = (sdk::OURS.protocol, sdk::OURS.layout);
    let text = format!("module {name} is right as far as can be seen: protocol {protocol}, layout {layout}");
    let notes = findings.len();
    let json =
        json!({ "result": "right", "module": name, "notes": notes, "protocol": protocol, "layout": layout });
    output.result(&text, &json)
}

/// Whether Cargo builds what the manifest names, in the version it names.
fn program_faults(manifest: &Manifest, metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let root = packages.iter().find(|package| package["id"] == metadata["resolve"]["root"]);
    let Some(root) = root else {
        return vec!["it is no package but a workspace: give the module's own directory".to_owned()];
    };
    let mut faults = Vec::new();
    let version = root["version"].as_str().unwrap_or_default();
    if version != manifest.version.to_string() {
        faults.push(format!("the version is {version}, and module.toml says {}", manifest.version));
    }
    let targets = root["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_program =
        |target: &&Value| target["kind"].as_array().is_some_and(|kind| kind.contains(&"bin".into()));
    let programs: Vec<_> =
        targets.iter().filter(is_program).filter_map(|target| target["name"].as_str()).collect();
    let wanted = Path::new(&manifest.entry_point).file_name().unwrap_or_default().to_string_lossy();
    if !programs.contains(&&*wanted) {
        let there = programs.join(", ");
        faults.push(format!(
            "there is no program \"{wanted}\", which module.toml names as entry_point; there is {there}"
        ));
    }
    faults
}

/// Uses whose permission the manifest does not ask for.
fn undeclared(manifest: &Manifest, used: &[(String, Use)]) -> Vec<(String, String)> {
    let declared = declared(manifest);
    let is_missing = |used: &&(String, Use)| !used.1.any_of.iter().any(|name| declared.contains(name));
    used.iter()
        .filter(is_missing)
        .map(|(file, used)| {
            let names: Vec<_> = used.any_of.iter().map(|name| format!("\"{name}\"")).collect();
            let text = format!(
                "{} needs {}: add it to `capabilities` in module.toml",
                used.what,
                names.join(" or ")
            );
            (format!("{file}:{}", used.line), text)
        })
        .collect()
}

/// Permissions that nothing in the source uses, of those that a source shows.
fn unused(manifest: &Manifest, used: &[(String, Use)]) -> Vec<String> {
    let mut shown: BTreeSet<&str> = uses::shown();
    for (_, used) in used {
        used.any_of.iter().for_each(|name| {
            shown.remove(name.as_str());
        });
    }
    let unused = declared(manifest).into_iter().filter(|name| shown.contains(name.as_str()));
    unused
        .map(|name| format!("\"{name}\" stands among the capabilities, and nothing in src/ shows what for"))
        .collect()
}

/// Permissions of a manifest by their names.
fn declared(manifest: &Manifest) -> Vec<String> {
    let permissions = manifest.permissions.iter().map(|permission| permission.name().to_owned());
    permissions.chain(manifest.publishes.iter().map(|event| format!("publish:{event}"))).collect()
}

/// What all Rust sources in `src/` use, with the file's path in the module's directory.
fn sources(directory: &Path) -> Result<Vec<(String, Use)>, FileFault> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.join("src")];
    while let Some(place) = waiting.pop() {
        let entries = fs::read_dir(&place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        for entry in entries.map_err(FileFault::at(&place, "read"))? {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).map_err(FileFault::at(&path, "read"))?;
                let shown = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
                found.extend(uses(&text).into_iter().map(|used| (shown.clone(), used)));
            }
        }
    }
    found.sort_by(|a, b| (&a.0, a.1.line).cmp(&(&b.0, b.1.line)));
    Ok(found)
}
