//! Topic `system`: the node and its modules.

use super::{BodyAccess, Hash};
use crate::layout::Geometry;

topic! {
    /// What happens to the node itself and to its modules.
    System = 7 "system", SystemEvent,
    Geometry { depth: 4_096, slot_bytes: 512, terms: 0, term_bytes: 0 }, BodyAccess::None, "";

    /// The node has opened its chain and answers requests.
    1 NodeStartupCompleted / ArchivedNodeStartupCompleted {
        /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
        network: String,
        /// Height of the tip.
        height: u32,
        /// Hash of the tip.
        tip: Hash,
    }

    /// A module is attached: it maps its segments and may send requests.
    2 ModuleStarted / ArchivedModuleStarted {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Process id.
        pid: u32,
    }

    /// A module's process has exited.
    3 ModuleStopped / ArchivedModuleStopped {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Process id.
        pid: u32,
        /// Exit code, or minus the number of the signal that ended it.
        status: i32,
    }

    /// The node is shutting down; the topics close after this.
    4 NodeShutdown / ArchivedNodeShutdown {
        /// Why, in words for a log; at most 256 bytes.
        reason: String,
    }
}
