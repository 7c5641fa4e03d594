//! Segments under a name: read from another process, and taken over after a kill.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use blvm_bus::message::mempool::{Mempool, MempoolEvent};
use blvm_bus::segment::{Header, open_named, sweep_named};
use blvm_bus::subscriber::Subscriber;

/// Starts a publisher; back when it has published.
fn start(instance: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_named-publisher"))
        .arg(instance)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the publisher starts");
    let mut line = String::new();
    let stderr = child.stderr.take().expect("it is piped");
    BufReader::new(stderr).read_line(&mut line).expect("it speaks");
    assert_eq!(line.trim(), "ready");
    child
}

/// Reads the first messages of the segment that stands there; its run.
fn read(instance: &str) -> Header {
    let (memory, header) = open_named::<Mempool>(instance).expect("the segment stands");
    let mut subscriber = Subscriber::<Mempool>::new(Arc::new(memory), header.layout, 1, None);
    for number in 0_u64..100 {
        let sample = subscriber.poll().expect("no loss").expect("a message");
        let Ok(MempoolEvent::TransactionRemoved(event)) = sample.event() else { panic!("another kind") };
        assert_eq!(event.txid[..8], number.to_le_bytes());
    }
    header
}

#[test]
fn a_killed_publishers_name_is_taken_over_by_the_next_and_swept_after_the_last() {
    let instance = format!("kill_{}", std::process::id());
    let mut first = start(&instance);
    let before = read(&instance);
    first.kill().expect("it runs");
    first.wait().expect("it is ours");
    // What it published can still be read: the name outlives its process.
    assert_eq!(read(&instance).identity, before.identity);
    let mut second = start(&instance);
    assert_ne!(read(&instance).identity.run_id, before.identity.run_id);
    sweep_named().expect("names are listed");
    assert!(open_named::<Mempool>(&instance).is_ok(), "a living name is not swept");
    second.kill().expect("it runs");
    second.wait().expect("it is ours");
    assert!(sweep_named().expect("names are listed") >= 1);
    assert!(open_named::<Mempool>(&instance).is_err());
}
