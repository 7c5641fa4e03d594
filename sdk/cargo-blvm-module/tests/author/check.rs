//! `check` on a package with a dependency, aliases and names that mislead.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{result, tool};

/// What `check` finds: severity, file and line, text.
fn findings(module: &Path, status: i32) -> Vec<(String, String, String)> {
    let output = tool(&["check", "--json", "--path"]).arg(module).output().unwrap();
    result(&output, status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |finding: Value| {
        let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        (word("severity"), format!("{}:{}", word("file"), finding["line"]), word("text"))
    };
    lines.filter(|line| line["event"] == "finding").map(of).collect()
}

#[test]
fn nothing_is_found_in_the_examples_and_what_they_ask_for_is_needed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples");
    for (name, needs) in [("block-watch", 4), ("fee-alarm", 2), ("reorg-log", 2)] {
        let module = examples.join(name);
        assert_eq!(findings(&module, 0), [], "{name}");
        // The same without one of its permissions: check finds which.
        let copy = tempfile::tempdir().unwrap();
        let manifest = fs::read_to_string(module.join("module.toml")).unwrap();
        let line = manifest.lines().find(|line| line.starts_with("capabilities")).unwrap();
        let permissions: Vec<_> = line.split('"').skip(1).step_by(2).collect();
        assert_eq!(permissions.len(), needs);
        let cargo = fs::read_to_string(module.join("Cargo.toml")).unwrap();
        fs::create_dir(copy.path().join("src")).unwrap();
        for entry in fs::read_dir(module.join("src")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join("src").join(path.file_name().unwrap())).unwrap();
        }
        fs::write(copy.path().join("Cargo.toml"), alone(&cargo)).unwrap();
        for permission in permissions {
            let without =
                manifest.replace(&format!("\"{permission}\""), "").replace("[,", "[").replace(", ,", ",");
            fs::write(copy.path().join("module.toml"), without.replace(", ]", "]")).unwrap();
            let found = findings(copy.path(), 1);
            let is_it = |(severity, _, text): &(String, String, String)| {
                severity == "fault" && text.contains(permission)
            };
            assert!(!found.is_empty() && found.iter().all(is_it), "{name} without {permission}: {found:?}");
        }
    }
}

/// The `Cargo.toml` of an example, outside of the workspace, with the SDK alone.
fn alone(cargo: &str) -> String {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().display();
    let name = cargo.lines().find(|line| line.starts_with("name")).unwrap();
    format!(
        "[package]\n{name}\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nblvm-sdk = {{ path = \"{sdk}\" }}\n"
    )
}

#[test]
fn faults_are_certain_and_everything_else_is_a_note() {
    let root = tempfile::tempdir().unwrap();
    result(&tool(&["new", "alarm", "--json", "--in"]).arg(root.path()).output().unwrap(), 0);
    let module = root.path().join("alarm");
    assert_eq!(findings(&module, 0), []);

    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let cargo = fs::read_to_string(module.join("Cargo.toml")).unwrap();
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().display();
    write(
        "alarm/Cargo.toml",
        &cargo.replace("[dependencies]", "[dependencies]\ncommon = { path = \"../common\" }"),
    );
    write(
        "common/Cargo.toml",
        &format!(
            "[package]\nname = \"common\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[dependencies]\nblvm-sdk = {{ path = \"{sdk}\" }}\n"
        ),
    );
    write("common/src/lib.rs", "mod deep;\n");
    write("common/src/deep.rs", "\nfn f(client: &mut blvm_sdk::Client) { client.bans(); }\n");
    let main = fs::read_to_string(module.join("src/main.rs")).unwrap();
    write("alarm/src/main.rs", &format!("mod more;\n{main}"));
    write(
        "alarm/src/more.rs",
        "use blvm_sdk::Mempool as Waiting;\n\
         fn f(topics: Topics) { topics.with::<Waiting>(); }\n\
         fn g(page: &Page) { page.submit_package(1); }\n\
         #[cfg(test)]\nmod tests { fn f() { x.client().submit_block(b); } }\n\
         #[cfg(windows)]\nfn i(session: &mut Session) { session.client().bans(); }\n\
         fn j(&self) { self.electrum.client().bans(); }\n",
    );
    write("alarm/src/stray.rs", "fn f() { x.client().submit_block(b); }\n");
    let found = findings(&module, 1);
    let [topic, package, conditional, other, deep] = &found[..] else { panic!("{found:?}") };
    let of = |(severity, place, _): &(String, String, String)| format!("{severity} {place}");
    assert!(of(deep).starts_with("note /") && of(deep).ends_with("common/src/deep.rs:2"), "{deep:?}");
    assert!(deep.2.contains("in package common"), "{deep:?}");
    assert_eq!(of(topic), "fault src/more.rs:2");
    assert!(topic.2.contains("topic mempool needs \"read_mempool\""), "{topic:?}");
    assert_eq!(of(package), "note src/more.rs:3");
    assert_eq!(
        (of(conditional), of(other)),
        ("note src/more.rs:7".to_owned(), "note src/more.rs:8".to_owned())
    );
    assert!(conditional.2.contains("where its `cfg` holds"), "{conditional:?}");

    let manifest = fs::read_to_string(module.join("module.toml")).unwrap();
    write(
        "alarm/module.toml",
        &manifest.replace("capabilities = [", "capabilities = [\"read_utxo\", \"read_mempool\", "),
    );
    let found = findings(&module, 0);
    let line = manifest.lines().position(|line| line.starts_with("capabilities")).unwrap() + 1;
    assert_eq!(of(found.last().unwrap()), format!("note module.toml:{line}"));
    assert!(found.last().unwrap().2.contains("\"read_utxo\" stands among"));
    let ignored =
        tool(&["check", "--json", "--ignore", "submit_package", "--path"]).arg(&module).output().unwrap();
    assert!(!String::from_utf8_lossy(&ignored.stdout).contains("submit_package"));

    // What the node reads is read as the node reads it: every mistake with its line.
    write("alarm/module.toml", &manifest.replace("capabilities", "capabilites"));
    let output = tool(&["check", "--json", "--path"]).arg(&module).output().unwrap();
    let error = result(&output, 1);
    assert!(
        error["error"].as_str().unwrap().contains(&format!(
            "line {line}, column 1: capabilites: unknown key; did you mean \"capabilities\"?"
        )),
        "{error}"
    );
}
