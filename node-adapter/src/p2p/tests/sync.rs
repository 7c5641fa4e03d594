//! Real nodes that synchronise with each other.

use bitcoin::ScriptBuf;
use tempfile::TempDir;

use super::*;
use crate::embedded::{EmbeddedNode, EmbeddedOptions};
use crate::source::{ChainPosition, NetworkApi as _, NodeApi, SyncState};

/// A real node with its peers.
struct Real {
    node: Arc<EmbeddedNode>,
    events: Arc<Recorder>,
    p2p: P2p,
    // Last: the node closes before its directory goes.
    _directory: TempDir,
}

impl Real {
    async fn start(connect: &[&Real]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let events = Arc::new(Recorder::default());
        let (feed, news) = feed(events.clone());
        let options = EmbeddedOptions::new(directory.path(), crate::embedded::Network::Regtest);
        let node = Arc::new(EmbeddedNode::open(options, Arc::new(feed)).unwrap());
        let options = P2pOptions {
            listen: vec![loopback()],
            connect: connect.iter().map(|other| other.p2p.local_addrs()[0]).collect(),
            redial_first: Duration::from_millis(50),
            block_patience: Duration::from_millis(500),
            headers_patience: Duration::from_millis(500),
            ..P2pOptions::new(Network::Regtest)
        };
        let p2p = P2p::start(options, node.clone(), events.clone(), news).await.unwrap();
        Self { node, events, p2p, _directory: directory }
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
    until(|| second.tip() == first.tip() && second.p2p.sync_status().state == SyncState::Synced).await;
    assert_eq!(second.chain_events(), (1..=120).collect::<Vec<_>>());
    assert_eq!(second.states(), [SyncState::Headers, SyncState::Blocks, SyncState::Synced]);
    assert_eq!(second.p2p.sync_status().header_height, 120);
    assert_eq!(second.p2p.peers(&|| 0).0[0].best_height, 120);

    first.mine(1);
    until(|| second.tip() == first.tip()).await;
    first.node.reorganise(3, &ScriptBuf::new_op_return([8; 4])).unwrap();
    until(|| second.tip() == first.tip()).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_withholds_blocks_is_passed_over() {
    let first = Real::start(&[]).await;
    first.mine(40);
    let second = Real::start(&[]).await;
    // It knows the headers, and never answers for the blocks.
    let (reader, mut writer) = TcpStream::connect(second.p2p.local_addrs()[0]).await.unwrap().into_split();
    let mut reader = FrameReader::new(reader, Magic::REGTEST);
    let mut hello = node::hello(second.p2p.local_addrs()[0]);
    hello.services = bitcoin::p2p::ServiceFlags::NETWORK;
    let side = handshake::Side::Dialled;
    handshake::shake(side, &hello, &Registry::default(), &mut reader, &mut writer).await.unwrap();
    let headers: Vec<bitcoin::block::Header> = (1..=40)
        .map(|height| first.node.header_by_height(height).unwrap().unwrap().raw)
        .map(|raw| bitcoin::consensus::deserialize(&raw).unwrap())
        .collect();
    let frame = message::headers(Magic::REGTEST, &headers);
    writer.write_all(&frame).await.unwrap();
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
