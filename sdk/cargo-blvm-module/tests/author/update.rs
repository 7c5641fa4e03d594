//! A package is brought to this tool's SDK, an installed module to what it was installed from; nothing is ever half written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{entries, result, tool, under};

/// An SDK as an older release had it, as far as Cargo and this tool look at it.
fn old_sdk(root: &Path) -> PathBuf {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str, more: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.9\"\nedition = \"2024\"\n[workspace]\n[features]\ntesting = []\n[dependencies]\n{more}"
        )
    };
    write("old/sdk/Cargo.toml", &package("blvm-sdk", "blvm-bus = { path = \"../bus\" }\n"));
    write("old/sdk/src/lib.rs", "");
    write("old/bus/Cargo.toml", &package("blvm-bus", ""));
    write("old/bus/src/lib.rs", "");
    write("old/bus/src/request.rs", "pub const PROTOCOL_VERSION: u32 = 3;\n");
    write("old/bus/src/layout.rs", "pub const LAYOUT_VERSION: u32 = 2;\n");
    root.join("old/sdk")
}

/// An author's module on the old SDK, with lines of its own everywhere; its directory has spaces and letters of other alphabets.
fn old_module(root: &TempDir) -> PathBuf {
    let sdk = old_sdk(root.path());
    let parent = root.path().join("ein Ordner für Module");
    fs::create_dir(&parent).unwrap();
    result(&tool(&["new", "alarm", "--json", "--in"]).arg(&parent).output().unwrap(), 0);
    let module = parent.join("alarm");
    let edit = |file: &str, change: &dyn Fn(String) -> String| {
        let path = module.join(file);
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    edit("Cargo.toml", &|text| {
        let old = text.replace(here.to_str().unwrap(), sdk.to_str().unwrap());
        assert_ne!(old, text);
        format!("# mine\n{old}\n# the end\n")
    });
    edit("module.toml", &|text| {
        format!("{text}\n[compatibility]\nbus_layout = 1 # once\nmin_node_version = \"0.1.0\"\n")
    });
    module
}

fn update(module: &Path) -> Command {
    let mut command = tool(&["update", "--json", "--path"]);
    command.arg(module);
    command
}

/// Cargo's lock file; empty if there is none.
fn locked(module: &Path) -> String {
    fs::read_to_string(module.join("Cargo.lock")).unwrap_or_default()
}

fn texts(module: &Path) -> [String; 2] {
    ["Cargo.toml", "module.toml"].map(|file| fs::read_to_string(module.join(file)).unwrap())
}

#[test]
fn a_package_is_brought_to_this_sdk_and_keeps_every_line_of_its_author() {
    let root = tempfile::tempdir().unwrap();
    let module = old_module(&root);
    let before = texts(&module);

    let checked = tool(&["check", "--json", "--path"]).arg(&module).output().unwrap();
    result(&checked, 1);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("speaks protocol 3"));
    let lock = locked(&module);
    assert!(!lock.is_empty());
    // One that Cargo would write anew.
    fs::remove_file(module.join("Cargo.lock")).unwrap();
    result(&update(&module).arg("--check").output().unwrap(), 1);
    assert_eq!(locked(&module), "");
    fs::write(module.join("Cargo.lock"), &lock).unwrap();
    let looked = update(&module).arg("--check").output().unwrap();
    assert!(result(&looked, 1)["error"].as_str().unwrap().contains("not up to date"));
    assert_eq!(texts(&module), before);
    assert!(locked(&module) == lock);

    let updated = update(&module).output().unwrap();
    let last = result(&updated, 0);
    assert_eq!((last["result"].as_str(), last["before"]["protocol"].as_u64()), (Some("updated"), Some(3)));
    let lines: Vec<Value> = String::from_utf8_lossy(&updated.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let news: Vec<_> =
        lines.iter().filter(|line| line["event"] == "news").map(|line| line["protocol"].as_u64()).collect();
    assert_eq!(news[..3], [Some(4), Some(5), Some(6)]);
    let after = texts(&module);
    for (before, after) in before.iter().zip(&after) {
        let changed = before.lines().zip(after.lines()).filter(|(before, after)| before != after).count();
        assert!(
            before.lines().count() == after.lines().count() && (1..=2).contains(&changed),
            "{before}{after}"
        );
    }
    assert!(after[1].contains("bus_layout = 2 # once\n"), "{}", after[1]);
    assert_eq!(result(&update(&module).arg("--check").output().unwrap(), 0)["result"], "up_to_date");
    result(&tool(&["check", "--json", "--path"]).arg(&module).output().unwrap(), 0);
    assert!(entries(&module).iter().all(|path| !path.to_string_lossy().contains(".blvm")));
}

#[test]
fn a_workspace_that_names_the_sdk_is_updated_and_another_source_is_not_guessed() {
    let root = tempfile::tempdir().unwrap();
    let module = old_module(&root);
    let cargo = module.join("Cargo.toml");
    let text = fs::read_to_string(&cargo).unwrap();
    let inherited: String = text
        .lines()
        .filter(|line| *line != "[workspace]")
        .map(|line| match line.starts_with("blvm-sdk") {
            true => format!(
                "{}\n",
                line.replace(
                    &line[line.find("path").unwrap()..=line.rfind("sdk\"").unwrap() + 3],
                    "workspace = true"
                )
            ),
            false => format!("{line}\n"),
        })
        .collect();
    fs::write(&cargo, &inherited).unwrap();
    let error = result(&update(&module).output().unwrap(), 1);
    assert!(error["error"].as_str().unwrap().contains("no Cargo.toml above it has a [workspace]"), "{error}");
    let above = module.with_file_name("Cargo.toml");
    let sdk = root.path().join("old/sdk");
    let text = format!(
        "[workspace]\nmembers = [\"alarm\"]\nresolver = \"3\"\n[workspace.dependencies]\nblvm-sdk = {{ path = \"{}\" }}\n",
        sdk.display()
    );
    fs::write(&above, text).unwrap();
    result(&update(&module).output().unwrap(), 0);
    assert!(!fs::read_to_string(&above).unwrap().contains("old/sdk"));
    assert_eq!(fs::read_to_string(&cargo).unwrap(), inherited);

    fs::write(&above, "[workspace]\nmembers = [\"alarm\"]\n[workspace.dependencies]\nblvm-sdk = { git = \"u\", rev = \"1\" }\n").unwrap();
    let error = result(&update(&module).output().unwrap(), 1);
    assert!(error["error"].as_str().unwrap().contains("--sdk-git URL --rev COMMIT or --sdk DIR"), "{error}");

    // A package that is its own workspace, below one that names another SDK: its own file says it, and is the one that changes.
    let foreign = fs::read_to_string(&above).unwrap();
    let own = format!("{inherited}\n[workspace]\n");
    fs::write(&cargo, &own).unwrap();
    let error = result(&update(&module).output().unwrap(), 1);
    assert!(error["error"].as_str().unwrap().contains("does not name it under"), "{error}");
    fs::write(
        &cargo,
        format!("{own}[workspace.dependencies]\nblvm-sdk = {{ path = \"{}\" }}\n", sdk.display()),
    )
    .unwrap();
    result(&update(&module).output().unwrap(), 0);
    assert_eq!(fs::read_to_string(&above).unwrap(), foreign);
    let now = fs::read_to_string(&cargo).unwrap();
    assert!(now.starts_with(&own) && !now.contains("old/sdk"), "{now}");
}

#[test]
fn what_cannot_be_written_or_cargo_refuses_leaves_both_files_as_they_were() {
    let root = tempfile::tempdir().unwrap();
    let module = old_module(&root);
    let (before, lock) = (texts(&module), locked(&module));
    // No file may grow: in units of 1,024 bytes; without the trap the signal ends the process.
    let error = result(&under("trap '' XFSZ; ulimit -f 0", &update(&module)), 1);
    assert!(error["error"].as_str().unwrap_or_default().contains("nothing was changed"), "{error}");
    assert_eq!(texts(&module), before);
    // A dependency that is not there: Cargo takes neither the old package nor the new one.
    let broken = format!("{}\n[dependencies.gone]\npath = \"gone\"\n", before[0]);
    fs::write(module.join("Cargo.toml"), &broken).unwrap();
    // Cargo itself empties it where it may write nothing.
    fs::write(module.join("Cargo.lock"), &lock).unwrap();
    let error = result(&update(&module).output().unwrap(), 1);
    assert!(error["error"].as_str().unwrap().contains("it is as it was before"), "{error}");
    assert_eq!(texts(&module), [broken, before[1].clone()]);
    assert!(locked(&module) == lock);
    assert!(entries(&module).iter().all(|path| !path.to_string_lossy().contains(".blvm")));
}

/// A module whose program Cargo builds in a moment: it is installed and never started.
fn small_module(root: &TempDir, version: &str, capabilities: &str) -> PathBuf {
    let module = root.path().join("small");
    fs::create_dir_all(module.join("src")).unwrap();
    let cargo =
        format!("[package]\nname = \"small\"\nversion = \"{version}\"\nedition = \"2024\"\n[workspace]\n");
    fs::write(module.join("Cargo.toml"), cargo).unwrap();
    fs::write(module.join("src/main.rs"), format!("fn main() {{ println!(\"{version}\"); }}\n")).unwrap();
    let manifest = format!(
        "name = \"small\"\nversion = \"{version}\"\nentry_point = \"small\"\ncapabilities = [{capabilities}]\n"
    );
    fs::write(module.join("module.toml"), manifest).unwrap();
    fs::write(module.join("config.toml"), format!("# of {version}\n")).unwrap();
    module
}

#[test]
fn an_installed_module_is_updated_from_where_it_came_and_keeps_what_is_its_operators() {
    let root = tempfile::tempdir().unwrap();
    let target = tempfile::tempdir().unwrap();
    let datadir = root.path().join("data");
    let ask = |words: &[&str]| {
        let mut command = tool(words);
        command.arg("--json").env("CARGO_TARGET_DIR", target.path()).arg("--datadir").arg(&datadir);
        command.output().unwrap()
    };
    let module = small_module(&root, "1.0.0", "");
    result(&ask(&["install", "--path", module.to_str().unwrap()]), 0);
    let own = datadir.join("modules/small");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("config.toml"), "level = 3\n").unwrap();
    let installed = datadir.join("installed/small");
    let config = || fs::read_to_string(installed.join("config.toml")).unwrap();

    let same = result(&ask(&["update", "--all"]), 0);
    assert_eq!(same["replaced"], Value::Array(Vec::new()));
    small_module(&root, "1.1.0", "\"read_mempool\"");
    fs::write(installed.join("config.toml"), "# edited here\n").unwrap();
    result(&ask(&["update", "small", "--check"]), 1);
    assert_eq!(config(), "# edited here\n");
    let output = ask(&["update", "small"]);
    assert_eq!(result(&output, 0)["replaced"][0], "small");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let event: Value = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|line: &Value| line["event"] == "updated")
        .unwrap();
    assert_eq!(
        (event["replaced"].as_str(), event["version"].as_str(), event["more_permissions"][0].as_str()),
        (Some("1.0.0"), Some("1.1.0"), Some("read_mempool"))
    );
    assert_eq!(config(), "# of 1.1.0\n");
    assert_eq!(fs::read_to_string(installed.join("config.toml.old")).unwrap(), "# edited here\n");
    assert_eq!(fs::read_to_string(own.join("config.toml")).unwrap(), "level = 3\n");

    let error = result(&ask(&["update", "smal"]), 1);
    assert!(error["error"].as_str().unwrap().contains("there are small"), "{error}");
    fs::remove_file(installed.join(".source.toml")).unwrap();
    assert!(
        String::from_utf8_lossy(&ask(&["update", "small"]).stdout)
            .contains("does not say what it was installed from")
    );
}
