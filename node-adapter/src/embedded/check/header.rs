//! Rules for a header that depend on the blocks before it.
//!
//! Source: `ContextualCheckBlockHeader` in Bitcoin Core's `validation.cpp`.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_kernel::{Chain, Network};

use super::Fault;
use super::heights::Heights;
use crate::embedded::finality::{MEDIAN_SPAN, median};
use crate::embedded::tip::{RETARGET_BLOCKS, next_bits};
use crate::source::Hash;

/// How far ahead of the clock a block may be, in seconds.
const MAX_AHEAD_S: u64 = 2 * 60 * 60;
/// How far the first block of a period may stand before the last of the one before, in seconds (BIP-0094).
const MAX_TIMEWARP_S: u32 = 600;

/// The block that another one builds on.
pub(super) struct Parent<'a> {
    pub(super) chain: &'a Chain,
    pub(super) hash: Hash,
    pub(super) height: u32,
    pub(super) header: Header,
    /// Its median time past, in seconds since 1970.
    pub(super) median_time: u32,
}

impl<'a> Parent<'a> {
    /// Reads it and what its median time depends on; `None` if it is not known.
    pub(super) fn read(chain: &'a Chain, hash: Hash) -> Option<Self> {
        let (height, header) = read(chain, &hash)?;
        let mut times = vec![header.time];
        let mut above = header;
        while times.len() < MEDIAN_SPAN && above.prev_blockhash.to_byte_array() != [0; 32] {
            (_, above) = read(chain, &above.prev_blockhash.to_byte_array())?;
            times.push(above.time);
        }
        Some(Self { chain, hash, height, header, median_time: median(&times) })
    }
}

fn read(chain: &Chain, hash: &Hash) -> Option<(u32, Header)> {
    let (height, raw) = chain.header(hash)?;
    Some((height, deserialize(&raw).ok()?))
}

pub(super) fn check(
    network: Network,
    heights: &Heights,
    parent: &Parent<'_>,
    header: &Header,
) -> Result<(), Fault> {
    let first_of_period = |height: u32| {
        let first = parent.chain.ancestor(&parent.hash, height - (RETARGET_BLOCKS - 1))?;
        Some(read(parent.chain, &first)?.1)
    };
    let height = parent.height + 1;
    // On networks whose target depends on the time, the engine alone can tell.
    if let Some(bits) = next_bits(network, parent.height, &parent.header, first_of_period)
        && header.bits != bits
    {
        return Err("bad-diffbits");
    }
    if header.time <= parent.median_time {
        return Err("time-too-old");
    }
    if network == Network::Testnet4
        && height.is_multiple_of(RETARGET_BLOCKS)
        && header.time < parent.header.time.saturating_sub(MAX_TIMEWARP_S)
    {
        return Err("time-timewarp-attack");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if u64::from(header.time) > now + MAX_AHEAD_S {
        return Err("time-too-new");
    }
    let version = header.version.to_consensus();
    let is_old = |least, from| version < least && height >= from;
    if is_old(2, heights.bip34) || is_old(3, heights.bip66) || is_old(4, heights.bip65) {
        return Err("bad-version");
    }
    Ok(())
}
