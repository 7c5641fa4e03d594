//! What a module may be allowed: one name per right, as its manifest writes it.

/// A right that a manifest asks for and the node grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// The topic `chain`; blocks and the tip by request.
    ReadBlockchain,
    /// The topic `mempool`; its transactions by request.
    ReadMempool,
    /// The topic `peers`.
    ReadNetwork,
    /// The topics `system` and `modules`.
    SubscribeEvents,
    /// The topic `mining`.
    MiningTemplate,
    /// The topics of raw packets and sending such packets, for the protocols whose topics the manifest names; bans and what
    /// is withheld from peers, by request.
    NetworkAccess,
    /// The topic `payments`.
    ReadPayment,
    /// Offering transactions to the mempool.
    SendTransactions,
    /// Unspent outputs by request.
    ReadUtxo,
    /// The chain as a whole, and how far the node is with it, by request.
    ReadChainState,
    /// Offering blocks and solutions of templates.
    SubmitBlock,
    /// Offering blocks that came another way than from a peer.
    QueueInboundBlock,
    /// Being told of some transactions, outputs and scripts, and of nothing else.
    WatchChain,
    /// Asking how the Lightning module stands, through the node.
    ReadLightning,
    /// Reading the module's own storage through the node.
    ReadStorage,
    /// Writing the module's own storage through the node.
    WriteStorage,
    /// Opening and removing parts of the module's own storage through the node.
    ManageStorage,
    /// Reading files of the module's own directory through the node.
    ReadFilesystem,
    /// Writing files of the module's own directory through the node.
    WriteFilesystem,
    /// Making and removing directories in the module's own directory through the node.
    ManageFilesystem,
    /// Offering methods of JSON-RPC and commands.
    RegisterRpcEndpoint,
    /// Timers that the node keeps.
    ManageTimers,
    /// Reporting figures of the module's own.
    ReportMetrics,
    /// Reading figures that modules report.
    ReadMetrics,
    /// Which modules there are, and how they do.
    DiscoverModules,
    /// Publishing events, except those about payments: each of these has its own, `publish:NAME`.
    PublishEvents,
    /// Calling methods that other modules offer.
    CallModule,
    /// Offering methods to other modules.
    RegisterModuleApi,
    /// Listening on the ports that the manifest and the operator name.
    NetworkListen,
    /// Connecting to the ports that the manifest and the operator name.
    NetworkConnect,
}

/// A name that is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown permission \"{name}\"; known are {}", Permission::ALL.map(Permission::name).join(", "))]
pub struct UnknownPermission {
    /// The name.
    pub name: String,
}

impl Permission {
    /// All of them.
    pub const ALL: [Permission; 30] = [
        Permission::ReadBlockchain,
        Permission::ReadMempool,
        Permission::ReadNetwork,
        Permission::SubscribeEvents,
        Permission::MiningTemplate,
        Permission::NetworkAccess,
        Permission::ReadPayment,
        Permission::SendTransactions,
        Permission::ReadUtxo,
        Permission::ReadChainState,
        Permission::SubmitBlock,
        Permission::QueueInboundBlock,
        Permission::WatchChain,
        Permission::ReadLightning,
        Permission::ReadStorage,
        Permission::WriteStorage,
        Permission::ManageStorage,
        Permission::ReadFilesystem,
        Permission::WriteFilesystem,
        Permission::ManageFilesystem,
        Permission::RegisterRpcEndpoint,
        Permission::ManageTimers,
        Permission::ReportMetrics,
        Permission::ReadMetrics,
        Permission::DiscoverModules,
        Permission::PublishEvents,
        Permission::CallModule,
        Permission::RegisterModuleApi,
        Permission::NetworkListen,
        Permission::NetworkConnect,
    ];

    /// Its name in manifests, messages and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Permission::ReadBlockchain => "read_blockchain",
            Permission::ReadMempool => "read_mempool",
            Permission::ReadNetwork => "read_network",
            Permission::SubscribeEvents => "subscribe_events",
            Permission::MiningTemplate => "mining_template",
            Permission::NetworkAccess => "network_access",
            Permission::ReadPayment => "read_payment",
            Permission::SendTransactions => "send_transactions",
            Permission::ReadUtxo => "read_utxo",
            Permission::ReadChainState => "read_chain_state",
            Permission::SubmitBlock => "submit_block",
            Permission::QueueInboundBlock => "queue_inbound_block",
            Permission::WatchChain => "watch_chain",
            Permission::ReadLightning => "read_lightning",
            Permission::ReadStorage => "read_storage",
            Permission::WriteStorage => "write_storage",
            Permission::ManageStorage => "manage_storage",
            Permission::ReadFilesystem => "read_filesystem",
            Permission::WriteFilesystem => "write_filesystem",
            Permission::ManageFilesystem => "manage_filesystem",
            Permission::RegisterRpcEndpoint => "register_rpc_endpoint",
            Permission::ManageTimers => "manage_timers",
            Permission::ReportMetrics => "report_metrics",
            Permission::ReadMetrics => "read_metrics",
            Permission::DiscoverModules => "discover_modules",
            Permission::PublishEvents => "publish_events",
            Permission::CallModule => "call_module",
            Permission::RegisterModuleApi => "register_module_api",
            Permission::NetworkListen => "network_listen",
            Permission::NetworkConnect => "network_connect",
        }
    }

    /// Whether peers that attach by path are given it. They may read and change nothing: requests that change something are
    /// denied to them whatever their permission ([`super::Request::changes_something`]).
    pub const fn only_reads(self) -> bool {
        match self {
            Permission::ReadBlockchain
            | Permission::ReadMempool
            | Permission::ReadNetwork
            | Permission::SubscribeEvents
            | Permission::MiningTemplate
            | Permission::NetworkAccess
            | Permission::ReadPayment
            | Permission::ReadUtxo
            | Permission::ReadChainState
            | Permission::WatchChain
            | Permission::ReadLightning
            | Permission::ReadMetrics
            | Permission::DiscoverModules => true,
            Permission::SendTransactions
            | Permission::SubmitBlock
            | Permission::QueueInboundBlock
            | Permission::ReadStorage
            | Permission::WriteStorage
            | Permission::ManageStorage
            | Permission::ReadFilesystem
            | Permission::WriteFilesystem
            | Permission::ManageFilesystem
            | Permission::RegisterRpcEndpoint
            | Permission::ManageTimers
            | Permission::ReportMetrics
            | Permission::PublishEvents
            | Permission::CallModule
            | Permission::RegisterModuleApi
            | Permission::NetworkListen
            | Permission::NetworkConnect => false,
        }
    }
}

impl std::str::FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, UnknownPermission> {
        Permission::ALL
            .into_iter()
            .find(|permission| permission.name() == name)
            .ok_or_else(|| UnknownPermission { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_another_is_refused_with_the_known_ones() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
        }
        let error = "read_everything".parse::<Permission>().unwrap_err();
        assert!(error.to_string().contains("read_blockchain"));
    }
}
