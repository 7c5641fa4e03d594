//! `module.toml`: what a module says of itself. Anything wrong in it refuses the module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use blvm_bus::message::{self, KnownTopic, TOPICS};
use blvm_bus::request::{Permission, UnknownPermission};
use serde::Deserialize;

/// Longest name of a module, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What a module asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name, of lower-case letters, digits and hyphens.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The program.
    pub program: PathBuf,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// Topics it names, by number; the others it may read by its permissions alone.
    pub topics: Vec<ManifestTopic>,
}

/// A topic named in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestTopic {
    /// Its number.
    pub topic: u32,
    /// Numbers of the kinds the module wants unless it says otherwise; empty for all.
    pub kinds: Vec<u16>,
}

/// Why a module is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// There is no readable manifest.
    #[error("{} cannot be read: give a directory with a module.toml", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML of the right shape.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, key and what is wrong with them.
        message: String,
    },
    /// A permission is not known.
    #[error("{}: in capabilities: {source}", path.display())]
    Permission {
        /// The file.
        path: PathBuf,
        /// Which.
        source: UnknownPermission,
    },
    /// A topic is not known.
    #[error("{}: in [topics]: unknown topic {name:?}; known are {}", path.display(), known_topics())]
    Topic {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A topic has no such kind.
    #[error("{}: in [topics]: {} has no kind {kind:?}; it has {}", path.display(), topic.name, kinds_of(topic))]
    Kind {
        /// The file.
        path: PathBuf,
        /// The topic.
        topic: &'static KnownTopic,
        /// The name.
        kind: String,
    },
    /// The name cannot be one.
    #[error("{}: name {name:?} must be 1 to {MAX_NAME_BYTES} lower-case letters, digits and hyphens", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The entry point leaves the module's directory.
    #[error("{}: entry_point {entry_point:?} must be a relative path without \"..\"", path.display())]
    EntryPoint {
        /// The file.
        path: PathBuf,
        /// The entry point.
        entry_point: String,
    },
    /// There is no such program.
    #[error("{}: the program \"{entry_point}\" is neither beside the manifest nor in {}; build the module first", path.display(), build_directory.display())]
    NoProgram {
        /// The file.
        path: PathBuf,
        /// The entry point.
        entry_point: String,
        /// Where built programs are looked for.
        build_directory: PathBuf,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "optional keys are accepted and shown to nobody yet")]
struct File {
    name: String,
    version: String,
    entry_point: String,
    description: Option<String>,
    author: Option<String>,
    license: Option<String>,
    homepage: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    topics: BTreeMap<String, TopicSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicSection {
    #[serde(default)]
    kinds: Vec<String>,
}

fn known_topics() -> String {
    let names: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
    names.join(", ")
}

fn kinds_of(topic: &KnownTopic) -> String {
    let names: Vec<_> = topic.kinds.iter().map(|(_, name)| *name).collect();
    names.join(", ")
}

impl Manifest {
    /// Reads `directory/module.toml` and finds the program: beside it, in its `target/release`, or in `build_directory`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] names the file and what is wrong in it.
    pub fn read(directory: &Path, build_directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join("module.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        Self::parse(&text, path, directory, build_directory)
    }

    /// A manifest that is part of this program; the module's program is looked for in `build_directory` only.
    ///
    /// # Errors
    ///
    /// [`ManifestError`].
    pub fn read_text(text: &str, build_directory: &Path) -> Result<Self, ManifestError> {
        Self::parse(text, build_directory.join("module.toml"), build_directory, build_directory)
    }

    fn parse(
        text: &str,
        path: PathBuf,
        directory: &Path,
        build_directory: &Path,
    ) -> Result<Self, ManifestError> {
        let file: File = toml::from_str(text).map_err(|error| ManifestError::Parse {
            path: path.clone(),
            message: error.to_string().trim_end().replace('\n', "; "),
        })?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if file.name.is_empty() || file.name.len() > MAX_NAME_BYTES || !file.name.chars().all(is_name) {
            return Err(ManifestError::Name { path, name: file.name });
        }
        let permissions = file
            .capabilities
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, _>>()
            .map_err(|source| ManifestError::Permission { path: path.clone(), source })?;
        let topics = file
            .topics
            .iter()
            .map(|(name, section)| named_topic(&path, name, section))
            .collect::<Result<_, _>>()?;
        let program = find_program(&path, directory, build_directory, &file.entry_point)?;
        Ok(Manifest { name: file.name, version: file.version, program, permissions, topics })
    }
}

fn named_topic(path: &Path, name: &str, section: &TopicSection) -> Result<ManifestTopic, ManifestError> {
    let topic = message::topic_named(name)
        .ok_or_else(|| ManifestError::Topic { path: path.to_owned(), name: name.to_owned() })?;
    let number = |kind: &String| {
        topic.kind_number(kind).ok_or_else(|| ManifestError::Kind {
            path: path.to_owned(),
            topic,
            kind: kind.clone(),
        })
    };
    let kinds = section.kinds.iter().map(number).collect::<Result<_, _>>()?;
    Ok(ManifestTopic { topic: topic.number, kinds })
}

fn find_program(
    path: &Path,
    directory: &Path,
    build_directory: &Path,
    entry_point: &str,
) -> Result<PathBuf, ManifestError> {
    use std::path::Component;
    let relative = Path::new(entry_point);
    let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if entry_point.is_empty() || !is_plain {
        return Err(ManifestError::EntryPoint { path: path.to_owned(), entry_point: entry_point.to_owned() });
    }
    [directory.to_owned(), directory.join("target/release"), build_directory.to_owned()]
        .into_iter()
        .map(|place| place.join(relative))
        .find(|program| program.is_file())
        .ok_or_else(|| ManifestError::NoProgram {
            path: path.to_owned(),
            entry_point: entry_point.to_owned(),
            build_directory: build_directory.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"watch\"\nversion = \"0.1.0\"\nentry_point = \"watch\"\ncapabilities = [\"read_blockchain\"]\n";

    fn read(text: &str) -> Result<Manifest, ManifestError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("module.toml"), text).unwrap();
        std::fs::write(directory.path().join("watch"), "").unwrap();
        Manifest::read(directory.path(), directory.path())
    }

    #[test]
    fn a_good_manifest_is_read() {
        let manifest = read(GOOD).unwrap();
        assert_eq!(manifest.permissions, [Permission::ReadBlockchain]);
        assert!(manifest.program.ends_with("watch"));
    }

    #[test]
    fn topics_are_named_with_the_kinds_wanted() {
        let topics = read(&format!(
            "{GOOD}[topics]\nmesh_packets = {{}}\nchain = {{ kinds = [\"BlockDisconnected\", \"BlockConnected\"] }}\n"
        ));
        let chain = ManifestTopic { topic: 1, kinds: vec![2, 1] };
        assert_eq!(topics.unwrap().topics, [chain, ManifestTopic { topic: 5, kinds: Vec::new() }]);
    }

    #[test]
    fn every_mistake_is_refused_and_named() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert!(message("name = ").contains("line 1"));
        assert!(message(&format!("{GOOD}colour = 1")).contains("colour"));
        assert!(message(&GOOD.replace("version", "verzion")).contains("verzion"));
        assert!(message(&GOOD.replace("read_blockchain", "read_all")).contains("read_all"));
        assert!(message(&GOOD.replace("\"watch\"\nversion", "\"../x\"\nversion")).contains("lower-case"));
        assert!(message(&GOOD.replace("point = \"watch", "point = \"../watch")).contains(".."));
        assert!(
            message(&GOOD.replace("point = \"watch", "point = \"absent")).contains("build the module first")
        );
        assert!(message(&format!("{GOOD}[topics]\nmesh = {{}}")).contains("mesh_packets"));
        assert!(message(&format!("{GOOD}[topics]\nchain = {{ kind = [] }}")).contains("kinds"));
        let kind = message(&format!("{GOOD}[topics]\nchain = {{ kinds = [\"NewBlock\"] }}"));
        assert!(kind.contains("NewBlock") && kind.contains("BlockConnected"), "{kind}");
        let nowhere = Manifest::read(Path::new("nowhere"), Path::new("nowhere")).unwrap_err();
        assert!(nowhere.to_string().contains("nowhere/module.toml"));
    }
}
