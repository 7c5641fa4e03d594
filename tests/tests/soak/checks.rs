//! What was checked, for the last line.

/// Counts checks.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    passed: u32,
    /// How many failed.
    pub(crate) failed: u32,
    skipped: u32,
}

impl Checks {
    /// One property.
    pub(crate) fn check(&mut self, holds: bool, what: &str) {
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
            eprintln!("FAILED: {what}");
        }
    }

    /// One that could not be looked at, and why.
    pub(crate) fn skip(&mut self, why: &str) {
        self.skipped += 1;
        println!("skipped: {why}");
    }

    /// The last line.
    pub(crate) fn sum(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}
