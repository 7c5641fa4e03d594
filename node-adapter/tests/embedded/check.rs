//! Does `check_block` say of a block what the engine says when the block is offered?
//!
//! Each rule is broken once. The block is judged as it is, with a nonce that meets no target, then mined and offered.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxOut, Txid, Witness, opcodes};
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::{BlockVerdict, MiningError, NodeApi as _, TemplateRequest};

use super::chain::remine;
use super::labelled::labelled_blocks;
use super::mining::{block, coinbase, pay, solve};
use super::wallet::output;
use super::{Fixture, open};

/// A block of the best template, which pays all it may.
fn next_block(fixture: &Fixture) -> Block {
    let template = fixture.node.block_template(&TemplateRequest::BestPaying).unwrap();
    let payout = pay(template.coinbase_value_sat, &fixture.wallet.segwit_script());
    let coinbase = coinbase(&template, &[payout], 1);
    let mut block = block(&template, &coinbase, &solve(&template, &coinbase, true));
    // The commitment second, where `remine` looks for it; already so without other outputs.
    remine(&mut block);
    block
}

/// The rule a verdict names, without what the engine adds for people.
fn word(verdict: &BlockVerdict) -> String {
    match verdict {
        BlockVerdict::Valid | BlockVerdict::Connected => "valid".to_owned(),
        BlockVerdict::Invalid { reason } => reason.split([',', ' ', '(']).next().unwrap().to_owned(),
        other => format!("{other:?}"),
    }
}

/// Judges the block without proof of work, then mines and offers it; answers the rule that both name.
fn both(node: &EmbeddedNode, block: &Block) -> String {
    let mut block = block.clone();
    let meets = |block: &Block| block.header.target().is_met_by(block.block_hash());
    while meets(&block) {
        block.header.nonce += 1;
    }
    let before = node.chain_tip();
    let checked = node.check_block(&serialize(&block)).unwrap();
    assert_eq!(node.chain_tip(), before, "checking changes nothing");
    while !meets(&block) {
        block.header.nonce += 1;
    }
    let checked_with_work = node.check_block(&serialize(&block)).unwrap();
    assert_eq!(checked, checked_with_work);
    let offered = blvm_node_adapter::source::NodeApi::submit_block(node, &serialize(&block)).unwrap();
    assert_eq!(word(&checked), word(&offered), "checked {checked:?}, offered {offered:?}");
    word(&checked)
}

/// Changes the next block, then makes its commitments fit unless told otherwise.
fn broken(fixture: &Fixture, change: impl FnOnce(&mut Block)) -> String {
    let mut block = next_block(fixture);
    change(&mut block);
    remine(&mut block);
    both(&fixture.node, &block)
}

fn broken_as_it_is(fixture: &Fixture, change: impl FnOnce(&mut Block)) -> String {
    let mut block = next_block(fixture);
    change(&mut block);
    block.header.merkle_root = block.compute_merkle_root().unwrap_or(bitcoin::TxMerkleNode::all_zeros());
    both(&fixture.node, &block)
}

fn spend(fixture: &Fixture, height: u32) -> Transaction {
    fixture.wallet.spend(&[fixture.wallet.coinbase(&fixture.node, height)], 2, 1_000)
}

#[test]
fn a_valid_block_is_valid_and_known_once_it_is_there() {
    let fixture = Fixture::at_110();
    let parent = spend(&fixture, 1);
    let child = fixture.wallet.spend(&[output(&parent, 0)], 1, 500);
    // The scripts of one are verified in the mempool, those of the other here.
    fixture.node.submit_transaction(&serialize(&parent)).unwrap();
    let mut block = next_block(&fixture);
    block.txdata.push(child);
    remine(&mut block);
    assert_eq!(both(&fixture.node, &block), "valid");
    let raw = serialize(&block);
    let verdict = fixture.node.check_block(&fixture.node.block_by_height(50).unwrap().unwrap().raw);
    assert_eq!(verdict.unwrap(), BlockVerdict::Known);
    block.header.prev_blockhash = bitcoin::BlockHash::from_byte_array([9; 32]);
    let orphan = fixture.node.check_block(&serialize(&block)).unwrap();
    assert_eq!(orphan, BlockVerdict::Orphan { previous: [9; 32] });
    for bytes in [&raw[..raw.len() - 1], &[&raw[..], &[0]].concat(), b""] {
        assert!(matches!(fixture.node.check_block(bytes), Err(MiningError::Malformed { .. })));
    }
    fixture.node.stop();
    assert!(matches!(fixture.node.check_block(&raw), Err(MiningError::Node(_))));
}

#[test]
fn labelled_blocks_are_judged_as_they_are_taken() {
    let Some(blocks) = labelled_blocks() else {
        println!("skipped: no data");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (node, _follower) = open(directory.path());
    for (label, raw) in &blocks {
        let checked = node.check_block(raw).unwrap();
        let offered = blvm_node_adapter::source::NodeApi::submit_block(&node, raw).unwrap();
        match label.as_str() {
            // Judged apart from its branch, which has most work only with it.
            "fork112" => assert_eq!((checked, offered), (BlockVerdict::SideBranch, BlockVerdict::Connected)),
            _ => assert_eq!(word(&checked), word(&offered), "{label}: {checked:?} {offered:?}"),
        }
        assert!(!matches!(node.check_block(raw).unwrap(), BlockVerdict::Valid), "{label}: it is there now");
    }
}

#[test]
fn each_broken_rule_of_the_header_is_named() {
    let fixture = Fixture::at_110();
    assert_eq!(broken(&fixture, |block| block.header.time = 1_000), "time-too-old");
    assert_eq!(broken(&fixture, |block| block.header.time = u32::MAX), "time-too-new");
    for version in [-1, 1, 2, 3] {
        let word = broken(&fixture, |block| {
            block.header.version = bitcoin::block::Version::from_consensus(version);
        });
        assert_eq!(word, "bad-version");
    }
    let bits = bitcoin::CompactTarget::from_consensus(0x207f_fffe);
    assert_eq!(broken(&fixture, |block| block.header.bits = bits), "bad-diffbits");
}

#[test]
fn each_broken_rule_of_a_block_by_itself_is_named() {
    let fixture = Fixture::at_110();
    let transaction = spend(&fixture, 1);
    let mut block = next_block(&fixture);
    block.header.merkle_root = bitcoin::TxMerkleNode::all_zeros();
    assert_eq!(both(&fixture.node, &block), "bad-txnmrklroot");
    let word = broken_as_it_is(&fixture, |block| {
        block.txdata.push(transaction.clone());
        block.txdata.push(transaction.clone());
        block.txdata.push(transaction.clone());
    });
    assert_eq!(word, "bad-txns-duplicate");
    assert_eq!(broken_as_it_is(&fixture, |block| block.txdata[0] = transaction.clone()), "bad-cb-missing");
    let word = broken_as_it_is(&fixture, |block| {
        let mut second = block.txdata[0].clone();
        second.output.pop();
        block.txdata.push(second);
    });
    assert_eq!(word, "bad-cb-multiple");
    let long = broken_as_it_is(&fixture, |block| {
        let script_pubkey = ScriptBuf::from_bytes(vec![0x51; 1_000_000]);
        block.txdata[0].output.push(TxOut { value: Amount::ZERO, script_pubkey });
    });
    assert_eq!(long, "bad-blk-length");
    let changed = |change: &dyn Fn(&mut Transaction)| {
        let mut transaction = transaction.clone();
        change(&mut transaction);
        broken(&fixture, |block| block.txdata.push(transaction))
    };
    assert_eq!(changed(&|transaction| transaction.output.clear()), "bad-txns-vout-empty");
    let too_much = Amount::from_sat(21_000_000 * 100_000_000 + 1);
    assert_eq!(changed(&|transaction| transaction.output[0].value = too_much), "bad-txns-vout-toolarge");
    let negative = Amount::from_sat(u64::MAX);
    assert_eq!(changed(&|transaction| transaction.output[0].value = negative), "bad-txns-vout-negative");
    let word = changed(&|transaction| {
        transaction.output.iter_mut().for_each(|output| output.value = Amount::MAX_MONEY);
    });
    assert_eq!(word, "bad-txns-txouttotal-toolarge");
    let word = changed(&|transaction| transaction.input.push(transaction.input[0].clone()));
    assert_eq!(word, "bad-txns-inputs-duplicate");
    let word = changed(&|transaction| {
        transaction.input.push(transaction.input[0].clone());
        transaction.input[1].previous_output = OutPoint::null();
    });
    assert_eq!(word, "bad-txns-prevout-null");
    for length in [1, 101] {
        let word = broken(&fixture, |block| {
            block.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![0x51; length]);
        });
        assert_eq!(word, "bad-cb-length");
    }
    let word = broken(&fixture, |block| {
        let script_pubkey = ScriptBuf::from_bytes(vec![opcodes::all::OP_CHECKSIG.to_u8(); 20_001]);
        block.txdata[0].output.push(TxOut { value: Amount::ZERO, script_pubkey });
    });
    assert_eq!(word, "bad-blk-sigops");
}

#[test]
fn each_broken_rule_of_height_times_and_witnesses_is_named() {
    let fixture = Fixture::at_110();
    let locked = |lock_time, sequence| {
        let coin = fixture.wallet.coinbase(&fixture.node, 5);
        let mut transaction = fixture.wallet.unsigned(std::slice::from_ref(&coin), 1, 1_000);
        transaction.lock_time = LockTime::from_consensus(lock_time);
        transaction.input[0].sequence = Sequence::from_consensus(sequence);
        let transaction = fixture.wallet.sign(transaction, &[coin]);
        broken(&fixture, |block| block.txdata.push(transaction))
    };
    assert_eq!(locked(111, 0), "bad-txns-nonfinal");
    assert_eq!(locked(4_000_000_000, 0), "bad-txns-nonfinal");
    // The coin is of height 5, in the block of height 111.
    assert_eq!(locked(0, 107), "bad-txns-nonfinal");
    assert_eq!(locked(0, 1 << 22 | 0xffff), "bad-txns-nonfinal");
    let word = broken(&fixture, |block| {
        block.txdata[0].input[0].script_sig = Builder::new().push_int(110).push_int(7).into_script();
    });
    assert_eq!(word, "bad-cb-height");
    let word =
        broken_as_it_is(&fixture, |block| block.txdata[0].input[0].witness = Witness::from_slice(&[[0; 31]]));
    assert_eq!(word, "bad-witness-nonce-size");
    let two: [&[u8]; 2] = [&[0; 32], &[0; 32]];
    let word =
        broken_as_it_is(&fixture, |block| block.txdata[0].input[0].witness = Witness::from_slice(&two));
    assert_eq!(word, "bad-witness-nonce-size");
    let word =
        broken_as_it_is(&fixture, |block| block.txdata[0].input[0].witness = Witness::from_slice(&[[1; 32]]));
    assert_eq!(word, "bad-witness-merkle-match");
    let word = broken_as_it_is(&fixture, |block| drop(block.txdata[0].output.pop()));
    assert_eq!(word, "unexpected-witness");
    let word = broken(&fixture, |block| {
        // One megabyte of base size and three of witness, and a little.
        let script_pubkey = ScriptBuf::from_bytes(vec![0x51; 900_000]);
        block.txdata[0].output.push(TxOut { value: Amount::ZERO, script_pubkey });
        let mut heavy = spend(&fixture, 1);
        heavy.input[0].witness.push(vec![0; 500_000]);
        block.txdata.push(heavy);
    });
    assert_eq!(word, "bad-blk-weight");
}

#[test]
fn each_broken_rule_of_what_is_spent_and_paid_is_named() {
    let fixture = Fixture::at_110();
    let wallet = &fixture.wallet;
    let with = |transactions: &[Transaction]| {
        broken(&fixture, |block| block.txdata.extend(transactions.iter().cloned()))
    };
    let coin = wallet.coinbase(&fixture.node, 1);
    let missing = (OutPoint::new(Txid::from_byte_array([7; 32]), 0), coin.1.clone());
    assert_eq!(with(&[wallet.spend(&[missing], 1, 1_000)]), "bad-txns-inputs-missingorspent");
    let (first, second) = (wallet.spend(std::slice::from_ref(&coin), 1, 1_000), spend(&fixture, 1));
    assert_eq!(with(&[first.clone(), second]), "bad-txns-inputs-missingorspent");
    let child = wallet.spend(&[output(&first, 0)], 1, 500);
    assert_eq!(with(&[child, first]), "bad-txns-inputs-missingorspent");
    assert_eq!(with(&[spend(&fixture, 12)]), "bad-txns-premature-spend-of-coinbase");
    let mut rich = wallet.unsigned(std::slice::from_ref(&coin), 1, 0);
    rich.output[0].value += Amount::ONE_SAT;
    assert_eq!(with(&[wallet.sign(rich, std::slice::from_ref(&coin))]), "bad-txns-in-belowout");
    let mut unsigned = spend(&fixture, 2);
    let mut witness = unsigned.input[0].witness.to_vec();
    witness[0][10] ^= 1;
    unsigned.input[0].witness = Witness::from_slice(&witness);
    assert_eq!(with(&[unsigned]), "block-script-verify-flag-failed");
    let word =
        broken(&fixture, |block| block.txdata[0].output[0].value = Amount::from_sat(5_000_000_000 + 1));
    assert_eq!(word, "bad-cb-amount");
    // The fee may be taken, and not a satoshi more.
    let fee = |taken: u64| {
        let transaction = spend(&fixture, 1);
        broken(&fixture, |block| {
            block.txdata.push(transaction);
            block.txdata[0].output[0].value += Amount::from_sat(taken);
        })
    };
    assert_eq!(fee(1_001), "bad-cb-amount");
    assert_eq!(fee(1_000), "valid");
    assert_eq!(word_of_a_repeated_coinbase(&fixture), "bad-txns-BIP30");
}

/// A transaction of the chain once more: all its outputs are unspent.
fn word_of_a_repeated_coinbase(fixture: &Fixture) -> String {
    let raw = fixture.node.block_by_height(111).unwrap().unwrap().raw;
    let confirmed: Block = bitcoin::consensus::deserialize(&raw).unwrap();
    broken(fixture, |block| block.txdata.push(confirmed.txdata[1].clone()))
}

#[test]
fn signature_operations_of_what_is_spent_count_too() {
    let fixture = Fixture::at_110();
    // A branch that is never taken: 190 times 20 signatures at the most, each output spent once.
    let script = ScriptBuf::from_bytes(
        [&[0x51, 0x00, 0x63][..], &[opcodes::all::OP_CHECKMULTISIG.to_u8(); 190], &[0x68]].concat(),
    );
    let mut fund = fixture.wallet.unsigned(&[fixture.wallet.coinbase(&fixture.node, 1)], 22, 10_000);
    fund.output.iter_mut().for_each(|output| output.script_pubkey = script.to_p2wsh());
    let fund = fixture.wallet.sign(fund, &[fixture.wallet.coinbase(&fixture.node, 1)]);
    assert_eq!(broken(&fixture, |block| block.txdata.push(fund.clone())), "valid");
    let spend = |count: u32| {
        let coins: Vec<_> = (0..count).map(|vout| output(&fund, vout)).collect();
        let mut spend = fixture.wallet.unsigned(&coins, 1, 10_000);
        spend.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51]);
        let stack: [&[u8]; 1] = [script.as_bytes()];
        spend.input.iter_mut().for_each(|input| input.witness = Witness::from_slice(&stack));
        spend
    };
    assert_eq!(broken(&fixture, |block| block.txdata.push(spend(22))), "bad-blk-sigops");
    assert_eq!(broken(&fixture, |block| block.txdata.push(spend(21))), "valid");
}
