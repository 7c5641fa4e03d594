//! Does the engine, through this interface, keep a chain, say what happened in order, and refuse what it must?
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, CompactTarget, Network as BitcoinNetwork, OutPoint, ScriptBuf, Sequence, Transaction,
    TxIn, TxMerkleNode, TxOut, Witness, transaction,
};
use blvm_kernel::{
    Chain, Change, InvalidReason, Network, OpenError, PreviousOutput, ProcessError, Verdict, VerifyError,
    verify_transaction,
};

const SUBSIDY: Amount = Amount::from_int_btc(50);

fn open(directory: &Path) -> Chain {
    Chain::open(directory, Network::Regtest, 0).unwrap()
}

/// A block of one coinbase; `nonce` makes branches differ.
fn block_on(previous: &Header, height: u32, nonce: i64, reward: Amount) -> Block {
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new().push_int(i64::from(height)).push_int(nonce).into_script(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: reward, script_pubkey: ScriptBuf::from_bytes(vec![0x51]) }],
    };
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: previous.block_hash(),
        merkle_root: TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash()),
        time: previous.time + 1,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = Block { header, txdata: vec![coinbase] };
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

fn branch(length: u32, nonce: i64) -> Vec<Block> {
    let mut previous = genesis_block(BitcoinNetwork::Regtest).header;
    (1..=length)
        .map(|height| {
            let block = block_on(&previous, height, nonce, SUBSIDY);
            previous = block.header;
            block
        })
        .collect()
}

fn hash(block: &Block) -> [u8; 32] {
    block.block_hash().to_byte_array()
}

#[test]
fn a_chain_survives_restart_flush_and_close() {
    let directory = tempfile::tempdir().unwrap();
    let blocks = branch(3, 1);
    {
        let chain = open(directory.path());
        for (block, height) in blocks.iter().zip(1..) {
            let processed = chain.process_block(&serialize(block)).unwrap();
            assert_eq!(processed.verdict, Verdict::Connected);
            let [Change::Connected { position, raw }] = &processed.changes[..] else {
                panic!("{:?}", processed.changes)
            };
            assert_eq!((position.hash, position.height, raw), (hash(block), height, &None));
        }
        assert_eq!(chain.process_block(&serialize(&blocks[2])).unwrap().verdict, Verdict::Duplicate);
        chain.flush().unwrap();
        assert_eq!(chain.tip().hash, hash(&blocks[2]));
    }
    let chain = open(directory.path());
    assert_eq!((chain.tip().hash, chain.tip().height), (hash(&blocks[2]), 3));
    assert_eq!(chain.hash_at(2), Some(hash(&blocks[1])));
    assert_eq!(chain.hash_at(4), None);
    assert_eq!(chain.height_of(&hash(&blocks[1])), Some(2));
    assert_eq!(chain.read_block(&hash(&blocks[0])).unwrap(), Some(serialize(&blocks[0])));
    assert_eq!(chain.read_block(&[7; 32]).unwrap(), None);
    chain.close();
    assert!(matches!(chain.process_block(&serialize(&blocks[0])), Err(ProcessError::Closed)));
    assert_eq!(chain.hash_at(0), None);
}

#[test]
fn a_longer_branch_disconnects_highest_first() {
    let directory = tempfile::tempdir().unwrap();
    let chain = open(directory.path());
    let (old, new) = (branch(2, 1), branch(3, 2));
    for block in &old {
        chain.process_block(&serialize(block)).unwrap();
    }
    for block in &new[..2] {
        let processed = chain.process_block(&serialize(block)).unwrap();
        assert_eq!((processed.verdict, processed.changes.len()), (Verdict::SideBranch, 0));
    }
    let processed = chain.process_block(&serialize(&new[2])).unwrap();
    assert_eq!(processed.verdict, Verdict::Connected);
    let steps: Vec<_> = processed
        .changes
        .iter()
        .map(|change| match change {
            Change::Connected { position, .. } => ('C', position.height, position.hash),
            Change::Disconnected { position, .. } => ('D', position.height, position.hash),
        })
        .collect();
    let wanted = [
        ('D', 2, hash(&old[1])),
        ('D', 1, hash(&old[0])),
        ('C', 1, hash(&new[0])),
        ('C', 2, hash(&new[1])),
        ('C', 3, hash(&new[2])),
    ];
    assert_eq!(steps, wanted);
    assert_eq!(chain.height_of(&hash(&old[1])), None);
    assert_eq!(chain.read_block(&hash(&old[1])).unwrap(), Some(serialize(&old[1])));
    assert_eq!(chain.read_spent(&hash(&old[1])).unwrap(), Some(vec![]));
}

#[test]
fn an_invalid_block_gets_its_reason_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let chain = open(directory.path());
    let genesis = genesis_block(BitcoinNetwork::Regtest).header;
    let greedy = block_on(&genesis, 1, 1, SUBSIDY + Amount::from_sat(1));
    let processed = chain.process_block(&serialize(&greedy)).unwrap();
    assert_eq!(processed.changes, []);
    let Verdict::Invalid { reason, detail } = processed.verdict else { panic!("{:?}", processed.verdict) };
    assert_eq!(reason, InvalidReason::Consensus);
    assert!(detail.as_deref().is_some_and(|words| words.starts_with("bad-cb-amount")), "{detail:?}");

    let again = chain.process_block(&serialize(&greedy)).unwrap().verdict;
    assert!(matches!(again, Verdict::Invalid { reason: InvalidReason::KnownInvalid, .. }), "{again:?}");
    let orphan = branch(2, 3).pop().unwrap();
    let verdict = chain.process_block(&serialize(&orphan)).unwrap().verdict;
    assert!(
        matches!(verdict, Verdict::Invalid { reason: InvalidReason::MissingPrevious, .. }),
        "{verdict:?}"
    );
    assert!(matches!(chain.process_block(b"not a block"), Err(ProcessError::Malformed)));
    let with_more = [serialize(&branch(1, 4)[0]), vec![0]].concat();
    assert!(matches!(chain.process_block(&with_more), Err(ProcessError::Malformed)));
    assert_eq!(chain.tip().height, 0);
}

#[test]
fn a_branch_that_turns_out_invalid_is_left_again() {
    let directory = tempfile::tempdir().unwrap();
    let chain = open(directory.path());
    let old = branch(1, 1);
    chain.process_block(&serialize(&old[0])).unwrap();
    let first = branch(1, 2).remove(0);
    let greedy = block_on(&first.header, 2, 2, SUBSIDY + Amount::from_sat(1));
    assert_eq!(chain.process_block(&serialize(&first)).unwrap().verdict, Verdict::SideBranch);
    let processed = chain.process_block(&serialize(&greedy)).unwrap();
    assert!(matches!(processed.verdict, Verdict::Invalid { reason: InvalidReason::Consensus, .. }));
    let mut height = 1_u32;
    for change in &processed.changes {
        match change {
            Change::Connected { position, .. } => {
                height += 1;
                assert_eq!(position.height, height);
            }
            Change::Disconnected { position, .. } => {
                assert_eq!(position.height, height);
                height -= 1;
            }
        }
    }
    assert_eq!((height, chain.tip().height), (1, 1));
    assert_eq!(chain.tip().hash, hash(&old[0]));
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path());
    let second = Chain::open(directory.path(), Network::Regtest, 0).err().unwrap();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
}

#[test]
fn an_unusable_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"x").unwrap();
    let error = Chain::open(&file, Network::Regtest, 0).err().unwrap();
    assert!(matches!(error, OpenError::Directory { .. }), "{error}");

    drop(open(&directory.path().join("regtest")));
    let error = Chain::open(&directory.path().join("regtest"), Network::Signet, 0).err().unwrap();
    assert!(matches!(error, OpenError::Engine { .. }), "{error}");
}

#[test]
fn scripts_are_verified_with_the_outputs_they_spend() {
    let spend = |script_sig: Vec<u8>| {
        serialize(&Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(bitcoin::Txid::from_byte_array([1; 32]), 0),
                script_sig: ScriptBuf::from_bytes(script_sig),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut { value: Amount::from_sat(1), script_pubkey: ScriptBuf::new() }],
        })
    };
    // OP_2 OP_EQUAL
    let output = PreviousOutput { value_sat: 1, script: &[0x52, 0x87] };
    assert_eq!(verify_transaction(&spend(vec![0x52]), &[output]), Ok(()));
    assert_eq!(verify_transaction(&spend(vec![0x53]), &[output]), Err(VerifyError::Script { input: 0 }));
    let none = verify_transaction(&spend(vec![]), &[]);
    assert_eq!(none, Err(VerifyError::OutputCount { given: 0, needed: 1 }));
    assert_eq!(verify_transaction(b"", &[output]), Err(VerifyError::Malformed));
}
