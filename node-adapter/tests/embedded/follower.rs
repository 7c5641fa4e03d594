//! A sink that believes only what fits: a disconnected block must be the tip, a removed transaction must be there.

use std::collections::HashSet;
use std::sync::Mutex;

use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{block::Header, consensus::deserialize};
use blvm_node_adapter::source::{ChainPosition, EventSink, Hash, NodeApi, NodeEvent, Tip};

#[derive(Default)]
pub struct Follower {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    chain: Vec<Hash>,
    mempool: HashSet<Hash>,
    /// Apart from the events, which say what led there.
    tips: Vec<Tip>,
    events: Vec<NodeEvent>,
    /// What was told of the mempool as a whole.
    told: Vec<NodeEvent>,
    disconnected_since: Vec<Hash>,
    connected_since: Vec<Hash>,
}

impl Seen {
    /// The chain events have led to this tip.
    fn is_at(&self, tip: &Tip) {
        assert_eq!(self.chain.last(), Some(&tip.position.hash), "another tip than was told");
        assert_eq!(self.chain.len(), tip.position.height as usize + 1);
    }

    /// What was told of the chain is complete: only then is anything told of the mempool.
    fn chain_has_followed(&self) {
        self.is_at(self.tips.last().unwrap());
    }
}

impl Follower {
    /// Begins with chain and mempool as the node has them.
    pub fn start_at(&self, node: &impl NodeApi) {
        let heights = 0..=node.chain_tip().height;
        let mempool = node.mempool_transactions();
        let mut seen = self.seen.lock().unwrap();
        seen.mempool = mempool.iter().map(|transaction| transaction.txid).collect();
        seen.chain = heights.map(|height| node.block_by_height(height).unwrap().unwrap().hash).collect();
    }

    /// Answers the events since the last call.
    pub fn take(&self) -> Vec<NodeEvent> {
        let mut seen = self.seen.lock().unwrap();
        seen.connected_since.clear();
        std::mem::take(&mut seen.events)
    }

    /// Answers what was told of the mempool as a whole since the last call.
    pub fn take_told(&self) -> Vec<NodeEvent> {
        std::mem::take(&mut self.seen.lock().unwrap().told)
    }

    /// Answers every tip that was told.
    pub fn tips(&self) -> Vec<Tip> {
        self.seen.lock().unwrap().tips.clone()
    }

    /// Checks that the node knows what was told, and lists parents before children.
    pub fn agrees_with(&self, node: &impl NodeApi) {
        let seen = self.seen.lock().unwrap();
        let tip = ChainPosition { hash: *seen.chain.last().unwrap(), height: seen.chain.len() as u32 - 1 };
        assert_eq!(node.chain_tip(), tip);
        assert_eq!(seen.tips.last().unwrap().position, tip, "the tip was told");
        for (height, hash) in (0..).zip(&seen.chain) {
            assert_eq!(node.block_by_height(height).unwrap().unwrap().hash, *hash);
        }
        let listed = node.mempool_transactions();
        assert_eq!(node.mempool_size(), listed.len());
        let mut before = Vec::new();
        for entry in &listed {
            let transaction: bitcoin::Transaction = deserialize(&entry.raw).unwrap();
            for input in &transaction.input {
                let parent = input.previous_output.txid.to_byte_array();
                assert_eq!(
                    seen.mempool.contains(&parent),
                    before.contains(&parent),
                    "a child before its parent"
                );
            }
            assert_eq!(node.mempool_transaction(&entry.txid).as_ref(), Some(entry));
            before.push(entry.txid);
        }
        let mut told: Vec<Hash> = seen.mempool.iter().copied().collect();
        told.sort_unstable();
        before.sort_unstable();
        assert_eq!(told, before);
    }
}

impl EventSink for Follower {
    fn event(&self, event: NodeEvent) {
        let mut seen = self.seen.lock().unwrap();
        let seen = &mut *seen;
        match &event {
            NodeEvent::TipChanged(tip) => {
                let header: Header = deserialize(&tip.header).unwrap();
                assert_eq!(sha256d::Hash::hash(&tip.header).to_byte_array(), tip.position.hash);
                assert_eq!(header.prev_blockhash.to_byte_array(), tip.previous);
                assert_eq!(tip.next_bits, Some(0x207f_ffff));
                // The first one is told before the follower knows the chain.
                if let Some(last) = seen.tips.last() {
                    assert_ne!(last.position, tip.position, "told twice");
                    seen.is_at(last);
                    assert_ne!(
                        seen.chain.last(),
                        Some(&tip.position.hash),
                        "told after the chain has followed"
                    );
                }
                seen.tips.push(*tip);
                return;
            }
            NodeEvent::BlockConnected(block) => {
                assert_eq!(seen.chain.last(), Some(&block.previous), "connected on another block");
                assert_eq!(seen.chain.len(), block.position.height as usize);
                assert_eq!(sha256d::Hash::hash(&block.raw[..80]).to_byte_array(), block.position.hash);
                seen.chain.push(block.position.hash);
                seen.connected_since.push(block.position.hash);
            }
            NodeEvent::BlockDisconnected { position, previous } => {
                assert_eq!(
                    seen.chain.pop(),
                    Some(position.hash),
                    "disconnected a block that was not the tip"
                );
                assert_eq!(seen.chain.len(), position.height as usize);
                assert_eq!(seen.chain.last(), Some(previous));
                if seen.disconnected_since.is_empty() {
                    seen.connected_since.clear();
                }
                // A branch that turned out invalid is left again.
                if seen.connected_since.pop_if(|last| *last == position.hash).is_none() {
                    seen.disconnected_since.push(position.hash);
                }
            }
            NodeEvent::ChainReorganised { fork, disconnected, connected } => {
                seen.is_at(seen.tips.last().unwrap());
                assert_eq!(disconnected, &std::mem::take(&mut seen.disconnected_since));
                assert_eq!(connected, &std::mem::take(&mut seen.connected_since));
                assert_eq!(seen.chain[fork.height as usize], fork.hash);
            }
            NodeEvent::TransactionAdded(transaction) => {
                seen.chain_has_followed();
                assert!(seen.mempool.insert(transaction.txid), "added twice");
            }
            NodeEvent::TransactionRemoved { txid, .. } => {
                seen.chain_has_followed();
                assert!(seen.mempool.remove(txid), "removed, but never added");
            }
            NodeEvent::PeerConnected(_) | NodeEvent::PeerDisconnected { .. } => {
                panic!("a node without peers says {event:?}")
            }
            NodeEvent::MempoolCleared { transactions } => {
                assert_eq!(std::mem::take(&mut seen.mempool).len() as u64, *transactions);
                seen.told.push(event);
                return;
            }
            NodeEvent::MempoolThresholdExceeded { .. }
            | NodeEvent::FeeRateChanged { .. }
            | NodeEvent::FeeEstimatesChanged { .. } => {
                seen.told.push(event);
                return;
            }
            // Not of chain and mempool's contents.
            _ => return,
        }
        seen.events.push(event);
    }
}

/// What an event is, in one word: `C110`, `D110`, `R`, `added`, or the reason of a removal.
pub fn words(events: &[NodeEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event {
            NodeEvent::BlockConnected(block) => format!("C{}", block.position.height),
            NodeEvent::BlockDisconnected { position, .. } => format!("D{}", position.height),
            NodeEvent::ChainReorganised { .. } => "R".to_owned(),
            NodeEvent::TransactionAdded(_) => "added".to_owned(),
            NodeEvent::TransactionRemoved { reason, .. } => {
                let reason = format!("{reason:?}");
                reason.split(' ').next().unwrap().to_lowercase()
            }
            other => panic!("{other:?}"),
        })
        .collect()
}
