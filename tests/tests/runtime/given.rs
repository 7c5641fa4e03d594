//! What a running module is given, by a whole node: settings from every layer, a log with levels, figures, a database.

use serde_json::Value;

use crate::blvm::{Blvm, wait_for};

const RIGHTS: &str = "capabilities = [\"register_rpc_endpoint\", \"report_metrics\"]\n";
const SCHEMA: &str = "[config_schema]\nabove = \"fee rate\"\nname = \"a name\"\npool = \"a pool\"\n\"pool.min_fee\" = \"in sat\"\ntick_ms = \"how often\"\n";

#[test]
fn a_wrong_value_names_its_key_its_file_or_variable_and_what_is_expected() {
    let node_file =
        "[modules.of-node]\nname = \"a\"\ntick_ms = \"ten\"\n[modules.of-node.pool]\nports = [1, 70000]\n";
    let node = Blvm::start(node_file, &[("MODULE_CONFIG_ABOVE", "eleven")]);
    node.install("of-file", "\nabov = 3\n", RIGHTS);
    node.install("of-node", "", RIGHTS);
    node.install("of-variable", "", &format!("{RIGHTS}{SCHEMA}"));
    let advice = |name: &str| {
        format!("stderr.error   `blvm config show {name}` prints each value and where it comes from")
    };
    for name in ["of-file", "of-node", "of-variable"] {
        // It is started again and fails again: whatever is said of it here.
        let _ = node.ask(&["load", name]);
        node.logs(name, "stderr.error given: the configuration is wrong");
        node.logs(name, &advice(name));
    }
    // A module is told the name of the file and no more.
    node.logs("of-file", "stderr.error   abov: unknown key; did you mean \"above\"? (config.toml:2)");
    let whole = "a whole number, 0 or more";
    node.logs(
        "of-node",
        &format!("stderr.error   tick_ms: the string \"ten\" stands there, expected {whole} (blvm.toml:3)"),
    );
    let port = "a whole number from 0 to 65535";
    node.logs(
        "of-node",
        &format!(
            "stderr.error   pool.ports[1]: the number 70000 stands there, expected {port} (blvm.toml:5)"
        ),
    );
    node.logs(
        "of-variable",
        &format!(
            "stderr.error   above: the string \"eleven\" stands there, expected {whole} (MODULE_CONFIG_ABOVE)"
        ),
    );
    // What the manifest describes is known to the node: it starts nothing.
    node.install("described", "abov = 3\n", &format!("{RIGHTS}{SCHEMA}"));
    let error = node.error(&["load", "described"]);
    assert!(error.contains("config.toml") && error.contains("abov: unknown key; did you mean"), "{error}");
    node.install("weaker", "above = 3\n", &format!("{RIGHTS}{SCHEMA}"));
    let error = node.error(&["load", "weaker"]);
    assert!(error.contains("MODULE_CONFIG_ABOVE=\"eleven\": above is an integer in"), "{error}");
}

#[test]
fn settings_come_from_all_layers_and_the_database_outlives_the_process() {
    let variables = [("MODULE_CONFIG_NAME", "7"), ("MODULE_CONFIG_POOL_MIN_FEE", "9")];
    let node = Blvm::start("[modules.given]\npool = { ports = [1, 2] }\n", &variables);
    node.install("given", "above = 5\n", &format!("{RIGHTS}{SCHEMA}"));
    node.result(&["load", "given"]);
    let given = |starts: u32| {
        format!(
            "stderr.info given_module: it is given starts={starts} above=5 name=\"7\" min_fee=9 ports=[1, 2]"
        )
    };
    node.logs("given", &given(1));
    node.result(&["reload", "given"]);
    node.logs("given", &given(2));
    let modules = node.directory("").display().to_string();
    let shown = node.result(&["config", "show", "given", "--modules-dir", &modules]);
    let file = node.directory("given").join("config.toml").display().to_string();
    assert!(shown.contains(&format!("above = 5  # {file}:1")), "{shown}");
}

#[test]
fn lines_of_the_log_keep_their_level_target_and_fields_and_cannot_be_forged() {
    let node = Blvm::start("[modules.given.limits]\nlog_level = \"trace\"\n", &[]);
    node.install("given", "", RIGHTS);
    node.result(&["load", "given"]);
    assert!(node.command(&["given", "speak"]).status.success());
    for (level, text) in [
        ("error", "given_module: speaking{to=\"all\"}: an error"),
        ("warn", "given_module: speaking{to=\"all\"}: a warning count=3"),
        ("info", "elsewhere: speaking{to=\"all\"}: information"),
        ("debug", "given_module: speaking{to=\"all\"}: for its author"),
        ("trace", "given_module: speaking{to=\"all\"}: a step"),
        ("warn", "given_module: speaking{to=\"all\"}: two lines"),
        ("warn", "    <3>and no error"),
    ] {
        node.logs("given", &format!(" stderr.{level} {text}"));
        let line = node.node_logs(text);
        assert!(line.contains(&format!(" {} module: ", level.to_uppercase())), "{line}");
    }
    node.logs("given", " stdout plain");
    let json = node.result(&["module", "logs", "given", "-n", "1000", "--json"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |level: Value, text: &str| {
        let found = lines.iter().find(|line| line["text"].as_str().unwrap().ends_with(text));
        assert_eq!(found.unwrap()["level"], level, "{text}");
    };
    of("warn".into(), "a warning count=3");
    of(Value::Null, "plain");
    // A panic, with both of its lines.
    assert!(!node.command(&["given", "panic"]).status.success());
    node.logs("given", "stderr.error     as asked");
    node.logs("given", "stderr.error     in two lines");
    // Whoever floods its log waits for nobody: this is 40 MiB, read at 1 MiB a second.
    let took = node.command(&["given", "flood"]);
    let milliseconds: u64 = String::from_utf8(took.stdout).unwrap().trim().parse().unwrap();
    assert!(milliseconds < 20_000, "{milliseconds} ms");
}

#[test]
fn a_module_says_as_much_as_its_operator_wants() {
    let node = Blvm::start("[module_resource_limits]\ndefault_log_level = \"warn\"\n", &[]);
    node.install("given", "", RIGHTS);
    node.result(&["load", "given"]);
    assert!(node.command(&["given", "speak"]).status.success());
    node.logs("given", "<3>and no error");
    let log = node.result(&["module", "logs", "given", "-n", "1000"]);
    assert!(!log.contains("stderr.info") && !log.contains("stderr.debug"), "{log}");
    assert!(log.contains("stderr.error") && log.contains("stdout plain"), "{log}");
}

#[test]
fn figures_are_shown_while_the_module_is_loaded() {
    let node = Blvm::start("", &[]);
    node.install("given", "tick_ms = 5\n", RIGHTS);
    assert!(node.error(&["module", "metrics", "given"]).contains("there is no module given"));
    node.result(&["load", "given"]);
    let ticks = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("ticks "))?;
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let shown = || node.result(&["module", "metrics", "given"]);
    let first = wait_for("some ticks", || {
        let text = shown();
        ticks(&text).filter(|ticks| *ticks > 0).ok_or(text)
    });
    wait_for("more ticks", || {
        let text = shown();
        ticks(&text).filter(|ticks| *ticks > first).ok_or(text)
    });
    let text = shown();
    assert!(text.contains("level_sat_per_vb{of=\"median\"}  12.5"), "{text}");
    let json: Value = serde_json::from_str(&node.result(&["module", "metrics", "--json"])).unwrap();
    assert_eq!(json[0]["module"], "given");
    let histogram = &json[0]["series"][1];
    assert_eq!((&histogram["name"], &histogram["kind"]), (&"tick_seconds".into(), &"histogram".into()));
    assert_eq!(histogram["buckets"][1]["count"], histogram["count"]);
    let prometheus = node.result(&["module", "metrics", "given", "--prometheus"]);
    assert!(
        prometheus
            .contains("# TYPE blvm_module_given_ticks counter\nblvm_module_given_ticks{module=\"given\"} "),
        "{prometheus}"
    );
    assert!(node.result(&["module", "show", "given"]).contains("3 series: blvm module metrics given"));
    node.result(&["unload", "given"]);
    assert!(node.error(&["module", "metrics", "given"]).contains("is not loaded"));
    assert_eq!(node.result(&["module", "metrics"]), "no module reports metrics\n");
    assert!(node.error(&["module", "metrics", "givne"]).contains("there is no module"));
}

#[test]
fn without_the_right_figures_are_counted_and_nobody_is_told() {
    let node = Blvm::start("", &[]);
    node.install("given", "", "capabilities = [\"register_rpc_endpoint\"]\n");
    node.result(&["load", "given"]);
    node.logs(
        "given",
        "stderr.warn metrics are not reported: add report_metrics to capabilities in module.toml",
    );
    assert_eq!(node.result(&["module", "metrics", "given"]), "given reports no metrics\n");
    assert!(node.command(&["given", "speak"]).status.success());
}
