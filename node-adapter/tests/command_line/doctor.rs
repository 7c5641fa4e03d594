//! `blvm doctor`.

use serde_json::Value;

use super::run;

#[test]
fn the_doctor_tells_every_check_and_its_exit_status_is_the_result() {
    let output = run(&["doctor", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, findings) = lines.split_last().unwrap();
    let state_of = |check: &str| {
        let finding = findings.iter().find(|finding| finding["check"] == check);
        finding.unwrap_or_else(|| panic!("no {check} in {text}"))["state"].as_str().unwrap()
    };
    for check in [
        "uid",
        "landlock",
        "ports",
        "control_group_memory",
        "control_group_pids",
        "control_group_cpu",
        "memlock",
        "open_files",
        "membarrier",
        "start",
    ] {
        assert!(["holds", "weak", "refuses"].contains(&state_of(check)), "{check}");
    }
    for finding in findings {
        assert_ne!(finding["detail"], "", "{finding}");
    }
    let is_refused = findings.iter().any(|finding| finding["state"] == "refuses");
    assert_eq!(output.status.code(), Some(i32::from(is_refused)), "{text}");
    assert_eq!(result["result"] == "modules start", !is_refused);
    // A module was started, or a reason was given.
    assert_eq!(state_of("start") == "holds", !is_refused || state_of("memlock") == "refuses");
}

#[test]
fn people_get_a_line_per_check_and_a_sum() {
    let output = run(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() >= 11, "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("modules "), "{last}");
}
