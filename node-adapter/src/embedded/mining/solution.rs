//! From a template and what a miner found to a block.

use bitcoin::block::{Header, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, CompactTarget, Transaction, TxMerkleNode, VarInt};
use blvm_kernel::Network;

use super::assemble::{COMMITMENT_PREFIX, merkle_root};
use crate::source::{MiningError, Solution, Template};

/// What marks a signature of signet's operators in the script of the commitment (BIP-0325).
const SIGNET_HEADER: [u8; 4] = [0xec, 0xc7, 0xda, 0xa2];

/// Puts a block together, in consensus encoding.
///
/// The solution's coinbase is taken as it is: whether it is valid is for the engine to judge.
pub(in crate::embedded) fn solved_block(
    network: Network,
    template: &Template,
    solution: &Solution,
) -> Result<Vec<u8>, MiningError> {
    let coinbase: Transaction = deserialize(&solution.coinbase)
        .map_err(|error| MiningError::Malformed { reason: format!("the coinbase: {error}") })?;
    if network == Network::Signet && !is_signed(&coinbase) {
        return Err(MiningError::UnsignedSignet);
    }
    let root = merkle_root(coinbase.compute_txid().to_byte_array(), &template.merkle_path);
    let header = Header {
        version: Version::from_consensus(solution.version.cast_signed()),
        prev_blockhash: BlockHash::from_byte_array(template.previous),
        merkle_root: TxMerkleNode::from_byte_array(root),
        time: solution.time,
        bits: CompactTarget::from_consensus(template.bits),
        nonce: solution.nonce,
    };
    if !header.target().is_met_by(header.block_hash()) {
        return Err(MiningError::LowWork);
    }
    Ok(encode(&header, &solution.coinbase, template))
}

/// A block with the template's transactions, in consensus encoding.
pub(in crate::embedded) fn encode(header: &Header, coinbase: &[u8], template: &Template) -> Vec<u8> {
    let mut raw = serialize(header);
    raw.extend(serialize(&VarInt(template.transactions.len() as u64 + 1)));
    raw.extend_from_slice(coinbase);
    for transaction in template.transactions.iter() {
        raw.extend_from_slice(&transaction.raw);
    }
    raw
}

fn is_signed(coinbase: &Transaction) -> bool {
    coinbase.output.iter().map(|output| output.script_pubkey.as_bytes()).any(|script| {
        script.starts_with(&COMMITMENT_PREFIX)
            && script.windows(SIGNET_HEADER.len()).any(|window| window == SIGNET_HEADER)
    })
}
