//! How each kind comes about: what the source that sends it writes, and the test that makes it do so.

/// How a kind comes about.
pub(crate) struct Provoked {
    /// What the file that sends it contains.
    pub(crate) made_as: &'static str,
    /// The test that provokes it in a real node.
    pub(crate) test: Option<&'static str>,
}

/// Kinds that have a number and that nobody sends: topic, name, why.
pub(crate) const UNSENT: &[(&str, &str, &str)] = &[
    ("modules", "ModuleEvent", "it comes with the request to publish"),
    ("payments", "PaymentEvent", "it comes with the request to publish"),
];

/// How `kind` of `topic` comes about.
pub(crate) fn provoked(topic: &str, kind: &str) -> Provoked {
    let (made_as, test) = match (topic, kind) {
        ("chain", "BlockConnected") => ("NodeEvent::BlockConnected", ""),
        ("chain", "BlockDisconnected") => ("NodeEvent::BlockDisconnected", ""),
        ("chain", "ChainReorganised") => ("NodeEvent::ChainReorganised", ""),
        ("mining", "TipChanged") => ("NodeEvent::TipChanged", "each_tip_of_a_real_node_is_published_once"),
        ("mining", "TemplateUpdated") => ("NodeEvent::TemplateUpdated", ""),
        ("mining", "FeeDelta") => ("NodeEvent::FeeDelta", ""),
        ("mining", "BlockMined") => ("NodeEvent::BlockMined", ""),
        ("mining", "DifficultyAdjusted") => ("NodeEvent::DifficultyAdjusted", ""),
        ("mempool", "TransactionAdded") => ("NodeEvent::TransactionAdded", ""),
        ("mempool", "TransactionRemoved") => ("NodeEvent::TransactionRemoved", ""),
        ("mempool", "FeeRateChanged") => ("NodeEvent::FeeRateChanged", ""),
        ("mempool", "FeeEstimatesChanged") => ("NodeEvent::FeeEstimatesChanged", ""),
        ("mempool", "MempoolThresholdExceeded") => ("NodeEvent::MempoolThresholdExceeded", ""),
        ("mempool", "MempoolCleared") => ("NodeEvent::MempoolCleared", ""),
        ("peers", "PeerConnected") => ("NodeEvent::PeerConnected", ""),
        ("peers", "PeerDisconnected") => ("NodeEvent::PeerDisconnected", ""),
        ("peers", "PeerBanned") => ("NodeEvent::PeerBanned", ""),
        ("peers", "PeerUnbanned") => ("NodeEvent::PeerUnbanned", ""),
        ("peers", "ConnectionAttempt") => ("NodeEvent::ConnectionAttempt", ""),
        ("peers", "AddressDiscovered") => ("NodeEvent::AddressDiscovered", ""),
        ("peers", "AddressExpired") => ("NodeEvent::AddressExpired", ""),
        ("peers", "MessageReceived") => ("NodeEvent::MessageReceived", ""),
        ("peers", "MessageSent") => ("NodeEvent::MessageSent", ""),
        ("peers", "PeerMisbehaved") => ("NodeEvent::PeerMisbehaved", ""),
        ("peers", "RateLimitExceeded") => ("NodeEvent::RateLimitExceeded", ""),
        ("mesh_packets" | "stratum_packets", "PacketReceived") => ("NodeEvent::PacketReceived", ""),
        ("system", "NodeStartupCompleted") => ("publish_system(&NodeStartupCompleted", ""),
        ("system", "ModuleStarted") => ("publish_system(&ModuleStarted", ""),
        ("system", "ModuleStopped") => ("publish_system(&ModuleStopped", ""),
        ("system", "NodeShutdown") => ("publish_system(&NodeShutdown", ""),
        (
            "system",
            "SyncStateChanged"
            | "HeadersSyncStarted"
            | "HeadersSyncCompleted"
            | "BlockSyncStarted"
            | "BlockSyncCompleted",
        ) => ("NodeEvent::SyncStateChanged", ""),
        ("system", "HeadersSyncProgress" | "BlockSyncProgress") => ("NodeEvent::SyncProgress", ""),
        ("system", "ConsensusRuleViolation") => ("NodeEvent::BlockRejected", ""),
        ("system", "MaintenanceStarted" | "MaintenanceCompleted") => ("NodeEvent::MaintenanceChanged", ""),
        ("system", "DiskSpaceLow") => ("NodeEvent::DiskSpaceLow", ""),
        ("modules", "ModuleEvent") => ("ModuleEvent", ""),
        ("payments", "PaymentEvent") => ("PaymentEvent", ""),
        (topic, kind) => panic!("how does {kind} of {topic} come about?"),
    };
    Provoked { made_as, test: (!test.is_empty()).then_some(test) }
}
