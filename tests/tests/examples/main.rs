//! The example modules under a real regtest node: payments raise the alarm, reorganisations are kept once each though the module
//! is killed meanwhile.
#![allow(clippy::unwrap_used, missing_docs)]

mod node;

use std::sync::Arc;
use std::time::Duration;

use bitcoin::consensus::serialize;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf};
use blvm_node_adapter::demo::wallet::Wallet;
use blvm_node_adapter::embedded::{EmbeddedNode, Reorganisation};
use blvm_node_adapter::source::NodeApi as _;

use node::Node;

/// Blocks until a coinbase can be spent.
const MATURITY: u32 = 100;

/// A wallet with coins that can be spent.
fn funded(node: &EmbeddedNode) -> Wallet {
    let mut wallet = Wallet::new(&[7; 32]);
    let payout = wallet.script_pubkey();
    for _ in 0..3 {
        node.mine_block(&payout).unwrap();
        let height = node.chain_tip().height;
        let raw = node.block_by_height(height).unwrap().unwrap().raw;
        let coinbase = &bitcoin::consensus::deserialize::<bitcoin::Block>(&raw).unwrap().txdata[0];
        assert!(coinbase.output[0].value > Amount::ZERO);
        wallet.add(OutPoint { txid: coinbase.compute_txid(), vout: 0 }, &coinbase.output[0]).unwrap();
    }
    for _ in 0..MATURITY {
        node.mine_block(&ScriptBuf::new()).unwrap();
    }
    wallet
}

fn pay(node: &EmbeddedNode, wallet: &mut Wallet, sat_per_vb: u64) {
    let payment = wallet.spend(2, FeeRate::from_sat_per_vb(sat_per_vb).unwrap()).unwrap();
    node.submit_transaction(&serialize(&payment)).unwrap();
}

#[test]
fn payments_raise_the_alarm_and_a_block_ends_it() {
    let node = Node::open();
    let mut wallet = funded(&node.node);
    // A payment has 561 to 673 weight units: room for one.
    let module = node.start_module("fee-alarm", "above_sat_per_vb = 20\nblock_weight = 1000\n");
    let calm =
        "alarm not raised (above 20 sat/vB)\ntransactions waiting: 0\nthe next block has room for all\n";
    node.command_says(&module, "fee-alarm", "status", |said| said == calm);

    pay(&node.node, &mut wallet, 10);
    pay(&node.node, &mut wallet, 12);
    node.command_says(&module, "fee-alarm", "status", |said| {
        said.starts_with(
            "alarm not raised (above 20 sat/vB)\ntransactions waiting: 2\nthe next block takes 12.",
        )
    });
    pay(&node.node, &mut wallet, 30);
    node.command_says(&module, "fee-alarm", "status", |said| {
        said.starts_with("alarm raised (above 20 sat/vB)\ntransactions waiting: 3\nthe next block takes 30.")
    });
    node.node.mine_block(&ScriptBuf::new()).unwrap();
    node.command_says(&module, "fee-alarm", "status", |said| said == calm);
    node.stop(module);
}

/// What `reorg-log list` says of a reorganisation.
fn listed(number: usize, reorganisation: &Reorganisation) -> String {
    let Reorganisation { fork, disconnected, connected } = reorganisation;
    let mut text = format!(
        "reorganisation {number} from height {}: {} left, {} joined\n",
        fork.height,
        disconnected.len(),
        connected.len()
    );
    let line = |what: &str, height: u32, hash: &[u8; 32]| {
        let hash: String = hash.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        format!("  {what} {height} {hash}\n")
    };
    let left = fork.height + 1..=fork.height + disconnected.len() as u32;
    for (hash, height) in disconnected.iter().zip(left.rev()) {
        text += &line("left", height, hash);
    }
    for (hash, height) in connected.iter().zip(fork.height + 1..) {
        text += &line("joined", height, hash);
    }
    text
}

#[test]
fn every_reorganisation_is_listed_once_though_the_module_is_killed() {
    let node = Node::open();
    let payout = ScriptBuf::from(vec![0x51]);
    for _ in 0..10 {
        node.node.mine_block(&payout).unwrap();
    }
    let mut module = node.start_module("reorg-log", "");
    node.command_says(&module, "reorg-log", "list", |said| said == "no reorganisation\n");
    let mut expected = String::new();
    for round in 1..=8_u32 {
        // Killed before, while and after the blocks come, also while it writes.
        let kill_after = Duration::from_millis(u64::from(round % 4));
        let of_node = Arc::clone(&node.node);
        let payout = payout.clone();
        let work = std::thread::spawn(move || of_node.reorganise(1 + round % 3, &payout).unwrap());
        if round % 2 == 0 {
            std::thread::sleep(kill_after);
            node.kill(module);
            module = node.start_module("reorg-log", "");
        }
        expected += &listed(round as usize, &work.join().unwrap());
        node.command_says(&module, "reorg-log", "list", |said| said == expected);
    }
    node.stop(module);
}
