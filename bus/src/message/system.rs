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

    /// A module's process has exited as it should: because it was asked to, or by itself with status 0.
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

    /// The node began or ended fetching headers or blocks.
    5 SyncStateChanged / ArchivedSyncStateChanged {
        /// What it does now: 1 nothing for want of peers, 2 fetches headers, 3 fetches blocks, 4 nothing is missing (the
        /// `SYNC_…` numbers).
        state: u16,
        /// Height of the tip.
        height: u32,
        /// Height of the best header.
        header_height: u32,
    }

    /// The node fetches headers from now on.
    6 HeadersSyncStarted / ArchivedHeadersSyncStarted {
        /// Height of the best header.
        header_height: u32,
    }

    /// Headers are being fetched; at most once a second.
    7 HeadersSyncProgress / ArchivedHeadersSyncProgress {
        /// Height of the best header so far.
        header_height: u32,
    }

    /// No header is known to be missing. Not sent if the fetching ended for want of peers.
    8 HeadersSyncCompleted / ArchivedHeadersSyncCompleted {
        /// Height of the best header.
        header_height: u32,
    }

    /// The node fetches blocks from now on.
    9 BlockSyncStarted / ArchivedBlockSyncStarted {
        /// Height of the tip.
        height: u32,
        /// Height of the best header: where the blocks lead.
        header_height: u32,
    }

    /// Blocks are being fetched; at most once a second.
    10 BlockSyncProgress / ArchivedBlockSyncProgress {
        /// Height of the tip so far.
        height: u32,
        /// Height of the best header: where the blocks lead.
        header_height: u32,
    }

    /// No block is known to be missing. Not sent if the fetching ended for want of peers or went back to headers.
    11 BlockSyncCompleted / ArchivedBlockSyncCompleted {
        /// Height of the tip.
        height: u32,
    }

    /// A block was refused: it breaks a consensus rule.
    12 ConsensusRuleViolation / ArchivedConsensusRuleViolation {
        /// Hash of the block.
        hash: Hash,
        /// The rule in the engine's words, such as `bad-txnmrklroot`; at most 256 bytes.
        reason: String,
    }

    /// Something is withheld from peers until further notice.
    13 MaintenanceStarted / ArchivedMaintenanceStarted {
        /// What: `blocks`.
        withheld: String,
    }

    /// Peers are served again.
    14 MaintenanceCompleted / ArchivedMaintenanceCompleted {
        /// What was withheld: `blocks`.
        withheld: String,
    }

    /// The disk that holds the data is nearly full.
    15 DiskSpaceLow / ArchivedDiskSpaceLow {
        /// Bytes left.
        free_bytes: u64,
        /// Below how many bytes this is said.
        threshold_bytes: u64,
    }

    /// The node has found a module it did not know in this run; nothing of it runs yet.
    16 ModuleDiscovered / ArchivedModuleDiscovered {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Version from its manifest; at most 64 bytes.
        version: String,
    }

    /// A module's directory appeared while the node ran; `ModuleDiscovered` follows.
    17 ModuleInstalled / ArchivedModuleInstalled {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Version from its manifest; at most 64 bytes.
        version: String,
    }

    /// A module was asked for and is at work. Sent once, until it is unloaded, whatever happens to its process.
    18 ModuleLoaded / ArchivedModuleLoaded {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Version from its manifest; at most 64 bytes.
        version: String,
    }

    /// A module has another state (the `MODULE_…` numbers).
    19 ModuleStateChanged / ArchivedModuleStateChanged {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// The state from now on.
        state: u16,
        /// The state until now.
        previous: u16,
    }

    /// A module's health is another (the `HEALTH_…` numbers).
    20 ModuleHealthChanged / ArchivedModuleHealthChanged {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Its health from now on.
        health: u16,
        /// Its health until now.
        previous: u16,
    }

    /// A module was reloaded: another process of it reads on where the one before ended.
    21 ModuleReloaded / ArchivedModuleReloaded {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Version from its manifest; at most 64 bytes.
        version: String,
        /// Process id.
        pid: u32,
    }

    /// A module is not loaded any more; its process has exited before.
    22 ModuleUnloaded / ArchivedModuleUnloaded {
        /// Name from its manifest; at most 64 bytes.
        name: String,
    }

    /// A module's process has ended though nobody asked it to, by a signal or with another status than 0.
    23 ModuleCrashed / ArchivedModuleCrashed {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Process id.
        pid: u32,
        /// Exit code, or minus the number of the signal that ended it.
        status: i32,
    }

    /// The files of a known module are others than before; what runs is not touched by that.
    24 ModuleUpdated / ArchivedModuleUpdated {
        /// Name from its manifest; at most 64 bytes.
        name: String,
        /// Version from its manifest as it is now; at most 64 bytes.
        version: String,
    }

    /// The directory of a known module is gone, or holds no manifest any more.
    25 ModuleRemoved / ArchivedModuleRemoved {
        /// Name from its manifest; at most 64 bytes.
        name: String,
    }
}

/// A module that is known and has no process: not loaded, or it ended by itself with status 0.
pub const MODULE_STOPPED: u16 = 1;
/// Its process was started and is not at work yet.
pub const MODULE_STARTING: u16 = 2;
/// It is at work.
pub const MODULE_RUNNING: u16 = 3;
/// It was asked to end.
pub const MODULE_STOPPING: u16 = 4;
/// It crashed and will be started again after a while.
pub const MODULE_WAITING: u16 = 5;
/// It crashed too often, or could not be started: it stays down until somebody loads it again.
pub const MODULE_FAILED: u16 = 6;

/// Nobody has asked it yet, or it is not running.
pub const HEALTH_UNKNOWN: u16 = 1;
/// It answers, and says that all is well.
pub const HEALTH_HEALTHY: u16 = 2;
/// It answers, and says that something does not work.
pub const HEALTH_DEGRADED: u16 = 3;
/// It does not answer in time.
pub const HEALTH_UNRESPONSIVE: u16 = 4;

/// There is no peer to fetch from.
pub const SYNC_NO_PEERS: u16 = 1;
/// Headers are being fetched.
pub const SYNC_HEADERS: u16 = 2;
/// Blocks are being fetched.
pub const SYNC_BLOCKS: u16 = 3;
/// Nothing is known to be missing.
pub const SYNC_SYNCED: u16 = 4;

/// Longest text for a log in a message.
pub const MAX_TEXT_BYTES: usize = 256;
