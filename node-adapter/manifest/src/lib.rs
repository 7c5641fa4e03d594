//! What modules and operators write down: manifests, and what is wrong in them.
//!
//! | file | what |
//! |---|---|
//! | `document` | a TOML file whose every value knows where it stands |
//! | `mistake` | one thing wrong in a file: line, column, key, and the nearest name that would be right |
//! | `nearest` | the known name that is most like another |
//! | `manifest` | `module.toml` |
//!
//! No node and no C++ behind it: tools for authors of modules use it too.
#![forbid(unsafe_code)]

mod document;
mod manifest;
mod mistake;
mod nearest;

pub use document::MAX_FILE_BYTES;
pub use manifest::{
    Binary, Compatibility, MANIFEST_FILE, MANIFEST_KEYS, Maintainer, Manifest, ManifestError, ManifestTopic,
    NODE_DEPENDENCY, Sandbox, Signatures, Threshold, is_module_name,
};
pub use mistake::{Kind, Mistake, Wrong};
