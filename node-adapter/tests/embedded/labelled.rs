//! Blocks made elsewhere, with a label that says what must become of them.

use std::path::PathBuf;
use std::{env, fs};

use bitcoin::hex::FromHex as _;
use blvm_node_adapter::embedded::{BlockVerdict, InvalidReason};
use blvm_node_adapter::source::NodeApi as _;

use super::Fixture;
use super::follower::words;

/// The labelled blocks; `None` where the data is absent.
pub fn labelled_blocks() -> Option<Vec<(String, Vec<u8>)>> {
    let folder = PathBuf::from(env::var_os("BLVM_TEST_DATA")?);
    let text = fs::read_to_string(folder.join("regtest-labelled-blocks.txt")).ok()?;
    let blocks = text.lines().map(|line| {
        let (label, hex) = line.split_once(' ').unwrap();
        (label.to_owned(), Vec::from_hex(hex.trim()).unwrap())
    });
    Some(blocks.collect())
}

#[test]
pub fn labelled_blocks_get_the_verdict_of_their_label() {
    let Some(blocks) = labelled_blocks() else {
        println!("skipped: no data");
        return;
    };
    let Fixture { node, follower, directory: _directory, .. } = &Fixture::new();
    assert_eq!(blocks.len(), 116);
    for (label, raw) in &blocks {
        let before = node.chain_tip();
        let verdict = node.submit_block(raw).unwrap();
        let events = follower.take();
        match label.as_str() {
            "valid" | "valid-spend" => {
                assert_eq!(verdict, BlockVerdict::Connected, "{label}");
                assert_eq!(words(&events), [format!("C{}", before.height + 1)]);
            }
            "bad-script" | "overpay" => {
                let BlockVerdict::Invalid { reason, detail } = verdict else {
                    panic!("{label}: {verdict:?}")
                };
                assert_eq!(reason, InvalidReason::Consensus);
                // The block with the bad script repeats a transaction, which the engine notices first; scripts alone
                // are tested in `chain`.
                let word = if label == "overpay" { "bad-cb-amount" } else { "bad-txns-BIP30" };
                assert!(detail.as_ref().is_some_and(|detail| detail.contains(word)), "{label}: {detail:?}");
                assert_eq!((events.len(), node.chain_tip()), (0, before));
            }
            "fork110" | "fork111" => {
                assert_eq!((verdict, events.len()), (BlockVerdict::SideBranch, 0), "{label}");
            }
            "fork112" => {
                assert_eq!(verdict, BlockVerdict::Connected);
                let expected = ["D111", "D110", "C110", "C111", "C112", "R"];
                // The block that left held a transaction; it may come back.
                assert_eq!(words(&events)[..6], expected);
            }
            other => panic!("an unknown label: {other}"),
        }
        follower.agrees_with(node);
    }
    assert_eq!(node.chain_tip().height, 112);
}
