//! Modules in a directory. What is wrong with one is told of that one, and the others go on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::manifest::{MANIFEST_FILE, Manifest, ManifestError};

/// Why a directory is no module that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The directory of the modules cannot be read.
    #[error("the modules directory {} cannot be read", path.display())]
    ModulesDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no manifest in it.
    #[error("{} holds no module.toml: add one, or move the directory out of the modules directory", path.display())]
    NoManifest {
        /// The directory.
        path: PathBuf,
    },
    /// Its manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its directory is called otherwise than the module.
    #[error("{} holds the module {name}: rename the directory to {name}", path.display())]
    DirectoryName {
        /// The directory.
        path: PathBuf,
        /// The module's name.
        name: String,
    },
    /// Another module of that name was found before.
    #[error("two modules are called {name}: {} is used, and {} is not; remove one or change its name", first.display(), second.display())]
    SameName {
        /// The name.
        name: String,
        /// The directory found first.
        first: PathBuf,
        /// The directory that is left out.
        second: PathBuf,
    },
}

impl DiscoverError {
    /// The directory that is left out.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            DiscoverError::ModulesDirectory { .. } => None,
            DiscoverError::NoManifest { path } | DiscoverError::DirectoryName { path, .. } => Some(path),
            DiscoverError::SameName { second, .. } => Some(second),
            DiscoverError::Manifest(error) => error.path().parent(),
        }
    }
}

/// Modules that were found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Their manifests by name.
    pub modules: BTreeMap<String, Manifest>,
    /// What was left out, and why.
    pub refused: Vec<DiscoverError>,
}

impl Discovered {
    /// Adds every `modules_directory/NAME/module.toml`, in the order of the directories' names. Files and names that begin
    /// with a point are passed over. Programs are looked for beside the manifest, in its `target/release`, and in
    /// `build_directory` if there is one.
    pub fn look(&mut self, modules_directory: &Path, build_directory: Option<&Path>) {
        let entries = match directories(modules_directory) {
            Ok(entries) => entries,
            Err(source) => {
                let path = modules_directory.to_owned();
                self.refused.push(DiscoverError::ModulesDirectory { path, source });
                return;
            }
        };
        for directory in entries {
            match read(&directory, build_directory) {
                Ok(manifest) => self.add(manifest),
                Err(error) => self.refused.push(error),
            }
        }
    }

    /// Adds one more, unless its name is taken.
    pub fn add(&mut self, manifest: Manifest) {
        match self.modules.get(&manifest.name) {
            Some(first) => self.refused.push(DiscoverError::SameName {
                name: manifest.name,
                first: first.directory.clone(),
                second: manifest.directory,
            }),
            None => {
                self.modules.insert(manifest.name.clone(), manifest);
            }
        }
    }
}

fn directories(modules_directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(modules_directory)? {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn read(directory: &Path, build_directory: Option<&Path>) -> Result<Manifest, DiscoverError> {
    // A broken link is there, and cannot be read: that is told apart from nothing.
    if std::fs::symlink_metadata(directory.join(MANIFEST_FILE))
        .is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    {
        return Err(DiscoverError::NoManifest { path: directory.to_owned() });
    }
    let manifest = Manifest::read(directory, build_directory.unwrap_or(directory))?;
    if directory.file_name().is_none_or(|name| name != manifest.name.as_str()) {
        return Err(DiscoverError::DirectoryName { path: directory.to_owned(), name: manifest.name });
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(modules: &Path, directory: &str, manifest: &str) {
        let directory = modules.join(directory);
        std::fs::create_dir_all(directory.join("target/release")).unwrap();
        std::fs::write(directory.join(MANIFEST_FILE), manifest).unwrap();
        std::fs::write(directory.join("target/release/program"), "").unwrap();
    }

    fn manifest(name: &str) -> String {
        format!("name = \"{name}\"\nversion = \"0.1.0\"\nentry_point = \"program\"\n")
    }

    #[test]
    fn what_is_wrong_with_one_module_is_told_and_the_others_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path();
        install(modules, "mesh", &manifest("mesh"));
        install(modules, "lightning", &manifest("lightning"));
        install(modules, "moved", &manifest("mesh"));
        install(modules, "broken", "name = ");
        install(modules, ".hidden", "name = ");
        install(modules, "unbuilt", &manifest("unbuilt").replace("program", "absent"));
        std::fs::create_dir(modules.join("empty")).unwrap();
        std::fs::create_dir(modules.join("linked")).unwrap();
        std::os::unix::fs::symlink("nowhere", modules.join("linked/module.toml")).unwrap();
        std::fs::write(modules.join("README"), "").unwrap();

        let mut found = Discovered::default();
        found.look(modules, None);
        assert_eq!(found.modules.keys().collect::<Vec<_>>(), ["lightning", "mesh"]);
        assert_eq!(found.modules["mesh"].program, modules.join("mesh/target/release/program"));
        let told: Vec<_> = found.refused.iter().map(ToString::to_string).collect();
        for (index, part) in [
            "broken/module.toml: line 1",
            "empty holds no module.toml",
            "linked/module.toml cannot be read",
            "moved holds the module mesh: rename the directory to mesh",
            "unbuilt/module.toml: the program \"absent\"",
        ]
        .iter()
        .enumerate()
        {
            assert!(told[index].contains(part), "{told:?}");
        }
        assert_eq!(told.len(), 5, "{told:?}");
    }

    #[test]
    fn of_two_modules_with_one_name_the_first_is_used() {
        let directory = tempfile::tempdir().unwrap();
        for place in ["a", "b"] {
            install(&directory.path().join(place), "mesh", &manifest("mesh"));
        }
        let mut found = Discovered::default();
        found.look(&directory.path().join("a"), None);
        found.look(&directory.path().join("b"), None);
        assert!(found.modules["mesh"].directory.ends_with("a/mesh"));
        let [error] = &found.refused[..] else { panic!("{:?}", found.refused) };
        assert!(error.to_string().contains("two modules are called mesh"), "{error}");
        assert!(error.to_string().contains("b/mesh is not"), "{error}");
    }

    #[test]
    fn a_modules_directory_that_is_not_there_is_told() {
        let mut found = Discovered::default();
        found.look(Path::new("nowhere"), None);
        assert!(matches!(found.refused[..], [DiscoverError::ModulesDirectory { .. }]));
    }
}
