//! The demonstration's second process: a wallet and a peer that relays its payments.
//!
//! Made for regtest: the keys come from a seed that may stand on a command line.

pub mod coins;
pub mod peer;
pub mod wallet;
