//! Who was granted what, and who was denied it: in the node's log under the target `audit`, and in a file, one JSON object
//! per line.

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::Serialize;

use super::log_file::LogFile;

/// Name of the file, without its ending: `audit.log` in the node's data directory.
const NAME: &str = "audit";

/// Where decisions are written down.
#[derive(Debug, Default)]
pub(super) struct Audit {
    file: OnceLock<LogFile>,
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
    /// Writes to `audit.log` in `directory` from here on; full ones are set aside.
    pub(super) fn write_to(&self, directory: &Path) -> io::Result<()> {
        let file = LogFile::open(directory, NAME)?;
        // A second one is not used: the first has the lines so far.
        let _ = self.file.set(file);
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
        if let Some(file) = self.file.get() {
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
        let text = std::fs::read_to_string(directory.path().join("audit.log")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
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
}
