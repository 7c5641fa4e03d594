//! Headers before blocks: a second node learns the chain of a first.

use blvm_node_adapter::source::{BlockVerdict, ChainPosition, Hash, HeadersVerdict, NodeApi as _};

use super::Fixture;

fn headers(fixture: &Fixture, heights: std::ops::RangeInclusive<u32>) -> Vec<[u8; 80]> {
    heights.map(|height| fixture.node.header_by_height(height).unwrap().unwrap().raw).collect()
}

fn hash_at(fixture: &Fixture, height: u32) -> Hash {
    fixture.node.header_by_height(height).unwrap().unwrap().position.hash
}

fn give(from: &Fixture, to: &Fixture, height: u32) -> BlockVerdict {
    let raw = from.node.block_by_height(height).unwrap().unwrap().raw;
    let node: &dyn blvm_node_adapter::source::NodeApi = &to.node;
    node.submit_block(&raw).unwrap()
}

#[test]
fn headers_lead_the_way_and_blocks_follow() {
    let (first, second) = (Fixture::at_110(), Fixture::new());
    let tip = first.node.chain_tip();
    let genesis = second.node.chain_tip();
    assert_eq!(second.node.best_header().unwrap(), genesis);
    assert_eq!(second.node.submit_headers(&headers(&first, 2..=3)).unwrap(), HeadersVerdict::Unconnected);
    assert_eq!(second.node.submit_headers(&headers(&first, 1..=110)).unwrap(), HeadersVerdict::Accepted(tip));
    assert_eq!((second.node.best_header().unwrap(), second.node.chain_tip()), (tip, genesis));
    assert_eq!(second.node.ancestor(&tip.hash, 60).unwrap(), Some(hash_at(&first, 60)));
    assert_eq!(second.node.ancestor(&tip.hash, 111).unwrap(), None);
    assert!(!second.node.header(&hash_at(&first, 60)).unwrap().unwrap().is_active);
    for height in 1..=110 {
        assert_eq!(give(&first, &second, height), BlockVerdict::Connected);
    }
    assert_eq!(give(&first, &second, 50), BlockVerdict::Known);
    assert_eq!(second.node.chain_tip(), tip);
}

#[test]
fn a_bad_header_is_named_and_those_before_it_are_kept() {
    let (first, second) = (Fixture::at_110(), Fixture::new());
    let mut some = headers(&first, 1..=5);
    // Another target in compact form than regtest's.
    some[3][72] ^= 1;
    let HeadersVerdict::Invalid { hash, reason } = second.node.submit_headers(&some).unwrap() else {
        panic!("taken")
    };
    assert!(!reason.is_empty() && hash != hash_at(&first, 4), "{reason}");
    let third = ChainPosition { hash: hash_at(&first, 3), height: 3 };
    assert_eq!(second.node.best_header().unwrap(), third);
    assert_eq!(give(&first, &second, 5), BlockVerdict::Orphan { previous: hash_at(&first, 4) });
}

#[test]
fn a_longer_branch_of_headers_is_best_before_its_blocks_come() {
    let (first, second) = (Fixture::at_110(), Fixture::new());
    second.node.submit_headers(&headers(&first, 1..=110)).unwrap();
    for height in 1..=110 {
        give(&first, &second, height);
    }
    first.node.reorganise(3, &first.wallet.segwit_script()).unwrap();
    let tip = first.node.chain_tip();
    second.node.submit_headers(&headers(&first, 108..=tip.height)).unwrap();
    assert_eq!(second.node.best_header().unwrap(), tip);
    let verdicts: Vec<_> = (108..=tip.height).map(|height| give(&first, &second, height)).collect();
    assert_eq!(verdicts.last(), Some(&BlockVerdict::Connected));
    assert_eq!(verdicts[0], BlockVerdict::SideBranch);
    assert_eq!(second.node.chain_tip(), tip);
}
