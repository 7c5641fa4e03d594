//! A mempool with many transactions: what each step on it costs, and that it does not grow with the square.
//!
//! The ordinary test takes 2,000. `BLVM_MEMPOOL_TRANSACTIONS=50000` (`make mempool-scale`) takes as many, compares with a
//! fifth of it, and prints the times. Scripts are trivial here: what is measured is the bookkeeping and the engine.

use std::time::{Duration, Instant};

use bitcoin::consensus::serialize;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use blvm_node_adapter::source::NodeApi as _;

use super::Fixture;
use super::wallet::output;

const OUTPUTS: usize = 2_500;

fn anybody() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51])
}

/// As many coins as asked for, that anybody may spend.
fn coins(fixture: &Fixture, count: usize) -> Vec<(OutPoint, TxOut)> {
    let mut coins = Vec::new();
    let mut height = 1;
    while coins.len() < count {
        let coin = fixture.wallet.coinbase(&fixture.node, height);
        let mut fan = fixture.wallet.unsigned(std::slice::from_ref(&coin), 1, 100_000);
        let value = Amount::from_sat(fan.output[0].value.to_sat() / OUTPUTS as u64);
        fan.output = vec![TxOut { value, script_pubkey: anybody() }; OUTPUTS];
        let fan = fixture.wallet.sign(fan, &[coin]);
        fixture.node.submit_transaction(&serialize(&fan)).unwrap();
        coins.extend((0..OUTPUTS as u32).map(|vout| output(&fan, vout)));
        height += 1;
        fixture.mine(1);
    }
    coins.truncate(count);
    coins
}

fn timed<T>(what: &str, count: usize, work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    work();
    let took = begun.elapsed();
    eprintln!("{what} with {count} transactions: {} ms", took.as_millis());
    took
}

/// How long blocks and reorganisations take with so many transactions waiting.
fn measure(count: usize) -> [Duration; 2] {
    let fixture = Fixture::at_110_with(|options| options.accepts_non_standard = true);
    let spends: Vec<Vec<u8>> = coins(&fixture, count)
        .iter()
        .zip(0_u64..)
        .map(|(coin, number)| {
            let mut spend: Transaction =
                fixture.wallet.unsigned(std::slice::from_ref(coin), 1, 100 + number % 1_000);
            spend.output[0].script_pubkey = anybody();
            serialize(&spend)
        })
        .collect();
    let node = &fixture.node;
    timed("submit", count, || assert!(spends.iter().all(|raw| node.submit_transaction(raw).is_ok())));
    assert_eq!(node.mempool_size(), count);
    let block = timed("connect a block", count, || node.mine_block(&fixture.wallet.segwit_script()).unwrap());
    let mined = count - node.mempool_size();
    assert!(mined > count / 4, "{mined} mined");
    let refill = timed("reorganise one block", count, || {
        node.reorganise(1, &fixture.wallet.segwit_script()).unwrap();
    });
    assert_eq!(node.mempool_size(), count, "all are back");
    let info = node.mempool_info().unwrap();
    assert_eq!(info.bytes, spends.iter().map(|raw| raw.len() as u64).sum::<u64>());
    timed("clear", count, || assert_eq!(node.clear_mempool(), count as u64));
    fixture.follower.agrees_with(node);
    [block, refill]
}

#[test]
fn blocks_and_reorganisations_do_not_wait_for_the_square_of_the_mempool() {
    let Ok(count) = std::env::var("BLVM_MEMPOOL_TRANSACTIONS") else {
        measure(2_000);
        return;
    };
    let count: usize = count.parse().unwrap();
    let fifth = measure(count / 5);
    let whole = measure(count);
    for (fifth, whole) in fifth.into_iter().zip(whole) {
        assert!(whole < fifth * 15, "{whole:?} against {fifth:?}: linear is 5, the square is 25");
    }
}
