//! Every measurement of `bus-bench` runs to its end and prints lines that can be read. How long anything takes is not judged.

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use blvm_benches::cores;
use blvm_benches::report::Line;

fn bus_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bus-bench")).args(arguments).output().expect("it can be started")
}

/// The lines it prints; none where there is one core.
fn lines(arguments: &[&str]) -> Vec<Line> {
    if cores::two().is_err() {
        return Vec::new();
    }
    // One at a time: they spin, on the same two cores.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let output = bus_bench(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("lines of text");
    let lines: Vec<Line> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of the report")).collect();
    for line in &lines {
        assert!(!line.machine.is_empty() && !line.commit.is_empty());
        let sum = |counts: &Vec<(u64, u64)>| counts.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(line.histogram.as_ref().map(sum), line.histogram.as_ref().and(line.count), "{line:?}");
    }
    lines
}

/// One field of each line as text.
fn of(lines: &[Line], field: &str) -> Vec<String> {
    lines.iter().map(|line| serde_json::to_value(line).expect("a value")[field].to_string()).collect()
}

#[test]
fn one_way_takes_messages_in_slots_and_bodies_of_every_size() {
    for bytes in ["32", "96", "128", "1K", "64K", "4M"] {
        let lines = lines(&["one-way", "--bytes", bytes, "--touch", "all", "--count", "20", "--rounds", "2"]);
        assert!(lines.iter().all(|line| line.name == "one-way" && line.count == Some(20)), "{lines:?}");
        assert!(lines.iter().all(|line| line.line_rtt_ns.is_some() && line.rounds_p50_ns.is_some()));
    }
}

#[test]
fn throughput_accounts_for_every_message() {
    for (bytes, mode, batch) in
        [("128", "lossless", "1"), ("128", "lossless", "64"), ("32", "overrun", "64"), ("1M", "overrun", "1")]
    {
        let arguments = ["throughput", "--bytes", bytes, "--mode", mode, "--batch", batch];
        let lines = lines(&[&arguments[..], &["--count", "300", "--rounds", "3"]].concat());
        for line in lines {
            let number = |key: &str| line.more[key].as_u64().expect("a number");
            assert_eq!(number("received") + number("missed"), 300);
            assert!(line.messages_per_s.is_some_and(|rate| rate > 0.0));
        }
    }
}

#[test]
fn publish_cost_has_a_line_for_each_number_of_subscribers_in_every_state() {
    for state in ["spinning", "parked", "stopped", "dead", "hostile"] {
        let arguments = ["publish-cost", "--subscribers", "1,3", "--state", state];
        let lines = lines(&[&arguments[..], &["--count", "20", "--rounds", "1"]].concat());
        assert!(lines.is_empty() || of(&lines, "subscribers") == ["1", "3"]);
        assert!(lines.iter().all(|line| line.more.contains_key("ratio_block_p50")));
    }
}

#[test]
fn wakes_are_taken_beside_bare_ones_and_beside_hostile_modules() {
    let wakes = lines(&["wake", "--count", "4", "--rounds", "2"]);
    assert!(wakes.is_empty() || of(&wakes, "name") == [r#""wake""#, r#""wake-bare""#]);
    let isolated = lines(&["wake-isolation", "--count", "2", "--rounds", "1"]);
    let states = [r#""alone""#, r#""steal""#, r#""flood""#, r#""mute""#];
    assert!(isolated.is_empty() || of(&isolated, "state") == states);
}

#[test]
fn torment_is_measured_with_and_without() {
    let lines = lines(&["torment", "--count", "5", "--rounds", "1"]);
    assert!(lines.len() == 6 || lines.is_empty());
    assert!(lines.iter().all(|line| line.more.contains_key("ratio_p999")));
}

#[test]
fn mixed_traffic_is_measured_for_both_topics_however_the_subscriber_waits() {
    for wait in ["spin", "park"] {
        let lines = lines(&["mixed", "--wait", wait, "--per-block", "20", "--blocks", "3", "--no-node"]);
        assert!(lines.is_empty() || of(&lines, "topic") == [r#""chain""#, r#""mempool""#]);
        assert!(lines.iter().all(|line| line.stamp.as_deref() == Some("intended")));
    }
}

#[test]
fn idle_modules_are_weighed() {
    let lines = lines(&["idle", "--subscribers", "3", "--seconds", "0.1"]);
    assert!(lines.iter().all(|line| line.more["cpu_ms"].as_f64().is_some()));
}

#[test]
fn wrong_use_and_failures_have_statuses_of_their_own() {
    assert_eq!(bus_bench(&["one-way", "--bytes", "33"]).status.code(), Some(2));
    assert_eq!(bus_bench(&["nothing"]).status.code(), Some(2));
    assert_eq!(bus_bench(&["--help"]).status.code(), Some(0));
    // Nobody has started it as a module: what comes over its standard input is not for one.
    assert_eq!(bus_bench(&["module"]).status.code(), Some(1));
}
