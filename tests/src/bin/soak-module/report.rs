//! What a reader has seen, in a file for the test.

use std::collections::BTreeMap;
use std::io;

use serde_json::json;

use crate::soak::account::Account;

/// Most faults told one by one.
const MAX_TOLD: u64 = 20;

/// Counts of one reader's life.
#[derive(Default)]
pub(crate) struct Report {
    /// By the topic's number.
    pub(crate) accounts: BTreeMap<u32, Account>,
    pub(crate) faults: u64,
    /// Bodies read in place.
    pub(crate) in_place: u64,
    /// Bodies that could have been there and were gone.
    pub(crate) gone: u64,
    /// Bodies beyond a term, which are gone at all times.
    pub(crate) beyond: u64,
    /// Bodies not asked for again because all leases were held.
    pub(crate) refused: u64,
    /// Messages that have no body.
    pub(crate) without: u64,
    /// Bodies compared again, byte for byte, after some time under their lease.
    pub(crate) second_looks: u64,
    /// Longest time between two such looks.
    pub(crate) longest_held_ms: u64,
    /// Bodies fetched by request.
    pub(crate) fetched: u64,
}

impl Report {
    /// Something is not as it should be.
    pub(crate) fn fault(&mut self, what: &str) {
        self.faults += 1;
        if self.faults <= MAX_TOLD {
            eprintln!("fault: {what}");
        }
    }

    /// Counts the fault of a check, if it found one.
    pub(crate) fn check(&mut self, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.fault(&what);
        }
    }

    /// Replaces the file: whoever reads it finds a whole one.
    pub(crate) fn write(&self, end: &str) -> io::Result<()> {
        let topics: Vec<_> = self
            .accounts
            .iter()
            .map(|(topic, account)| {
                json!({
                    "topic": topic,
                    "received": account.received,
                    "missed": account.missed,
                    "range": account.range(),
                    "is_whole": account.is_whole(),
                })
            })
            .collect();
        let report = json!({
            "pid": std::process::id(),
            "end": end,
            "faults": self.faults,
            "topics": topics,
            "in_place": self.in_place,
            "gone": self.gone,
            "beyond": self.beyond,
            "refused": self.refused,
            "without": self.without,
            "second_looks": self.second_looks,
            "longest_held_ms": self.longest_held_ms,
            "fetched": self.fetched,
        });
        std::fs::write("account.new", report.to_string())?;
        std::fs::rename("account.new", "account.json")
    }
}
