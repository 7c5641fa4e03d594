//! Target `recording`: a recorded stream, whoever wrote the file.

use std::io::Cursor;

use blvm_recording::{Damage, ReadError, Record, Recording};

use crate::seeds::recordings::container;

/// What was read of a recording.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Messages.
    pub messages: u64,
    /// Of these with a body.
    pub bodies: u64,
    /// Messages that are missing.
    pub missed: u64,
    /// Whether it was read to its end.
    pub is_whole: bool,
}

/// Reads `data`: after 0 a file, after 1 the records of a chunk, which gets its right checksums; so that what they guard is
/// reached too.
pub fn recording(data: &[u8]) -> Recorded {
    let (bytes, is_file) = match data {
        [0, file @ ..] => (file.to_vec(), true),
        [1, records @ ..] => (container(records), false),
        _ => return Recorded::default(),
    };
    let mut recorded = Recorded::default();
    let Ok(mut recording) = Recording::new(Cursor::new(&bytes[..])) else {
        assert!(is_file, "its header was ours");
        return recorded;
    };
    let mut places = Vec::new();
    loop {
        match recording.next_placed() {
            Ok(Some((place, record))) => {
                assert!(recording.header().has_topic(record.topic()));
                count(&record, &mut recorded);
                places.push((place, record));
            }
            Ok(None) => {
                recorded.is_whole = true;
                let totals = recording.totals().expect("it has ended");
                assert_eq!((totals.records, totals.missed), (places.len() as u64, recorded.missed));
                break;
            }
            Err(ReadError::Damaged(Damage { offset, records, .. })) => {
                assert!(offset <= bytes.len() as u64 && records == places.len() as u64);
                assert!(recording.next_record().is_err(), "nothing is read behind the damage");
                break;
            }
            Err(error) => panic!("bytes in memory can be read: {error}"),
        }
    }
    for (place, record) in places {
        let again = recording.read_at(place).expect("it was read before");
        assert_eq!(format!("{again:?}"), format!("{record:?}"), "read again, it is the same");
    }
    recorded
}

fn count(record: &Record, recorded: &mut Recorded) {
    match record {
        Record::Message(message) => {
            let topic = blvm_bus::message::topic(message.topic).expect("a topic of this program");
            topic.visit(message.kind, &message.archive, &mut |_, _| {}).expect("it was checked");
            recorded.messages += 1;
            recorded.bodies += u64::from(message.body.bytes().is_some());
        }
        Record::Missed(missed) => {
            assert!(missed.messages > 0);
            recorded.missed = recorded.missed.saturating_add(missed.messages);
        }
    }
}
