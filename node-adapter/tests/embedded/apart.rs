//! Engine and unspent outputs that a kill or a power loss has left at different blocks: put together from directories that
//! were copied while the node was closed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcoin::consensus::serialize;
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::{ChainPosition, Hash, NodeApi as _};

use super::follower::Follower;
use super::{Fixture, open, options};

/// A node's directory at three moments.
struct History {
    directory: tempfile::TempDir,
    /// The active chain at the end, genesis left out.
    blocks: Vec<Vec<u8>>,
    /// A transaction that was mined in the branch that left, and again in the one that stayed.
    txid: Hash,
}

/// Height where the engine stands at `early`.
const EARLY: u32 = 110;

impl History {
    /// `early`: height 110. `branch`: 115, with payments. `late`: the last three blocks of that left for four others, and
    /// more came.
    fn new() -> Self {
        let Fixture { node, wallet, directory: data, .. } = Fixture::at_110();
        let directory = tempfile::tempdir().unwrap();
        let payout = wallet.segwit_script();
        let keep = |node: EmbeddedNode, name: &str| {
            drop(node);
            copy(data.path(), &directory.path().join(name));
            open(data.path()).0
        };
        let node = keep(node, "early");
        let mut txid = [0; 32];
        for height in [1, 3, 5, 7, 9] {
            let spend = wallet.spend(&[wallet.coinbase(&node, height)], 3, 2_000);
            txid = node.submit_transaction(&serialize(&spend)).unwrap();
            node.mine_block(&payout).unwrap();
        }
        let node = keep(node, "branch");
        node.reorganise(3, &payout).unwrap();
        assert_eq!(node.mempool_size(), 3, "they came back");
        node.mine_block(&payout).unwrap();
        node.mine_block(&wallet.taproot_script()).unwrap();
        let blocks = (1..=node.chain_tip().height)
            .map(|height| node.block_by_height(height).unwrap().unwrap().raw)
            .collect();
        drop(keep(node, "late"));
        Self { directory, blocks, txid }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A directory with the engine as it was at one moment and the unspent outputs as they were at another.
    fn joined(&self, engine: &str, state: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        copy(&self.at(engine), directory.path());
        fs::copy(self.at(state).join("state.redb"), directory.path().join("state.redb")).unwrap();
        assert_eq!(fs::metadata(directory.path().join("unflushed-blocks")).unwrap().len(), 0);
        directory
    }

    /// What a node that was fed the first `count` blocks and nothing else holds.
    fn fed(&self, count: u32) -> (ChainPosition, Hash) {
        let directory = tempfile::tempdir().unwrap();
        let (node, _) = open(directory.path());
        feed(&node, &self.blocks[..count as usize]);
        node.utxo_digest().unwrap()
    }

    fn height(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// The node opened in `directory` holds what one holds that was fed so many blocks; then what comes next is fed to it.
    fn opens_at(&self, directory: &Path, height: u32) {
        let follower = Arc::new(Follower::default());
        let node = EmbeddedNode::open(options(directory), follower.clone()).unwrap();
        assert_eq!(node.chain_tip().height, height);
        assert_eq!(node.utxo_digest().unwrap(), self.fed(height));
        let confirmed = || node.transaction_metadata(&self.txid).unwrap().and_then(|found| found.confirmed);
        assert_eq!(
            confirmed().is_some(),
            height == self.height(),
            "the index of transactions is another block's"
        );
        follower.start_at(&node);
        feed(&node, &self.blocks[height as usize..]);
        assert_eq!(node.utxo_digest().unwrap(), self.fed(self.height()));
        assert_eq!(confirmed().unwrap().0.height, 117);
        follower.agrees_with(&node);
        let tip = node.utxo_digest().unwrap();
        drop(node);
        assert_eq!(open(directory).0.utxo_digest().unwrap(), tip);
    }
}

fn feed(node: &EmbeddedNode, blocks: &[Vec<u8>]) {
    for raw in blocks {
        node.submit_block(raw).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn outputs_ahead_of_the_engine_or_behind_it_or_on_another_branch_are_brought_to_its_tip() {
    let history = History::new();
    let height = history.height();
    assert_eq!(height, 118);
    // Ahead, and the engine does not even know the blocks: a power loss took its files and the journal.
    history.opens_at(history.joined("early", "late").path(), EARLY);
    history.opens_at(history.joined("early", "branch").path(), EARLY);
    // Behind: a kill before the state was written.
    history.opens_at(history.joined("late", "early").path(), height);
    // On a branch that the engine has left.
    history.opens_at(history.joined("late", "branch").path(), height);
}

#[test]
fn an_engine_killed_between_its_index_of_blocks_and_its_outputs_agrees_with_the_outputs_ahead_of_it() {
    let history = History::new();
    let directory = history.joined("late", "late");
    // It writes the blocks and their index first. Source: `Chainstate::FlushStateToDisk` in Bitcoin Core's `validation.cpp`.
    let outputs = directory.path().join("chain/chainstate");
    fs::remove_dir_all(&outputs).unwrap();
    copy(&history.at("early").join("chain/chainstate"), &outputs);
    history.opens_at(directory.path(), history.height());
}
