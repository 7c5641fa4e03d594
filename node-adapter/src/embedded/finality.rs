//! May a transaction be in the next block? nLockTime (BIP-0113) and relative lock times (BIP-0068).

use bitcoin::consensus::deserialize;
use bitcoin::{Transaction, absolute, block::Header};
use blvm_kernel::Chain;

use super::utxo::Coin;

/// How many block times a median is taken of.
pub(super) const MEDIAN_SPAN: usize = 11;

const DISABLED: u32 = 1 << 31;
const IS_TIME: u32 = 1 << 22;
const VALUE_MASK: u32 = 0xffff;
/// Relative times count units of 512 seconds.
const TIME_SHIFT: u32 = 9;

/// Reads the header of the active block at `height`.
pub(super) fn header_at(chain: &Chain, height: u32) -> Option<Header> {
    let (_, raw) = chain.header(&chain.hash_at(height)?)?;
    deserialize(&raw).ok()
}

/// Reads the times of the last blocks up to `height`, oldest first.
pub(super) fn recent_times(chain: &Chain, height: u32) -> Option<Vec<u32>> {
    let first = (height + 1).saturating_sub(MEDIAN_SPAN as u32);
    (first..=height).map(|height| Some(header_at(chain, height)?.time)).collect()
}

/// Answers the median of the last [`MEDIAN_SPAN`] of `times`; 0 of none.
pub(super) fn median(times: &[u32]) -> u32 {
    let mut last = times[times.len().saturating_sub(MEDIAN_SPAN)..].to_vec();
    last.sort_unstable();
    last.get(last.len() / 2).copied().unwrap_or_default()
}

/// The block a transaction would be in.
pub(super) struct NextBlock<'a> {
    pub(super) chain: &'a Chain,
    pub(super) height: u32,
    /// Median time past of the tip, in seconds since 1970.
    pub(super) median_time: u32,
}

impl<'a> NextBlock<'a> {
    /// The block after the tip; `None` if the chain is closed.
    pub(super) fn after_tip(chain: &'a Chain) -> Option<Self> {
        let tip = chain.tip().height;
        Some(Self { chain, height: tip + 1, median_time: median(&recent_times(chain, tip)?) })
    }

    /// Answers whether the transaction, whose inputs spend `coins`, may be in this block.
    pub(super) fn may_contain(&self, transaction: &Transaction, coins: &[Coin]) -> bool {
        self.is_final(transaction) && self.relative_locks_passed(transaction, coins)
    }

    /// Answers whether its lock time has passed.
    pub(super) fn is_final(&self, transaction: &Transaction) -> bool {
        let lock = transaction.lock_time.to_consensus_u32();
        let limit = if lock < absolute::LOCK_TIME_THRESHOLD { self.height } else { self.median_time };
        lock == 0 || lock < limit || transaction.input.iter().all(|input| input.sequence.is_final())
    }

    /// Answers whether the relative lock times of its inputs, which spend `coins`, have passed.
    pub(super) fn relative_locks_passed(&self, transaction: &Transaction, coins: &[Coin]) -> bool {
        // Consensus reads the version as unsigned.
        let version = transaction.version.0.cast_unsigned();
        version < 2
            || transaction.input.iter().zip(coins).all(|(input, coin)| {
                let sequence = input.sequence.to_consensus_u32();
                let value = sequence & VALUE_MASK;
                if sequence & DISABLED != 0 {
                    true
                } else if sequence & IS_TIME != 0 {
                    self.time_passed(coin, u64::from(value << TIME_SHIFT))
                } else {
                    u64::from(coin.height) + u64::from(value) <= u64::from(self.height)
                }
            })
    }

    /// Relative times count from the median time past of the block before the coin's.
    fn time_passed(&self, coin: &Coin, seconds: u64) -> bool {
        recent_times(self.chain, coin.height.saturating_sub(1))
            .is_some_and(|times| u64::from(median(&times)) + seconds <= u64::from(self.median_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_last_eleven() {
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[7]), 7);
        assert_eq!(median(&[1, 9]), 9);
        let times: Vec<u32> = (0..20).rev().collect();
        assert_eq!(median(&times), 5);
    }
}
