//! Templates of a real node: announced in order, mined by somebody else, and full when the mempool is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness, transaction,
};
use blvm_node_adapter::embedded::EmbeddedNode;
use blvm_node_adapter::source::{
    BlockVerdict, CoinbaseOutput, EventSink, MempoolTransaction, MiningError, NodeApi as _, NodeEvent,
    Solution, Template, TemplateRequest,
};

use super::random::Random;
use super::wallet::output;
use super::{Fixture, options};

/// What a miner makes of a template, before any work is done.
pub fn coinbase(template: &Template, payout: &[TxOut], extra_nonce: u64) -> Transaction {
    let mut script_sig = template.coinbase_prefix.clone();
    script_sig.push(8);
    script_sig.extend(extra_nonce.to_le_bytes());
    let asked = template.outputs.iter().map(|output| TxOut {
        value: Amount::from_sat(output.value_sat),
        script_pubkey: ScriptBuf::from_bytes(output.script.clone()),
    });
    let commitment = TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::from_bytes(template.witness_commitment.clone()),
    };
    Transaction {
        version: transaction::Version(template.coinbase_version as i32),
        lock_time: LockTime::from_consensus(template.coinbase_lock_time),
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script_sig),
            sequence: Sequence::from_consensus(template.coinbase_sequence),
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: asked.chain(payout.iter().cloned()).chain([commitment]).collect(),
    }
}

/// Looks for a nonce that meets the target, or one that does not.
pub fn solve(template: &Template, coinbase: &Transaction, meets: bool) -> Solution {
    let mut root = coinbase.compute_txid().to_byte_array();
    for sibling in &template.merkle_path {
        root = sha256d::Hash::hash(&[root, *sibling].concat()).to_byte_array();
    }
    let mut header = Header {
        version: Version::from_consensus(template.version as i32),
        prev_blockhash: BlockHash::from_byte_array(template.previous),
        merkle_root: TxMerkleNode::from_byte_array(root),
        time: template.min_time.max(1_700_000_000),
        bits: CompactTarget::from_consensus(template.bits),
        nonce: 0,
    };
    while header.target().is_met_by(header.block_hash()) != meets {
        header.nonce += 1;
    }
    Solution {
        template_id: template.id,
        version: template.version,
        time: header.time,
        nonce: header.nonce,
        coinbase: serialize(coinbase),
    }
}

/// A block of the template, in consensus encoding.
pub fn block(template: &Template, coinbase: &Transaction, solution: &Solution) -> bitcoin::Block {
    let transactions =
        template.transactions.iter().map(|each| bitcoin::consensus::deserialize(&each.raw).unwrap());
    let mut block = bitcoin::Block {
        header: Header {
            version: Version::from_consensus(solution.version as i32),
            prev_blockhash: BlockHash::from_byte_array(template.previous),
            merkle_root: TxMerkleNode::all_zeros(),
            time: solution.time,
            bits: CompactTarget::from_consensus(template.bits),
            nonce: solution.nonce,
        },
        txdata: std::iter::once(coinbase.clone()).chain(transactions).collect(),
    };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block
}

pub fn pay(value_sat: u64, script: &ScriptBuf) -> TxOut {
    TxOut { value: Amount::from_sat(value_sat), script_pubkey: script.clone() }
}

fn best(node: &EmbeddedNode) -> Arc<Template> {
    node.block_template(&TemplateRequest::BestPaying).unwrap()
}

/// Tips and what is said about templates, in order.
struct Told(Mutex<mpsc::Sender<NodeEvent>>);

impl EventSink for Told {
    fn event(&self, event: NodeEvent) {
        // The test may have ended.
        let _ = self.0.lock().unwrap().send(event);
    }
}

#[test]
fn a_solution_becomes_the_tip_and_the_next_template_follows() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, events) = mpsc::channel();
    let node = EmbeddedNode::open(options(directory.path()), Arc::new(Told(sender.into()))).unwrap();
    let script = super::Wallet::new().segwit_script();
    for _ in 0..3 {
        let template = best(&node);
        let coinbase = coinbase(&template, &[pay(template.coinbase_value_sat, &script)], 1);
        let solution = solve(&template, &coinbase, true);
        assert_eq!(node.submit_solution(&solution).unwrap(), BlockVerdict::Connected);
        assert_eq!(node.submit_solution(&solution).unwrap(), BlockVerdict::Known);
        let tip = node.chain_tip();
        assert_eq!(best(&node).previous, tip.hash);
        let told: Vec<NodeEvent> = events.try_iter().collect();
        let place = |is: &dyn Fn(&NodeEvent) -> bool| told.iter().position(is).unwrap();
        let connected = place(&|event| matches!(event, NodeEvent::BlockConnected(_)));
        let changed =
            place(&|event| matches!(event, NodeEvent::TipChanged(changed) if changed.position == tip));
        assert!(changed < connected, "miners are told first");
        let NodeEvent::TemplateUpdated(first) = &told[changed + 1] else { panic!("{:?}", told[changed + 1]) };
        assert_eq!(first.previous, tip.hash, "at once, full or not");
        place(
            &|event| matches!(event, NodeEvent::TemplateUpdated(full) if !full.is_empty && full.previous == tip.hash),
        );
        let expected = (tip, Some(template.id));
        place(
            &|event| matches!(event, NodeEvent::BlockMined { position, template_id } if (*position, *template_id) == expected),
        );
    }
}

#[test]
fn a_solution_is_refused_for_what_is_wrong_with_it() {
    let Fixture { node, wallet, directory: _directory, .. } = &Fixture::at_110();
    let template = best(node);
    let script = wallet.segwit_script();
    let good = coinbase(&template, &[pay(template.coinbase_value_sat, &script)], 1);
    let low = node.submit_solution(&solve(&template, &good, false));
    assert!(matches!(low, Err(MiningError::LowWork)), "{low:?}");
    let solution = solve(&template, &good, true);
    let unknown = node.submit_solution(&Solution { template_id: 999_999, ..solution.clone() });
    assert!(matches!(unknown, Err(MiningError::UnknownTemplate { id: 999_999 })));
    let malformed = node.submit_solution(&Solution { coinbase: vec![1, 2, 3], ..solution.clone() });
    assert!(matches!(malformed, Err(MiningError::Malformed { .. })));
    let greedy = coinbase(&template, &[pay(template.coinbase_value_sat + 1, &script)], 1);
    let verdict = node.submit_solution(&solve(&template, &greedy, true)).unwrap();
    let BlockVerdict::Invalid { reason } = verdict else { panic!("{verdict:?}") };
    assert!(reason.contains("bad-cb-amount"), "{reason}");
    node.mine_block(&script).unwrap();
    assert_eq!(node.submit_solution(&solution).unwrap(), BlockVerdict::SideBranch, "too late");
}

#[test]
fn outputs_that_were_asked_for_fit_and_pay() {
    let Fixture { node, wallet, directory: _directory, .. } = &Fixture::at_110();
    let script = wallet.taproot_script();
    let outputs = vec![CoinbaseOutput { value_sat: 1_234, script: script.to_bytes() }; 40];
    let template = node.block_template(&TemplateRequest::WithOutputs(outputs)).unwrap();
    let rest = template.coinbase_value_sat - 40 * 1_234;
    let coinbase = coinbase(&template, &[pay(rest, &wallet.segwit_script())], 1);
    assert!(coinbase.weight().to_wu() <= u64::from(template.coinbase_weight_limit));
    let verdict = node.submit_solution(&solve(&template, &coinbase, true)).unwrap();
    assert_eq!(verdict, BlockVerdict::Connected);
    assert_eq!(node.utxo(&output(&coinbase, 39).0).unwrap().output, pay(1_234, &script));
}

/// Fills the mempool with families of real transactions: more than two blocks' weight.
fn fill(fixture: &Fixture) -> usize {
    let Fixture { node, wallet, .. } = fixture;
    // Whoever shows the script may spend: cheap to make, and the engine runs it all the same.
    let anyone = ScriptBuf::from_bytes(vec![0x51]);
    let witness = Witness::from_slice(&[anyone.as_bytes()]);
    for height in 1..=8 {
        let mut fan = wallet.unsigned(&[wallet.coinbase(node, height)], 250, 100_000);
        fan.output.iter_mut().for_each(|output| output.script_pubkey = anyone.to_p2wsh());
        let fan = wallet.sign(fan, &[wallet.coinbase(node, height)]);
        node.submit_transaction(&serialize(&fan)).unwrap();
    }
    node.mine_block(&wallet.segwit_script()).unwrap();
    let raw = node.block_by_height(node.chain_tip().height).unwrap().unwrap().raw;
    let block: bitcoin::Block = bitcoin::consensus::deserialize(&raw).unwrap();
    let mut random = Random(11);
    let mut accepted = 0;
    for fan in &block.txdata[1..] {
        for vout in 0..250 {
            // Chains of up to four, of which a later one may pay for those before it.
            let mut coin = output(fan, vout);
            for _ in 0..=random.below(4) {
                let rate = [1, 2, 3, 5, 8, 40][random.below(6) as usize] + random.below(3);
                let outputs = 1 + random.below(20);
                let fee_sat = (60 + 43 * outputs + 40) * rate;
                let mut transaction = wallet.unsigned(std::slice::from_ref(&coin), 1, fee_sat);
                transaction.output[0].value -= Amount::from_sat((outputs - 1) * 1_000);
                transaction.output[0].script_pubkey = anyone.to_p2wsh();
                transaction.output.resize(outputs as usize, pay(1_000, &anyone.to_p2wsh()));
                transaction.input[0].witness = witness.clone();
                node.submit_transaction(&serialize(&transaction)).unwrap();
                accepted += 1;
                coin = output(&transaction, 0);
            }
        }
    }
    accepted
}

/// Fees of a plain choice: the best package of those that fit, again and again, each looked at anew.
fn plain_fees(transactions: &[MempoolTransaction], most_weight: u64, most_sigop_cost: u64) -> u64 {
    let places: HashMap<_, _> = (0..).zip(transactions).map(|(place, each)| (each.txid, place)).collect();
    let mut families: Vec<Vec<usize>> = Vec::new();
    for (place, each) in transactions.iter().enumerate() {
        let decoded: Transaction = bitcoin::consensus::deserialize(&each.raw).unwrap();
        let parents = decoded
            .input
            .iter()
            .filter_map(|input| places.get(input.previous_output.txid.as_byte_array()).copied());
        let mut family: Vec<usize> =
            parents.flat_map(|parent| families[parent].clone()).chain([place]).collect();
        family.sort_unstable();
        family.dedup();
        families.push(family);
    }
    let mut is_taken = vec![false; transactions.len()];
    let (mut fees, mut weight, mut sigop_cost) = (0, 0, 0);
    loop {
        let mut best: Option<(u64, u64, u64, usize)> = None;
        for (place, family) in families.iter().enumerate().filter(|(place, _)| !is_taken[*place]) {
            let (mut fee, mut more, mut sigops) = (0, 0, 0);
            for &member in family.iter().filter(|member| !is_taken[**member]) {
                fee += transactions[member].fee_sat;
                more += u64::from(transactions[member].weight);
                sigops += u64::from(transactions[member].sigop_cost);
            }
            let fits = weight + more <= most_weight && sigop_cost + sigops <= most_sigop_cost;
            if fits && best.is_none_or(|(best_fee, best_weight, ..)| fee * best_weight > best_fee * more) {
                best = Some((fee, more, sigops, place));
            }
        }
        let Some((fee, more, sigops, place)) = best else { return fees };
        (fees, weight, sigop_cost) = (fees + fee, weight + more, sigop_cost + sigops);
        families[place].iter().for_each(|member| is_taken[*member] = true);
    }
}

#[test]
fn the_template_of_a_full_mempool_pays_and_is_a_block_to_the_engine() {
    let fixture = Fixture::at_110();
    let accepted = fill(&fixture);
    let node = &fixture.node;
    let template = best(node);
    let weight: u64 = node.mempool_transactions().iter().map(|each| u64::from(each.weight)).sum();
    assert!(weight > 8_000_000, "{accepted} transactions of weight {weight}");
    let most = 4_000_000 - u64::from(template.coinbase_weight_limit) - 4 * 83;
    let most_sigops = 80_000 - u64::from(template.coinbase_sigop_cost_limit);
    assert!(u64::from(template.weight) <= most && u64::from(template.weight) * 100 > most * 99);
    let plain = plain_fees(&node.mempool_transactions(), most, most_sigops);
    println!(
        "{} of {accepted} transactions, weight {}, {} sat; a plain choice: {plain} sat",
        template.transactions.len(),
        template.weight,
        template.fees_sat
    );
    assert!(template.fees_sat * 100 >= plain * 99, "{} instead of {plain}", template.fees_sat);
    let payout = pay(template.coinbase_value_sat, &fixture.wallet.segwit_script());
    let coinbase = coinbase(&template, &[payout], 1);
    let solution = solve(&template, &coinbase, false);
    let unsolved = block(&template, &coinbase, &solution);
    assert!(unsolved.weight().to_wu() <= 4_000_000);
    assert_eq!(node.check_block(&serialize(&unsolved)).unwrap(), BlockVerdict::Valid);
    let solution = solve(&template, &coinbase, true);
    assert_eq!(node.submit_solution(&solution).unwrap(), BlockVerdict::Connected);
    // What is left makes the next one, and it is valid too.
    node.mine_block(&fixture.wallet.segwit_script()).unwrap();
    fixture.follower.agrees_with(node);
}
