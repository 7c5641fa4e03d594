//! Real nodes that synchronise with each other.

use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{BlockHash, ScriptBuf};
use tempfile::TempDir;

use super::*;
use crate::embedded::{EmbeddedNode, EmbeddedOptions};
use crate::source::{ChainPosition, EventSink, NetworkApi as _, NodeApi, SyncState};

/// A real node with its peers.
struct Real {
    node: Arc<EmbeddedNode>,
    events: Arc<Recorder>,
    p2p: P2p,
}

/// Takes a node's events, and keeps its directory as long as the node: connections that end use it longer than the test.
struct Sink {
    events: Arc<Recorder>,
    _directory: TempDir,
}

impl EventSink for Sink {
    fn event(&self, event: NodeEvent) {
        self.events.event(event);
    }
}

impl Real {
    async fn start(connect: &[&Real]) -> Self {
        Self::with(connect, |_| {}).await
    }

    async fn with(connect: &[&Real], change: impl FnOnce(&mut P2pOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let events = Arc::new(Recorder::default());
        let options = EmbeddedOptions::new(directory.path(), crate::embedded::Network::Regtest);
        let (feed, news) = feed(Arc::new(Sink { events: events.clone(), _directory: directory }));
        let node = Arc::new(EmbeddedNode::open(options, Arc::new(feed)).unwrap());
        let mut options = P2pOptions {
            listen: vec![loopback()],
            connect: connect.iter().map(|other| other.p2p.local_addrs()[0]).collect(),
            redial_first: Duration::from_millis(50),
            block_patience: Duration::from_millis(500),
            headers_patience: Duration::from_millis(500),
            ..P2pOptions::new(Network::Regtest)
        };
        change(&mut options);
        let p2p = P2p::start(options, node.clone(), events.clone(), news).await.unwrap();
        Self { node, events, p2p }
    }

    fn mine(&self, blocks: u32) {
        for _ in 0..blocks {
            self.node.mine_block(&ScriptBuf::new_op_return([7; 4])).unwrap();
        }
    }

    fn tip(&self) -> ChainPosition {
        self.node.chain_tip()
    }

    fn states(&self) -> Vec<SyncState> {
        let state = |event| match event {
            NodeEvent::SyncStateChanged { state, .. } => Some(state),
            _ => None,
        };
        self.events.all().into_iter().filter_map(state).collect()
    }

    /// Heights of connected blocks, and of disconnected ones as negative numbers.
    fn chain_events(&self) -> Vec<i64> {
        let step = |event| match event {
            NodeEvent::BlockConnected(block) => Some(i64::from(block.position.height)),
            NodeEvent::BlockDisconnected { position, .. } => Some(-i64::from(position.height)),
            _ => None,
        };
        self.events.all().into_iter().filter_map(step).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_fetches_the_chain_and_then_hears_of_each_block_and_reorganisation() {
    let first = Real::start(&[]).await;
    first.mine(120);
    let second = Real::start(&[&first]).await;
    // The tip is there before it is told of.
    until(|| second.chain_events().len() == 120 && second.states().last() == Some(&SyncState::Synced)).await;
    assert_eq!(second.chain_events(), (1..=120).collect::<Vec<_>>());
    assert_eq!(second.states(), [SyncState::Headers, SyncState::Blocks, SyncState::Synced]);
    assert_eq!(second.p2p.sync_status().header_height, 120);
    assert_eq!(second.p2p.peers(&|| 0).0[0].best_height, 120);

    first.mine(1);
    until(|| second.tip() == first.tip()).await;
    first.node.reorganise(3, &ScriptBuf::new_op_return([8; 4])).unwrap();
    until(|| second.chain_events().len() == 128).await;
    assert_eq!(second.chain_events()[120..], [121, -121, -120, -119, 119, 120, 121, 122]);
    // Blocks travel against the direction of the dial too.
    second.mine(1);
    until(|| second.tip() == first.tip()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_mined_apart_agree_on_the_chain_with_more_work() {
    let (first, second) = (Real::start(&[]).await, Real::start(&[]).await);
    first.mine(30);
    second.mine(33);
    let third = Real::start(&[&first, &second]).await;
    until(|| third.tip() == second.tip() && first.tip() == second.tip()).await;
    assert_eq!(third.tip().height, 33);
}

/// A peer with blocks to offer, connected to `node`.
async fn scripted_peer(node: &Real) -> RawPeer {
    let address = node.p2p.local_addrs()[0];
    let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut reader = FrameReader::new(reader, Magic::REGTEST);
    let mut hello = node::hello(address);
    hello.services = bitcoin::p2p::ServiceFlags::NETWORK;
    let side = handshake::Side::Dialled;
    handshake::shake(side, &hello, &Registry::default(), &mut reader, &mut writer).await.unwrap();
    RawPeer { reader, writer }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_announced_before_the_last_of_a_peer_hides_none_that_follow() {
    let first = Real::start(&[]).await;
    first.mine(40);
    let second = Real::start(&[]).await;
    let mut peer = scripted_peer(&second).await;
    let header = |height| first.node.header_by_height(height).unwrap().unwrap();
    let headers: Vec<bitcoin::block::Header> =
        (1..=40).map(|height| bitcoin::consensus::deserialize(&header(height).raw).unwrap()).collect();
    peer.writer.write_all(&message::headers(Magic::REGTEST, &headers)).await.unwrap();
    let before = Inventory::Block(BlockHash::from_byte_array(header(39).position.hash));
    peer.writer.write_all(&message::frame(Magic::REGTEST, message::INV, &vec![before])).await.unwrap();
    // Sixteen are asked for at a time: the last ones after the announcement.
    let serve = async {
        while second.tip() != first.tip() {
            let frame = peer.reader.next().await.unwrap().unwrap();
            let Ok(Message::GetData(items)) = Message::decode(&frame) else { continue };
            for item in items {
                let Inventory::WitnessBlock(hash) = item else { continue };
                let block = first.node.block(hash.as_byte_array()).unwrap().unwrap();
                peer.writer
                    .write_all(&wire::encode(Magic::REGTEST, message::BLOCK, &block.raw))
                    .await
                    .unwrap();
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = until(|| second.tip() == first.tip()) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_withholds_blocks_is_passed_over() {
    let first = Real::start(&[]).await;
    first.mine(40);
    let second = Real::start(&[]).await;
    // It knows the headers, and never answers for the blocks.
    let mut peer = scripted_peer(&second).await;
    let headers: Vec<bitcoin::block::Header> = (1..=40)
        .map(|height| first.node.header_by_height(height).unwrap().unwrap().raw)
        .map(|raw| bitcoin::consensus::deserialize(&raw).unwrap())
        .collect();
    let frame = message::headers(Magic::REGTEST, &headers);
    peer.writer.write_all(&frame).await.unwrap();
    until(|| second.p2p.sync_status().state == SyncState::Blocks).await;
    assert_eq!((second.tip().height, second.p2p.sync_status().header_height), (0, 40));
    // Once somebody else could send them, the first one is in the way.
    let _third = Real::start(&[&first, &second]).await;
    until(|| second.tip() == first.tip()).await;
    let reasons = second.events.all().into_iter().filter_map(|event| match event {
        NodeEvent::PeerDisconnected { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["a block it was asked for did not come for 500 ms"]);
}

/// A chain of headers on regtest's genesis; another one for each `salt`.
fn header_chain(length: usize, salt: u32) -> Vec<bitcoin::block::Header> {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest).header;
    let mut chain: Vec<bitcoin::block::Header> = Vec::new();
    for _ in 0..length {
        let previous = chain.last().unwrap_or(&genesis);
        let mut header = *previous;
        header.version = bitcoin::block::Version::NO_SOFT_FORK_SIGNALLING;
        header.prev_blockhash = previous.block_hash();
        header.time += 1 + if chain.is_empty() { salt } else { 0 };
        while header.validate_pow(header.target()).is_err() {
            header.nonce = header.nonce.wrapping_add(1);
        }
        chain.push(header);
    }
    chain
}

/// A peer that offers headers and never a block.
struct Teller {
    peer: RawPeer,
    /// Requests for headers so far: the place in its chain that each began at.
    asked: Vec<usize>,
}

impl Real {
    /// A peer that has blocks, its handshake complete.
    async fn peer(&self) -> RawPeer {
        let mut peer = RawPeer::connect(self.p2p.local_addrs()[0]).await;
        let mut hello = node::hello(self.p2p.local_addrs()[0]);
        hello.services = bitcoin::p2p::ServiceFlags::NETWORK;
        let side = handshake::Side::Dialled;
        handshake::shake(side, &hello, &Registry::default(), &mut peer.reader, &mut peer.writer)
            .await
            .unwrap();
        peer
    }
}

impl Teller {
    async fn join(node: &Real) -> Self {
        Self { peer: node.peer().await, asked: Vec::new() }
    }

    /// Answers requests for headers from `chain`, until an answer is the last it has.
    async fn tell(&mut self, chain: &[bitcoin::block::Header]) {
        loop {
            let (_, heard) = self.peer.receive().await;
            let Message::GetHeaders(request) = heard else { continue };
            let knows = |hash| chain.iter().position(|header| header.block_hash() == hash);
            let from = request.locator_hashes.into_iter().find_map(knows).map_or(0, |index| index + 1);
            self.asked.push(from);
            let answer = &chain[from..chain.len().min(from + message::MAX_HEADERS)];
            self.peer.send_bytes(&message::headers(Magic::REGTEST, answer)).await;
            if answer.len() < message::MAX_HEADERS {
                return;
            }
        }
    }

    /// Waits until the node has dealt with all that was said.
    async fn barrier(&mut self, node: &Real) {
        // Synchronisation takes it up after the session: a state that changes says when.
        until(|| node.p2p.sync_status().state != SyncState::Headers).await;
        self.peer.send(message::PING, &[7; 8]).await;
        while self.peer.receive().await.0 != message::PONG {}
    }
}

fn best_header(node: &Real) -> u32 {
    node.node.best_header().unwrap().height
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_kept_once_their_chain_has_shown_its_work_and_only_those_that_showed_it() {
    // 4,500 blocks; two hashes each on regtest.
    let mut work = [0; 32];
    work[30..].copy_from_slice(&(2 * 4_500_u16).to_be_bytes());
    let work = bitcoin::pow::Work::from_be_bytes(work);
    let start = async || Real::with(&[], |options| options.minimum_work = work).await;

    let node = start().await;
    let mut peer = Teller::join(&node).await;
    peer.tell(&header_chain(4_400, 0)).await;
    peer.barrier(&node).await;
    assert_eq!((peer.asked, best_header(&node)), (vec![0, 2_000, 4_000], 0));
    assert_eq!(node.p2p.peers(&|| 0).0[0].misbehaviour, 0, "it may be young");

    // The next one has enough, and is asked for all of it again.
    let chain = header_chain(4_600, 1);
    let mut peer = Teller::join(&node).await;
    peer.tell(&chain).await;
    assert_eq!(best_header(&node), 0);
    peer.tell(&chain).await;
    until(|| best_header(&node) == 4_600).await;
    assert_eq!(peer.asked, [0, 2_000, 4_000, 0, 2_000, 4_000]);

    // This one has another chain the second time.
    let node = start().await;
    let mut peer = Teller::join(&node).await;
    peer.tell(&chain).await;
    peer.tell(&header_chain(1_999, 2)).await;
    peer.barrier(&node).await;
    assert_eq!((peer.asked, best_header(&node)), (vec![0, 2_000, 4_000, 0], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_leaves_the_chain_long_ago_is_kept_only_with_more_work() {
    let node = Real::start(&[]).await;
    node.mine(300);
    let is_known = |header: &bitcoin::block::Header| {
        use bitcoin::hashes::Hash as _;
        node.node.header(&header.block_hash().to_byte_array()).unwrap().is_some()
    };
    // As much as the chain has up to 144 blocks before its end: 156.
    for (length, is_kept) in [(155, false), (156, true), (301, true)] {
        let mut peer = Teller::join(&node).await;
        let chain = header_chain(length, length as u32);
        peer.peer.send_bytes(&message::headers(Magic::REGTEST, &chain)).await;
        if is_kept {
            until(|| is_known(chain.last().unwrap())).await;
        } else {
            peer.barrier(&node).await;
            // What it says next is taken up after what it said first.
            peer.peer.send_bytes(&message::headers(Magic::REGTEST, &header_chain(200, 9_999))).await;
            until(|| is_known(header_chain(200, 9_999).last().unwrap())).await;
            assert!(!is_known(&chain[0]));
        }
    }
    assert!(node.p2p.peers(&|| 0).0.iter().all(|peer| peer.misbehaviour == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_no_block_of_one_branch_is_asked_again_when_another_is_best() {
    let node = Real::with(&[], |options| {
        // Nothing happens because time passes.
        (options.headers_patience, options.block_patience) = (10 * PATIENCE, 10 * PATIENCE);
    })
    .await;
    let chain = header_chain(21, 0);
    let (mut first, mut second) = (Teller::join(&node).await, Teller::join(&node).await);
    first.peer.send_bytes(&message::headers(Magic::REGTEST, &chain[..20])).await;
    let asked = first.asked_blocks().await;
    assert_eq!(asked.len(), 16);
    first.peer.send(message::NOT_FOUND, &bitcoin::consensus::serialize(&asked)).await;
    first.peer.send(message::PING, &[7; 8]).await;
    while first.peer.receive().await.0 != message::PONG {}
    second.peer.send_bytes(&message::headers(Magic::REGTEST, &chain)).await;
    // Which of the two has the earlier ones to send is not said.
    assert!(!first.asked_blocks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tip_is_told_by_its_header_only_where_the_one_before_it_was() {
    let node = Real::start(&[]).await;
    node.mine(20);
    let mut peer = node.peer().await;
    peer.send(message::SEND_HEADERS, &[]).await;
    peer.send(message::PING, &[7; 8]).await;
    while peer.receive().await.0 != message::PONG {}
    // Too far to be told by headers, and so again: the hash of the last one leads nowhere.
    for _ in 0..2 {
        node.mine(1);
        assert_eq!(peer.hears_of(&node).await, 0);
    }
    let genesis = bitcoin::constants::genesis_block(Network::Regtest).block_hash();
    let request = bitcoin::p2p::message_blockdata::GetHeadersMessage::new(
        vec![genesis],
        bitcoin::hashes::Hash::all_zeros(),
    );
    peer.send(message::GET_HEADERS, &bitcoin::consensus::serialize(&request)).await;
    assert_eq!(peer.hears_of(&node).await, 22);
    node.mine(1);
    assert_eq!(peer.hears_of(&node).await, 1);
}

impl RawPeer {
    /// Waits until it is told of the node's tip; answers by how many headers.
    async fn hears_of(&mut self, node: &Real) -> usize {
        use bitcoin::hashes::Hash as _;
        let tip = BlockHash::from_byte_array(node.tip().hash);
        loop {
            match self.receive().await.1 {
                Message::Inv(items) if items.contains(&Inventory::Block(tip)) => return 0,
                Message::Headers(headers) if headers.last().is_some_and(|last| last.block_hash() == tip) => {
                    return headers.len();
                }
                _ => {}
            }
        }
    }
}

impl Teller {
    /// The blocks it is asked for next.
    async fn asked_blocks(&mut self) -> Vec<Inventory> {
        loop {
            if let Message::GetData(items) = self.peer.receive().await.1 {
                return items;
            }
        }
    }
}
