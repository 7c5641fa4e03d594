//! Changes of a chain as tests of followers make them, at random and at the worst moments.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use blvm_bus::message::chain::Chain;
use blvm_bus::request::{ChainRequest, Request};

use super::{TestNode, TestNodeOptions};
use crate::session::Session;
use crate::{Topics, Wait};

/// Messages of `chain` that its ring holds.
const DEPTH: u32 = 8;

/// Something that happens to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many blocks join.
    Mine(u32),
    /// A block joins whose body found no room.
    MineWithoutBody,
    /// So many blocks leave, and one more joins.
    Reorganise(u32),
    /// More messages than the ring holds.
    Flood,
}

/// A node whose chain changes as it likes.
pub(crate) struct ChangingNode {
    pub(crate) node: TestNode,
    during_replays: Arc<Mutex<VecDeque<Vec<Change>>>>,
}

impl ChangingNode {
    /// With answers of at most `limit_steps`.
    pub(crate) fn start(limit_steps: u32) -> Self {
        let node = TestNodeOptions::default().depth::<Chain>(DEPTH).start();
        let during_replays = Arc::new(Mutex::new(VecDeque::<Vec<Change>>::new()));
        let changes = Arc::clone(&during_replays);
        node.when("replay_from").answer_with(move |node, request| {
            let mut request = request.clone();
            if let Request::Chain(asked) = &mut request
                && let ChainRequest::ReplayFrom { limit_steps: limit, .. } = &mut **asked
            {
                *limit = limit_steps;
            }
            // After the answer was put together, before it is read.
            let answer = node.usual_answer(&request);
            let next = changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.into_iter().flatten().for_each(|during| change(node, during));
            answer
        });
        ChangingNode { node, during_replays }
    }

    pub(crate) fn change(&self, what: Change) {
        change(&self.node, what);
    }

    /// So much happens between two parts of a replay, part by part.
    pub(crate) fn change_during_replays(&self, changes: &[Vec<Change>]) {
        self.during_replays.lock().unwrap_or_else(PoisonError::into_inner).extend(changes.iter().cloned());
    }

    /// Nothing more happens during replays.
    pub(crate) fn rest(&self) {
        self.during_replays.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A module that attaches now.
    pub(crate) fn attach(&self) -> Session {
        self.node.attach(Topics::new().with::<Chain>(), Wait::Park).expect("the node takes everybody")
    }
}

fn change(node: &TestNode, change: Change) {
    match change {
        Change::Mine(count) => _ = node.mine(count),
        Change::MineWithoutBody => _ = node.mine_without_body(),
        Change::Flood => _ = node.mine(DEPTH + 3),
        Change::Reorganise(depth) => _ = node.reorganise(depth.min(node.tip().height)),
    }
}
