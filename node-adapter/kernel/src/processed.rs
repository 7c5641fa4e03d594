//! What a submitted block did: the verdict, and the changes of the active chain in order.

use bitcoinkernel::notifications::types::BlockValidationResult;

/// A block's place in the active chain; the hash is in internal byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Block hash.
    pub hash: [u8; 32],
    /// Height; genesis is 0.
    pub height: u32,
}

/// One step of the active chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The block became the tip.
    Connected {
        /// Where it stands.
        position: Position,
        /// The block in consensus encoding; `None` for the block that was offered, which the caller has.
        raw: Option<Vec<u8>>,
    },
    /// The block was the tip and left.
    Disconnected {
        /// Where it stood.
        position: Position,
        /// The block in consensus encoding.
        raw: Vec<u8>,
    },
}

/// Why the engine refuses a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReason {
    /// It breaks a consensus rule.
    #[error("it breaks a consensus rule")]
    Consensus,
    /// It was found invalid before.
    #[error("it was found invalid before")]
    KnownInvalid,
    /// Its header is invalid: proof of work, version or time.
    #[error("its header is invalid")]
    Header,
    /// Its transactions do not match what its header commits to; another copy may be valid.
    #[error("its transactions do not match its header")]
    Mutated,
    /// The block before it is not known.
    #[error("the block before it is not known")]
    MissingPrevious,
    /// A block before it is invalid.
    #[error("a block before it is invalid")]
    InvalidPrevious,
    /// Its time is more than two hours ahead of the clock.
    #[error("its time is more than two hours ahead of the clock")]
    TimeInFuture,
    /// Its header has less work than the engine accepts.
    #[error("its header has too little work")]
    LowWork,
    /// The engine gave no reason.
    #[error("the engine gave no reason")]
    Unknown,
}

impl From<BlockValidationResult> for InvalidReason {
    fn from(result: BlockValidationResult) -> Self {
        match result {
            BlockValidationResult::Unset => Self::Unknown,
            BlockValidationResult::Consensus => Self::Consensus,
            BlockValidationResult::CachedInvalid => Self::KnownInvalid,
            BlockValidationResult::InvalidHeader => Self::Header,
            BlockValidationResult::Mutated => Self::Mutated,
            BlockValidationResult::MissingPrev => Self::MissingPrevious,
            BlockValidationResult::InvalidPrev => Self::InvalidPrevious,
            BlockValidationResult::TimeFuture => Self::TimeInFuture,
            BlockValidationResult::HeaderLowWork => Self::LowWork,
        }
    }
}

/// What became of a submitted block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the active chain now.
    Connected,
    /// It is stored, on a branch with no more work than the active chain; its scripts are not checked yet.
    SideBranch,
    /// The engine had it already.
    Duplicate,
    /// It is invalid.
    Invalid {
        /// The kind of fault.
        reason: InvalidReason,
        /// The engine's words, such as `bad-cb-amount, …`; for people, their form may change.
        detail: Option<String>,
    },
}

/// What became of a submitted block, and what it did to the active chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processed {
    /// Hash of the submitted block.
    pub hash: [u8; 32],
    /// What became of it.
    pub verdict: Verdict,
    /// Blocks that left and joined, in order. Not empty for an invalid block if the engine had begun to change
    /// to its branch: it then changes back.
    pub changes: Vec<Change>,
}

/// Why a block could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The bytes are not exactly one block.
    #[error("not exactly one block in consensus encoding")]
    Malformed,
    /// The engine cannot go on.
    #[error("the validation engine cannot go on: {reason}; free disk space or check the disk, then restart")]
    Fatal {
        /// What it said.
        reason: String,
    },
    /// The chain is closed.
    #[error("the chain is closed")]
    Closed,
}

/// Takes the engine's words out of its log lines: what follows `failed, ` or stands in `FAILED (…)`.
pub(crate) fn detail_in(lines: &[String]) -> Option<String> {
    lines.iter().find_map(|line| {
        if let Some((_, words)) = line.split_once(" failed, ") {
            return Some(words.to_owned());
        }
        let (_, words) = line.split_once("FAILED (")?;
        Some(words.strip_suffix(')').unwrap_or(words).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_is_what_follows_the_failure() {
        let lines = |text: &str| [text.to_owned()];
        assert_eq!(
            detail_in(&lines("ConnectTip: ConnectBlock 00ff failed, bad-cb-amount, pays too much"))
                .as_deref(),
            Some("bad-cb-amount, pays too much")
        );
        assert_eq!(
            detail_in(&lines("ProcessNewBlock: AcceptBlock FAILED (prev-blk-not-found)")).as_deref(),
            Some("prev-blk-not-found")
        );
        assert_eq!(detail_in(&lines("Disk space is too low!")), None);
    }
}
