//! Bitcoin Core's validation engine as a library, behind a small safe interface.
//!
//! [`Chain`] opens a chain in a data directory, takes blocks and says what they did: the verdict and the
//! blocks that joined and left the active chain, in order. [`verify_transaction`] checks scripts. The rest of the
//! node never sees `bitcoinkernel` itself.
//!
//! The engine has no mempool, peers or look-up of unspent outputs; those belong to its caller. What it logs goes
//! to `tracing` with target `kernel`, never to stdout.
#![forbid(unsafe_code)]

mod chain;
mod check;
mod headers;
mod log;
mod network;
mod open;
mod processed;
mod verify;

pub use chain::{Chain, ReadError, SpentOutput};
pub use check::{CheckError, check_block_alone};
pub use headers::HeaderVerdict;
pub use network::{Network, UnknownNetwork};
pub use open::OpenError;
pub use processed::{Change, InvalidReason, Position, ProcessError, Processed, Verdict};
pub use verify::{PreviousOutput, VerifyError, verify_transaction};
