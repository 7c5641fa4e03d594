//! Recordings that begin with a mempool, and with more messages than a ring holds: made of the one that a node wrote.

use std::path::{Path, PathBuf};

use blvm_bus::Scratch;
use blvm_bus::message::mempool::{Mempool, MempoolEvent};
use blvm_bus::message::system::{NodeShutdown, NodeStartupCompleted, System};
use blvm_bus::message::{Kind, TOPICS, Topic};
use blvm_recording::{Message, Record, RecordedMessage, RecordedTopic, Recording, RecordingWriter};

use crate::live::{live, replay, replay_to_view};

/// Transactions that stand before the first message.
const STANDING: usize = 5;

/// Messages of `system` that no module wants: four times its ring.
const UNWANTED: usize = 16_384;

/// As the recording of [`live`], with the first transactions standing and a flood before everything else.
fn prepared(directory: &Path) -> PathBuf {
    let mut recording = Recording::open(&live().recording).unwrap();
    let mut header = recording.header().clone();
    header.topics = TOPICS.iter().map(RecordedTopic::from).collect();
    let mut records = Vec::new();
    while let Some(record) = recording.next_record().unwrap() {
        let Record::Message(message) = record else { panic!("something is missing") };
        records.push(message);
    }
    let added = records.iter_mut().filter(|record| is_added(record));
    added.take(STANDING).for_each(|record| (record.is_standing, record.at_ns) = (true, 0));
    // Those that stand first; each keeps its place otherwise.
    records.sort_by_key(|record| !record.is_standing);

    let path = directory.join("prepared");
    let mut writer = RecordingWriter::create(&path, &header, false).unwrap();
    let mut write = |record: &RecordedMessage| {
        let RecordedMessage { topic, kind, sequence, at_ns, is_repaired, is_standing, .. } = *record;
        let (archive, body) = (&record.archive, record.body.bytes());
        let is_body_gone = matches!(record.body, blvm_recording::RecordedBody::Gone);
        let message =
            Message { topic, kind, sequence, at_ns, is_repaired, is_standing, archive, body, is_body_gone };
        writer.message(&message).unwrap();
    };
    let standing = records.iter().take_while(|record| record.is_standing).count();
    records[..standing].iter().for_each(|record| write(record));
    let startup = NodeStartupCompleted { network: "regtest".to_owned(), height: 0, tip: [0; 32] };
    let unwanted = system(&startup);
    (0..UNWANTED).for_each(|_| write(&unwanted));
    write(&system(&NodeShutdown { reason: "a test".to_owned() }));
    records[standing..].iter().for_each(|record| write(record));
    writer.finish().unwrap();
    path
}

fn is_added(record: &RecordedMessage) -> bool {
    let event = || Mempool::decode(record.kind, &record.archive);
    record.topic == Mempool::NUMBER && matches!(event(), Ok(MempoolEvent::TransactionAdded(_)))
}

fn system<K: Kind<Topic = System>>(message: &K) -> RecordedMessage {
    let mut archive = Scratch::new();
    message.archive_into(&mut archive);
    RecordedMessage {
        topic: System::NUMBER,
        kind: K::NUMBER,
        sequence: 0,
        at_ns: 0,
        is_repaired: false,
        is_standing: false,
        archive,
        body: blvm_recording::RecordedBody::None,
    }
}

#[test]
fn a_module_begins_with_what_stood_sees_every_state_once_and_loses_nothing_that_it_does_not_want() {
    let directory = tempfile::tempdir().unwrap();
    let recording = prepared(directory.path());

    let asked = replay(&recording, &[]);
    assert_eq!(asked.status, Some(0), "{}", asked.log);
    let first = asked.order.lines().next().unwrap();
    assert!(first.starts_with("begins at 0, block Some(0), mempool "), "{first}");
    assert_eq!(first.split(' ').next_back().unwrap().len(), STANDING * 8, "{first}");

    let viewed = replay_to_view(&recording, &[]);
    assert_eq!(viewed.status, Some(0), "{}", viewed.log);
    let first = viewed.order.lines().next().unwrap();
    assert!(first.starts_with(&format!("0: {STANDING} ")), "{first}");
    assert!(!viewed.order.contains("missed") && !viewed.order.contains("otherwise"), "{}", viewed.order);
    assert!(
        viewed.order.contains("shutdown") && viewed.order.contains("reorganised from"),
        "{}",
        viewed.order
    );
    // One state a message that is published, the first one before all of them.
    let told = crate::check(&recording);
    let messages = told["topics"]["mempool"]["messages"].as_u64().unwrap();
    let states = viewed.order.lines().filter(|line| line.contains(": ")).count() as u64;
    assert_eq!(states, messages + 1, "{told}");
    let again = replay_to_view(&recording, &[]);
    assert!(again.order == viewed.order, "\n{}\nand\n{}", again.order, viewed.order);
}
