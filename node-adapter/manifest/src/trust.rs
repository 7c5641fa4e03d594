//! Whether a module's program and manifest are what people whom the operator trusts have signed.
//!
//! | file | what |
//! |---|---|
//! | `content` | the bytes of a manifest that count, and their hash |
//! | `statement` | the 32 bytes that a maintainer signs |
//! | `keys` | the operator's file of trusted keys |
//! | `program` | the hash of a program |
//! | `verify` | from all of these to a verdict |
//! | `sign` | the other side |
//!
//! docs/trust.md has the bytes. Signatures are those of BIP-0340.

mod content;
mod keys;
mod program;
mod sign;
mod statement;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use content::content_sha256;
pub use keys::{Trust, TrustedKey};
pub use program::{Program, hash_program};
pub use sign::{SecretKey, SecretKeyError, SignError, sign};
pub use statement::statement;
pub use verify::{TrustError, Verdict};

use sha2::{Digest, Sha256};

/// A hash that is a hash of nothing else: the tag's hash twice, then the bytes.
///
/// Source: BIP-0340, "Design", tagged hashes.
fn tagged_hash(tag: &str, bytes: &[u8]) -> [u8; 32] {
    let tag = Sha256::digest(tag);
    Sha256::new().chain_update(tag).chain_update(tag).chain_update(bytes).finalize().into()
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
