//! A block taken apart: its transactions, and where each stands in the raw bytes.

use bitcoin::block::Header;
use bitcoin::consensus::{Decodable, encode};
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::{Transaction, Txid, VarInt};

use crate::source::{Hash, TransactionEntry};

/// A decoded block; `entries` and `transactions` correspond.
#[derive(Debug)]
pub(super) struct IndexedBlock {
    pub(super) header: Header,
    pub(super) transactions: Vec<Transaction>,
    pub(super) entries: Vec<TransactionEntry>,
}

impl IndexedBlock {
    /// Decodes a block in one pass; the entries have no fees yet.
    pub(super) fn decode(raw: &[u8]) -> Result<Self, encode::Error> {
        let mut rest = raw;
        let header = Header::consensus_decode(&mut rest)?;
        let count = VarInt::consensus_decode(&mut rest)?.0;
        // A transaction takes at least 60 bytes; a count beyond that fails below, without the memory.
        let expected = usize::try_from(count).unwrap_or(usize::MAX).min(raw.len() / 60);
        let mut transactions = Vec::with_capacity(expected);
        let mut entries = Vec::with_capacity(expected);
        for _ in 0..count {
            let offset = raw.len() - rest.len();
            let before = rest;
            // The slice is the bound.
            let transaction = Transaction::consensus_decode_from_finite_reader(&mut rest)?;
            entries.push(entry(&transaction, &before[..before.len() - rest.len()], offset)?);
            transactions.push(transaction);
        }
        if !rest.is_empty() {
            return Err(encode::Error::ParseFailed("bytes after the last transaction"));
        }
        Ok(Self { header, transactions, entries })
    }

    /// The ids of its transactions, in order.
    pub(super) fn txids(&self) -> Vec<Txid> {
        self.entries.iter().map(|entry| Txid::from_byte_array(entry.txid)).collect()
    }

    /// Fills in the fees not known yet from the values that each transaction after the coinbase spends, in satoshi;
    /// wrong undo data leaves `None`.
    pub(super) fn set_fees(&mut self, spent: &[Vec<u64>]) {
        let transactions = self.transactions.iter().zip(&mut self.entries);
        let mut spent = spent.iter();
        for (transaction, entry) in transactions {
            if transaction.is_coinbase() {
                entry.fee_sat = Some(0);
            } else if let Some(spent) = spent.next()
                && entry.fee_sat.is_none()
            {
                entry.fee_sat = fee(transaction, spent);
            }
        }
    }
}

/// What a transaction pays that spends outputs of these values, in satoshi.
pub(super) fn fee(transaction: &Transaction, spent_sat: &[u64]) -> Option<u64> {
    if spent_sat.len() != transaction.input.len() {
        return None;
    }
    let inputs = spent_sat.iter().try_fold(0_u64, |sum, value_sat| sum.checked_add(*value_sat))?;
    let outputs =
        transaction.output.iter().try_fold(0_u64, |sum, output| sum.checked_add(output.value.to_sat()))?;
    inputs.checked_sub(outputs)
}

/// The entry of a transaction that was decoded from `raw`, which stands at `offset`.
///
/// Its ids are hashed from the bytes as they stand: encoding them again takes longer than hashing.
fn entry(transaction: &Transaction, raw: &[u8], offset: usize) -> Result<TransactionEntry, encode::Error> {
    let too_large = |_| encode::Error::ParseFailed("block larger than 4 GiB");
    let whole = sha256d::Hash::hash(raw).to_byte_array();
    let (txid, stripped_bytes) = match without_witness(transaction, raw) {
        None => (whole, raw.len()),
        Some(parts) => {
            let mut engine = sha256d::Hash::engine();
            parts.iter().for_each(|part| engine.input(part));
            let txid = sha256d::Hash::from_engine(engine).to_byte_array();
            (txid, parts.iter().map(|part| part.len()).sum())
        }
    };
    let wtxid: Hash = if transaction.is_coinbase() { [0; 32] } else { whole };
    Ok(TransactionEntry {
        txid,
        wtxid,
        offset_bytes: u32::try_from(offset).map_err(too_large)?,
        length_bytes: u32::try_from(raw.len()).map_err(too_large)?,
        weight: u32::try_from(3 * stripped_bytes + raw.len()).unwrap_or(u32::MAX),
        fee_sat: None,
    })
}

/// The parts of a transaction's encoding that its txid commits to; `None` where that is all of it.
///
/// Source: BIP-0144, which puts a marker of 0 and a flag after the version, and the witnesses before the lock time.
fn without_witness<'a>(transaction: &Transaction, raw: &'a [u8]) -> Option<[&'a [u8]; 3]> {
    // Without the marker, this is the number of inputs.
    if raw.get(4) != Some(&0) {
        return None;
    }
    let witness_bytes: usize = transaction.input.iter().map(|input| input.witness.size()).sum();
    let (rest, lock_time) = raw.split_last_chunk::<4>()?;
    let end = rest.len().checked_sub(witness_bytes)?;
    Some([raw.get(..4)?, raw.get(6..end)?, lock_time])
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::{deserialize, serialize};
    use bitcoin::{Block, constants::genesis_block};

    use super::*;

    #[test]
    fn a_real_block_is_indexed_as_an_independent_decode_says() {
        let raw = bitcoin_test_data::blocks::mainnet_702861();
        let indexed = IndexedBlock::decode(raw).unwrap();
        let block: Block = deserialize(raw).unwrap();
        assert_eq!((indexed.header, indexed.entries.len()), (block.header, 2_500));
        assert_eq!(indexed.transactions, block.txdata);
        let mut end = 80 + 3;
        for (entry, transaction) in indexed.entries.iter().zip(&block.txdata) {
            let (offset, length) = (entry.offset_bytes as usize, entry.length_bytes as usize);
            assert_eq!(offset, end);
            end += length;
            assert_eq!(&raw[offset..end], serialize(transaction));
            assert_eq!(entry.txid, transaction.compute_txid().to_byte_array());
            assert_eq!(u64::from(entry.weight), transaction.weight().to_wu());
            if transaction.is_coinbase() {
                assert_eq!(entry.wtxid, [0; 32]);
            } else {
                assert_eq!(entry.wtxid, transaction.compute_wtxid().to_byte_array());
            }
        }
        assert_eq!(end, raw.len());
        let leaves =
            indexed.entries.iter().map(|entry| bitcoin::Wtxid::from_byte_array(entry.wtxid).to_raw_hash());
        let witness_root = bitcoin::merkle_tree::calculate_root(leaves).unwrap();
        assert_eq!(Some(witness_root), block.witness_root().map(|root| root.to_raw_hash()));
    }

    #[test]
    fn bytes_missing_or_left_over_are_refused() {
        let raw = serialize(&genesis_block(bitcoin::Network::Regtest));
        assert_eq!(IndexedBlock::decode(&raw).unwrap().entries[0].offset_bytes, 81);
        assert!(IndexedBlock::decode(&raw[..raw.len() - 1]).is_err());
        assert!(IndexedBlock::decode(&[&raw[..], &[0]].concat()).is_err());
        let mut endless = raw;
        endless.splice(80..81, [0xff; 9]);
        assert!(IndexedBlock::decode(&endless).is_err());
    }

    #[test]
    fn unknown_fees_are_inputs_minus_outputs_and_absent_where_undo_data_does_not_fit() {
        let raw = bitcoin_test_data::blocks::mainnet_702861();
        let mut indexed = IndexedBlock::decode(raw).unwrap();
        let mut spent: Vec<Vec<_>> = indexed.transactions[1..]
            .iter()
            .map(|transaction| {
                let outputs: u64 = transaction.output.iter().map(|output| output.value.to_sat()).sum();
                let mut spent = vec![0; transaction.input.len()];
                spent[0] = outputs + 7;
                spent
            })
            .collect();
        spent[3].push(1);
        indexed.entries[2].fee_sat = Some(8);
        indexed.set_fees(&spent);
        let fees: Vec<_> = indexed.entries.iter().map(|entry| entry.fee_sat).collect();
        assert_eq!(fees[..6], [Some(0), Some(7), Some(8), Some(7), None, Some(7)]);
    }
}
