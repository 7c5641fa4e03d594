//! Many modules, half of which crash again and again, beside a flood of messages: what the flood costs, and what is left.
//!
//! `CROWD_SECONDS` and `CROWD_MODULES` make it long: `make crowd`.

use std::time::{Duration, Instant};

use blvm_node_adapter::module::{ModuleInfo, ModuleState, RestartPolicy};
use blvm_node_adapter::source::{EventSink as _, NodeEvent, RemovalReason};
use blvm_node_adapter::topics::Topics;
use blvm_tests::memory::private_resident_bytes;

use crate::managed::Managed;

/// Messages published without a pause: most of them find nobody to wake, as in a real flood.
const BURST: usize = 64;

/// Time from burst to burst: 10,000 messages a second.
const BURST_INTERVAL: Duration = Duration::from_micros(6_400);

/// A module that crashes so often in a row is given up.
const GIVE_UP_AFTER: u32 = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Publishes for `duration`; the median time of one publish.
fn flood(topics: &Topics, duration: Duration) -> (u64, Duration) {
    let (start, mut costs) = (Instant::now(), Vec::new());
    let mut next = start;
    while start.elapsed() < duration {
        for _ in 0..BURST {
            let begin = Instant::now();
            topics.event(NodeEvent::TransactionRemoved { txid: [7; 32], reason: RemovalReason::Expired });
            costs.push(begin.elapsed());
        }
        next += BURST_INTERVAL;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    costs.sort_unstable();
    (costs.len() as u64, costs[costs.len() / 2])
}

/// Whether the manager's rules explain how a module stands.
fn follows_the_rules(info: &ModuleInfo, told: &[String]) -> Result<(), String> {
    let count =
        |event: &str| told.iter().filter(|line| line.starts_with(&format!("{event} {}", info.name))).count();
    let (crashes, starts) = (count("crashed"), count("started"));
    let is_sound = match info.state {
        ModuleState::Running => {
            starts == crashes + 1 && info.pid.is_some() && info.restarts as usize == crashes
        }
        ModuleState::Waiting | ModuleState::Starting => starts == crashes || starts == crashes + 1,
        ModuleState::Failed => starts == crashes && crashes >= GIVE_UP_AFTER as usize && !info.is_loaded,
        _ => false,
    };
    if is_sound { Ok(()) } else { Err(format!("{crashes} crashes, {starts} starts, but {info:?}")) }
}

/// Processes that are children of this one.
fn children() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok())
        .map(|children| children.split_whitespace().count())
        .sum()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_which_half_crashes_costs_the_flood_nothing_and_leaves_nothing_behind() {
    let duration = Duration::from_secs(setting("CROWD_SECONDS", 3));
    let modules = setting("CROWD_MODULES", 8);
    let mut managed = Managed::start_with(|options| {
        options.restart = RestartPolicy {
            first_delay: Duration::from_millis(50),
            longest_delay: Duration::from_secs(1),
            give_up_after: GIVE_UP_AFTER,
            settled_after: Duration::from_millis(500),
        };
    });
    // What is made at the first start of a module stays.
    managed.install("first", "");
    managed.manager.load("first").await.unwrap();
    managed.manager.unload("first").await.unwrap();
    let before = (children(), descriptors(), private_resident_bytes());
    let (_, alone) = flood(&managed.topics, duration / 4);
    managed.said();

    for number in 0..modules {
        let name = format!("module-{number:02}");
        managed.install(&name, if number % 2 == 0 { "" } else { "crash-later" });
        managed.manager.load(&name).await.unwrap();
    }
    let topics = std::sync::Arc::clone(&managed.topics);
    let flooding = std::thread::spawn(move || flood(&topics, duration));
    let mut told = Vec::new();
    while !flooding.is_finished() {
        told.extend(managed.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (published, crowded) = flooding.join().unwrap();
    eprintln!("{published} messages; a publish takes {alone:?} alone, {crowded:?} in the crowd (p50)");

    // No module is in the midst of anything when it is looked at: then nothing happens any more.
    let names: Vec<String> = managed.manager.list().into_iter().map(|info| info.name).collect();
    for name in names.iter().filter(|name| *name != "first") {
        managed.behave(name, "");
    }
    managed
        .until("all run as they were told now, or are given up", || {
            managed.manager.list().iter().all(|info| match info.state {
                ModuleState::Running => {
                    info.pid.is_some_and(|pid| managed.began(&info.name) == (pid, String::new()))
                }
                state => matches!(state, ModuleState::Failed | ModuleState::Stopped),
            })
        })
        .await;
    told.extend(managed.said());
    let mut crashed = 0;
    for info in managed.manager.list().iter().filter(|info| info.name != "first") {
        follows_the_rules(info, &told).unwrap();
        let number: u64 = info.name["module-".len()..].parse().unwrap();
        assert!(number % 2 == 1 || info.restarts == 0 && info.state == ModuleState::Running, "{info:?}");
        crashed += u64::from(info.restarts > 0 || info.state == ModuleState::Failed);
    }
    assert!(crashed > 0, "nothing crashed");
    for info in managed.manager.list().iter().filter(|info| info.is_loaded) {
        managed.manager.unload(&info.name).await.unwrap();
    }
    managed
        .until("nothing is left", || {
            let now = (children(), descriptors(), private_resident_bytes());
            now.0 <= before.0 && now.1 <= before.1 && now.2 < before.2 + (24 << 20)
        })
        .await;
    if duration >= Duration::from_secs(30) {
        assert!(crowded.as_secs_f64() <= 1.1 * alone.as_secs_f64(), "{crowded:?} against {alone:?}");
    }
}
