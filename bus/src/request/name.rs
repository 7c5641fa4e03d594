//! What each request is called, what it needs, and what it may do.

use super::{
    ChainRequest, Denylist, MempoolRequest, MetricsRequest, MiningRequest, ModulesRequest, NetworkRequest,
    PacketProtocol, Permission, Request, WatchRequest,
};
use crate::message::Topic;
use crate::message::mesh_packets::MeshPackets;
use crate::message::stratum_packets::StratumPackets;

impl Request {
    /// Its name in documents, messages and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Hello(_) => "hello",
            Request::Mapped => "mapped",
            Request::GetChainTip => "get_chain_tip",
            Request::GetBlock { .. } => "get_block",
            Request::GetBlockByHeight { .. } => "get_block_by_height",
            Request::GetMempoolTransactions => "get_mempool_transactions",
            Request::SubmitMempoolTransaction { .. } => "submit_mempool_transaction",
            Request::ReportStatistics(_) => "report_statistics",
            Request::Authenticate { .. } => "authenticate",
            Request::Chain(request) => chain_name(request),
            Request::Mempool(request) => mempool_name(request),
            Request::Mining(request) => mining_name(request),
            Request::Network(request) => network_name(request),
            Request::GetNodeStatus { .. } => "get_node_status",
            Request::Modules(request) => modules_name(request),
            Request::Metrics(request) => match **request {
                MetricsRequest::Report { .. } => "report_metrics",
                MetricsRequest::GetModule { .. } => "get_module_metrics",
                MetricsRequest::GetAll => "get_all_metrics",
            },
            Request::Watch(request) => match **request {
                WatchRequest::Add { .. } => "watch_add",
                WatchRequest::Remove { .. } => "watch_remove",
                WatchRequest::Next { .. } => "watch_next",
            },
        }
    }

    /// The permission it needs; `None` for those every module may send.
    pub fn needed_permission(&self) -> Option<Permission> {
        match self {
            Request::Hello(_)
            | Request::Mapped
            | Request::ReportStatistics(_)
            | Request::Authenticate { .. } => None,
            Request::GetChainTip | Request::GetBlock { .. } | Request::GetBlockByHeight { .. } => {
                Some(Permission::ReadBlockchain)
            }
            Request::GetMempoolTransactions => Some(Permission::ReadMempool),
            Request::SubmitMempoolTransaction { .. } => Some(Permission::SendTransactions),
            Request::Chain(request) => Some(chain_permission(request)),
            Request::Mempool(request) => Some(match **request {
                MempoolRequest::SubmitPackage { .. } => Permission::SendTransactions,
                _ => Permission::ReadMempool,
            }),
            Request::Mining(request) => Some(match **request {
                MiningRequest::SubmitSolution(_) | MiningRequest::SubmitBlock { .. } => {
                    Permission::SubmitBlock
                }
                _ => Permission::MiningTemplate,
            }),
            Request::Network(request) => Some(network_permission(request)),
            Request::Watch(_) => Some(Permission::WatchChain),
            Request::GetNodeStatus { .. } => Some(Permission::ReadChainState),
            Request::Modules(request) => modules_permission(request),
            Request::Metrics(request) => Some(match **request {
                MetricsRequest::Report { .. } => Permission::ReportMetrics,
                MetricsRequest::GetModule { .. } | MetricsRequest::GetAll => Permission::ReadMetrics,
            }),
        }
    }

    /// The event it publishes: one about payments needs `publish:NAME` in the manifest, another that or `publish_events`.
    pub fn published_event(&self) -> Option<&str> {
        match self {
            Request::Modules(request) => match &**request {
                ModulesRequest::PublishEvent { name, .. } => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The topic that `[topics]` must name besides the permission; `None` if it needs no such thing.
    pub fn needed_topic(&self) -> Option<u32> {
        let Request::Network(request) = self else { return None };
        match **request {
            NetworkRequest::SendMeshPacketToPeer { .. } => Some(MeshPackets::NUMBER),
            NetworkRequest::SendPeerTransportPayload { protocol, .. } => Some(match protocol {
                PacketProtocol::Mesh => MeshPackets::NUMBER,
                PacketProtocol::Stratum => StratumPackets::NUMBER,
            }),
            _ => None,
        }
    }

    /// Whether it may change something for others: such requests are denied to peers that attach by path.
    pub fn changes_something(&self) -> bool {
        match self {
            Request::SubmitMempoolTransaction { .. } => true,
            Request::Mempool(request) => matches!(**request, MempoolRequest::SubmitPackage { .. }),
            Request::Mining(request) => matches!(
                **request,
                MiningRequest::SetCoinbaseConstraints(_)
                    | MiningRequest::SubmitSolution(_)
                    | MiningRequest::SubmitBlock { .. }
            ),
            Request::Network(request) => !matches!(
                **request,
                NetworkRequest::GetStats
                    | NetworkRequest::GetPeers
                    | NetworkRequest::GetBans
                    | NetworkRequest::SnapshotServeDenylist { .. }
            ),
            Request::Modules(request) => !matches!(
                **request,
                ModulesRequest::DiscoverModules
                    | ModulesRequest::GetModuleInfo { .. }
                    | ModulesRequest::IsModuleAvailable { .. }
                    | ModulesRequest::GetHealth { .. }
            ),
            Request::Metrics(request) => matches!(**request, MetricsRequest::Report { .. }),
            _ => false,
        }
    }

    /// Whether it holds a block, and its frame may therefore be longer than others.
    pub fn is_submission(&self) -> bool {
        match self {
            Request::Mining(request) => {
                matches!(**request, MiningRequest::SubmitBlock { .. } | MiningRequest::CheckBlock { .. })
            }
            Request::Network(request) => {
                matches!(**request, NetworkRequest::QueueReceivedBlockBytes { .. })
            }
            _ => false,
        }
    }
}

fn chain_name(request: &ChainRequest) -> &'static str {
    match request {
        ChainRequest::GetBlockHeader { .. } => "get_block_header",
        ChainRequest::GetBlockHeaderByHeight { .. } => "get_block_header_by_height",
        ChainRequest::GetTransaction { .. } => "get_transaction",
        ChainRequest::HasTransaction { .. } => "has_transaction",
        ChainRequest::GetBlockHeight => "get_block_height",
        ChainRequest::GetBlockAndWitnesses { .. } => "get_block_and_witnesses",
        ChainRequest::GetTxMetadata { .. } => "get_tx_metadata",
        ChainRequest::GetUtxo { .. } => "get_utxo",
        ChainRequest::GetChainInfo => "get_chain_info",
        ChainRequest::GetSyncStatus => "get_sync_status",
        ChainRequest::FindFork { .. } => "find_fork",
        ChainRequest::ReplayFrom { .. } => "replay_from",
        ChainRequest::GetTxoutByScid { .. } => "get_txout_by_scid",
        ChainRequest::GetBlockBody { .. } => "get_block_body",
    }
}

fn chain_permission(request: &ChainRequest) -> Permission {
    match request {
        ChainRequest::GetUtxo { .. } | ChainRequest::GetTxoutByScid { .. } => Permission::ReadUtxo,
        ChainRequest::GetBlockHeight | ChainRequest::GetChainInfo | ChainRequest::GetSyncStatus => {
            Permission::ReadChainState
        }
        ChainRequest::GetBlockHeader { .. }
        | ChainRequest::GetBlockHeaderByHeight { .. }
        | ChainRequest::GetTransaction { .. }
        | ChainRequest::HasTransaction { .. }
        | ChainRequest::GetBlockAndWitnesses { .. }
        | ChainRequest::GetBlockBody { .. }
        | ChainRequest::GetTxMetadata { .. }
        | ChainRequest::FindFork { .. }
        | ChainRequest::ReplayFrom { .. } => Permission::ReadBlockchain,
    }
}

fn mempool_name(request: &MempoolRequest) -> &'static str {
    match request {
        MempoolRequest::GetTransaction { .. } => "get_mempool_transaction",
        MempoolRequest::GetSize => "get_mempool_size",
        MempoolRequest::Contains { .. } => "check_transaction_in_mempool",
        MempoolRequest::GetFeeEstimate { .. } => "get_fee_estimate",
        MempoolRequest::GetFeeRateSummary => "get_mempool_fee_rate_summary",
        MempoolRequest::Snapshot => "mempool_snapshot",
        MempoolRequest::SubmitPackage { .. } => "submit_package",
        MempoolRequest::GetTransactionsByWtxid { .. } => "get_transactions_by_wtxid",
    }
}

fn mining_name(request: &MiningRequest) -> &'static str {
    match request {
        MiningRequest::GetBlockTemplate => "get_block_template",
        MiningRequest::GetBlockTemplateWithOutputs { .. } => "get_block_template_with_outputs",
        MiningRequest::GetBlockTemplateDeclared { .. } => "get_block_template_declared",
        MiningRequest::SetCoinbaseConstraints(_) => "set_coinbase_constraints",
        MiningRequest::GetTemplateTransactions { .. } => "get_template_transactions",
        MiningRequest::SubmitSolution(_) => "submit_solution",
        MiningRequest::SubmitBlock { .. } => "submit_block",
        MiningRequest::CheckBlock { .. } => "check_block",
        MiningRequest::RepeatTipAndTemplate => "repeat_tip_and_template",
    }
}

fn network_name(request: &NetworkRequest) -> &'static str {
    use Denylist::{Blocks, Transactions};
    match request {
        NetworkRequest::GetStats => "get_network_stats",
        NetworkRequest::GetPeers => "get_network_peers",
        NetworkRequest::GetBans => "get_bans",
        NetworkRequest::SendMeshPacketToPeer { .. } => "send_mesh_packet_to_peer",
        NetworkRequest::SendPeerTransportPayload { .. } => "send_peer_transport_payload",
        NetworkRequest::BanPeer { .. } => "ban_peer",
        NetworkRequest::UnbanPeer { .. } => "unban_peer",
        NetworkRequest::QueueReceivedBlockBytes { .. } => "queue_received_block_bytes",
        NetworkRequest::MergeServeDenylist { list: Blocks, .. } => "merge_block_serve_denylist",
        NetworkRequest::MergeServeDenylist { list: Transactions, .. } => "merge_tx_serve_denylist",
        NetworkRequest::ReplaceServeDenylist { list: Blocks, .. } => "replace_block_serve_denylist",
        NetworkRequest::ReplaceServeDenylist { list: Transactions, .. } => "replace_tx_serve_denylist",
        NetworkRequest::ClearServeDenylist { list: Blocks } => "clear_block_serve_denylist",
        NetworkRequest::ClearServeDenylist { list: Transactions } => "clear_tx_serve_denylist",
        NetworkRequest::SnapshotServeDenylist { list: Blocks } => "snapshot_block_serve_denylist",
        NetworkRequest::SnapshotServeDenylist { list: Transactions } => "snapshot_tx_serve_denylist",
        NetworkRequest::SetBlockServeMaintenanceMode { .. } => "set_block_serve_maintenance_mode",
    }
}

fn network_permission(request: &NetworkRequest) -> Permission {
    match request {
        NetworkRequest::GetStats
        | NetworkRequest::GetPeers
        | NetworkRequest::GetBans
        | NetworkRequest::SnapshotServeDenylist { .. } => Permission::ReadNetwork,
        NetworkRequest::QueueReceivedBlockBytes { .. } => Permission::QueueInboundBlock,
        NetworkRequest::SendMeshPacketToPeer { .. }
        | NetworkRequest::SendPeerTransportPayload { .. }
        | NetworkRequest::BanPeer { .. }
        | NetworkRequest::UnbanPeer { .. }
        | NetworkRequest::MergeServeDenylist { .. }
        | NetworkRequest::ReplaceServeDenylist { .. }
        | NetworkRequest::ClearServeDenylist { .. }
        | NetworkRequest::SetBlockServeMaintenanceMode { .. } => Permission::NetworkAccess,
    }
}

fn modules_name(request: &ModulesRequest) -> &'static str {
    match request {
        ModulesRequest::PublishEvent { .. } => "publish_event",
        ModulesRequest::CallModule { .. } => "call_module",
        ModulesRequest::RegisterApi { .. } => "register_module_api",
        ModulesRequest::UnregisterApi => "unregister_module_api",
        ModulesRequest::RegisterRpcEndpoint { .. } => "register_rpc_endpoint",
        ModulesRequest::UnregisterRpcEndpoint { .. } => "unregister_rpc_endpoint",
        ModulesRequest::RegisterCliSpec(_) => "register_cli_spec",
        ModulesRequest::DiscoverModules => "discover_modules",
        ModulesRequest::GetModuleInfo { .. } => "get_module_info",
        ModulesRequest::IsModuleAvailable { .. } => "is_module_available",
        ModulesRequest::ReportHealth(_) => "report_module_health",
        ModulesRequest::GetHealth { .. } => "get_module_health",
    }
}

fn modules_permission(request: &ModulesRequest) -> Option<Permission> {
    match request {
        // By its name: see `published_event`. What a module says of itself is for everybody.
        ModulesRequest::PublishEvent { .. } | ModulesRequest::ReportHealth(_) => None,
        ModulesRequest::CallModule { .. } => Some(Permission::CallModule),
        ModulesRequest::RegisterApi { .. } | ModulesRequest::UnregisterApi => {
            Some(Permission::RegisterModuleApi)
        }
        // A command is a method for operators.
        ModulesRequest::RegisterRpcEndpoint { .. }
        | ModulesRequest::UnregisterRpcEndpoint { .. }
        | ModulesRequest::RegisterCliSpec(_) => Some(Permission::RegisterRpcEndpoint),
        ModulesRequest::DiscoverModules
        | ModulesRequest::GetModuleInfo { .. }
        | ModulesRequest::IsModuleAvailable { .. }
        | ModulesRequest::GetHealth { .. } => Some(Permission::DiscoverModules),
    }
}
