//! `update`: a module's package is brought to the SDK of this tool; or modules that are installed to what they were installed from.

mod cargo_file;
mod changes;
mod installed;
mod lock;
mod manifest_file;
mod texts;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blvm_manifest::MANIFEST_FILE;
use clap::Args;
use serde_json::json;
use toml_edit::{DocumentMut, Item};

use crate::check::sdk;
use crate::compile::CargoArguments;
use crate::directory::DirectoryArguments;
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::{Project, release};
use crate::run::RunError;
use crate::sdk::{Sdk, SdkArguments, SdkError};
use crate::signals::Signals;
use cargo_file::From;
use changes::changes;
use lock::Lock;
use texts::Text;

pub(crate) use installed::UpdateInstalledError;

/// Why nothing was brought up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error(transparent)]
    Sdk(#[from] SdkError),
    #[error(transparent)]
    File(#[from] FileFault),
    #[error("{} does not depend on blvm-sdk: `cargo blvm-module new` makes a package that does", path.display())]
    NoDependency { path: PathBuf },
    #[error(
        "{} takes blvm-sdk from a repository or a registry: say which one it shall be, --sdk-git URL --rev COMMIT or --sdk DIR",
        path.display()
    )]
    Elsewhere { path: PathBuf },
    #[error("{} takes blvm-sdk from its workspace, and no Cargo.toml above it has a [workspace]", path.display())]
    NoWorkspace { path: PathBuf },
    #[error("{} takes blvm-sdk from its workspace, which does not name it under [workspace.dependencies]", path.display())]
    NotOfWorkspace { path: PathBuf },
    #[error("Cargo does not take the package so, and it is as it was before: what Cargo says stands above")]
    Refused,
    #[error("module {name} is not up to date: `cargo blvm-module update` changes what stands above")]
    Behind { name: String },
}

/// Bring a module to the SDK of this tool; or installed modules, by their names, to what they were installed from.
///
/// Without a name: takes blvm-sdk from where this tool's is, wherever Cargo.toml or its workspace names it, brings what module.toml
/// says under [compatibility] up to date, and says what changed in between. Everything else in both files stays as it is.
///
/// With names: each module is built anew from the directory or the index entry it was installed from, and takes the place of the
/// installed one in one step. Its configuration and its data stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo blvm-module update
  cargo blvm-module update --check                  # says what it would change, and changes nothing
  cargo blvm-module update --sdk-git https://example.org/bus.git --rev 4f2a…
  cargo blvm-module update fee-alarm --datadir /var/lib/blvm")]
pub(crate) struct UpdateArguments {
    /// Modules that are installed.
    names: Vec<String>,

    /// All modules that are installed.
    #[arg(long, conflicts_with = "names")]
    all: bool,

    /// Directory of the module's package.
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with_all = ["names", "all"])]
    path: PathBuf,

    /// Say what would be changed, and change nothing; the exit status is 1 then.
    #[arg(long, visible_alias = "dry-run")]
    check: bool,

    #[command(flatten)]
    sdk: SdkArguments,

    #[command(flatten)]
    cargo: CargoArguments,

    #[command(flatten)]
    directory: DirectoryArguments,
}

/// `update`.
pub(crate) fn update(arguments: &UpdateArguments, output: Output) -> Result<(), ToolError> {
    if arguments.all || !arguments.names.is_empty() {
        return installed::update(arguments, output);
    }
    let project = Project::read(&arguments.path)?;
    let lock = Lock::read(&absolute(&project.directory).map_err(UpdateError::from)?);
    let put_back = || {
        let done = lock.write_back();
        done.map_err(FileFault::at(&project.directory.join("Cargo.lock"), "written"))
            .map_err(UpdateError::from)
    };
    let before = arguments.cargo.metadata_quietly(&project)?.and_then(|metadata| sdk::found(&metadata));
    let mut plan = Plan::default();
    if arguments.check {
        put_back()?;
    }
    plan.cargo_file(&project, &arguments.sdk)?;
    plan.manifest(&project)?;
    for (place, text) in &plan.told {
        let json = json!({ "event": "change", "file": place, "text": text });
        output.result(&format!("{place}: {text}"), &json)?;
    }
    let name = &project.manifest.name;
    if !plan.texts.is_empty() {
        if arguments.check {
            return Err(UpdateError::Behind { name: name.clone() }.into());
        }
        if let Err(error) = write(&plan.texts, &project, arguments) {
            // What went wrong first is what is told; a lock that could not be put back Cargo makes anew.
            let _ = put_back();
            return Err(error);
        }
    }
    let after = arguments.cargo.metadata_quietly(&project)?.and_then(|metadata| sdk::found(&metadata));
    if arguments.check {
        put_back()?;
    }
    let news = match (before.as_ref(), after.as_ref()) {
        (Some((_, before)), Some((_, after))) => changes(before.protocol, after.protocol),
        _ => Vec::new(),
    };
    for change in &news {
        let json = json!({ "event": "news", "protocol": change.protocol, "text": change.text });
        output.result(&format!("protocol {}: {}", change.protocol, change.text), &json)?;
    }
    let versions = |found: Option<&(PathBuf, sdk::Versions)>| {
        found.map(|(_, found)| json!({ "protocol": found.protocol, "layout": found.layout }))
    };
    let now = after.as_ref().map_or_else(String::new, |(_, found)| {
        let was = before.as_ref().filter(|(_, before)| before != found);
        let was = was.map_or_else(String::new, |(_, was)| {
            format!(", before it was protocol {} and layout {}", was.protocol, was.layout)
        });
        format!(": protocol {}, layout {}{was}", found.protocol, found.layout)
    });
    let (done, next) = match plan.texts.is_empty() {
        true => ("is up to date", ""),
        false => (
            "is brought up to date",
            "\nTo see whether it still fits: cargo blvm-module check, and cargo blvm-module test",
        ),
    };
    let json = json!({
        "result": if plan.texts.is_empty() { "up_to_date" } else { "updated" }, "module": name,
        "files": plan.texts.iter().map(|text| &text.path).collect::<Vec<_>>(),
        "before": versions(before.as_ref()), "after": versions(after.as_ref()),
        "next": ["cargo blvm-module check", "cargo blvm-module test"],
    });
    output.result(&format!("module {name} {done}{now}{next}"), &json)
}

/// Writes the files; where Cargo does not take them, what was there before.
fn write(texts: &[Text], project: &Project, arguments: &UpdateArguments) -> Result<(), ToolError> {
    // Ctrl-C does not come between two files.
    let signals = Signals::listen().map_err(RunError::Signals)?;
    let mut done = texts::write(texts);
    // From here on Ctrl-C ends Cargo, and this: the files are written.
    if done.is_ok() && signals.count() == 0 && arguments.cargo.metadata(project).is_err() {
        done = texts::write_back(texts);
        done.map_err(UpdateError::from)?;
        return Err(UpdateError::Refused.into());
    }
    Signals::take_again().map_err(RunError::Signals)?;
    Ok(done.map_err(UpdateError::from)?)
}

/// What is to be changed.
#[derive(Debug, Default)]
struct Plan {
    texts: Vec<Text>,
    /// For people: which file, and what.
    told: Vec<(String, String)>,
}

impl Plan {
    /// `Cargo.toml`, and that of the workspace if it says where the SDK is.
    fn cargo_file(&mut self, project: &Project, asked: &SdkArguments) -> Result<(), UpdateError> {
        let path = project.cargo_file();
        let (mut document, text) = read(&path)?;
        let directory = absolute(&project.directory)?;
        let mut found = cargo_file::found(&mut document, &directory);
        if found.is_empty() {
            return Err(UpdateError::NoDependency { path });
        }
        let mut workspace = None;
        // Its own table of the workspace's dependencies was looked at with the rest of the file.
        if found.contains(&From::Workspace) && !document.contains_key("workspace") {
            let (path, mut document, text) = workspace_of(&document, &directory)?
                .ok_or_else(|| UpdateError::NoWorkspace { path: path.clone() })?;
            let above = path.parent().unwrap_or(Path::new("/")).to_owned();
            found.extend(cargo_file::found(&mut document, &above));
            workspace = Some((path, document, text, above));
        }
        if found.iter().all(|from| *from == From::Workspace) {
            return Err(UpdateError::NotOfWorkspace { path });
        }
        if !asked.is_given() && found.contains(&From::Elsewhere) {
            return Err(UpdateError::Elsewhere { path });
        }
        let source = Sdk::find(asked)?.dependency();
        let changed = cargo_file::take_from(&mut document, &directory, &source);
        self.add(path, text, &document, changed);
        if let Some((path, mut document, text, above)) = workspace {
            let changed = cargo_file::take_from(&mut document, &above, &source);
            self.add(path, text, &document, changed);
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, old: String, document: &DocumentMut, changed: Vec<(String, String)>) {
        if changed.is_empty() {
            return;
        }
        let tell = |(was, is)| (path.display().to_string(), format!("blvm-sdk was {was}, is {is}"));
        self.told.extend(changed.into_iter().map(tell));
        self.texts.push(Text { path, old, new: document.to_string() });
    }

    /// `module.toml`.
    fn manifest(&mut self, project: &Project) -> Result<(), UpdateError> {
        let path = project.directory.join(MANIFEST_FILE);
        let (mut document, old) = read(&path)?;
        let shown = path.display().to_string();
        let changed = manifest_file::bring_up_to_date(&mut document);
        if !changed.is_empty() {
            let signed = project.manifest.signatures.as_ref().is_some_and(|found| found.signed.is_some());
            let tell = |(key, was, is)| (shown.clone(), format!("{key} was {was}, is {is}"));
            self.told.extend(changed.into_iter().map(tell));
            if signed {
                self.told.push((shown.clone(), "it was signed, and has to be signed again".to_owned()));
            }
            self.texts.push(Text { path, old, new: document.to_string() });
        }
        if let Some(needs) =
            project.manifest.compatibility.min_node_version.as_ref().filter(|needs| **needs > release())
        {
            let text =
                format!("min_node_version {needs} is newer than this release, {}: left as it is", release());
            self.told.push((shown, text));
        }
        Ok(())
    }
}

fn absolute(directory: &Path) -> Result<PathBuf, FileFault> {
    fs::canonicalize(directory).map_err(FileFault::at(directory, "found"))
}

fn read(path: &Path) -> Result<(DocumentMut, String), FileFault> {
    let text = fs::read_to_string(path).map_err(FileFault::at(path, "read"))?;
    let document = text.parse().map_err(|error: toml_edit::TomlError| {
        FileFault::at(path, "understood")(io::Error::new(io::ErrorKind::InvalidData, error))
    })?;
    Ok((document, text))
}

/// The workspace that a package without one of its own is in: where its `package.workspace` says; else the nearest `Cargo.toml`
/// above it with a `[workspace]` that does not exclude it.
///
/// Source: the Cargo book, "Workspaces", "The `workspace` field", "The `members` and `exclude` fields".
fn workspace_of(
    package: &DocumentMut,
    directory: &Path,
) -> Result<Option<(PathBuf, DocumentMut, String)>, FileFault> {
    let named = package.get("package").and_then(|package| package.get("workspace")?.as_str());
    if let Some(named) = named {
        let path = absolute(&directory.join(named))?.join("Cargo.toml");
        let (document, text) = read(&path)?;
        return Ok(document.contains_key("workspace").then_some((path, document, text)));
    }
    for place in directory.ancestors().skip(1) {
        let path = place.join("Cargo.toml");
        if path.is_file() {
            let (document, text) = read(&path)?;
            if document.get("workspace").is_some_and(|workspace| !excludes(workspace, place, directory)) {
                return Ok(Some((path, document, text)));
            }
        }
    }
    Ok(None)
}

/// Whether a workspace in `place` excludes a directory. A member that is named whole stays one.
fn excludes(workspace: &Item, place: &Path, directory: &Path) -> bool {
    let listed = |key: &str| {
        let paths = workspace.get(key).and_then(Item::as_array).into_iter().flatten();
        paths.filter_map(|path| Some(place.join(path.as_str()?))).collect::<Vec<_>>()
    };
    listed("exclude").iter().any(|excluded| directory.starts_with(excluded))
        && !listed("members").iter().any(|member| member == directory)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_the_one_that_cargo_takes() {
        let root = tempfile::tempdir().unwrap();
        let root = absolute(root.path()).unwrap();
        let write = |place: &str, text: &str| {
            fs::create_dir_all(root.join(place)).unwrap();
            fs::write(root.join(place).join("Cargo.toml"), text).unwrap();
        };
        write("", "[workspace]\nmembers = [\"in/a\"]\nexclude = [\"out\", \"in\"]\n");
        write("other", "[workspace]\n");
        write("none", "[package]\n");
        for (package, place, text) in [
            ("in/a", Some(""), "[package]\n"),
            ("in/b", None, "[package]\n"),
            ("out/c", None, "[package]\n"),
            ("d", Some(""), "[package]\n"),
            ("out/e", Some("other"), "[package]\nworkspace = \"../../other\"\n"),
            ("out/f", None, "[package]\nworkspace = \"../../none\"\n"),
        ] {
            write(package, text);
            let found = workspace_of(&text.parse().unwrap(), &root.join(package)).unwrap();
            let found = found.map(|(path, ..)| path);
            assert_eq!(found, place.map(|place| root.join(place).join("Cargo.toml")), "{package}");
        }
    }
}
