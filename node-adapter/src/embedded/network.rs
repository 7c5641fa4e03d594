//! What a network is to peers and files.

use blvm_kernel::Network;

/// What the crate `bitcoin` calls a network, with its first bytes of messages.
pub trait WireNetwork {
    /// The network as messages between peers name it.
    fn wire(self) -> bitcoin::Network;

    /// The port peers of the network listen on.
    ///
    /// Source: `nDefaultPort` in Bitcoin Core's `kernel/chainparams.cpp`.
    fn default_port(self) -> u16;
}

impl WireNetwork for Network {
    fn wire(self) -> bitcoin::Network {
        match self {
            Self::Mainnet => bitcoin::Network::Bitcoin,
            Self::Testnet => bitcoin::Network::Testnet,
            Self::Testnet4 => bitcoin::Network::Testnet4,
            Self::Signet => bitcoin::Network::Signet,
            Self::Regtest => bitcoin::Network::Regtest,
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Mainnet => 8_333,
            Self::Testnet => 18_333,
            Self::Testnet4 => 48_333,
            Self::Signet => 38_333,
            Self::Regtest => 18_444,
        }
    }
}
