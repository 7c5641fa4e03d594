//! What the node says at its end of a module: how much was published for it, and how much it got.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};

/// The last line that the node printed, as far as it is about `module`; for people and for programs.
pub(super) fn read(path: &Path, module: &str) -> Option<(String, Value)> {
    let last = BufReader::new(File::open(path).ok()?).lines().map_while(Result::ok).last()?;
    let report: Value = serde_json::from_str(&last).ok()?;
    let topics = report["modules"][module]["topics"].as_object()?;
    let mut told = Vec::new();
    let mut all = serde_json::Map::new();
    for (name, topic) in topics {
        let number = |key: &str| topic[key].as_u64().unwrap_or_default();
        let (published, received, missed) = (number("published"), number("received"), number("missed"));
        // Published are also kinds that it does not read.
        let missed_shown = if missed == 0 { "none".to_owned() } else { missed.to_string() };
        told.push(format!("{received} messages of {name} and missed {missed_shown}"));
        all.insert(name.clone(), json!({ "published": published, "received": received, "missed": missed }));
    }
    let [height, blocks, transactions, reorganisations] =
        ["height", "blocks_connected", "transactions_added", "reorganisations"]
            .map(|key| report[key].clone());
    let text = format!(
        "the node connected {blocks} blocks, took {transactions} transactions and was reorganised {reorganisations} times; {module} read {}",
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    );
    let json = json!({
        "event": "report", "height": height, "blocks_connected": blocks, "transactions_added": transactions,
        "reorganisations": reorganisations, "topics": all,
    });
    Some((text, json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_node_is_told_for_the_module() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let report = r#"{"height":3,"blocks_connected":3,"transactions_added":2,"reorganisations":1,"modules":{
            "alarm":{"topics":{"chain":{"published":5,"received":4,"missed":1}}}}}"#;
        std::fs::write(file.path(), format!("{{\"status\":{{}}}}\n{}\n", report.replace('\n', ""))).unwrap();
        let (text, json) = read(file.path(), "alarm").unwrap();
        assert!(text.ends_with("reorganised 1 times; alarm read 4 messages of chain and missed 1"), "{text}");
        assert_eq!(json["topics"]["chain"]["missed"], 1);
        assert!(read(file.path(), "other").is_none() && read(Path::new("/nowhere"), "alarm").is_none());
    }
}
