//! Target `config`: the layers of a module's configuration, and a change of the operator's file.
//!
//! The bytes are six parts, each ended by the byte 0x1f: the manifest's `[config_schema]` (none if it is empty), the two
//! files, `blvm.toml`, variables (a line each, without `MODULE_CONFIG_`), and one `KEY=VALUE`.

use std::path::Path;

use blvm_manifest::{
    Assignment, Configuration, ConfigurationError, Manifest, NodeFile, Origin, VARIABLE_PREFIX,
};

use crate::manifest::one_line;

/// What came of a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Configured {
    /// Values that are no tables; none if a layer is wrong.
    pub values: usize,
    /// Whether the change was made.
    pub is_changed: bool,
}

/// Reads `data` as a configuration of the module `pool`.
pub fn config(data: &[u8]) -> Configured {
    let mut parts = data.split(|byte| *byte == 0x1f).map(|part| str::from_utf8(part).unwrap_or_default());
    let [schema, module, own, node, variables, change] =
        std::array::from_fn(|_| parts.next().unwrap_or_default());
    let schema = if schema.is_empty() { String::new() } else { format!("[config_schema]\n{schema}") };
    let text = format!("name = \"pool\"\nversion = \"0.1.0\"\nentry_point = \"pool\"\n{schema}");
    let Ok(manifest) = Manifest::parse(&text, Path::new("module.toml")) else { return Configured::default() };
    let node_file = match NodeFile::parse(node, Path::new("blvm.toml")) {
        Ok(file) => file,
        Err(error) => {
            one_line(&error.to_string());
            return Configured::default();
        }
    };
    let limits = node_file.limits_of(&manifest);
    assert!(limits.open_files > 0 && limits.memory_bytes > 0);
    let values = match read(&manifest, module, own, &node_file, variables) {
        Ok(configuration) => check(&manifest, &configuration),
        Err(error) => {
            one_line(&error.to_string());
            return Configured::default();
        }
    };
    Configured { values, is_changed: changed(&node_file, change) }
}

fn read(
    manifest: &Manifest,
    module: &str,
    own: &str,
    node_file: &NodeFile,
    variables: &str,
) -> Result<Configuration, ConfigurationError> {
    let mut configuration = Configuration::default();
    configuration.add_file(module, Path::new("module/config.toml"), manifest)?;
    configuration.add_file(own, Path::new("own/config.toml"), manifest)?;
    configuration.add_node_file(node_file, manifest)?;
    let pairs = variables.lines().filter_map(|line| line.split_once('='));
    let environment: Vec<_> =
        pairs.map(|(name, value)| (format!("{VARIABLE_PREFIX}{name}"), value.to_owned())).collect();
    // What the module can write opens no variable.
    let own =
        |origin: &Origin| matches!(origin, Origin::File { path, .. } if path == Path::new("own/config.toml"));
    let set: Vec<_> =
        configuration.origins.iter().filter(|(_, origin)| !own(origin)).map(|(key, _)| key.clone()).collect();
    configuration.add_environment(&environment, manifest, set)?;
    Ok(configuration)
}

/// Every value has its origin, and what is in force is read again alike. How many values there are.
fn check(manifest: &Manifest, configuration: &Configuration) -> usize {
    assert_eq!(configuration.values().count(), configuration.origins.len());
    assert_eq!(leaves(&configuration.table), configuration.origins.len());
    let text = toml::to_string(&configuration.table).expect("tables are written");
    let mut again = Configuration::default();
    // The module's own table, read as a file, may look like one that is wrapped.
    if again.add_file(&text, Path::new("again.toml"), manifest).is_ok() {
        // No number is equal to what is none.
        let written = toml::to_string(&again.table).expect("tables are written");
        assert_eq!(written, text);
    }
    configuration.origins.len()
}

fn leaves(table: &toml::Table) -> usize {
    table.values().map(|value| value.as_table().map_or(1, leaves)).sum()
}

/// Whether a change is made; then the file is right and has the value.
fn changed(file: &NodeFile, change: &str) -> bool {
    let Ok(assignment) = change.parse::<Assignment>() else { return false };
    match file.with(&assignment, true) {
        Ok(changed) => {
            assert_eq!(changed.with(&assignment, true).expect("it can be done again"), changed);
            true
        }
        Err(error) => {
            one_line(&error.to_string());
            false
        }
    }
}
