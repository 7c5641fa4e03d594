//! `module.toml`: what a module says of itself. Anything wrong in it refuses the module.

mod error;
pub(crate) mod parse;
mod program;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use blvm_bus::request::Permission;
use semver::{Version, VersionReq};

pub use error::ManifestError;
pub use parse::{MANIFEST_KEYS, is_module_name};

/// Name of the file in a module's directory.
pub const MANIFEST_FILE: &str = "module.toml";

/// What stands for the node itself among the dependencies.
pub const NODE_DEPENDENCY: &str = "blvm-node";

/// What a module is, needs and asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Name, of lower-case letters, digits and hyphens.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The program as the manifest names it: a relative path.
    pub entry_point: String,
    /// The directory the manifest was read from.
    pub directory: PathBuf,
    /// The program that was found.
    pub program: PathBuf,
    /// What it does, in a sentence.
    pub description: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Where there is more about it.
    pub homepage: Option<String>,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// Names of the events it may publish, from `publish:NAME` among its capabilities.
    pub publishes: Vec<String>,
    /// Modules it needs; the node is not among them.
    pub dependencies: BTreeMap<String, VersionReq>,
    /// Modules it uses where they are there.
    pub optional_dependencies: BTreeMap<String, VersionReq>,
    /// What it needs of the node.
    pub compatibility: Compatibility,
    /// The program's hash and size.
    pub binary: Binary,
    /// Who answers for it.
    pub signatures: Option<Signatures>,
    /// What it asks of its sandbox.
    pub sandbox: Sandbox,
    /// Its configuration: keys, those in tables with points between, and what each means. `None` where the manifest says
    /// nothing, and any key is taken.
    pub config_schema: Option<BTreeMap<String, String>>,
    /// Topics it names; the others it may read by its permissions alone.
    pub topics: Vec<ManifestTopic>,
    /// SHA-256 over all of the file but `[signatures]`, as docs/trust.md describes it; `None` for a manifest made by a program.
    pub content_sha256: Option<[u8; 32]>,
}

/// What a module needs of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compatibility {
    /// Versions of the node it works with: `"blvm-node"` among its dependencies.
    pub node: Option<VersionReq>,
    /// The oldest node it works with.
    pub min_node_version: Option<Version>,
    /// The layout of segments it was built for.
    pub bus_layout: Option<u32>,
    /// Schema ids it was built for, by the topic's number.
    pub schemas: BTreeMap<u32, u64>,
}

/// What is known of the program before it is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Binary {
    /// SHA-256 of the program.
    pub sha256: Option<[u8; 32]>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
}

/// Who answers for a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// How many of them have to.
    pub threshold: Threshold,
    /// Who they are.
    pub maintainers: Vec<Maintainer>,
    /// What they say they signed. What they sign is compared with it to say what has changed since.
    pub signed: Option<Signed>,
}

/// What maintainers say they signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The module's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its program.
    pub program_sha256: [u8; 32],
    /// SHA-256 of its manifest: [`Manifest::content_sha256`].
    pub manifest_sha256: [u8; 32],
}

/// So many signatures of so many maintainers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Signatures that have to be right; at least 1, and at most `of`.
    pub needed: u8,
    /// Maintainers there are.
    pub of: u8,
}

impl fmt::Display for Threshold {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-of-{}", self.needed, self.of)
    }
}

/// Somebody who answers for a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// What they are called.
    pub name: String,
    /// Their public key: the x coordinate, as in BIP-0340.
    pub public_key: [u8; 32],
    /// Their signature; `None` while they have not signed.
    pub signature: Option<[u8; 64]>,
}

/// What a module asks of its sandbox; the operator's limits cap it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// TCP ports it listens on.
    pub listen: Vec<u16>,
    /// TCP ports it connects to.
    pub connect: Vec<u16>,
    /// Private memory, in MiB.
    pub memory_mb: Option<u64>,
    /// Open descriptors.
    pub open_files: Option<u64>,
    /// Share of one processor in per cent; 200 is two of them.
    pub cpu_percent: Option<u32>,
}

/// A topic named in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestTopic {
    /// Its number.
    pub topic: u32,
    /// Numbers of the kinds the module wants unless it says otherwise; empty for all.
    pub kinds: Vec<u16>,
}

impl Manifest {
    /// A manifest made by a program: version 0.1.0, and nothing asked for.
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let file_name = program.file_name().unwrap_or_default();
        Manifest {
            name: name.to_owned(),
            version: Version::new(0, 1, 0),
            entry_point: file_name.to_string_lossy().into_owned(),
            directory: program.parent().unwrap_or(Path::new("")).to_owned(),
            program,
            description: None,
            author: None,
            license: None,
            homepage: None,
            permissions: Vec::new(),
            publishes: Vec::new(),
            dependencies: BTreeMap::new(),
            optional_dependencies: BTreeMap::new(),
            compatibility: Compatibility::default(),
            binary: Binary::default(),
            signatures: None,
            sandbox: Sandbox::default(),
            config_schema: None,
            topics: Vec::new(),
            content_sha256: None,
        }
    }

    /// Reads `directory/module.toml` and finds the program: beside it, in its `target/release`, or in `build_directory`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] names the file and everything that is wrong in it.
    pub fn read(directory: &Path, build_directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(MANIFEST_FILE);
        let text = crate::document::read(&path, crate::document::Author::Operator)
            .map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        let manifest = Self::parse(&text, &path)?;
        manifest.with_program(&[directory, &directory.join("target/release"), build_directory])
    }

    /// A manifest that is part of this program; the module's program is looked for in `build_directory` only.
    ///
    /// # Errors
    ///
    /// [`ManifestError`].
    pub fn read_text(text: &str, build_directory: &Path) -> Result<Self, ManifestError> {
        Self::parse(text, &build_directory.join(MANIFEST_FILE))?.with_program(&[build_directory])
    }

    /// Reads the text of the manifest `file`. The program is taken to stand beside it, and nobody looks whether it does.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Invalid`] with everything that is wrong in the text.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestError> {
        parse::manifest(text, file)
    }
}
