//! Requests and replies. New variants go to the end: the others keep their numbers.

use rkyv::{Archive, Deserialize, Serialize};

use super::{
    Attached, Block, ChainPosition, ChainReply, ChainRequest, Hello, MempoolEntry, MempoolReply,
    MempoolRequest, MetricsReply, MetricsRequest, MiningReply, MiningRequest, ModulesReply, ModulesRequest,
    NetworkReply, NetworkRequest, NodeStatus, Refusal, Statistics, Token, WatchReply, WatchRequest, Welcome,
};
use crate::message::Hash;

/// What a module sends.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Request {
    /// The first request: versions, and the topics the module wants. Answered by [`Reply::Welcome`].
    Hello(Hello),
    /// The module has mapped what it was given, its lease page above all. Answered by [`Reply::Attached`].
    Mapped,
    /// The tip of the active chain. Needs `read_blockchain`.
    GetChainTip,
    /// A block of the active chain by hash. Needs `read_blockchain`.
    GetBlock {
        /// Block hash.
        hash: Hash,
    },
    /// A block of the active chain by height. Needs `read_blockchain`.
    GetBlockByHeight {
        /// Height.
        height: u32,
    },
    /// Every mempool transaction, parents before children. Needs `read_mempool`.
    GetMempoolTransactions,
    /// Offers a transaction to the mempool. Needs `send_transactions`.
    SubmitMempoolTransaction {
        /// The transaction in consensus encoding.
        raw: Vec<u8>,
    },
    /// What the module has received, for the operator's status display.
    ReportStatistics(Statistics),
    /// Shows the node's token; the first request of a peer that attaches by path, and of nobody else. Answered by
    /// [`Reply::Authenticated`].
    Authenticate {
        /// The token.
        token: Token,
    },
    /// About the chain. Answered by [`Reply::Chain`].
    Chain(Box<ChainRequest>),
    /// About the mempool. Answered by [`Reply::Mempool`].
    Mempool(Box<MempoolRequest>),
    /// Of a miner. Answered by [`Reply::Mining`].
    Mining(Box<MiningRequest>),
    /// About peers. Answered by [`Reply::Network`].
    Network(Box<NetworkRequest>),
    /// About what is watched for. Answered by [`Reply::Watch`].
    Watch(Box<WatchRequest>),
    /// `get_node_status`: how the node stands. Needs `read_chain_state`. Answered by [`Reply::NodeStatus`].
    GetNodeStatus {
        /// Whether all unspent outputs are read for one hash over them; takes long on a long chain.
        with_utxo_digest: bool,
    },
    /// About modules. Answered by [`Reply::Modules`].
    Modules(Box<ModulesRequest>),
    /// About figures of modules. Answered by [`Reply::Metrics`].
    Metrics(Box<MetricsRequest>),
}

/// What the node answers.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`]. One descriptor per topic travels with it, in order, then the lease page if there is one,
    /// then the wake socket for a peer that attached by path.
    Welcome(Welcome),
    /// To [`Request::Mapped`]: from here on leases hold and messages count.
    Attached(Attached),
    /// To [`Request::GetChainTip`].
    ChainTip(ChainPosition),
    /// To [`Request::GetBlock`] and [`Request::GetBlockByHeight`]; `None` if the active chain has no such block.
    Block(Option<Block>),
    /// To [`Request::GetMempoolTransactions`].
    MempoolTransactions(Vec<MempoolEntry>),
    /// To [`Request::SubmitMempoolTransaction`].
    Submitted {
        /// Transaction id.
        txid: Hash,
    },
    /// To [`Request::ReportStatistics`].
    Noted,
    /// To any request. The connection stays open unless the refusal says otherwise.
    Refused(Refusal),
    /// To [`Request::Authenticate`]: now say hello.
    Authenticated,
    /// To [`Request::Chain`].
    Chain(Box<ChainReply>),
    /// To [`Request::Mempool`].
    Mempool(Box<MempoolReply>),
    /// To [`Request::Mining`].
    Mining(Box<MiningReply>),
    /// To [`Request::Network`].
    Network(Box<NetworkReply>),
    /// To [`Request::Watch`].
    Watch(Box<WatchReply>),
    /// To [`Request::GetNodeStatus`].
    NodeStatus(Box<NodeStatus>),
    /// To [`Request::Modules`].
    Modules(Box<ModulesReply>),
    /// To [`Request::Metrics`].
    Metrics(Box<MetricsReply>),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
