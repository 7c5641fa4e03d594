//! Who was granted what, and who was denied it: in the node's log under the target `audit`, and in files, one JSON object
//! per line.
//!
//! Files are bounded, so what is written often pushes out what was written before. Each file has what one kind of party may
//! bring about, so that nobody's lines push out those of another kind: a module has one line of grants in its process's life,
//! and starts of processes are the operator's and the restart limit's; it may be denied as often as it asks.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::Serialize;

use super::log_file::LogFile;

/// Where decisions are written down.
#[derive(Debug, Default)]
pub(super) struct Audit {
    files: OnceLock<Files>,
}

#[derive(Debug)]
struct Files {
    /// `audit.log`: what modules that the node started were granted.
    granted: LogFile,
    /// `audit-denied.log`: what these were denied.
    denied: LogFile,
    /// `audit-attached.log`: both, of programs that attached by path; they may come and go as they like.
    attached: LogFile,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC.
    time: String,
    module: &'a str,
    /// Absent for programs that attached by path and whose process is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(flatten)]
    decision: Decision<'a>,
}

/// What was decided.
#[derive(Debug, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub(super) enum Decision<'a> {
    /// It attached with these rights.
    Granted {
        /// Permissions, `publish:NAME` among them.
        permissions: Vec<String>,
        /// Topics it reads.
        topics: Vec<&'a str>,
    },
    /// It asked for something without the right to.
    Denied {
        /// The request.
        request: &'a str,
        /// What is missing.
        missing: String,
    },
    /// More was denied than is written down one by one.
    DeniedMore {
        /// How often.
        count: u64,
    },
}

impl Audit {
    /// Writes to files in `directory` from here on; full ones are set aside.
    pub(super) fn write_to(&self, directory: &Path) -> io::Result<()> {
        let open = |name| LogFile::open(directory, name);
        let (granted, denied, attached) = (open("audit")?, open("audit-denied")?, open("audit-attached")?);
        // A second one is not used: the first has the lines so far.
        let _ = self.files.set(Files { granted, denied, attached });
        Ok(())
    }

    pub(super) fn tell(&self, module: &str, pid: Option<u32>, decision: Decision<'_>) {
        match &decision {
            Decision::Granted { permissions, topics } => {
                let (permissions, topics) = (permissions.join(","), topics.join(","));
                tracing::info!(target: "audit", module, pid, permissions, topics, "granted");
            }
            Decision::Denied { request, missing } => {
                tracing::warn!(target: "audit", module, pid, request, missing, "denied");
            }
            Decision::DeniedMore { count } => {
                tracing::warn!(target: "audit", module, pid, count, "denied, more often than told one by one");
            }
        }
        if let Some(files) = self.files.get() {
            let file = match (&decision, pid) {
                (_, None) => &files.attached,
                (Decision::Granted { .. }, Some(_)) => &files.granted,
                (Decision::Denied { .. } | Decision::DeniedMore { .. }, Some(_)) => &files.denied,
            };
            let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
            match serde_json::to_string(&Line { time, module, pid, decision }) {
                Ok(line) => file.write_line(&line),
                Err(error) => tracing::error!(%error, "a line of the audit log cannot be written"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decision_is_one_json_object_on_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::default();
        audit.tell("early", None, Decision::DeniedMore { count: 1 });
        audit.write_to(directory.path()).unwrap();
        let permissions = vec!["read_mempool".to_owned(), "publish:PaymentSettled".to_owned()];
        audit.tell("mesh", Some(7), Decision::Granted { permissions, topics: vec!["mempool"] });
        let missing = "read_blockchain".to_owned();
        audit.tell("mesh\n\"", Some(7), Decision::Denied { request: "get_block", missing });
        audit.tell("peer 1", None, Decision::DeniedMore { count: 90 });
        let lines = ["audit", "audit-denied", "audit-attached"].map(|name| {
            let text = std::fs::read_to_string(directory.path().join(format!("{name}.log"))).unwrap();
            assert_eq!(text.lines().count(), 1, "{name}");
            serde_json::from_str::<serde_json::Value>(text.trim_end()).unwrap()
        });
        assert_eq!(
            (&lines[0]["decision"], &lines[0]["permissions"][1]),
            (&"granted".into(), &"publish:PaymentSettled".into())
        );
        assert_eq!(
            (&lines[1]["module"], &lines[1]["missing"]),
            (&"mesh\n\"".into(), &"read_blockchain".into())
        );
        assert_eq!((&lines[2]["count"], lines[2].get("pid")), (&90.into(), None));
    }

    #[test]
    fn neither_denials_nor_who_attaches_by_path_push_a_grant_out_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::default();
        audit.write_to(directory.path()).unwrap();
        let granted =
            || Decision::Granted { permissions: vec!["read_mempool".to_owned()], topics: Vec::new() };
        audit.tell("mesh", Some(7), granted());
        // More than all files kept of one log hold.
        let missing = "x".repeat(1 << 20);
        let denied = || Decision::Denied { request: "get_block", missing: missing.clone() };
        let permissions = || Decision::Granted { permissions: vec![missing.clone()], topics: Vec::new() };
        for _ in 0..=4 * (1 + super::super::log_file::KEPT_LOG_FILES) {
            audit.tell("noisy", Some(8), denied());
            audit.tell("peer 1", None, denied());
            audit.tell("peer 2", None, permissions());
        }
        let oldest = std::fs::read_to_string(directory.path().join("audit-denied.log.4")).unwrap();
        assert!(oldest.contains("noisy"), "the flood was enough to set files aside");
        let text = std::fs::read_to_string(directory.path().join("audit.log")).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["module"], &line["decision"]), (&"mesh".into(), &"granted".into()));
    }
}
