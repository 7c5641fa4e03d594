//! Test helper: a module that may do everything, and asks the node every request there is with random arguments, without a
//! pause, until the node ends it.
//!
//! Leaves in the file `asked`, every second, a line `NAME ANSWERED REFUSED` for each request.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use blvm_bus::layout::LAYOUT_VERSION;
use blvm_bus::request::{
    FRAME_HEAD_BYTES, FrameHead, Hello, PROTOCOL_VERSION, Reply, Request, decode, encode, inherited_sockets,
    read_answer, recv_with_descriptors,
};
use blvm_tests::requests::{Learnt, Random, all};

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match ask() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("asking-module: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers and refusals of one request.
type Counts = BTreeMap<&'static str, (u64, u64)>;

fn ask() -> Result<(), Failed> {
    let (socket, _wake) = inherited_sockets()?;
    let mut asker = Asker { socket, correlation: 0, bytes: Vec::new(), descriptors: Vec::new() };
    let hello =
        Hello { protocol_version: PROTOCOL_VERSION, layout_version: LAYOUT_VERSION, topics: Vec::new() };
    asker.ask(&Request::Hello(hello))?;
    asker.ask(&Request::Mapped)?;
    let (mut learnt, mut random) = (Learnt::default(), Random::new(u64::from(std::process::id())));
    let (mut counts, mut written) = (Counts::new(), Instant::now());
    loop {
        for request in all(&learnt, &mut random) {
            let reply = asker.ask(&request)?;
            learnt.take(&reply);
            let count = counts.entry(request.name()).or_default();
            match reply {
                Reply::Refused(_) => count.1 += 1,
                _ => count.0 += 1,
            }
        }
        if written.elapsed() >= Duration::from_secs(1) {
            let mut text = String::new();
            for (name, (answered, refused)) in &counts {
                writeln!(text, "{name} {answered} {refused}")?;
            }
            std::fs::write("asked.new", text)?;
            std::fs::rename("asked.new", "asked")?;
            written = Instant::now();
        }
    }
}

struct Asker {
    socket: UnixStream,
    correlation: u64,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Asker {
    /// Sends a request and waits for its answer, 100 ms at most where the node waits for something.
    fn ask(&mut self, request: &Request) -> Result<Reply, Failed> {
        self.correlation += 1;
        let archive = encode(request);
        let head = FrameHead {
            body_bytes: archive.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: false,
            correlation: self.correlation,
            deadline_ms: 100,
        };
        self.socket.write_all(&[&head.encode()[..], &archive].concat())?;
        let mut late = HashMap::new();
        loop {
            let (head, reply) = self.receive()?;
            if head.correlation == self.correlation && !head.is_call {
                return Ok(reply.ok_or("an answer without content")?);
            }
            late.insert(head.correlation, reply);
        }
    }

    fn receive(&mut self) -> Result<(FrameHead, Option<Reply>), Failed> {
        self.fill(FRAME_HEAD_BYTES)?;
        let head = FrameHead::decode(self.bytes.first_chunk().ok_or("too short")?);
        self.fill(FRAME_HEAD_BYTES + head.body_bytes as usize)?;
        let body: Vec<u8> =
            self.bytes.drain(..FRAME_HEAD_BYTES + head.body_bytes as usize).skip(FRAME_HEAD_BYTES).collect();
        let mut descriptors: Vec<_> = self.descriptors.drain(..usize::from(head.descriptors)).collect();
        if head.is_call {
            return Ok((head, None));
        }
        if head.is_in_memfd {
            let memory = descriptors.pop().ok_or("no memory")?;
            let length = u64::from_le_bytes(*body.first_chunk().ok_or("no length")?);
            return Ok((head, Some(decode(&read_answer(memory, length)?)?)));
        }
        Ok((head, Some(decode(&body)?)))
    }

    fn fill(&mut self, wanted: usize) -> Result<(), Failed> {
        let mut buffer = [0; 16 << 10];
        while self.bytes.len() < wanted {
            match recv_with_descriptors(&self.socket, &mut buffer, &mut self.descriptors)? {
                0 => return Err("the node has closed the connection".into()),
                length => self.bytes.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(())
    }
}
