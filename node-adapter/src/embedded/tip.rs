//! The tip as miners need it: its header, and what the next block must meet.

use bitcoin::consensus::{Params, deserialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{CompactTarget, block::Header};
use blvm_kernel::{Chain, Network};

use super::apply::chain_position;
use super::finality::{header_at, median, recent_times};
use crate::source::{EventSink, NodeEvent, Tip};

/// Blocks between changes of the target.
pub(super) const RETARGET_BLOCKS: u32 = 2_016;

/// Tells the sink what the tip is.
pub(super) fn tell_tip(chain: &Chain, network: Network, sink: &dyn EventSink) {
    match tip(chain, network) {
        Some(tip) => sink.event(NodeEvent::TipChanged(tip)),
        None => tracing::error!("the headers at the tip cannot be read: miners are not told of it"),
    }
}

/// Reads the tip; `None` if its headers cannot be read.
pub(super) fn tip(chain: &Chain, network: Network) -> Option<Tip> {
    let position = chain_position(chain.tip());
    let (height, raw) = chain.header(&position.hash)?;
    let header: Header = deserialize(&raw).ok()?;
    let median_time = median(&recent_times(chain, height)?);
    let first_of_period = |height: u32| header_at(chain, height - (RETARGET_BLOCKS - 1));
    Some(Tip {
        position,
        previous: header.prev_blockhash.to_byte_array(),
        header: raw,
        next_bits: next_bits(network, height, &header, first_of_period).map(CompactTarget::to_consensus),
        next_min_time: median_time.saturating_add(1),
    })
}

/// The target of the block after `tip`; `None` where it depends on that block's time.
///
/// Source: `GetNextWorkRequired` in Bitcoin Core's `pow.cpp`.
pub(super) fn next_bits(
    network: Network,
    height: u32,
    tip: &Header,
    first_of_period: impl FnOnce(u32) -> Option<Header>,
) -> Option<CompactTarget> {
    let params = match network {
        Network::Mainnet => Params::MAINNET,
        Network::Signet => Params::SIGNET,
        Network::Regtest => Params::REGTEST,
        // Blocks 20 minutes after the one before them may have the easiest target, and change what follows.
        _ => return None,
    };
    if !(height + 1).is_multiple_of(RETARGET_BLOCKS) || params.no_pow_retargeting {
        return Some(tip.bits);
    }
    // A period that seems to run backwards counts as the shortest.
    let timespan = tip.time.saturating_sub(first_of_period(height)?.time);
    Some(CompactTarget::from_next_work_required(tip.bits, u64::from(timespan), &params))
}

#[cfg(test)]
mod tests {
    use bitcoin::block::Version;
    use bitcoin::{BlockHash, TxMerkleNode};

    use super::*;

    fn header(time: u32, bits: u32) -> Header {
        Header {
            version: Version::ONE,
            prev_blockhash: BlockHash::all_zeros(),
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(bits),
            nonce: 0,
        }
    }

    fn bits(network: Network, height: u32, tip: &Header, first: Header) -> Option<u32> {
        let first_of_period = |at| {
            assert_eq!(at, height);
            Some(first)
        };
        next_bits(network, height, tip, first_of_period).map(CompactTarget::to_consensus)
    }

    /// The periods of mainnet that Bitcoin Core's `pow_tests.cpp` checks.
    #[test]
    fn the_target_changes_at_the_end_of_a_period_only() {
        for (height, first_time, time, before, after) in [
            (32_255, 1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a),
            (2_015, 1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff),
            (68_543, 1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd),
        ] {
            let (first, tip) = (header(first_time, before), header(time, before));
            assert_eq!(bits(Network::Mainnet, height, &tip, first), Some(after));
            assert_eq!(bits(Network::Mainnet, height - 1, &tip, first), Some(before));
            assert_eq!(bits(Network::Testnet, height, &tip, first), None);
            assert_eq!(bits(Network::Testnet4, height - 1, &tip, first), None);
        }
        let easiest = header(1, 0x207f_ffff);
        assert_eq!(bits(Network::Regtest, 2_015, &easiest, header(2, 0x207f_ffff)), Some(0x207f_ffff));
        let backwards = bits(Network::Mainnet, 2_015, &header(1, 0x1c05_a3f4), header(2, 0x1c05_a3f4));
        assert_eq!(backwards, Some(0x1c01_68fd));
        assert_eq!(next_bits(Network::Mainnet, 2_015, &easiest, |_| None), None);
    }
}
