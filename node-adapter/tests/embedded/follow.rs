//! A follower and a view over real sockets and segments, compared with the chain and the mempool themselves: through losses,
//! reorganisations and restarts of either side.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash as _;
use bitcoin::{Block, consensus::deserialize};
use blvm_bus::layout::Geometry;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::module::{ModuleHost, ModuleOptions, PathListener, RequestLimits};
use blvm_node_adapter::source::{EventSink, NodeApi};
use blvm_node_adapter::topics::{Topics, TopicsOptions};
use blvm_sdk::request::{ChainPosition, WatchEvent, WatchItem};
use blvm_sdk::{
    AnyFeed, Chain, ChainFollower, ChainStep, Mempool, MempoolView, Session, TOKEN_NAME, Token, Wait,
};

use crate::wallet::Wallet;

/// Messages of `chain` in the ring: few, so that they are soon overrun.
const DEPTH: u32 = 16;

/// A node with its bus, to attach to by path.
struct Served {
    node: Arc<EmbeddedNode>,
    topics: Arc<Topics>,
    runtime: tokio::runtime::Runtime,
    listener: Option<PathListener>,
    _host: ModuleHost,
}

impl Served {
    fn start(directory: &Path) -> Self {
        let chain = Geometry { depth: DEPTH, slot_bytes: 128, terms: 4, term_bytes: 64 << 10 };
        let topics = Arc::new(Topics::create(TopicsOptions { chain, leases: 1, lease_holders: 2 }).unwrap());
        let sink = Arc::clone(&topics) as Arc<dyn EventSink>;
        let options = EmbeddedOptions::new(directory, Network::Regtest);
        let node = Arc::new(EmbeddedNode::open(options, sink).unwrap());
        let options = ModuleOptions {
            data_directory: directory.join("modules"),
            allow_weak_isolation: true,
            limits: RequestLimits::default(),
        };
        let api = Arc::clone(&node) as Arc<dyn NodeApi>;
        let host = ModuleHost::new(Arc::clone(&topics), api, None, "regtest", options).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async { host.listen(directory) }).unwrap();
        Served { node, topics, runtime, listener: Some(listener), _host: host }
    }

    fn attach(&self, directory: &Path, topics: blvm_sdk::Topics) -> Session {
        let token = Token::read(&directory.join(TOKEN_NAME)).unwrap();
        Session::attach_path(directory, &token, topics, Wait::Park).unwrap()
    }

    fn position(&self, height: u32) -> ChainPosition {
        ChainPosition { hash: self.node.block_by_height(height).unwrap().unwrap().hash, height }
    }

    fn stop(mut self) {
        self.listener = None;
        self.topics.close();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        self.node.close();
    }
}

/// What a module builds from the steps: the hashes of the chain. Believes only what fits.
#[derive(Default)]
struct Built(Vec<[u8; 32]>);

impl Built {
    /// Takes every step there is now.
    fn follow(&mut self, follower: &mut ChainFollower, session: &mut Session) {
        while let Some(step) = follower.next(session.client()).unwrap() {
            match step {
                ChainStep::Connect(found) => {
                    let block: Block = deserialize(found.raw()).unwrap();
                    assert_eq!(block.block_hash().to_byte_array(), found.position.hash);
                    assert_eq!(block.header.prev_blockhash.to_byte_array(), *self.0.last().unwrap());
                    assert_eq!(found.position.height as usize, self.0.len());
                    self.0.push(found.position.hash);
                }
                ChainStep::Disconnect(left) => {
                    assert_eq!(self.0.pop(), Some(left.position.hash));
                    assert_eq!(self.0.last(), Some(&left.previous));
                }
            }
        }
    }

    fn is_the_chain(&self, served: &Served) {
        let heights = 0..=served.node.chain_tip().height;
        assert_eq!(self.0, heights.map(|height| served.position(height).hash).collect::<Vec<_>>());
    }
}

#[test]
fn a_follower_builds_the_chain_itself_through_losses_reorganisations_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let wallet = Wallet::new();
    let payout = wallet.segwit_script();
    let mine = |served: &Served, count: u32| {
        for _ in 0..count {
            served.node.mine_block(&payout).unwrap();
        }
    };
    let served = Served::start(directory.path());
    mine(&served, 5);
    let chain = || blvm_sdk::Topics::new().with::<Chain>();
    let mut session = served.attach(directory.path(), chain());
    let genesis = served.position(0);
    let mut built = Built(vec![genesis.hash]);
    let mut follower = ChainFollower::new(&mut session, genesis).unwrap();
    built.follow(&mut follower, &mut session);
    built.is_the_chain(&served);
    assert_eq!(follower.repairs(), 1);

    // Live, one block at a time, and a reorganisation.
    for _ in 0..3 {
        mine(&served, 1);
        built.follow(&mut follower, &mut session);
    }
    served.node.reorganise(2, &payout).unwrap();
    built.follow(&mut follower, &mut session);
    built.is_the_chain(&served);
    assert_eq!(follower.feed().statistics().missed, 0);

    // Lapped several times over, a reorganisation that nobody saw among it.
    mine(&served, DEPTH * 2);
    served.node.reorganise(6, &payout).unwrap();
    mine(&served, DEPTH);
    built.follow(&mut follower, &mut session);
    built.is_the_chain(&served);
    assert!(follower.feed().statistics().missed > 0, "the ring was not overrun");

    // The module is gone while its tip leaves the chain, and begins where it stood.
    let checkpoint = follower.position();
    drop((follower, session));
    served.node.reorganise(3, &payout).unwrap();
    mine(&served, 2);
    let mut session = served.attach(directory.path(), chain());
    let mut follower = ChainFollower::new(&mut session, checkpoint).unwrap();
    built.follow(&mut follower, &mut session);
    built.is_the_chain(&served);

    // The node is gone, and another life of it goes on.
    mine(&served, 1);
    let checkpoint = follower.position();
    drop((follower, session));
    served.stop();
    let served = Served::start(directory.path());
    mine(&served, 2);
    let mut session = served.attach(directory.path(), chain());
    let mut follower = ChainFollower::new(&mut session, checkpoint).unwrap();
    built.follow(&mut follower, &mut session);
    built.is_the_chain(&served);

    // While the node mines and reorganises on another thread.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            for round in 0..40 {
                mine(&served, 1 + round % 3);
                if round % 5 == 4 {
                    served.node.reorganise(1 + round % 4, &payout).unwrap();
                }
            }
        });
        while !work.is_finished() {
            built.follow(&mut follower, &mut session);
        }
        work.join().unwrap();
    });
    built.follow(&mut follower, &mut session);
    built.is_the_chain(&served);
    drop((follower, session));
    served.stop();
}

#[test]
fn a_view_is_the_mempool_itself_and_a_watch_sees_what_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let wallet = Wallet::new();
    let payout = wallet.segwit_script();
    for _ in 0..110 {
        served.node.mine_block(&payout).unwrap();
    }
    let mut session = served.attach(directory.path(), blvm_sdk::Topics::new().with::<Mempool>());
    let mut view = MempoolView::new(&mut session).unwrap();
    let agree = |view: &mut MempoolView, session: &mut Session| {
        view.update(session.client()).unwrap();
        let found: std::collections::BTreeMap<_, _> =
            view.transactions().values().map(|entry| (entry.txid, entry.raw.clone())).collect();
        let listed = served.node.mempool_transactions();
        let expected = listed.into_iter().map(|entry| (entry.txid, entry.raw.to_vec())).collect();
        assert_eq!(found, expected);
        found.len()
    };
    assert_eq!(agree(&mut view, &mut session), 0);

    let target = bitcoin::ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([7; 20]));
    let script = WatchItem::Script(target.to_bytes());
    assert_eq!(session.client().watch_add(vec![script.clone()]).unwrap(), 1);
    let none = session.client().watch_next(Duration::from_millis(50)).unwrap();
    assert_eq!((none.events.len(), none.loss), (0, None));

    let coins = [wallet.coinbase(&served.node, 1)];
    let mut unsigned = wallet.unsigned(&coins, 1, 1_000);
    unsigned.output[0].script_pubkey = target;
    let payment = wallet.sign(unsigned, &coins);
    let raw = bitcoin::consensus::serialize(&payment);
    let txid = payment.compute_txid().to_byte_array();
    assert_eq!(served.node.submit_transaction(&raw).unwrap(), txid);
    assert_eq!(agree(&mut view, &mut session), 1);
    served.node.mine_block(&payout).unwrap();
    assert_eq!(agree(&mut view, &mut session), 0);
    assert_eq!(view.snapshots(), 1);

    let mut events = Vec::new();
    let start = Instant::now();
    while events.len() < 2 && start.elapsed() < Duration::from_secs(20) {
        events.extend(session.client().watch_next(Duration::from_secs(5)).unwrap().events);
    }
    let [WatchEvent::InMempool(added), WatchEvent::Connected(connected)] = &events[..] else {
        panic!("other events: {events:?}");
    };
    assert_eq!((added.txid, &added.raw, &added.items), (txid, &raw, &vec![script]));
    assert_eq!((connected.block.height, connected.index, &connected.transaction), (111, 1, added));
    drop((view, session));
    served.stop();
}
