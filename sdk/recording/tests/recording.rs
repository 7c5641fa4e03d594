//! Recordings as they are, cut anywhere, and with any byte changed: what is read is what was written, or nothing.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::path::Path;

use blvm_bus::Scratch;
use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, Chain, ChainReorganised,
    ReorganisationBody, WriteBody,
};
use blvm_bus::message::mempool::{Mempool, TransactionAdded};
use blvm_bus::message::{Kind, Topic, topic};
use blvm_recording::{
    DamageKind, Header, Message, Missed, Position, ReadError, Record, RecordedTopic, Recording,
    RecordingWriter, Summary, WriteError,
};
use proptest::prelude::*;

fn header() -> Header {
    let topics = [Chain::NUMBER, Mempool::NUMBER].map(|number| RecordedTopic::from(topic(number).unwrap()));
    Header {
        protocol: 6,
        started_unix_ms: 1_700_000_000_000,
        network: "regtest".to_owned(),
        program: "a test".to_owned(),
        base: Some(Position { hash: [7; 32], height: 41 }),
        topics: topics.to_vec(),
    }
}

/// A record to be written, with what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Made {
    Message {
        topic: u32,
        kind: u16,
        sequence: u64,
        archive: Vec<u8>,
        body: Option<Vec<u8>>,
        flags: [bool; 3],
    },
    Missed(u32, u64),
}

fn message<K: Kind>(kind: &K, sequence: u64, body: Option<Vec<u8>>) -> Made {
    let mut archive = Scratch::new();
    kind.archive_into(&mut archive);
    let (topic, kind) = (K::Topic::NUMBER, K::NUMBER);
    Made::Message { topic, kind, sequence, archive: archive.to_vec(), body, flags: [false; 3] }
}

fn body(body: &impl WriteBody) -> Vec<u8> {
    let mut bytes = Scratch::new();
    bytes.resize(body.bound_bytes(), 0);
    let length = body.write(&mut bytes).unwrap();
    bytes[..length].to_vec()
}

fn block(height: u32) -> Made {
    let raw = vec![height as u8; 100 + height as usize];
    let transactions = [BlockTransaction { fee_sat: 17, length_bytes: 10, ..BlockTransaction::default() }];
    let body = body(&BlockBody { transactions: &transactions, raw: &raw });
    let (hash, previous) = ([height as u8; 32], [height as u8 - 1; 32]);
    let raw_bytes = raw.len() as u32;
    message(&BlockConnected { hash, previous, height, transactions: 1, raw_bytes }, height.into(), Some(body))
}

fn transaction(number: u8) -> Made {
    let raw = vec![number; usize::from(number) * 3];
    let added = TransactionAdded { txid: [number; 32], wtxid: [1; 32], fee_sat: 9, weight: 400, raw };
    message(&added, number.into(), None)
}

/// Three chunks, as a node would fill them.
fn records() -> Vec<Vec<Made>> {
    let lists = ReorganisationBody { disconnected: &[[2; 32]], connected: &[[3; 32], [4; 32]] };
    let reorganised = ChainReorganised { fork_hash: [1; 32], fork_height: 1, disconnected: 1, connected: 2 };
    let mut standing = transaction(9);
    let mut gone = block(3);
    let Made::Message { flags, .. } = &mut standing else { unreachable!() };
    flags[1] = true;
    let Made::Message { flags, body: taken, .. } = &mut gone else { unreachable!() };
    (*flags, *taken) = ([true, false, true], None);
    let left = BlockDisconnected { hash: [2; 32], previous: [1; 32], height: 2 };
    vec![
        vec![standing, block(1), transaction(1), transaction(2)],
        vec![Made::Missed(Mempool::NUMBER, 3 << 33), block(2)],
        vec![message(&left, 4, None), gone, message(&reorganised, 5, Some(body(&lists))), transaction(5)],
    ]
}

fn add(writer: &mut RecordingWriter, made: &Made, at_ns: u64) {
    match made {
        Made::Message { topic, kind, sequence, archive, body, flags } => writer.message(&Message {
            topic: *topic,
            kind: *kind,
            sequence: *sequence,
            at_ns,
            is_repaired: flags[0],
            is_standing: flags[1],
            archive,
            body: body.as_deref(),
            is_body_gone: flags[2],
        }),
        Made::Missed(topic, messages) => writer.missed(&Missed { topic: *topic, at_ns, messages: *messages }),
    }
    .unwrap();
}

fn read_back(record: Record) -> Made {
    match record {
        Record::Message(message) => Made::Message {
            topic: message.topic,
            kind: message.kind,
            sequence: message.sequence,
            archive: message.archive.to_vec(),
            body: message.body.bytes().map(<[u8]>::to_vec),
            flags: [
                message.is_repaired,
                message.is_standing,
                matches!(message.body, blvm_recording::RecordedBody::Gone),
            ],
        },
        Record::Missed(missed) => Made::Missed(missed.topic, missed.messages),
    }
}

/// Writes the recording; its bytes, and where each chunk ends.
fn write(path: &Path, chunks: &[Vec<Made>]) -> (Vec<u8>, Vec<usize>) {
    let mut writer = RecordingWriter::create(path, &header(), true).unwrap();
    let mut ends = vec![writer.so_far().file_bytes as usize];
    for (number, chunk) in chunks.iter().enumerate() {
        for made in chunk {
            add(&mut writer, made, number as u64 * 1_000);
        }
        writer.flush().unwrap();
        ends.push(writer.so_far().file_bytes as usize);
    }
    let totals = writer.finish().unwrap();
    assert_eq!(totals.records as usize, chunks.iter().map(Vec::len).sum::<usize>());
    (std::fs::read(path).unwrap(), ends)
}

/// All that can be read, and how that ended.
fn read(bytes: &[u8]) -> (Vec<Made>, Result<(), ReadError>) {
    let mut recording = match Recording::new(bytes) {
        Ok(recording) => recording,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut found = Vec::new();
    loop {
        match recording.next_record() {
            Ok(Some(record)) => found.push(read_back(record)),
            Ok(None) => {
                assert!(recording.totals().is_some() && recording.next_record().unwrap().is_none());
                return (found, Ok(()));
            }
            Err(error) => {
                assert!(recording.totals().is_none() && recording.next_record().is_err());
                return (found, Err(error));
            }
        }
    }
}

fn sample() -> (Vec<u8>, Vec<usize>, Vec<Vec<Made>>) {
    let directory = tempfile::tempdir().unwrap();
    let chunks = records();
    let (bytes, ends) = write(&directory.path().join("a"), &chunks);
    (bytes, ends, chunks)
}

#[test]
fn what_was_written_is_read_from_the_front_and_at_each_place() {
    let directory = tempfile::tempdir().unwrap();
    let (path, chunks) = (directory.path().join("a"), records());
    write(&path, &chunks);
    let mut recording = Recording::open(&path).unwrap();
    assert_eq!(*recording.header(), header());
    let written = chunks.concat();
    let mut places = Vec::new();
    while let Some((place, record)) = recording.next_placed().unwrap() {
        assert_eq!(read_back(record), written[places.len()]);
        places.push(place);
        // Reading elsewhere does not disturb reading on.
        let other = places.len() / 2;
        assert_eq!(read_back(recording.read_at(places[other]).unwrap()), written[other]);
    }
    assert_eq!(places.len(), written.len());
    assert_eq!((recording.records(), recording.totals().unwrap().missed), (10, 3 << 33));

    let summary = Summary::of(&mut Recording::open(&path).unwrap()).unwrap();
    let (chain, mempool) = (&summary.topics[&Chain::NUMBER], &summary.topics[&Mempool::NUMBER]);
    assert_eq!((chain.messages(), chain.repaired, chain.bodies_gone), (5, 1, 1));
    assert_eq!((mempool.messages(), mempool.standing, mempool.missed), (3, 1, 3 << 33));
    assert_eq!((summary.records, summary.duration_ns), (10, 2_000));
    assert!(summary.damage.is_none() && summary.ended_unix_ms.is_some());
}

#[test]
fn a_recording_cut_anywhere_gives_every_whole_chunk_and_says_where_it_is_cut() {
    let (bytes, ends, chunks) = sample();
    for length in 0..bytes.len() {
        let (found, outcome) = read(&bytes[..length]);
        let whole = ends.iter().filter(|end| **end <= length).count();
        let error = outcome.unwrap_err();
        let Some(whole) = whole.checked_sub(1) else {
            let is_right = matches!(error, ReadError::NoHeader { bytes } if bytes == length as u64);
            assert!(is_right, "cut at {length}: {error}");
            continue;
        };
        let written = chunks[..whole].concat();
        assert_eq!(found, written, "cut at {length}");
        let ReadError::Damaged(damage) = error else { panic!("cut at {length}: {error}") };
        assert_eq!((damage.offset, damage.records), (ends[whole] as u64, written.len() as u64));
        let kind = if length == ends[whole] { DamageKind::Cut } else { DamageKind::CutInChunk };
        assert_eq!(damage.kind, kind, "cut at {length}");
        let said = damage.to_string();
        assert!(said.contains(&format!("byte {}", ends[whole])), "{said}");
    }
}

#[test]
fn no_changed_byte_goes_unseen_and_what_stands_before_it_is_read() {
    let (mut bytes, ends, chunks) = sample();
    for index in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[index] ^= flip;
            let (found, outcome) = read(&bytes);
            bytes[index] ^= flip;
            assert!(outcome.is_err(), "byte {index} changed by {flip:#x}");
            let whole = ends.iter().filter(|end| **end <= index).count();
            let written = chunks[..whole.saturating_sub(1)].concat();
            assert_eq!(found, written, "byte {index} changed by {flip:#x}");
        }
    }
    bytes.push(0);
    let (found, outcome) = read(&bytes);
    assert_eq!(found, chunks.concat());
    let is_right =
        matches!(&outcome, Err(ReadError::Damaged(damage)) if damage.kind == DamageKind::BehindEnd);
    assert!(is_right, "{outcome:?}");
}

#[test]
fn whole_chunks_in_the_wrong_place_are_seen() {
    let (bytes, ends, chunks) = sample();
    let part = |from: usize, to: usize| &bytes[ends[from]..ends[to]];
    let (head, last) = (&bytes[..ends[0]], &bytes[ends[3]..]);
    let is_damaged = |bytes: &[u8], read_records: usize| {
        let (found, outcome) = read(bytes);
        assert!(matches!(outcome, Err(ReadError::Damaged(_))), "{outcome:?}");
        assert_eq!(found, chunks.concat()[..read_records]);
    };
    // One left out, one twice, two swapped, the end too early.
    is_damaged(&[head, part(1, 3), last].concat(), 0);
    is_damaged(&[head, part(0, 1), part(0, 3), last].concat(), 4);
    is_damaged(&[head, part(0, 1), part(2, 3), part(1, 2), last].concat(), 4);
    is_damaged(&[head, part(0, 2), last].concat(), 6);
}

#[test]
fn a_file_that_is_there_is_replaced_only_if_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    std::fs::write(&path, "precious").unwrap();
    let refused = RecordingWriter::create(&path, &header(), false).err().unwrap();
    assert!(matches!(refused, WriteError::Exists { .. }) && refused.to_string().contains("--overwrite"));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    RecordingWriter::create(&path, &header(), true).unwrap().finish().unwrap();
    assert!(Recording::open(&path).unwrap().next_record().unwrap().is_none());
}

#[test]
fn an_old_recording_stays_until_the_new_one_has_begun_and_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let (before, _) = write(&path, &records());

    // Somebody writes there: not replaced, whoever asks.
    let writer = RecordingWriter::create(&path, &header(), true).unwrap();
    let refused = RecordingWriter::create(&path, &header(), true).err().unwrap();
    assert!(matches!(refused, WriteError::InUse { .. }), "{refused}");
    writer.finish().unwrap();

    // The new one cannot begin: a directory stands where it is made.
    std::fs::write(&path, &before).unwrap();
    let name = format!(".a.{}", std::process::id());
    std::fs::create_dir(directory.path().join(&name)).unwrap();
    let refused = RecordingWriter::create(&path, &header(), true).err().unwrap();
    assert!(matches!(refused, WriteError::Create { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::remove_dir(directory.path().join(&name)).unwrap();

    // A link stays a link, and nothing is left beside.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    RecordingWriter::create(&link, &header(), true).unwrap().finish().unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_ne!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn what_does_not_belong_into_a_recording_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(&directory.path().join("a"), &header(), false).unwrap();
    let missed = Missed { topic: 99, at_ns: 0, messages: 1 };
    assert!(matches!(writer.missed(&missed), Err(WriteError::UnknownTopic { topic: 99 })));
    let archive = vec![0; blvm_recording::MAX_RECORD_BYTES];
    let long = Message {
        topic: Mempool::NUMBER,
        kind: 1,
        sequence: 1,
        at_ns: 0,
        is_repaired: false,
        is_standing: false,
        archive: &archive,
        body: None,
        is_body_gone: false,
    };
    assert!(matches!(writer.message(&long), Err(WriteError::TooLong { .. })));
    assert_eq!(writer.finish().unwrap().records, 0);
}

#[test]
fn recordings_of_other_versions_say_which() {
    let (bytes, ..) = sample();
    let mut other = bytes.clone();
    other[8] = 2;
    let said = read(&other).1.unwrap_err().to_string();
    assert!(said.contains("format 2") && said.contains("format 1"), "{said}");
    assert!(matches!(read(b"a letter to my aunt, and long").1, Err(ReadError::NotARecording)));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let of_topic = |topic: RecordedTopic| {
        let header = Header { topics: vec![topic], ..header() };
        RecordingWriter::create(&path, &header, true).unwrap().finish().unwrap();
        Recording::open(&path).err().unwrap().to_string()
    };
    let said = of_topic(RecordedTopic { number: 1, schema: 0xabc, name: "chain".to_owned() });
    assert!(said.contains("chain") && said.contains("0000000000000abc"), "{said}");
    let said = of_topic(RecordedTopic { number: 99, schema: 1, name: "rumours".to_owned() });
    assert!(said.contains("rumours"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_records_in_any_chunks_come_back(
        choices in prop::collection::vec((0_u8..4, 1_u8..200, any::<bool>()), 0..60),
    ) {
        let mut chunks = vec![Vec::new()];
        for (what, number, ends) in choices {
            let made = match what {
                0 => block(number.into()),
                1 => Made::Missed(Chain::NUMBER, number.into()),
                _ => transaction(number),
            };
            let last = chunks.len() - 1;
            chunks[last].push(made);
            if ends {
                chunks.push(Vec::new());
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let (bytes, _) = write(&directory.path().join("a"), &chunks);
        let (found, outcome) = read(&bytes);
        prop_assert!(outcome.is_ok());
        prop_assert_eq!(found, chunks.concat());
    }
}
