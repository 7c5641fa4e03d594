//! The node of a test: what it does is what the test says.

mod chain;
mod conversation;
mod mempool;
mod options;
mod play;
mod room;

use std::cell::Cell;
use std::fmt::{self, Debug, Formatter};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use blvm_bus::message::peers::Peers;
use blvm_bus::message::system::{ModuleLoaded, NodeShutdown, System};
use blvm_bus::message::{Kind, Topic};
use blvm_bus::request::{Call, LoadedModule, Reply, Request, Token};
use blvm_bus::wake::wake_socket_pair;

use super::encoding::hash;
use super::grants::Grants;
use super::party::Party;
use super::script::{Script, When};
use super::world::World;
use crate::module::Module;
use crate::session::Session;
use crate::testing::ModuleTest;
use crate::topics::Topics;
use crate::{SessionError, Wait};

pub use options::TestNodeOptions;
pub use play::{PlayError, PlayedMessage};

/// The network of a test's chain.
pub(crate) const NETWORK: &str = "regtest";

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

    /// A session of a program beside the node, as [`Session::attach_path`] gives it: it may read everything and change nothing, and
    /// the body of every block is gone, to be fetched by request.
    ///
    /// # Errors
    ///
    /// [`SessionError`].
    ///
    /// # Panics
    ///
    /// If the node is down.
    pub fn attach_by_path(&self, topics: Topics, wait: Wait) -> Result<Session, SessionError> {
        let program = LoadedModule { name: "test".to_owned(), version: "0.1.0".to_owned() };
        let (_, socket, token) = self.connect_by_path(program).expect("the node is down: restart() it first");
        Session::authenticate(socket, &token, topics, wait)
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
        let run_id = {
            let world = inner.world();
            world.bus.as_ref().filter(|_| world.is_up())?.run_id
        };
        let token = Token::new(hash(&[&run_id.0]));
        inner.sweep();
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
        super::names::check(request);
        When { node: self, script: &self.inner().script, request, times: None }
    }

    /// What the node answers to `request` where nothing is programmed: for answers that are made of it.
    pub fn usual_answer(&self, request: &Request) -> Reply {
        self.inner().answer(None, request, DEADLINE)
    }

    /// The node ends in order: topics are closed, and modules end by [`NodeShutdown`] and the closed topics, each when it has read
    /// them; one that reads no topic is asked to stop. Nobody attaches any more until [`TestNode::restart`].
    ///
    /// # Panics
    ///
    /// If it is down.
    pub fn shut_down(&self) {
        let inner = self.inner();
        inner.make_room(System::NUMBER, 0);
        {
            let mut world = inner.world();
            assert!(world.is_up(), "the node is down: restart() it first");
            world.publish(&NodeShutdown { reason: "the test says so".to_owned() });
            world.bus().close();
            world.is_shut = true;
        }
        let reads_nothing = |party: &Arc<Party>| {
            party.token.is_none() && party.probe.get().is_some_and(|probe| probe.readings().is_empty())
        };
        let deadline_ms = u32::try_from(inner.limit.as_millis()).unwrap_or(u32::MAX);
        for party in
            inner.parties().iter().filter(|party| !party.is_gone()).filter(|party| reads_nothing(party))
        {
            party.tell(&Call::Stop { deadline_ms }, inner.limit);
        }
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

    /// The node is back after [`TestNode::crash`] or [`TestNode::shut_down`], with another run.
    ///
    /// # Panics
    ///
    /// If it was not down.
    pub fn restart(&self) {
        let mut world = self.inner().world();
        assert!(!world.is_up(), "the node is not down: crash() it first, or shut_down()");
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
        if let Some((waker, client)) = client {
            waker.remove(client);
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
}
