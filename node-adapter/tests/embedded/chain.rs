//! Mining, what a connected block says, and answers that do not wait.

use std::sync::mpsc;
use std::thread;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{Block, OutPoint, ScriptBuf, Witness};
use blvm_node_adapter::embedded::{BlockVerdict, EmbeddedNode, InvalidReason, SubmitBlockError};
use blvm_node_adapter::source::{EventSink, NodeApi as _, NodeEvent, RemovalReason, TransactionEntry};

use super::follower::words;
use super::wallet::{Wallet, output};
use super::{Fixture, open, options};

#[test]
fn mining_connects_block_after_block() {
    let fixture = Fixture::new();
    fixture.mine(160);
    let events = fixture.follower.take();
    assert_eq!(events.len(), 160);
    for (event, height) in events.iter().zip(1..) {
        let NodeEvent::BlockConnected(block) = event else { panic!("{event:?}") };
        let decoded: Block = deserialize(&block.raw).unwrap();
        assert_eq!(block.position.height, height);
        // The decoder does not know heights that are a single opcode.
        assert_eq!(decoded.bip34_block_height().ok(), (height > 16).then_some(u64::from(height)));
        assert!(decoded.check_witness_commitment());
        let reward = if height < 150 { 5_000_000_000 } else { 2_500_000_000 };
        assert_eq!(decoded.txdata[0].output[0].value.to_sat(), reward);
        let [coinbase] = &block.transactions[..] else { panic!("{:?}", block.transactions) };
        assert_eq!((coinbase.wtxid, coinbase.fee_sat, coinbase.offset_bytes), ([0; 32], Some(0), 81));
        assert_eq!(coinbase.length_bytes as usize, block.raw.len() - 81);
        let stored = fixture.node.block(&block.position.hash).unwrap().unwrap();
        assert_eq!((stored.height, &stored.raw[..]), (height, &block.raw[..]));
    }
    fixture.follower.agrees_with(&fixture.node);
    assert!(fixture.node.block_by_height(161).unwrap().is_none());
    assert!(fixture.node.block(&[1; 32]).unwrap().is_none());
}

#[test]
fn a_mined_block_holds_the_mempool_and_its_fees() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let (segwit, taproot) = (wallet.coinbase(node, 1), wallet.coinbase(node, 2));
    let parent = wallet.spend(&[segwit, taproot], 2, 10_000);
    let child = wallet.spend(&[output(&parent, 1)], 1, 700);
    for transaction in [&parent, &child] {
        let txid = node.submit_transaction(&serialize(transaction)).unwrap();
        assert_eq!(txid, transaction.compute_txid().to_byte_array());
    }
    follower.agrees_with(node);
    node.mine_block(&wallet.segwit_script()).unwrap();
    let events = follower.take();
    assert_eq!(words(&events), ["added", "added", "C111", "mined", "mined"]);
    let NodeEvent::TransactionAdded(added) = &events[0] else { panic!() };
    assert_eq!(&added.raw[..], serialize(&parent));
    assert_eq!((added.fee_sat, u64::from(added.weight)), (10_000, parent.weight().to_wu()));
    let NodeEvent::BlockConnected(block) = &events[2] else { panic!() };
    let fees: Vec<_> = block.transactions.iter().map(|entry| entry.fee_sat).collect();
    assert_eq!(fees, [Some(0), Some(10_000), Some(700)]);
    let entry = &block.transactions[2];
    let (start, length) = (entry.offset_bytes as usize, entry.length_bytes as usize);
    assert_eq!(&block.raw[start..start + length], serialize(&child));
    let decoded: Block = deserialize(&block.raw).unwrap();
    assert_eq!(decoded.txdata[0].output[0].value.to_sat(), 5_000_010_700);
    let removal = |txid| NodeEvent::TransactionRemoved { txid, reason: RemovalReason::Mined };
    assert_eq!(format!("{:?}", events[3]), format!("{:?}", removal(parent.compute_txid().to_byte_array())));
    assert!(node.utxo(&OutPoint::new(parent.compute_txid(), 1)).is_none());
    let coin = node.utxo(&OutPoint::new(child.compute_txid(), 0)).unwrap();
    assert_eq!((coin.height, coin.is_coinbase, coin.output), (111, false, child.output[0].clone()));
    follower.agrees_with(node);
    node.mine_empty_block(&wallet.segwit_script()).unwrap();
}

/// What was told of the last block.
fn last_block(events: &[NodeEvent]) -> (&[u8], &[TransactionEntry]) {
    let block = |event: &'_ NodeEvent| matches!(event, NodeEvent::BlockConnected(_));
    let Some(NodeEvent::BlockConnected(block)) = events.iter().rfind(|event| block(event)) else {
        panic!("{events:?}")
    };
    (&block.raw, &block.transactions)
}

#[test]
fn a_large_block_which_is_prepared_while_it_is_judged_is_told_as_it_is_whatever_the_mempool_knew() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let (segwit, taproot) = (wallet.coinbase(node, 1), wallet.coinbase(node, 2));
    let parent = wallet.spend(&[segwit, taproot], 2, 10_000);
    let child = wallet.spend(&[output(&parent, 1)], 1, 700);
    for transaction in [&parent, &child] {
        node.submit_transaction(&serialize(transaction)).unwrap();
    }
    let large = ScriptBuf::from_bytes(vec![0x51; 100_000]);
    node.mine_block(&large).unwrap();
    let events = follower.take();
    let (raw, told) = last_block(&events);
    let block: Block = deserialize(raw).unwrap();
    assert!(raw.len() > 100_000 && block.txdata.len() == 3);
    let fees: Vec<_> = told.iter().map(|entry| entry.fee_sat).collect();
    assert_eq!(fees, [Some(0), Some(10_000), Some(700)]);
    for (entry, transaction) in told.iter().zip(&block.txdata) {
        assert_eq!(entry.txid, transaction.compute_txid().to_byte_array());
    }
    follower.agrees_with(node);
    assert_eq!(node.submit_block(raw).unwrap(), BlockVerdict::Duplicate);

    // Another node has none of it in its mempool, refuses the block once, and is opened again.
    let directory = tempfile::tempdir().unwrap();
    {
        let (other, other_follower) = open(directory.path());
        for height in 1..=110 {
            other.submit_block(&node.block_by_height(height).unwrap().unwrap().raw).unwrap();
        }
        let mut greedy = block.clone();
        greedy.txdata[0].output[0].value += bitcoin::Amount::ONE_SAT;
        renew(&mut greedy);
        let verdict = other.submit_block(&serialize(&greedy)).unwrap();
        assert!(matches!(verdict, BlockVerdict::Invalid { .. }), "{verdict:?}");
        assert!(other.submit_block(&raw[..raw.len() - 1]).is_err());
        assert_eq!(other.submit_block(raw).unwrap(), BlockVerdict::Connected);
        let events = other_follower.take();
        assert_eq!(last_block(&events), (raw, told));
        other_follower.agrees_with(&other);
    }
    let (other, _) = open(directory.path());
    assert_eq!(other.chain_tip(), node.chain_tip());
}

/// Makes the header fit the block again.
fn renew(block: &mut Block) {
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while !block.header.target().is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
}

#[test]
fn a_block_is_judged_and_an_invalid_one_says_nothing() {
    let source = Fixture::at_110();
    let Fixture { node, follower, directory: _directory, .. } = &Fixture::new();
    let raw = |height| source.node.block_by_height(height).unwrap().unwrap().raw;
    assert_eq!(node.submit_block(&raw(1)).unwrap(), BlockVerdict::Connected);
    assert_eq!(node.submit_block(&raw(1)).unwrap(), BlockVerdict::Duplicate);
    let missing = node.submit_block(&raw(3)).unwrap();
    assert!(matches!(missing, BlockVerdict::Invalid { reason: InvalidReason::MissingPrevious, .. }));
    assert!(matches!(node.submit_block(b""), Err(SubmitBlockError::Malformed)));
    let long = [raw(2), vec![0]].concat();
    assert!(matches!(node.submit_block(&long), Err(SubmitBlockError::Malformed)));
    let mut mutated: Block = deserialize(&raw(2)).unwrap();
    mutated.txdata[0].output[0].value -= bitcoin::Amount::ONE_SAT;
    let verdict = node.submit_block(&serialize(&mutated)).unwrap();
    assert!(matches!(verdict, BlockVerdict::Invalid { reason: InvalidReason::Mutated, .. }), "{verdict:?}");
    assert_eq!(words(&follower.take()), ["C1"]);
    follower.agrees_with(node);
    node.stop();
    assert!(matches!(node.submit_block(&raw(2)), Err(SubmitBlockError::ShuttingDown)));
}

/// Makes commitments and proof of work fit again after a change.
pub fn remine(block: &mut Block) {
    let root = block.witness_root().unwrap();
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let script = &mut block.txdata[0].output[1].script_pubkey;
    let mut bytes = script.to_bytes();
    bytes[6..].copy_from_slice(commitment.as_byte_array());
    *script = ScriptBuf::from_bytes(bytes);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
}

#[test]
fn a_block_with_one_bad_signature_is_refused_though_the_engine_calls_it_new() {
    let Fixture { node, follower, wallet, directory: _directory } = &Fixture::at_110();
    let spend = wallet.spend(&[wallet.coinbase(node, 1), wallet.coinbase(node, 2)], 1, 1_000);
    node.submit_transaction(&serialize(&spend)).unwrap();
    node.mine_block(&wallet.segwit_script()).unwrap();
    let mut block: Block = deserialize(&node.block_by_height(111).unwrap().unwrap().raw).unwrap();
    node.reorganise(1, &wallet.segwit_script()).unwrap();
    follower.take();
    // On the tip again, with the signature of its second input spoiled.
    block.header.prev_blockhash = bitcoin::BlockHash::from_byte_array(node.chain_tip().hash);
    let height = Builder::new().push_int(113).push_int(7).into_script();
    block.txdata[0].input[0].script_sig = height;
    let mut bad = block.clone();
    let mut signature = bad.txdata[1].input[1].witness.to_vec();
    signature[0][10] ^= 1;
    bad.txdata[1].input[1].witness = Witness::from_slice(&signature);
    remine(&mut bad);
    let tip = node.chain_tip();
    let verdict = node.submit_block(&serialize(&bad)).unwrap();
    let BlockVerdict::Invalid { reason, detail } = verdict else { panic!("{verdict:?}") };
    assert_eq!(reason, InvalidReason::Consensus);
    assert!(detail.as_ref().is_some_and(|detail| detail.contains("script-verify-flag-failed")), "{detail:?}");
    assert_eq!((words(&follower.take()), node.chain_tip()), (vec![], tip));
    remine(&mut block);
    assert_eq!(node.submit_block(&serialize(&block)).unwrap(), BlockVerdict::Connected);
    assert_eq!(words(&follower.take()), ["C113", "mined"]);
    follower.agrees_with(node);
}

/// Keeps which blocks were refused, and why.
#[derive(Default)]
struct Refused(parking_lot::Mutex<Vec<(blvm_node_adapter::source::Hash, String)>>);

impl EventSink for Refused {
    fn event(&self, event: NodeEvent) {
        if let NodeEvent::BlockRejected { hash, reason } = event {
            self.0.lock().push((hash, reason));
        }
    }
}

#[test]
fn a_block_that_breaks_a_rule_is_told_with_the_rule_and_one_without_work_is_not() {
    let source = Fixture::at_110();
    let directory = tempfile::tempdir().unwrap();
    let refused = std::sync::Arc::new(Refused::default());
    let sink = std::sync::Arc::clone(&refused);
    let node = EmbeddedNode::open(options(directory.path()), sink).unwrap();
    let mut block: Block = deserialize(&source.node.block_by_height(1).unwrap().unwrap().raw).unwrap();
    block.txdata[0].output[0].value += bitcoin::Amount::ONE_SAT;
    let verdict = node.submit_block(&serialize(&block)).unwrap();
    assert!(matches!(verdict, BlockVerdict::Invalid { .. }), "{verdict:?}");
    assert!(refused.0.lock().is_empty(), "its header does not name this block");
    remine(&mut block);
    let verdict = node.submit_block(&serialize(&block)).unwrap();
    assert!(matches!(verdict, BlockVerdict::Invalid { .. }), "{verdict:?}");
    let told = std::mem::take(&mut *refused.0.lock());
    let [(hash, reason)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*hash, block.block_hash().to_byte_array());
    assert!(reason.starts_with("bad-cb-amount"), "{reason}");
}

/// Holds up whoever publishes a block until it is told to go on.
struct Stalling {
    entered: mpsc::Sender<()>,
    go_on: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl EventSink for Stalling {
    fn event(&self, event: NodeEvent) {
        if !matches!(event, NodeEvent::BlockConnected(_)) {
            return;
        }
        self.entered.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn tip_and_size_are_answered_while_a_block_is_being_connected() {
    let directory = tempfile::tempdir().unwrap();
    let (entered, has_entered) = mpsc::channel();
    let (go_on, waiting) = mpsc::channel();
    let sink = std::sync::Arc::new(Stalling { entered, go_on: waiting.into() });
    let node = EmbeddedNode::open(options(directory.path()), sink).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| node.mine_block(&Wallet::new().segwit_script()).unwrap());
        has_entered.recv().unwrap();
        assert_eq!((node.chain_tip().height, node.mempool_size()), (1, 0));
        assert_eq!(node.block(&node.chain_tip().hash).unwrap().unwrap().height, 1);
        go_on.send(()).unwrap();
    });
}
