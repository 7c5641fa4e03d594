//! Who needs whom: the order in which modules are loaded and unloaded, and why one cannot be.
//!
//! A module is loaded after those it needs, and after those of its optional ones that are there, except where an optional
//! one would close a circle: then it is as if it were not named. Between modules that do not need each other names decide,
//! so that the order is always the same.

mod error;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};

pub use error::DependencyError;

use crate::manifest::Manifest;

/// Modules, and what each needs of the others.
#[derive(Debug, Clone, Default)]
pub struct DependencyGraph {
    modules: BTreeMap<String, Module>,
}

#[derive(Debug, Clone)]
struct Module {
    version: Version,
    needs: BTreeMap<String, VersionReq>,
    uses: BTreeMap<String, VersionReq>,
}

/// What can be loaded, and what cannot.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Each module after those it needs.
    pub order: Vec<String>,
    /// The others by name, and why.
    pub refused: BTreeMap<String, DependencyError>,
    /// Optional modules that are there in a version nobody can use: who names them, and what would be right. They hold
    /// nobody up.
    pub ignored: Vec<DependencyError>,
}

impl<'m> FromIterator<&'m Manifest> for DependencyGraph {
    /// Of two manifests with one name the last counts.
    fn from_iter<I: IntoIterator<Item = &'m Manifest>>(manifests: I) -> Self {
        let module = |manifest: &Manifest| Module {
            version: manifest.version.clone(),
            needs: manifest.dependencies.clone(),
            uses: manifest.optional_dependencies.clone(),
        };
        let modules = manifests.into_iter().map(|manifest| (manifest.name.clone(), module(manifest)));
        DependencyGraph { modules: modules.collect() }
    }
}

impl DependencyGraph {
    /// The order in which all modules are loaded that can be.
    pub fn resolve(&self) -> Resolution {
        let mut refused = BTreeMap::new();
        for name in self.modules.keys() {
            if let Some(error) = self.missing(name).or_else(|| self.circle(name)) {
                refused.insert(name.clone(), error);
            }
        }
        // Who needs a refused module is refused, until nobody does.
        while let Some((name, error)) = self.next_refused(&refused) {
            refused.insert(name, error);
        }
        let (edges, ignored) = self.edges(&refused);
        Resolution { order: in_order(edges), refused, ignored }
    }

    /// The module and everything it needs, in the order of loading.
    ///
    /// # Errors
    ///
    /// [`DependencyError`] if there is no such module, or it cannot be loaded.
    pub fn load_order_of(&self, name: &str) -> Result<Vec<String>, DependencyError> {
        if !self.modules.contains_key(name) {
            return Err(DependencyError::Unknown { name: name.to_owned() });
        }
        let mut resolution = self.resolve();
        if let Some(error) = resolution.refused.remove(name) {
            return Err(error);
        }
        let wanted = reachable(name, |name| self.needs_of(name));
        Ok(resolution.order.into_iter().filter(|name| wanted.contains(name.as_str())).collect())
    }

    /// Everything that needs the module, directly or not, and the module itself last: the order of unloading. Empty if there
    /// is no such module.
    pub fn unload_order_of(&self, name: &str) -> Vec<String> {
        if !self.modules.contains_key(name) {
            return Vec::new();
        }
        let needs_it = reachable(name, |name| {
            self.modules
                .iter()
                .filter(|(_, other)| other.needs.contains_key(name))
                .map(|(other, _)| other.as_str())
                .collect()
        });
        let edges = needs_it.iter().map(|&name| {
            let needs = self.needs_of(name).into_iter().filter(|needed| needs_it.contains(needed));
            (name.to_owned(), needs.map(str::to_owned).collect())
        });
        let mut order = in_order(edges.collect());
        order.reverse();
        order
    }

    fn needs_of(&self, name: &str) -> Vec<&str> {
        self.modules
            .get(name)
            .map(|module| module.needs.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// The first module `name` needs that is not there, or in another version.
    fn missing(&self, name: &str) -> Option<DependencyError> {
        let module = self.modules.get(name)?;
        module.needs.iter().find_map(|(needed, versions)| match self.modules.get(needed) {
            None => Some(DependencyError::Missing {
                name: name.to_owned(),
                needs: needed.clone(),
                versions: versions.clone(),
            }),
            Some(there) if !versions.matches(&there.version) => Some(DependencyError::Version {
                name: name.to_owned(),
                needs: needed.clone(),
                versions: versions.clone(),
                have: there.version.clone(),
            }),
            Some(_) => None,
        })
    }

    /// The shortest circle of needs through `name`.
    fn circle(&self, name: &str) -> Option<DependencyError> {
        // Breadth first: each module with the one that led to it.
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut next = vec![self.modules.get_key_value(name)?.0.as_str()];
        while !next.is_empty() {
            let mut after = Vec::new();
            for from in next {
                for needed in self.needs_of(from) {
                    if !came_from.contains_key(needed) {
                        came_from.insert(needed, from);
                        after.push(needed);
                    }
                }
            }
            next = after;
        }
        let mut circle = vec![name.to_owned()];
        let mut at = *came_from.get(name)?;
        while at != name {
            circle.push(at.to_owned());
            at = came_from.get(at)?;
        }
        circle.push(name.to_owned());
        circle.reverse();
        Some(DependencyError::Circle { circle })
    }

    fn next_refused(&self, refused: &BTreeMap<String, DependencyError>) -> Option<(String, DependencyError)> {
        self.modules.iter().filter(|(name, _)| !refused.contains_key(*name)).find_map(|(name, module)| {
            let needs = module.needs.keys().find(|needed| refused.contains_key(*needed))?;
            let error = DependencyError::Refused { name: name.clone(), needs: needs.clone() };
            Some((name.clone(), error))
        })
    }

    /// For every module that is not refused, those before it.
    fn edges(
        &self,
        refused: &BTreeMap<String, DependencyError>,
    ) -> (BTreeMap<String, BTreeSet<String>>, Vec<DependencyError>) {
        let loadable = || self.modules.iter().filter(|(name, _)| !refused.contains_key(*name));
        let mut edges: BTreeMap<String, BTreeSet<String>> =
            loadable().map(|(name, module)| (name.clone(), module.needs.keys().cloned().collect())).collect();
        let mut ignored = Vec::new();
        for (name, module) in loadable() {
            for (used, versions) in &module.uses {
                let Some(there) = self.modules.get(used).filter(|_| !refused.contains_key(used)) else {
                    continue;
                };
                if !versions.matches(&there.version) {
                    ignored.push(DependencyError::Version {
                        name: name.clone(),
                        needs: used.clone(),
                        versions: versions.clone(),
                        have: there.version.clone(),
                    });
                    continue;
                }
                let before = reachable(used, |name| {
                    edges
                        .get(name)
                        .map(|before| before.iter().map(String::as_str).collect())
                        .unwrap_or_default()
                });
                let closes_a_circle = before.contains(name.as_str());
                if let (false, Some(before)) = (closes_a_circle, edges.get_mut(name)) {
                    before.insert(used.clone());
                }
            }
        }
        (edges, ignored)
    }
}

/// `from` and everything that `next` leads to.
fn reachable<'g>(from: &'g str, next: impl Fn(&str) -> Vec<&'g str>) -> BTreeSet<&'g str> {
    let mut found = BTreeSet::from([from]);
    let mut unseen = vec![from];
    while let Some(at) = unseen.pop() {
        unseen.extend(next(at).into_iter().filter(|name| found.insert(name)));
    }
    found
}

/// Each after those before it; of several that could be next the first by name. There is no circle.
fn in_order(mut edges: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut order = Vec::new();
    while let Some(name) = edges.iter().find(|(_, before)| before.is_empty()).map(|(name, _)| name.clone()) {
        edges.remove(&name);
        for before in edges.values_mut() {
            before.remove(&name);
        }
        order.push(name);
    }
    order
}
