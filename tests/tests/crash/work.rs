//! What a node does between two kills: payments, replacements, blocks and reorganisations, in random order, for ever.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{OutPoint, Transaction, TxOut};
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::NodeApi as _;

use crate::wallet::{Wallet, output};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

pub fn work(node: &EmbeddedNode, random: &mut Random) {
    let wallet = Wallet::new();
    let script = wallet.segwit_script();
    while node.chain_tip().height < 110 {
        node.mine_block(&script).unwrap();
    }
    loop {
        match random.below(20) {
            0..=10 => pay(node, &wallet, random),
            11..=13 => replace(node, &wallet, random),
            14..=16 => drop(node.mine_block(&script).unwrap()),
            17 => drop(node.mine_block(&wallet.taproot_script()).unwrap()),
            18 => drop(node.mine_empty_block(&script).unwrap()),
            _ => {
                let depth = 1 + u32::try_from(random.below(4)).unwrap();
                node.reorganise(depth, &script).unwrap();
            }
        }
    }
}

/// Offers a payment from a random coin, confirmed or not; what is refused does not matter.
fn pay(node: &EmbeddedNode, wallet: &Wallet, random: &mut Random) {
    let coin = if random.below(3) == 0 { unconfirmed(node, random) } else { confirmed(node, wallet, random) };
    let Some(coin) = coin.filter(|(_, output)| output.value.to_sat() > 100_000) else { return };
    let (outputs, fee_sat) = (1 + random.below(3), 1_000 + random.below(5_000));
    let _ = node.submit_transaction(&serialize(&wallet.spend(&[coin], outputs, fee_sat)));
}

/// Offers another transaction for the same coins that pays much more.
fn replace(node: &EmbeddedNode, wallet: &Wallet, random: &mut Random) {
    let Some(replaced) = any_unconfirmed(node, random) else { return };
    let coins: Vec<(OutPoint, TxOut)> = replaced
        .input
        .iter()
        .filter_map(|input| Some((input.previous_output, node.utxo(&input.previous_output)?.output)))
        .collect();
    if !coins.is_empty() && coins[0].1.value.to_sat() > 1_000_000 {
        let _ = node.submit_transaction(&serialize(&wallet.spend(&coins, 1, 50_000 + random.below(50_000))));
    }
}

/// An output of a block 99 blocks or more below the tip: of its first transaction or its last.
fn confirmed(node: &EmbeddedNode, wallet: &Wallet, random: &mut Random) -> Option<(OutPoint, TxOut)> {
    let deepest = u64::from(node.chain_tip().height - 99);
    let height = 1 + u32::try_from(random.below(deepest)).unwrap();
    if random.below(2) == 0 {
        return Some(wallet.coinbase(node, height));
    }
    let raw = node.block_by_height(height).unwrap()?.raw;
    let block: bitcoin::Block = deserialize(&raw).unwrap();
    Some(output(block.txdata.last()?, 0))
}

fn unconfirmed(node: &EmbeddedNode, random: &mut Random) -> Option<(OutPoint, TxOut)> {
    Some(output(&any_unconfirmed(node, random)?, 0))
}

fn any_unconfirmed(node: &EmbeddedNode, random: &mut Random) -> Option<Transaction> {
    let held = node.mempool_transactions();
    let index = usize::try_from(random.below(held.len().max(1) as u64)).unwrap();
    Some(deserialize(&held.get(index)?.raw).unwrap())
}
