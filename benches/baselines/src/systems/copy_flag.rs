//! A raw copy and a flag: the least that bringing bytes into another process can cost on a machine.
//!
//! The publisher copies the payload into a slot and stores the message's sequence into the flag before it; the subscriber
//! spins on the flag and reads the bytes where they lie. No lengths, no kinds, no checks, no way to lose anything, and
//! nothing to protect one side from the other. The slots go round the footprint, so that the memory is as cold as that of the
//! system it is held against.
//!
//! | publisher                            | subscriber                            |
//! |--------------------------------------|---------------------------------------|
//! | P0 see that the slot was read        | S1 load the flag until it is ours     |
//! | copy the payload                     | read the payload                      |
//! | P1 store the flag                    | S2 report the sequence, now and then  |

use std::fs::OpenOptions;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::system::{Head, Place, Publish, Subscribe, System, Touch, take};

/// Bytes of the first page, where the subscriber reports.
const SLOTS_AT: usize = 4_096;

/// Bytes of the flag before a payload.
const FLAG_BYTES: usize = 8;

/// Most slots.
const MOST_SLOTS: usize = 1_024;

/// The memory, and where things stand in it.
struct Memory {
    map: MmapRaw,
    slots: u64,
    slot_bytes: usize,
    payload_bytes: usize,
}

impl Memory {
    fn open(place: &Place) -> Self {
        let slots = place.messages(MOST_SLOTS);
        let slot_bytes = (FLAG_BYTES + place.bytes).next_multiple_of(64);
        let bytes = SLOTS_AT + slots * slot_bytes;
        let path = place.file("copy-flag");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.expect("a file");
        file.set_len(bytes as u64).expect("room for it");
        let map = MmapOptions::new().len(bytes).populate().map_raw(&file).expect("its mapping");
        Memory { map, slots: slots as u64, slot_bytes, payload_bytes: place.bytes }
    }

    /// The word at `at`, which is a multiple of 64.
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(64) && at + 8 <= self.map.len(), "a word outside the memory");
        // SAFETY: just compared with the length of the mapping.
        let word = unsafe { self.map.as_ptr().add(at) }.cast::<AtomicU64>();
        // SAFETY: aligned, since the mapping is; it outlives `self`, and nobody shrinks the file.
        unsafe { &*word }
    }

    /// Where the slot after the one at `slot_at` starts.
    fn slot_after(&self, slot_at: usize) -> usize {
        let next = slot_at + self.slot_bytes;
        if next == self.map.len() { SLOTS_AT } else { next }
    }

    fn flag(&self, slot_at: usize) -> &AtomicU64 {
        self.word(slot_at)
    }

    fn read_so_far(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// The first of `payload_bytes` bytes of the slot at `slot_at`.
    fn payload(&self, slot_at: usize) -> *mut u8 {
        let at = slot_at + FLAG_BYTES;
        assert!(at + self.payload_bytes <= self.map.len(), "a payload outside the memory");
        // SAFETY: just compared with the length of the mapping.
        unsafe { self.map.as_mut_ptr().add(at) }
    }
}

/// The one who copies.
pub struct Publisher {
    memory: Memory,
    next: u64,
    slot_at: usize,
    /// Messages up to this one have a slot that was read.
    room_up_to: u64,
}

impl Publish for Publisher {
    fn make_room(&mut self) {
        while self.next > self.room_up_to {
            // Acquire: the subscriber's reads before our writes over what it read. Pairs with S2.
            self.room_up_to = self.memory.read_so_far().load(Ordering::Acquire) + self.memory.slots;
            spin_loop();
        }
    }

    #[inline]
    fn publish(&mut self, payload: &[u8]) {
        self.make_room();
        assert_eq!(payload.len(), self.memory.payload_bytes, "all messages have one length");
        let target = self.memory.payload(self.slot_at);
        // SAFETY: `payload` found room for as many bytes. The subscriber reads them only after P1, and has read, as
        // `make_room` saw, what stood here before: nobody else touches them now.
        unsafe { target.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
        // P1, Release: the payload before the flag. Pairs with S1.
        self.memory.flag(self.slot_at).store(self.next, Ordering::Release);
        self.next += 1;
        self.slot_at = self.memory.slot_after(self.slot_at);
    }
}

/// The one who reads.
pub struct Subscriber {
    memory: Memory,
    next: u64,
    slot_at: usize,
    report_every: u64,
    report_next: u64,
}

impl Subscribe for Subscriber {
    #[inline]
    fn receive(&mut self, touch: Touch) -> Head {
        // S1, Acquire: pairs with P1.
        while self.memory.flag(self.slot_at).load(Ordering::Acquire) != self.next {
            // No pause: on some processors it lasts as long as half a message.
        }
        let source = self.memory.payload(self.slot_at);
        // SAFETY: `payload` found that as many bytes lie in the mapping. The publisher does not write them before S2
        // reports that they were read, and the slice ends before that.
        let head = take(unsafe { std::slice::from_raw_parts(source, self.memory.payload_bytes) }, touch);
        if self.next == self.report_next {
            self.report_next += self.report_every;
            // S2, Release: our reads before the report. Pairs with `make_room`.
            self.memory.read_so_far().store(self.next, Ordering::Release);
        }
        self.next += 1;
        self.slot_at = self.memory.slot_after(self.slot_at);
        head
    }
}

/// The system.
pub enum CopyFlag {}

impl System for CopyFlag {
    const NAME: &'static str = "copy-flag";
    const WAIT: &'static str = "spin";
    type Publisher = Publisher;
    type Subscriber = Subscriber;

    fn create(place: &Place) -> Publisher {
        let memory = Memory::open(place);
        Publisher { next: 1, slot_at: SLOTS_AT, room_up_to: memory.slots, memory }
    }

    fn open(place: &Place) -> Subscriber {
        let memory = Memory::open(place);
        let report_every = (memory.slots / 8).max(1);
        Subscriber { memory, next: 1, slot_at: SLOTS_AT, report_every, report_next: report_every }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_whole_many_times_round() {
        for bytes in [16, 100, 5_000] {
            let directory = tempfile::tempdir().unwrap();
            let place = Place { directory: directory.path().to_owned(), bytes, footprint_bytes: 5 * bytes };
            let (mut publisher, mut subscriber) = (CopyFlag::create(&place), CopyFlag::open(&place));
            let mut payload = vec![0; bytes];
            for sequence in 1..=100 {
                let head = Head { sequence, stamp: sequence * 5 };
                head.write(&mut payload);
                publisher.make_room();
                publisher.publish(&payload);
                assert_eq!(subscriber.receive(Touch::All), head);
            }
        }
    }
}
