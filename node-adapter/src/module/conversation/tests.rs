mod calls;
mod flight;
mod work;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use blvm_bus::layout::Geometry;
use blvm_bus::lease::page::map_lease_page;
use blvm_bus::message::TOPICS;
use blvm_bus::message::mempool::Mempool;
use blvm_bus::message::mesh_packets::MeshPackets;
use blvm_bus::message::mining::Mining;
use blvm_bus::message::modules::Modules;
use blvm_bus::message::payments::Payments;
use blvm_bus::message::peers::Peers;
use blvm_bus::message::stratum_packets::StratumPackets;
use blvm_bus::message::system::System;
use blvm_bus::request::{
    Block, ChainRequest, FRAME_HEAD_BYTES, MAX_FRAME_BYTES, MAX_SUBMISSION_BYTES, MempoolRequest,
    MiningRequest, NetworkRequest, PacketProtocol, Permission, Statistics, Token, TopicStart, TopicWish,
    TransactionRefusal, WatchEvent, WatchItem, WatchedTransaction, encode, read_answer,
    recv_with_descriptors, send_with_descriptors,
};
use blvm_bus::segment::{Identity, RunId, open_sealed};
use blvm_bus::wake::wake_socket_pair;
use blvm_manifest::{Manifest, ManifestTopic};
use tokio::sync::watch;

use super::super::host::Module;
use super::super::limits::RequestLimits;
use super::*;
use crate::source::{
    ChainPosition, EventSink, Hash, MempoolTransaction, NodeApi, NodeError, NodeEvent, StoredBlock,
    SubmitError,
};
use crate::topics::{Topics, TopicsOptions};

/// Answers from a script; a real node is behind the same trait in the process tests.
pub(in crate::module) struct ScriptedNode;

impl NodeApi for ScriptedNode {
    fn source_name(&self) -> &'static str {
        "scripted"
    }

    fn chain_tip(&self) -> ChainPosition {
        ChainPosition { hash: [7; 32], height: 70 }
    }
    fn block(&self, hash: &Hash) -> Result<Option<StoredBlock>, NodeError> {
        match hash[0] {
            0 => Ok(None),
            1 => Err(NodeError::Store { reason: "the disk is gone".to_owned() }),
            // As many KiB as the hash says.
            kib => Ok(Some(StoredBlock { hash: *hash, height: 3, raw: vec![kib; usize::from(kib) << 10] })),
        }
    }
    fn block_by_height(&self, height: u32) -> Result<Option<StoredBlock>, NodeError> {
        work::pass_gate(height);
        // A height that stands for an answer slower than any deadline a test sets.
        if height == 9 {
            std::thread::park_timeout(Duration::from_millis(400));
        }
        self.block(&[height as u8; 32])
    }
    fn mempool_transactions(&self) -> Vec<MempoolTransaction> {
        vec![MempoolTransaction {
            txid: [1; 32],
            wtxid: [2; 32],
            fee_sat: 3,
            weight: 4,
            sigop_cost: 0,
            raw: [5; 6].into(),
        }]
    }
    fn mempool_transaction(&self, _: &Hash) -> Option<MempoolTransaction> {
        None
    }
    fn mempool_size(&self) -> usize {
        1
    }
    fn submit_transaction(&self, raw: &[u8]) -> Result<Hash, SubmitError> {
        if raw == [1] { Ok([9; 32]) } else { Err(SubmitError::FeeTooLow { fee_sat: 1, needed_sat: 2 }) }
    }
}

/// The module's side, spoken by hand.
struct Peer {
    socket: StdUnixStream,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    correlation: u64,
    _wake: OwnedFd,
}

impl Peer {
    fn send_raw(&mut self, body: &[u8], deadline_ms: u32) {
        self.correlation += 1;
        let head = FrameHead {
            body_bytes: body.len() as u32,
            descriptors: 0,
            is_in_memfd: false,
            is_call: false,
            correlation: self.correlation,
            deadline_ms,
        };
        self.socket.write_all(&[&head.encode()[..], body].concat()).unwrap();
    }

    fn fill(&mut self, wanted: usize) {
        while self.bytes.len() < wanted {
            let mut buffer = [0; 4096];
            let length = recv_with_descriptors(&self.socket, &mut buffer, &mut self.descriptors).unwrap();
            assert!(length > 0, "the node closed the connection");
            self.bytes.extend_from_slice(&buffer[..length]);
        }
    }

    fn receive_frame(&mut self) -> (FrameHead, Vec<u8>) {
        self.fill(FRAME_HEAD_BYTES);
        let head = FrameHead::decode(self.bytes.first_chunk().unwrap());
        self.fill(FRAME_HEAD_BYTES + head.body_bytes as usize);
        let body =
            self.bytes.drain(..FRAME_HEAD_BYTES + head.body_bytes as usize).skip(FRAME_HEAD_BYTES).collect();
        (head, body)
    }

    fn receive(&mut self) -> (u64, Reply) {
        let (head, body) = self.receive_frame();
        assert!(!head.is_call, "a call where an answer was due");
        if head.is_in_memfd {
            let length = u64::from_le_bytes(*body.first_chunk().unwrap());
            let answer = read_answer(self.descriptors.remove(0), length).unwrap();
            return (head.correlation, decode(&answer).unwrap());
        }
        (head.correlation, decode(&body).unwrap())
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.send_raw(&encode(request), 0);
        let (correlation, reply) = self.receive();
        assert_eq!(correlation, self.correlation);
        reply
    }

    fn refusal(&mut self, request: &Request) -> Refusal {
        match self.ask(request) {
            Reply::Refused(refusal) => refusal,
            reply => panic!("not refused: {reply:?}"),
        }
    }

    /// Hello and mapped for `chain`, the lease page mapped between them.
    fn attach(&mut self) -> Attached {
        let Reply::Welcome(welcome) = self.ask(&hello(&[wish::<Chain>()])) else { panic!("not welcome") };
        assert_eq!(self.descriptors.len(), 2);
        let page = map_lease_page(self.descriptors.pop().unwrap()).unwrap();
        let identity =
            Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId(welcome.run_id) };
        open_sealed(self.descriptors.pop().unwrap(), &identity).unwrap();
        let Reply::Attached(attached) = self.ask(&Request::Mapped) else { panic!("not attached") };
        drop(page);
        attached
    }
}

fn wish<T: Topic>() -> TopicWish {
    TopicWish { topic: T::NUMBER, schema: T::SCHEMA }
}

fn hello(topics: &[TopicWish]) -> Request {
    Request::Hello(Hello {
        protocol_version: PROTOCOL_VERSION,
        layout_version: LAYOUT_VERSION,
        topics: topics.to_vec(),
    })
}

/// Runs `test` as a module with `permissions`, against the real conversation.
fn with_peer(permissions: &[Permission], test: impl FnOnce(&mut Peer, &Topics, &Module) + Send + 'static) {
    with_limited_peer(RequestLimits::default(), permissions, test);
}

fn with_limited_peer(
    limits: RequestLimits,
    permissions: &[Permission],
    test: impl FnOnce(&mut Peer, &Topics, &Module) + Send + 'static,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let permissions = permissions.to_vec();
    runtime.block_on(async {
        let chain = Geometry { depth: 16, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let node: Arc<dyn NodeApi> = Arc::new(ScriptedNode);
        let shared = Arc::new(Shared::new(Arc::clone(&topics), node, None, "regtest", limits));
        let (wake, peer_wake) = wake_socket_pair().unwrap();
        let manifest = Manifest {
            permissions,
            topics: vec![ManifestTopic { topic: StratumPackets::NUMBER, kinds: Vec::new() }],
            ..Manifest::new("tester", "tester")
        };
        let (starts, _) = watch::channel::<Option<BTreeMap<u32, u64>>>(None);
        let module = Arc::new(Module::new(
            manifest,
            ("answer = 42\n".to_owned(), Vec::new()),
            BTreeMap::from([(Chain::NUMBER, 7)]),
            4242,
            wake,
            starts,
            Arc::clone(&shared),
        ));
        let (socket, peer_socket) = StdUnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UnixStream::from_std(socket).unwrap();
        let serving = tokio::spawn(serve(socket, module.clone(), shared));
        let mut peer = Peer {
            socket: peer_socket,
            bytes: Vec::new(),
            descriptors: Vec::new(),
            correlation: 0,
            _wake: peer_wake,
        };
        spawn_blocking(move || test(&mut peer, &topics, &module)).await.unwrap();
        serving.await.unwrap().unwrap();
    });
}

#[test]
fn an_attached_module_gets_true_answers() {
    with_peer(&Permission::ALL, |peer, topics, module| {
        let attached = peer.attach();
        assert_eq!(attached.starts, [TopicStart { topic: Chain::NUMBER, sequence: 1 }]);
        assert_eq!(topics.table.len(), 1);
        assert_eq!(
            peer.ask(&Request::GetChainTip),
            Reply::ChainTip(blvm_bus::request::ChainPosition { hash: [7; 32], height: 70 })
        );
        let block = |kib: u8| Block { hash: [kib; 32], height: 3, raw: vec![kib; usize::from(kib) << 10] };
        assert_eq!(peer.ask(&Request::GetBlock { hash: [5; 32] }), Reply::Block(Some(block(5))));
        assert_eq!(peer.ask(&Request::GetBlockByHeight { height: 5 }), Reply::Block(Some(block(5))));
        assert_eq!(peer.ask(&Request::GetBlock { hash: [0; 32] }), Reply::Block(None));
        // Just below, at and beyond what travels in a frame.
        for kib in [63, 64, 200] {
            assert_eq!(peer.ask(&Request::GetBlock { hash: [kib; 32] }), Reply::Block(Some(block(kib))));
        }
        let Reply::MempoolTransactions(entries) = peer.ask(&Request::GetMempoolTransactions) else {
            panic!("no mempool");
        };
        assert_eq!((entries[0].txid, entries[0].fee_sat, &entries[0].raw[..]), ([1; 32], 3, &[5; 6][..]));
        let submit = Request::SubmitMempoolTransaction { raw: vec![1] };
        assert_eq!(peer.ask(&submit), Reply::Submitted { txid: [9; 32] });
        let statistics = Statistics { wait: "park".to_owned(), topics: Vec::new() };
        assert_eq!(peer.ask(&Request::ReportStatistics(statistics.clone())), Reply::Noted);
        assert_eq!(module.statistics(), Some(statistics.clone()));
        let long = Statistics { wait: "x".repeat(33), ..Statistics::default() };
        assert!(matches!(peer.refusal(&Request::ReportStatistics(long)), Refusal::Malformed { .. }));
        assert_eq!(module.statistics(), Some(statistics));
    });
}

#[test]
fn a_denied_request_names_the_permission_and_leaves_the_connection_open() {
    with_peer(&[Permission::ReadBlockchain], |peer, _, _| {
        peer.attach();
        for (request, permission) in [
            (Request::GetMempoolTransactions, "read_mempool"),
            (Request::SubmitMempoolTransaction { raw: vec![1] }, "send_transactions"),
        ] {
            assert_eq!(peer.refusal(&request), Refusal::Denied { permission: permission.to_owned() });
            assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        }
    });
}

#[test]
fn a_topic_without_its_permission_is_denied_and_no_descriptor_comes() {
    with_peer(&[Permission::ReadBlockchain], |peer, _, _| {
        for (wish, permission) in [
            (wish::<Mempool>(), "read_mempool"),
            (wish::<Peers>(), "read_network"),
            (wish::<System>(), "subscribe_events"),
            (wish::<Mining>(), "mining_template"),
            (wish::<Modules>(), "subscribe_events"),
            (wish::<Payments>(), "read_payment"),
            (wish::<MeshPackets>(), "network_access"),
            (wish::<StratumPackets>(), "network_access"),
        ] {
            let refused = peer.refusal(&hello(&[self::wish::<Chain>(), wish]));
            assert_eq!(refused, Refusal::Denied { permission: permission.to_owned() });
            assert!(peer.descriptors.is_empty());
        }
        peer.attach();
    });
}

#[test]
fn packets_of_a_protocol_need_the_manifest_to_name_its_topic() {
    with_peer(&Permission::ALL, |peer, topics, _| {
        let refused = peer.refusal(&hello(&[wish::<MeshPackets>()]));
        assert_eq!(refused, Refusal::Unnamed { topic: "mesh_packets".to_owned() });
        assert!(refused.to_string().contains("mesh_packets = {}"), "{refused}");
        assert!(peer.descriptors.is_empty());
        // All others at once, each with its descriptor; without leases, so no page.
        let wishes: Vec<_> = TOPICS
            .iter()
            .filter(|topic| ![Chain::NUMBER, MeshPackets::NUMBER].contains(&topic.number))
            .map(|topic| TopicWish { topic: topic.number, schema: topic.schema })
            .collect();
        let Reply::Welcome(welcome) = peer.ask(&hello(&wishes)) else { panic!("not welcome") };
        assert_eq!(welcome.topics.len(), wishes.len());
        assert_eq!(peer.descriptors.len(), wishes.len());
        for (grant, descriptor) in welcome.topics.iter().zip(&peer.descriptors) {
            let identity = Identity { topic: grant.topic, schema: grant.schema, run_id: topics.run_id() };
            open_sealed(descriptor, &identity).unwrap();
        }
    });
}

#[test]
fn nothing_can_be_asked_before_the_module_is_attached_nor_hello_said_twice() {
    with_peer(&Permission::ALL, |peer, topics, _| {
        assert!(matches!(peer.refusal(&Request::GetChainTip), Refusal::OutOfTurn { .. }));
        assert!(matches!(peer.refusal(&Request::Mapped), Refusal::OutOfTurn { .. }));
        peer.attach();
        assert!(matches!(peer.refusal(&Request::Mapped), Refusal::OutOfTurn { .. }));
        assert!(matches!(peer.refusal(&hello(&[])), Refusal::OutOfTurn { .. }));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        assert_eq!(topics.table.len(), 1);
    });
}

#[test]
fn a_module_gains_nothing_by_a_token() {
    with_peer(&[Permission::ReadBlockchain], |peer, _, _| {
        let authenticate = Request::Authenticate { token: Token::new([0; 32]) };
        assert!(matches!(peer.refusal(&authenticate), Refusal::OutOfTurn { .. }));
        peer.attach();
        assert!(matches!(peer.refusal(&authenticate), Refusal::OutOfTurn { .. }));
        let denied = Refusal::Denied { permission: "read_mempool".to_owned() };
        assert_eq!(peer.refusal(&Request::GetMempoolTransactions), denied);
    });
}

#[test]
fn other_versions_schemas_and_topics_are_refused_naming_both_sides() {
    with_peer(&Permission::ALL, |peer, _, _| {
        let version = Request::Hello(Hello { protocol_version: 99, layout_version: 98, topics: Vec::new() });
        assert!(matches!(
            peer.refusal(&version),
            Refusal::Version { module_protocol: 99, module_layout: 98, node_protocol: PROTOCOL_VERSION, .. }
        ));
        let schema = TopicWish { topic: Chain::NUMBER, schema: 5 };
        let expected = Refusal::Schema { topic: Chain::NUMBER, node: Chain::SCHEMA, module: 5 };
        assert_eq!(peer.refusal(&hello(&[schema])), expected);
        let unknown = TopicWish { topic: 1000, schema: 5 };
        assert_eq!(peer.refusal(&hello(&[unknown])), Refusal::UnknownTopic { topic: 1000 });
        peer.attach();
    });
}

#[test]
fn bad_frames_are_refused_and_the_next_one_is_served() {
    with_peer(&Permission::ALL, |peer, _, _| {
        peer.attach();
        for body in [&b""[..], b"x", &[0xff; 100]] {
            peer.send_raw(body, 0);
            let (correlation, reply) = peer.receive();
            assert_eq!(correlation, peer.correlation);
            assert!(matches!(reply, Reply::Refused(Refusal::Malformed { .. })), "{reply:?}");
        }
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
    });
}

#[test]
fn a_frame_is_as_long_as_its_sender_and_its_request_allow() {
    let too_large = |found: usize, limit: usize| {
        Reply::Refused(Refusal::TooLarge { found_bytes: found as u64, limit_bytes: limit as u64 })
    };
    with_peer(&[Permission::ReadBlockchain, Permission::SendTransactions], move |peer, _, _| {
        peer.attach();
        peer.send_raw(&vec![1; MAX_FRAME_BYTES + 1], 0);
        assert_eq!(peer.receive().1, too_large(MAX_FRAME_BYTES + 1, MAX_FRAME_BYTES));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
    });
    with_peer(&Permission::ALL, move |peer, _, _| {
        peer.attach();
        peer.send_raw(&vec![1; MAX_SUBMISSION_BYTES + 1], 0);
        assert_eq!(peer.receive().1, too_large(MAX_SUBMISSION_BYTES + 1, MAX_SUBMISSION_BYTES));
        // Room for a block is no room for anything else.
        let transaction = encode(&Request::SubmitMempoolTransaction { raw: vec![1; MAX_FRAME_BYTES] });
        peer.send_raw(&transaction, 0);
        assert_eq!(peer.receive().1, too_large(transaction.len(), MAX_FRAME_BYTES));
        let block =
            Request::Mining(Box::new(MiningRequest::SubmitBlock { raw: vec![1; 3 * MAX_FRAME_BYTES] }));
        assert_eq!(unsupported(peer, &block), "submit_block");
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
    });
}

#[test]
fn requests_faster_than_the_limit_are_refused_with_how_long_to_wait() {
    let limits = RequestLimits { per_second: 50, burst: 8, ..RequestLimits::default() };
    with_limited_peer(limits, &Permission::ALL, |peer, _, _| {
        peer.attach();
        for _ in 0..20 {
            peer.send_raw(&encode(&Request::GetChainTip), 0);
        }
        let replies: Vec<_> = (0..20).map(|_| peer.receive().1).collect();
        let refused = replies.iter().find_map(|reply| match reply {
            Reply::Refused(Refusal::Rate { per_second: 50, retry_after_ms }) => Some(*retry_after_ms),
            _ => None,
        });
        assert!(matches!(replies[0], Reply::ChainTip(_)));
        std::thread::sleep(Duration::from_millis(u64::from(refused.unwrap()) + 20));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
    });
}

#[test]
fn bytes_of_long_answers_held_are_bounded_but_for_a_single_one() {
    let limits = RequestLimits { held_answer_bytes: 250 << 10, ..RequestLimits::default() };
    with_limited_peer(limits, &Permission::ALL, |peer, _, module| {
        peer.attach();
        for _ in 0..3 {
            peer.send_raw(&encode(&Request::GetBlock { hash: [100; 32] }), 0);
        }
        peer.send_raw(&encode(&Request::ReportStatistics(Statistics::default())), 0);
        while module.statistics().is_none() {
            std::thread::yield_now();
        }
        let replies: Vec<_> = (0..3).map(|_| peer.receive().1).collect();
        assert!(matches!(replies[..2], [Reply::Block(Some(_)), Reply::Block(Some(_))]));
        assert!(matches!(replies[2], Reply::Refused(Refusal::Limit { limit: 256_000, .. })));
        assert_eq!(peer.receive().1, Reply::Noted);
        // Longer than the limit by itself.
        assert!(matches!(peer.ask(&Request::GetBlock { hash: [255; 32] }), Reply::Block(Some(_))));
    });
}

fn watch(request: WatchRequest) -> Request {
    Request::Watch(Box::new(request))
}

#[test]
fn a_module_that_waits_for_what_it_watches_is_served_meanwhile_and_woken_once_it_is_there() {
    with_peer(&[Permission::WatchChain, Permission::ReadBlockchain], |peer, topics, _| {
        peer.attach();
        // An empty transaction needs no input to be looked at: what is watched for is its id.
        let raw = bitcoin::consensus::serialize(&bitcoin::Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![bitcoin::TxIn::default()],
            output: Vec::new(),
        });
        let added = MempoolTransaction {
            txid: [1; 32],
            wtxid: [2; 32],
            fee_sat: 3,
            weight: 4,
            sigop_cost: 0,
            raw: raw.clone().into(),
        };
        let other = MempoolTransaction { txid: [3; 32], ..added.clone() };
        let next = |peer: &mut Peer, deadline_ms| {
            peer.send_raw(&encode(&watch(WatchRequest::Next { limit: 0 })), deadline_ms);
            peer.correlation
        };
        let events = |events| Reply::Watch(Box::new(WatchReply::Events(WatchEvents { events, loss: None })));

        let items = vec![WatchItem::Txid([1; 32])];
        let watching = |entries| Reply::Watch(Box::new(WatchReply::Watching(entries)));
        assert_eq!(peer.ask(&watch(WatchRequest::Add { items: items.clone() })), watching(1));
        // Nothing there: at once without a deadline, else when it has passed.
        next(peer, 0);
        assert_eq!(peer.receive().1, events(Vec::new()));
        next(peer, 30);
        assert_eq!(peer.receive().1, events(Vec::new()));

        let waiting = next(peer, 20_000);
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        let limit = Refusal::Limit { what: "watch_next that wait".to_owned(), limit: 1 };
        assert_eq!(peer.refusal(&watch(WatchRequest::Next { limit: 0 })), limit);
        topics.event(NodeEvent::TransactionAdded(other));
        topics.event(NodeEvent::TransactionAdded(added));
        let seen = WatchEvent::InMempool(WatchedTransaction { txid: [1; 32], raw, items: items.clone() });
        assert_eq!(peer.receive(), (waiting, events(vec![seen])));

        assert_eq!(peer.ask(&watch(WatchRequest::Remove { items })), watching(0));
        let denied = Refusal::Denied { permission: "read_mempool".to_owned() };
        assert_eq!(peer.refusal(&Request::GetMempoolTransactions), denied);
    });
    with_peer(&[Permission::ReadBlockchain], |peer, _, _| {
        peer.attach();
        let denied = Refusal::Denied { permission: "watch_chain".to_owned() };
        assert_eq!(peer.refusal(&watch(WatchRequest::Next { limit: 0 })), denied);
    });
}

/// The name in the refusal of what this source cannot serve.
fn unsupported(peer: &mut Peer, request: &Request) -> String {
    match peer.refusal(request) {
        Refusal::Unsupported { request, node_source } => {
            assert_eq!(node_source, "scripted");
            request
        }
        refusal => panic!("another refusal: {refusal:?}"),
    }
}

/// One request of each area and permission, and the permission.
fn of_each_area() -> Vec<(Request, &'static str)> {
    let position = blvm_bus::request::ChainPosition { hash: [1; 32], height: 1 };
    vec![
        (Request::Chain(Box::new(ChainRequest::GetUtxo { txid: [1; 32], vout: 0 })), "read_utxo"),
        (Request::Chain(Box::new(ChainRequest::GetChainInfo)), "read_chain_state"),
        (Request::Chain(Box::new(ChainRequest::GetSyncStatus)), "read_chain_state"),
        (
            Request::Chain(Box::new(ChainRequest::ReplayFrom { position, limit_steps: 0, limit_bytes: 0 })),
            "read_blockchain",
        ),
        (Request::Mempool(Box::new(MempoolRequest::Snapshot)), "read_mempool"),
        (
            Request::Mempool(Box::new(MempoolRequest::SubmitPackage { transactions: Vec::new() })),
            "send_transactions",
        ),
        (Request::Mining(Box::new(MiningRequest::GetBlockTemplate)), "mining_template"),
        (Request::Mining(Box::new(MiningRequest::CheckBlock { raw: Vec::new() })), "mining_template"),
        (Request::Mining(Box::new(MiningRequest::SubmitBlock { raw: Vec::new() })), "submit_block"),
        (
            Request::Network(Box::new(NetworkRequest::QueueReceivedBlockBytes { raw: Vec::new() })),
            "queue_inbound_block",
        ),
        (Request::Network(Box::new(NetworkRequest::GetPeers)), "read_network"),
        (
            Request::Network(Box::new(NetworkRequest::SetBlockServeMaintenanceMode { is_on: true })),
            "network_access",
        ),
    ]
}

#[test]
fn what_a_source_cannot_serve_is_refused_by_its_name_and_what_is_not_permitted_first() {
    with_peer(&Permission::ALL, |peer, _, _| {
        peer.attach();
        for (request, _) in of_each_area() {
            assert_eq!(unsupported(peer, &request), request.name());
        }
    });
    with_peer(&[Permission::SubscribeEvents], |peer, _, _| {
        assert!(matches!(peer.ask(&hello(&[])), Reply::Welcome(_)));
        assert!(matches!(peer.ask(&Request::Mapped), Reply::Attached(_)));
        for (request, permission) in of_each_area() {
            let denied = Refusal::Denied { permission: permission.to_owned() };
            assert_eq!(peer.refusal(&request), denied);
        }
    });
}

#[test]
fn packets_are_sent_only_for_protocols_that_the_manifest_names() {
    with_peer(&Permission::ALL, |peer, _, _| {
        peer.attach();
        let mesh = NetworkRequest::SendMeshPacketToPeer { peer: 1, packet: vec![1] };
        let refused = peer.refusal(&Request::Network(Box::new(mesh)));
        assert_eq!(refused, Refusal::Unnamed { topic: "mesh_packets".to_owned() });
        let payload = |protocol| {
            let payload = vec![1];
            Request::Network(Box::new(NetworkRequest::SendPeerTransportPayload {
                peer: 1,
                protocol,
                payload,
            }))
        };
        let refused = peer.refusal(&payload(PacketProtocol::Mesh));
        assert_eq!(refused, Refusal::Unnamed { topic: "mesh_packets".to_owned() });
        assert_eq!(unsupported(peer, &payload(PacketProtocol::Stratum)), "send_peer_transport_payload");
    });
}

#[test]
fn failures_of_the_node_and_of_a_transaction_are_typed() {
    with_peer(&Permission::ALL, |peer, _, _| {
        peer.attach();
        let Refusal::Node { reason } = peer.refusal(&Request::GetBlock { hash: [1; 32] }) else {
            panic!("another refusal");
        };
        assert!(reason.contains("the disk is gone"));
        let submit = Request::SubmitMempoolTransaction { raw: vec![2] };
        let Refusal::Transaction { rule, message } = peer.refusal(&submit) else { panic!("another refusal") };
        assert_eq!(rule, TransactionRefusal::FeeTooLow);
        assert!(message.contains("2 sat"));
        peer.send_raw(&encode(&Request::GetBlockByHeight { height: 9 }), 20);
        assert_eq!(peer.receive().1, Reply::Refused(Refusal::Deadline { deadline_ms: 20 }));
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
    });
}

#[test]
fn long_answers_left_unread_are_bounded() {
    with_peer(&Permission::ALL, |peer, _, module| {
        peer.attach();
        for _ in 0..12 {
            peer.send_raw(&encode(&Request::GetBlock { hash: [100; 32] }), 0);
        }
        peer.send_raw(&encode(&Request::ReportStatistics(Statistics::default())), 0);
        // Requests are served in order: once the last is, all answers stand unread in the socket.
        while module.statistics().is_none() {
            std::thread::yield_now();
        }
        for answer in 0..12 {
            let reply = peer.receive().1;
            if answer < 8 {
                assert!(matches!(reply, Reply::Block(Some(_))));
            } else {
                assert_eq!(reply, Reply::Refused(Refusal::AnswersHeld { limit: 8 }));
            }
        }
        assert_eq!(peer.receive().1, Reply::Noted);
        assert!(matches!(peer.ask(&Request::GetBlock { hash: [100; 32] }), Reply::Block(Some(_))));
    });
}

#[test]
fn long_answers_that_are_read_and_kept_are_bounded_and_make_room_once_they_are_given_back() {
    with_peer(&Permission::ALL, |peer, _, _| {
        peer.attach();
        let block = || encode(&Request::GetBlock { hash: [100; 32] });
        let mut kept = Vec::new();
        for _ in 0..8 {
            peer.send_raw(&block(), 0);
            let (head, _) = peer.receive_frame();
            assert!(head.is_in_memfd);
            kept.push(peer.descriptors.remove(0));
        }
        // The socket is read: what is kept counts alone.
        assert_eq!(peer.refusal(&Request::GetBlock { hash: [100; 32] }), Refusal::AnswersHeld { limit: 8 });
        // The node is not even asked for what may be long: this block cannot be read.
        assert_eq!(peer.refusal(&Request::GetBlock { hash: [1; 32] }), Refusal::AnswersHeld { limit: 8 });
        // Short answers are free.
        assert!(matches!(peer.ask(&Request::GetChainTip), Reply::ChainTip(_)));
        kept.truncate(7);
        for _ in 0..3 {
            assert!(matches!(peer.ask(&Request::GetBlock { hash: [100; 32] }), Reply::Block(Some(_))));
        }
    });
}

#[test]
fn a_descriptor_sent_to_the_node_ends_the_conversation() {
    with_peer(&Permission::ALL, |peer, _, _| {
        peer.attach();
        // The pair of this test does not refuse descriptors, as before Linux 6.16.
        let null = std::fs::File::open("/dev/null").unwrap();
        // A connection that stays open must fail the test, not hang it.
        peer.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        send_with_descriptors(&peer.socket, &[0], &[null.as_fd()]).unwrap();
        let end = recv_with_descriptors(&peer.socket, &mut [0; 64], &mut Vec::new());
        assert!(matches!(end, Ok(0)), "the node closes the connection and answers nothing: {end:?}");
    });
}

#[test]
fn a_module_beyond_the_table_is_served_without_leases() {
    with_peer(&Permission::ALL, |peer, topics, _| {
        let page = || {
            let offered = OfferedLeasePage::create().unwrap();
            let _module = map_lease_page(offered.descriptor()).unwrap();
            offered.seal().unwrap()
        };
        for _ in 0..2 {
            topics.table.enter(page(), 1).unwrap();
        }
        let Reply::Welcome(welcome) = peer.ask(&hello(&[wish::<Chain>()])) else { panic!("not welcome") };
        assert_eq!((welcome.leases, peer.descriptors.len()), (0, 1));
        assert!(matches!(peer.ask(&Request::Mapped), Reply::Attached(_)));
    });
}

#[test]
fn a_tampered_lease_page_is_refused() {
    with_peer(&Permission::ALL, |peer, topics, _| {
        assert!(matches!(peer.ask(&hello(&[wish::<Chain>()])), Reply::Welcome(_)));
        let seal = nix::fcntl::FcntlArg::F_ADD_SEALS(nix::fcntl::SealFlag::F_SEAL_SEAL);
        nix::fcntl::fcntl(peer.descriptors.last().unwrap(), seal).unwrap();
        assert!(matches!(peer.refusal(&Request::Mapped), Refusal::LeasePage { .. }));
        assert!(topics.table.is_empty());
    });
}
