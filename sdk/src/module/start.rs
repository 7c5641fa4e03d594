//! What a module is given when it starts.

use blvm_bus::request::LoadedModule;

use super::Requests;

/// What [`Module::new`](super::Module::new) is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start<S = NoSettings> {
    /// The module's effective configuration.
    pub settings: S,
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// To ask the node, now and later.
    pub requests: Requests,
    /// The modules that are loaded already; those loaded later are told of by the topic `system`.
    pub loaded_modules: Vec<LoadedModule>,
}

/// The settings of a module that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}
