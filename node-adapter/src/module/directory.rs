//! The modules of a node as others may know them: written by the manager, read by modules that ask and attach.

use std::collections::BTreeMap;

use blvm_bus::request::{
    LoadedModule, MetricSeries, ModuleHealth, ModuleMetrics, ModuleState, ModuleSummary, Refusal,
};
use parking_lot::Mutex;

use super::metrics::Metrics;

/// What is known of each module, by name.
///
/// The lock orders what is told: a change is published before anybody reads it here, and a module that attaches finds the
/// modules loaded so far and the sequence from which later ones count in one instant.
#[derive(Debug, Default)]
pub struct Directory {
    modules: Mutex<BTreeMap<String, ModuleSummary>>,
    /// Of modules that are loaded.
    metrics: Metrics,
}

impl Directory {
    /// Changes what is known of module `name` and publishes that, in one step. `None` is a module that is not known.
    ///
    /// Neither may wait for a module: attaching modules wait for this.
    pub fn update<R>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Option<ModuleSummary>) -> R,
        publish: impl FnOnce(),
    ) -> R {
        let mut modules = self.modules.lock();
        let mut summary = modules.remove(name);
        let result = change(&mut summary);
        if !summary.as_ref().is_some_and(|summary| summary.is_loaded) {
            self.metrics.forget(name);
        }
        if let Some(summary) = summary {
            modules.insert(name.to_owned(), summary);
        }
        publish();
        result
    }

    /// Every module, by name.
    pub fn all(&self) -> Vec<ModuleSummary> {
        self.modules.lock().values().cloned().collect()
    }

    /// One module.
    pub fn get(&self, name: &str) -> Option<ModuleSummary> {
        self.modules.lock().get(name).cloned()
    }

    /// Whether there is a module `name`.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.modules.lock().contains_key(name)
    }

    /// Whether module `name` is loaded and runs.
    pub fn is_available(&self, name: &str) -> bool {
        self.modules
            .lock()
            .get(name)
            .is_some_and(|module| module.is_loaded && module.state == ModuleState::Running)
    }

    /// Notes how module `name` says it does; its manager sends the event.
    pub(super) fn note_health(&self, name: &str, health: ModuleHealth) {
        if let Some(module) = self.modules.lock().get_mut(name) {
            module.health = health;
        }
    }

    /// The figures that modules report.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The figures of module `name`; `None` if it is not loaded.
    pub fn metrics_of(&self, name: &str) -> Option<ModuleMetrics> {
        let is_loaded = self.modules.lock().get(name).is_some_and(|module| module.is_loaded);
        let none = || ModuleMetrics { module: name.to_owned(), series: Vec::new() };
        self.metrics.of(name).or_else(|| is_loaded.then(none))
    }

    /// The figures of every module that has reported some.
    pub fn all_metrics(&self) -> Vec<ModuleMetrics> {
        self.metrics.all()
    }

    /// Takes what a module reports, unless its process has gone and it was unloaded meanwhile: `has_gone` says so.
    pub(super) fn report_metrics(
        &self,
        name: &str,
        batch: Vec<MetricSeries>,
        has_gone: impl FnOnce() -> bool,
    ) -> Result<(), Refusal> {
        self.metrics.report(name, batch)?;
        if has_gone() && !self.modules.lock().get(name).is_some_and(|module| module.is_loaded) {
            self.metrics.forget(name);
        }
        Ok(())
    }

    /// Calls `take` with the modules that are loaded; nothing changes meanwhile.
    pub(super) fn with_loaded<R>(&self, take: impl FnOnce(Vec<LoadedModule>) -> R) -> R {
        let modules = self.modules.lock();
        let loaded = modules.values().filter(|module| module.is_loaded);
        take(
            loaded
                .map(|module| LoadedModule { name: module.name.clone(), version: module.version.clone() })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(name: &str, is_loaded: bool) -> Option<ModuleSummary> {
        Some(ModuleSummary {
            name: name.to_owned(),
            version: "1.2.3".to_owned(),
            state: ModuleState::Running,
            health: ModuleHealth::default(),
            is_loaded,
            pid: Some(7),
        })
    }

    #[test]
    fn what_is_loaded_and_available_is_what_was_written_last() {
        let directory = Directory::default();
        directory.update("b", |module| *module = running("b", true), || {});
        directory.update("a", |module| *module = running("a", false), || {});
        assert_eq!(directory.all().into_iter().map(|module| module.name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(directory.is_available("b") && !directory.is_available("a") && !directory.is_available("c"));
        let loaded = vec![LoadedModule { name: "b".to_owned(), version: "1.2.3".to_owned() }];
        assert_eq!(directory.with_loaded(|loaded| loaded), loaded);
        let was = directory.update("b", Option::take, || {});
        assert_eq!((was, directory.get("b")), (running("b", true), None));
    }

    #[test]
    fn whoever_attaches_sees_a_module_once_before_its_start_or_after_it() {
        let directory = Directory::default();
        let published = std::sync::atomic::AtomicU64::new(0);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..2_000 {
                    let name = number.to_string();
                    let add = |module: &mut Option<ModuleSummary>| *module = running(&name, true);
                    directory.update(&name, add, || _ = published.fetch_add(1, relaxed));
                }
            });
            loop {
                // The next sequence, as `starts` has it, and the modules loaded: each is in exactly one of them.
                let (loaded, start) = directory.with_loaded(|loaded| (loaded.len(), published.load(relaxed)));
                assert_eq!(loaded as u64, start);
                if loaded == 2_000 {
                    break;
                }
            }
        });
    }
}
