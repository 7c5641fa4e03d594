use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{Sequence, TxIn, Witness};

use super::*;

fn transaction(spends: &[OutPoint], values: &[u64]) -> Transaction {
    let input = spends.iter().map(|&previous_output| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    });
    let output = values.iter().map(|&value| TxOut {
        value: Amount::from_sat(value),
        script_pubkey: ScriptBuf::from_bytes(if value == 0 { vec![0x6a] } else { vec![0x51] }),
    });
    let (input, output) = (input.collect(), output.collect());
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}

/// A place for a block of a test, where only heights matter.
fn at(height: u32) -> ChainPosition {
    ChainPosition { hash: [height as u8; 32], height }
}

/// Connects a block.
fn connect(set: &mut UtxoSet, height: u32, transactions: &[Transaction]) {
    let txids: Vec<Txid> = transactions.iter().map(Transaction::compute_txid).collect();
    set.connect(at(height), transactions.to_vec(), &txids);
}

/// What the set answers of all these.
fn coins(set: &UtxoSet, transactions: &[Transaction]) -> Vec<(Option<Place>, Option<Coin>, Option<Coin>)> {
    let answers = |transaction: &Transaction| {
        let txid = transaction.compute_txid();
        let coin = |vout| set.coin(&OutPoint { txid, vout });
        (set.place(&txid), coin(0), coin(1))
    };
    transactions.iter().map(answers).collect()
}

fn spent(coin: &Coin) -> SpentOutput {
    SpentOutput {
        value_sat: coin.output.value.to_sat(),
        script: coin.output.script_pubkey.to_bytes(),
        height: coin.height,
        is_coinbase: coin.is_coinbase,
    }
}

/// A block that spends `minted` and an output of its own, with its undo data.
fn block(set: &UtxoSet, minted: OutPoint) -> ([Transaction; 3], Vec<Vec<SpentOutput>>) {
    let coinbase = transaction(&[OutPoint::null()], &[51]);
    let parent = transaction(&[minted], &[30, 20]);
    let between = OutPoint::new(parent.compute_txid(), 1);
    let child = transaction(&[between], &[19]);
    let within = Coin { output: parent.output[1].clone(), height: 2, is_coinbase: false };
    let undo = vec![vec![spent(&set.coin(&minted).unwrap())], vec![spent(&within)]];
    ([coinbase, parent, child], undo)
}

#[test]
fn disconnecting_restores_what_was_before_even_for_chains_within_a_block() {
    let mut set = UtxoSet::default();
    let first = transaction(&[OutPoint::null()], &[50, 0]);
    connect(&mut set, 1, std::slice::from_ref(&first));
    let minted = OutPoint::new(first.compute_txid(), 0);
    assert_eq!(set.len(), 1, "an OP_RETURN output is no coin");

    let (block, undo) = block(&set, minted);
    let all = [&block[..], &[first]].concat();
    let before = (coins(&set, &all), set.snapshot().unwrap().digest().unwrap());
    connect(&mut set, 2, &block);
    assert_eq!((set.len(), set.tip()), (3, Some(at(2))));
    assert!(set.coin(&minted).is_none() && set.coin(&OutPoint::new(block[1].compute_txid(), 1)).is_none());
    assert_eq!(set.place(&block[1].compute_txid()), Some(Place { height: 2, index: 1 }));
    assert!(!set.disconnect(at(1), &block, vec![]), "undo data of another block");
    assert!(set.disconnect(at(1), &block, undo));
    assert_eq!((coins(&set, &all), set.snapshot().unwrap().digest().unwrap()), before);
    assert_eq!((set.len(), set.tip()), (1, Some(at(1))));
}

#[test]
fn what_was_written_is_there_after_opening_and_answers_do_not_depend_on_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let open = |blocks| UtxoSet::open(Store::open(&path).unwrap(), blocks).unwrap();
    let mut memory = UtxoSet::default();
    let mut disk = open(1);
    let mut minted = Vec::new();
    for height in 1..=40 {
        let mut transactions = vec![transaction(&[OutPoint::null()], &[u64::from(height), 7])];
        if height % 3 == 0 {
            transactions.push(transaction(&[minted.remove(0)], &[1, 2]));
        }
        for set in [&mut memory, &mut disk] {
            connect(set, height, &transactions);
        }
        minted.push(OutPoint::new(transactions[0].compute_txid(), 1));
        let digest = memory.snapshot().unwrap().digest().unwrap();
        assert_eq!(digest.1, memory.len());
        assert_eq!(disk.snapshot().unwrap().digest().unwrap(), digest, "at height {height}");
        if height % 10 == 0 {
            disk.write_all().unwrap();
            drop(disk);
            // A large number: nothing is written before the next end.
            disk = open(1 + height % 20 * 1_000);
        }
        assert_eq!((disk.len(), disk.tip()), (memory.len(), Some(at(height))));
        for outpoint in &minted {
            assert_eq!(disk.coin(outpoint), memory.coin(outpoint));
            assert_eq!(disk.place(&outpoint.txid), memory.place(&outpoint.txid));
        }
    }
    assert!(!disk.has_failed());
    disk.clear().unwrap();
    assert_eq!((disk.len(), disk.tip(), disk.coin(&minted[0])), (0, None, None));
    drop(disk);
    assert_eq!(open(1).tip(), None);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut set = UtxoSet::open(Store::open(&directory.path().join("state.redb")).unwrap(), 1).unwrap();
    connect(&mut set, 1, &[transaction(&[OutPoint::null()], &[5])]);
    let snapshot = set.snapshot().unwrap();
    let before = snapshot.digest().unwrap();
    connect(&mut set, 2, &[transaction(&[OutPoint::null()], &[6])]);
    set.write_all().unwrap();
    assert_eq!((snapshot.digest().unwrap(), snapshot.tip()), (before, Some(at(1))));
    assert_ne!(set.snapshot().unwrap().digest().unwrap(), before);
}

/// The bytes are documented: here they are put together by hand.
#[test]
fn the_digest_is_over_the_documented_bytes() {
    let mut set = UtxoSet::default();
    let coinbase = transaction(&[OutPoint::null()], &[5, 0, 6]);
    connect(&mut set, 0x0102, std::slice::from_ref(&coinbase));
    let txid = coinbase.compute_txid().to_byte_array();
    let mut bytes = Vec::new();
    for (vout, value) in [(0_u8, 5_u8), (2, 6)] {
        bytes.extend_from_slice(&txid);
        bytes
            .extend_from_slice(&[vout, 0, 0, 0, 2, 1, 0, 0, 1, value, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x51]);
    }
    let expected = bitcoin::hashes::sha256::Hash::hash(&bytes).to_byte_array();
    assert_eq!(set.snapshot().unwrap().digest().unwrap(), (expected, 2));
}

#[test]
fn a_damaged_database_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    assert_eq!(UtxoSet::open(Store::open(&path).unwrap(), 1).unwrap().tip(), None);
}
