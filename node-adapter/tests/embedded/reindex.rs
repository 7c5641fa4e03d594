//! Everything made anew from the block files.

use std::fs;
use std::sync::Arc;

use bitcoin::consensus::serialize;
use blvm_node_adapter::embedded::{EmbeddedNode, OpenError};
use blvm_node_adapter::source::NodeApi as _;

use super::follower::Follower;
use super::{Fixture, open, open_with, options};

#[test]
fn damaged_databases_are_made_anew_from_the_block_files_also_after_a_kill_in_between() {
    let Fixture { node, follower, wallet, directory } = Fixture::at_110();
    let spend = |height| serialize(&wallet.spend(&[wallet.coinbase(&node, height)], 2, 1_000));
    node.submit_transaction(&spend(1)).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    // The files hold a branch that has left, too.
    node.reorganise(2, &wallet.segwit_script()).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    node.submit_transaction(&spend(2)).unwrap();
    let before = (node.chain_tip(), node.utxo_digest().unwrap(), node.mempool_size());
    drop((node, follower));

    let chain = directory.path().join("chain");
    fs::write(chain.join("chainstate/CURRENT"), "nonsense\n").unwrap();
    fs::write(directory.path().join("state.redb"), "nonsense").unwrap();
    let Err(broken) = EmbeddedNode::open(options(directory.path()), Arc::new(Follower::default())) else {
        panic!("opened with a damaged database");
    };
    assert!(matches!(broken, OpenError::Chain(_)) && broken.to_string().contains("--reindex"), "{broken}");
    let mut reindexing = options(directory.path());
    reindexing.reindexes = true;
    let (node, follower) = open_with(reindexing);
    assert_eq!((node.chain_tip(), node.utxo_digest().unwrap(), node.mempool_size()), before);
    assert_eq!(follower.take().len(), 0, "nothing of it is news");
    drop((node, follower));

    // What a kill leaves: the mark, and databases of which only a part is there.
    fs::write(directory.path().join("reindexing"), "").unwrap();
    fs::remove_dir_all(chain.join("blocks/index")).unwrap();
    let (node, follower) = open(directory.path());
    assert_eq!((node.chain_tip(), node.utxo_digest().unwrap(), node.mempool_size()), before);
    assert!(!directory.path().join("reindexing").exists());
    node.mine_block(&wallet.segwit_script()).unwrap();
    follower.agrees_with(&node);
    drop((node, follower));
    let (node, _) = open(directory.path());
    assert_eq!(node.chain_tip().height, before.0.height + 1, "it is opened as usual again");
}
