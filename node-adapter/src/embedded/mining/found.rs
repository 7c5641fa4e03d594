//! A block that was offered to the node: is it one that was made of a template of this node?
//!
//! Told from its first bytes, before the rest of it is read: header and coinbase, hashed with a template's merkle path,
//! give the header's merkle root only if every other transaction is the template's, in its order.

use bitcoin::block::Header;
use bitcoin::consensus::Decodable as _;
use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, VarInt};

use super::assemble::merkle_root;
use crate::source::{Hash, Template};

/// What tells a block from others with the same parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) hash: Hash,
    previous: Hash,
    merkle_root: Hash,
    coinbase_txid: Hash,
}

impl Found {
    /// Reads the beginning of a block in consensus encoding.
    pub(super) fn read(raw: &[u8]) -> Option<Self> {
        let mut rest = raw;
        let header = Header::consensus_decode(&mut rest).ok()?;
        VarInt::consensus_decode(&mut rest).ok()?;
        let coinbase = Transaction::consensus_decode(&mut rest).ok()?;
        Some(Self {
            hash: header.block_hash().to_byte_array(),
            previous: header.prev_blockhash.to_byte_array(),
            merkle_root: header.merkle_root.to_byte_array(),
            coinbase_txid: coinbase.compute_txid().to_byte_array(),
        })
    }

    /// Whether the block holds the template's transactions and no others.
    pub(super) fn is_made_of(&self, template: &Template) -> bool {
        template.previous == self.previous
            && merkle_root(self.coinbase_txid, &template.merkle_path) == self.merkle_root
    }
}
