//! The networks the engine knows.

use std::fmt;
use std::str::FromStr;

use bitcoinkernel::ChainType;

/// A Bitcoin network, as a chain belongs to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// The network with money on it.
    Mainnet,
    /// The third test network.
    Testnet,
    /// The fourth test network (BIP-0094).
    Testnet4,
    /// The default signet (BIP-0325).
    Signet,
    /// A private chain with trivial proof of work.
    Regtest,
}

impl Network {
    /// Answers the name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    pub(crate) fn chain_type(self) -> ChainType {
        match self {
            Self::Mainnet => ChainType::Mainnet,
            Self::Testnet => ChainType::Testnet,
            Self::Testnet4 => ChainType::Testnet4,
            Self::Signet => ChainType::Signet,
            Self::Regtest => ChainType::Regtest,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network; use mainnet, testnet, testnet4, signet or regtest")]
pub struct UnknownNetwork;

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(name: &str) -> Result<Self, UnknownNetwork> {
        [Self::Mainnet, Self::Testnet, Self::Testnet4, Self::Signet, Self::Regtest]
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or(UnknownNetwork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_network() {
        for name in ["mainnet", "testnet", "testnet4", "signet", "regtest"] {
            assert_eq!(name.parse::<Network>().unwrap().name(), name);
        }
        assert_eq!("main".parse::<Network>(), Err(UnknownNetwork));
    }
}
