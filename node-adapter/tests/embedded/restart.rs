//! Closing, killing and reopening; directories that are not ours.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::{env, fs, thread};

use bitcoin::consensus::serialize;
use blvm_node_adapter::embedded::{DataDirectoryError, EmbeddedNode, EmbeddedOptions, Network, OpenError};
use blvm_node_adapter::source::NodeApi as _;

use super::wallet::Wallet;
use super::{Fixture, Follower, open, open_with, options};

#[test]
fn a_closed_node_comes_back_with_tip_and_outputs_and_says_nothing_of_the_past() {
    let Fixture { node, follower, wallet, directory } = Fixture::at_110();
    let spend = wallet.spend(&[wallet.coinbase(&node, 1)], 2, 1_000);
    node.submit_transaction(&serialize(&spend)).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    let reorganisation = node.reorganise(1, &wallet.segwit_script()).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    let tip = node.chain_tip();
    drop((node, follower));

    let (node, follower) = open(directory.path());
    assert_eq!(node.chain_tip(), tip);
    assert_eq!(follower.take().len(), 0);
    assert!(node.utxo(&wallet.coinbase(&node, 1).0).is_none());
    assert!(node.utxo(&super::wallet::output(&spend, 1).0).is_some());
    assert!(node.stored_block(&reorganisation.disconnected[0]).unwrap().is_some());
    node.submit_transaction(&serialize(&wallet.spend(&[wallet.coinbase(&node, 2)], 1, 1_000))).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    follower.agrees_with(&node);
}

#[test]
fn directories_of_others_are_refused() {
    let refusal = |options| EmbeddedNode::open(options, Arc::new(Follower::default())).err().unwrap();
    let fixture = Fixture::new();
    let in_use = refusal(options(fixture.directory.path()));
    assert!(matches!(in_use, OpenError::Directory(DataDirectoryError::Locked { .. })), "{in_use}");
    let Fixture { node, directory, .. } = fixture;
    drop(node);
    let signet = refusal(EmbeddedOptions::new(directory.path(), Network::Signet));
    assert!(matches!(signet, OpenError::Directory(DataDirectoryError::OtherNetwork { .. })), "{signet}");
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.tex"), "x").unwrap();
    let refused = refusal(options(foreign.path()));
    assert!(matches!(refused, OpenError::Directory(DataDirectoryError::Foreign { .. })), "{refused}");
    assert!(!refused.to_string().contains('\n'));

    fs::write(directory.path().join("chain/blocks/index/CURRENT"), "nonsense\n").unwrap();
    let broken = refusal(options(directory.path()));
    assert!(matches!(broken, OpenError::Chain(blvm_kernel::OpenError::Engine { .. })), "{broken}");
}

#[test]
fn a_grown_journal_is_flushed_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(directory.path());
    options.journal_bytes = 1_000;
    let follower = Arc::new(Follower::default());
    let node = EmbeddedNode::open(options, follower.clone()).unwrap();
    follower.start_at(&node);
    for _ in 0..10 {
        node.mine_block(&Wallet::new().segwit_script()).unwrap();
        assert!(fs::metadata(directory.path().join("unflushed-blocks")).unwrap().len() < 1_000);
    }
    node.reorganise(3, &Wallet::new().segwit_script()).unwrap();
    follower.agrees_with(&node);
}

const HELPER_DIRECTORY: &str = "BLVM_TEST_HELPER_DIRECTORY";
const STATE_BLOCKS: &str = "BLVM_TEST_HELPER_STATE_BLOCKS";

/// Not a test: the process that `a_killed_node_…` kills. It mines, says its tip and waits for the end.
#[test]
#[ignore = "a helper process, started by the tests that kill it"]
fn helper_process() {
    let Ok(directory) = env::var(HELPER_DIRECTORY) else { return };
    let mut options = options(Path::new(&directory));
    options.state_blocks = env::var(STATE_BLOCKS).unwrap().parse().unwrap();
    let (node, _follower) = open_with(options);
    let wallet = Wallet::new();
    for _ in 0..110 {
        node.mine_block(&wallet.segwit_script()).unwrap();
    }
    node.submit_transaction(&serialize(&wallet.spend(&[wallet.coinbase(&node, 1)], 1, 1_000))).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    node.reorganise(1, &wallet.segwit_script()).unwrap();
    println!("\ntip {:?}", node.chain_tip());
    loop {
        thread::park();
    }
}

/// Runs the helper, which writes its unspent outputs after so many blocks, until it has said its tip, and kills it.
fn mine_and_kill(directory: &Path, state_blocks: u32) -> String {
    let mut helper: Child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "restart::helper_process", "--ignored", "--nocapture"])
        .env(HELPER_DIRECTORY, directory)
        .env(STATE_BLOCKS, state_blocks.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    let tip = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("tip ").map(str::to_owned));
    helper.kill().unwrap();
    helper.wait().unwrap();
    tip.unwrap()
}

#[test]
fn a_killed_node_comes_back_with_the_tip_it_announced() {
    let directory = tempfile::tempdir().unwrap();
    let tip = mine_and_kill(directory.path(), 1_000);
    for _ in 0..2 {
        let (node, follower) = open(directory.path());
        assert_eq!(format!("{:?}", node.chain_tip()), tip);
        assert_eq!((node.chain_tip().height, node.mempool_size()), (112, 1));
        assert_eq!(follower.take().len(), 0);
        assert_eq!(fs::metadata(directory.path().join("unflushed-blocks")).unwrap().len(), 0);
    }
}

/// Twice: with unspent outputs that were never written, and with outputs that are far ahead of the engine.
#[test]
fn without_its_journal_a_killed_node_opens_at_what_the_engine_had_written() {
    for state_blocks in [1_000, 1] {
        let directory = tempfile::tempdir().unwrap();
        mine_and_kill(directory.path(), state_blocks);
        fs::remove_file(directory.path().join("unflushed-blocks")).unwrap();
        let (node, follower) = open(directory.path());
        let height = node.chain_tip().height;
        assert!(height < 112);
        let outputs = node.chain_info().unwrap().unspent_outputs;
        assert_eq!(outputs, Some(u64::from(height)), "a coinbase each, its commitment apart");
        node.mine_block(&Wallet::new().segwit_script()).unwrap();
        follower.agrees_with(&node);
    }
}
