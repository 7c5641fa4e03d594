//! Why a node cannot answer, or does not take a transaction.

/// Why a node could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The block store failed.
    #[error("the block store could not be read: {reason}; check the disk and the data directory")]
    Store {
        /// What the store said.
        reason: String,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// This kind of source cannot know or do that.
    #[error("the node source {source_name} cannot serve {request}")]
    Unsupported {
        /// Name of the request, as modules write it.
        request: &'static str,
        /// Name of the source.
        source_name: &'static str,
    },
}

/// Why a transaction was not accepted to the mempool. Each is the transaction's fault, not the node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The bytes are not exactly one transaction.
    #[error("not a transaction in consensus encoding: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// It breaks a rule that needs no context (no inputs, negative value, coinbase, duplicate inputs, too large).
    #[error("the transaction breaks a consensus rule: {rule}")]
    Invalid {
        /// The rule.
        rule: &'static str,
    },
    /// It is in the mempool already.
    #[error("the transaction is in the mempool already")]
    AlreadyInMempool,
    /// An input does not exist or is spent in the chain.
    #[error("input {input} spends an output that does not exist or is spent")]
    MissingInput {
        /// Index of the input.
        input: u32,
    },
    /// An input is spent by a mempool transaction and this one does not pay enough to replace it.
    #[error("input {input} is spent by a mempool transaction; a replacement must pay more: {needed_sat} sat")]
    ConflictsWithMempool {
        /// Index of the input.
        input: u32,
        /// The least fee that would replace it.
        needed_sat: u64,
    },
    /// A coinbase output needs 100 confirmations.
    #[error("input {input} spends a coinbase output that matures at height {mature_height}")]
    ImmatureCoinbase {
        /// Index of the input.
        input: u32,
        /// First height of a block that may contain the transaction.
        mature_height: u32,
    },
    /// It may not be in the next block yet (lock time or BIP-0068).
    #[error("the transaction is not final in the next block")]
    NotFinal,
    /// Outputs exceed inputs.
    #[error("outputs of {outputs_sat} sat exceed inputs of {inputs_sat} sat")]
    Overpays {
        /// Sum of the outputs.
        outputs_sat: u64,
        /// Sum of the inputs.
        inputs_sat: u64,
    },
    /// The fee rate is below what the mempool takes.
    #[error("fee of {fee_sat} sat is below the least fee of {needed_sat} sat for this size")]
    FeeTooLow {
        /// Its fee.
        fee_sat: u64,
        /// The least fee.
        needed_sat: u64,
    },
    /// A script does not verify.
    #[error("the script of input {input} does not verify")]
    Script {
        /// Index of the input.
        input: u32,
    },
    /// The mempool is at its limit.
    #[error("the mempool holds its limit of {limit_bytes} bytes")]
    Full {
        /// The limit.
        limit_bytes: u64,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// It would drive out more transactions than one may.
    #[error("it would replace more than {limit} transactions of the mempool")]
    TooManyReplaced {
        /// The most that may be replaced, descendants included.
        limit: u64,
    },
    /// It depends on too much that is unconfirmed.
    #[error(
        "with its unconfirmed ancestors it is {transactions} transactions of {virtual_bytes} virtual bytes; at most {limit} of {limit_bytes} are taken: wait for a block"
    )]
    TooManyAncestors {
        /// Transactions, itself included.
        transactions: u64,
        /// Their virtual bytes.
        virtual_bytes: u64,
        /// Most transactions.
        limit: u64,
        /// Most virtual bytes.
        limit_bytes: u64,
    },
    /// An unconfirmed ancestor has too many descendants with it.
    #[error(
        "an unconfirmed ancestor would have {transactions} transactions of {virtual_bytes} virtual bytes with its descendants; at most {limit} of {limit_bytes} are taken: wait for a block"
    )]
    TooManyDescendants {
        /// Txid of the ancestor.
        ancestor: super::Hash,
        /// Transactions, itself included.
        transactions: u64,
        /// Their virtual bytes.
        virtual_bytes: u64,
        /// Most transactions.
        limit: u64,
        /// Most virtual bytes.
        limit_bytes: u64,
    },
    /// It is valid, but of a form that the mempool does not take.
    #[error("the transaction is not standard: {rule}")]
    NonStandard {
        /// The rule.
        rule: &'static str,
    },
    /// It is valid, but more of something than the mempool takes.
    #[error("the transaction is not standard: {what} of {found} is more than {limit}")]
    AboveStandard {
        /// What is too much.
        what: &'static str,
        /// How much it has.
        found: u64,
        /// The most taken.
        limit: u64,
    },
    /// An output is worth less than spending it costs.
    #[error("output {output} of {value_sat} sat is dust: the least for its script is {needed_sat} sat")]
    Dust {
        /// Index of the output.
        output: u32,
        /// Its value.
        value_sat: u64,
        /// The least value.
        needed_sat: u64,
    },
}
