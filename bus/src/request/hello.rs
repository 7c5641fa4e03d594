//! How a module attaches: versions, topics, and where it starts in each.

use rkyv::{Archive, Deserialize, Serialize};

/// Opens the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::PROTOCOL_VERSION`] the module was built with.
    pub protocol_version: u32,
    /// [`crate::layout::LAYOUT_VERSION`] the module was built with.
    pub layout_version: u32,
    /// Topics the module wants to read.
    pub topics: Vec<TopicWish>,
}

/// A topic a module wants.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicWish {
    /// Its number.
    pub topic: u32,
    /// The schema the module was built with.
    pub schema: u64,
}

/// What the node gives.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Welcome {
    /// Life of the node.
    pub run_id: [u8; 16],
    /// Version of the node.
    pub node_version: String,
    /// `mainnet`, `testnet`, `testnet4`, `signet` or `regtest`.
    pub network: String,
    /// The topics, in the order of their descriptors.
    pub topics: Vec<TopicGrant>,
    /// How many bodies the module may hold at once; 0 if no lease page comes.
    pub leases: u8,
    /// The module's effective configuration as TOML; empty for a program that attached by path.
    pub config: String,
    /// The module's name, as its manifest has it; empty for a program that attached by path.
    pub module: String,
    /// Where the values of `config` come from, as far as that is known.
    pub config_origins: Vec<ConfigOrigin>,
}

/// Where a value of the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ConfigOrigin {
    /// Keys that lead to it, the outermost first.
    pub key: Vec<String>,
    /// File and line, as `NAME:LINE` without its directory, or the name of a variable.
    pub origin: String,
    /// The variable's text; `None` of a file.
    pub variable: Option<String>,
}

/// A topic given.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicGrant {
    /// Its number.
    pub topic: u32,
    /// Its schema.
    pub schema: u64,
    /// Kinds that the module's manifest names: what it reads of the topic unless its code says otherwise. As a mask, see
    /// [`crate::wake::kind_bit`]; all ones where the manifest names none.
    pub kinds: u64,
}

/// Where the module starts.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Attached {
    /// First sequence of each topic that counts for this module.
    pub starts: Vec<TopicStart>,
    /// The modules that are loaded at the instant from which `starts` counts: those loaded later are told of by the topic
    /// `system`, each once.
    pub loaded: Vec<LoadedModule>,
}

/// A module that is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LoadedModule {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Where a module starts in one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TopicStart {
    /// The topic's number.
    pub topic: u32,
    /// Sequence of the first message that counts.
    pub sequence: u64,
}
