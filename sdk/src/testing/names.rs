//! The names of all requests.

/// Every request that a module may be answered, by name.
pub(crate) const REQUESTS: &[&str] = &[
    "get_chain_tip",
    "get_block",
    "get_block_by_height",
    "get_mempool_transactions",
    "submit_mempool_transaction",
    "get_node_status",
    "get_block_header",
    "get_block_header_by_height",
    "get_transaction",
    "has_transaction",
    "get_block_height",
    "get_block_and_witnesses",
    "get_tx_metadata",
    "get_utxo",
    "get_chain_info",
    "get_sync_status",
    "find_fork",
    "replay_from",
    "get_txout_by_scid",
    "get_block_body",
    "get_mempool_transaction",
    "get_mempool_size",
    "check_transaction_in_mempool",
    "get_fee_estimate",
    "get_mempool_fee_rate_summary",
    "mempool_snapshot",
    "submit_package",
    "get_transactions_by_wtxid",
    "get_block_template",
    "get_block_template_with_outputs",
    "get_block_template_declared",
    "set_coinbase_constraints",
    "get_template_transactions",
    "submit_solution",
    "submit_block",
    "check_block",
    "repeat_tip_and_template",
    "get_network_stats",
    "get_network_peers",
    "get_bans",
    "send_mesh_packet_to_peer",
    "send_peer_transport_payload",
    "ban_peer",
    "unban_peer",
    "queue_received_block_bytes",
    "merge_block_serve_denylist",
    "merge_tx_serve_denylist",
    "replace_block_serve_denylist",
    "replace_tx_serve_denylist",
    "clear_block_serve_denylist",
    "clear_tx_serve_denylist",
    "snapshot_block_serve_denylist",
    "snapshot_tx_serve_denylist",
    "set_block_serve_maintenance_mode",
    "publish_event",
    "call_module",
    "register_module_api",
    "unregister_module_api",
    "register_rpc_endpoint",
    "unregister_rpc_endpoint",
    "register_cli_spec",
    "discover_modules",
    "get_module_info",
    "is_module_available",
    "report_module_health",
    "get_module_health",
    "report_metrics",
    "get_module_metrics",
    "get_all_metrics",
    "watch_add",
    "watch_remove",
    "watch_next",
];

/// That there is a request of that name.
#[track_caller]
pub(super) fn check(request: &str) {
    if !REQUESTS.contains(&request) {
        panic!("there is no request \"{request}\"; those that there are: {}", REQUESTS.join(", "));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_the_protocol_is_named() {
        // The names as the code gives them: each stands on a line of its own there, after its variant.
        let source = include_str!("../../../bus/src/request/name.rs");
        let (names, _) = source.split_once("fn needed_permission").unwrap();
        let (_, areas) = source.split_once("fn chain_name").unwrap();
        let named = [names, areas].concat();
        let mut named: Vec<_> = named
            .split("=> \"")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('"')?.0))
            .filter(|name| !["hello", "mapped", "report_statistics", "authenticate"].contains(name))
            .collect();
        let mut known = REQUESTS.to_vec();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, named);
    }
}
