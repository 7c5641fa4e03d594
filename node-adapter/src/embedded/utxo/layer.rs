//! What some blocks changed, in memory.

use std::collections::HashMap;

use bitcoin::{OutPoint, Txid};

use super::Coin;
use crate::source::ChainPosition;

/// Where a transaction of the active chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Place {
    /// Height of its block.
    pub(in crate::embedded) height: u32,
    /// Index in the block; the coinbase is 0.
    pub(in crate::embedded) index: u32,
}

/// About what an entry takes in memory besides its script, in bytes.
const COIN_BYTES: usize = 120;
const PLACE_BYTES: usize = 64;

/// A layer with room for so many coins is large.
const LARGE_COINS: usize = 1 << 16;

/// `None` says that something below is gone.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) coins: HashMap<OutPoint, Option<Coin>>,
    pub(super) places: HashMap<Txid, Option<Place>>,
    /// The block it leads to.
    pub(super) tip: Option<ChainPosition>,
    /// Unspent outputs with this layer and all below.
    pub(super) len: u64,
    /// Blocks connected and disconnected.
    pub(super) blocks: u32,
    /// About what it takes in memory.
    pub(super) bytes: usize,
    /// Fee statistics as they were at one of its blocks; `None` leaves those below.
    pub(super) fees: Option<Vec<u8>>,
}

impl Layer {
    /// Whether it is large, and would have to become larger for so many coins.
    pub(super) fn is_large_and_full_with(&self, coins: usize) -> bool {
        self.coins.capacity() >= LARGE_COINS && self.coins.len() + coins > self.coins.capacity()
    }

    /// Has room for so many more.
    pub(super) fn reserve(&mut self, coins: usize, places: usize) {
        self.coins.reserve(coins);
        self.places.reserve(places);
    }

    /// An output that was there is gone.
    pub(super) fn spend(&mut self, outpoint: OutPoint) {
        self.len = self.len.saturating_sub(1);
        if self.coins.insert(outpoint, None).is_none() {
            self.bytes += COIN_BYTES;
        }
    }

    /// An output is there; it `replaces` one if that was there before.
    pub(super) fn create(&mut self, outpoint: OutPoint, coin: Coin, replaces: bool) {
        self.len += u64::from(!replaces);
        self.bytes += COIN_BYTES + coin.output.script_pubkey.len();
        self.coins.insert(outpoint, Some(coin));
    }

    pub(super) fn set_place(&mut self, txid: Txid, place: Option<Place>) {
        if self.places.insert(txid, place).is_none() {
            self.bytes += PLACE_BYTES;
        }
    }
}
