//! The program a manifest names.

use std::path::{Component, Path, PathBuf};

use super::{MANIFEST_FILE, Manifest, ManifestError};

/// Whether `path` stays below the directory it is joined to.
pub(super) fn stays_below(path: &str) -> bool {
    let mut components = Path::new(path).components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

impl Manifest {
    /// The same with the program that stands in the first of `places` that has it.
    pub(super) fn with_program(self, places: &[&Path]) -> Result<Self, ManifestError> {
        let found =
            places.iter().map(|place| place.join(&self.entry_point)).find(|program| program.is_file());
        match found {
            Some(program) => Ok(Manifest { program, ..self }),
            None => {
                let mut searched: Vec<PathBuf> = places.iter().map(|place| place.to_path_buf()).collect();
                searched.dedup();
                let path = self.directory.join(MANIFEST_FILE);
                Err(ManifestError::NoProgram { path, entry_point: self.entry_point, searched })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"watch\"\nversion = \"0.1.0\"\nentry_point = \"watch\"\n";

    #[test]
    fn the_program_is_found_beside_the_manifest_then_where_cargo_builds_then_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let (module, elsewhere) = (directory.path().join("watch"), directory.path().join("elsewhere"));
        let built = module.join("target/release");
        std::fs::create_dir_all(&built).unwrap();
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::write(module.join(MANIFEST_FILE), TEXT).unwrap();
        let message = Manifest::read(&module, &elsewhere).unwrap_err().to_string();
        assert!(
            message.contains("target/release") && message.contains("build the module first"),
            "{message}"
        );
        for place in [&elsewhere, &built, &module] {
            std::fs::write(place.join("watch"), "").unwrap();
            let manifest = Manifest::read(&module, &elsewhere).unwrap();
            assert_eq!(manifest.program, place.join("watch"));
            assert_eq!(manifest.directory, module);
        }
    }

    #[test]
    fn a_directory_is_no_program_and_a_long_file_no_manifest() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("watch")).unwrap();
        assert!(matches!(Manifest::read_text(TEXT, directory.path()), Err(ManifestError::NoProgram { .. })));
        let long = format!("{TEXT}#{}", "x".repeat(crate::MAX_FILE_BYTES as usize));
        std::fs::write(directory.path().join(MANIFEST_FILE), long).unwrap();
        let error = Manifest::read(directory.path(), directory.path()).unwrap_err();
        assert!(matches!(error, ManifestError::Read { .. }), "{error}");
        let nowhere = Manifest::read(Path::new("nowhere"), Path::new("nowhere")).unwrap_err();
        assert!(nowhere.to_string().contains("nowhere/module.toml"));
    }
}
