//! Answers about the mempool, and why a transaction leaves it.

use blvm_bus::message::Hash;
use blvm_bus::request::{
    MempoolEntry, MempoolInfo, MempoolReply, MempoolRequest, MempoolSnapshot, Outpoint, Refusal, Request,
    TransactionRefusal,
};

use super::unsupported;
use crate::testing::encoding::parse;
use crate::testing::world::World;

/// The most a mempool holds, in bytes, as a node's unless told otherwise.
const MEMPOOL_LIMIT_BYTES: u64 = 300_000_000;

/// Fee rate of an offered transaction that spends what the node has not seen, in satoshi for a virtual byte.
const UNSEEN_FEE_RATE: u64 = 10;

impl World {
    pub(super) fn mempool_reply(
        &mut self,
        asked: &MempoolRequest,
        request: &Request,
    ) -> Result<MempoolReply, Refusal> {
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
    pub(super) fn offered(&self, raw: &[u8]) -> Result<MempoolEntry, (TransactionRefusal, String)> {
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
