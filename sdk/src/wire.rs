//! The writing side of the request socket: requests and answers to calls, each frame whole, from whatever thread.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use blvm_bus::request::{CallOutcome, FrameHead, MAX_FRAME_BYTES, ModuleError, encode};

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: UnixStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
}

impl Wire {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Wire { socket, writing: Mutex::new(()) }
    }

    /// Sends a request.
    pub(crate) fn send_request(&self, correlation: u64, deadline_ms: u32, archive: &[u8]) -> io::Result<()> {
        self.send(false, correlation, deadline_ms, archive)
    }

    /// Sends the answer to call `number`; one that is too long is told as such.
    pub(crate) fn send_outcome(&self, number: u64, outcome: &CallOutcome) -> io::Result<()> {
        let mut archive = encode(outcome);
        if archive.len() > MAX_FRAME_BYTES {
            let (bytes, limit_bytes) = (archive.len() as u64, MAX_FRAME_BYTES as u64);
            archive = encode(&CallOutcome::Failed(ModuleError::AnswerTooLong { bytes, limit_bytes }));
        }
        self.send(true, number, 0, &archive)
    }

    fn send(&self, is_call: bool, correlation: u64, deadline_ms: u32, archive: &[u8]) -> io::Result<()> {
        let head = FrameHead {
            // Built from values in memory and far below 4 GiB; the node bounds it again.
            body_bytes: archive.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call,
            correlation,
            deadline_ms,
        };
        let frame = [&head.encode()[..], archive].concat();
        // Whoever panicked with it held no frame half written: writing does not panic.
        let _whole = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.socket).write_all(&frame)
    }
}
