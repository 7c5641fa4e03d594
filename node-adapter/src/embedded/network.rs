//! What a network is to peers and files.

use bitcoin::pow::Work;
use blvm_kernel::Network;

/// What the crate `bitcoin` calls a network, with its first bytes of messages.
pub trait WireNetwork {
    /// The network as messages between peers name it.
    fn wire(self) -> bitcoin::Network;

    /// The port peers of the network listen on.
    ///
    /// Source: `nDefaultPort` in Bitcoin Core's `kernel/chainparams.cpp`.
    fn default_port(self) -> u16;

    /// The port of JSON-RPC: Bitcoin Core's and 10, so that both run on one machine.
    ///
    /// Source: `CreateBaseChainParams` in Bitcoin Core's `src/chainparamsbase.cpp`.
    fn rpc_port(self) -> u16;

    /// Names that resolve to nodes with the whole chain and witnesses (`x9.`: service bits 0 and 3).
    ///
    /// Source: `vSeeds` in Bitcoin Core's `kernel/chainparams.cpp`, `ThreadDNSAddressSeed` in `net.cpp`.
    fn seeds(self) -> &'static [&'static str];

    /// Work that the chain of the network was known to have when the engine was released.
    ///
    /// Source: `nMinimumChainWork` in Bitcoin Core's `kernel/chainparams.cpp`.
    fn minimum_work(self) -> Work;
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

    fn rpc_port(self) -> u16 {
        10 + match self {
            Self::Mainnet => 8_332,
            Self::Testnet => 18_332,
            Self::Testnet4 => 48_332,
            Self::Signet => 38_332,
            Self::Regtest => 18_443,
        }
    }

    fn seeds(self) -> &'static [&'static str] {
        match self {
            Self::Mainnet => &[
                "x9.dnsseed.bluematt.me.",
                "x9.seed.bitcoin.jonasschnelli.ch.",
                "x9.seed.btc.petertodd.net.",
                "x9.seed.bitcoin.sprovoost.nl.",
                "x9.dnsseed.emzy.de.",
                "x9.seed.bitcoin.wiz.biz.",
                "x9.seed.mainnet.achownodes.xyz.",
            ],
            Self::Testnet => &[
                "x9.testnet-seed.bitcoin.jonasschnelli.ch.",
                "x9.seed.tbtc.petertodd.net.",
                "x9.seed.testnet.bitcoin.sprovoost.nl.",
                "x9.testnet-seed.bluematt.me.",
                "x9.seed.testnet.achownodes.xyz.",
            ],
            Self::Testnet4 => &["x9.seed.testnet4.bitcoin.sprovoost.nl.", "x9.seed.testnet4.wiz.biz."],
            Self::Signet => &["x9.seed.signet.bitcoin.sprovoost.nl.", "x9.seed.signet.achownodes.xyz."],
            Self::Regtest => &[],
        }
    }

    fn minimum_work(self) -> Work {
        let work: u128 = match self {
            Self::Mainnet => 0x1_1287_50f8_2f4c_3661_53a3_a030,
            Self::Testnet => 0x17dd_e1c6_49f3_708d_14b6,
            Self::Testnet4 => 0x09a0_fe15_d017_7d08_6304,
            Self::Signet => 0x0b46_3ea0_a4b8,
            Self::Regtest => 0,
        };
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&work.to_be_bytes());
        Work::from_be_bytes(bytes)
    }
}
