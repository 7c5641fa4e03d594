//! Frames from a module's socket. One that is too long is skipped, not buffered, and the connection stays open.

use std::io;

use blvm_bus::request::{FRAME_HEAD_BYTES, FrameHead, recv_refusing};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;

/// What came from a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A whole frame.
    Frame {
        /// Its head.
        head: FrameHead,
        /// What follows the head.
        body: BytesMut,
    },
    /// The head of a frame beyond the limit; its body is thrown away as it comes.
    TooLarge(FrameHead),
}

/// Bytes read from a socket at once.
const READ_BYTES: usize = 16 << 10;

/// Reads one socket, frame by frame.
pub(super) struct FrameReader {
    decoder: FrameDecoder,
    bytes: BytesMut,
    buffer: Vec<u8>,
}

impl FrameReader {
    /// A reader of frames with bodies of up to `limit_bytes`.
    pub(super) fn new(limit_bytes: usize) -> Self {
        FrameReader {
            decoder: FrameDecoder { limit_bytes, skip_bytes: 0 },
            bytes: BytesMut::new(),
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Takes bodies of up to `limit_bytes` from now on.
    pub(super) fn set_limit(&mut self, limit_bytes: usize) {
        self.decoder.limit_bytes = limit_bytes;
    }

    /// The next frame; `None` once the other side, called `name`, has ended or must be ended.
    pub(super) async fn next(&mut self, socket: &UnixStream, name: &str) -> io::Result<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.decoder.decode(&mut self.bytes)? {
                return Ok(Some(incoming));
            }
            let read = || recv_refusing(socket, &mut self.buffer);
            let (length, sent_descriptors) = socket.async_io(Interest::READABLE, read).await?;
            if sent_descriptors {
                // Closing them costs a thread: once a connection, not once a message.
                tracing::warn!(module = name, "the module sent descriptors; its connection is closed");
                return Ok(None);
            }
            if length == 0 {
                return Ok(None);
            }
            self.bytes.extend_from_slice(&self.buffer[..length]);
        }
    }
}

/// Cuts a stream into frames.
#[derive(Debug)]
struct FrameDecoder {
    limit_bytes: usize,
    skip_bytes: usize,
}

impl Decoder for FrameDecoder {
    type Item = Incoming;
    type Error = io::Error;

    fn decode(&mut self, source: &mut BytesMut) -> io::Result<Option<Incoming>> {
        let skipped = self.skip_bytes.min(source.len());
        source.advance(skipped);
        self.skip_bytes -= skipped;
        let Some(head) = source.first_chunk::<FRAME_HEAD_BYTES>().filter(|_| self.skip_bytes == 0) else {
            return Ok(None);
        };
        let head = FrameHead::decode(head);
        let body_bytes = head.body_bytes as usize;
        if body_bytes > self.limit_bytes {
            source.advance(FRAME_HEAD_BYTES);
            self.skip_bytes = body_bytes;
            return Ok(Some(Incoming::TooLarge(head)));
        }
        if source.len() < FRAME_HEAD_BYTES + body_bytes {
            source.reserve(FRAME_HEAD_BYTES + body_bytes - source.len());
            return Ok(None);
        }
        source.advance(FRAME_HEAD_BYTES);
        Ok(Some(Incoming::Frame { head, body: source.split_to(body_bytes) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blvm_bus::request::MAX_FRAME_BYTES;

    fn decoder() -> FrameDecoder {
        FrameDecoder { limit_bytes: MAX_FRAME_BYTES, skip_bytes: 0 }
    }

    fn frame(correlation: u64, body: &[u8]) -> Vec<u8> {
        let head = FrameHead {
            body_bytes: body.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: false,
            correlation,
            deadline_ms: 0,
        };
        [&head.encode()[..], body].concat()
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let stream =
            [frame(1, b"one"), frame(2, b""), frame(3, &vec![7; MAX_FRAME_BYTES + 1]), frame(4, b"four")];
        let stream = stream.concat();
        for step in [1, 7, 24, 25, 1000, stream.len()] {
            let mut decoder = decoder();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(step.max(stream.len() / 200_000)) {
                buffer.extend_from_slice(piece);
                while let Some(incoming) = decoder.decode(&mut buffer).unwrap() {
                    found.push(match incoming {
                        Incoming::Frame { head, body } => (head.correlation, Some(body.to_vec())),
                        Incoming::TooLarge(head) => (head.correlation, None),
                    });
                }
                assert!(buffer.len() <= step + 64, "a skipped frame is not buffered");
            }
            let expected =
                [(1, Some(b"one".to_vec())), (2, Some(vec![])), (3, None), (4, Some(b"four".to_vec()))];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_frame_at_the_limit_is_taken() {
        let mut buffer = BytesMut::from(&frame(9, &vec![1; MAX_FRAME_BYTES])[..]);
        let incoming = decoder().decode(&mut buffer).unwrap();
        assert!(matches!(incoming, Some(Incoming::Frame { body, .. }) if body.len() == MAX_FRAME_BYTES));
    }
}
