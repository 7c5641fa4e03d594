//! The engine's checks of a block by itself: what needs no chain.

use bitcoinkernel::{BLOCK_CHECK_BASE, BLOCK_CHECK_MERKLE, Block, BlockCheckResult, ChainParams, prelude::*};

use crate::network::Network;
use crate::processed::InvalidReason;

/// Why a block cannot be valid on any chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The bytes are not exactly one block.
    #[error("not exactly one block in consensus encoding")]
    Malformed,
    /// It breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidReason),
}

/// Checks size, coinbase, transactions, legacy signature operations and Merkle root of a block; its proof of work is
/// not looked at.
///
/// # Errors
///
/// [`CheckError`]; the engine gives no words for this.
pub fn check_block_alone(network: Network, raw: &[u8]) -> Result<(), CheckError> {
    let block = Block::new(raw).map_err(|_| CheckError::Malformed)?;
    // The engine would overlook bytes after the block.
    if block.consensus_encode().map_err(|_| CheckError::Malformed)? != raw {
        return Err(CheckError::Malformed);
    }
    let parameters = ChainParams::new(network.chain_type());
    match block.check(&parameters, BLOCK_CHECK_BASE | BLOCK_CHECK_MERKLE) {
        BlockCheckResult::Valid => Ok(()),
        BlockCheckResult::Invalid(state) => Err(InvalidReason::from(state.result()).into()),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::serialize;
    use bitcoin::constants::genesis_block;

    use super::*;

    #[test]
    fn a_block_is_judged_without_its_proof_of_work() {
        let mut block = genesis_block(bitcoin::Network::Regtest);
        block.header.nonce += 1;
        let check = |block: &bitcoin::Block| check_block_alone(Network::Regtest, &serialize(block));
        assert_eq!(check(&block), Ok(()));
        block.header.merkle_root = bitcoin::TxMerkleNode::from_raw_hash(bitcoin::hashes::Hash::all_zeros());
        assert_eq!(check(&block), Err(CheckError::Invalid(InvalidReason::Mutated)));
        block.txdata.clear();
        assert!(check(&block).is_err());
        assert_eq!(check_block_alone(Network::Regtest, b"no"), Err(CheckError::Malformed));
    }
}
