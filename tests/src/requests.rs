//! Every request there is, with random arguments: some of what the node knows, some spoilt, some that mean nothing.
//!
//! Each area is a chain through all its variants, so that a new request does not build before it stands here.

use blvm_bus::request::{
    ChainPosition, ChainRequest, CliSpec, CoinbaseConstraints, CoinbaseOutput, Denylist, HealthState,
    MempoolRequest, MetricHistogram, MetricSeries, MetricValue, MetricsRequest, MiningRequest, ModuleHealth,
    ModulesRequest, NetworkRequest, Outpoint, PacketProtocol, Reply, Request, Solution, Statistics,
    WatchItem, WatchRequest,
};

/// Numbers that look random and are the same for the same seed.
///
/// Source: SplitMix64, Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.number() as u8).collect()
    }

    fn word(&mut self) -> String {
        const WORDS: [&str; 8] =
            ["", "asking", "PaymentSettled", "stop", "chain", "a/b", "\u{202e}x", "getbusinfo"];
        match self.below(9) {
            8 => "x".repeat(self.below(400) as usize),
            index => WORDS[index as usize].to_owned(),
        }
    }
}

/// What an asker has learnt from answers.
#[derive(Debug, Default)]
pub struct Learnt {
    hashes: Vec<[u8; 32]>,
    blocks: Vec<Vec<u8>>,
    template_id: u64,
    height: u32,
}

/// Most of each that is remembered.
const REMEMBERED: usize = 16;

impl Learnt {
    /// Takes what helps from an answer.
    pub fn take(&mut self, reply: &Reply) {
        match reply {
            Reply::ChainTip(position) => {
                self.height = position.height;
                remember(&mut self.hashes, position.hash);
            }
            Reply::Block(Some(block)) => {
                remember(&mut self.hashes, block.hash);
                remember(&mut self.blocks, block.raw.clone());
            }
            Reply::Mining(mining) => {
                if let blvm_bus::request::MiningReply::Template(template) = &**mining {
                    self.template_id = template.id;
                }
            }
            _ => {}
        }
    }

    fn hash(&self, random: &mut Random) -> [u8; 32] {
        match self.hashes.get(random.below(2 * REMEMBERED as u64) as usize) {
            Some(hash) => *hash,
            None => std::array::from_fn(|_| random.number() as u8),
        }
    }

    fn hashes(&self, random: &mut Random) -> Vec<[u8; 32]> {
        (0..random.below(6)).map(|_| self.hash(random)).collect()
    }

    /// A block as it is, spoilt in one byte, cut short, or something else.
    fn block(&self, random: &mut Random) -> Vec<u8> {
        let known = self.blocks.get(random.below(REMEMBERED as u64) as usize);
        let Some(mut raw) = known.cloned() else { return random.bytes(300) };
        match random.below(4) {
            0 => raw,
            1 => {
                raw.truncate(random.below(raw.len() as u64) as usize);
                raw
            }
            _ => {
                let place = random.below(raw.len() as u64) as usize;
                raw[place] ^= 1 << random.below(8);
                raw
            }
        }
    }

    fn position(&self, random: &mut Random) -> ChainPosition {
        ChainPosition { hash: self.hash(random), height: self.height(random) }
    }

    fn height(&self, random: &mut Random) -> u32 {
        match random.below(4) {
            0 => random.number() as u32,
            _ => random.below(u64::from(self.height) + 2) as u32,
        }
    }
}

fn remember<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
        if list.len() > REMEMBERED {
            list.remove(0);
        }
    }
}

/// One request of each kind.
pub fn all(learnt: &Learnt, random: &mut Random) -> Vec<Request> {
    let mut requests = vec![
        Request::Mapped,
        Request::GetChainTip,
        Request::GetBlock { hash: learnt.hash(random) },
        Request::GetBlockByHeight { height: learnt.height(random) },
        Request::GetMempoolTransactions,
        Request::SubmitMempoolTransaction { raw: random.bytes(400) },
        Request::ReportStatistics(Statistics { wait: random.word(), topics: Vec::new() }),
        Request::GetNodeStatus { with_utxo_digest: random.below(50) == 0 },
    ];
    chain_of(ChainRequest::GetBlockHeader { hash: learnt.hash(random) }, |last| {
        after_chain(last, learnt, random)
    })
    .for_each(|request| requests.push(Request::Chain(Box::new(request))));
    chain_of(MempoolRequest::GetTransaction { txid: learnt.hash(random) }, |last| {
        after_mempool(last, learnt, random)
    })
    .for_each(|request| requests.push(Request::Mempool(Box::new(request))));
    chain_of(MiningRequest::GetBlockTemplate, |last| after_mining(last, learnt, random))
        .for_each(|request| requests.push(Request::Mining(Box::new(request))));
    chain_of(NetworkRequest::GetStats, |last| after_network(last, learnt, random))
        .for_each(|request| requests.push(Request::Network(Box::new(request))));
    chain_of(ModulesRequest::DiscoverModules, |last| after_modules(last, random))
        .for_each(|request| requests.push(Request::Modules(Box::new(request))));
    chain_of(MetricsRequest::Report { series: series(random) }, |last| after_metrics(last, random))
        .for_each(|request| requests.push(Request::Metrics(Box::new(request))));
    chain_of(WatchRequest::Add { items: items(learnt, random) }, |last| after_watch(last, learnt, random))
        .for_each(|request| requests.push(Request::Watch(Box::new(request))));
    requests
}

fn chain_of<T>(first: T, mut after: impl FnMut(&T) -> Option<T>) -> impl Iterator<Item = T> {
    let mut all = vec![first];
    while let Some(next) = all.last().and_then(&mut after) {
        all.push(next);
    }
    all.into_iter()
}

fn after_chain(last: &ChainRequest, learnt: &Learnt, random: &mut Random) -> Option<ChainRequest> {
    use ChainRequest as C;
    let hash = learnt.hash(random);
    Some(match last {
        C::GetBlockHeader { .. } => C::GetBlockHeaderByHeight { height: learnt.height(random) },
        C::GetBlockHeaderByHeight { .. } => C::GetTransaction { txid: hash },
        C::GetTransaction { .. } => C::HasTransaction { txid: hash },
        C::HasTransaction { .. } => C::GetBlockHeight,
        C::GetBlockHeight => C::GetBlockAndWitnesses { hash },
        C::GetBlockAndWitnesses { .. } => C::GetTxMetadata { txid: hash },
        C::GetTxMetadata { .. } => C::GetUtxo { txid: hash, vout: random.below(3) as u32 },
        C::GetUtxo { .. } => C::GetChainInfo,
        C::GetChainInfo => C::GetSyncStatus,
        C::GetSyncStatus => C::FindFork { locator: learnt.hashes(random) },
        C::FindFork { .. } => C::ReplayFrom {
            position: learnt.position(random),
            limit_steps: random.below(20) as u32,
            limit_bytes: random.number() as u32,
        },
        C::ReplayFrom { .. } => C::GetTxoutByScid { scid: random.number() },
        C::GetTxoutByScid { .. } => C::GetBlockBody { hash },
        C::GetBlockBody { .. } => return None,
    })
}

fn after_mempool(last: &MempoolRequest, learnt: &Learnt, random: &mut Random) -> Option<MempoolRequest> {
    use MempoolRequest as M;
    Some(match last {
        M::GetTransaction { .. } => M::GetSize,
        M::GetSize => M::Contains { txid: learnt.hash(random) },
        M::Contains { .. } => M::GetFeeEstimate { target_blocks: random.number() as u32 },
        M::GetFeeEstimate { .. } => M::GetFeeRateSummary,
        M::GetFeeRateSummary => M::Snapshot,
        M::Snapshot => {
            M::SubmitPackage { transactions: (0..random.below(4)).map(|_| random.bytes(200)).collect() }
        }
        M::SubmitPackage { .. } => M::GetTransactionsByWtxid { wtxids: learnt.hashes(random) },
        M::GetTransactionsByWtxid { .. } => return None,
    })
}

fn after_mining(last: &MiningRequest, learnt: &Learnt, random: &mut Random) -> Option<MiningRequest> {
    use MiningRequest as M;
    Some(match last {
        M::GetBlockTemplate => {
            let output =
                CoinbaseOutput { value_sat: random.number() >> random.below(64), script: random.bytes(60) };
            M::GetBlockTemplateWithOutputs { outputs: vec![output] }
        }
        M::GetBlockTemplateWithOutputs { .. } => {
            M::GetBlockTemplateDeclared { wtxids: learnt.hashes(random) }
        }
        M::GetBlockTemplateDeclared { .. } => M::SetCoinbaseConstraints(CoinbaseConstraints {
            output_bytes: random.below(1_000_000) as u32,
            sigop_cost: random.below(100_000) as u32,
        }),
        M::SetCoinbaseConstraints(_) => M::GetTemplateTransactions { template_id: learnt.template_id },
        M::GetTemplateTransactions { .. } => M::SubmitSolution(Solution {
            template_id: learnt.template_id,
            version: 0x2000_0000 | random.number() as u32,
            time: random.number() as u32,
            nonce: random.number() as u32,
            coinbase: random.bytes(200),
        }),
        M::SubmitSolution(_) => M::SubmitBlock { raw: learnt.block(random) },
        M::SubmitBlock { .. } => M::CheckBlock { raw: learnt.block(random) },
        M::CheckBlock { .. } => M::RepeatTipAndTemplate,
        M::RepeatTipAndTemplate => return None,
    })
}

fn after_network(last: &NetworkRequest, learnt: &Learnt, random: &mut Random) -> Option<NetworkRequest> {
    use NetworkRequest as N;
    let list = if random.below(2) == 0 { Denylist::Blocks } else { Denylist::Transactions };
    let address = ["192.0.2.7", "::1", "not an address", "10.0.0.0/8"][random.below(4) as usize].to_owned();
    Some(match last {
        N::GetStats => N::GetPeers,
        N::GetPeers => N::GetBans,
        N::GetBans => N::SendMeshPacketToPeer { peer: random.below(3), packet: random.bytes(200) },
        N::SendMeshPacketToPeer { .. } => N::SendPeerTransportPayload {
            peer: random.below(3),
            protocol: PacketProtocol::Stratum,
            payload: random.bytes(200),
        },
        N::SendPeerTransportPayload { .. } => {
            N::BanPeer { address, duration_s: random.number() >> random.below(64), reason: random.word() }
        }
        N::BanPeer { .. } => N::UnbanPeer { address },
        N::UnbanPeer { .. } => N::QueueReceivedBlockBytes { raw: learnt.block(random) },
        N::QueueReceivedBlockBytes { .. } => N::MergeServeDenylist { list, hashes: learnt.hashes(random) },
        N::MergeServeDenylist { .. } => N::ReplaceServeDenylist { list, hashes: learnt.hashes(random) },
        N::ReplaceServeDenylist { .. } => N::ClearServeDenylist { list },
        N::ClearServeDenylist { .. } => N::SnapshotServeDenylist { list },
        N::SnapshotServeDenylist { .. } => N::SetBlockServeMaintenanceMode { is_on: random.below(2) == 0 },
        N::SetBlockServeMaintenanceMode { .. } => return None,
    })
}

fn after_modules(last: &ModulesRequest, random: &mut Random) -> Option<ModulesRequest> {
    use ModulesRequest as M;
    Some(match last {
        M::DiscoverModules => M::GetModuleInfo { name: random.word() },
        M::GetModuleInfo { .. } => M::IsModuleAvailable { name: random.word() },
        M::IsModuleAvailable { .. } => M::ReportHealth(ModuleHealth {
            state: [HealthState::Healthy, HealthState::Degraded, HealthState::Unresponsive]
                [random.below(3) as usize],
            message: random.word(),
        }),
        M::ReportHealth(_) => M::GetHealth { name: random.word() },
        M::GetHealth { .. } => M::PublishEvent { name: random.word(), payload: random.bytes(400) },
        M::PublishEvent { .. } => {
            M::CallModule { module: random.word(), method: random.word(), payload: random.bytes(100) }
        }
        M::CallModule { .. } => M::RegisterApi { methods: vec![random.word(), random.word()] },
        M::RegisterApi { .. } => M::UnregisterApi,
        M::UnregisterApi => M::RegisterRpcEndpoint { method: random.word(), about: random.word() },
        M::RegisterRpcEndpoint { .. } => M::UnregisterRpcEndpoint { method: random.word() },
        M::UnregisterRpcEndpoint { .. } => M::RegisterCliSpec(CliSpec::default()),
        M::RegisterCliSpec(_) => return None,
    })
}

fn after_metrics(last: &MetricsRequest, random: &mut Random) -> Option<MetricsRequest> {
    use MetricsRequest as M;
    Some(match last {
        M::Report { .. } => M::GetModule { name: random.word() },
        M::GetModule { .. } => M::GetAll,
        M::GetAll => return None,
    })
}

/// Figures with right and wrong names, numbers of every kind, and buckets that fit or do not.
fn series(random: &mut Random) -> Vec<MetricSeries> {
    let one = |random: &mut Random| {
        let labels = (0..random.below(3)).map(|_| (random.word(), random.word())).collect();
        let number = |random: &mut Random| f64::from_bits(random.number()).into();
        let value = match random.below(3) {
            0 => MetricValue::Counter(random.number()),
            1 => MetricValue::Gauge(number(random)),
            _ => MetricValue::Histogram(MetricHistogram {
                bounds: (0..random.below(4)).map(|_| number(random)).collect(),
                counts: (0..random.below(5)).map(|_| random.number()).collect(),
                sum: number(random),
            }),
        };
        MetricSeries { name: random.word(), labels, value }
    };
    (0..random.below(4)).map(|_| one(random)).collect()
}

fn after_watch(last: &WatchRequest, learnt: &Learnt, random: &mut Random) -> Option<WatchRequest> {
    use WatchRequest as W;
    Some(match last {
        W::Add { .. } => W::Remove { items: items(learnt, random) },
        W::Remove { .. } => W::Next { limit: random.number() as u32 },
        W::Next { .. } => return None,
    })
}

fn items(learnt: &Learnt, random: &mut Random) -> Vec<WatchItem> {
    vec![
        WatchItem::Txid(learnt.hash(random)),
        WatchItem::Outpoint(Outpoint { txid: learnt.hash(random), vout: random.below(3) as u32 }),
        WatchItem::Script(random.bytes(100)),
    ]
}
