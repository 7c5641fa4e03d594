//! Frames of the areas: chain, mempool, mining, network, watch.

use blvm_bus::request::{
    Ban, Block, BlockAndWitnesses, BlockHeader, BlockTemplate, BlockVerdict, ChainInfo, ChainPosition,
    ChainReply, ChainRequest, ChainTransaction, CoinbaseConstraints, CoinbaseOutput, Confirmation,
    ConnectedTransaction, Denylist, DisconnectedBlock, FeeEstimate, FeeRateClass, MempoolEntry, MempoolInfo,
    MempoolReply, MempoolRequest, MempoolSnapshot, MiningRefusal, MiningReply, MiningRequest, NetworkPeer,
    NetworkPeers, NetworkRefusal, NetworkReply, NetworkRequest, NetworkStats, Outpoint, PacketProtocol,
    Refusal, Replay, ReplayStep, Reply, Request, ScidOutput, Solution, SyncState, SyncStatus, TemplateEntry,
    TemplateTransaction, TransactionRefusal, TxMetadata, Utxo, WatchEvent, WatchEvents, WatchItem, WatchLoss,
    WatchReply, WatchRequest, WatchedTransaction,
};

const POSITION: ChainPosition = ChainPosition { hash: [1; 32], height: 9 };

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let chain = |name, request| (name, Request::Chain(Box::new(request)));
    let mempool = |name, request| (name, Request::Mempool(Box::new(request)));
    let mining = |name, request| (name, Request::Mining(Box::new(request)));
    let network = |name, request| (name, Request::Network(Box::new(request)));
    let watch = |name, request| (name, Request::Watch(Box::new(request)));
    let outputs = vec![CoinbaseOutput { value_sat: 1, script: vec![2; 25] }];
    let solution =
        Solution { template_id: 1, version: 0x2000_0000, time: 3, nonce: 4, coinbase: vec![5; 60] };
    vec![
        chain("request-get-utxo", ChainRequest::GetUtxo { txid: [1; 32], vout: 2 }),
        chain("request-get-chain-info", ChainRequest::GetChainInfo),
        chain("request-find-fork", ChainRequest::FindFork { locator: vec![[1; 32], [2; 32]] }),
        chain(
            "request-replay-from",
            ChainRequest::ReplayFrom { position: POSITION, limit_steps: 10, limit_bytes: 0 },
        ),
        chain("request-get-txout-by-scid", ChainRequest::GetTxoutByScid { scid: 9 << 40 | 1 << 16 | 2 }),
        chain("request-get-block-body", ChainRequest::GetBlockBody { hash: [6; 32] }),
        mempool("request-mempool-snapshot", MempoolRequest::Snapshot),
        mempool(
            "request-submit-package",
            MempoolRequest::SubmitPackage { transactions: vec![vec![1; 60], vec![2; 70]] },
        ),
        mempool("request-by-wtxid", MempoolRequest::GetTransactionsByWtxid { wtxids: vec![[3; 32]] }),
        mining("request-template", MiningRequest::GetBlockTemplate),
        mining("request-template-outputs", MiningRequest::GetBlockTemplateWithOutputs { outputs }),
        mining(
            "request-constraints",
            MiningRequest::SetCoinbaseConstraints(CoinbaseConstraints { output_bytes: 100, sigop_cost: 4 }),
        ),
        mining("request-submit-solution", MiningRequest::SubmitSolution(solution)),
        mining("request-check-block", MiningRequest::CheckBlock { raw: vec![6; 81] }),
        network("request-get-peers", NetworkRequest::GetPeers),
        network(
            "request-send-payload",
            NetworkRequest::SendPeerTransportPayload {
                peer: 3,
                protocol: PacketProtocol::Stratum,
                payload: vec![7; 20],
            },
        ),
        network(
            "request-ban-peer",
            NetworkRequest::BanPeer {
                address: "192.0.2.7".to_owned(),
                duration_s: 60,
                reason: "a reason longer than eight bytes".to_owned(),
            },
        ),
        network(
            "request-replace-denylist",
            NetworkRequest::ReplaceServeDenylist { list: Denylist::Transactions, hashes: vec![[8; 32]] },
        ),
        watch("request-watch-add", WatchRequest::Add { items: items() }),
        watch("request-watch-next", WatchRequest::Next { limit: 10 }),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let mut replies = chain_replies();
    replies.extend(mempool_replies());
    replies.extend(mining_replies());
    replies.extend(network_replies());
    replies.extend(refusals());
    let transaction = WatchedTransaction { txid: [1; 32], raw: vec![2; 60], items: items() };
    let events = vec![
        WatchEvent::InMempool(transaction.clone()),
        WatchEvent::Connected(ConnectedTransaction { block: POSITION, index: 1, transaction }),
        WatchEvent::Disconnected(POSITION),
    ];
    let loss = Some(WatchLoss { events: 5, not_looked_at: 1, after: POSITION });
    let events = WatchReply::Events(WatchEvents { events, loss });
    replies.push(("reply-watch-events", Reply::Watch(Box::new(events))));
    replies
}

fn items() -> Vec<WatchItem> {
    let outpoint = Outpoint { txid: [2; 32], vout: 3 };
    vec![WatchItem::Txid([1; 32]), WatchItem::Outpoint(outpoint), WatchItem::Script(vec![4; 34])]
}

fn chain_replies() -> Vec<(&'static str, Reply)> {
    let confirmation = Some(Confirmation { block: POSITION, index: 1 });
    let replies = vec![
        (
            "reply-header",
            ChainReply::BlockHeader(Some(BlockHeader { position: POSITION, raw: [2; 80], is_active: true })),
        ),
        (
            "reply-chain-transaction",
            ChainReply::Transaction(Some(ChainTransaction { txid: [1; 32], raw: vec![2; 60], confirmation })),
        ),
        (
            "reply-block-and-witnesses",
            ChainReply::BlockAndWitnesses(Some(BlockAndWitnesses {
                position: POSITION,
                stripped: vec![3; 81],
                witnesses: vec![vec![], vec![4; 70]],
            })),
        ),
        (
            "reply-tx-metadata",
            ChainReply::TxMetadata(Some(TxMetadata {
                txid: [1; 32],
                wtxid: [2; 32],
                confirmation: None,
                confirmations: 0,
                fee_sat: Some(100),
                weight: 400,
            })),
        ),
        (
            "reply-utxo",
            ChainReply::Utxo(Some(Utxo { value_sat: 5, script: vec![6; 22], height: 7, is_coinbase: false })),
        ),
        (
            "reply-chain-info",
            ChainReply::ChainInfo(ChainInfo {
                network: "regtest".to_owned(),
                tip: POSITION,
                previous: [2; 32],
                header: [3; 80],
                tip_time: 4,
                median_time: 5,
                bits: 6,
                next_bits: Some(7),
                next_min_time: 8,
                unspent_outputs: Some(9),
            }),
        ),
        (
            "reply-sync-status",
            ChainReply::SyncStatus(SyncStatus { state: SyncState::Blocks, height: 9, header_height: 10 }),
        ),
        (
            "reply-replay",
            ChainReply::Replay(Replay {
                steps: vec![
                    ReplayStep::Disconnect(DisconnectedBlock { position: POSITION, previous: [2; 32] }),
                    ReplayStep::Connect(Block { hash: [3; 32], height: 9, raw: vec![4; 81] }),
                ],
                is_complete: true,
                next_sequence: 12,
            }),
        ),
        (
            "reply-txout",
            ChainReply::Txout(Some(ScidOutput {
                txid: [1; 32],
                vout: 2,
                block: POSITION,
                value_sat: 3,
                script: vec![4; 34],
                is_unspent: true,
            })),
        ),
        ("reply-block-body", ChainReply::BlockBody(Some(vec![7; 90]))),
    ];
    replies.into_iter().map(|(name, reply)| (name, Reply::Chain(Box::new(reply)))).collect()
}

fn mempool_replies() -> Vec<(&'static str, Reply)> {
    let entry = MempoolEntry { txid: [4; 32], wtxid: [5; 32], fee_sat: 6, weight: 7, raw: vec![8; 60] };
    let class = FeeRateClass { from_sat_per_kvb: 1000, transactions: 1, virtual_bytes: 150, fees_sat: 200 };
    let replies = vec![
        (
            "reply-mempool-size",
            MempoolReply::Size(MempoolInfo {
                transactions: 1,
                bytes: 2,
                limit_bytes: 3,
                fees_sat: 4,
                floor_sat_per_kvb: 5,
            }),
        ),
        (
            "reply-fee-estimate",
            MempoolReply::FeeEstimate(Some(FeeEstimate { target_blocks: 2, sat_per_kvb: 3 })),
        ),
        ("reply-fee-rates", MempoolReply::FeeRateSummary(vec![class; 2])),
        (
            "reply-mempool-snapshot",
            MempoolReply::Snapshot(MempoolSnapshot {
                transactions: vec![entry.clone()],
                tip: POSITION,
                next_sequence: 3,
            }),
        ),
        ("reply-by-wtxid", MempoolReply::Transactions(vec![None, Some(entry)])),
    ];
    replies.into_iter().map(|(name, reply)| (name, Reply::Mempool(Box::new(reply)))).collect()
}

fn mining_replies() -> Vec<(&'static str, Reply)> {
    let entry = TemplateEntry { txid: [1; 32], wtxid: [2; 32], fee_sat: 3, weight: 4, sigop_cost: 5 };
    let template = BlockTemplate {
        id: 1,
        previous: [2; 32],
        height: 3,
        version: 4,
        bits: 5,
        min_time: 6,
        coinbase_value_sat: 7,
        fees_sat: 8,
        weight: 9,
        sigop_cost: 10,
        coinbase_weight_limit: 11,
        coinbase_sigop_cost_limit: 12,
        constraints: CoinbaseConstraints { output_bytes: 13, sigop_cost: 14 },
        coinbase_version: 15,
        coinbase_sequence: 16,
        coinbase_lock_time: 17,
        coinbase_prefix: vec![18; 4],
        witness_commitment: vec![19; 38],
        outputs: vec![CoinbaseOutput { value_sat: 20, script: vec![21; 22] }],
        merkle_path: vec![[22; 32]; 3],
        is_empty: false,
        transactions: vec![entry],
    };
    let transactions = vec![TemplateTransaction { entry, raw: vec![6; 60] }];
    let invalid = BlockVerdict::Invalid { reason: "bad-txnmrklroot".to_owned() };
    let replies = vec![
        ("reply-template", MiningReply::Template(template)),
        ("reply-template-transactions", MiningReply::TemplateTransactions(transactions)),
        ("reply-verdict-invalid", MiningReply::Verdict(invalid)),
        ("reply-verdict-orphan", MiningReply::Verdict(BlockVerdict::Orphan { previous: [1; 32] })),
    ];
    replies.into_iter().map(|(name, reply)| (name, Reply::Mining(Box::new(reply)))).collect()
}

fn network_replies() -> Vec<(&'static str, Reply)> {
    let peer = NetworkPeer {
        id: 1,
        address: "192.0.2.7:8333".to_owned(),
        is_inbound: true,
        protocol_version: 70_016,
        services: 9,
        user_agent: "/a:1/".to_owned(),
        start_height: 2,
        connected_s: 3,
        received_bytes: 4,
        sent_bytes: 5,
        best_height: 6,
        min_ping_us: Some(7),
        misbehaviour: 8,
    };
    let ban = Ban { address: "192.0.2.7".to_owned(), until_s: 1, reason: "a reason".to_owned() };
    let replies = vec![
        ("reply-network-stats", NetworkReply::Stats(NetworkStats { inbound: 1, ..NetworkStats::default() })),
        ("reply-peers", NetworkReply::Peers(NetworkPeers { peers: vec![peer], next_sequence: 9 })),
        ("reply-bans", NetworkReply::Bans(vec![ban])),
        ("reply-denylist", NetworkReply::Denylist(vec![[1; 32]])),
    ];
    replies.into_iter().map(|(name, reply)| (name, Reply::Network(Box::new(reply)))).collect()
}

fn refusals() -> Vec<(&'static str, Reply)> {
    let message = || "with its numbers, for people".to_owned();
    let refusals = vec![
        (
            "reply-unsupported",
            Refusal::Unsupported { request: "get_utxo".to_owned(), node_source: "replay".to_owned() },
        ),
        ("reply-limit", Refusal::Limit { what: message(), limit: 1 << 40 }),
        ("reply-rate", Refusal::Rate { per_second: 10_000, retry_after_ms: 3 }),
        (
            "reply-package",
            Refusal::PackageTransaction { index: 1, rule: TransactionRefusal::FeeTooLow, message: message() },
        ),
        (
            "reply-mining",
            Refusal::Mining {
                rule: MiningRefusal::MissingTransactions,
                message: message(),
                wtxids: vec![[1; 32]],
            },
        ),
        ("reply-network", Refusal::Network { rule: NetworkRefusal::Busy, message: message() }),
    ];
    refusals.into_iter().map(|(name, refusal)| (name, Reply::Refused(refusal))).collect()
}
