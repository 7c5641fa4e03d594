//! What a test's node knows: its chain, its mempool, its peers; and the bus on which it tells of them.

use std::collections::{BTreeMap, HashSet};

use blvm_bus::layout::Geometry;
use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, Chain, ChainReorganised, ReorganisationBody,
};
use blvm_bus::message::mempool::{Mempool, TransactionAdded, TransactionRemoved};
use blvm_bus::message::mining::{Mining, TipChanged};
use blvm_bus::message::peers::{PeerConnected, PeerDisconnected};
use blvm_bus::message::{Hash, Kind, Topic};
use blvm_bus::request::{FeeEstimate, LoadedModule, MempoolEntry, NetworkPeer};

use super::bus::{Bus, NoRoom};
use super::chain::{BITS, ScriptedBlock, ScriptedChain};
use super::encoding::parse;
use super::template::ScriptedTemplate;

/// Messages of `mining` that a module reads on attaching rather than have the current ones repeated, as a node's.
const NEAR_MESSAGES: u64 = 16;

pub(crate) struct World {
    /// `None` while the node is down.
    pub(crate) bus: Option<Bus>,
    /// Whether its topics are closed: nobody attaches any more.
    pub(crate) is_shut: bool,
    pub(crate) chain: ScriptedChain,
    /// In the order in which they came.
    pub(crate) mempool: Vec<MempoolEntry>,
    pub(crate) floor_sat_per_kvb: u64,
    pub(crate) estimates: Vec<FeeEstimate>,
    pub(crate) peers: Vec<NetworkPeer>,
    pub(crate) last_peer: u64,
    pub(crate) loaded: Vec<LoadedModule>,
    tip: Option<(u64, TipChanged)>,
    /// Stands until the tip is another one.
    pub(crate) template: Option<(u64, ScriptedTemplate)>,
    pub(crate) last_template: u64,
    geometries: BTreeMap<u32, Geometry>,
}

impl World {
    pub(crate) fn new(geometries: BTreeMap<u32, Geometry>) -> Self {
        let mut world = World {
            bus: None,
            is_shut: false,
            chain: ScriptedChain::new(),
            mempool: Vec::new(),
            floor_sat_per_kvb: 1_000,
            estimates: Vec::new(),
            peers: Vec::new(),
            last_peer: 0,
            loaded: Vec::new(),
            tip: None,
            template: None,
            last_template: 0,
            geometries,
        };
        world.start();
        world
    }

    /// Another life of the node, with the chain of the one before.
    pub(crate) fn start(&mut self) {
        self.bus = Some(Bus::start(self.geometries.clone()));
        self.is_shut = false;
        self.tip = None;
        let tip = self.chain.tip().clone();
        self.tell_tip(&tip);
    }

    /// Whether a module can attach.
    pub(crate) fn is_up(&self) -> bool {
        self.bus.is_some() && !self.is_shut
    }

    #[track_caller]
    pub(crate) fn bus(&mut self) -> &mut Bus {
        self.bus.as_mut().expect("the node is down: restart() it first")
    }

    pub(crate) fn next_sequence<T: Topic>(&mut self) -> u64 {
        self.bus.as_ref().and_then(|bus| bus.used_host(T::NUMBER)).map_or(1, |host| host.next_sequence())
    }

    pub(crate) fn publish<K: Kind>(&mut self, message: &K) -> u64 {
        self.bus().host::<K::Topic>().publish(message)
    }

    /// The first sequence of a topic that counts for a module that attaches now: of `mining` that of the current tip.
    pub(crate) fn start_sequence(&mut self, topic: u32) -> u64 {
        let next = self.bus().any_host(topic).map_or(1, |host| host.next_sequence());
        if topic != Mining::NUMBER {
            return next;
        }
        match self.tip.as_ref().map(|(at, _)| *at) {
            None => next,
            Some(first) if next - first <= NEAR_MESSAGES => first,
            Some(_) => {
                if let Some((_, tip)) = self.tip.take() {
                    self.tip = Some((self.publish(&tip), tip));
                }
                if let Some((_, template)) = self.template.take() {
                    self.tell_template(template);
                }
                next
            }
        }
    }

    /// Tells miners of a tip; a template of the one before does not outlive it.
    pub(crate) fn tell_tip(&mut self, tip: &ScriptedBlock) {
        let message = TipChanged {
            hash: tip.position.hash,
            previous: tip.previous,
            height: tip.position.height,
            header: tip.header(),
            next_bits: Some(BITS),
            next_min_time: self.chain.median_time(tip) + 1,
        };
        self.template = None;
        self.tip = Some((self.publish(&message), message));
    }

    /// Tells miners of a template.
    pub(crate) fn tell_template(&mut self, template: ScriptedTemplate) {
        self.template = Some((self.publish(&template.message()), template));
    }

    /// A block joins, and is told of; without its bytes on the bus unless it `has_body`.
    pub(crate) fn connect(&mut self, block: ScriptedBlock, has_body: bool) {
        let message = BlockConnected {
            hash: block.position.hash,
            previous: block.previous,
            height: block.position.height,
            transactions: block.index.len() as u32,
            raw_bytes: block.raw.len() as u32,
        };
        let host = self.bus().host::<Chain>();
        if has_body {
            host.publish_with_body(&message, &BlockBody { transactions: &block.index, raw: &block.raw });
        } else {
            host.publish_with_body(&message, &NoRoom);
        }
        self.chain.connect(block);
    }

    /// The tip leaves, and is told of.
    pub(crate) fn disconnect(&mut self) -> ScriptedBlock {
        let block = self.chain.disconnect().clone();
        let (hash, height) = (block.position.hash, block.position.height);
        self.publish(&BlockDisconnected { hash, previous: block.previous, height });
        block
    }

    /// A peer has completed its handshake. The number of its connection.
    pub(crate) fn connect_peer(&mut self, address: &str, is_inbound: bool) -> u64 {
        self.last_peer += 1;
        let peer = NetworkPeer {
            id: self.last_peer,
            address: address.to_owned(),
            is_inbound,
            protocol_version: 70_016,
            // NODE_NETWORK and NODE_WITNESS (BIP-0144).
            services: 1 | 1 << 3,
            user_agent: "/test:0.1.0/".to_owned(),
            start_height: self.chain.tip().position.height as i32,
            connected_s: 0,
            received_bytes: 0,
            sent_bytes: 0,
            best_height: self.chain.tip().position.height as i32,
            min_ping_us: None,
            misbehaviour: 0,
        };
        self.publish(&PeerConnected {
            id: peer.id,
            address: peer.address.clone(),
            is_inbound,
            protocol_version: peer.protocol_version,
            services: peer.services,
            user_agent: peer.user_agent.clone(),
            start_height: peer.start_height,
        });
        self.peers.push(peer);
        self.last_peer
    }

    /// A peer is gone; whether it was there.
    pub(crate) fn disconnect_peer(&mut self, id: u64, reason: &str) -> bool {
        let before = self.peers.len();
        self.peers.retain(|peer| peer.id != id);
        let was_there = self.peers.len() < before;
        if was_there {
            self.publish(&PeerDisconnected { id, reason: reason.to_owned() });
        }
        was_there
    }

    pub(crate) fn tell_reorganisation(&mut self, disconnected: &[Hash], connected: &[Hash]) {
        let fork_height = self.chain.tip().position.height - connected.len() as u32;
        let fork_hash = self.chain.active()[fork_height as usize];
        let message = ChainReorganised {
            fork_hash,
            fork_height,
            disconnected: disconnected.len() as u32,
            connected: connected.len() as u32,
        };
        self.bus()
            .host::<Chain>()
            .publish_with_body(&message, &ReorganisationBody { disconnected, connected });
    }

    pub(crate) fn in_mempool(&self, txid: &Hash) -> Option<&MempoolEntry> {
        self.mempool.iter().find(|entry| entry.txid == *txid)
    }

    /// What in the mempool spends what these have, and so on, and these: children before parents, as a node takes them out.
    pub(crate) fn with_descendants(&self, txid: Hash) -> Vec<Hash> {
        let spends = |entry: &MempoolEntry, parent: &Hash| {
            parse(&entry.raw).is_ok_and(|parsed| parsed.inputs.iter().any(|input| input.txid == *parent))
        };
        let mut family = Vec::new();
        // Each with the place among its children that is looked at next.
        let mut path = vec![(txid, self.mempool.iter())];
        let mut seen = HashSet::from([txid]);
        while let Some((parent, rest)) = path.last_mut() {
            let parent = *parent;
            match rest.find(|entry| spends(entry, &parent) && seen.insert(entry.txid)) {
                Some(child) => path.push((child.txid, self.mempool.iter())),
                None => {
                    family.push(parent);
                    path.pop();
                }
            }
        }
        family
    }

    pub(crate) fn add(&mut self, entry: MempoolEntry) {
        let MempoolEntry { txid, wtxid, fee_sat, weight, raw } = entry.clone();
        self.publish(&TransactionAdded { txid, wtxid, fee_sat, weight, raw });
        self.mempool.push(entry);
    }

    /// Takes a transaction out of the mempool and tells why; whether it was there.
    pub(crate) fn remove(&mut self, txid: &Hash, reason: u16, replaced_by: Hash) -> bool {
        let before = self.mempool.len();
        self.mempool.retain(|entry| entry.txid != *txid);
        let was_there = self.mempool.len() < before;
        if was_there {
            self.publish(&TransactionRemoved { txid: *txid, reason, replaced_by });
        }
        was_there
    }

    /// Sequence of the next message of topic `mempool`.
    pub(crate) fn next_of_mempool(&mut self) -> u64 {
        self.next_sequence::<Mempool>()
    }
}
