//! What operators ask.

use blvm_bus::request::{NodeStatus, Reply, Request};

use super::{CallError, Client};

impl Client {
    /// How the node stands. `with_utxo_digest` makes the node read all unspent outputs, which takes long on a long chain.
    /// Needs `read_chain_state`.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn node_status(&mut self, with_utxo_digest: bool) -> Result<NodeStatus, CallError> {
        self.get(&Request::GetNodeStatus { with_utxo_digest }, |reply| match reply {
            Reply::NodeStatus(status) => Some(*status),
            _ => None,
        })
    }
}
