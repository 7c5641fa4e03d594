use std::fs::File;
use std::fs::OpenOptions;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;

use blvm_bus::layout::{Geometry, LAYOUT_VERSION};
use blvm_bus::message::chain::{Chain, ChainEvent};
use blvm_bus::message::{TOPICS, Topic};
use blvm_bus::request::{
    FRAME_HEAD_BYTES, Hello, PROTOCOL_VERSION, TopicWish, connect_path, encode, recv_with_descriptors,
    send_with_descriptors,
};
use blvm_sdk::{Body, CallError, Session, SessionError, Topics as Wishes, Wait};
use tempfile::TempDir;

use super::super::conversation::tests::ScriptedNode;
use super::super::limits::RequestLimits;
use super::*;
use crate::source::{ChainPosition, EventSink, NodeEvent};
use crate::topics::{Topics, TopicsOptions};

/// Short, so that what they end is seen to end; long enough for a busy machine.
const SHORT: Deadlines = Deadlines {
    token: Duration::from_millis(300),
    attach: Duration::from_millis(600),
    unread: Duration::from_millis(300),
};

/// Ends a test whose node does nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node's way in.
struct Node {
    listener: Option<PathListener>,
    shared: Arc<Shared>,
    deadlines: Deadlines,
    directory: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    fn start(deadlines: Deadlines) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let chain = Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap();
        let (topics, node) = (Arc::new(topics), Arc::new(ScriptedNode));
        let shared = Arc::new(Shared::new(topics, node, None, "regtest", RequestLimits::default()));
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node { listener: None, shared, deadlines, directory, runtime };
        node.listen();
        node
    }

    /// As a node that starts on the directory of another run.
    fn listen(&mut self) {
        let _in_runtime = self.runtime.enter();
        let shared = Arc::clone(&self.shared);
        self.listener = Some(PathListener::start_with(self.path(), shared, self.deadlines).unwrap());
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn token(&self) -> Token {
        Token::read(&self.path().join(TOKEN_NAME)).unwrap()
    }

    fn attach(&self) -> Result<Session, SessionError> {
        Session::attach_path(self.path(), &self.token(), Wishes::new().with::<Chain>(), Wait::Park)
    }

    fn connect(&self) -> Stranger {
        let socket = connect_path(self.path()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Stranger { socket, descriptors: Vec::new() }
    }

    fn publish(&self, height: u32) {
        let position = ChainPosition { hash: [height as u8; 32], height };
        self.shared.topics.event(NodeEvent::BlockDisconnected { position, previous: [0; 32] });
    }
}

/// The protocol by hand.
struct Stranger {
    socket: StdUnixStream,
    descriptors: Vec<OwnedFd>,
}

impl Stranger {
    fn send(&mut self, body: &[u8]) -> io::Result<()> {
        let head = FrameHead {
            body_bytes: body.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: false,
            correlation: 1,
            deadline_ms: 0,
        };
        self.socket.write_all(&[&head.encode()[..], body].concat())
    }

    /// The next answer; `None` once the node has closed the connection.
    fn receive(&mut self) -> Option<Reply> {
        let mut bytes = Vec::new();
        loop {
            let wanted = match bytes.first_chunk() {
                Some(head) => FRAME_HEAD_BYTES + FrameHead::decode(head).body_bytes as usize,
                None => FRAME_HEAD_BYTES,
            };
            if bytes.len() == wanted && wanted > FRAME_HEAD_BYTES {
                return Some(decode(&bytes[FRAME_HEAD_BYTES..]).unwrap());
            }
            let mut buffer = vec![0; wanted - bytes.len()];
            match recv_with_descriptors(&self.socket, &mut buffer, &mut self.descriptors) {
                Ok(0) => return None,
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("neither an answer nor the end: {error}"),
            }
        }
    }

    fn ask(&mut self, request: &Request) -> Option<Reply> {
        self.send(&encode(request)).ok()?;
        self.receive()
    }

    /// What the node says, whatever was sent.
    fn refusal(&mut self, body: &[u8]) -> Refusal {
        self.send(body).unwrap();
        match self.receive() {
            Some(Reply::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn authenticate(&mut self, node: &Node) -> Option<Reply> {
        self.ask(&Request::Authenticate { token: node.token() })
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.socket.read(&mut [0]), Ok(0))
    }
}

fn hello() -> Request {
    Request::Hello(Hello {
        protocol_version: PROTOCOL_VERSION,
        layout_version: LAYOUT_VERSION,
        topics: vec![TopicWish { topic: Chain::NUMBER, schema: Chain::SCHEMA }],
    })
}

fn refused(outcome: Result<Session, SessionError>) -> Refusal {
    match outcome {
        Err(SessionError::Call(CallError::Refused(refusal))) => refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("attached"),
    }
}

#[test]
fn a_program_with_the_token_reads_and_changes_nothing() {
    let node = Node::start(DEADLINES);
    node.publish(1);
    let mut session = node.attach().unwrap();
    session.start_at_oldest();
    let mut feed = session.feed::<Chain>().unwrap();
    node.publish(2);
    for height in [1, 2] {
        let sample = feed.poll().unwrap().unwrap();
        let Ok(ChainEvent::BlockDisconnected(event)) = sample.event() else { panic!("another kind") };
        assert_eq!(event.height.to_native(), height);
    }
    assert!(feed.poll().unwrap().is_none());
    // The wake socket came with the welcome.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            node.publish(3);
        });
        let start = Instant::now();
        session.wait(&[&feed]).unwrap();
        assert!(start.elapsed() < Duration::from_millis(900), "it slept out its bound");
    });
    assert!(matches!(feed.poll().unwrap().unwrap().body(), Ok(Body::None)));
    let client = session.client();
    assert_eq!(client.chain_tip().unwrap().height, 70);
    // In a frame, and in sealed memory.
    for kib in [5, 200] {
        assert_eq!(client.block([kib; 32]).unwrap().unwrap().raw.len(), usize::from(kib) << 10);
    }
    assert_eq!(client.mempool_transactions().unwrap().len(), 1);
    let denied = Refusal::Denied { permission: "send_transactions".to_owned() };
    assert!(
        matches!(client.submit_transaction(vec![1]), Err(CallError::Refused(refusal)) if refusal == denied)
    );
    assert_eq!(client.chain_tip().unwrap().height, 70);
}

#[test]
fn a_session_that_starts_at_the_oldest_finds_what_the_ring_holds() {
    let node = Node::start(DEADLINES);
    (1..=40).for_each(|height| node.publish(height));
    let mut session = node.attach().unwrap();
    session.start_at_oldest();
    let mut feed = session.feed::<Chain>().unwrap();
    let first = feed.poll().unwrap().unwrap().sequence();
    assert_eq!(first, 41 - 16);
}

#[test]
fn without_the_token_nothing_is_had_and_after_three_tries_the_connection_ends() {
    let node = Node::start(DEADLINES);
    let mut wrong = node.token().to_hex().into_bytes();
    wrong[0] = if wrong[0] == b'0' { b'1' } else { b'0' };
    let path = node.path().join("wrong");
    fs::write(&path, &wrong).unwrap();
    let wrong = encode(&Request::Authenticate { token: Token::read(&path).unwrap() });
    let early = encode(&hello());
    for bodies in [[&wrong[..], &wrong, &wrong], [&early, b"", b"\xff\xff"], [&wrong, &early, &wrong]] {
        let mut stranger = node.connect();
        for (body, tries_left) in bodies.into_iter().zip([2, 1, 0]) {
            assert_eq!(stranger.refusal(body), Refusal::Token { tries_left });
        }
        assert!(stranger.is_closed() && stranger.descriptors.is_empty());
    }
    let mut stranger = node.connect();
    let too_large = stranger.refusal(&[0; MAX_UNKNOWN_FRAME_BYTES + 1]);
    assert!(matches!(too_large, Refusal::TooLarge { limit_bytes: 1024, .. }));
    assert_eq!(stranger.refusal(&wrong), Refusal::Token { tries_left: 1 });
    // The last try counts.
    assert_eq!(stranger.authenticate(&node), Some(Reply::Authenticated));
    assert!(matches!(stranger.ask(&hello()), Some(Reply::Welcome(_))));
}

#[test]
fn what_a_program_is_given_cannot_be_written_and_holds_no_leases() {
    let node = Node::start(DEADLINES);
    let mut stranger = node.connect();
    assert_eq!(stranger.authenticate(&node), Some(Reply::Authenticated));
    let Some(Reply::Welcome(welcome)) = stranger.ask(&hello()) else { panic!("not welcome") };
    assert_eq!((welcome.leases, stranger.descriptors.len()), (0, 2));
    let segment = File::from(stranger.descriptors.remove(0));
    // Not open for writing; and opened again for it, as root may, the seals refuse.
    let errno = |outcome: io::Result<_>| outcome.unwrap_err().raw_os_error().unwrap();
    assert_eq!(errno(segment.write_at(b"x", 0)), nix::libc::EBADF);
    let path = format!("/proc/self/fd/{}", segment.as_raw_fd());
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(writable) => {
            assert_eq!(errno(writable.write_at(b"x", 0)), nix::libc::EPERM);
            assert_eq!(errno(writable.set_len(0).map(|()| 0)), nix::libc::EPERM);
        }
        Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::EACCES)),
    }
    assert!(matches!(stranger.ask(&Request::Mapped), Some(Reply::Attached(_))));
    assert!(node.shared.topics.table.is_empty());
}

#[test]
fn every_topic_is_given_and_none_twice() {
    let node = Node::start(DEADLINES);
    let mut stranger = node.connect();
    assert_eq!(stranger.authenticate(&node), Some(Reply::Authenticated));
    let topics = TOPICS.iter().chain(TOPICS);
    let topics = topics.map(|topic| TopicWish { topic: topic.number, schema: topic.schema }).collect();
    let hello = Hello { protocol_version: PROTOCOL_VERSION, layout_version: LAYOUT_VERSION, topics };
    let Some(Reply::Welcome(welcome)) = stranger.ask(&Request::Hello(hello)) else { panic!("not welcome") };
    assert!(welcome.topics.iter().map(|grant| grant.topic).eq(TOPICS.iter().map(|topic| topic.number)));
    assert_eq!(stranger.descriptors.len(), TOPICS.len() + 1);
}

#[test]
fn eight_attach_and_one_more_when_one_has_left() {
    let node = Node::start(DEADLINES);
    let mut sessions: Vec<_> = (0..MAX_PEERS).map(|_| node.attach().unwrap()).collect();
    assert_eq!(refused(node.attach()), Refusal::TooManyPeers { limit: MAX_PEERS });
    let mut stranger = node.connect();
    assert!(matches!(stranger.authenticate(&node), Some(Reply::Refused(Refusal::TooManyPeers { .. }))));
    assert!(stranger.is_closed());
    sessions.truncate(sessions.len() - 1);
    let deadline = Instant::now() + PATIENCE;
    let last = loop {
        match node.attach() {
            Ok(session) => break session,
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    };
    drop((last, sessions));
}

#[test]
fn a_flood_of_connections_keeps_nobody_out_and_is_not_kept() {
    let node = Node::start(DEADLINES);
    let mut flood: Vec<_> = (0..300).map(|_| node.connect()).collect();
    let start = Instant::now();
    let mut session = node.attach().unwrap();
    // 300 accepts, a millisecond or two apart.
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(session.client().chain_tip().unwrap().height, 70);
    let (evicted, _waiting) = flood.split_at_mut(300 - MAX_WAITING);
    assert!(evicted.iter_mut().all(Stranger::is_closed));
    assert_eq!(session.client().chain_tip().unwrap().height, 70);
}

#[test]
fn who_takes_too_long_is_let_go_at_every_step() {
    let node = Node::start(SHORT);
    // Says nothing.
    assert!(node.connect().is_closed());
    // Has the token, and does not attach: silent, or with hellos that are refused.
    let mut silent = node.connect();
    assert_eq!(silent.authenticate(&node), Some(Reply::Authenticated));
    assert!(silent.is_closed());
    let mut busy = node.connect();
    assert_eq!(busy.authenticate(&node), Some(Reply::Authenticated));
    let unknown = Hello { protocol_version: 0, layout_version: 0, topics: Vec::new() };
    let unknown = Request::Hello(unknown);
    while let Some(reply) = busy.ask(&unknown) {
        // On a fast machine they are also too many.
        assert!(matches!(reply, Reply::Refused(Refusal::Version { .. } | Refusal::Rate { .. })), "{reply:?}");
    }
    // Asks and does not read. Once it attached it may be silent as long as it likes.
    let mut deaf = node.connect();
    assert_eq!(deaf.authenticate(&node), Some(Reply::Authenticated));
    assert!(matches!(deaf.ask(&hello()), Some(Reply::Welcome(_))));
    assert!(matches!(deaf.ask(&Request::Mapped), Some(Reply::Attached(_))));
    std::thread::sleep(2 * SHORT.attach);
    assert!(matches!(deaf.ask(&Request::GetChainTip), Some(Reply::ChainTip(_))));
    deaf.socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let long = encode(&Request::GetBlock { hash: [60; 32] });
    let error = loop {
        if let Err(error) = deaf.send(&long) {
            break error;
        }
    };
    assert!(
        matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
        "the node lets it go: {error}"
    );
}

#[test]
fn socket_and_token_are_the_users_alone_new_at_each_start_and_gone_at_the_end() {
    let mut node = Node::start(DEADLINES);
    let modes = |node: &Node| {
        [SOCKET_NAME, TOKEN_NAME].map(|name| {
            fs::metadata(node.path().join(name)).map(|found| found.permissions().mode() & 0o777).ok()
        })
    };
    assert_eq!(modes(&node), [Some(0o600); 2]);
    let token = node.token();
    // As after a kill: the files stay, nobody listens.
    let (socket, text) = (node.path().join(SOCKET_NAME), token.to_hex());
    node.listener = None;
    assert_eq!(modes(&node), [None; 2]);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    fs::write(node.path().join(TOKEN_NAME), text).unwrap();
    fs::write(node.path().join("bus.token.new"), "half").unwrap();
    assert!(matches!(node.attach(), Err(SessionError::Connect { .. })));
    node.listen();
    assert_eq!(modes(&node), [Some(0o600); 2]);
    assert_ne!(node.token(), token);
    let stale = Session::attach_path(node.path(), &token, Wishes::new(), Wait::Park);
    assert_eq!(refused(stale), Refusal::Token { tries_left: 2 });
    // Who is attached stays when nobody else comes in.
    let mut session = node.attach().unwrap();
    node.listener = None;
    assert_eq!(session.client().chain_tip().unwrap().height, 70);
}

#[test]
fn descriptors_are_refused_from_the_first_byte_on() {
    let node = Node::start(DEADLINES);
    let mut stranger = node.connect();
    let null = File::open("/dev/null").unwrap();
    match send_with_descriptors(&stranger.socket, b"x", &[null.as_fd()]) {
        Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::EPERM)),
        // Before Linux 6.16 the node takes and closes them, and the connection with them.
        Ok(_) => assert!(stranger.is_closed()),
    }
}

#[test]
fn operators_see_who_is_attached_by_path_what_it_reads_and_how_far_it_lags() {
    let node = Node::start(DEADLINES);
    let listed = || node.shared.programs.list(&node.shared.topics);
    assert!(listed().is_empty());
    let _unattached = node.connect();
    let mut session = node.attach().unwrap();
    let [program] = &listed()[..] else { panic!("not one: {:?}", listed()) };
    assert!(program.name.contains(&format!("(pid {})", std::process::id())), "{}", program.name);
    let topic = |received, missed, lag_messages| super::super::programs::AttachedTopic {
        topic: "chain".to_owned(),
        received,
        missed,
        lag_messages,
    };
    assert_eq!(program.topics, [topic(None, None, None)]);

    let mut feed = session.feed::<Chain>().unwrap();
    for height in 1..=3 {
        node.publish(height);
    }
    // Two are taken, one of them is not finished.
    assert!(feed.poll().unwrap().is_some() && feed.poll().unwrap().is_some());
    let start = Instant::now();
    let told = topic(Some(2), Some(0), Some(2));
    while listed()[0].topics != [told.clone()] {
        assert!(start.elapsed() < PATIENCE, "it is told of otherwise: {:?}", listed());
        session.wait(&[&feed]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(session);
    while !listed().is_empty() {
        assert!(start.elapsed() < 2 * PATIENCE, "it stays listed");
        std::thread::sleep(Duration::from_millis(5));
    }
}
