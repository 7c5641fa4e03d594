//! `pay N`: payments of the node's own coins to itself, so that modules have transactions to look at.
//!
//! Nothing is kept between two commands: what the node owns is read from its chain, so neither a reorganisation nor an emptied mempool
//! leaves a wrong idea of it.

use std::collections::BTreeMap;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Block, FeeRate, OutPoint, Transaction, TxOut};

use crate::demo::wallet::{SpendError, Wallet};
use crate::embedded::EmbeddedNode;
use crate::source::{NodeApi, NodeError, SubmitError};

/// What payments pay, in satoshi per virtual byte.
const FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// Blocks after which a coinbase may be spent (`COINBASE_MATURITY` in Bitcoin Core's `src/consensus/consensus.h`).
const COINBASE_MATURITY: u32 = 100;

/// Why not every payment was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayError {
    /// The node has nothing that it could spend.
    #[error(
        "no coin of this node may be spent yet: a mined one may after {COINBASE_MATURITY} blocks, and one that was paid after the next; mine {COINBASE_MATURITY} more, or start with --mine-first 101"
    )]
    NoCoin,
    /// A payment could not be signed, or the coins are used up.
    #[error("{made} payments were made, and no more")]
    Spend {
        /// How many there are.
        made: u32,
        /// Why.
        source: SpendError,
    },
    /// The mempool did not take one.
    #[error("{made} payments were made, and the next was refused")]
    Submit {
        /// How many there are.
        made: u32,
        /// Why.
        source: SubmitError,
    },
    /// The block store failed.
    #[error(transparent)]
    Store(#[from] NodeError),
}

/// Makes so many payments, each of one confirmed coin into two.
pub(super) fn pay(node: &EmbeddedNode, mut wallet: Wallet, payments: u32) -> Result<(), PayError> {
    for (outpoint, output) in spendable(node)? {
        // Others are somebody else's.
        let _ = wallet.add(outpoint, &output);
    }
    if wallet.coins().len() == 0 {
        return Err(PayError::NoCoin);
    }
    for made in 0..payments {
        let payment = wallet.spend(2, FEE_RATE).map_err(|source| PayError::Spend { made, source })?;
        node.submit_transaction(&serialize(&payment)).map_err(|source| PayError::Submit { made, source })?;
    }
    Ok(())
}

/// Outputs of the chain that the next block may spend and no transaction of the mempool does.
fn spendable(node: &EmbeddedNode) -> Result<BTreeMap<OutPoint, TxOut>, NodeError> {
    let tip = node.chain_tip().height;
    let mut outputs = BTreeMap::new();
    for height in 1..=tip {
        // A reorganisation may be shortening the chain.
        let Some(stored) = node.block_by_height(height)? else { break };
        let wrong = |_| NodeError::Store { reason: format!("the block at height {height} is not as mined") };
        let block: Block = deserialize(&stored.raw).map_err(wrong)?;
        for transaction in &block.txdata {
            spend(&mut outputs, transaction);
            if !transaction.is_coinbase() || tip + 1 - height >= COINBASE_MATURITY {
                let txid = transaction.compute_txid();
                let made = transaction.output.iter().cloned().zip(0..);
                outputs.extend(made.map(|(output, vout)| (OutPoint { txid, vout }, output)));
            }
        }
    }
    for waiting in node.mempool_transactions() {
        if let Ok(transaction) = deserialize(&waiting.raw) {
            spend(&mut outputs, &transaction);
        }
    }
    Ok(outputs)
}

fn spend(outputs: &mut BTreeMap<OutPoint, TxOut>, transaction: &Transaction) {
    for input in &transaction.input {
        outputs.remove(&input.previous_output);
    }
}
