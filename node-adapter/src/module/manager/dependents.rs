//! Whether a new version of a loaded module does any harm.

use blvm_manifest::{DependencyError, DependencyGraph};

use super::ModuleManager;
use super::error::LoadError;
use crate::module::Manifest;

impl ModuleManager {
    /// Whether a new version has what it needs, and is what the loaded modules need.
    pub(super) fn check_dependents(&self, manifest: &Manifest) -> Result<(), LoadError> {
        let known = &self.inner.known;
        let harm = harm(&manifest.name, &known.graph(None), &known.graph(Some(manifest)), known.loaded());
        harm.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What is wrong with module `name`, or else with the first of `loaded` that lacked nothing `before` and does `after`. What is
/// wrong with others all the same holds nobody up.
fn harm(
    name: &str,
    before: &DependencyGraph,
    after: &DependencyGraph,
    loaded: Vec<String>,
) -> Option<DependencyError> {
    let before = before.resolve().refused;
    let mut after = after.resolve().refused;
    if let Some(error) = after.remove(name) {
        return Some(error);
    }
    loaded.into_iter().filter(|other| !before.contains_key(other)).find_map(|other| after.remove(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, version: &str, needs: &[(&str, &str)]) -> Manifest {
        let needs = needs.iter().map(|(name, versions)| ((*name).to_owned(), versions.parse().unwrap()));
        Manifest {
            version: version.parse().unwrap(),
            dependencies: needs.collect(),
            ..Manifest::new(name, name)
        }
    }

    fn harm_of(known: &[Manifest], new: &Manifest) -> Option<DependencyError> {
        let loaded = known.iter().map(|manifest| manifest.name.clone()).collect();
        harm(&new.name, &known.iter().collect(), &known.iter().chain([new]).collect(), loaded)
    }

    #[test]
    fn the_trouble_of_another_module_refuses_nothing() {
        // `y` is not there any more.
        let known = [module("x", "1.0.0", &[("y", "1")]), module("z", "1.0.0", &[])];
        assert_eq!(harm_of(&known, &module("z", "2.0.0", &[])), None);
        // But `x` itself does not get what it needs.
        let error = harm_of(&known, &module("x", "1.1.0", &[("y", "1")])).unwrap();
        assert!(matches!(error, DependencyError::Missing { name, .. } if name == "x"));
    }

    #[test]
    fn a_version_that_a_loaded_module_cannot_use_is_refused() {
        let known = [module("x", "1.0.0", &[("z", "1")]), module("z", "1.0.0", &[])];
        let error = harm_of(&known, &module("z", "2.0.0", &[])).unwrap();
        assert!(matches!(error, DependencyError::Version { name, .. } if name == "x"));
        assert_eq!(harm_of(&known, &module("z", "1.1.0", &[])), None);
    }
}
