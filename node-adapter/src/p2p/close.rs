//! Why a connection ends.

use super::wire::WireError;

/// Why a connection whose handshake was complete ended. Its text is the reason in `PeerDisconnected`.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseReason {
    /// The peer closed it between two messages.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer broke the protocol, or the socket failed.
    #[error("{}", with_cause(.0))]
    Wire(#[from] WireError),
    /// No message came for too long.
    #[error("no message for {silent_ms} ms")]
    Inactive {
        /// How long the peer was silent.
        silent_ms: u128,
    },
    /// The peer sent other messages but never answered a ping.
    #[error("a ping was not answered for {waited_ms} ms")]
    PingTimeout {
        /// How long the node waited.
        waited_ms: u128,
    },
    /// The peer does not read what it asked for.
    #[error("the peer did not read its answers for {stalled_ms} ms")]
    SlowReader {
        /// How long nothing could be queued.
        stalled_ms: u128,
    },
    /// The peer did what no honest peer does, once too often.
    #[error("misbehaviour: {offence}")]
    Misbehaving {
        /// What it did last.
        offence: &'static str,
    },
    /// Somebody banned its address.
    #[error("its address is banned")]
    Banned,
    /// The peer holds up synchronisation.
    #[error("a block it was asked for did not come for {waited_ms} ms")]
    NoBlock {
        /// How long the node waited.
        waited_ms: u128,
    },
    /// All places are taken, and another peer got this one.
    #[error("its place went to another peer")]
    Evicted,
    /// The node dialled it for its blocks, and it has none.
    #[error("it has no blocks to offer")]
    NoBlocks,
    /// The node could not answer.
    #[error("the node failed while answering")]
    NodeFailed,
    /// The listener shuts down.
    #[error("the node is shutting down")]
    Shutdown,
}

/// The error and what stands behind it, for the one line a log or a module sees.
fn with_cause(error: &WireError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_cause_behind_the_error() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let reason = CloseReason::from(WireError::Io(reset)).to_string();
        assert_eq!(reason, "the connection failed: connection reset");
    }
}
