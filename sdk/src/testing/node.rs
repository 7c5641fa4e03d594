//! The node of a test: what it does is what the test says.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use blvm_bus::layout::{Geometry, LAYOUT_VERSION};
use blvm_bus::lease::page::OfferedLeasePage;
use blvm_bus::message::chain::Chain;
use blvm_bus::message::mempool::{
    FeeEstimatesChanged, FeeRateChanged, Mempool, MempoolCleared, REMOVED_MINED,
};
use blvm_bus::message::mining::Mining;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::system::{ModuleLoaded, NodeShutdown, System};
use blvm_bus::message::{Hash, Kind, Topic};
use blvm_bus::request::{
    Attached, Block, ChainPosition, FeeEstimate, FrameHead, Hello, LoadedModule, MempoolEntry,
    PROTOCOL_VERSION, Refusal, Reply, Request, Token, TopicGrant, TopicStart, Welcome,
};
use blvm_bus::wake::wake_socket_pair;

use super::answers::Removal;
use super::bus::{LEASES, needed_cursor, small};
use super::chain::{ScriptedBlock, ScriptedChain};
use super::encoding::{hash, parse};
use super::grants::Grants;
use super::party::{Party, Stage, request_in};
use super::script::{Answer, Script, When};
use super::transaction::Transaction;
use super::world::World;
use crate::module::Module;
use crate::session::Session;
use crate::testing::ModuleTest;
use crate::topics::Topics;
use crate::{SessionError, Wait};

/// The network of a test's chain.
pub(crate) const NETWORK: &str = "regtest";

/// How long a test waits for what is to happen, unless told otherwise.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a request may take, unless it says less, as a node's.
const DEADLINE: Duration = Duration::from_secs(10);

thread_local! {
    /// Whether this thread is putting an answer together: who waits for it cannot read on, and is not waited for.
    static IS_ANSWERING: Cell<bool> = const { Cell::new(false) };
}

/// A node in the process of a test, over the real bus and the real protocol. A clone is the same node; with the last one it
/// ends, and with it every connection.
///
/// It does nothing by itself. Its chain is a regtest chain in consensus encoding, whose blocks hold what the test says; nothing
/// is validated.
///
/// Where a module it runs would be overrun by what the test publishes, publishing waits until the module has read; only a module
/// that is [held](super::TestModule::hold) misses anything.
#[derive(Clone)]
pub struct TestNode {
    handle: Arc<Handle>,
}

/// Ends the node when it is dropped: the threads that serve modules keep only what is inside.
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

pub(crate) struct Inner {
    world: Mutex<World>,
    parties: Mutex<Vec<Arc<Party>>>,
    script: Script,
    limit: Duration,
    /// Told when the node comes back, or a module that waits for it is not wanted any more.
    pub(crate) changed: Condvar,
    /// The node as tests have it.
    handle: OnceLock<Weak<Handle>>,
}

/// What a [`TestNode`] begins with.
#[derive(Debug, Clone)]
pub struct TestNodeOptions {
    geometries: BTreeMap<u32, Geometry>,
    limit: Duration,
}

impl Default for TestNodeOptions {
    fn default() -> Self {
        TestNodeOptions { geometries: BTreeMap::new(), limit: LIMIT }
    }
}

impl TestNodeOptions {
    /// So many messages in the ring of topic `T`: a power of two. 256 without.
    #[must_use]
    pub fn depth<T: Topic>(mut self, messages: u32) -> Self {
        self.geometry::<T>().depth = messages;
        self
    }

    /// So many bytes in each term of topic `T`: a multiple of 4,096. 512 KiB without; a block that is longer has its bytes
    /// not on the bus.
    #[must_use]
    pub fn term_bytes<T: Topic>(mut self, bytes: u32) -> Self {
        self.geometry::<T>().term_bytes = bytes;
        self
    }

    /// How long to wait for what is to happen before the test fails; 30 s without.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        TestNodeOptions { limit, ..self }
    }

    /// Starts the node.
    ///
    /// # Panics
    ///
    /// If sizes are out of bounds, or the system has no memory or descriptors left.
    pub fn start(self) -> TestNode {
        let TestNodeOptions { geometries, limit } = self;
        let inner = Inner {
            world: Mutex::new(World::new(geometries)),
            parties: Mutex::default(),
            script: Script::default(),
            limit,
            changed: Condvar::new(),
            handle: OnceLock::new(),
        };
        let handle = Arc::new(Handle(Arc::new(inner)));
        // Nobody else sets it.
        let _ = handle.0.handle.set(Arc::downgrade(&handle));
        TestNode { handle }
    }

    fn geometry<T: Topic>(&mut self) -> &mut Geometry {
        self.geometries.entry(T::NUMBER).or_insert_with(small::<T>)
    }
}

impl Debug for TestNode {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestNode").finish_non_exhaustive()
    }
}

/// Starting, and modules.
impl TestNode {
    /// A node with the genesis block of regtest, an empty mempool and no peers.
    ///
    /// # Panics
    ///
    /// If the system has no memory or descriptors left.
    pub fn start() -> Self {
        TestNodeOptions::default().start()
    }

    /// The same, once it is told more.
    pub fn options() -> TestNodeOptions {
        TestNodeOptions::default()
    }

    /// Module `M`, to be started under this node.
    pub fn module<M: Module>(&self) -> ModuleTest<M> {
        ModuleTest::new(self.clone())
    }

    /// A session of a module that may do everything, for what is written without handlers.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    pub fn attach(&self, topics: Topics, wait: Wait) -> Result<Session, SessionError> {
        let module = LoadedModule { name: "test".to_owned(), version: "0.1.0".to_owned() };
        let connection = self.connect(module, Grants::all(), String::new());
        let session = Session::attach_over(connection.socket, connection.wake, topics, wait)?;
        connection.party.state().leases = session.leases();
        Ok(session)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handle.0
    }

    pub(crate) fn connect(&self, module: LoadedModule, grants: Grants, config: String) -> Connection {
        let failed = |error: &dyn std::error::Error| -> ! { panic!("no sockets for the module: {error}") };
        let (socket, module_socket) = UnixStream::pair().unwrap_or_else(|error| failed(&error));
        let (wake, module_wake) = wake_socket_pair().unwrap_or_else(|error| failed(&error));
        let inner = self.inner();
        inner.sweep();
        let party = Arc::new(Party::new(module, grants, config, None, socket, Some(wake)));
        inner.lock_parties().push(Arc::clone(&party));
        party.serve(inner);
        Connection { party, socket: module_socket, wake: module_wake }
    }

    /// A connection by path of a program that has read the node's token; `None` while the node is down.
    pub(crate) fn connect_by_path(&self, module: LoadedModule) -> Option<(Arc<Party>, UnixStream, Token)> {
        let inner = self.inner();
        let token = Token::new(hash(&[&inner.world().bus.as_ref()?.run_id.0]));
        let (socket, other) = UnixStream::pair().ok()?;
        let grants = Grants::reading();
        let party = Party::new(module, grants, String::new(), Some(token.clone()), socket, None);
        let party = Arc::new(party);
        inner.lock_parties().push(Arc::clone(&party));
        party.serve(inner);
        Some((party, other, token))
    }
}

/// What a module is given.
pub(crate) struct Connection {
    pub(crate) party: Arc<Party>,
    pub(crate) socket: UnixStream,
    pub(crate) wake: OwnedFd,
}

/// The chain.
impl TestNode {
    /// So many blocks join the chain; the first holds what is in the mempool. The tip then.
    pub fn mine(&self, blocks: u32) -> ChainPosition {
        for _ in 0..blocks {
            let transactions = self.inner().world().mempool.clone();
            self.inner().mine(&transactions, true);
        }
        self.tip()
    }

    /// A block joins the chain that holds these transactions. They leave the mempool, and with them what spends the same. The
    /// tip then.
    pub fn mine_with<'a>(&self, transactions: impl IntoIterator<Item = &'a Transaction>) -> ChainPosition {
        let entries: Vec<_> = transactions.into_iter().map(Transaction::entry).collect();
        self.inner().mine(&entries, true);
        self.tip()
    }

    /// A block joins the chain whose bytes found no room on the bus: they have to be fetched by request. The tip then.
    pub fn mine_without_body(&self) -> ChainPosition {
        let transactions = self.inner().world().mempool.clone();
        self.inner().mine(&transactions, false);
        self.tip()
    }

    /// This block, in consensus encoding, joins the chain. What its transactions pay is known as far as the mempool has them.
    /// The tip then.
    ///
    /// # Panics
    ///
    /// If it is no block, or does not stand on the tip.
    pub fn mine_raw(&self, raw: impl Into<Vec<u8>>) -> ChainPosition {
        let inner = self.inner();
        let block = {
            let world = inner.world();
            let fee =
                |parsed: &super::encoding::Parsed| world.in_mempool(&parsed.txid).map(|entry| entry.fee_sat);
            let height = world.chain.tip().position.height + 1;
            let block =
                ScriptedBlock::read(raw.into(), height, fee).unwrap_or_else(|error| panic!("{error}"));
            let tip = world.chain.tip().position.hash;
            assert_eq!(block.previous, tip, "the block does not stand on the tip");
            block
        };
        inner.join(block, true);
        self.tip()
    }

    /// So many blocks leave the chain, and one more than that join. What was in those that left is in the mempool again. The tip
    /// then.
    ///
    /// # Panics
    ///
    /// If it goes back beyond genesis.
    pub fn reorganise(&self, depth: u32) -> ChainPosition {
        let empty: [Transaction; 0] = [];
        self.reorganise_with(depth, (0..=depth).map(|_| &empty[..]))
    }

    /// So many blocks leave the chain, and blocks with these transactions join, the lowest first: more than leave.
    ///
    /// # Panics
    ///
    /// If no more join than leave, or it goes back beyond genesis.
    pub fn reorganise_with<'a>(
        &self,
        depth: u32,
        blocks: impl IntoIterator<Item = &'a [Transaction]>,
    ) -> ChainPosition {
        let blocks = blocks.into_iter();
        let blocks: Vec<Vec<_>> =
            blocks.map(|block| block.iter().map(Transaction::entry).collect()).collect();
        assert!(
            blocks.len() > depth as usize,
            "a chain wins if it has more blocks: {depth} leave, {} join",
            blocks.len()
        );
        self.inner().reorganise(depth, &blocks);
        self.tip()
    }

    /// The tip of the chain.
    pub fn tip(&self) -> ChainPosition {
        self.inner().world().chain.tip().position
    }

    /// The chain: the hash of each of its blocks, from genesis on.
    pub fn chain(&self) -> Vec<Hash> {
        self.inner().world().chain.active().to_vec()
    }

    /// A block of the chain.
    ///
    /// # Panics
    ///
    /// If the chain has none at that height.
    pub fn block(&self, height: u32) -> Block {
        let world = self.inner().world();
        let tip = world.chain.tip().position.height;
        let block = world.chain.at_height(height);
        let block =
            block.unwrap_or_else(|| panic!("the chain has no block at height {height}: its tip is at {tip}"));
        Block { hash: block.position.hash, height, raw: block.raw.clone() }
    }
}

/// The mempool.
impl TestNode {
    /// A transaction comes into the mempool. Its id.
    ///
    /// # Panics
    ///
    /// If it is there already.
    pub fn add(&self, transaction: &Transaction) -> Hash {
        let entry = transaction.entry();
        let txid = entry.txid;
        self.inner().add(entry);
        txid
    }

    /// A transaction leaves the mempool.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn remove(&self, txid: Hash, why: Removal) {
        let (reason, replaced_by) = why.reason();
        assert!(self.inner().remove(&txid, reason, replaced_by), "the mempool has no such transaction");
    }

    /// A transaction takes the place of another one in the mempool. Its id.
    ///
    /// # Panics
    ///
    /// If the other one is not there, or this one is.
    pub fn replace(&self, txid: Hash, by: &Transaction) -> Hash {
        self.remove(txid, Removal::Replaced { by: by.txid() });
        self.add(by)
    }

    /// The mempool is emptied.
    pub fn clear_mempool(&self) {
        self.inner().make_room(Mempool::NUMBER, 0);
        let mut world = self.inner().world();
        let transactions = world.mempool.len() as u64;
        world.mempool.clear();
        world.publish(&MempoolCleared { transactions });
    }

    /// The mempool takes nothing any more that pays less, in satoshi for 1,000 virtual bytes.
    pub fn set_fee_floor(&self, sat_per_kvb: u64) {
        self.inner().make_room(Mempool::NUMBER, 0);
        let mut world = self.inner().world();
        world.floor_sat_per_kvb = sat_per_kvb;
        world.publish(&FeeRateChanged { floor_sat_per_kvb: sat_per_kvb });
    }

    /// The fee estimates are these, each for a number of blocks, in satoshi for 1,000 virtual bytes.
    pub fn set_fee_estimates(&self, estimates: &[(u32, u64)]) {
        self.inner().make_room(Mempool::NUMBER, 0);
        let mut estimates = estimates.to_vec();
        estimates.sort_unstable();
        let mut world = self.inner().world();
        let estimate = |(target_blocks, sat_per_kvb): &(u32, u64)| FeeEstimate {
            target_blocks: *target_blocks,
            sat_per_kvb: *sat_per_kvb,
        };
        world.estimates = estimates.iter().map(estimate).collect();
        world.publish(&FeeEstimatesChanged {
            target_blocks: estimates.iter().map(|(blocks, _)| u64::from(*blocks)).collect(),
            sat_per_kvb: estimates.iter().map(|(_, rate)| *rate).collect(),
        });
    }

    /// What is in the mempool, in the order in which it came.
    pub fn mempool(&self) -> Vec<MempoolEntry> {
        self.inner().world().mempool.clone()
    }
}

/// Everything else.
impl TestNode {
    /// Publishes any message of any topic; nothing else changes in the node. Its sequence.
    pub fn publish<K: Kind>(&self, message: &K) -> u64 {
        self.inner().make_room(K::Topic::NUMBER, 0);
        self.inner().world().publish(message)
    }

    /// A peer that the node has dialled completes its handshake; `address` with its port. The number of the connection.
    pub fn connect_peer(&self, address: &str) -> u64 {
        self.inner().make_room(Peers::NUMBER, 0);
        self.inner().world().connect_peer(address, false)
    }

    /// A peer that has dialled the node completes its handshake; `address` with its port. The number of the connection.
    pub fn accept_peer(&self, address: &str) -> u64 {
        self.inner().make_room(Peers::NUMBER, 0);
        self.inner().world().connect_peer(address, true)
    }

    /// A peer is gone.
    ///
    /// # Panics
    ///
    /// If it was not connected.
    pub fn disconnect_peer(&self, id: u64, reason: &str) {
        self.inner().make_room(Peers::NUMBER, 0);
        assert!(self.inner().world().disconnect_peer(id, reason), "no peer {id} is connected");
    }

    /// Another module is loaded, as far as modules are told; it does nothing.
    pub fn load_module(&self, name: &str, version: &str) {
        self.inner().make_room(System::NUMBER, 0);
        let mut world = self.inner().world();
        let module = LoadedModule { name: name.to_owned(), version: version.to_owned() };
        world.publish(&ModuleLoaded { name: module.name.clone(), version: module.version.clone() });
        world.loaded.push(module);
    }

    /// How many messages the ring of topic `T` holds: with so many more, a module that does not read misses the first.
    pub fn depth<T: Topic>(&self) -> u32 {
        self.inner().world().bus().geometry(T::NUMBER).map_or(0, |geometry| geometry.depth)
    }

    /// Programs what is answered to the request of this name, such as `get_block`. What is programmed last holds.
    ///
    /// ```
    /// use blvm_sdk::request::FeeEstimate;
    /// use blvm_sdk::testing::TestNode;
    /// use blvm_sdk::testing::protocol::MempoolReply;
    ///
    /// let node = TestNode::start();
    /// node.when("get_block").once().fail("the disk is full");
    /// let estimate = FeeEstimate { target_blocks: 6, sat_per_kvb: 7_000 };
    /// node.when("get_fee_estimate").answer(MempoolReply::FeeEstimate(Some(estimate)));
    /// ```
    ///
    /// # Panics
    ///
    /// If there is no request of that name.
    #[track_caller]
    pub fn when<'a>(&'a self, request: &'a str) -> When<'a> {
        if !super::names::REQUESTS.contains(&request) {
            panic!(
                "there is no request \"{request}\"; those that there are: {}",
                super::names::REQUESTS.join(", ")
            );
        }
        When { node: self, script: &self.inner().script, request, times: None }
    }

    /// What the node answers to `request` where nothing is programmed: for answers that are made of it.
    pub fn usual_answer(&self, request: &Request) -> Reply {
        self.inner().answer(None, request, DEADLINE)
    }

    /// The node ends in order: topics are closed, and modules asked to end by [`NodeShutdown`] and the closed topics.
    pub fn shut_down(&self) {
        let mut world = self.inner().world();
        world.publish(&NodeShutdown { reason: "the test says so".to_owned() });
        world.bus().close();
    }

    /// The node is killed: every connection ends, and what was on the bus is lost. Its chain and its mempool stay as they are for
    /// [`TestNode::restart`].
    pub fn crash(&self) {
        let inner = self.inner();
        // Nobody is told anything: not even that topics end.
        let bus = inner.world().bus.take();
        inner.hang_up();
        drop(bus);
    }

    /// The node is back after [`TestNode::crash`], with another run.
    ///
    /// # Panics
    ///
    /// If it was not down.
    pub fn restart(&self) {
        let mut world = self.inner().world();
        assert!(world.bus.is_none(), "the node is not down: crash() it first");
        world.start();
        self.inner().changed.notify_all();
    }
}

/// What the node does for modules, on whatever thread.
impl Inner {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        // A panic of the test while it was held is what the test shows; what comes after it are the ends of modules.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_parties(&self) -> MutexGuard<'_, Vec<Arc<Party>>> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parties(&self) -> Vec<Arc<Party>> {
        self.lock_parties().clone()
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    fn hang_up(&self) {
        self.lock_parties().iter().for_each(|party| party.hang_up());
    }

    /// The connection of `party` has ended.
    pub(crate) fn leave(&self, party: &Party) {
        let client = party.state().waker_client.take();
        if let (Some(client), Some(bus)) = (client, &self.world().bus) {
            bus.waker.remove(client);
        }
    }

    /// Forgets who is gone. A lease page stays in the scan table for as long as anybody could take a lease by it: in one process
    /// that ends with the module's own side of the page, not with its connection.
    fn sweep(&self) {
        let mut parties = self.lock_parties();
        let mut world = self.world();
        parties.retain(|party| {
            let mut state = party.state();
            let may_lease = state.leases.as_ref().is_some_and(|leases| leases.strong_count() > 0);
            if !party.is_gone() || may_lease {
                return true;
            }
            if let (Some(page), Some(bus)) = (state.page.take(), &mut world.bus) {
                bus.table.remove(&page);
            }
            false
        });
    }

    /// Waits until one message more of `topic`, with a body of so many bytes, makes no module miss anything: of those that the
    /// test runs and does not hold.
    pub(crate) fn make_room(&self, topic: u32, body_bytes: usize) {
        if IS_ANSWERING.get() {
            return;
        }
        for party in self.parties() {
            let Some(probe) = party.probe.get().filter(|_| !party.is_gone()) else { continue };
            let Some(reading) = probe.readings().into_iter().find(|reading| reading.topic == topic) else {
                continue;
            };
            let needed = {
                let mut world = self.world();
                let Some(geometry) = world.bus().geometry(topic) else { continue };
                let Some(host) = world.bus().any_host(topic) else { continue };
                needed_cursor(host, geometry, body_bytes, |kind| reading.wants(kind))
            };
            if probe.wait_read(topic, needed, self.limit).is_err() {
                let name = &party.module.name;
                panic!(
                    "publishing more would have module {name} miss messages, and it did not read on within {:?}; if it is to miss them, hold() it first:{}",
                    self.limit,
                    self.describe(probe)
                );
            }
        }
    }

    /// Where a module is, for people.
    pub(crate) fn describe(&self, probe: &crate::module::probe::Probe) -> String {
        let mut world = self.world();
        probe.describe(|topic| match &mut world.bus {
            Some(bus) => bus.used_host(topic).map_or(1, |host| host.next_sequence()),
            None => 1,
        })
    }

    fn mine(&self, transactions: &[MempoolEntry], has_body: bool) {
        let block = {
            let world = self.world();
            ScriptedChain::make(world.chain.tip(), world.chain.next_number(), transactions)
        };
        self.join(block, has_body);
    }

    /// A block joins: miners hear of it first, then who follows the chain, then who follows the mempool.
    fn join(&self, block: ScriptedBlock, has_body: bool) {
        let body_bytes = block.raw.len() + size_of_val(&block.index[..]);
        self.make_room(Mining::NUMBER, 0);
        self.make_room(Chain::NUMBER, body_bytes);
        let joined = block.clone();
        {
            let mut world = self.world();
            world.tell_tip(&block);
            world.connect(block, has_body);
        }
        self.settle_mempool(&joined);
    }

    /// What a block holds leaves the mempool, and what spends the same as it.
    fn settle_mempool(&self, block: &ScriptedBlock) {
        for transaction in &block.transactions {
            self.remove(&transaction.txid, REMOVED_MINED, [0; 32]);
            loop {
                let conflict = self.world().mempool.iter().find_map(|entry| {
                    let inputs = parse(&entry.raw).ok()?.inputs;
                    inputs.iter().any(|input| transaction.inputs.contains(input)).then_some(entry.txid)
                });
                let Some(txid) = conflict else { break };
                let (reason, replaced_by) = Removal::Conflict.reason();
                self.remove(&txid, reason, replaced_by);
            }
        }
    }

    fn reorganise(&self, depth: u32, blocks: &[Vec<MempoolEntry>]) {
        let made = {
            let mut world = self.world();
            let tip = world.chain.tip().position.height;
            assert!(
                depth <= tip,
                "{depth} blocks cannot leave: the tip is at height {tip}, and genesis never leaves"
            );
            let mut made: Vec<ScriptedBlock> = Vec::new();
            for transactions in blocks {
                let parent = made.last().or(world.chain.at_height(tip - depth)).expect("just seen");
                let block = ScriptedChain::make(parent, world.chain.next_number(), transactions);
                world.chain.know(&block);
                made.push(block);
            }
            made
        };
        self.make_room(Mining::NUMBER, 0);
        if let Some(tip) = made.last() {
            self.world().tell_tip(tip);
        }
        let mut left = Vec::new();
        for _ in 0..depth {
            self.make_room(Chain::NUMBER, 0);
            left.push(self.world().disconnect());
        }
        for block in &made {
            self.make_room(Chain::NUMBER, block.raw.len() + size_of_val(&block.index[..]));
            self.world().connect(block.clone(), true);
        }
        let hashes =
            |blocks: &[ScriptedBlock]| blocks.iter().map(|block| block.position.hash).collect::<Vec<_>>();
        if depth > 0 {
            self.make_room(Chain::NUMBER, 32 * (left.len() + made.len()));
            self.world().tell_reorganisation(&hashes(&left), &hashes(&made));
        }
        made.iter().for_each(|block| self.settle_mempool(block));
        // What left comes back, the lowest block first.
        for block in left.iter().rev() {
            for (index, entry) in block.index.iter().enumerate().skip(1) {
                let is_mined =
                    made.iter().any(|block| block.index.iter().any(|mined| mined.txid == entry.txid));
                if !is_mined && self.world().in_mempool(&entry.txid).is_none() {
                    let raw = block.transaction_bytes(index).to_vec();
                    let (txid, wtxid, fee_sat, weight) =
                        (entry.txid, entry.wtxid, entry.fee_sat, entry.weight);
                    self.add(MempoolEntry { txid, wtxid, fee_sat, weight, raw });
                }
            }
        }
    }

    fn add(&self, entry: MempoolEntry) {
        self.make_room(Mempool::NUMBER, entry.raw.len() + 128);
        let mut world = self.world();
        assert!(world.in_mempool(&entry.txid).is_none(), "the transaction is in the mempool already");
        world.add(entry);
    }

    fn remove(&self, txid: &Hash, reason: u16, replaced_by: Hash) -> bool {
        if self.world().in_mempool(txid).is_none() {
            return false;
        }
        self.make_room(Mempool::NUMBER, 0);
        self.world().remove(txid, reason, replaced_by)
    }

    /// Takes a request: the answer and the descriptors that go with it; `None` to end the connection.
    pub(crate) fn take(
        self: &Arc<Self>,
        party: &Arc<Party>,
        head: FrameHead,
        body: &[u8],
    ) -> (Option<Reply>, Vec<OwnedFd>) {
        let answered = match request_in(body) {
            Ok(Request::Hello(hello)) => match self.hello(party, &hello) {
                Ok((welcome, descriptors)) => return (Some(Reply::Welcome(welcome)), descriptors),
                Err(refusal) => Err(refusal),
            },
            Ok(Request::Authenticate { token }) => {
                authenticate(party, &token).map(|()| Some(Reply::Authenticated))
            }
            Ok(Request::Mapped) => self.mapped(party).map(|attached| Some(Reply::Attached(attached))),
            Ok(request) => self.asked(party, head, request),
            Err(refusal) => Err(refusal),
        };
        (answered.unwrap_or_else(|refusal| Some(Reply::Refused(refusal))), Vec::new())
    }

    fn asked(
        self: &Arc<Self>,
        party: &Arc<Party>,
        head: FrameHead,
        request: Request,
    ) -> Result<Option<Reply>, Refusal> {
        if !matches!(party.state().stage, Stage::Attached) {
            return Err(out_of_turn("this request", "before the module is attached"));
        }
        if let Request::ReportStatistics(statistics) = request {
            party.state().reports.push(statistics);
            return Ok(Some(Reply::Noted));
        }
        party.state().requests.push(request.clone());
        party.grants.check(&request)?;
        let asked = Duration::from_millis(u64::from(head.deadline_ms));
        let deadline = if asked.is_zero() { DEADLINE } else { asked };
        let answer = self.script.find(&request).map_or(Answer::Usual, |answer| {
            // The test has ended: nobody waits for an answer.
            let Some(handle) = self.handle.get().and_then(Weak::upgrade) else { return Answer::HangUp };
            IS_ANSWERING.set(true);
            let answer = answer(&TestNode { handle }, &request);
            IS_ANSWERING.set(false);
            answer
        });
        match answer {
            Answer::Reply(reply) => Ok(Some(*reply)),
            Answer::Refuse(refusal) => Err(refusal),
            Answer::Usual => Ok(Some(self.answer(Some(party), &request, deadline))),
            Answer::Late => Err(Refusal::Deadline { deadline_ms: deadline.as_millis() as u32 }),
            Answer::HangUp => Ok(None),
        }
    }

    fn hello(&self, party: &Party, hello: &Hello) -> Result<(Welcome, Vec<OwnedFd>), Refusal> {
        match (&party.state().stage, &party.token) {
            (Stage::Fresh, None) | (Stage::Known, _) => {}
            (Stage::Fresh, Some(_)) => return Err(out_of_turn("hello", "before the token is shown")),
            _ => return Err(out_of_turn("hello", "twice")),
        }
        if (hello.protocol_version, hello.layout_version) != (PROTOCOL_VERSION, LAYOUT_VERSION) {
            return Err(Refusal::Version {
                node_protocol: PROTOCOL_VERSION,
                module_protocol: hello.protocol_version,
                node_layout: LAYOUT_VERSION,
                module_layout: hello.layout_version,
            });
        }
        let mut world = self.world();
        let bus = world.bus.as_mut().ok_or_else(|| failed("the node is down"))?;
        let (mut topics, mut grants, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for wish in &hello.topics {
            party.grants.check_topic(wish.topic)?;
            let host = bus.any_host(wish.topic).ok_or(Refusal::UnknownTopic { topic: wish.topic })?;
            let schema = host.segment().identity.schema;
            if schema != wish.schema {
                return Err(Refusal::Schema { topic: wish.topic, node: schema, module: wish.schema });
            }
            if !topics.contains(&wish.topic) {
                topics.push(wish.topic);
                grants.push(TopicGrant { topic: wish.topic, schema, kinds: party.grants.kinds(wish.topic) });
                descriptors
                    .push(host.segment().open_for_module().map_err(|error| failed(&error.to_string()))?);
            }
        }
        let may_lease = party.token.is_none() && topics.contains(&Chain::NUMBER);
        let place = may_lease.then(|| bus.table.promise().ok()).flatten();
        let page = match place {
            Some(place) => {
                let page = OfferedLeasePage::create();
                let page = page.map_err(|error| Refusal::LeasePage { reason: error.to_string() })?;
                let sent =
                    page.descriptor().try_clone_to_owned().map_err(|error| failed(&error.to_string()))?;
                descriptors.push(sent);
                Some((page, place))
            }
            None => None,
        };
        let mut wake = None;
        if party.token.is_some() {
            let (node, module) = wake_socket_pair().map_err(|error| failed(&error.to_string()))?;
            descriptors.push(module);
            wake = Some(node);
        }
        let welcome = Welcome {
            run_id: bus.run_id.0,
            node_version: env!("CARGO_PKG_VERSION").to_owned(),
            network: NETWORK.to_owned(),
            topics: grants,
            leases: if page.is_some() { LEASES } else { 0 },
            config: party.config.clone(),
        };
        let mut state = party.state();
        state.stage = Stage::Welcomed { topics, page };
        state.wake = state.wake.take().or(wake);
        drop(state);
        Ok((welcome, descriptors))
    }

    /// The module has mapped its page: it is sealed and entered before the module is told so.
    fn mapped(&self, party: &Party) -> Result<Attached, Refusal> {
        let mut world = self.world();
        let mut state = party.state();
        let Stage::Welcomed { topics, page } = std::mem::take(&mut state.stage) else {
            return Err(out_of_turn("mapped", "without a hello before it"));
        };
        let wake = state.wake.take();
        let bus = world.bus.as_mut().ok_or_else(|| failed("the node is down"))?;
        if let Some((page, place)) = page {
            let page = page.seal().map_err(|error| Refusal::LeasePage { reason: error.to_string() })?;
            state.page = Some(place.enter(page, LEASES));
        }
        state.waker_client = wake.map(|wake| bus.waker.add(wake, topics.clone()));
        let start = |topic: &u32| TopicStart { topic: *topic, sequence: world.start_sequence(*topic) };
        let starts = topics.iter().map(start).collect();
        state.stage = Stage::Attached;
        Ok(Attached { starts, loaded: world.loaded.clone() })
    }
}

fn authenticate(party: &Party, shown: &Token) -> Result<(), Refusal> {
    let mut state = party.state();
    match &party.token {
        Some(token) if matches!(state.stage, Stage::Fresh) && token == shown => {
            state.stage = Stage::Known;
            Ok(())
        }
        Some(_) if matches!(state.stage, Stage::Fresh) => Err(Refusal::Token { tries_left: 0 }),
        _ => Err(out_of_turn("authenticate", "where the token is not asked for")),
    }
}

fn failed(reason: &str) -> Refusal {
    Refusal::Node { reason: reason.to_owned() }
}

fn out_of_turn(request: &str, state: &str) -> Refusal {
    Refusal::OutOfTurn { request: request.to_owned(), state: state.to_owned() }
}
