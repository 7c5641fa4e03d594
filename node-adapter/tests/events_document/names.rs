//! The events that authors of modules know from blvm-node 0.1.83, each with what became of it here.

use Here::{Is, Not};

/// What became of a name.
pub(crate) enum Here {
    /// A kind of message: topic and name.
    Is(&'static str, &'static str),
    /// Nobody sends it, and why.
    Not(&'static str),
}

const OF_STRATUM: Here = Not("a Stratum module's to publish, on `modules`; modules cannot publish yet");
const OF_MESH: Here = Not("a mesh module's to publish, on `modules`; modules cannot publish yet");
const OF_PAYMENTS: Here = Not("a payment module's to publish, on `payments`; modules cannot publish yet");
const OF_GOVERNANCE: Here =
    Not("no part of a Bitcoin node; a module's to publish, on `modules`; modules cannot publish yet");
const NO_UDP: Here = Not("the node has no UDP transport");
const NO_BROADCAST: Here =
    Not("inventory is queued for every peer by itself: nothing starts or ends; see `MessageSent`");
const IN_THE_ENGINE: Here = Not(
    "a step inside the consensus engine, which tells the verdict only; see `BlockConnected` and `ConsensusRuleViolation`",
);
const NO_SOFT_FORKS: Here = Not("the consensus engine does not tell of deployments");
const NO_PARTITION: Here =
    Not("a node cannot tell a partition from silence; `SyncStateChanged` says that no peer is left");
const NO_COMPACT_BLOCKS: Here = Not("the node does not speak compact blocks (BIP-0152)");
const NOT_SPOKEN: Here = Not("of a protocol between nodes that this node does not speak");
const NO_ACCESSES: Here = Not("storage answers who asked; an event for every access would help nobody else");
const ALL_BLOCKS: Here = Not("the node validates and keeps every block");

/// Every name, by area.
pub(crate) const NAMES: &[(&str, &[(&str, Here)])] = &[
    (
        "chain",
        &[
            ("NewBlock", Is("chain", "BlockConnected")),
            ("NewTransaction", Is("mempool", "TransactionAdded")),
            ("BlockDisconnected", Is("chain", "BlockDisconnected")),
            ("ChainReorg", Is("chain", "ChainReorganised")),
        ],
    ),
    (
        "mempool",
        &[
            ("MempoolTransactionAdded", Is("mempool", "TransactionAdded")),
            ("MempoolTransactionRemoved", Is("mempool", "TransactionRemoved")),
            ("MempoolThresholdExceeded", Is("mempool", "MempoolThresholdExceeded")),
            ("FeeRateChanged", Is("mempool", "FeeRateChanged")),
            ("MempoolCleared", Is("mempool", "MempoolCleared")),
        ],
    ),
    (
        "mining",
        &[
            ("BlockMined", Is("mining", "BlockMined")),
            ("BlockTemplateUpdated", Is("mining", "TemplateUpdated")),
            ("MiningDifficultyChanged", Is("mining", "DifficultyAdjusted")),
            ("MiningJobCreated", OF_STRATUM),
            ("ShareSubmitted", OF_STRATUM),
            ("MergeMiningReward", OF_STRATUM),
            ("MiningPoolConnected", OF_STRATUM),
            ("MiningPoolDisconnected", OF_STRATUM),
            ("StratumV2MessageReceived", Is("stratum_packets", "PacketReceived")),
            ("StratumClientConnected", OF_STRATUM),
            ("StratumClientDisconnected", OF_STRATUM),
        ],
    ),
    (
        "network",
        &[
            ("PeerConnected", Is("peers", "PeerConnected")),
            ("PeerDisconnected", Is("peers", "PeerDisconnected")),
            ("PeerBanned", Is("peers", "PeerBanned")),
            ("PeerUnbanned", Is("peers", "PeerUnbanned")),
            ("MessageReceived", Is("peers", "MessageReceived")),
            ("MessageSent", Is("peers", "MessageSent")),
            ("BroadcastStarted", NO_BROADCAST),
            ("BroadcastCompleted", NO_BROADCAST),
            ("ConnectionAttempt", Is("peers", "ConnectionAttempt")),
            ("AddressDiscovered", Is("peers", "AddressDiscovered")),
            ("AddressExpired", Is("peers", "AddressExpired")),
            ("NetworkPartition", NO_PARTITION),
            ("NetworkReconnected", NO_PARTITION),
            (
                "DoSAttackDetected",
                Not("the node sees what a peer does, not why: see `PeerMisbehaved` and `RateLimitExceeded`"),
            ),
            ("RateLimitExceeded", Is("peers", "RateLimitExceeded")),
            ("PeerPayment", NOT_SPOKEN),
            ("CompanionUdpPeerRegistered", NO_UDP),
            ("CompanionUdpPeerUnregistered", NO_UDP),
        ],
    ),
    (
        "mesh",
        &[
            ("MeshPacketReceived", Is("mesh_packets", "PacketReceived")),
            ("RouteDiscovered", OF_MESH),
            ("RouteFailed", OF_MESH),
        ],
    ),
    (
        "payments",
        &[
            ("PaymentRequestCreated", OF_PAYMENTS),
            ("PaymentSettled", OF_PAYMENTS),
            ("PaymentFailed", OF_PAYMENTS),
            ("PaymentVerified", OF_PAYMENTS),
            ("PaymentRouteFound", OF_PAYMENTS),
            ("PaymentRouteFailed", OF_PAYMENTS),
            ("ChannelOpened", OF_PAYMENTS),
            ("ChannelClosed", OF_PAYMENTS),
        ],
    ),
    (
        "governance",
        &[
            ("GovernanceProposalCreated", OF_GOVERNANCE),
            ("GovernanceProposalVoted", OF_GOVERNANCE),
            ("GovernanceProposalMerged", OF_GOVERNANCE),
            ("GovernanceForkDetected", OF_GOVERNANCE),
            ("WebhookSent", OF_GOVERNANCE),
            ("WebhookFailed", OF_GOVERNANCE),
        ],
    ),
    (
        "consensus",
        &[
            ("BlockValidationStarted", IN_THE_ENGINE),
            ("BlockValidationCompleted", IN_THE_ENGINE),
            ("ScriptVerificationStarted", IN_THE_ENGINE),
            ("ScriptVerificationCompleted", IN_THE_ENGINE),
            ("UTXOValidationStarted", IN_THE_ENGINE),
            ("UTXOValidationCompleted", IN_THE_ENGINE),
            ("DifficultyAdjusted", Is("mining", "DifficultyAdjusted")),
            ("SoftForkActivated", NO_SOFT_FORKS),
            ("SoftForkLockedIn", NO_SOFT_FORKS),
            ("ConsensusRuleViolation", Is("system", "ConsensusRuleViolation")),
        ],
    ),
    (
        "sync",
        &[
            ("HeadersSyncStarted", Is("system", "HeadersSyncStarted")),
            ("HeadersSyncProgress", Is("system", "HeadersSyncProgress")),
            ("HeadersSyncCompleted", Is("system", "HeadersSyncCompleted")),
            ("BlockSyncStarted", Is("system", "BlockSyncStarted")),
            ("BlockSyncProgress", Is("system", "BlockSyncProgress")),
            ("BlockSyncCompleted", Is("system", "BlockSyncCompleted")),
            ("SyncStateChanged", Is("system", "SyncStateChanged")),
        ],
    ),
    (
        "modules",
        &[
            ("ModuleDiscovered", Is("system", "ModuleDiscovered")),
            ("ModuleInstalled", Is("system", "ModuleInstalled")),
            ("ModuleLoaded", Is("system", "ModuleLoaded")),
            ("ModuleStarted", Is("system", "ModuleStarted")),
            ("ModuleStateChanged", Is("system", "ModuleStateChanged")),
            ("ModuleHealthChanged", Is("system", "ModuleHealthChanged")),
            ("ModuleReloaded", Is("system", "ModuleReloaded")),
            ("ModuleStopped", Is("system", "ModuleStopped")),
            ("ModuleUnloaded", Is("system", "ModuleUnloaded")),
            ("ModuleCrashed", Is("system", "ModuleCrashed")),
            ("ModuleUpdated", Is("system", "ModuleUpdated")),
            ("ModuleRemoved", Is("system", "ModuleRemoved")),
            ("ModulePurchaseCompleted", Not("nothing is bought through the node")),
            (
                "ActionExecuted",
                Not("of a module's own actions: its to publish, on `modules`; modules cannot publish yet"),
            ),
        ],
    ),
    (
        "node",
        &[
            ("ConfigLoaded", Not("the configuration is read once, before there is a bus")),
            ("NodeStartupCompleted", Is("system", "NodeStartupCompleted")),
            ("NodeShutdown", Is("system", "NodeShutdown")),
            (
                "NodeShutdownCompleted",
                Not("every topic is closed after `NodeShutdown`: its subscribers see the end"),
            ),
            ("MaintenanceStarted", Is("system", "MaintenanceStarted")),
            ("MaintenanceCompleted", Is("system", "MaintenanceCompleted")),
            ("DataMaintenance", Not("the node asks no module to prune or compact its data")),
            ("HealthCheck", Not("the node checks nothing on a timer; `blvm status` looks when it is asked")),
            ("DiskSpaceLow", Is("system", "DiskSpaceLow")),
            (
                "ResourceLimitWarning",
                Not(
                    "limits are the kernel's: what is beyond them is refused, or ends the module, see `ModuleCrashed`",
                ),
            ),
        ],
    ),
    (
        "relay and storage",
        &[
            ("Dandelion… (4 names)", Not("the node does not speak Dandelion (BIP-0156)")),
            ("CompactBlockReceived", NO_COMPACT_BLOCKS),
            ("BlockReconstructionStarted", NO_COMPACT_BLOCKS),
            ("BlockReconstructionCompleted", NO_COMPACT_BLOCKS),
            ("FibreBlockEncoded", NO_UDP),
            ("FibreBlockSent", NO_UDP),
            (
                "PackageReceived",
                Not("a package comes by request, which answers; its transactions are `TransactionAdded`"),
            ),
            ("PackageRejected", Not("a package comes by request, which answers why it is refused")),
            ("UtxoCommitmentReceived", NOT_SPOKEN),
            ("UtxoCommitmentVerified", NOT_SPOKEN),
            ("BanListShared", NOT_SPOKEN),
            ("BanListReceived", NOT_SPOKEN),
            ("StorageRead", NO_ACCESSES),
            ("StorageWrite", NO_ACCESSES),
            ("StorageQuery", NO_ACCESSES),
            ("DatabaseBackupStarted", Not("the node makes no backups")),
            ("DatabaseBackupCompleted", Not("the node makes no backups")),
            ("SelectiveSyncPolicyApplied", ALL_BLOCKS),
            ("IBDBlockFiltered", ALL_BLOCKS),
        ],
    ),
];
