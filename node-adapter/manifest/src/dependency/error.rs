//! Why a module cannot be loaded with the others that are there.

use semver::{Version, VersionReq};

/// Why a module cannot be loaded with the others that are there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DependencyError {
    /// There is no such module.
    #[error("there is no module {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// What it needs is not there.
    #[error("module {name} needs {needs} {versions}, which is not there: install it")]
    Missing {
        /// The module.
        name: String,
        /// What it needs.
        needs: String,
        /// In which versions.
        versions: VersionReq,
    },
    /// What it needs is there in another version.
    #[error("module {name} needs {needs} {versions}, and version {have} is there")]
    Version {
        /// The module.
        name: String,
        /// What it needs.
        needs: String,
        /// In which versions.
        versions: VersionReq,
        /// The version that is there.
        have: Version,
    },
    /// It needs itself by way of others.
    #[error("modules need each other in a circle: {}", circle.join(" needs "))]
    Circle {
        /// Each needs the next; the last is the first.
        circle: Vec<String>,
    },
    /// What it needs is there and cannot be loaded.
    #[error("module {name} needs {needs}, which cannot be loaded")]
    Refused {
        /// The module.
        name: String,
        /// What it needs.
        needs: String,
    },
}
