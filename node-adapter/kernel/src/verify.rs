//! Script verification with the engine's interpreter.

use bitcoinkernel::{
    KernelError, PrecomputedTransactionData, ScriptPubkey, Transaction, TxOut, VERIFY_ALL, prelude::*, verify,
};

/// The output an input spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousOutput<'a> {
    /// Value in satoshi.
    pub value_sat: u64,
    /// Script that must be satisfied.
    pub script: &'a [u8],
}

/// Why a transaction's scripts do not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The bytes are not a transaction, or a value is out of range.
    #[error("not a transaction in consensus encoding")]
    Malformed,
    /// Every input needs its spent output.
    #[error("{given} spent outputs given for {needed} inputs")]
    OutputCount {
        /// How many were given.
        given: usize,
        /// How many inputs there are.
        needed: usize,
    },
    /// The script of this input fails.
    #[error("the script of input {input} does not verify")]
    Script {
        /// Index of the input.
        input: u32,
    },
}

/// Verifies the script of every input, with every consensus rule up to taproot in force.
///
/// `spent` holds the output of each input, in input order: taproot signatures commit to all of them.
///
/// # Errors
///
/// [`VerifyError`] names the first input that fails.
pub fn verify_transaction(raw: &[u8], spent: &[PreviousOutput<'_>]) -> Result<(), VerifyError> {
    let transaction = Transaction::new(raw).map_err(|_| VerifyError::Malformed)?;
    let needed = transaction.input_count();
    if needed != spent.len() {
        return Err(VerifyError::OutputCount { given: spent.len(), needed });
    }
    let outputs = spent
        .iter()
        .map(|output| {
            let value = i64::try_from(output.value_sat).map_err(|_| VerifyError::Malformed)?;
            let script = ScriptPubkey::new(output.script).map_err(|_| VerifyError::Malformed)?;
            Ok(TxOut::new(&script, value))
        })
        .collect::<Result<Vec<_>, VerifyError>>()?;
    let precomputed =
        PrecomputedTransactionData::new(&transaction, &outputs).map_err(|_| VerifyError::Malformed)?;
    for (index, output) in outputs.iter().enumerate() {
        let checked: Result<(), KernelError> = verify(
            &output.script_pubkey(),
            Some(output.value()),
            &transaction,
            index,
            Some(VERIFY_ALL),
            &precomputed,
        );
        if checked.is_err() {
            return Err(VerifyError::Script { input: u32::try_from(index).unwrap_or(u32::MAX) });
        }
    }
    Ok(())
}
