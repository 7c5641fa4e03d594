//! From which height the rules hold.

use blvm_kernel::Network;

/// First height of a block that must keep a rule.
///
/// Source: `chainparams.cpp` of Bitcoin Core, in its `kernel` folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heights {
    /// The coinbase names the height, version 2 (BIP-0034).
    pub(super) bip34: u32,
    /// Version 4 (BIP-0065).
    pub(super) bip65: u32,
    /// Version 3 (BIP-0066).
    pub(super) bip66: u32,
    /// Relative lock times, and the median time past for others (BIP-0068, BIP-0113).
    pub(super) csv: u32,
    /// Witnesses (BIP-0141).
    pub(super) segwit: u32,
}

impl Heights {
    pub(super) fn of(network: Network) -> Self {
        match network {
            Network::Mainnet => {
                Self { bip34: 227_931, bip65: 388_381, bip66: 363_725, csv: 419_328, segwit: 481_824 }
            }
            Network::Testnet => {
                Self { bip34: 21_111, bip65: 581_885, bip66: 330_776, csv: 770_112, segwit: 834_624 }
            }
            _ => Self { bip34: 1, bip65: 1, bip66: 1, csv: 1, segwit: 1 },
        }
    }
}
