//! What is done with a block while the engine judges it, on a thread of its own: taken apart, hashed, and priced as far
//! as mempool and unspent outputs know what it spends.
//!
//! None of it depends on the verdict: ids follow from a transaction's bytes, and so does a fee, with the bytes of the
//! transactions whose outputs it spends, whose ids it names. What is refused was prepared in vain.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::consensus::encode;
use bitcoin::{OutPoint, Transaction, Txid};

use super::index::{IndexedBlock, fee};
use super::mempool::Mempool;
use super::utxo::UtxoSet;

/// From here on a thread is started sooner than the block is prepared, in bytes.
pub(super) const WORTH_A_THREAD_BYTES: usize = 32 << 10;

/// Unspent outputs looked up for one block. The engine's undo data has all of them at once; but it must be read after
/// the verdict, where everybody waits.
const MOST_LOOKED_UP: usize = 512;

/// A block, ready to be told and followed.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) raw: Arc<[u8]>,
    pub(super) block: IndexedBlock,
    /// Ids of its transactions, in order.
    pub(super) txids: Vec<Txid>,
}

impl Prepared {
    /// Prepares the block `raw`.
    pub(super) fn new(raw: &[u8], mempool: &Mempool, utxo: &UtxoSet) -> Result<Self, encode::Error> {
        let mut block = IndexedBlock::decode(raw)?;
        let txids = block.txids();
        price(&mut block, &txids, mempool, utxo);
        Ok(Self { raw: raw.into(), block, txids })
    }

    /// Whether fees are still to be found.
    pub(super) fn needs_fees(&self) -> bool {
        self.block.entries.iter().any(|entry| entry.fee_sat.is_none())
    }
}

/// Fills in the fees that are known here.
fn price(block: &mut IndexedBlock, txids: &[Txid], mempool: &Mempool, utxo: &UtxoSet) {
    let transactions = &block.transactions;
    let places = OnceCell::new();
    let own_value_sat = |outpoint: &OutPoint| {
        let places =
            places.get_or_init(|| txids.iter().copied().zip(transactions).collect::<HashMap<_, _>>());
        value_of(places.get(&outpoint.txid)?, outpoint)
    };
    let value_sat = |outpoint: &OutPoint| {
        let in_mempool = mempool.output(outpoint).map(|output| output.value.to_sat());
        in_mempool
            .or_else(|| own_value_sat(outpoint))
            .or_else(|| utxo.coin(outpoint).map(|coin| coin.output.value.to_sat()))
    };
    let mut looked_up = 0;
    for ((transaction, txid), entry) in transactions.iter().zip(txids).zip(&mut block.entries) {
        if transaction.is_coinbase() {
            entry.fee_sat = Some(0);
        } else if let Some(known) = mempool.entry(txid) {
            entry.fee_sat = Some(known.fee_sat);
        } else {
            looked_up += transaction.input.len();
            if looked_up > MOST_LOOKED_UP {
                return;
            }
            let spent = transaction.input.iter().map(|input| value_sat(&input.previous_output));
            entry.fee_sat =
                spent.collect::<Option<Vec<u64>>>().and_then(|spent_sat| fee(transaction, &spent_sat));
        }
    }
}

fn value_of(transaction: &Transaction, outpoint: &OutPoint) -> Option<u64> {
    let output = transaction.output.get(usize::try_from(outpoint.vout).ok()?)?;
    Some(output.value.to_sat())
}

#[cfg(test)]
mod tests {
    use bitcoin::block::{Header, Version};
    use bitcoin::consensus::serialize;
    use bitcoin::hashes::Hash as _;
    use bitcoin::{Block, BlockHash, CompactTarget, TxMerkleNode};

    use super::super::mempool::tests::{coin, entry};
    use super::*;
    use crate::source::ChainPosition;

    fn block(txdata: Vec<Transaction>) -> Vec<u8> {
        let header = Header {
            version: Version::ONE,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: 0,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        serialize(&Block { header, txdata })
    }

    #[test]
    fn fees_come_from_the_mempool_the_block_itself_and_the_chain_and_what_nobody_knows_stays_open() {
        let coinbase = entry(&[OutPoint::null()], 2, 0).transaction;
        // Each output of these entries has one satoshi.
        let confirmed = entry(&[coin(1)], 9, 0).transaction;
        let mut utxo = UtxoSet::default();
        let position = ChainPosition { hash: [1; 32], height: 1 };
        utxo.connect(position, vec![confirmed.clone()], &[confirmed.compute_txid()]);
        let mut mempool = Mempool::new(u64::MAX);
        let known = entry(&[coin(2)], 4, 1_234);
        mempool.insert(known.clone());
        let at = |transaction: &Transaction, vout| OutPoint::new(transaction.compute_txid(), vout);
        let spends = |outpoints: &[OutPoint], outputs| entry(outpoints, outputs, 0).transaction;
        let of_chain = spends(&[at(&confirmed, 0), at(&confirmed, 1)], 1);
        let of_mempool = spends(&[at(&known.transaction, 0), at(&known.transaction, 3)], 0);
        let of_block = spends(&[at(&of_chain, 0), at(&confirmed, 2), at(&confirmed, 3)], 1);
        let of_nobody = spends(&[at(&confirmed, 4), coin(3)], 1);
        let beyond = spends(&[at(&confirmed, 9)], 0);
        let overspent = spends(&[at(&confirmed, 5)], 3);
        let raw = block(vec![
            coinbase,
            known.transaction,
            of_chain,
            of_mempool,
            of_block,
            of_nobody,
            beyond,
            overspent,
        ]);
        let prepared = Prepared::new(&raw, &mempool, &utxo).unwrap();
        let fees: Vec<_> = prepared.block.entries.iter().map(|entry| entry.fee_sat).collect();
        assert_eq!(fees, [Some(0), Some(1_234), Some(1), Some(2), Some(2), None, None, None]);
        assert!(prepared.needs_fees());
        assert_eq!(*prepared.raw, *raw);
    }

    #[test]
    fn few_outputs_are_looked_up_for_one_block() {
        let confirmed = entry(&[coin(1)], MOST_LOOKED_UP as u64 + 1, 0).transaction;
        let txid = confirmed.compute_txid();
        let mut utxo = UtxoSet::default();
        utxo.connect(ChainPosition { hash: [1; 32], height: 1 }, vec![confirmed], &[txid]);
        let inputs: Vec<_> = (0..=MOST_LOOKED_UP as u32).map(|vout| OutPoint::new(txid, vout)).collect();
        let transactions = inputs.iter().map(|outpoint| entry(&[*outpoint], 0, 0).transaction);
        let raw = block(transactions.collect());
        let prepared = Prepared::new(&raw, &Mempool::new(u64::MAX), &utxo).unwrap();
        let known = prepared.block.entries.iter().filter(|entry| entry.fee_sat == Some(1)).count();
        assert_eq!((known, inputs.len()), (MOST_LOOKED_UP, MOST_LOOKED_UP + 1));
    }
}
