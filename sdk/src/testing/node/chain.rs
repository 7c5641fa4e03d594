//! What happens to the chain of a test's node.

use std::collections::HashSet;

use blvm_bus::message::chain::{Chain, FEE_UNKNOWN};
use blvm_bus::message::mining::Mining;
use blvm_bus::message::{Hash, Topic};
use blvm_bus::request::{Block, ChainPosition, MempoolEntry, Outpoint};

use super::{Inner, TestNode};
use crate::testing::answers::Removal;
use crate::testing::chain::{ScriptedBlock, ScriptedChain};
use crate::testing::encoding::Parsed;
use crate::testing::transaction::Transaction;

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
            let fee = |parsed: &Parsed| world.in_mempool(&parsed.txid).map(|entry| entry.fee_sat);
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

    /// So many blocks leave the chain, and one more than that join. What was in those that left is in the mempool again, but for what
    /// spends their coinbases. The tip then.
    ///
    /// # Panics
    ///
    /// If it goes back beyond genesis.
    pub fn reorganise(&self, depth: u32) -> ChainPosition {
        let empty: [Transaction; 0] = [];
        self.reorganise_with(depth, (0..=depth).map(|_| &empty[..]))
    }

    /// So many blocks leave the chain, and blocks with these transactions join, the lowest first: more than leave. What was in those
    /// that left is in the mempool again, unless the new blocks spend the same, or its fee is not known.
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

impl Inner {
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
        // What left comes back, the lowest block first, unless the new chain conflicts with it or with what it spends.
        let spent: HashSet<Outpoint> = made
            .iter()
            .flat_map(|block| &block.transactions)
            .flat_map(|transaction| transaction.inputs.iter().cloned())
            .collect();
        // The outputs of the coinbases of the blocks that left are gone too.
        let mut gone: HashSet<Hash> =
            left.iter().filter_map(|block| Some(block.index.first()?.txid)).collect();
        for block in left.iter().rev() {
            for (index, entry) in block.index.iter().enumerate().skip(1) {
                let is_mined =
                    made.iter().any(|block| block.index.iter().any(|mined| mined.txid == entry.txid));
                let inputs = &block.transactions[index].inputs;
                if !is_mined && inputs.iter().any(|input| spent.contains(input) || gone.contains(&input.txid))
                {
                    gone.insert(entry.txid);
                    continue;
                }
                // What nobody knows the fee of cannot be told of.
                let is_known = entry.fee_sat != FEE_UNKNOWN;
                if !is_mined && is_known && self.world().in_mempool(&entry.txid).is_none() {
                    let raw = block.transaction_bytes(index).to_vec();
                    let (txid, wtxid, fee_sat, weight) =
                        (entry.txid, entry.wtxid, entry.fee_sat, entry.weight);
                    self.add_entry(MempoolEntry { txid, wtxid, fee_sat, weight, raw });
                }
            }
        }
        // What waited for something that is gone goes with it.
        for parent in gone {
            let (reason, replaced_by) = Removal::Conflict.reason();
            let family = self.world().with_descendants(parent);
            family.iter().for_each(|txid| _ = self.remove_entry(txid, reason, replaced_by));
        }
    }
}
