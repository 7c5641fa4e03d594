//! What a module asks about the mempool and offers to it, answered by a real one.

use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, ScriptBuf};
use blvm_bus::request::{MAX_PACKAGE, MAX_WTXIDS};
use blvm_sdk::{Mempool, TransactionRefusal};

use super::*;

fn rule<T: std::fmt::Debug>(answer: Result<T, CallError>) -> TransactionRefusal {
    match refused(answer) {
        Refusal::Transaction { rule, .. } => rule,
        other => panic!("another refusal: {other}"),
    }
}

#[test]
fn the_mempool_is_described_and_estimates_and_its_refusals_have_names() {
    let mut node = Node::with_chain(104);
    let mut session = node.module(Wishes::new().with::<Mempool>());
    let client = session.client();
    let spends = [node.spend(), node.spend()];
    let ids = spends.each_ref().map(|spend| client.submit_transaction(serialize(spend)).unwrap());
    assert_eq!(ids, spends.each_ref().map(|spend| spend.compute_txid().to_byte_array()));
    assert_eq!(rule(client.submit_transaction(serialize(&spends[0]))), TransactionRefusal::AlreadyInMempool);
    assert_eq!(rule(client.submit_transaction(vec![1, 2, 3])), TransactionRefusal::Malformed);
    let mut dust = node.spend();
    dust.output[0].value = Amount::from_sat(1);
    assert_eq!(rule(client.submit_transaction(serialize(&dust))), TransactionRefusal::Dust);
    let mut strange = dust.clone();
    strange.output[0].value = Amount::from_sat(10_000);
    strange.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x51, 0x51, 0x51]);
    assert_eq!(rule(client.submit_transaction(serialize(&strange))), TransactionRefusal::NonStandard);
    let mut lost = dust.clone();
    lost.input[0].previous_output.vout = 9;
    lost.output[0].value = Amount::from_sat(10_000);
    assert_eq!(rule(client.submit_transaction(serialize(&lost))), TransactionRefusal::MissingInput);

    let entries = client.mempool_transactions().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.txid).collect::<Vec<_>>(), ids);
    assert_eq!(client.mempool_transaction(ids[1]).unwrap().as_ref(), Some(&entries[1]));
    assert_eq!(client.mempool_transaction([1; 32]).unwrap(), None);
    assert!(client.is_in_mempool(ids[0]).unwrap() && !client.is_in_mempool([1; 32]).unwrap());
    let found = client.transactions_by_wtxid(vec![entries[1].wtxid, [1; 32], entries[0].wtxid]).unwrap();
    assert_eq!(found, [Some(entries[1].clone()), None, Some(entries[0].clone())]);
    let limit = MAX_WTXIDS as u64;
    assert!(
        matches!(refused(client.transactions_by_wtxid(vec![[1; 32]; MAX_WTXIDS + 1])), Refusal::Limit { limit: l, .. } if l == limit)
    );

    let size = client.mempool_size().unwrap();
    let (bytes, fees): (u64, u64) =
        entries.iter().fold((0, 0), |sum, entry| (sum.0 + entry.raw.len() as u64, sum.1 + entry.fee_sat));
    assert_eq!(
        (size.transactions, size.bytes, size.fees_sat, size.floor_sat_per_kvb),
        (2, bytes, fees, 1_000)
    );
    let classes = client.fee_rate_summary().unwrap();
    assert_eq!(classes.iter().map(|class| class.transactions).sum::<u64>(), 2);
    assert_eq!(classes.iter().map(|class| class.fees_sat).sum::<u64>(), fees);
    assert_eq!(client.fee_estimate(2).unwrap(), None, "nothing was confirmed yet");

    let snapshot = client.mempool_snapshot().unwrap();
    assert_eq!((&snapshot.transactions, snapshot.tip), (&entries, client.chain_tip().unwrap()));
    // What comes after it is in the topic from its sequence on.
    let later = client.submit_transaction(serialize(&node.spend())).unwrap();
    let mut feed = session.feed::<Mempool>().unwrap();
    feed.seek(snapshot.next_sequence);
    let added = wait_for(&mut session, &mut feed, |received| match received.event().unwrap() {
        blvm_sdk::MempoolEvent::TransactionAdded(added) => Some((received.sequence(), added.txid)),
        _ => None,
    });
    assert_eq!(added, (snapshot.next_sequence, later));
}

#[test]
fn a_package_enters_whole_and_is_refused_by_the_transaction_that_is_wrong() {
    let mut node = Node::with_chain(102);
    let mut session = node.module(Wishes::new());
    let client = session.client();
    let parent = node.spend();
    // Its own output, the last coin of the wallet, after the other coinbase.
    let other = node.spend();
    let child = node.spend();
    assert_eq!(child.input[0].previous_output.txid, parent.compute_txid());
    let raw =
        |transactions: &[&Transaction]| transactions.iter().map(|each| serialize(*each)).collect::<Vec<_>>();
    for shape in [raw(&[&parent]), raw(&[&child, &parent]), raw(&[&parent, &other])] {
        let refusal = refused(client.submit_package(shape));
        assert!(matches!(refusal, Refusal::PackageShape { .. }), "{refusal}");
    }
    let limit = MAX_PACKAGE as u64;
    let many = vec![vec![0]; MAX_PACKAGE + 1];
    assert!(matches!(refused(client.submit_package(many)), Refusal::Limit { limit: l, .. } if l == limit));
    let mut broken = child.clone();
    broken.output[0].value = Amount::from_sat(1);
    let refusal = refused(client.submit_package(raw(&[&parent, &broken])));
    assert!(
        matches!(refusal, Refusal::PackageTransaction { index: 1, rule: TransactionRefusal::Dust, .. }),
        "{refusal}"
    );
    let txids = client.submit_package(raw(&[&parent, &child])).unwrap();
    assert_eq!(txids, [&parent, &child].map(|each| each.compute_txid().to_byte_array()));
    assert_eq!(client.mempool_size().unwrap().transactions, 2);

    let mut reader = node.module_with(&[Permission::ReadMempool], Wishes::new());
    let denied = Refusal::Denied { permission: "send_transactions".to_owned() };
    assert_eq!(refused(reader.client().submit_package(raw(&[&parent, &child]))), denied);
    assert_eq!(refused(reader.client().submit_transaction(serialize(&other))), denied);
    let mut sender = node.module_with(&[Permission::SendTransactions], Wishes::new());
    let denied = Refusal::Denied { permission: "read_mempool".to_owned() };
    assert_eq!(refused(sender.client().mempool_snapshot()), denied);
    assert_eq!(refused(sender.client().fee_estimate(2)), denied);
}
