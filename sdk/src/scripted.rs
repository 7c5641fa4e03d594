//! A node in this process whose chain does what a test says, at the moments that it says.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};

use blvm_bus::layout::Geometry;
use blvm_bus::lease::ScanTable;
use blvm_bus::lease::page::OfferedLeasePage;
use blvm_bus::memory::Mapped;
use blvm_bus::message::chain::{BlockBody, BlockConnected, BlockDisconnected, Chain, ChainReorganised};
use blvm_bus::message::{Hash, Topic};
use blvm_bus::publisher::Publisher;
use blvm_bus::request::{
    Block, ChainPosition, ChainReply, ChainRequest, DisconnectedBlock, FRAME_HEAD_BYTES, FrameHead, Refusal,
    Replay, ReplayStep, Reply, Request, decode, encode,
};
use blvm_bus::segment::{Identity, RunId, SealedSegment};
use blvm_bus::wake::{Waker, wake_socket_pair};

use crate::session::Session;
use crate::session::tests::SessionParts;

/// Messages of `chain` that its ring holds.
pub(crate) const DEPTH: u32 = 8;

/// Something that happens to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many blocks join.
    Mine(u32),
    /// A block joins whose body found no room.
    MineWithoutBody,
    /// So many blocks leave, and one more joins.
    Reorganise(u32),
    /// More messages than the ring holds.
    Flood,
}

/// The node.
#[derive(Clone)]
pub(crate) struct ScriptedNode {
    world: Arc<Mutex<World>>,
    table: Arc<ScanTable<Mapped>>,
    segment: Arc<SealedSegment>,
    waker: Arc<Waker>,
}

pub(crate) struct World {
    publisher: Publisher<Chain>,
    next_sequence: u64,
    /// Every block there ever was: the one before it, its height, its bytes.
    blocks: HashMap<Hash, (Hash, u32, Vec<u8>)>,
    active: Vec<Hash>,
    /// What happens between two parts of a replay: after the next answer was put together, before it is read.
    pub(crate) during_replays: VecDeque<Vec<Change>>,
    /// Most steps of one answer.
    pub(crate) limit_steps: usize,
}

impl World {
    fn changed(&mut self, sequence: u64) {
        self.next_sequence = sequence + 1;
    }

    pub(crate) fn change(&mut self, change: Change) {
        match change {
            Change::Mine(count) => (0..count).for_each(|_| self.mine(true)),
            Change::MineWithoutBody => self.mine(false),
            Change::Flood => (0..DEPTH + 3).for_each(|_| self.mine(true)),
            Change::Reorganise(depth) => self.reorganise(depth),
        }
    }

    fn mine(&mut self, has_body: bool) {
        let (previous, height) = (self.tip().hash, self.active.len() as u32);
        // Never the hash of another block, whatever branch it stands on.
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        let raw = [&[1, 0, 0, 0][..], &previous, &hash].concat();
        let raw_bytes = raw.len() as u32;
        let message = BlockConnected { hash, previous, height, transactions: 0, raw_bytes };
        let sequence = if has_body {
            let body = BlockBody { transactions: &[], raw: &raw };
            self.publisher.publish_with_body(&message, &body).unwrap().sequence
        } else {
            self.publisher.publish(&message).unwrap()
        };
        self.changed(sequence);
        self.blocks.insert(hash, (previous, height, raw));
        self.active.push(hash);
    }

    fn reorganise(&mut self, depth: u32) {
        let depth = depth.min(self.active.len() as u32 - 1);
        for _ in 0..depth {
            let ChainPosition { hash, height } = self.tip();
            let previous = self.blocks[&hash].0;
            self.active.pop();
            let sequence = self.publisher.publish(&BlockDisconnected { hash, previous, height }).unwrap();
            self.changed(sequence);
        }
        let fork = self.tip();
        (0..=depth).for_each(|_| self.mine(true));
        let summary = ChainReorganised {
            fork_hash: fork.hash,
            fork_height: fork.height,
            disconnected: depth,
            connected: depth + 1,
        };
        let sequence = self.publisher.publish(&summary).unwrap();
        self.changed(sequence);
    }

    pub(crate) fn tip(&self) -> ChainPosition {
        ChainPosition { hash: *self.active.last().unwrap(), height: self.active.len() as u32 - 1 }
    }

    /// Hashes from genesis on.
    pub(crate) fn active(&self) -> &[Hash] {
        &self.active
    }

    fn replay(&mut self, mut at: ChainPosition) -> Result<Replay, Refusal> {
        if !self.blocks.contains_key(&at.hash) {
            return Err(Refusal::UnknownPosition { height: at.height });
        }
        let mut steps = Vec::new();
        while self.active.get(at.height as usize) != Some(&at.hash) {
            let previous = self.blocks[&at.hash].0;
            steps.push(ReplayStep::Disconnect(DisconnectedBlock { position: at, previous }));
            at = ChainPosition { hash: previous, height: at.height - 1 };
        }
        for (hash, height) in self.active[at.height as usize + 1..].iter().zip(at.height + 1..) {
            let raw = self.blocks[hash].2.clone();
            steps.push(ReplayStep::Connect(Block { hash: *hash, height, raw }));
        }
        let is_complete = steps.len() <= self.limit_steps;
        steps.truncate(self.limit_steps);
        let replay = Replay { steps, is_complete, next_sequence: self.next_sequence };
        for change in self.during_replays.pop_front().into_iter().flatten() {
            self.change(change);
        }
        Ok(replay)
    }
}

impl ScriptedNode {
    pub(crate) fn start() -> Self {
        let geometry = Geometry { depth: DEPTH, slot_bytes: 128, terms: 6, term_bytes: 4096 };
        let identity = Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId([1; 16]) };
        let segment = SealedSegment::create("blvm-sdk-test", geometry, identity, 6).unwrap();
        let waker = Waker::start().unwrap();
        let bell = waker.bell(Chain::NUMBER, DEPTH);
        let table = Arc::new(ScanTable::new(1));
        let memory = Arc::clone(&segment.memory);
        let publisher = Publisher::new(memory, segment.layout, 6, Some(Arc::clone(&table)), bell);
        let genesis = [0xff; 32];
        let world = World {
            publisher,
            next_sequence: 1,
            blocks: HashMap::from([(genesis, ([0; 32], 0, Vec::new()))]),
            active: vec![genesis],
            during_replays: VecDeque::new(),
            limit_steps: usize::MAX,
        };
        let world = Arc::new(Mutex::new(world));
        ScriptedNode { world, table, segment: Arc::new(segment), waker: Arc::new(waker) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A module that attaches now; whoever attached before is gone when `work` returns.
    pub(crate) fn attached<T>(&self, work: impl FnOnce(&mut Session) -> T) -> T {
        let offered = OfferedLeasePage::create().unwrap();
        let page = offered.descriptor().try_clone_to_owned().unwrap();
        let (wake, module_wake) = wake_socket_pair().unwrap();
        let client = self.waker.add(wake, vec![Chain::NUMBER]);
        let (socket, module_socket) = UnixStream::pair().unwrap();
        let start = self.world().next_sequence;
        let parts = SessionParts { socket: module_socket, wake: module_wake, page: Some(page), start };
        let mut session = Session::of_parts::<Chain>(&self.segment, parts);
        // Only now: the module has mapped it.
        let entry = self.table.enter(offered.seal().unwrap(), 2).unwrap();
        let world = Arc::clone(&self.world);
        let server = std::thread::spawn(move || {
            serve(socket, |request| {
                let Request::Chain(request) = request else { panic!("another request") };
                let ChainRequest::ReplayFrom { position, .. } = *request else { panic!("another request") };
                match world.lock().unwrap().replay(position) {
                    Ok(replay) => Reply::Chain(Box::new(ChainReply::Replay(replay))),
                    Err(refusal) => Reply::Refused(refusal),
                }
            });
        });
        let done = work(&mut session);
        drop(session);
        server.join().unwrap();
        self.table.remove(&entry);
        self.waker.remove(client);
        done
    }
}

/// Answers what comes over the socket until its other end is closed.
pub(crate) fn serve(mut socket: UnixStream, mut answer: impl FnMut(Request) -> Reply) {
    let mut head = [0; FRAME_HEAD_BYTES];
    while socket.read_exact(&mut head).is_ok() {
        let head = FrameHead::decode(&head);
        let mut body = vec![0; head.body_bytes as usize];
        socket.read_exact(&mut body).unwrap();
        let archive = encode(&answer(decode(&body).unwrap()));
        let head = FrameHead { body_bytes: archive.len() as u32, ..head };
        socket.write_all(&[&head.encode()[..], &archive[..]].concat()).unwrap();
    }
}
