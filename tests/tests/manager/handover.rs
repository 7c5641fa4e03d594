//! Reloads and crashes beside 10,000 messages a second: what the next process reads on from.
//!
//! `RELOADS` makes it long: `make reload`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blvm_bus::message::Topic as _;
use blvm_bus::message::mempool::Mempool;
use blvm_node_adapter::module::{ModuleState, RunningModule};
use blvm_node_adapter::source::{EventSink as _, NodeEvent, RemovalReason};
use blvm_node_adapter::topics::Topics;
use nix::sys::signal::Signal;

use crate::managed::Managed;

/// Publishes 10,000 messages a second on `mempool` until it is told to stop; how many.
struct Flood {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flood {
    fn start(topics: &Arc<Topics>) -> Self {
        let (topics, is_over) = (Arc::clone(topics), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let (mut published, mut next) = (0, Instant::now());
            while !seen.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    topics.event(NodeEvent::TransactionRemoved {
                        txid: [7; 32],
                        reason: RemovalReason::Expired,
                    });
                    published += 1;
                }
                next += Duration::from_millis(2);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            published
        });
        Flood { is_over, thread }
    }

    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn process(managed: &Managed, name: &str) -> Arc<RunningModule> {
    managed.manager.processes().into_iter().find(|process| process.name() == name).unwrap()
}

/// What a process has read of `mempool`: its first sequence, how many, how many it missed, and through where.
fn read_of(process: &RunningModule) -> (u64, u64, u64, u64) {
    let start = process.starts().unwrap()[&Mempool::NUMBER];
    let statistics = process.statistics().unwrap();
    let topic = statistics.topics.iter().find(|topic| topic.topic == Mempool::NUMBER).unwrap();
    (start, topic.received, topic.missed, topic.processed_through)
}

/// The example module, built with the workspace beside the tests.
fn block_watch() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("block-watch");
    assert!(path.is_file(), "{} is missing: build the workspace first", path.display());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn block_watch_is_reloaded_beside_a_flood_and_misses_nothing_and_reads_nothing_twice() {
    let reloads: u32 = std::env::var("RELOADS").map_or(10, |value| value.parse().unwrap());
    let managed = Managed::start();
    let directory = managed.files("block-watch");
    std::fs::create_dir_all(&directory).unwrap();
    let manifest = include_str!("../../../sdk/examples/block-watch/module.toml");
    std::fs::write(directory.join("module.toml"), manifest).unwrap();
    std::fs::copy(block_watch(), directory.join("block-watch")).unwrap();
    managed.manager.load("block-watch").await.unwrap();
    let mut processes = vec![process(&managed, "block-watch")];
    let flood = Flood::start(&managed.topics);
    let begin = Instant::now();
    for _ in 0..reloads {
        managed.manager.reload("block-watch").await.unwrap();
        processes.push(process(&managed, "block-watch"));
    }
    let took = begin.elapsed() / reloads;
    let published = flood.stop();
    managed.manager.unload("block-watch").await.unwrap();
    let read: Vec<_> = processes.iter().map(|process| read_of(process)).collect();
    for (before, after) in read.iter().zip(&read[1..]) {
        assert_eq!(after.0, before.3 + 1, "a process begins where the one before ended: {read:?}");
    }
    for (start, received, missed, through) in &read {
        assert_eq!((*missed, start + received), (0, through + 1), "{read:?}");
    }
    let received: u64 = read.iter().map(|(_, received, ..)| received).sum();
    assert_eq!(received, published);
    eprintln!("{reloads} reloads in {took:?} each; {received} messages, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_killed_beside_a_flood_reads_everything_at_least_once_and_twice_only_what_it_had_not_reported()
 {
    let managed = Managed::start_with(|options| {
        options.restart.first_delay = Duration::from_millis(10);
        options.restart.longest_delay = Duration::from_millis(10);
        options.restart.give_up_after = 100;
    });
    managed.install("recorder", "record");
    managed.manager.load("recorder").await.unwrap();
    let flood = Flood::start(&managed.topics);
    let mut starts = vec![process(&managed, "recorder").starts().unwrap()[&Mempool::NUMBER]];
    for _ in 0..5 {
        // Long enough for a report in between, most of the times.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        let victim = process(&managed, "recorder");
        victim.signal(Signal::SIGKILL).unwrap();
        managed
            .until("another process is at work", || {
                let now = process(&managed, "recorder");
                now.pid() != victim.pid()
                    && managed.manager.info("recorder").unwrap().state == ModuleState::Running
            })
            .await;
        starts.push(process(&managed, "recorder").starts().unwrap()[&Mempool::NUMBER]);
    }
    let published = flood.stop();
    managed.manager.unload("recorder").await.unwrap();

    let bytes = std::fs::read(managed.data("recorder").join("record")).unwrap();
    let sequences: Vec<u64> =
        bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for sequence in &sequences {
        *times.entry(*sequence).or_default() += 1;
    }
    let first = starts[0];
    assert!(times.keys().copied().eq(first..first + published), "something was missed");
    // Where a later process begins is what the one before had reported as finished.
    let restarted: Vec<_> =
        sequences.windows(2).filter(|pair| pair[1] != pair[0] + 1).map(|pair| pair[1]).collect();
    assert!(restarted.iter().all(|sequence| starts[1..].contains(sequence)), "{restarted:?} of {starts:?}");
    assert!(starts.windows(2).all(|pair| pair[0] <= pair[1]), "{starts:?}");
    assert!(starts[5] > first, "nothing was ever reported");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_seen_after_a_reload_and_a_faulty_one_changes_nothing() {
    let managed = Managed::start();
    managed.install("quiet", "");
    managed.write_manifest_with("quiet", "0.1.0", "[config_schema]\ncolour = \"what it is\"\n");
    managed.operator("[modules.quiet]\ncolour = \"red\"\n");
    managed.manager.load("quiet").await.unwrap();
    let path = managed.data("quiet").join("configuration");
    let sees = |text: &str| std::fs::read_to_string(&path).is_ok_and(|seen| seen.trim() == text);
    managed.until("it sees red", || sees("colour = \"red\"")).await;
    managed.operator("[modules.quiet]\ncolour = \"green\"\n");
    managed.manager.reload("quiet").await.unwrap();
    managed.until("it sees green", || sees("colour = \"green\"")).await;
    let before = managed.manager.info("quiet").unwrap().pid;
    managed.operator("[modules.quiet]\ncolor = \"blue\"\n");
    let error = managed.manager.reload("quiet").await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("color") && text.contains("colour"), "{text}");
    assert_eq!(managed.manager.info("quiet").unwrap().pid, before);
}

/// As the manual says: build, copy the program to `NAME/target/release/`, write `module.toml`, load at run time.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_installed_by_hand_is_loaded_at_run_time_and_unloading_it_holds_up_nobody() {
    let managed = Managed::start();
    managed.install("witness", "record");
    managed.manager.load("witness").await.unwrap();
    let flood = Flood::start(&managed.topics);
    let directory = managed.files("by-hand");
    std::fs::create_dir_all(directory.join("target/release")).unwrap();
    std::fs::copy(block_watch(), directory.join("target/release/block-watch")).unwrap();
    let manifest = include_str!("../../../sdk/examples/block-watch/module.toml");
    let manifest = manifest.replace("name = \"block-watch\"", "name = \"by-hand\"");
    std::fs::write(directory.join("module.toml"), manifest).unwrap();
    managed.manager.load("by-hand").await.unwrap();
    let process = process(&managed, "by-hand");
    let next = || managed.topics.next_sequence(Mempool::NUMBER).unwrap();
    let before = next();
    managed.manager.unload("by-hand").await.unwrap();
    // Unloading takes a moment only: the flood may not have had its turn in it.
    managed.until("publishing goes on", || next() > before).await;
    let published = flood.stop();
    managed.manager.unload("witness").await.unwrap();
    // The one that was unloaded read all until then, and the other one everything, in one row.
    let (start, received, missed, through) = read_of(&process);
    assert_eq!((missed, start + received), (0, through + 1));
    let bytes = std::fs::read(managed.data("witness").join("record")).unwrap();
    let sequences: Vec<u64> =
        bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let first = sequences[0];
    assert!(sequences.iter().copied().eq(first..first + published), "the row has a gap");
}
