//! Random steps: does the engine accept every block of what the mempool accepted, and do the unspent outputs kept
//! step by step equal those read from the blocks?

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Block, OutPoint, TxOut};
use blvm_node_adapter::source::NodeApi as _;

use super::wallet::output;
use super::{Fixture, open};

/// SplitMix64: small, and the same steps for the same seed everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn run(seed: u64) -> usize {
    let mut random = Random(seed);
    let Fixture { node, follower, wallet, directory } = Fixture::at_110();
    let mut coins: Vec<(OutPoint, TxOut)> = (1..=110).map(|height| wallet.coinbase(&node, height)).collect();
    let mut accepted = 0;
    for step in 0..200 {
        match random.below(20) {
            0 | 1 => drop(node.mine_block(&wallet.taproot_script()).unwrap()),
            2 => drop(node.mine_empty_block(&wallet.segwit_script()).unwrap()),
            3 => {
                let depth = 1 + u32::try_from(random.below(6)).unwrap();
                node.reorganise(depth, &wallet.segwit_script()).unwrap();
            }
            _ => {
                // Young coins first: families, replacements and conflicts grow.
                let oldest = coins.len() as u64;
                let reach = if random.below(3) == 0 { oldest } else { 12 };
                let mut spent: Vec<_> = (0..=random.below(2))
                    .map(|_| coins[(oldest - 1 - random.below(reach)) as usize].clone())
                    .collect();
                spent.dedup();
                let fee_sat = 200 + random.below(5_000);
                let transaction = wallet.spend(&spent, 1 + random.below(3), fee_sat);
                if node.submit_transaction(&serialize(&transaction)).is_ok() {
                    accepted += 1;
                    coins.extend((0..transaction.output.len()).map(|vout| output(&transaction, vout as u32)));
                } else if random.below(4) == 0 {
                    coins.push(wallet.coinbase(&node, 1 + u32::try_from(random.below(12)).unwrap()));
                }
            }
        }
        if step % 10 == 0 {
            follower.agrees_with(&node);
        }
    }
    node.mine_block(&wallet.segwit_script()).unwrap();
    follower.agrees_with(&node);
    assert_eq!(node.mempool_size(), 0, "the engine takes all that the mempool took");
    let outpoints: Vec<OutPoint> = (1..=node.chain_tip().height)
        .flat_map(|height| {
            deserialize::<Block>(&node.block_by_height(height).unwrap().unwrap().raw).unwrap().txdata
        })
        .flat_map(|transaction| {
            let txid = transaction.compute_txid();
            (0..transaction.output.len() as u32).map(move |vout| OutPoint { txid, vout })
        })
        .chain(coins.iter().map(|(outpoint, _)| *outpoint))
        .collect();
    let kept: Vec<_> = outpoints.iter().map(|outpoint| node.utxo(outpoint)).collect();
    drop(node);
    let (node, _follower) = open(directory.path());
    let read: Vec<_> = outpoints.iter().map(|outpoint| node.utxo(outpoint)).collect();
    assert_eq!(kept, read);
    accepted
}

#[test]
fn random_steps_keep_mempool_outputs_and_engine_in_agreement() {
    for seed in 1..=4 {
        let accepted = run(seed);
        assert!(accepted > 20, "seed {seed}: only {accepted} transactions were accepted");
    }
}
