//! The demonstration's second process: a wallet whose payments it relays.
//!
//! Made for regtest: the keys come from a seed that may stand on a command line.

pub mod coins;
pub mod wallet;
