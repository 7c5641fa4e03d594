//! The design of Firedancer's tango (mcache and dcache), written anew from its description: what a broadcast through
//! shared memory costs when nothing is wasted.
//!
//! One publisher writes, readers have it mapped read-only. A *metadata line* of 32 bytes per message (sequence, signature,
//! chunk, length, two stamps) stands in a ring; the payload stands in a cache of 64-byte chunks beside it, and is never
//! split. A reader spins on the line its sequence will stand in, copies, and looks at the sequence again. A reader that
//! must lose nothing reports, now and then, how far it is: the publisher's credits. A batch is copied first, then its lines
//! are committed.
//!
//! | publisher                              | subscriber                         |
//! |----------------------------------------|------------------------------------|
//! | P0 have a credit                       | S1 load the sequence until it is ours |
//! | copy the payload to the next chunk     | read the metadata                  |
//! | P1 mark the line with the sequence before | copy or read the payload        |
//! | store the metadata                     | S2 load the sequence again         |
//! | P2 commit the sequence                 | S3 report progress, every eighth of the depth |
//!
//! Departures from the original: lengths have 32 bits (16 there), the memory is a file in `/dev/shm` with ordinary pages (huge pages
//! there), and a payload over [`COPIED_BYTES`] is read in place between S1 and S2 (which is the reader's choice there
//! too). All of its atomics are ordered for any processor, not only for x86-64.

use std::fs::{File, OpenOptions};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use crate::system::{Head, Place, Publish, Subscribe, System, Touch, take};

/// Unit of the payload cache.
const CHUNK_BYTES: usize = 64;

/// Longest payload that a subscriber copies out before it looks at it.
pub const COPIED_BYTES: usize = 4_096;

/// Most lines of a ring.
const MOST_LINES: usize = 1_024;

/// Most messages of a batch.
const MOST_KEPT_BACK: usize = 64;

/// One message's metadata: half a cache line, two messages share one.
#[repr(C, align(32))]
struct Line {
    sequence: AtomicU64,
    signature: AtomicU64,
    chunk: AtomicU32,
    length_bytes: AtomicU32,
    stamp_origin: AtomicU32,
    stamp_published: AtomicU32,
}

const _: () = assert!(size_of::<Line>() == 32);

/// Where things stand in the memory: lines first, then chunks.
#[derive(Debug, Clone, Copy)]
struct Layout {
    lines: u64,
    chunks: u32,
    message_chunks: u32,
}

impl Layout {
    fn of(place: &Place) -> Self {
        let lines = place.messages(MOST_LINES);
        let lines = if lines.is_power_of_two() { lines } else { lines.next_power_of_two() / 2 };
        let message_chunks = place.bytes.div_ceil(CHUNK_BYTES);
        // One message more than lines: the chunk being written is never one that a line still names.
        let chunks = (lines + 1) * message_chunks;
        Layout {
            lines: lines as u64,
            chunks: u32::try_from(chunks).expect("fewer chunks than 2^32"),
            message_chunks: u32::try_from(message_chunks).expect("fewer chunks than 2^32"),
        }
    }

    fn chunks_at(&self) -> usize {
        (self.lines as usize * size_of::<Line>()).next_multiple_of(4_096)
    }

    fn bytes(&self) -> usize {
        self.chunks_at() + self.chunks as usize * CHUNK_BYTES
    }
}

/// The memory as both sides see it.
struct Memory {
    map: MmapRaw,
    layout: Layout,
}

impl Memory {
    fn line(&self, sequence: u64) -> &Line {
        let index = (sequence & (self.layout.lines - 1)) as usize;
        let lines = self.map.as_ptr().cast::<Line>();
        // SAFETY: `lines` of them lie at the start of the mapping, whose length `create` set and `open` compared; the index
        // is below their number.
        let line = unsafe { lines.add(index) };
        // SAFETY: the mapping is page-aligned, outlives `self`, and nobody shrinks the file; `Line` is atomics only, for
        // which any bytes are a value and which another process may write meanwhile.
        unsafe { &*line }
    }

    /// The first byte of `chunk`, if a message of `length_bytes` fits there.
    fn chunk(&self, chunk: u32, length_bytes: usize) -> *const u8 {
        let start = chunk as usize * CHUNK_BYTES;
        assert!(
            start + length_bytes <= self.layout.chunks as usize * CHUNK_BYTES,
            "a message outside the cache"
        );
        // SAFETY: just compared with the cache, which lies inside the mapping.
        unsafe { self.map.as_ptr().add(self.layout.chunks_at() + start) }
    }
}

/// A word that the subscriber writes and the publisher reads, alone in its file.
struct Progress(MmapRaw);

impl Progress {
    fn word(&self) -> &AtomicU64 {
        let word = self.0.as_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, at least eight bytes long, outlives `self`, and nobody shrinks the file.
        unsafe { &*word }
    }
}

/// The one who writes lines and payloads.
pub struct Publisher {
    memory: Memory,
    progress: Progress,
    next: u64,
    chunk: u32,
    credits: u64,
    /// Chunk and length of the messages whose lines are not committed yet: the first `kept`.
    kept_back: [(u32, u32); MOST_KEPT_BACK],
    kept: usize,
}

impl Publish for Publisher {
    fn make_room(&mut self) {
        if self.credits > 0 {
            return;
        }
        // The subscriber cannot read what it does not see.
        self.flush();
        loop {
            let read = self.progress.word().load(Ordering::Relaxed);
            // Acquire: the reads of the subscriber before our writes over what it read. Pairs with S3.
            fence(Ordering::Acquire);
            // Messages before `next` and not yet read hold their lines.
            self.credits = self.memory.layout.lines.saturating_sub(self.next - 1 - read);
            if self.credits > 0 {
                return;
            }
            spin_loop();
        }
    }

    #[inline]
    fn publish(&mut self, payload: &[u8]) {
        self.make_room();
        self.credits -= 1;
        let target = self.memory.chunk(self.chunk, payload.len()).cast_mut();
        // SAFETY: `chunk` found room for the payload. The subscriber reads these chunks only under a line that names
        // them, and the credit says that it has read the last one that did: nobody else touches them now.
        unsafe { target.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
        self.kept_back[self.kept] = (self.chunk, payload.len() as u32);
        self.kept += 1;
        self.chunk += self.memory.layout.message_chunks;
        if self.chunk + self.memory.layout.message_chunks > self.memory.layout.chunks {
            self.chunk = 0;
        }
        self.next += 1;
        if self.kept == MOST_KEPT_BACK {
            self.flush();
        }
    }

    /// Commits the lines of the messages kept back: the last one first, so that the subscriber, which looks at the first
    /// only, finds all of them and never reads a cache line that is being written.
    #[inline]
    fn flush(&mut self) {
        for at in (0..self.kept).rev() {
            let (chunk, length_bytes) = self.kept_back[at];
            let sequence = self.next - (self.kept - at) as u64;
            let line = self.memory.line(sequence);
            // P1, Relaxed: the fence below orders it.
            line.sequence.store(sequence.wrapping_sub(1), Ordering::Relaxed);
            // Release: P1 before the metadata. Pairs with the fence before S2.
            fence(Ordering::Release);
            line.signature.store(sequence, Ordering::Relaxed);
            line.chunk.store(chunk, Ordering::Relaxed);
            line.length_bytes.store(length_bytes, Ordering::Relaxed);
            line.stamp_origin.store(0, Ordering::Relaxed);
            line.stamp_published.store(0, Ordering::Relaxed);
            // P2, Release: payload and metadata before the commit. Pairs with the fence after S1.
            line.sequence.store(sequence, Ordering::Release);
        }
        self.kept = 0;
    }
}

/// One who reads them.
pub struct Subscriber {
    memory: Memory,
    progress: Progress,
    next: u64,
    report_every: u64,
    report_next: u64,
    copy: Vec<u8>,
}

impl Subscribe for Subscriber {
    #[inline]
    fn receive(&mut self, touch: Touch) -> Head {
        let line = self.memory.line(self.next);
        // S1, Relaxed, then an Acquire fence: the mapping is read-only. Pairs with P2.
        while line.sequence.load(Ordering::Relaxed) != self.next {
            spin_loop();
        }
        fence(Ordering::Acquire);
        let chunk = line.chunk.load(Ordering::Relaxed);
        let length_bytes = line.length_bytes.load(Ordering::Relaxed) as usize;
        let source = self.memory.chunk(chunk, length_bytes);
        let head = if length_bytes <= COPIED_BYTES {
            self.copy.resize(length_bytes, 0);
            // SAFETY: `chunk` found that the payload lies in the mapping. The publisher does not write it before S3
            // reports that it was read.
            unsafe { self.copy.as_mut_ptr().copy_from_nonoverlapping(source, length_bytes) };
            // A private copy is in hand, however much of it is looked at.
            Head::read(&self.copy)
        } else {
            // SAFETY: as above; the slice ends before S3.
            take(unsafe { std::slice::from_raw_parts(source, length_bytes) }, touch)
        };
        // Acquire: pairs with the fence after P1.
        fence(Ordering::Acquire);
        // S2: with credits it always holds.
        assert_eq!(line.sequence.load(Ordering::Relaxed), self.next, "overrun in spite of credits");
        if self.next == self.report_next {
            self.report_next += self.report_every;
            // S3, Release: our reads before the report.
            self.progress.word().store(self.next, Ordering::Release);
        }
        self.next += 1;
        head
    }
}

/// The system.
pub enum Tango {}

impl System for Tango {
    const NAME: &'static str = "tango";
    const WAIT: &'static str = "spin";
    type Publisher = Publisher;
    type Subscriber = Subscriber;

    fn create(place: &Place) -> Publisher {
        let layout = Layout::of(place);
        let map = |name: &str, bytes: usize| {
            let path = place.file(name);
            let file =
                OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("a new file");
            file.set_len(bytes as u64).expect("room for it");
            MmapOptions::new().len(bytes).populate().map_raw(&file).expect("its mapping")
        };
        let progress = Progress(map("tango-progress", 4_096));
        let memory = Memory { map: map("tango", layout.bytes()), layout };
        Publisher {
            memory,
            progress,
            next: 1,
            chunk: 0,
            credits: layout.lines,
            kept_back: [(0, 0); MOST_KEPT_BACK],
            kept: 0,
        }
    }

    fn open(place: &Place) -> Subscriber {
        let layout = Layout::of(place);
        let memory = File::open(place.file("tango")).expect("the publisher's file");
        let length = memory.metadata().expect("its length").len();
        assert_eq!(length, layout.bytes() as u64, "another layout");
        let map = MmapOptions::new()
            .len(layout.bytes())
            .populate()
            .map_raw_read_only(&memory)
            .expect("its mapping");
        let progress =
            OpenOptions::new().read(true).write(true).open(place.file("tango-progress")).expect("our file");
        let progress = MmapOptions::new().len(4_096).map_raw(&progress).expect("its mapping");
        let report_every = (layout.lines / 8).max(1);
        Subscriber {
            memory: Memory { map, layout },
            progress: Progress(progress),
            next: 1,
            report_every,
            report_next: report_every,
            copy: Vec::with_capacity(COPIED_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &tempfile::TempDir, bytes: usize) -> Place {
        Place { directory: directory.path().to_owned(), bytes, footprint_bytes: 8 * bytes }
    }

    #[test]
    fn every_message_arrives_whole_many_times_round() {
        for bytes in [16, 100, COPIED_BYTES, COPIED_BYTES + 1] {
            let directory = tempfile::tempdir().unwrap();
            let place = place(&directory, bytes);
            let (mut publisher, mut subscriber) = (Tango::create(&place), Tango::open(&place));
            let mut payload = vec![0; bytes];
            for sequence in 1..=100 {
                Head { sequence, stamp: sequence * 3 }.write(&mut payload);
                publisher.publish(&payload);
                publisher.flush();
                let head = subscriber.receive(Touch::All);
                assert_eq!(head, Head { sequence, stamp: sequence * 3 });
            }
        }
    }

    #[test]
    fn a_publisher_without_credits_waits_for_its_subscriber() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(&directory, 64);
        let (mut publisher, mut subscriber) = (Tango::create(&place), Tango::open(&place));
        let last = 10 * publisher.memory.layout.lines;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut payload = [0; 64];
                for sequence in 1..=last {
                    Head { sequence, stamp: 0 }.write(&mut payload);
                    publisher.publish(&payload);
                }
                publisher.flush();
            });
            for sequence in 1..=last {
                assert_eq!(subscriber.receive(Touch::All).sequence, sequence);
            }
        });
    }
}
