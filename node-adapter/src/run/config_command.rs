//! `blvm config show`, `blvm config set` and `blvm configpath`: files only, no running node.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blvm_manifest::{
    Assignment, CONFIG_FILE, Configuration, ConfigurationError, ConfigurationSources, Discovered, FileError,
    KeyPath, Manifest, NodeFile, Origin, SetError, dotted, module_environment, written,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::RunError;
use super::assembly::data_directory_of;
use super::status::write_line;
use crate::embedded::Network;

/// Why a configuration was not shown or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigCommandError {
    /// `blvm.toml` is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such module.
    #[error("there is no module {name} in {}: {}", directory.display(), if known.is_empty() { "none is installed".to_owned() } else { format!("installed are {}", known.join(", ")) })]
    Unknown {
        /// The name.
        name: String,
        /// Where modules are.
        directory: PathBuf,
        /// Those there are.
        known: Vec<String>,
    },
    /// The module is there and cannot be used.
    #[error("module {name} cannot be used")]
    Module {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Box<blvm_manifest::DiscoverError>,
    },
    /// The module's configuration is wrong, or would be.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The value was not set.
    #[error(transparent)]
    Set(#[from] SetError),
}

/// What `blvm config` does.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print each value of a module's configuration and where it comes from.
    Show(ShowArguments),
    /// Change one value in blvm.toml, for example modules.pool.port=3333. Comments stay; an unknown key is refused.
    Set(SetArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The module.
    name: String,

    /// Print one JSON object per value, and a last one that counts them.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, Args)]
pub(super) struct SetArguments {
    /// The key and its value, which is read as TOML writes values, or as a string if it is nothing in TOML.
    #[arg(value_name = "KEY=VALUE")]
    assignment: String,

    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, Args)]
pub(super) struct PathArguments {
    /// The module.
    name: String,

    #[command(flatten)]
    place: PlaceArguments,
}

/// Where the files are.
#[derive(Debug, Args)]
struct PlaceArguments {
    /// Directory of the node's data; without it blvm/NETWORK in the user's data directory.
    #[arg(long, value_name = "DIR")]
    datadir: Option<PathBuf>,

    /// Network of the node, where no directory is given.
    #[arg(long, default_value = "regtest", value_name = "NETWORK")]
    network: Network,

    /// Directory whose subdirectories are modules; without it what blvm.toml says, or `installed` in the data directory.
    #[arg(long, value_name = "DIR")]
    modules_dir: Option<PathBuf>,

    /// The node's configuration; without it blvm.toml in the data directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The files of one node.
struct Place {
    modules_directory: PathBuf,
    data_directory: PathBuf,
    node_file: NodeFile,
}

impl Place {
    fn open(arguments: &PlaceArguments) -> Result<Self, RunError> {
        let datadir = data_directory_of(arguments.datadir.as_deref(), arguments.network)?;
        let node_file =
            NodeFile::read(arguments.config.as_deref(), &datadir).map_err(ConfigCommandError::from)?;
        Ok(Place {
            modules_directory: node_file.modules_directory(arguments.modules_dir.as_deref(), &datadir),
            data_directory: node_file.modules_data_directory(&datadir),
            node_file,
        })
    }

    /// The installed module of that name.
    fn module(&self, name: &str) -> Result<Manifest, ConfigCommandError> {
        let mut found = Discovered::default();
        found.look(&self.modules_directory, std::env::current_exe().ok().as_deref().and_then(Path::parent));
        if let Some(manifest) = found.modules.remove(name) {
            return Ok(manifest);
        }
        let own_directory = self.modules_directory.join(name);
        match found.refused.into_iter().find(|refused| refused.directory() == Some(own_directory.as_path())) {
            Some(source) => {
                Err(ConfigCommandError::Module { name: name.to_owned(), source: Box::new(source) })
            }
            None => Err(ConfigCommandError::Unknown {
                name: name.to_owned(),
                directory: self.modules_directory.clone(),
                known: found.modules.into_keys().collect(),
            }),
        }
    }

    fn configuration(
        &self,
        manifest: &Manifest,
        node_file: &NodeFile,
    ) -> Result<Configuration, ConfigurationError> {
        Configuration::read(ConfigurationSources {
            manifest,
            data_directory: &self.data_directory.join(&manifest.name),
            node_file,
            environment: &module_environment(),
        })
    }
}

pub(super) fn run(command: &ConfigCommand) -> Result<ExitCode, RunError> {
    match command {
        ConfigCommand::Show(arguments) => show(arguments),
        ConfigCommand::Set(arguments) => set(arguments),
    }
}

fn show(arguments: &ShowArguments) -> Result<ExitCode, RunError> {
    let place = Place::open(&arguments.place)?;
    let manifest = place.module(&arguments.name)?;
    let configuration = place.configuration(&manifest, &place.node_file).map_err(ConfigCommandError::from)?;
    for (key, value, origin) in configuration.values() {
        let description = manifest.config_schema.as_ref().and_then(|schema| schema.get(&key.join(".")));
        write_line(&match arguments.json {
            true => json_line(key, value, origin, description),
            false => format!("{} = {}  # {origin}", dotted(key), written(value)),
        })?;
    }
    if arguments.json {
        let values = configuration.values().count();
        write_line(&json!({"module": manifest.name, "values": values}).to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn json_line(key: &KeyPath, value: &toml::Value, origin: &Origin, description: Option<&String>) -> String {
    let origin = match origin {
        Origin::File { path, line } => json!({"file": path.display().to_string(), "line": line}),
        Origin::Environment { variable } => json!({"variable": variable}),
    };
    json!({"key": dotted(key), "value": json(value), "origin": origin, "description": description})
        .to_string()
}

/// A value of TOML in JSON: dates as strings, and what is no number in JSON too.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(integer) => (*integer).into(),
        toml::Value::Float(float) if float.is_finite() => (*float).into(),
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Float(_) | toml::Value::Datetime(_) => value.to_string().into(),
        toml::Value::Array(values) => values.iter().map(json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

fn set(arguments: &SetArguments) -> Result<ExitCode, RunError> {
    let place = Place::open(&arguments.place)?;
    Ok(set_in(&place, &arguments.assignment)?)
}

/// Changes the file if it, and the configuration of the module that the key belongs to, are right afterwards.
fn set_in(place: &Place, assignment: &str) -> Result<ExitCode, ConfigCommandError> {
    let assignment: Assignment = assignment.parse()?;
    let own = match &assignment.key[..] {
        [modules, name, key, ..] if modules == "modules" && key != "limits" => Some(name),
        _ => None,
    };
    let Some(name) = own else {
        place.node_file.with(&assignment, false)?.write()?;
        say(place, &assignment, None);
        return Ok(ExitCode::SUCCESS);
    };
    let manifest = place.module(name)?;
    let before = place.configuration(&manifest, &place.node_file)?;
    let key: KeyPath = assignment.key[2..].to_vec();
    let is_text = before.values().any(|(found, value, _)| *found == key && value.is_str());
    let changed = place.node_file.with(&assignment, is_text)?;
    let after = place.configuration(&manifest, &changed)?;
    changed.write()?;
    say(
        place,
        &assignment,
        after.origins.get(&key).filter(|origin| matches!(origin, Origin::Environment { .. })),
    );
    Ok(ExitCode::SUCCESS)
}

fn say(place: &Place, assignment: &Assignment, hidden_by: Option<&Origin>) {
    let (key, path) = (dotted(&assignment.key), place.node_file.path.display());
    eprintln!("blvm: {key} is set in {path}; a running node takes it when the module is reloaded");
    if let Some(origin) = hidden_by {
        eprintln!("blvm: {origin} is set here and is stronger");
    }
}

/// Prints the file that is the operator's to edit for one module.
pub(super) fn path(arguments: &PathArguments) -> Result<ExitCode, RunError> {
    let place = Place::open(&arguments.place)?;
    let manifest = place.module(&arguments.name)?;
    write_line(&place.data_directory.join(manifest.name).join(CONFIG_FILE).display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
