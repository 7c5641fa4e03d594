//! The 32 bytes that a maintainer signs.

use super::tagged_hash;
use crate::manifest::{Maintainer, Signed, Threshold};

/// What the hash of a statement begins with.
const TAG: &str = "blvm/module/1";

/// What a maintainer signs: that a program and a manifest are one version of a module, and how many of which maintainers have
/// to say so. Whoever lowers the threshold or changes a key needs new signatures.
pub fn statement(signed: &Signed, threshold: Threshold, maintainers: &[Maintainer]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for text in [&signed.name, &signed.version.to_string()] {
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes.extend(signed.program_sha256);
    bytes.extend(signed.manifest_sha256);
    bytes.extend([threshold.needed, threshold.of]);
    let mut keys: Vec<_> = maintainers.iter().map(|maintainer| maintainer.public_key).collect();
    keys.sort_unstable();
    bytes.extend(keys.concat());
    tagged_hash(TAG, &bytes)
}
