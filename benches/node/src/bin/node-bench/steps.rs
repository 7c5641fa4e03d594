//! When each step of a block's way was done: the node says so at the level `trace`, which nobody else listens to.

use std::sync::Arc;

use blvm_node_bench::now_ns;
use parking_lot::Mutex;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// What the node's steps are told under.
const TARGET: &str = "blvm::block_path";

/// The steps: what the node calls the moment that ends each, and what is done in it. The first moment begins the way.
pub(crate) const STEPS: [(&str, &str); 10] = [
    ("engine connected", ""),
    ("judged", "engine returns"),
    ("tip", "tip and a template told"),
    ("journalled", "the rest of journal, decode, index"),
    ("decoded", "fees that were not known"),
    ("message", "message made"),
    ("published", "published"),
    // What comes after the event.
    ("mempool", "mempool follows"),
    ("outputs", "unspent outputs follow"),
    ("settled", "mempool events told"),
];

/// How many of the moments come before the block is published, that one included.
pub(crate) const PUBLISHED: usize = 7;

/// The last step of the way, which the module ends.
pub(crate) const IN_HAND: &str = "in the module's hand";

/// Notes the moments.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Vec<(&'static str, u64)>>>);

impl Steps {
    /// The moments since the last call; `None` if they are not those of exactly one block.
    pub(crate) fn take(&self) -> Option<[u64; STEPS.len()]> {
        let moments = std::mem::take(&mut *self.0.lock());
        let is_one_block = moments.iter().map(|(name, _)| *name).eq(STEPS.map(|(name, _)| name));
        let times: Vec<_> = moments.into_iter().map(|(_, at)| at).collect();
        if is_one_block { times.try_into().ok() } else { None }
    }
}

impl<S: Subscriber> Layer<S> for Steps {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let at = now_ns();
        self.0.lock().push((event.metadata().name(), at));
    }
}
