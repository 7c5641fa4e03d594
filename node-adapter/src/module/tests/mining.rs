//! What a miner asks, answered by a real node: each request of the area, what refuses it, and what the topics say then.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, ScriptBuf, Sequence, TxIn, TxMerkleNode, TxOut, Witness,
    transaction,
};
use blvm_bus::request::MAX_COINBASE_OUTPUTS;
use blvm_sdk::request::{
    BlockTemplate, BlockVerdict, CoinbaseConstraints, CoinbaseOutput, MiningRefusal, NetworkRefusal, Solution,
};
use blvm_sdk::{Chain, ChainEvent, Client, Mining, MiningEvent, Missed, System, SystemEvent};

use super::*;
use crate::source::NodeEvent;

/// What a miner makes of a template, all of its value to one script.
fn coinbase(template: &BlockTemplate, extra_sat: u64) -> Transaction {
    let mut script_sig = template.coinbase_prefix.clone();
    script_sig.extend([1, 7]);
    let output = |value_sat, script: &[u8]| TxOut {
        value: Amount::from_sat(value_sat),
        script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
    };
    let asked = template.outputs.iter().map(|asked| output(asked.value_sat, &asked.script));
    let asked_sat: u64 = template.outputs.iter().map(|asked| asked.value_sat).sum();
    let rest = output(template.coinbase_value_sat - asked_sat + extra_sat, &[0x51]);
    let commitment = output(0, &template.witness_commitment);
    Transaction {
        version: transaction::Version(template.coinbase_version.cast_signed()),
        lock_time: LockTime::from_consensus(template.coinbase_lock_time),
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from_bytes(script_sig),
            sequence: Sequence::from_consensus(template.coinbase_sequence),
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: asked.chain([rest, commitment]).collect(),
    }
}

/// A header that meets the target, or one that does not.
fn solve(template: &BlockTemplate, coinbase: &Transaction, meets: bool) -> Header {
    let mut root = coinbase.compute_txid().to_byte_array();
    for sibling in &template.merkle_path {
        root = sha256d::Hash::hash(&[root, *sibling].concat()).to_byte_array();
    }
    let mut header = Header {
        version: Version::from_consensus(template.version.cast_signed()),
        prev_blockhash: BlockHash::from_byte_array(template.previous),
        merkle_root: TxMerkleNode::from_byte_array(root),
        time: template.min_time.max(1_700_000_000),
        bits: CompactTarget::from_consensus(template.bits),
        nonce: 0,
    };
    while header.target().is_met_by(header.block_hash()) != meets {
        header.nonce += 1;
    }
    header
}

fn solution(template: &BlockTemplate, coinbase: &Transaction, meets: bool) -> Solution {
    let header = solve(template, coinbase, meets);
    Solution {
        template_id: template.id,
        version: template.version,
        time: header.time,
        nonce: header.nonce,
        coinbase: serialize(coinbase),
    }
}

/// A whole block of the template, its transactions asked for.
fn block(client: &mut Client, template: &BlockTemplate, extra_sat: u64) -> Block {
    let coinbase = coinbase(template, extra_sat);
    let header = solve(template, &coinbase, true);
    let transactions = client.template_transactions(template.id).unwrap();
    let transactions = transactions.iter().map(|transaction| deserialize(&transaction.raw).unwrap());
    Block { header, txdata: std::iter::once(coinbase).chain(transactions).collect() }
}

fn rule<T: std::fmt::Debug>(answer: Result<T, CallError>) -> MiningRefusal {
    match refused(answer) {
        Refusal::Mining { rule, .. } => rule,
        other => panic!("another refusal: {other}"),
    }
}

#[test]
fn a_miner_gets_templates_has_blocks_checked_and_mines_them_through_the_protocol() {
    let mut node = Node::with_chain(103);
    let mut session = node.module(Wishes::new().with::<Mining>());
    let mut mining = session.feed::<Mining>().unwrap();
    let spends = [node.spend(), node.spend()];
    for spend in &spends {
        session.client().submit_transaction(serialize(spend)).unwrap();
    }
    let wtxids = spends.each_ref().map(|spend| spend.compute_wtxid().to_byte_array());

    let client = session.client();
    let roomy = CoinbaseConstraints { output_bytes: 2_000, sigop_cost: 1_000 };
    client.set_coinbase_constraints(roomy).unwrap();
    let greedy = CoinbaseConstraints { output_bytes: u32::MAX, ..roomy };
    assert_eq!(rule(client.set_coinbase_constraints(greedy)), MiningRefusal::Constraints);

    let template = client.block_template().unwrap();
    assert_eq!((template.constraints, template.transactions.len()), (roomy, 2));
    let transactions = client.template_transactions(template.id).unwrap();
    assert!(transactions.iter().all(|transaction| wtxids.contains(&transaction.entry.wtxid)));
    assert_eq!(transactions.iter().map(|each| each.entry).collect::<Vec<_>>(), template.transactions);
    assert_eq!(rule(client.template_transactions(999_999)), MiningRefusal::UnknownTemplate);

    let outputs = vec![CoinbaseOutput { value_sat: 5, script: vec![0x51] }; 2];
    let with_outputs = client.block_template_with_outputs(outputs.clone()).unwrap();
    assert_eq!(with_outputs.outputs, outputs);
    let many = vec![outputs[0].clone(); MAX_COINBASE_OUTPUTS + 1];
    let limit = MAX_COINBASE_OUTPUTS as u64;
    assert!(
        matches!(refused(client.block_template_with_outputs(many)), Refusal::Limit { limit: l, .. } if l == limit)
    );

    let declared = client.block_template_declared(vec![wtxids[1]]).unwrap();
    assert_eq!(declared.transactions.iter().map(|each| each.wtxid).collect::<Vec<_>>(), [wtxids[1]]);
    let Refusal::Mining { rule: MiningRefusal::MissingTransactions, wtxids: missing, .. } =
        refused(client.block_template_declared(vec![wtxids[0], [9; 32]]))
    else {
        panic!("another refusal")
    };
    assert_eq!(missing, [[9; 32]]);

    let whole = block(client, &with_outputs, 0);
    assert_eq!(client.check_block(serialize(&whole)).unwrap(), BlockVerdict::Valid);
    let overpaid = block(client, &template, 1);
    let verdict = client.check_block(serialize(&overpaid)).unwrap();
    assert!(
        matches!(&verdict, BlockVerdict::Invalid { reason } if reason.contains("bad-cb-amount")),
        "{verdict:?}"
    );
    assert_eq!(rule(client.check_block(vec![1; 100])), MiningRefusal::Malformed);

    let good = coinbase(&template, 0);
    assert_eq!(rule(client.submit_solution(solution(&template, &good, false))), MiningRefusal::LowWork);
    let unknown = Solution { template_id: 999_999, ..solution(&template, &good, true) };
    assert_eq!(rule(client.submit_solution(unknown)), MiningRefusal::UnknownTemplate);
    let solved = solution(&template, &good, true);
    assert_eq!(client.submit_solution(solved.clone()).unwrap(), BlockVerdict::Connected);
    assert_eq!(client.submit_solution(solved).unwrap(), BlockVerdict::Known);
    let tip = client.chain_tip().unwrap();
    assert_eq!((tip.height, tip.hash), (104, solve(&template, &good, true).block_hash().to_byte_array()));
    let mined = wait_for(&mut session, &mut mining, |received| match received.event().unwrap() {
        MiningEvent::BlockMined(mined) if mined.hash == tip.hash => {
            Some(mined.template_id.as_ref().map(|id| id.to_native()))
        }
        _ => None,
    });
    assert_eq!(mined, Some(template.id));

    let client = session.client();
    assert_eq!(client.submit_block(serialize(&whole)).unwrap(), BlockVerdict::SideBranch);
    assert_eq!(rule(client.submit_block(vec![1; 10])), MiningRefusal::Malformed);
    let mut orphan = whole.clone();
    orphan.header.prev_blockhash = BlockHash::from_byte_array([8; 32]);
    while !orphan.header.target().is_met_by(orphan.block_hash()) {
        orphan.header.nonce += 1;
    }
    assert_eq!(client.submit_block(serialize(&orphan)).unwrap(), BlockVerdict::Orphan { previous: [8; 32] });
    let template = client.block_template().unwrap();
    let next = block(client, &template, 0);
    assert_eq!(client.submit_block(serialize(&next)).unwrap(), BlockVerdict::Connected);
    assert_eq!(client.chain_tip().unwrap().height, 105);
}

#[test]
fn a_solution_on_signet_without_its_operators_signature_is_refused_for_that() {
    let node = Node::start_on(Network::Signet, Vec::new(), RequestLimits::default());
    let mut session = node.module(Wishes::new());
    let client = session.client();
    let template = client.block_template().unwrap();
    assert_eq!((template.height, template.previous), (1, node.node.chain_tip().hash));
    let unsigned = coinbase(&template, 0);
    let solution = |coinbase| Solution {
        template_id: template.id,
        version: template.version,
        time: template.min_time,
        nonce: 0,
        coinbase: serialize(coinbase),
    };
    assert_eq!(rule(client.submit_solution(solution(&unsigned))), MiningRefusal::UnsignedSignet);
    // What marks the signature may stand in the script of the commitment only (BIP-0325).
    let mark = [4, 0xec, 0xc7, 0xda, 0xa2];
    let mut elsewhere = unsigned.clone();
    elsewhere.output[0].script_pubkey = [&[0x6a][..], &mark].concat().into();
    assert_eq!(rule(client.submit_solution(solution(&elsewhere))), MiningRefusal::UnsignedSignet);
    let mut signed = unsigned.clone();
    let commitment = signed.output.last_mut().unwrap();
    commitment.script_pubkey = [commitment.script_pubkey.as_bytes(), &mark].concat().into();
    // With one it is the work that is missing.
    assert_eq!(rule(client.submit_solution(solution(&signed))), MiningRefusal::LowWork);
    assert_eq!(client.chain_tip().unwrap().height, 0);
}

#[test]
fn a_module_that_lost_messages_gets_the_tip_and_the_template_again() {
    let node = Node::start(Vec::new(), RequestLimits::default());
    node.node.mine_block(&node.wallet.script_pubkey()).unwrap();
    let mut session = node.module(Wishes::new().with::<Mining>());
    let mut mining = session.feed::<Mining>().unwrap();
    let template = session.client().block_template().unwrap();
    let template_of = |received: &blvm_sdk::Received<'_, Mining>| match received.event().unwrap() {
        MiningEvent::TemplateUpdated(found) if !found.is_empty => Some(found.template_id.to_native()),
        _ => None,
    };
    assert_eq!(wait_for(&mut session, &mut mining, template_of), template.id);
    // As many messages as lap the ring, and none of them the tip or a template.
    let delta = NodeEvent::FeeDelta { template_id: template.id, announced_fees_sat: 0, fees_sat: 1 };
    let depth = Mining::GEOMETRY.depth;
    (0..depth * 2).for_each(|_| node.topics.event(delta.clone()));
    let Missed { messages } = mining.poll().unwrap_err();
    assert!(messages >= u64::from(depth), "{messages}");

    let sequence = session.client().repeat_tip_and_template().unwrap();
    mining.seek(sequence);
    let tip = wait_for(&mut session, &mut mining, |received| match received.event().unwrap() {
        MiningEvent::TipChanged(tip) => Some((received.sequence(), tip.hash)),
        other => panic!("{other:?} before the tip"),
    });
    assert_eq!(tip, (sequence, node.node.chain_tip().hash));
    assert_eq!(wait_for(&mut session, &mut mining, template_of), template.id);
    assert!(mining.poll().unwrap().is_none(), "nothing else was sent");
    // Near enough now: nothing is sent again, however often it is asked.
    for _ in 0..100 {
        assert_eq!(session.client().repeat_tip_and_template().unwrap(), sequence);
    }
    assert!(mining.poll().unwrap().is_none());

    let mut stranger = node.module_with(&[Permission::ReadBlockchain], Wishes::new());
    let denied = Refusal::Denied { permission: "mining_template".to_owned() };
    assert_eq!(refused(stranger.client().repeat_tip_and_template()), denied);
}

#[test]
fn blocks_from_elsewhere_wait_their_turn_and_events_tell_what_became_of_them() {
    let limits = RequestLimits { queued_blocks: 3, ..RequestLimits::default() };
    let miner = Node::with_chain(20);
    let node = Node::start(Vec::new(), limits);
    let mut session = node.module(Wishes::new().with::<Chain>().with::<System>());
    let (mut chain, mut system) = (session.feed::<Chain>().unwrap(), session.feed::<System>().unwrap());
    let raw = |height| miner.node.block_by_height(height).unwrap().unwrap().raw;
    let client = session.client();
    let rule = |answer: Result<_, _>| match refused::<blvm_sdk::Hash>(answer) {
        Refusal::Network { rule, message } => (rule, message),
        other => panic!("another refusal: {other}"),
    };
    assert_eq!(rule(client.queue_received_block_bytes(vec![1; 79])).0, NetworkRefusal::Malformed);
    let mut lazy: Block = deserialize(&raw(1)).unwrap();
    while lazy.header.target().is_met_by(lazy.block_hash()) {
        lazy.header.nonce += 1;
    }
    assert_eq!(rule(client.queue_received_block_bytes(serialize(&lazy))).0, NetworkRefusal::LowWork);

    // While the node is busy, three wait beside the one that is being judged.
    let busy = node.node.hold();
    client.queue_received_block_bytes(raw(1)).unwrap();
    until(|| node.shared.blocks.waiting() == 0);
    for height in 2..=4 {
        assert_eq!(
            client.queue_received_block_bytes(raw(height)).unwrap(),
            miner.node.block_by_height(height).unwrap().unwrap().hash
        );
    }
    let (full, message) = rule(client.queue_received_block_bytes(raw(5)));
    assert_eq!(full, NetworkRefusal::QueueFull);
    assert!(message.contains("3 blocks of this module wait"), "{message}");
    // Another module has its own share, and waits its turn behind.
    let mut other = node.module(Wishes::new());
    other.client().queue_received_block_bytes(raw(5)).unwrap();
    drop(busy);
    for height in 1..=5 {
        let connected = wait_for(&mut session, &mut chain, |received| match received.event().unwrap() {
            ChainEvent::BlockConnected(block) => Some(block.height.to_native()),
            other => panic!("{other:?}"),
        });
        assert_eq!(connected, height, "in the order in which they came");
    }

    let mut broken: Block = deserialize(&raw(6)).unwrap();
    broken.txdata[0].output[0].value += Amount::from_sat(1);
    broken.header.merkle_root = broken.compute_merkle_root().unwrap();
    while !broken.header.target().is_met_by(broken.block_hash()) {
        broken.header.nonce += 1;
    }
    let hash = session.client().queue_received_block_bytes(serialize(&broken)).unwrap();
    let reason = wait_for(&mut session, &mut system, |received| match received.event().unwrap() {
        SystemEvent::ConsensusRuleViolation(broken) if broken.hash == hash => Some(broken.reason.to_string()),
        _ => None,
    });
    assert!(reason.contains("bad-cb-amount"), "{reason}");

    let mut stranger = node.module_with(&[Permission::SubmitBlock], Wishes::new());
    let denied = Refusal::Denied { permission: "queue_inbound_block".to_owned() };
    assert_eq!(refused(stranger.client().queue_received_block_bytes(raw(6))), denied);
}
