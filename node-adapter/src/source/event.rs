//! What happens in a node.

use std::net::IpAddr;
use std::sync::Arc;

use super::{
    ChainPosition, ConnectedBlock, FeeEstimate, Hash, MempoolTransaction, PacketProtocol, Peer,
    RemovalReason, SyncState, Template, Tip,
};

/// Something that happened in the node, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum NodeEvent {
    /// The tip is another block: sent once the chain is open, then after each run of connects and disconnects that left
    /// another tip, before what sums it up.
    TipChanged(Tip),
    /// A block joined the active chain.
    BlockConnected(ConnectedBlock),
    /// A block left the active chain.
    BlockDisconnected {
        /// Where it stood.
        position: ChainPosition,
        /// Hash of the block before it.
        previous: Hash,
    },
    /// A reorganisation is complete: sent once, after the disconnects and connects it sums up.
    ChainReorganised {
        /// Last block both branches share.
        fork: ChainPosition,
        /// Blocks that left, highest first.
        disconnected: Vec<Hash>,
        /// Blocks that joined, lowest first.
        connected: Vec<Hash>,
    },
    /// A transaction was accepted to the mempool.
    TransactionAdded(MempoolTransaction),
    /// A transaction left the mempool.
    TransactionRemoved {
        /// Transaction id.
        txid: Hash,
        /// Why.
        reason: RemovalReason,
    },
    /// A version handshake was completed.
    PeerConnected(Peer),
    /// A peer that had completed its handshake is gone.
    PeerDisconnected {
        /// Number of the connection.
        id: u64,
        /// Why, in words for a log.
        reason: String,
    },
    /// The node would mine another block than it said before.
    TemplateUpdated(Arc<Template>),
    /// What the mempool would pay now, while the template announced last is still being worked on.
    FeeDelta {
        /// Number of the template announced last.
        template_id: u64,
        /// Fees it was announced with, in satoshi.
        announced_fees_sat: u64,
        /// Fees of the best template now, in satoshi.
        fees_sat: u64,
    },
    /// A block that this node assembled (its miner, or a module's solution) joined the active chain. Blocks that are given as
    /// a whole (`submit_block`) are not told so.
    BlockMined {
        /// Where it stands.
        position: ChainPosition,
        /// Template it came from; `None` where the node mined without one: on regtest, empty blocks and reorganisations.
        template_id: Option<u64>,
    },
    /// The target of the next block is another one.
    DifficultyAdjusted {
        /// Height of the first block with the new target.
        height: u32,
        /// Target before, in compact form (nBits).
        old_bits: u32,
        /// Target now, in compact form (nBits).
        new_bits: u32,
    },
    /// The least fee rate that the mempool takes is another one.
    FeeRateChanged {
        /// Fee rate now, in satoshi for 1,000 virtual bytes.
        floor_sat_per_kvb: u64,
    },
    /// The fee estimates are others; sent after a block.
    FeeEstimatesChanged {
        /// One estimate per target that has one, ascending by target.
        estimates: Vec<FeeEstimate>,
    },
    /// The mempool has passed a threshold of its limit, upwards.
    MempoolThresholdExceeded {
        /// The threshold, in hundredths of the limit.
        percent: u8,
        /// Bytes of transactions.
        bytes: u64,
        /// The most it holds.
        limit_bytes: u64,
    },
    /// The mempool was emptied by an operator; its transactions are not named one by one.
    MempoolCleared {
        /// Transactions it held.
        transactions: u64,
    },
    /// An address was refused for a time.
    PeerBanned {
        /// The address.
        address: IpAddr,
        /// When the ban ends, in seconds since 1970.
        until_s: u64,
        /// Why, in words for a log.
        reason: String,
    },
    /// A ban has ended.
    PeerUnbanned {
        /// The address.
        address: IpAddr,
        /// Whether somebody ended it before its time.
        is_early: bool,
    },
    /// The node dialled an address.
    ConnectionAttempt {
        /// The address with port.
        address: String,
        /// Why it failed; `None` if the transport is connected.
        failure: Option<String>,
    },
    /// The address book has a new address.
    AddressDiscovered {
        /// The address with port.
        address: String,
        /// Service bits it is said to have.
        services: u64,
    },
    /// The address book gave up an address.
    AddressExpired {
        /// The address with port.
        address: String,
    },
    /// A message came from a peer.
    MessageReceived {
        /// Number of the connection.
        peer: u64,
        /// Its command.
        command: String,
        /// Bytes of its payload.
        payload_bytes: u32,
    },
    /// A message was sent to a peer.
    MessageSent {
        /// Number of the connection.
        peer: u64,
        /// Its command.
        command: String,
        /// Bytes of its payload.
        payload_bytes: u32,
    },
    /// A peer misbehaved.
    PeerMisbehaved {
        /// Number of the connection.
        peer: u64,
        /// Points it got for that.
        points: u32,
        /// Points it has; at 100 it is banned.
        total: u32,
        /// What it did, in words for a log.
        offence: String,
    },
    /// A peer sent more than its share and is being ignored for a while.
    RateLimitExceeded {
        /// Number of the connection.
        peer: u64,
        /// What was limited.
        what: &'static str,
    },
    /// A raw packet of a module's protocol came from a peer.
    PacketReceived {
        /// Number of the connection.
        peer: u64,
        /// The protocol.
        protocol: PacketProtocol,
        /// The packet.
        packet: Vec<u8>,
    },
    /// The node began or ended fetching headers or blocks.
    SyncStateChanged {
        /// What it does now.
        state: SyncState,
        /// Height of the tip.
        height: u32,
        /// Height of the best header.
        header_height: u32,
    },
    /// Fetching goes on; sent at most once a second.
    SyncProgress {
        /// What is being fetched.
        state: SyncState,
        /// Height of the tip.
        height: u32,
        /// Height of the best header.
        header_height: u32,
    },
    /// A block was refused.
    BlockRejected {
        /// Block hash.
        hash: Hash,
        /// The rule it broke, in the engine's words.
        reason: String,
    },
    /// Blocks are served again, or to nobody.
    MaintenanceChanged {
        /// Whether blocks are withheld.
        is_on: bool,
    },
    /// The disk that holds the data is nearly full.
    DiskSpaceLow {
        /// Bytes left.
        free_bytes: u64,
        /// Below how many this is said.
        threshold_bytes: u64,
    },
}

/// Takes events. Called from node threads; must not block and must not call back into the node.
pub trait EventSink: Send + Sync {
    /// Takes one event; the calls are in the order in which things happened.
    fn event(&self, event: NodeEvent);
}
