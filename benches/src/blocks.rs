//! Loads: a real block, whole or cut, with the index that travels along.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, VarInt};
use blvm_bus::message::chain::{BlockBody, BlockConnected, BlockTransaction, FEE_UNKNOWN};

/// Length of a block's header in consensus encoding.
const HEADER_BYTES: usize = 80;

/// A block as a node publishes it.
#[derive(Debug, Clone)]
pub struct Load {
    /// Its summary.
    pub connected: BlockConnected,
    /// One entry per transaction.
    pub transactions: Vec<BlockTransaction>,
    /// The block in consensus encoding.
    pub raw: Vec<u8>,
}

impl Load {
    /// Block 702861 of the main chain, 1.38 MB.
    ///
    /// # Panics
    ///
    /// If crate `bitcoin-test-data` holds something else.
    pub fn block_702861() -> Self {
        Load::of(&deserialize(bitcoin_test_data::blocks::mainnet_702861()).expect("a real block"))
    }

    /// The first `count` transactions of block 702861: as real as the block, but no valid block.
    ///
    /// # Panics
    ///
    /// If the block has fewer.
    pub fn cut_to_transactions(count: usize) -> Self {
        let mut block: Block =
            deserialize(bitcoin_test_data::blocks::mainnet_702861()).expect("a real block");
        assert!(count <= block.txdata.len(), "the block has {} transactions", block.txdata.len());
        block.txdata.truncate(count);
        Load::of(&block)
    }

    /// The longest cut whose raw block has at most `raw_bytes` bytes.
    ///
    /// # Panics
    ///
    /// If not even the coinbase fits.
    pub fn cut_to_bytes(raw_bytes: usize) -> Self {
        let whole = Load::block_702861();
        let ends = whole.transactions.iter().map(|entry| (entry.offset_bytes + entry.length_bytes) as usize);
        Load::cut_to_transactions(ends.take_while(|end| *end <= raw_bytes).count())
    }

    /// The body that carries it.
    pub fn body(&self) -> BlockBody<'_> {
        BlockBody { transactions: &self.transactions, raw: &self.raw }
    }

    fn of(block: &Block) -> Self {
        let raw = serialize(block);
        let mut offset_bytes = HEADER_BYTES + VarInt::from(block.txdata.len()).size();
        let mut transactions = Vec::with_capacity(block.txdata.len());
        for transaction in &block.txdata {
            let length_bytes = transaction.total_size();
            let is_coinbase = transaction.is_coinbase();
            let wtxid = transaction.compute_wtxid().to_byte_array();
            transactions.push(BlockTransaction {
                txid: transaction.compute_txid().to_byte_array(),
                wtxid: if is_coinbase { [0; 32] } else { wtxid },
                fee_sat: if is_coinbase { 0 } else { FEE_UNKNOWN },
                offset_bytes: offset_bytes as u32,
                length_bytes: length_bytes as u32,
                weight: transaction.weight().to_wu() as u32,
                reserved: 0,
            });
            offset_bytes += length_bytes;
        }
        let connected = BlockConnected {
            hash: block.block_hash().to_byte_array(),
            previous: block.header.prev_blockhash.to_byte_array(),
            height: 702_861,
            transactions: transactions.len() as u32,
            raw_bytes: raw.len() as u32,
        };
        Load { connected, transactions, raw }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::Transaction;

    use super::*;

    #[test]
    fn every_entry_of_the_index_names_its_transaction() {
        let load = Load::block_702861();
        assert_eq!(load.raw, bitcoin_test_data::blocks::mainnet_702861());
        for entry in &load.transactions {
            let start = entry.offset_bytes as usize;
            let bytes = &load.raw[start..start + entry.length_bytes as usize];
            let transaction: Transaction = deserialize(bytes).unwrap();
            assert_eq!(transaction.compute_txid().to_byte_array(), entry.txid);
        }
        let last = load.transactions.last().unwrap();
        assert_eq!((last.offset_bytes + last.length_bytes) as usize, load.raw.len());
    }

    #[test]
    fn cuts_are_as_long_as_asked_for() {
        assert_eq!(Load::cut_to_transactions(100).transactions.len(), 100);
        let load = Load::cut_to_bytes(1_000_000);
        assert!((950_000..=1_000_000).contains(&load.raw.len()), "{} bytes", load.raw.len());
    }
}
