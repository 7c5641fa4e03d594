//! `check`: what is wrong with a module before it is started.
//!
//! Looked at are `module.toml`, `Cargo.toml`, the sources of the module's program and of the packages it depends on that use the SDK,
//! and the SDK that Cargo takes.
//!
//! | what is found | is |
//! |---|---|
//! | what the node would refuse, for certain | a fault: exit status 1 |
//! | what may be refused: in a dependency, of which the program may use a part; under a `#[cfg(…)]`; of a name that others may have too | a note |
//! | a permission that nothing shows a use of | a note |

mod names;
pub(crate) mod sdk;
mod sources;
mod tokens;
mod uses;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use blvm_bus::message::topic;
use blvm_manifest::{MANIFEST_FILE, Manifest};
use clap::Args;
use serde_json::{Value, json};

use crate::compile::CargoArguments;
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::{Project, release};
use sources::{Owner, Source, sources};
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
/// Looked at are the sources of its program, without tests, and of those dependencies that use the SDK. Faults are told where the node
/// would refuse it for certain, everything else is a note. Not seen is what macros write, and what is chosen only when it runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module check
  cargo blvm-module check --path modules/fee-alarm --json
  cargo blvm-module check --ignore submit_package     # something of the module's own is called so")]
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
    /// The file, and the line from 1 where there is one.
    file: String,
    line: Option<usize>,
    text: String,
}

impl Finding {
    fn new(is_fault: bool, file: &str, line: Option<usize>, text: String) -> Self {
        Finding { is_fault, file: file.to_owned(), line, text }
    }

    fn tell(&self, output: Output) -> Result<(), ToolError> {
        let Finding { is_fault, file, line, text } = self;
        let severity = if *is_fault { "fault" } else { "note" };
        let place = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
        let json =
            json!({ "event": "finding", "severity": severity, "file": file, "line": line, "text": text });
        output.result(&format!("{severity}: {place}: {text}"), &json)
    }
}

/// `check`.
pub(crate) fn check(arguments: &CheckArguments, output: Output) -> Result<(), ToolError> {
    let project = Project::read(&arguments.path)?;
    let manifest = &project.manifest;
    let metadata = arguments.cargo.metadata(&project)?;
    let mut findings = Vec::new();
    if let Err(error) = manifest.check_compatibility(&release()) {
        let line = project.line_of("compatibility");
        findings.push(Finding::new(true, MANIFEST_FILE, line, error.to_string()));
    }
    let cargo_faults = program_faults(manifest, &metadata).into_iter().chain(sdk_fault(&metadata));
    findings.extend(cargo_faults.map(|text| Finding::new(true, "Cargo.toml", None, text)));
    let program = Path::new(&manifest.entry_point).file_name().unwrap_or_default().to_string_lossy();
    let sources = sources(&project.directory, &program, &metadata).map_err(CheckError::from)?;
    let used: Vec<_> = sources
        .iter()
        .flat_map(|source| uses(&source.text).into_iter().map(move |used| (source, used)))
        .map(|(source, used)| {
            let is_conditional = used.is_conditional || source.is_conditional;
            (source, Use { is_conditional, ..used })
        })
        .collect();
    let is_ignored =
        |used: &Use| arguments.ignore.iter().any(|name| used.what == format!("the request {name}"));
    let used: Vec<_> = used.into_iter().filter(|(_, used)| !is_ignored(used)).collect();
    findings.extend(undeclared(manifest, &used));
    findings.extend(unused(&project, &used));
    findings.iter().try_for_each(|finding| finding.tell(output))?;
    let name = manifest.name.clone();
    let count = findings.iter().filter(|finding| finding.is_fault).count();
    if count > 0 {
        return Err(CheckError::Faults { name, count }.into());
    }
    let dependencies: BTreeSet<_> = sources
        .iter()
        .filter_map(|source| match &source.owner {
            Owner::Dependency(name) => Some(name.as_str()),
            Owner::Module => None,
        })
        .collect();
    let (protocol, layout) = (sdk::OURS.protocol, sdk::OURS.layout);
    let looked = match dependencies.len() {
        0 => String::new(),
        _ => format!(
            ", {} of them in dependencies",
            sources.iter().filter(|source| source.owner != Owner::Module).count()
        ),
    };
    let text = format!(
        "module {name} is right as far as can be seen in {}{looked}: protocol {protocol}, layout {layout}",
        count_of(sources.len(), "source file"),
    );
    let json = json!({
        "result": "right", "module": name, "notes": findings.len(), "files": sources.len(), "dependencies": dependencies,
        "protocol": protocol, "layout": layout,
    });
    output.result(&text, &json)
}

fn count_of(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Whether the SDK that Cargo takes speaks as this tool's node does.
fn sdk_fault(metadata: &Value) -> Option<String> {
    let Some((path, found)) = sdk::found(metadata) else {
        return Some(
            "the package does not depend on blvm-sdk: only with it a module attaches to a node".to_owned(),
        );
    };
    (found != sdk::OURS).then(|| {
        format!(
            "the SDK in {} speaks protocol {} and layout {}, and this tool's node {} and {}: `cargo blvm-module update` takes this tool's",
            path.display(), found.protocol, found.layout, sdk::OURS.protocol, sdk::OURS.layout
        )
    })
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

/// Uses whose permission the manifest does not ask for, and topics that it has to name.
fn undeclared(manifest: &Manifest, used: &[(&Source, Use)]) -> Vec<Finding> {
    let declared = declared(manifest);
    let named: Vec<_> = manifest.topics.iter().filter_map(|wanted| Some(topic(wanted.topic)?.name)).collect();
    let mut findings = Vec::new();
    for (source, used) in used {
        let (whose, is_fault) = match &source.owner {
            Owner::Module => (String::new(), used.is_certain && !used.is_conditional),
            Owner::Dependency(name) => (format!(" in package {name}, if the module uses it,"), false),
        };
        let unsure = match (used.is_certain, used.is_conditional) {
            (false, _) => ", if that is what is called here,",
            (true, true) => ", where its `cfg` holds,",
            (true, false) => "",
        };
        let mut add = |text: String| {
            let text = format!("{}{whose}{unsure} {text}", used.what);
            findings.push(Finding::new(is_fault, &source.shown, Some(used.line), text));
        };
        if !used.any_of.iter().any(|name| declared.contains(name)) {
            let names: Vec<_> = used.any_of.iter().map(|name| format!("\"{name}\"")).collect();
            add(format!("needs {}: add it to `capabilities` in module.toml", names.join(" or ")));
        }
        if let Some(topic) = used.topic.filter(|topic| !named.contains(topic)) {
            add(format!("needs the topic named in module.toml: add `[topics]` and `{topic} = {{}}`"));
        }
    }
    findings
}

/// Permissions that nothing uses, of those whose use a source shows.
fn unused(project: &Project, used: &[(&Source, Use)]) -> Vec<Finding> {
    let mut shown: BTreeSet<&str> = uses::shown();
    for (_, used) in used {
        used.any_of.iter().for_each(|name| {
            shown.remove(name.as_str());
        });
    }
    let unused = declared(&project.manifest).into_iter().filter(|name| shown.contains(name.as_str()));
    let tell = |name: String| {
        let text =
            format!("\"{name}\" stands among the capabilities, and nothing in the source shows what for");
        Finding::new(false, MANIFEST_FILE, project.line_of(&format!("\"{name}\"")), text)
    };
    unused.map(tell).collect()
}

/// Permissions of a manifest by their names.
pub(crate) fn declared(manifest: &Manifest) -> Vec<String> {
    let permissions = manifest.permissions.iter().map(|permission| permission.name().to_owned());
    permissions.chain(manifest.publishes.iter().map(|event| format!("publish:{event}"))).collect()
}
