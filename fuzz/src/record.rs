//! Target `record`: what a module sends to park.

use blvm_bus::wake::{MAX_TOPICS, MAX_WAITERS, Record};

/// Reads `data` as a park record. What is accepted is bounded and survives encoding.
pub fn record(data: &[u8]) {
    match Record::decode(data) {
        Ok(record) => {
            assert!((1..=MAX_TOPICS).contains(&record.wants.len()));
            assert!(record.waiter < MAX_WAITERS);
            let encoded = record.encode();
            assert_eq!(encoded, data, "nothing is left over");
            assert_eq!(Record::decode(&encoded), Ok(record));
        }
        Err(error) => assert_eq!(error.found_bytes, data.len()),
    }
}
