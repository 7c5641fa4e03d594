//! The service alone: what it says after what it was told.

use std::sync::mpsc::Receiver;

use bitcoin::block::Header;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash as _;

use super::*;
use crate::embedded::mining::assemble::merkle_root;
use crate::embedded::mining::support::{Random, confirmed, transaction};
use crate::source::{ChainPosition, CoinbaseOutput, NodeEvent, RemovalReason, Tip, TransactionEntry};

/// Long enough for a thread on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const NEVER: Duration = Duration::from_secs(3_600);
const QUIET: Pace = Pace { choose: NEVER, tell_fees: NEVER, announce: NEVER };

struct Sent(Sender<NodeEvent>);

impl EventSink for Sent {
    fn event(&self, event: NodeEvent) {
        // The test may have ended.
        let _ = self.0.send(event);
    }
}

struct Fixture {
    mining: Mining,
    feed: Arc<Feed>,
    events: Receiver<NodeEvent>,
}

impl Fixture {
    fn new(pace: Pace) -> Self {
        let (sender, events) = channel();
        let (mining, feed) = Mining::start_at_pace(Network::Regtest, Arc::new(Sent(sender)), pace).unwrap();
        Self { mining, feed, events }
    }

    /// A service that has announced the empty and the full template of its first tip.
    fn with_tip(pace: Pace, transactions: &[MempoolTransaction]) -> (Self, Arc<Template>) {
        let fixture = Self::new(pace);
        transactions.iter().for_each(|transaction| fixture.feed.begin_with(transaction.clone()));
        fixture.feed.event(NodeEvent::TipChanged(tip(1)));
        fixture.feed.settled();
        assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
        assert!(fixture.next_template().is_empty);
        let full = fixture.next_template();
        (fixture, full)
    }

    fn next(&self) -> NodeEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn next_template(&self) -> Arc<Template> {
        match self.next() {
            NodeEvent::TemplateUpdated(template) => template,
            other => panic!("{other:?}"),
        }
    }

    fn add(&self, transaction: &MempoolTransaction) {
        self.feed.event(NodeEvent::TransactionAdded(transaction.clone()));
        assert!(matches!(self.next(), NodeEvent::TransactionAdded(_)));
    }

    fn best(&self) -> Arc<Template> {
        self.mining.ask(TemplateRequest::BestPaying).unwrap()
    }
}

fn tip(height: u32) -> Tip {
    let mut header = [0; 80];
    header[72..76].copy_from_slice(&0x207f_ffff_u32.to_le_bytes());
    Tip {
        position: ChainPosition { hash: [height as u8; 32], height },
        previous: [height as u8 - 1; 32],
        header,
        next_bits: Some(0x207f_ffff),
        next_min_time: 1_700_000_001,
    }
}

fn txids(template: &Template) -> Vec<Hash> {
    template.transactions.iter().map(|transaction| transaction.txid).collect()
}

#[test]
fn a_tip_is_followed_at_once_by_the_empty_template_and_by_the_full_one_when_all_fits() {
    let first = transaction(&[confirmed(1)], 400, 5_000);
    let second = transaction(&[confirmed(2)], 400, 9_000);
    let (fixture, full) = Fixture::with_tip(QUIET, &[first.clone(), second.clone()]);
    assert_eq!((full.height, full.previous, full.is_empty), (2, [1; 32], false));
    assert_eq!(txids(&full), [second.txid, first.txid]);
    assert_eq!((full.fees_sat, full.coinbase_value_sat), (14_000, 5_000_014_000));
    assert_eq!((full.weight, full.sigop_cost), (800, 8));
    assert_eq!((full.coinbase_lock_time, full.coinbase_sequence), (1, 0xffff_fffe));
    assert_eq!(full.coinbase_prefix, [0x52]);
    assert_eq!(fixture.best(), full, "the same one again");

    fixture.feed.unsettled(&[]);
    fixture.feed.event(NodeEvent::TipChanged(tip(2)));
    assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
    let empty = fixture.next_template();
    assert!(empty.is_empty && empty.transactions.is_empty() && empty.merkle_path.is_empty());
    assert_eq!((empty.height, empty.previous, empty.fees_sat), (3, [2; 32], 0));
    // The block held one of the two; nothing is chosen before that is known.
    fixture.feed.event(NodeEvent::TransactionRemoved { txid: second.txid, reason: RemovalReason::Mined });
    assert!(matches!(fixture.next(), NodeEvent::TransactionRemoved { .. }));
    fixture.feed.settled();
    let full = fixture.next_template();
    assert_eq!((txids(&full), full.height), (vec![first.txid], 3));
    for id in [empty.id, full.id] {
        assert_eq!(fixture.mining.template(id).unwrap().id, id);
    }
    let unknown = fixture.mining.template(full.id + 1).unwrap_err();
    assert!(matches!(unknown, MiningError::UnknownTemplate { .. }));
}

#[test]
fn a_question_while_the_chain_changes_is_answered_for_the_new_tip() {
    let (fixture, _) = Fixture::with_tip(QUIET, &[]);
    fixture.feed.unsettled(&[]);
    let (reply, answer) = sync_channel(1);
    fixture.mining.notes.send(Note::Asked { request: TemplateRequest::BestPaying, reply }).unwrap();
    fixture.feed.event(NodeEvent::TipChanged(tip(2)));
    fixture.feed.settled();
    let template = answer.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!((template.height, template.is_empty), (3, false));
}

#[test]
fn what_was_noted_before_a_question_is_in_its_answer() {
    let (fixture, _) = Fixture::with_tip(QUIET, &[]);
    let mut random = Random(3);
    for (count, added) in (1..).zip(random.mempool(50)) {
        fixture.add(&added);
        assert_eq!(fixture.best().transactions.len(), count);
    }
    fixture.feed.event(NodeEvent::MempoolCleared { transactions: 50 });
    assert_eq!(fixture.best().transactions.len(), 0);
}

#[test]
fn fees_that_rise_clearly_are_told_once_and_a_better_template_follows_later() {
    let pace = Pace { choose: Duration::ZERO, tell_fees: NEVER, announce: NEVER };
    let base = transaction(&[confirmed(1)], 400, 500_000);
    let (fixture, full) = Fixture::with_tip(pace, std::slice::from_ref(&base));
    fixture.add(&transaction(&[confirmed(2)], 400, 4_999));
    assert_eq!(fixture.best().fees_sat, 504_999);
    fixture.add(&transaction(&[confirmed(3)], 400, 1));
    // A hundredth more than was announced, and not less.
    let NodeEvent::FeeDelta { template_id, announced_fees_sat, fees_sat } = fixture.next() else { panic!() };
    assert_eq!((template_id, announced_fees_sat, fees_sat), (full.id, 500_000, 505_000));
    fixture.add(&transaction(&[confirmed(4)], 400, 100_000));
    assert_eq!(fixture.best().fees_sat, 605_000);
    drop(fixture.mining);
    assert!(fixture.events.try_recv().is_err(), "told again before its time");

    let pace = Pace { choose: Duration::ZERO, tell_fees: NEVER, announce: Duration::ZERO };
    let (fixture, full) = Fixture::with_tip(pace, &[base]);
    fixture.add(&transaction(&[confirmed(2)], 400, 1));
    let better = fixture.next_template();
    assert_eq!((better.previous, better.fees_sat), (full.previous, 500_001));
}

#[test]
fn constraints_make_another_template_and_the_strictest_hold() {
    let mut random = Random(5);
    let transactions = random.mempool(2_500);
    let (fixture, full) = Fixture::with_tip(QUIET, &transactions);
    assert!(full.weight > 3_980_000, "{} is a full block", full.weight);
    let wanted = CoinbaseConstraints { output_bytes: 50_000, sigop_cost: 800 };
    fixture.mining.set_constraints(7, wanted).unwrap();
    let smaller = fixture.next_template();
    assert_eq!(smaller.constraints, wanted);
    assert_eq!((smaller.coinbase_weight_limit, smaller.coinbase_sigop_cost_limit), (200_836, 800));
    assert!(u64::from(smaller.weight) + 200_836 + 332 <= 4_000_000);
    assert!(smaller.weight > 3_780_000 && smaller.fees_sat < full.fees_sat);
    fixture.mining.set_constraints(8, CoinbaseConstraints { output_bytes: 9, sigop_cost: 9 }).unwrap();
    assert_eq!(fixture.best(), smaller, "nothing stricter was asked for");
    fixture.mining.set_constraints(7, CoinbaseConstraints::default()).unwrap();
    assert_eq!(txids(&fixture.next_template()), txids(&full));
}

#[test]
fn outputs_and_declared_transactions_are_taken_as_they_are_asked_for() {
    let parent = transaction(&[confirmed(1)], 400, 1_000);
    let child = transaction(&[parent.txid], 400, 3_000);
    let single = transaction(&[confirmed(2)], 400, 9_000);
    let (fixture, full) = Fixture::with_tip(QUIET, &[parent.clone(), child.clone(), single.clone()]);
    let ask = |request| fixture.mining.ask(request);
    let outputs = vec![CoinbaseOutput { value_sat: 5_000_013_000, script: vec![0xac; 25] }];
    let template = ask(TemplateRequest::WithOutputs(outputs.clone())).unwrap();
    assert_eq!((txids(&template), &template.outputs), (txids(&full), &outputs));
    assert_eq!(template.constraints, CoinbaseConstraints { output_bytes: 1_034, sigop_cost: 500 });
    assert_eq!(fixture.mining.template(template.id).unwrap(), template);
    let too_much = vec![CoinbaseOutput { value_sat: 5_000_013_001, script: Vec::new() }];
    let refused = ask(TemplateRequest::WithOutputs(too_much)).unwrap_err();
    assert!(matches!(refused, MiningError::Constraints { asked: 5_000_013_001, limit: 5_000_013_000, .. }));
    let too_long = vec![CoinbaseOutput { value_sat: 0, script: vec![0; 250_000] }];
    assert!(matches!(
        ask(TemplateRequest::WithOutputs(too_long)),
        Err(MiningError::Constraints { asked: 251_013, limit: 200_000, .. })
    ));

    let declared = |wtxids: &[Hash]| ask(TemplateRequest::Declared(wtxids.to_vec()));
    let template = declared(&[parent.wtxid, child.wtxid]).unwrap();
    assert_eq!((txids(&template), template.fees_sat), (vec![parent.txid, child.txid], 4_000));
    let missing = declared(&[parent.wtxid, [9; 32]]).unwrap_err();
    assert!(matches!(missing, MiningError::MissingTransactions { wtxids } if wtxids == [[9; 32]]));
    for (wtxids, word) in [
        (vec![child.wtxid, parent.wtxid], "which comes later"),
        (vec![child.wtxid], "not declared"),
        (vec![single.wtxid, single.wtxid], "twice"),
    ] {
        let MiningError::Declaration { reason } = declared(&wtxids).unwrap_err() else { panic!() };
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn where_the_target_is_not_known_there_is_no_template() {
    let fixture = Fixture::new(QUIET);
    fixture.feed.event(NodeEvent::TipChanged(Tip { next_bits: None, ..tip(1) }));
    fixture.feed.settled();
    let refused = fixture.mining.ask(TemplateRequest::BestPaying).unwrap_err();
    assert!(matches!(refused, MiningError::NoTarget));
    assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
    fixture.mining.stop();
    let refused = fixture.mining.ask(TemplateRequest::BestPaying).unwrap_err();
    assert!(matches!(refused, MiningError::Node(NodeError::ShuttingDown)));
    drop(fixture.feed);
    assert!(fixture.events.try_recv().is_err());
}

#[test]
fn another_target_is_told_with_the_tip() {
    let fixture = Fixture::new(QUIET);
    fixture.feed.event(NodeEvent::TipChanged(Tip { next_bits: Some(0x207f_fffe), ..tip(1) }));
    assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
    assert_eq!(fixture.next_template().bits, 0x207f_fffe);
    let NodeEvent::DifficultyAdjusted { height, old_bits, new_bits } = fixture.next() else { panic!() };
    assert_eq!((height, old_bits, new_bits), (2, 0x207f_ffff, 0x207f_fffe));
}

/// Two threads: tips as fast as they come, and a service that is always behind.
#[test]
fn no_template_of_an_earlier_tip_is_announced_after_a_later_tip() {
    let mut random = Random(9);
    let transactions = random.mempool(500);
    let (fixture, _) = Fixture::with_tip(QUIET, &transactions);
    for height in 2..250 {
        fixture.feed.unsettled(&[]);
        fixture.feed.event(NodeEvent::TipChanged(tip(height)));
        fixture.feed.settled();
    }
    let last = fixture.best();
    assert_eq!(last.height, 250);
    let mut current = [1; 32];
    let mut full = 0;
    while let Ok(event) = fixture.events.try_recv() {
        match event {
            NodeEvent::TipChanged(tip) => current = tip.position.hash,
            NodeEvent::TemplateUpdated(template) => {
                assert_eq!(template.previous, current);
                full += u32::from(!template.is_empty);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(full >= 1);
}

/// A block of a template's transactions without its `left_out` last ones, and the tip that it makes.
fn mined(template: &Template, left_out: usize) -> (ConnectedBlock, Tip) {
    let coinbase = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).txdata.remove(0);
    let coinbase_txid = coinbase.compute_txid().to_byte_array();
    let held = &template.transactions[..template.transactions.len() - left_out];
    let mut raw = vec![0; 80];
    raw.extend(serialize(&bitcoin::VarInt(held.len() as u64 + 1)));
    let mut entries = Vec::new();
    let first = (coinbase_txid, serialize(&coinbase).into());
    for (txid, bytes) in std::iter::once(first).chain(held.iter().map(|of| (of.txid, of.raw.clone()))) {
        let bytes: Arc<[u8]> = bytes;
        entries.push(TransactionEntry {
            txid,
            wtxid: txid,
            offset_bytes: raw.len() as u32,
            length_bytes: bytes.len() as u32,
            weight: 400,
            fee_sat: None,
        });
        raw.extend_from_slice(&bytes);
    }
    let mut tip = tip(template.height);
    tip.header[4..36].copy_from_slice(&template.previous);
    // One that nobody compares where transactions are left out.
    let root = merkle_root(coinbase_txid, &template.merkle_path);
    tip.header[36..68].copy_from_slice(if left_out == 0 { &root } else { &[7; 32] });
    raw[..80].copy_from_slice(&tip.header);
    tip.position.hash = deserialize::<Header>(&tip.header).unwrap().block_hash().to_byte_array();
    tip.previous = template.previous;
    let block = ConnectedBlock {
        position: tip.position,
        previous: template.previous,
        raw: raw.into(),
        transactions: entries,
    };
    (block, tip)
}

impl Fixture {
    /// Waits until the service is prepared for a block of this template.
    fn wait_for_ready(&self, template: &Template) {
        let start = std::time::Instant::now();
        while !self.mining.board.is_ready_after(template.id) {
            assert!(start.elapsed() < PATIENCE, "nothing is made ready");
            std::thread::yield_now();
        }
    }

    /// Takes the block's transactions out of the mempool, and lets chain and mempool fit again.
    fn settle(&self, block: &ConnectedBlock) {
        for entry in &block.transactions[1..] {
            let reason = RemovalReason::Mined;
            self.feed.event(NodeEvent::TransactionRemoved { txid: entry.txid, reason });
            assert!(matches!(self.next(), NodeEvent::TransactionRemoved { .. }));
        }
        self.feed.settled();
    }
}

#[test]
fn a_block_of_the_announced_template_is_followed_at_once_by_the_full_one() {
    let mut random = Random(11);
    let (fixture, full) = Fixture::with_tip(QUIET, &random.mempool(5_000));
    fixture.wait_for_ready(&full);
    let (block, tip) = mined(&full, 0);
    fixture.feed.unsettled(&block.raw);
    fixture.feed.event(NodeEvent::TipChanged(tip));
    assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
    let next = fixture.next_template();
    assert!(!next.is_empty && next.transactions.len() > 500, "{}", next.transactions.len());
    assert_eq!((next.height, next.previous), (full.height + 1, block.position.hash));
    assert!(next.transactions.iter().all(|of| !full.transactions.contains(of)));
    assert_eq!(fixture.mining.template(next.id).unwrap(), next);
    fixture.feed.event(NodeEvent::BlockConnected(block.clone()));
    assert!(matches!(fixture.next(), NodeEvent::BlockConnected(_)));
    fixture.settle(&block);
    let now = fixture.best();
    let sorted = |template: &Template| {
        let mut txids = txids(template);
        txids.sort_unstable();
        txids
    };
    assert_eq!(sorted(&now), sorted(&next), "what would be chosen now is what was ready");
    fixture.wait_for_ready(&next);
    drop(fixture.mining);
    assert!(fixture.events.try_recv().is_err(), "nothing is announced twice");
}

#[test]
fn what_came_after_the_choice_is_in_a_template_that_follows_where_it_pays() {
    let mut random = Random(13);
    let (fixture, full) = Fixture::with_tip(QUIET, &random.mempool(3_000));
    fixture.wait_for_ready(&full);
    let late = transaction(&[confirmed(90_000)], 400, 1_000_000_000);
    fixture.add(&late);
    let (block, tip) = mined(&full, 0);
    fixture.feed.unsettled(&block.raw);
    fixture.feed.event(NodeEvent::TipChanged(tip));
    assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
    let ready = fixture.next_template();
    assert!(!ready.is_empty && !txids(&ready).contains(&late.txid));
    fixture.settle(&block);
    let better = fixture.next_template();
    assert_eq!((better.previous, txids(&better)[0]), (ready.previous, late.txid));
}

#[test]
fn a_block_that_was_not_foreseen_is_followed_by_the_full_template_before_the_mempool_has_followed() {
    for tip_comes_first in [true, false] {
        let mut random = Random(12);
        let (fixture, full) = Fixture::with_tip(QUIET, &random.mempool(5_000));
        fixture.wait_for_ready(&full);
        let left_out = 20;
        let (block, tip) = mined(&full, left_out);
        fixture.feed.unsettled(&block.raw);
        let mut events = [NodeEvent::TipChanged(tip), NodeEvent::BlockConnected(block.clone())];
        if !tip_comes_first {
            events.reverse();
        }
        let mut templates = Vec::new();
        events.into_iter().for_each(|event| fixture.feed.event(event));
        while templates.len() < 2 {
            if let NodeEvent::TemplateUpdated(template) = fixture.next() {
                templates.push(template);
            }
        }
        assert!(templates[0].is_empty && !templates[1].is_empty);
        assert_eq!(templates[1].previous, block.position.hash);
        // Left out by the miner, and well paid.
        let remaining = &full.transactions[full.transactions.len() - left_out..];
        assert!(remaining.iter().all(|of| templates[1].transactions.contains(of)));
        fixture.settle(&block);
        let (ahead_sat, now_sat) = (templates[1].fees_sat, fixture.best().fees_sat);
        assert!(ahead_sat * 100 >= now_sat * 99, "{ahead_sat} of {now_sat} sat");
    }
}

#[test]
fn a_block_on_another_than_the_last_tip_waits_for_the_mempool() {
    let (fixture, full) = Fixture::with_tip(QUIET, &Random(14).mempool(500));
    fixture.wait_for_ready(&full);
    let (mut block, mut tip) = mined(&full, 1);
    (block.previous, tip.previous) = ([99; 32], [99; 32]);
    fixture.feed.unsettled(&block.raw);
    fixture.feed.event(NodeEvent::TipChanged(tip));
    fixture.feed.event(NodeEvent::BlockConnected(block.clone()));
    assert!(matches!(fixture.next(), NodeEvent::TipChanged(_)));
    assert!(fixture.next_template().is_empty);
    assert!(matches!(fixture.next(), NodeEvent::BlockConnected(_)));
    fixture.settle(&block);
    // The removals came before it.
    assert_eq!(fixture.next_template().transactions.len(), 500 - (full.transactions.len() - 1));
}
