//! `blvm config` and `blvm configpath`.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{blvm, one_line_error, path};

const MANIFEST: &str = "name = \"pool\"\nversion = \"0.1.0\"\nentry_point = \"pool\"\n\
    [config_schema]\nport = \"Where miners connect\"\nname = \"What miners see\"\nfees.least = \"In satoshi\"\n";

/// A data directory with the module `pool`.
fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("installed/pool");
    fs::create_dir_all(&module).unwrap();
    fs::create_dir_all(directory.path().join("modules/pool")).unwrap();
    fs::write(module.join("module.toml"), MANIFEST).unwrap();
    fs::write(module.join("pool"), "").unwrap();
    fs::write(module.join("config.toml"), "port = 3333\nname = \"x\"\n").unwrap();
    directory
}

fn run(directory: &TempDir, arguments: &[&str]) -> Output {
    let mut command = blvm(arguments);
    command.args(["--datadir", path(directory.path())]).env("MODULE_CONFIG_FEES_LEAST", "7").output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_value_is_shown_with_its_origin_and_changed_in_the_nodes_file() {
    let directory = place();
    let node_file = directory.path().join("blvm.toml");
    fs::write(&node_file, "# mine\n[modules.pool]\nname = \"y\" # short\n").unwrap();
    let own_file = directory.path().join("installed/pool/config.toml");
    let show = ["config", "show", "pool"];
    assert_eq!(
        lines(&run(&directory, &show)),
        [
            "fees.least = 7  # MODULE_CONFIG_FEES_LEAST".to_owned(),
            format!("name = \"y\"  # {}:3", node_file.display()),
            format!("port = 3333  # {}:1", own_file.display()),
        ]
    );

    lines(&run(&directory, &["config", "set", "modules.pool.name=12"]));
    lines(&run(&directory, &["config", "set", "modules.pool.port=3334"]));
    let text = fs::read_to_string(&node_file).unwrap();
    assert_eq!(text, "# mine\n[modules.pool]\nname = \"12\" # short\nport = 3334\n");
    let shown = lines(&run(&directory, &[&show[..], &["--json"]].concat()));
    let shown: Vec<Value> = shown.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        shown[2],
        json!({
            "key": "port", "value": 3334, "origin": {"file": path(&node_file), "line": 4}, "description": "Where miners connect",
        })
    );
    assert_eq!(shown[3], json!({"module": "pool", "values": 3}));
}

#[test]
fn what_is_unknown_or_wrong_is_refused_and_the_file_stays() {
    let directory = place();
    let node_file = directory.path().join("blvm.toml");
    for (assignment, told) in [
        ("modules.pool.prot=1", "modules.pool.prot: unknown key; did you mean \"port\"?"),
        ("modules.enable=true", "did you mean \"enabled\"?"),
        ("modules.pond.port=1", "there is no module pond in"),
        ("modules.pool.port", "is no KEY=VALUE"),
        ("modules.pool.fees=1", "unknown key"),
    ] {
        let error = one_line_error(&run(&directory, &["config", "set", assignment]), 1);
        assert!(error.contains(told), "{error}");
        assert!(!node_file.exists());
    }
    fs::write(directory.path().join("installed/pool/config.toml"), "[pool]\nport = 1\n").unwrap();
    let error = one_line_error(&run(&directory, &["config", "show", "pool"]), 1);
    assert!(error.contains("config.toml: line 1, column 2: pool: the keys stand under [pool]"), "{error}");
    let named = path(&node_file);
    let error = one_line_error(&run(&directory, &["config", "show", "pool", "--config", named]), 1);
    assert!(error.contains("blvm.toml cannot be read"), "{error}");
    fs::remove_file(directory.path().join("installed/pool/pool")).unwrap();
    let error = one_line_error(&run(&directory, &["config", "show", "pool"]), 1);
    assert!(error.contains("build the module first"), "{error}");
}

#[test]
fn the_path_is_that_of_the_file_in_the_modules_data_directory() {
    let directory = place();
    let printed = lines(&run(&directory, &["configpath", "pool"]));
    assert_eq!(printed, [path(&directory.path().join("modules/pool/config.toml"))]);
    fs::write(&printed[0], "port = 1\n").unwrap();
    let shown = lines(&run(&directory, &["config", "show", "pool"]));
    assert_eq!(shown[2], format!("port = 1  # {}:1", printed[0]));
}
