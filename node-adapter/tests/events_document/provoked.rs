//! How each kind comes about: what the source that sends it writes, and the test that makes it do so.

/// How a kind comes about.
pub(crate) struct Provoked {
    /// What the file that sends it contains.
    pub(crate) made_as: &'static str,
    /// The test that provokes it in a real node.
    pub(crate) test: Option<&'static str>,
}

/// Kinds that have a number and that nobody sends: topic, name, why.
pub(crate) const UNSENT: &[(&str, &str, &str)] = &[];

/// How `kind` of `topic` comes about.
pub(crate) fn provoked(topic: &str, kind: &str) -> Provoked {
    let (made_as, test) = match (topic, kind) {
        ("chain", "BlockConnected") => ("NodeEvent::BlockConnected", "mining_connects_block_after_block"),
        ("chain", "BlockDisconnected") => {
            ("NodeEvent::BlockDisconnected", "two_blocks_leave_three_join_and_transactions_come_back")
        }
        ("chain", "ChainReorganised") => {
            ("NodeEvent::ChainReorganised", "two_blocks_leave_three_join_and_transactions_come_back")
        }
        ("mining", "TipChanged") => ("NodeEvent::TipChanged", "each_tip_of_a_real_node_is_published_once"),
        ("mining", "TemplateUpdated") => {
            ("NodeEvent::TemplateUpdated", "a_solution_becomes_the_tip_and_the_next_template_follows")
        }
        ("mining", "FeeDelta") => (
            "NodeEvent::FeeDelta",
            "fees_that_rise_clearly_are_told_once_and_a_better_template_follows_later",
        ),
        ("mining", "BlockMined") => {
            ("NodeEvent::BlockMined", "a_solution_becomes_the_tip_and_the_next_template_follows")
        }
        ("mining", "DifficultyAdjusted") => {
            ("NodeEvent::DifficultyAdjusted", "another_target_is_told_with_the_tip")
        }
        ("mempool", "TransactionAdded") => (
            "NodeEvent::TransactionAdded",
            "a_better_paying_transaction_replaces_another_and_its_descendants",
        ),
        ("mempool", "TransactionRemoved") => (
            "NodeEvent::TransactionRemoved",
            "a_better_paying_transaction_replaces_another_and_its_descendants",
        ),
        ("mempool", "FeeRateChanged") => (
            "NodeEvent::FeeRateChanged",
            "a_full_mempool_evicts_what_pays_least_and_raises_its_floor_for_a_while",
        ),
        ("mempool", "FeeEstimatesChanged") => {
            ("NodeEvent::FeeEstimatesChanged", "estimates_follow_what_was_paid_and_are_told_after_blocks")
        }
        ("mempool", "MempoolThresholdExceeded") => (
            "NodeEvent::MempoolThresholdExceeded",
            "a_full_mempool_evicts_what_pays_least_and_raises_its_floor_for_a_while",
        ),
        ("mempool", "MempoolCleared") => {
            ("NodeEvent::MempoolCleared", "an_operator_clears_the_mempool_and_all_may_come_again")
        }
        ("peers", "PeerConnected") => {
            ("NodeEvent::PeerConnected", "a_dialled_node_is_an_outbound_peer_here_and_an_inbound_one_there")
        }
        ("peers", "PeerDisconnected") => {
            ("NodeEvent::PeerDisconnected", "ids_are_not_reused_and_each_peer_leaves_under_its_own")
        }
        ("peers", "PeerBanned") => (
            "NodeEvent::PeerBanned",
            "a_banned_address_is_cut_off_and_kept_out_by_the_next_node_too_until_it_is_let_in",
        ),
        ("peers", "PeerUnbanned") => ("NodeEvent::PeerUnbanned", "a_ban_ends_by_itself_and_says_so"),
        ("peers", "ConnectionAttempt") => (
            "NodeEvent::ConnectionAttempt",
            "an_address_is_dialled_until_somebody_answers_and_again_when_they_leave",
        ),
        ("peers", "AddressDiscovered") => {
            ("NodeEvent::AddressDiscovered", "addresses_are_learnt_by_dialling_and_from_those_dialled")
        }
        ("peers", "AddressExpired") => {
            ("NodeEvent::AddressExpired", "an_address_is_told_once_and_kept_over_a_restart")
        }
        ("peers", "MessageReceived") => (
            "NodeEvent::MessageReceived",
            "traffic_is_told_message_by_message_where_it_was_asked_for_and_else_not",
        ),
        ("peers", "MessageSent") => (
            "NodeEvent::MessageSent",
            "traffic_is_told_message_by_message_where_it_was_asked_for_and_else_not",
        ),
        ("peers", "PeerMisbehaved") => (
            "NodeEvent::PeerMisbehaved",
            "a_transaction_that_breaks_consensus_costs_the_connection_and_one_that_may_be_late_does_not",
        ),
        ("peers", "RateLimitExceeded") => (
            "NodeEvent::RateLimitExceeded",
            "announcements_beyond_a_peers_share_are_dropped_and_a_flood_ends_the_connection",
        ),
        ("mesh_packets" | "stratum_packets", "PacketReceived") => {
            ("NodeEvent::PacketReceived", "packets_go_from_node_to_node_whole_and_only_to_who_takes_them")
        }
        ("system", "NodeStartupCompleted") => (
            "publish_system(&NodeStartupCompleted",
            "the_node_tells_of_its_start_of_its_modules_and_of_its_end",
        ),
        ("system", "ModuleStarted") => {
            ("publish_system(&ModuleStarted", "the_node_tells_of_its_start_of_its_modules_and_of_its_end")
        }
        ("system", "ModuleStopped") => {
            ("publish_system(&ModuleStopped", "load_and_unload_are_told_each_event_once_and_in_order")
        }
        ("system", "ModuleDiscovered") => {
            ("ModuleDiscovered {", "load_and_unload_are_told_each_event_once_and_in_order")
        }
        ("system", "ModuleLoaded") => {
            ("ModuleLoaded {", "load_and_unload_are_told_each_event_once_and_in_order")
        }
        ("system", "ModuleStateChanged") => {
            ("ModuleStateChanged {", "load_and_unload_are_told_each_event_once_and_in_order")
        }
        ("system", "ModuleUnloaded") => {
            ("ModuleUnloaded {", "load_and_unload_are_told_each_event_once_and_in_order")
        }
        ("system", "ModuleInstalled") => {
            ("ModuleInstalled {", "the_directory_is_watched_and_each_change_told_once")
        }
        ("system", "ModuleUpdated") => {
            ("ModuleUpdated {", "the_directory_is_watched_and_each_change_told_once")
        }
        ("system", "ModuleRemoved") => {
            ("ModuleRemoved {", "the_directory_is_watched_and_each_change_told_once")
        }
        ("system", "ModuleReloaded") => {
            ("ModuleReloaded {", "a_reload_ends_the_old_process_before_the_new_one_starts")
        }
        ("system", "ModuleCrashed") => {
            ("publish_system(&ModuleCrashed", "a_crash_is_told_as_a_crash_and_the_restart_as_a_start")
        }
        ("system", "ModuleHealthChanged") => (
            "ModuleHealthChanged {",
            "a_module_that_answers_is_healthy_and_one_that_ended_is_not_known_to_be",
        ),
        ("system", "NodeShutdown") => {
            ("publish_system(&NodeShutdown", "the_node_tells_of_its_start_of_its_modules_and_of_its_end")
        }
        (
            "system",
            "SyncStateChanged"
            | "HeadersSyncStarted"
            | "HeadersSyncCompleted"
            | "BlockSyncStarted"
            | "BlockSyncCompleted",
        ) => (
            "NodeEvent::SyncStateChanged",
            "a_new_node_fetches_the_chain_and_then_hears_of_each_block_and_reorganisation",
        ),
        ("system", "HeadersSyncProgress" | "BlockSyncProgress") => (
            "NodeEvent::SyncProgress",
            "a_new_state_is_said_at_once_and_numbers_once_a_second_while_something_is_fetched",
        ),
        ("system", "ConsensusRuleViolation") => (
            "NodeEvent::BlockRejected",
            "a_block_that_breaks_a_rule_is_told_with_the_rule_and_one_without_work_is_not",
        ),
        ("system", "MaintenanceStarted" | "MaintenanceCompleted") => {
            ("NodeEvent::MaintenanceChanged", "what_is_denied_is_not_found_and_what_is_not_is_served")
        }
        ("system", "DiskSpaceLow") => {
            ("NodeEvent::DiskSpaceLow", "a_disk_with_less_room_than_asked_for_is_told_by_the_node_once")
        }
        ("modules", "ModuleEvent") => {
            ("publish(&ModuleEvent", "events_of_modules_bear_their_publisher_and_payments_need_a_right_each")
        }
        ("payments", "PaymentEvent") => {
            ("publish(&PaymentEvent", "events_of_modules_bear_their_publisher_and_payments_need_a_right_each")
        }
        (topic, kind) => panic!("how does {kind} of {topic} come about?"),
    };
    Provoked { made_as, test: (!test.is_empty()).then_some(test) }
}
