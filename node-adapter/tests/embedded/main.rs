//! Does the embedded node, driven from outside, keep chain and mempool right and tell the truth about them?
//!
//! Every test checks its events by following them (`Follower`): each must fit what the ones before it said, and in
//! the end the follower must know what the node knows.
#![allow(clippy::unwrap_used)]

mod answers;
mod apart;
mod chain;
mod check;
mod follow;
mod follower;
mod headers;
mod idle;
mod labelled;
mod large;
mod limits_at_start;
mod mempool;
mod mining;
mod model;
mod pool;
mod random;
mod refusals;
mod reindex;
mod reorganise;
mod restart;
mod wallet;

use std::path::Path;
use std::sync::Arc;

use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};

use follower::Follower;
use wallet::Wallet;

/// A node with what the tests need around it.
struct Fixture {
    node: EmbeddedNode,
    follower: Arc<Follower>,
    wallet: Wallet,
    // Last: the node closes before its directory goes.
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::new_with(|_| ())
    }

    fn new_with(change: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        change(&mut options);
        let (node, follower) = open_with(options);
        Self { node, follower, wallet: Wallet::new(), directory }
    }

    /// A node at height 110: the coinbases of heights 1 to 11 are mature; even heights pay to taproot.
    fn at_110() -> Self {
        Self::at_110_with(|_| ())
    }

    fn at_110_with(change: impl FnOnce(&mut EmbeddedOptions)) -> Self {
        let fixture = Self::new_with(change);
        fixture.mine(110);
        fixture.follower.take();
        fixture
    }

    fn mine(&self, count: u32) {
        for _ in 0..count {
            let is_even = self.node_height() % 2 == 1;
            let payout = if is_even { self.wallet.taproot_script() } else { self.wallet.segwit_script() };
            self.node.mine_block(&payout).unwrap();
        }
    }

    fn node_height(&self) -> u32 {
        use blvm_node_adapter::source::NodeApi as _;
        self.node.chain_tip().height
    }
}

fn options(path: &Path) -> EmbeddedOptions {
    EmbeddedOptions::new(path, Network::Regtest)
}

fn open(path: &Path) -> (EmbeddedNode, Arc<Follower>) {
    open_with(options(path))
}

fn open_with(options: EmbeddedOptions) -> (EmbeddedNode, Arc<Follower>) {
    let follower = Arc::new(Follower::default());
    let node = EmbeddedNode::open(options, follower.clone()).unwrap();
    follower.start_at(&node);
    (node, follower)
}
