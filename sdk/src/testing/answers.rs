//! What the node answers where the test programs nothing: what its chain, its mempool and its peers say.

use std::time::Duration;

use blvm_bus::message::chain::{Chain, FEE_UNKNOWN};
use blvm_bus::message::mining::Mining;
use blvm_bus::message::modules::{MAX_EVENT_NAME_BYTES, MAX_EVENT_PAYLOAD_BYTES, ModuleEvent};
use blvm_bus::message::payments::{self, PaymentEvent};
use blvm_bus::message::peers::Peers;
use blvm_bus::message::{Hash, Topic};
use blvm_bus::request::{
    Block, BlockAndWitnesses, BlockHeader, Call, CallReply, ChainInfo, ChainPosition, ChainReply,
    ChainRequest, ChainTransaction, Confirmation, DisconnectedBlock, HealthState, MempoolEntry, MempoolInfo,
    MempoolReply, MempoolRequest, MempoolSnapshot, MiningReply, MiningRequest, ModuleHealth, ModuleRefusal,
    ModuleState, ModuleSummary, ModulesReply, ModulesRequest, NetworkPeers, NetworkReply, NetworkRequest,
    NetworkStats, Outpoint, Refusal, Replay, ReplayStep, Reply, Request, ScidOutput, SyncState, SyncStatus,
    TransactionRefusal, TxMetadata, Utxo,
};

use super::chain::{BITS, ScriptedBlock};
use super::encoding::{compact, parse};
use super::node::{Inner, NETWORK};
use super::party::{CallFailure, Party, PublishedEvent};
use super::world::World;

/// Most steps of one replay, as a node's.
const MAX_REPLAY_STEPS: usize = 1_000;

/// Most bytes of blocks of one replay, the last one beyond them, as a node's.
const MAX_REPLAY_BYTES: usize = 32 << 20;

/// The most a mempool holds, in bytes, as a node's unless told otherwise.
const MEMPOOL_LIMIT_BYTES: u64 = 300_000_000;

/// Fee rate of an offered transaction that spends what the node has not seen, in satoshi for a virtual byte.
const UNSEEN_FEE_RATE: u64 = 10;

impl Inner {
    /// The usual answer.
    pub(crate) fn answer(&self, party: Option<&Party>, request: &Request, deadline: Duration) -> Reply {
        let answered = match request {
            Request::Modules(request) => {
                return self
                    .modules(party, request, deadline)
                    .map_or_else(Reply::Refused, |reply| Reply::Modules(Box::new(reply)));
            }
            request => self.world().answer(request),
        };
        answered.unwrap_or_else(Reply::Refused)
    }

    fn modules(
        &self,
        party: Option<&Party>,
        request: &ModulesRequest,
        deadline: Duration,
    ) -> Result<ModulesReply, Refusal> {
        match request {
            ModulesRequest::PublishEvent { name, payload } => {
                let event = PublishedEvent { name: name.clone(), payload: payload.clone() };
                check_event(&event)?;
                let publisher = party.map_or_else(|| "test".to_owned(), |party| party.module.name.clone());
                if let Some(party) = party {
                    party.state().published.push(event.clone());
                }
                let PublishedEvent { name, payload } = event;
                let mut world = self.world();
                let sequence = if payments::NAMES.contains(&name.as_str()) {
                    world.publish(&PaymentEvent { publisher, name, payload })
                } else {
                    world.publish(&ModuleEvent { publisher, name, payload })
                };
                Ok(ModulesReply::Published { sequence })
            }
            ModulesRequest::CallModule { module, method, payload } => {
                let caller = party.map_or_else(|| "test".to_owned(), |party| party.module.name.clone());
                self.call_module(caller, module, method, payload, deadline)
            }
            ModulesRequest::DiscoverModules => Ok(ModulesReply::Modules(self.summaries())),
            ModulesRequest::GetModuleInfo { name } => {
                Ok(ModulesReply::Module(self.summaries().into_iter().find(|module| module.name == *name)))
            }
            ModulesRequest::IsModuleAvailable { name } => {
                Ok(ModulesReply::Available(self.summaries().iter().any(|module| module.name == *name)))
            }
            ModulesRequest::GetHealth { name } => {
                let found = self.summaries().into_iter().find(|module| module.name == *name);
                Ok(ModulesReply::Health(found.map(|module| module.health)))
            }
            request => match party {
                Some(party) => offered(party, request),
                None => Err(refused(ModuleRefusal::NotAvailable, "only a module offers something")),
            },
        }
    }

    fn call_module(
        &self,
        caller: String,
        module: &str,
        method: &str,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<ModulesReply, Refusal> {
        let other = self.parties().into_iter().find(|party| party.module.name == module && !party.is_gone());
        let other = other.ok_or_else(|| {
            let message =
                format!("no module {module} is attached: start one, or program when(\"call_module\")");
            refused(ModuleRefusal::NotAvailable, &message)
        })?;
        if !other.state().api.iter().any(|offered| offered == method) {
            let message = format!("module {module} offers no method {method}");
            return Err(refused(ModuleRefusal::UnknownMethod, &message));
        }
        let call = Call::Api { caller, method: method.to_owned(), payload: payload.to_vec() };
        match other.call(&call, deadline) {
            Ok(CallReply::Api(payload)) => Ok(ModulesReply::Called { payload }),
            Ok(_) => Err(refused(ModuleRefusal::BadAnswer, "it answered with something else")),
            Err(CallFailure::Gone) => Err(refused(ModuleRefusal::Gone, "it ended before it answered")),
            Err(CallFailure::TimedOut) => Err(refused(ModuleRefusal::Deadline, "it did not answer in time")),
            Err(CallFailure::Module(error)) => Err(refused(ModuleRefusal::Failed, &error.to_string())),
        }
    }

    fn summaries(&self) -> Vec<ModuleSummary> {
        let scripted = self.world().loaded.clone();
        let scripted = scripted.into_iter().map(|module| (module, None));
        let attached = self.parties().into_iter().filter(|party| !party.is_gone());
        let attached = attached.map(|party| (party.module.clone(), party.state().health.clone()));
        let mut modules: Vec<_> = scripted
            .chain(attached)
            .map(|(module, health)| ModuleSummary {
                name: module.name,
                version: module.version,
                state: ModuleState::Running,
                health: health
                    .unwrap_or(ModuleHealth { state: HealthState::Unknown, message: String::new() }),
                is_loaded: true,
                pid: None,
            })
            .collect();
        modules.sort_by(|left, right| left.name.cmp(&right.name));
        modules
    }
}

fn refused(rule: ModuleRefusal, message: &str) -> Refusal {
    Refusal::Module { rule, message: message.to_owned() }
}

fn check_event(event: &PublishedEvent) -> Result<(), Refusal> {
    let PublishedEvent { name, payload } = event;
    let is_right = name.len() <= MAX_EVENT_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_right {
        let message = format!(
            "the name of an event has letters and digits, a letter first, and at most {MAX_EVENT_NAME_BYTES} bytes"
        );
        return Err(refused(ModuleRefusal::BadName, &message));
    }
    if payload.len() > MAX_EVENT_PAYLOAD_BYTES {
        let message =
            format!("the event's payload has {} bytes, {MAX_EVENT_PAYLOAD_BYTES} may be", payload.len());
        return Err(refused(ModuleRefusal::TooLarge, &message));
    }
    Ok(())
}

/// What a module says it offers, and how it does.
fn offered(party: &Party, request: &ModulesRequest) -> Result<ModulesReply, Refusal> {
    let mut state = party.state();
    Ok(match request {
        ModulesRequest::RegisterApi { methods } => {
            state.api.clone_from(methods);
            ModulesReply::Registered
        }
        ModulesRequest::UnregisterApi => {
            state.api.clear();
            ModulesReply::Unregistered(true)
        }
        ModulesRequest::RegisterRpcEndpoint { method, .. } => {
            state.methods.push(method.clone());
            ModulesReply::Registered
        }
        ModulesRequest::UnregisterRpcEndpoint { method } => {
            let before = state.methods.len();
            state.methods.retain(|offered| offered != method);
            ModulesReply::Unregistered(state.methods.len() < before)
        }
        ModulesRequest::RegisterCliSpec(spec) => {
            state.command = Some(spec.clone());
            ModulesReply::Registered
        }
        ModulesRequest::ReportHealth(health) => {
            state.health = Some(health.clone());
            ModulesReply::HealthNoted
        }
        _ => return Err(refused(ModuleRefusal::NotAvailable, "the test node does not know that")),
    })
}

/// What only the test can know.
fn unsupported(request: &Request) -> Refusal {
    let name = request.name();
    let node_source = format!("of this test (say what it answers: node.when(\"{name}\").answer(…))");
    Refusal::Unsupported { request: name.to_owned(), node_source }
}

fn stored(block: &ScriptedBlock) -> Block {
    Block { hash: block.position.hash, height: block.position.height, raw: block.raw.clone() }
}

impl World {
    fn answer(&mut self, request: &Request) -> Result<Reply, Refusal> {
        match request {
            Request::GetChainTip => Ok(Reply::ChainTip(self.chain.tip().position)),
            Request::GetBlock { hash } => {
                let found = self.chain.block(hash).filter(|block| self.chain.is_active(&block.position));
                Ok(Reply::Block(found.map(stored)))
            }
            Request::GetBlockByHeight { height } => {
                Ok(Reply::Block(self.chain.at_height(*height).map(stored)))
            }
            Request::GetMempoolTransactions => Ok(Reply::MempoolTransactions(self.mempool.clone())),
            Request::SubmitMempoolTransaction { raw } => {
                let entry =
                    self.offered(raw).map_err(|(rule, message)| Refusal::Transaction { rule, message })?;
                let txid = entry.txid;
                self.add(entry);
                Ok(Reply::Submitted { txid })
            }
            Request::Chain(asked) => self.chain_reply(asked).map(|reply| Reply::Chain(Box::new(reply))),
            Request::Mempool(asked) => {
                self.mempool_reply(asked, request).map(|reply| Reply::Mempool(Box::new(reply)))
            }
            Request::Mining(asked) => match **asked {
                MiningRequest::RepeatTipAndTemplate => {
                    let sequence = self.start_sequence(Mining::NUMBER);
                    Ok(Reply::Mining(Box::new(MiningReply::TipAndTemplateAt { sequence })))
                }
                MiningRequest::SetCoinbaseConstraints(_) => {
                    Ok(Reply::Mining(Box::new(MiningReply::ConstraintsSet)))
                }
                _ => Err(unsupported(request)),
            },
            Request::Network(asked) => match **asked {
                NetworkRequest::GetPeers => {
                    let next_sequence = self.next_sequence::<Peers>();
                    let peers = NetworkPeers { peers: self.peers.clone(), next_sequence };
                    Ok(Reply::Network(Box::new(NetworkReply::Peers(peers))))
                }
                NetworkRequest::GetStats => {
                    let inbound = self.peers.iter().filter(|peer| peer.is_inbound).count() as u32;
                    let outbound = self.peers.len() as u32 - inbound;
                    let stats = NetworkStats { inbound, outbound, ..NetworkStats::default() };
                    Ok(Reply::Network(Box::new(NetworkReply::Stats(stats))))
                }
                _ => Err(unsupported(request)),
            },
            _ => Err(unsupported(request)),
        }
    }

    fn chain_reply(&mut self, request: &ChainRequest) -> Result<ChainReply, Refusal> {
        Ok(match request {
            ChainRequest::GetBlockHeader { hash } => {
                ChainReply::BlockHeader(self.chain.block(hash).map(|block| self.header(block)))
            }
            ChainRequest::GetBlockHeaderByHeight { height } => {
                ChainReply::BlockHeader(self.chain.at_height(*height).map(|block| self.header(block)))
            }
            ChainRequest::GetTransaction { txid } => ChainReply::Transaction(self.transaction(txid)),
            ChainRequest::HasTransaction { txid } => {
                ChainReply::HasTransaction(self.transaction(txid).is_some())
            }
            ChainRequest::GetBlockHeight => ChainReply::BlockHeight(self.chain.tip().position.height),
            ChainRequest::GetBlockAndWitnesses { hash } => {
                let found = self.chain.block(hash).filter(|block| self.chain.is_active(&block.position));
                ChainReply::BlockAndWitnesses(found.map(without_witnesses))
            }
            ChainRequest::GetTxMetadata { txid } => ChainReply::TxMetadata(self.metadata(txid)),
            ChainRequest::GetUtxo { txid, vout } => {
                ChainReply::Utxo(self.unspent(&Outpoint { txid: *txid, vout: *vout }))
            }
            ChainRequest::GetChainInfo => ChainReply::ChainInfo(self.chain_info()),
            ChainRequest::GetSyncStatus => {
                let height = self.chain.tip().position.height;
                ChainReply::SyncStatus(SyncStatus { state: SyncState::Synced, height, header_height: height })
            }
            ChainRequest::FindFork { locator } => {
                let shared =
                    locator.iter().filter_map(|hash| self.chain.block(hash).map(|block| block.position));
                let fork = shared.into_iter().find(|position| self.chain.is_active(position));
                let genesis = ChainPosition { hash: self.chain.active()[0], height: 0 };
                ChainReply::Fork(fork.unwrap_or(genesis))
            }
            ChainRequest::ReplayFrom { position, limit_steps, limit_bytes } => {
                ChainReply::Replay(self.replay(*position, *limit_steps as usize, *limit_bytes as usize)?)
            }
            ChainRequest::GetTxoutByScid { scid } => ChainReply::Txout(self.by_scid(*scid)),
        })
    }

    fn header(&self, block: &ScriptedBlock) -> BlockHeader {
        let is_active = self.chain.is_active(&block.position);
        BlockHeader { position: block.position, raw: block.header(), is_active }
    }

    /// Where a transaction of the active chain stands.
    fn confirmed(&self, txid: &Hash) -> Option<(&ScriptedBlock, usize)> {
        self.chain.active_blocks().rev().find_map(|block| {
            let index = block.index.iter().position(|entry| entry.txid == *txid)?;
            Some((block, index))
        })
    }

    fn transaction(&self, txid: &Hash) -> Option<ChainTransaction> {
        if let Some(entry) = self.in_mempool(txid) {
            return Some(ChainTransaction { txid: *txid, raw: entry.raw.clone(), confirmation: None });
        }
        let (block, index) = self.confirmed(txid)?;
        let confirmation = Some(Confirmation { block: block.position, index: index as u32 });
        Some(ChainTransaction { txid: *txid, raw: block.transaction_bytes(index).to_vec(), confirmation })
    }

    fn metadata(&self, txid: &Hash) -> Option<TxMetadata> {
        if let Some(MempoolEntry { wtxid, fee_sat, weight, .. }) = self.in_mempool(txid) {
            return Some(TxMetadata {
                txid: *txid,
                wtxid: *wtxid,
                confirmation: None,
                confirmations: 0,
                fee_sat: Some(*fee_sat),
                weight: *weight,
            });
        }
        let (block, index) = self.confirmed(txid)?;
        let entry = &block.index[index];
        Some(TxMetadata {
            txid: *txid,
            wtxid: entry.wtxid,
            confirmation: Some(Confirmation { block: block.position, index: index as u32 }),
            confirmations: self.chain.tip().position.height - block.position.height + 1,
            fee_sat: Some(entry.fee_sat).filter(|fee| *fee != FEE_UNKNOWN),
            weight: entry.weight,
        })
    }

    fn unspent(&self, outpoint: &Outpoint) -> Option<Utxo> {
        let (block, index) = self.confirmed(&outpoint.txid)?;
        let transaction = &block.transactions[index];
        let (value_sat, script) = transaction.outputs.get(outpoint.vout as usize)?.clone();
        let mut spenders = self.chain.active_blocks().flat_map(|block| &block.transactions);
        // The coinbase of genesis cannot be spent and is in no node's set.
        if block.position.height == 0 || spenders.any(|spender| spender.inputs.contains(outpoint)) {
            return None;
        }
        Some(Utxo {
            value_sat,
            script,
            height: block.position.height,
            is_coinbase: transaction.is_coinbase(),
        })
    }

    /// Source: BOLT 7, "Definition of `short_channel_id`".
    fn by_scid(&self, scid: u64) -> Option<ScidOutput> {
        let (height, index, vout) =
            ((scid >> 40) as u32, (scid >> 16 & 0x00ff_ffff) as usize, (scid & 0xffff) as u32);
        let block = self.chain.at_height(height)?;
        let transaction = block.transactions.get(index)?;
        let (value_sat, script) = transaction.outputs.get(vout as usize)?.clone();
        let is_unspent = self.unspent(&Outpoint { txid: transaction.txid, vout }).is_some();
        Some(ScidOutput {
            txid: transaction.txid,
            vout,
            block: block.position,
            value_sat,
            script,
            is_unspent,
        })
    }

    fn chain_info(&self) -> ChainInfo {
        let tip = self.chain.tip();
        let median_time = self.chain.median_time(tip);
        ChainInfo {
            network: NETWORK.to_owned(),
            tip: tip.position,
            previous: tip.previous,
            header: tip.header(),
            tip_time: tip.time(),
            median_time,
            bits: BITS,
            next_bits: Some(BITS),
            next_min_time: median_time + 1,
            unspent_outputs: None,
        }
    }

    fn replay(
        &mut self,
        mut at: ChainPosition,
        limit_steps: usize,
        limit_bytes: usize,
    ) -> Result<Replay, Refusal> {
        let wanted = |limit: usize, most: usize| if limit == 0 { most } else { most.min(limit) };
        let (limit_steps, limit_bytes) =
            (wanted(limit_steps, MAX_REPLAY_STEPS), wanted(limit_bytes, MAX_REPLAY_BYTES));
        let next_sequence = self.next_sequence::<Chain>();
        let is_known = self.chain.block(&at.hash).is_some_and(|block| block.position == at);
        if !is_known {
            return Err(Refusal::UnknownPosition { height: at.height });
        }
        let mut steps = Vec::new();
        let is_full = |steps: &[ReplayStep], bytes: usize| steps.len() >= limit_steps || bytes >= limit_bytes;
        while let Some(block) = self.chain.block(&at.hash).filter(|_| !self.chain.is_active(&at)) {
            if is_full(&steps, 0) {
                return Ok(Replay { steps, is_complete: false, next_sequence });
            }
            let previous = block.previous;
            steps.push(ReplayStep::Disconnect(DisconnectedBlock { position: at, previous }));
            at = ChainPosition { hash: previous, height: at.height - 1 };
        }
        let mut bytes = 0;
        for block in self.chain.active_blocks().skip(at.height as usize + 1) {
            if is_full(&steps, bytes) {
                return Ok(Replay { steps, is_complete: false, next_sequence });
            }
            bytes += block.raw.len();
            steps.push(ReplayStep::Connect(stored(block)));
        }
        Ok(Replay { steps, is_complete: true, next_sequence })
    }

    fn mempool_reply(&mut self, asked: &MempoolRequest, request: &Request) -> Result<MempoolReply, Refusal> {
        Ok(match asked {
            MempoolRequest::GetTransaction { txid } => {
                MempoolReply::Transaction(self.in_mempool(txid).cloned())
            }
            MempoolRequest::GetSize => MempoolReply::Size(MempoolInfo {
                transactions: self.mempool.len() as u64,
                bytes: self.mempool.iter().map(|entry| entry.raw.len() as u64).sum(),
                limit_bytes: MEMPOOL_LIMIT_BYTES,
                fees_sat: self.mempool.iter().map(|entry| entry.fee_sat).sum(),
                floor_sat_per_kvb: self.floor_sat_per_kvb,
            }),
            MempoolRequest::Contains { txid } => MempoolReply::Contains(self.in_mempool(txid).is_some()),
            MempoolRequest::GetFeeEstimate { target_blocks } => {
                let estimates = self.estimates.iter().rev();
                let mut fitting = estimates.filter(|estimate| estimate.target_blocks <= *target_blocks);
                MempoolReply::FeeEstimate(fitting.next().or(self.estimates.first()).copied())
            }
            MempoolRequest::Snapshot => MempoolReply::Snapshot(MempoolSnapshot {
                transactions: self.mempool.clone(),
                tip: self.chain.tip().position,
                next_sequence: self.next_of_mempool(),
            }),
            MempoolRequest::GetTransactionsByWtxid { wtxids } => {
                let find = |wtxid: &Hash| self.mempool.iter().find(|entry| entry.wtxid == *wtxid).cloned();
                MempoolReply::Transactions(wtxids.iter().map(find).collect())
            }
            MempoolRequest::SubmitPackage { transactions } => {
                let mut txids = Vec::new();
                for (index, raw) in transactions.iter().enumerate() {
                    let entry = self.offered(raw).map_err(|(rule, message)| Refusal::PackageTransaction {
                        index: index as u32,
                        rule,
                        message,
                    })?;
                    txids.push(entry.txid);
                    self.add(entry);
                }
                MempoolReply::PackageSubmitted(txids)
            }
            MempoolRequest::GetFeeRateSummary => return Err(unsupported(request)),
        })
    }

    /// An offered transaction as the mempool would hold it. What it spends that the node has not seen is taken for unspent
    /// and worth what makes a fee of 10 sat/vB; no signature is verified.
    fn offered(&self, raw: &[u8]) -> Result<MempoolEntry, (TransactionRefusal, String)> {
        let parsed = parse(raw).map_err(|error| (TransactionRefusal::Malformed, error.to_string()))?;
        if self.in_mempool(&parsed.txid).is_some() {
            return Err((TransactionRefusal::AlreadyInMempool, "it is in the mempool already".to_owned()));
        }
        let spent_by = |input: &Outpoint| {
            let spends =
                |entry: &&MempoolEntry| parse(&entry.raw).is_ok_and(|other| other.inputs.contains(input));
            self.mempool.iter().find(spends)
        };
        if let Some(place) = parsed.inputs.iter().position(|input| spent_by(input).is_some()) {
            let message = format!("input {place} is spent by a transaction of the mempool");
            return Err((TransactionRefusal::ConflictsWithMempool, message));
        }
        let value = |input: &Outpoint| {
            let waiting = self.in_mempool(&input.txid).and_then(|entry| parse(&entry.raw).ok());
            let waiting = waiting.and_then(|parent| Some(parent.outputs.get(input.vout as usize)?.0));
            waiting.or_else(|| self.unspent(input).map(|output| output.value_sat))
        };
        let spent: Option<u64> = parsed.inputs.iter().map(value).sum();
        let paid: u64 = parsed.outputs.iter().map(|(value_sat, _)| value_sat).sum();
        let fee_sat = match spent {
            Some(spent) => spent.checked_sub(paid).ok_or_else(|| {
                (TransactionRefusal::Overpays, format!("its outputs have {paid} sat, its inputs {spent}"))
            })?,
            None => UNSEEN_FEE_RATE * u64::from(parsed.weight.div_ceil(4)),
        };
        let (txid, wtxid, weight) = (parsed.txid, parsed.wtxid, parsed.weight);
        Ok(MempoolEntry { txid, wtxid, fee_sat, weight, raw: raw.to_vec() })
    }
}

fn without_witnesses(block: &ScriptedBlock) -> BlockAndWitnesses {
    let mut stripped = block.header().to_vec();
    compact(block.transactions.len(), &mut stripped);
    block.transactions.iter().for_each(|transaction| stripped.extend_from_slice(&transaction.stripped));
    let witnesses = block.transactions.iter().map(|transaction| transaction.witness.clone()).collect();
    BlockAndWitnesses { position: block.position, stripped, witnesses }
}

/// Why a transaction left the mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// A transaction that pays more took its place.
    Replaced {
        /// That one.
        by: Hash,
    },
    /// A block spends one of its inputs otherwise.
    Conflict,
    /// It stayed too long.
    Expired,
    /// The mempool was full.
    Evicted,
}

impl Removal {
    /// As the topic says it.
    pub(crate) fn reason(self) -> (u16, Hash) {
        use blvm_bus::message::mempool as known;
        match self {
            Removal::Replaced { by } => (known::REMOVED_REPLACED, by),
            Removal::Conflict => (known::REMOVED_CONFLICT, [0; 32]),
            Removal::Expired => (known::REMOVED_EXPIRED, [0; 32]),
            Removal::Evicted => (known::REMOVED_EVICTED, [0; 32]),
        }
    }
}
