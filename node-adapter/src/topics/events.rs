//! What of the node's events goes where: every [`NodeEvent`] is at least one message of one topic.

use blvm_bus::message::chain::{
    BlockBody, BlockConnected, BlockDisconnected, BlockTransaction, ChainReorganised, FEE_UNKNOWN,
    ReorganisationBody,
};
use blvm_bus::message::mempool::{
    self, FeeEstimatesChanged, FeeRateChanged, MempoolCleared, MempoolThresholdExceeded, TransactionAdded,
    TransactionRemoved,
};
use blvm_bus::message::mining::{
    BlockMined, DifficultyAdjusted, FeeDelta, MAX_COINBASE_PREFIX_BYTES, MAX_MERKLE_PATH,
    MAX_WITNESS_COMMITMENT_BYTES, TemplateUpdated, TipChanged,
};
use blvm_bus::message::peers::{
    self, AddressDiscovered, AddressExpired, ConnectionAttempt, MAX_COMMAND_BYTES, MessageReceived,
    MessageSent, PeerBanned, PeerConnected, PeerDisconnected, PeerMisbehaved, PeerUnbanned,
    RateLimitExceeded,
};
use blvm_bus::message::system::{
    self, BlockSyncCompleted, BlockSyncProgress, BlockSyncStarted, ConsensusRuleViolation, DiskSpaceLow,
    HeadersSyncCompleted, HeadersSyncProgress, HeadersSyncStarted, MaintenanceCompleted, MaintenanceStarted,
    SyncStateChanged,
};
use blvm_bus::message::{mesh_packets, stratum_packets};

use super::Topics;
use crate::source::{
    ConnectedBlock, EventSink, FeeEstimate, NodeEvent, PacketProtocol, Peer, RemovalReason, SyncState,
    Template, Tip, TransactionEntry,
};

impl EventSink for Topics {
    fn event(&self, event: NodeEvent) {
        let chain = &self.hosts.chain;
        let mining = &self.hosts.mining;
        let mempool = &self.hosts.mempool;
        let peers = &self.hosts.peers;
        let system = &self.hosts.system;
        match event {
            NodeEvent::BlockConnected(block) => {
                self.block_connected(&block);
                self.watches.connected(block);
            }
            NodeEvent::BlockDisconnected { position, previous } => {
                chain.publish(&BlockDisconnected { hash: position.hash, previous, height: position.height });
                self.watches.disconnected(position);
            }
            NodeEvent::ChainReorganised { fork, disconnected, connected } => chain.publish_with_body(
                &ChainReorganised {
                    fork_hash: fork.hash,
                    fork_height: fork.height,
                    disconnected: disconnected.len() as u32,
                    connected: connected.len() as u32,
                },
                &ReorganisationBody { disconnected: &disconnected, connected: &connected },
            ),

            // A template stands on a tip: it does not outlive it.
            NodeEvent::TipChanged(tip) => mining.publish_standing(tip_changed(&tip), true),
            NodeEvent::TemplateUpdated(template) => self.template_updated(&template),
            NodeEvent::FeeDelta { template_id, announced_fees_sat, fees_sat } => {
                mining.publish(&FeeDelta { template_id, announced_fees_sat, fees_sat });
            }
            NodeEvent::BlockMined { position, template_id } => {
                mining.publish(&BlockMined { hash: position.hash, height: position.height, template_id });
            }
            NodeEvent::DifficultyAdjusted { height, old_bits, new_bits } => {
                mining.publish(&DifficultyAdjusted { height, old_bits, new_bits });
            }

            NodeEvent::TransactionAdded(transaction) => {
                mempool.publish(&TransactionAdded {
                    txid: transaction.txid,
                    wtxid: transaction.wtxid,
                    fee_sat: transaction.fee_sat,
                    weight: transaction.weight,
                    raw: transaction.raw.to_vec(),
                });
                self.watches.added(transaction);
            }
            NodeEvent::TransactionRemoved { txid, reason } => {
                let (reason, replaced_by) = removal(reason);
                mempool.publish(&TransactionRemoved { txid, reason, replaced_by });
            }
            NodeEvent::FeeRateChanged { floor_sat_per_kvb } => {
                mempool.publish(&FeeRateChanged { floor_sat_per_kvb });
            }
            NodeEvent::FeeEstimatesChanged { estimates } => mempool.publish(&fee_estimates(&estimates)),
            NodeEvent::MempoolThresholdExceeded { percent, bytes, limit_bytes } => {
                mempool.publish(&MempoolThresholdExceeded { percent: percent.into(), bytes, limit_bytes });
            }
            NodeEvent::MempoolCleared { transactions } => mempool.publish(&MempoolCleared { transactions }),

            NodeEvent::PeerConnected(peer) => peers.publish(&peer_connected(peer)),
            NodeEvent::PeerDisconnected { id, reason } => {
                peers.publish(&PeerDisconnected { id, reason: for_log(reason) });
            }
            NodeEvent::PeerBanned { address, until_s, reason } => {
                peers.publish(&PeerBanned { address: address.to_string(), until_s, reason: for_log(reason) })
            }
            NodeEvent::PeerUnbanned { address, is_early } => {
                peers.publish(&PeerUnbanned { address: address.to_string(), is_early });
            }
            NodeEvent::ConnectionAttempt { address, failure } => peers.publish(&ConnectionAttempt {
                address,
                is_connected: failure.is_none(),
                failure: for_log(failure.unwrap_or_default()),
            }),
            NodeEvent::AddressDiscovered { address, services } => {
                peers.publish(&AddressDiscovered { address, services });
            }
            NodeEvent::AddressExpired { address } => peers.publish(&AddressExpired { address }),
            NodeEvent::MessageReceived { peer, command, payload_bytes } => {
                let command = cut(command, MAX_COMMAND_BYTES);
                peers.publish(&MessageReceived { peer, command, payload_bytes });
            }
            NodeEvent::MessageSent { peer, command, payload_bytes } => {
                let command = cut(command, MAX_COMMAND_BYTES);
                peers.publish(&MessageSent { peer, command, payload_bytes });
            }
            NodeEvent::PeerMisbehaved { peer, points, total, offence } => {
                peers.publish(&PeerMisbehaved { peer, points, total, offence: for_log(offence) });
            }
            NodeEvent::RateLimitExceeded { peer, what } => {
                peers.publish(&RateLimitExceeded { peer, what: for_log(what.to_owned()) });
            }

            NodeEvent::PacketReceived { peer, protocol: PacketProtocol::Mesh, packet } => {
                let packet = mesh_packets::PacketReceived { peer, payload: packet };
                self.hosts.mesh_packets.publish(&packet);
            }
            NodeEvent::PacketReceived { peer, protocol: PacketProtocol::Stratum, packet } => {
                let packet = stratum_packets::PacketReceived { peer, payload: packet };
                self.hosts.stratum_packets.publish(&packet);
            }

            NodeEvent::SyncStateChanged { state, height, header_height } => {
                self.sync_changed(state, height, header_height);
            }
            NodeEvent::SyncProgress { state: SyncState::Headers, header_height, .. } => {
                system.publish(&HeadersSyncProgress { header_height });
            }
            NodeEvent::SyncProgress { state: SyncState::Blocks, height, header_height } => {
                system.publish(&BlockSyncProgress { height, header_height });
            }
            // Nothing is being fetched, so nothing goes on.
            NodeEvent::SyncProgress { state: SyncState::NoPeers | SyncState::Synced, .. } => {}
            NodeEvent::BlockRejected { hash, reason } => {
                let reason = cut(reason, system::MAX_TEXT_BYTES);
                system.publish(&ConsensusRuleViolation { hash, reason });
            }
            NodeEvent::MaintenanceChanged { is_on: true } => {
                system.publish(&MaintenanceStarted { withheld: "blocks".to_owned() });
            }
            NodeEvent::MaintenanceChanged { is_on: false } => {
                system.publish(&MaintenanceCompleted { withheld: "blocks".to_owned() });
            }
            NodeEvent::DiskSpaceLow { free_bytes, threshold_bytes } => {
                system.publish(&DiskSpaceLow { free_bytes, threshold_bytes });
            }
        }
    }
}

impl Topics {
    fn block_connected(&self, block: &ConnectedBlock) {
        // Kept from block to block: new memory costs more than what is written to it.
        let mut index = self.block_index.lock();
        index.clear();
        index.extend(block.transactions.iter().map(index_entry));
        let transactions: &[BlockTransaction] = &index;
        let message = BlockConnected {
            hash: block.position.hash,
            previous: block.previous,
            height: block.position.height,
            // Consensus bounds a block to 4 MB: both counts fit.
            transactions: transactions.len() as u32,
            raw_bytes: block.raw.len() as u32,
        };
        tracing::trace!(name: "message", target: "blvm::block_path", "the message is made");
        self.hosts.chain.publish_with_body(&message, &BlockBody { transactions, raw: &block.raw });
        tracing::trace!(name: "published", target: "blvm::block_path", "the message is published");
    }

    /// A part of a list or of a script would be another template: one beyond the bounds of its message is not sent.
    fn template_updated(&self, template: &Template) {
        let is_bounded = template.coinbase_prefix.len() <= MAX_COINBASE_PREFIX_BYTES
            && template.witness_commitment.len() <= MAX_WITNESS_COMMITMENT_BYTES
            && template.merkle_path.len() <= MAX_MERKLE_PATH;
        if !is_bounded {
            tracing::error!(template.id, "a template larger than its message was not published");
            return;
        }
        self.hosts.mining.publish_standing(template_message(template), false);
    }

    /// The change itself, then what of it has a name of its own.
    fn sync_changed(&self, state: SyncState, height: u32, header_height: u32) {
        let system = &self.hosts.system;
        let number = match state {
            SyncState::NoPeers => system::SYNC_NO_PEERS,
            SyncState::Headers => system::SYNC_HEADERS,
            SyncState::Blocks => system::SYNC_BLOCKS,
            SyncState::Synced => system::SYNC_SYNCED,
        };
        // Held to the end, so that what follows from a change follows it.
        let mut current = self.sync.lock();
        let before = std::mem::replace(&mut *current, state);
        system.publish(&SyncStateChanged { state: number, height, header_height });
        match (before, state) {
            (SyncState::Headers, SyncState::Blocks | SyncState::Synced) => {
                system.publish(&HeadersSyncCompleted { header_height });
            }
            (SyncState::Blocks, SyncState::Synced) => system.publish(&BlockSyncCompleted { height }),
            _ => {}
        }
        match state {
            SyncState::Headers if before != state => system.publish(&HeadersSyncStarted { header_height }),
            SyncState::Blocks if before != state => {
                system.publish(&BlockSyncStarted { height, header_height });
            }
            _ => {}
        }
    }
}

fn tip_changed(tip: &Tip) -> TipChanged {
    TipChanged {
        hash: tip.position.hash,
        previous: tip.previous,
        height: tip.position.height,
        header: tip.header,
        next_bits: tip.next_bits,
        next_min_time: tip.next_min_time,
    }
}

fn template_message(template: &Template) -> TemplateUpdated {
    TemplateUpdated {
        template_id: template.id,
        previous: template.previous,
        height: template.height,
        version: template.version,
        bits: template.bits,
        min_time: template.min_time,
        coinbase_value_sat: template.coinbase_value_sat,
        fees_sat: template.fees_sat,
        weight: template.weight,
        // A block holds far fewer than 2^32.
        transactions: template.transactions.len() as u32,
        coinbase_weight_limit: template.coinbase_weight_limit,
        coinbase_output_bytes_limit: template.constraints.output_bytes,
        coinbase_sigop_cost_limit: template.coinbase_sigop_cost_limit,
        coinbase_version: template.coinbase_version,
        coinbase_sequence: template.coinbase_sequence,
        coinbase_lock_time: template.coinbase_lock_time,
        is_empty: template.is_empty,
        coinbase_prefix: template.coinbase_prefix.clone(),
        witness_commitment: template.witness_commitment.clone(),
        merkle_path: template.merkle_path.clone(),
    }
}

/// How a transaction stands in the index of its block.
pub(crate) fn index_entry(entry: &TransactionEntry) -> BlockTransaction {
    BlockTransaction {
        txid: entry.txid,
        wtxid: entry.wtxid,
        fee_sat: entry.fee_sat.unwrap_or(FEE_UNKNOWN),
        offset_bytes: entry.offset_bytes,
        length_bytes: entry.length_bytes,
        weight: entry.weight,
        reserved: 0,
    }
}

fn removal(reason: RemovalReason) -> (u16, [u8; 32]) {
    match reason {
        RemovalReason::Mined => (mempool::REMOVED_MINED, [0; 32]),
        RemovalReason::Replaced { by } => (mempool::REMOVED_REPLACED, by),
        RemovalReason::Conflict => (mempool::REMOVED_CONFLICT, [0; 32]),
        RemovalReason::Expired => (mempool::REMOVED_EXPIRED, [0; 32]),
        RemovalReason::Evicted => (mempool::REMOVED_EVICTED, [0; 32]),
    }
}

fn fee_estimates(estimates: &[FeeEstimate]) -> FeeEstimatesChanged {
    FeeEstimatesChanged {
        target_blocks: estimates.iter().map(|estimate| estimate.target_blocks.into()).collect(),
        sat_per_kvb: estimates.iter().map(|estimate| estimate.sat_per_kvb).collect(),
    }
}

fn peer_connected(peer: Peer) -> PeerConnected {
    PeerConnected {
        id: peer.id,
        address: peer.address,
        is_inbound: peer.is_inbound,
        protocol_version: peer.protocol_version,
        services: peer.services,
        user_agent: for_log(peer.user_agent),
        start_height: peer.start_height,
    }
}

/// A text of topic `peers`, as long as it may be.
fn for_log(text: String) -> String {
    cut(text, peers::MAX_TEXT_BYTES)
}

/// The first `limit` bytes of `text`, or as many as are whole characters.
fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::sync::Arc;

    use blvm_bus::message::{TOPICS, Topic};
    use blvm_bus::with_topic;

    use super::super::tests::{subscribe, template, tip, topics};
    use super::*;
    use crate::source::{ChainPosition, MempoolTransaction};

    const FORK: ChainPosition = ChainPosition { hash: [3; 32], height: 7 };

    /// What stands on all topics, topic by topic, as `topic Kind name=value …`.
    fn published(topics: &Topics) -> Vec<String> {
        fn lines<T: Topic>(topics: &Topics) -> Vec<String> {
            let mut subscriber = subscribe::<T>(topics, 1);
            let mut lines = Vec::new();
            while let Some(sample) = subscriber.poll().unwrap() {
                let mut fields = String::new();
                let kind = T::visit_event(&sample.event().unwrap(), &mut |name, value| {
                    write!(fields, " {name}={value}").unwrap();
                });
                lines.push(format!("{} {kind}{fields}", T::NAME));
            }
            lines
        }
        TOPICS.iter().flat_map(|topic| with_topic!(topic.number, T => lines::<T>(topics)).unwrap()).collect()
    }

    /// What `events` become.
    fn messages(events: impl IntoIterator<Item = NodeEvent>) -> Vec<String> {
        let topics = topics();
        events.into_iter().for_each(|event| topics.event(event));
        published(&topics)
    }

    fn hash(byte: u8) -> String {
        format!("{byte:02x}").repeat(32)
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn removed(reason: RemovalReason) -> NodeEvent {
        NodeEvent::TransactionRemoved { txid: [1; 32], reason }
    }

    /// Every event but those about fetching, each with what it becomes.
    fn events() -> Vec<(NodeEvent, String)> {
        let peer = Peer {
            id: 1,
            address: text("203.0.113.7:8333"),
            is_inbound: true,
            protocol_version: 70_016,
            services: 9,
            user_agent: text("/x/"),
            start_height: -1,
        };
        let transaction = MempoolTransaction {
            txid: [1; 32],
            wtxid: [2; 32],
            fee_sat: 3,
            weight: 4,
            sigop_cost: 5,
            raw: Arc::from([0xab, 0xcd].as_slice()),
        };
        let block = ConnectedBlock {
            position: FORK,
            previous: [2; 32],
            raw: Arc::from([7; 90].as_slice()),
            transactions: vec![TransactionEntry {
                txid: [1; 32],
                wtxid: [0; 32],
                offset_bytes: 81,
                length_bytes: 9,
                weight: 36,
                fee_sat: None,
            }],
        };
        let estimates = vec![
            FeeEstimate { target_blocks: 2, sat_per_kvb: 9_000 },
            FeeEstimate { target_blocks: 6, sat_per_kvb: 4_000 },
        ];
        let (peer_number, payload_bytes) = (1, 37);
        let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
        let removal = |reason, by: u8| {
            format!("mempool TransactionRemoved txid={} reason={reason} replaced_by={}", hash(1), hash(by))
        };
        let packet = |protocol| NodeEvent::PacketReceived { peer: 1, protocol, packet: vec![0xab, 0xcd] };
        vec![
            (
                NodeEvent::TipChanged(tip(2)),
                format!(
                    "mining TipChanged hash={} previous={} height=2 header={} next_bits={} next_min_time=1700000001",
                    hash(2),
                    hash(1),
                    "09".repeat(80),
                    0x207f_ffff
                ),
            ),
            (
                NodeEvent::BlockConnected(block),
                format!(
                    "chain BlockConnected hash={} previous={} height=7 transactions=1 raw_bytes=90",
                    hash(3),
                    hash(2)
                ),
            ),
            (
                NodeEvent::BlockDisconnected { position: FORK, previous: [2; 32] },
                format!("chain BlockDisconnected hash={} previous={} height=7", hash(3), hash(2)),
            ),
            (
                NodeEvent::ChainReorganised {
                    fork: FORK,
                    disconnected: vec![[4; 32]],
                    connected: vec![[5; 32], [6; 32]],
                },
                format!(
                    "chain ChainReorganised fork_hash={} fork_height=7 disconnected=1 connected=2",
                    hash(3)
                ),
            ),
            (
                NodeEvent::TransactionAdded(transaction),
                format!(
                    "mempool TransactionAdded txid={} wtxid={} fee_sat=3 weight=4 raw=abcd",
                    hash(1),
                    hash(2)
                ),
            ),
            (removed(RemovalReason::Mined), removal(1, 0)),
            (removed(RemovalReason::Replaced { by: [2; 32] }), removal(2, 2)),
            (removed(RemovalReason::Conflict), removal(3, 0)),
            (removed(RemovalReason::Expired), removal(4, 0)),
            (removed(RemovalReason::Evicted), removal(5, 0)),
            (
                NodeEvent::PeerConnected(peer),
                text(
                    "peers PeerConnected id=1 address=203.0.113.7:8333 is_inbound=true protocol_version=70016 \
                     services=9 user_agent=/x/ start_height=-1",
                ),
            ),
            (
                NodeEvent::PeerDisconnected { id: 1, reason: text("timed out") },
                text("peers PeerDisconnected id=1 reason=timed out"),
            ),
            (
                NodeEvent::TemplateUpdated(template(1)),
                format!(
                    "mining TemplateUpdated template_id=1 previous={} height=2 version=3 bits=4 min_time=5 \
                     coinbase_value_sat=6 fees_sat=7 weight=8 transactions=0 coinbase_weight_limit=10 \
                     coinbase_output_bytes_limit=12 coinbase_sigop_cost_limit=11 coinbase_version=14 \
                     coinbase_sequence=15 coinbase_lock_time=16 is_empty=false coinbase_prefix=11 \
                     witness_commitment=12 merkle_path=[{}]",
                    hash(1),
                    hash(0x13)
                ),
            ),
            (
                NodeEvent::FeeDelta { template_id: 1, announced_fees_sat: 2, fees_sat: 3 },
                text("mining FeeDelta template_id=1 announced_fees_sat=2 fees_sat=3"),
            ),
            (
                NodeEvent::BlockMined { position: FORK, template_id: Some(4) },
                format!("mining BlockMined hash={} height=7 template_id=4", hash(3)),
            ),
            (
                NodeEvent::BlockMined { position: FORK, template_id: None },
                format!("mining BlockMined hash={} height=7 template_id=unknown", hash(3)),
            ),
            (
                NodeEvent::DifficultyAdjusted { height: 2_016, old_bits: 1, new_bits: 2 },
                text("mining DifficultyAdjusted height=2016 old_bits=1 new_bits=2"),
            ),
            (
                NodeEvent::FeeRateChanged { floor_sat_per_kvb: 1_000 },
                text("mempool FeeRateChanged floor_sat_per_kvb=1000"),
            ),
            (
                NodeEvent::FeeEstimatesChanged { estimates },
                text("mempool FeeEstimatesChanged target_blocks=[2, 6] sat_per_kvb=[9000, 4000]"),
            ),
            (
                NodeEvent::MempoolThresholdExceeded { percent: 75, bytes: 1, limit_bytes: 2 },
                text("mempool MempoolThresholdExceeded percent=75 bytes=1 limit_bytes=2"),
            ),
            (NodeEvent::MempoolCleared { transactions: 3 }, text("mempool MempoolCleared transactions=3")),
            (
                NodeEvent::PeerBanned { address, until_s: 1, reason: text("x y") },
                text("peers PeerBanned address=203.0.113.7 until_s=1 reason=x y"),
            ),
            (
                NodeEvent::PeerUnbanned { address: Ipv6Addr::LOCALHOST.into(), is_early: true },
                text("peers PeerUnbanned address=::1 is_early=true"),
            ),
            (
                NodeEvent::ConnectionAttempt { address: text("a:1"), failure: None },
                text("peers ConnectionAttempt address=a:1 is_connected=true failure="),
            ),
            (
                NodeEvent::ConnectionAttempt { address: text("a:1"), failure: Some(text("refused")) },
                text("peers ConnectionAttempt address=a:1 is_connected=false failure=refused"),
            ),
            (
                NodeEvent::AddressDiscovered { address: text("a:1"), services: 9 },
                text("peers AddressDiscovered address=a:1 services=9"),
            ),
            (NodeEvent::AddressExpired { address: text("a:1") }, text("peers AddressExpired address=a:1")),
            (
                NodeEvent::MessageReceived { peer: peer_number, command: text("inv"), payload_bytes },
                text("peers MessageReceived peer=1 command=inv payload_bytes=37"),
            ),
            (
                NodeEvent::MessageSent { peer: peer_number, command: text("inv"), payload_bytes },
                text("peers MessageSent peer=1 command=inv payload_bytes=37"),
            ),
            (
                NodeEvent::PeerMisbehaved { peer: 1, points: 20, total: 60, offence: text("x") },
                text("peers PeerMisbehaved peer=1 points=20 total=60 offence=x"),
            ),
            (
                NodeEvent::RateLimitExceeded { peer: 1, what: "addresses" },
                text("peers RateLimitExceeded peer=1 what=addresses"),
            ),
            (packet(PacketProtocol::Mesh), text("mesh_packets PacketReceived peer=1 payload=abcd")),
            (packet(PacketProtocol::Stratum), text("stratum_packets PacketReceived peer=1 payload=abcd")),
            (
                NodeEvent::BlockRejected { hash: [3; 32], reason: text("bad-cb-amount") },
                format!("system ConsensusRuleViolation hash={} reason=bad-cb-amount", hash(3)),
            ),
            (
                NodeEvent::MaintenanceChanged { is_on: true },
                text("system MaintenanceStarted withheld=blocks"),
            ),
            (
                NodeEvent::MaintenanceChanged { is_on: false },
                text("system MaintenanceCompleted withheld=blocks"),
            ),
            (
                NodeEvent::DiskSpaceLow { free_bytes: 1, threshold_bytes: 2 },
                text("system DiskSpaceLow free_bytes=1 threshold_bytes=2"),
            ),
        ]
    }

    #[test]
    fn every_event_is_one_message_of_its_topic_with_its_fields() {
        let mut kinds = BTreeSet::new();
        for (event, expected) in events() {
            let shown = format!("{event:?}");
            assert_eq!(messages([event]), std::slice::from_ref(&expected), "{shown}");
            kinds.insert(expected.split(' ').take(2).collect::<Vec<_>>().join(" "));
        }
        // What the node tells of itself and of its modules comes from elsewhere; the other kinds of `system` are tested below.
        let topics = ["chain", "mining", "mempool", "peers", "mesh_packets", "stratum_packets"];
        let known = TOPICS
            .iter()
            .filter(|topic| topics.contains(&topic.name))
            .flat_map(|topic| topic.kinds.iter().map(|(_, kind)| format!("{} {kind}", topic.name)));
        assert_eq!(known.filter(|kind| !kinds.contains(kind)).collect::<Vec<_>>(), <[&str; 0]>::default());
    }

    fn sync(state: SyncState, height: u32, header_height: u32) -> NodeEvent {
        NodeEvent::SyncStateChanged { state, height, header_height }
    }

    #[test]
    fn a_sync_from_first_header_to_last_block_is_told_by_its_names() {
        let progress =
            |state, height, header_height| NodeEvent::SyncProgress { state, height, header_height };
        let told = messages([
            sync(SyncState::Headers, 0, 0),
            progress(SyncState::Headers, 0, 2_000),
            sync(SyncState::Blocks, 0, 2_500),
            progress(SyncState::Blocks, 700, 2_500),
            sync(SyncState::Synced, 2_500, 2_500),
        ]);
        let expected = [
            "system SyncStateChanged state=2 height=0 header_height=0",
            "system HeadersSyncStarted header_height=0",
            "system HeadersSyncProgress header_height=2000",
            "system SyncStateChanged state=3 height=0 header_height=2500",
            "system HeadersSyncCompleted header_height=2500",
            "system BlockSyncStarted height=0 header_height=2500",
            "system BlockSyncProgress height=700 header_height=2500",
            "system SyncStateChanged state=4 height=2500 header_height=2500",
            "system BlockSyncCompleted height=2500",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_sync_that_breaks_off_is_not_called_complete() {
        let told = messages([
            sync(SyncState::Headers, 0, 0),
            sync(SyncState::NoPeers, 0, 5),
            sync(SyncState::Blocks, 1, 5),
            sync(SyncState::Headers, 2, 5),
            sync(SyncState::Headers, 2, 6),
            sync(SyncState::NoPeers, 2, 6),
            NodeEvent::SyncProgress { state: SyncState::NoPeers, height: 2, header_height: 6 },
        ]);
        let names: Vec<_> = told.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
        let expected = [
            "SyncStateChanged",
            "HeadersSyncStarted",
            "SyncStateChanged",
            "SyncStateChanged",
            "BlockSyncStarted",
            "SyncStateChanged",
            "HeadersSyncStarted",
            "SyncStateChanged",
            "SyncStateChanged",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn texts_are_cut_to_whole_characters_where_their_messages_end() {
        assert_eq!(cut("é".repeat(128), 256), "é".repeat(128));
        assert_eq!(cut(format!("{}é", "a".repeat(255)), 256), "a".repeat(255));
        assert_eq!(cut(text("sendtxrcncl-and-more"), MAX_COMMAND_BYTES), "sendtxrcncl-");
        let reason = "r".repeat(5_000);
        let told = messages([NodeEvent::BlockRejected { hash: [3; 32], reason }]);
        assert!(told[0].ends_with(&format!("reason={}", "r".repeat(256))), "{told:?}");
    }

    #[test]
    fn a_template_beyond_the_bounds_of_its_message_is_not_sent() {
        let with = |change: fn(&mut Template)| {
            let mut template = Template::clone(&template(1));
            change(&mut template);
            messages([NodeEvent::TemplateUpdated(Arc::new(template))]).len()
        };
        assert_eq!(with(|template| template.merkle_path = vec![[1; 32]; MAX_MERKLE_PATH]), 1);
        assert_eq!(with(|template| template.merkle_path = vec![[1; 32]; MAX_MERKLE_PATH + 1]), 0);
        assert_eq!(with(|template| template.coinbase_prefix = vec![1; MAX_COINBASE_PREFIX_BYTES + 1]), 0);
        assert_eq!(with(|template| template.witness_commitment = vec![1; MAX_WITNESS_COMMITMENT_BYTES]), 1);
        assert_eq!(
            with(|template| template.witness_commitment = vec![1; MAX_WITNESS_COMMITMENT_BYTES + 1]),
            0
        );
    }
}
