//! What the node writes down of a module's rights: `audit.log`, `audit-denied.log` in its data directory, a JSON object a line.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::log::Tail;
use crate::project::Project;

/// The module attached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Granted {
    pub(super) pid: i32,
    pub(super) permissions: Vec<String>,
    pub(super) topics: Vec<String>,
}

/// It asked for something without the right to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Denied {
    pub(super) request: String,
    pub(super) missing: String,
}

/// One line.
#[derive(Debug, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
enum Decision {
    Granted(Granted),
    Denied(Denied),
    /// More of what is known already: the first of each kind is always written.
    DeniedMore {},
}

/// News of one module.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Granted(Granted),
    /// Told once of each kind.
    Denied(Denied),
}

/// Both files, read as they grow.
pub(super) struct Audit {
    module: String,
    files: [Tail; 2],
    denied: BTreeSet<Denied>,
}

impl Audit {
    pub(super) fn new(data_directory: &Path, module: &str) -> Self {
        let files = ["audit.log", "audit-denied.log"].map(|name| Tail::new(data_directory.join(name)));
        Audit { module: module.to_owned(), files, denied: BTreeSet::new() }
    }

    /// What has come since.
    pub(super) fn news(&mut self) -> Vec<News> {
        let lines: Vec<_> = self.files.iter_mut().flat_map(Tail::lines).collect();
        let decisions = lines.iter().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["module"] == *self.module).then(|| serde_json::from_value(line).ok())?
        });
        let mut news = Vec::new();
        for decision in decisions.collect::<Vec<_>>() {
            match decision {
                Decision::Granted(granted) => news.push(News::Granted(granted)),
                Decision::Denied(denied) if self.denied.insert(denied.clone()) => {
                    news.push(News::Denied(denied));
                }
                Decision::Denied(_) | Decision::DeniedMore {} => {}
            }
        }
        news
    }

    /// How many kinds of requests were denied.
    pub(super) fn denied(&self) -> usize {
        self.denied.len()
    }
}

impl Granted {
    /// For people and for programs.
    pub(super) fn told(&self, module: &str) -> (String, Value) {
        let list = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let (topics, permissions) = (list(&self.topics), list(&self.permissions));
        let text = format!("{module} is attached: reads {topics}; may {permissions}");
        let json = json!({ "event": "attached", "topics": self.topics, "permissions": self.permissions });
        (text, json)
    }
}

impl Denied {
    /// The same, with what `module.toml` has to say.
    pub(super) fn told(&self, project: &Project) -> (String, Value) {
        let Denied { request, missing } = self;
        let what = if request == "hello" { "attaching".to_owned() } else { format!("the request {request}") };
        let (key, line) = match missing.strip_prefix("topics.") {
            Some(topic) => ("topics", format!("[topics]\n  {topic} = {{}}")),
            None => ("capabilities", capabilities(project, missing)),
        };
        let place = project.line_of(key).map(|line| format!(" in line {line}")).unwrap_or_default();
        let text = format!(
            "the node refused {what}, which needs {missing}; with it module.toml has{place}:\n  {line}"
        );
        let json = json!({
            "event": "denied", "request": request, "missing": missing, "manifest_line": project.line_of(key),
            "line": line,
        });
        (text, json)
    }
}

/// The manifest's line of permissions with one more.
fn capabilities(project: &Project, missing: &str) -> String {
    let permissions = project.manifest.permissions.iter().map(|permission| permission.name().to_owned());
    let events = project.manifest.publishes.iter().map(|event| format!("publish:{event}"));
    let all = permissions.chain(events).chain([missing.to_owned()]);
    let quoted: Vec<_> = all.map(|name| format!("\"{name}\"")).collect();
    format!("capabilities = [{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_kind_of_denial_is_told_once_with_the_line_that_ends_it() {
        let directory = tempfile::tempdir().unwrap();
        let text = "name = \"alarm\"\nversion = \"1.0.0\"\nentry_point = \"a\"\n# capabilities\n\
            capabilities = [\"read_blockchain\", \"publish:Rain\"]\n";
        fs::write(directory.path().join("module.toml"), text).unwrap();
        let project = Project::read(directory.path()).unwrap();
        let mut audit = Audit::new(directory.path(), "alarm");
        assert_eq!(audit.news(), []);
        let line = |module: &str, more: &str| {
            format!("{{\"time\":\"T\",\"module\":\"{module}\",\"pid\":7,{more}}}\n")
        };
        let granted = "\"decision\":\"granted\",\"permissions\":[\"read_blockchain\"],\"topics\":[\"chain\"]";
        fs::write(directory.path().join("audit.log"), line("alarm", granted)).unwrap();
        let denied = "\"decision\":\"denied\",\"request\":\"get_mempool_size\",\"missing\":\"read_mempool\"";
        let lines = [
            line("alarm", denied),
            line("other", &denied.replace("get", "other")),
            line("alarm", "\"decision\":\"denied_more\",\"count\":3"),
            line("alarm", denied),
        ];
        fs::write(directory.path().join("audit-denied.log"), lines.concat()).unwrap();
        let news = audit.news();
        let [News::Granted(granted), News::Denied(denied)] = &news[..] else { panic!("{news:?}") };
        assert_eq!(granted.told("alarm").0, "alarm is attached: reads chain; may read_blockchain");
        let (text, json) = denied.told(&project);
        let told = "capabilities = [\"read_blockchain\", \"publish:Rain\", \"read_mempool\"]";
        assert!(text.ends_with(&format!("line 5:\n  {told}")), "{text}");
        assert_eq!((json["manifest_line"].as_u64(), json["line"].as_str()), (Some(5), Some(told)));
        assert_eq!((audit.news(), audit.denied()), (Vec::new(), 1));
        let topic = Denied { request: "hello".to_owned(), missing: "topics.mesh_packets".to_owned() };
        assert!(topic.told(&project).0.contains("refused attaching"), "{:?}", topic.told(&project));
    }
}
