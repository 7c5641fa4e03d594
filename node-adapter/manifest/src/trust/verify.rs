//! From a manifest, its program and the operator's keys to a verdict.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use secp256k1::schnorr::Signature;
use secp256k1::{Message, Secp256k1, Verification, XOnlyPublicKey};
use semver::Version;

use super::keys::Trust;
use super::program::{Program, hash_program};
use super::{hex, statement};
use crate::manifest::{Manifest, Signatures, Signed};

/// What is known of a module that may be started.
#[derive(Debug)]
pub enum Verdict {
    /// People whom the operator trusts have signed it: their names in the operator's file.
    Signed {
        /// Who.
        by: Vec<String>,
    },
    /// Nobody has, or not enough of them, and the operator does not ask for it: why it does not count as signed.
    Unproven(TrustError),
}

/// Why a module does not count as signed by people whom the operator trusts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The program cannot be read.
    #[error("the program {} of module {name} cannot be read", program.display())]
    Unreadable {
        /// The module.
        name: String,
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is another than the manifest names.
    #[error(
        "the program of module {name} was changed: its SHA-256 is {}, and its manifest says {}; install it again",
        hex(found),
        hex(expected)
    )]
    ProgramHash {
        /// The module.
        name: String,
        /// What the manifest says.
        expected: [u8; 32],
        /// What it is.
        found: [u8; 32],
    },
    /// The program has another size than the manifest says.
    #[error(
        "the program of module {name} was changed: it has {found_bytes} bytes, and its manifest says {expected_bytes}; install it again"
    )]
    ProgramSize {
        /// The module.
        name: String,
        /// What the manifest says.
        expected_bytes: u64,
        /// What it is.
        found_bytes: u64,
    },
    /// Nobody has signed it.
    #[error("module {name} is not signed")]
    NotSigned {
        /// The module.
        name: String,
    },
    /// The signatures are those of another module.
    #[error("the signatures of module {name} are for the module {signed}")]
    OtherName {
        /// The module.
        name: String,
        /// What was signed.
        signed: String,
    },
    /// The signatures are those of another version.
    #[error("the signatures of module {name} are for version {signed}, and this is version {version}")]
    OtherVersion {
        /// The module.
        name: String,
        /// Its version.
        version: Version,
        /// What was signed.
        signed: Version,
    },
    /// The program is another than was signed.
    #[error(
        "the program of module {name} was changed after it was signed: its SHA-256 is {}, and {} was signed",
        hex(found),
        hex(signed)
    )]
    ProgramChanged {
        /// The module.
        name: String,
        /// What was signed.
        signed: [u8; 32],
        /// What it is.
        found: [u8; 32],
    },
    /// The manifest says something else than was signed.
    #[error("the manifest of module {name} was changed after it was signed")]
    ManifestChanged {
        /// The module.
        name: String,
    },
    /// A signature by a trusted key does not fit what is said to be signed.
    #[error(
        "the signature of {key} on module {name} is wrong: it is for other bytes, another threshold or other maintainers"
    )]
    BadSignature {
        /// The module.
        name: String,
        /// Whose it is, in the operator's words.
        key: String,
    },
    /// Who has signed it is not trusted.
    #[error("module {name} is signed by keys that {} does not trust with it: {}; {valid} of {needed} signatures count", trust_file.display(), keys.join(", "))]
    UntrustedKeys {
        /// The module.
        name: String,
        /// The operator's file.
        trust_file: PathBuf,
        /// The keys, each with the name that the manifest gives it.
        keys: Vec<String>,
        /// Signatures that count.
        valid: usize,
        /// Signatures that are needed.
        needed: u8,
    },
    /// Not enough of the trusted keys have signed it.
    #[error("module {name} needs {needed} signatures by different keys, and has {valid}")]
    TooFew {
        /// The module.
        name: String,
        /// Signatures that count.
        valid: usize,
        /// Signatures that are needed.
        needed: u8,
    },
}

impl TrustError {
    /// Whether something was changed, or cannot be looked at: then the module is not started, whatever the operator asks for.
    pub fn is_damage(&self) -> bool {
        match self {
            TrustError::NotSigned { .. } | TrustError::UntrustedKeys { .. } | TrustError::TooFew { .. } => {
                false
            }
            TrustError::Unreadable { .. }
            | TrustError::ProgramHash { .. }
            | TrustError::ProgramSize { .. }
            | TrustError::OtherName { .. }
            | TrustError::OtherVersion { .. }
            | TrustError::ProgramChanged { .. }
            | TrustError::ManifestChanged { .. }
            | TrustError::BadSignature { .. } => true,
        }
    }
}

impl Trust {
    /// Reads the program and judges it and its manifest: to be asked before every start. The hash is what the sandbox has to be
    /// told, so that the bytes it starts are those that were judged.
    ///
    /// # Errors
    ///
    /// [`TrustError`] if anything was changed, or if `requires_signatures` and it is not signed well enough.
    pub fn admit(
        &self,
        manifest: &Manifest,
        requires_signatures: bool,
    ) -> Result<(Program, Verdict), TrustError> {
        let program = hash_program(&manifest.program).map_err(|source| TrustError::Unreadable {
            name: manifest.name.clone(),
            program: manifest.program.clone(),
            source,
        })?;
        match self.verify(manifest, program) {
            Ok(by) => Ok((program, Verdict::Signed { by })),
            Err(error) if requires_signatures || error.is_damage() => Err(error),
            Err(error) => Ok((program, Verdict::Unproven(error))),
        }
    }

    /// Who of the trusted people has signed this program and this manifest, if they are enough.
    ///
    /// # Errors
    ///
    /// [`TrustError`].
    pub fn verify(&self, manifest: &Manifest, program: Program) -> Result<Vec<String>, TrustError> {
        let name = || manifest.name.clone();
        if let Some(expected) = manifest.binary.sha256.filter(|expected| *expected != program.sha256) {
            return Err(TrustError::ProgramHash { name: name(), expected, found: program.sha256 });
        }
        if let Some(expected_bytes) = manifest.binary.size_bytes.filter(|size| *size != program.size_bytes) {
            let found_bytes = program.size_bytes;
            return Err(TrustError::ProgramSize { name: name(), expected_bytes, found_bytes });
        }
        let (Some(signatures), Some(manifest_sha256)) = (&manifest.signatures, manifest.content_sha256)
        else {
            return Err(TrustError::NotSigned { name: name() });
        };
        let actual = Signed {
            name: name(),
            version: manifest.version.clone(),
            program_sha256: program.sha256,
            manifest_sha256,
        };
        if let Some(signed) = &signatures.signed {
            compare(signed, &actual)?;
        }
        self.count(&actual, signatures)
    }

    /// Names of the trusted keys whose signatures are right, each key once, if they are enough.
    fn count(&self, actual: &Signed, signatures: &Signatures) -> Result<Vec<String>, TrustError> {
        let message = Message::from_digest(statement(actual, signatures.threshold, &signatures.maintainers));
        let secp = Secp256k1::verification_only();
        let (mut by, mut untrusted) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for maintainer in &signatures.maintainers {
            let Some(signature) = &maintainer.signature else { continue };
            let Some(key) = self.key(&maintainer.public_key, &actual.name) else {
                untrusted.push(format!("{} ({})", maintainer.name, hex(&maintainer.public_key)));
                continue;
            };
            if !is_right(&secp, signature, &message, &maintainer.public_key) {
                return Err(TrustError::BadSignature { name: actual.name.clone(), key: key.name.clone() });
            }
            if seen.insert(maintainer.public_key) {
                by.push(key.name.clone());
            }
        }
        let (name, valid) = (actual.name.clone(), by.len());
        let needed = signatures.threshold.needed.max(self.threshold_for(&name));
        match valid >= needed.into() {
            true => Ok(by),
            false if untrusted.is_empty() => Err(TrustError::TooFew { name, valid, needed }),
            false => {
                let trust_file = self.path.clone();
                Err(TrustError::UntrustedKeys { name, trust_file, keys: untrusted, valid, needed })
            }
        }
    }
}

/// Whether what was signed is what is here.
fn compare(signed: &Signed, actual: &Signed) -> Result<(), TrustError> {
    let name = actual.name.clone();
    if signed.name != actual.name {
        return Err(TrustError::OtherName { name, signed: signed.name.clone() });
    }
    if signed.version != actual.version {
        let (version, signed) = (actual.version.clone(), signed.version.clone());
        return Err(TrustError::OtherVersion { name, version, signed });
    }
    if signed.program_sha256 != actual.program_sha256 {
        let (signed, found) = (signed.program_sha256, actual.program_sha256);
        return Err(TrustError::ProgramChanged { name, signed, found });
    }
    if signed.manifest_sha256 != actual.manifest_sha256 {
        return Err(TrustError::ManifestChanged { name });
    }
    Ok(())
}

fn is_right(
    secp: &Secp256k1<impl Verification>,
    signature: &[u8; 64],
    message: &Message,
    public_key: &[u8; 32],
) -> bool {
    let (Ok(signature), Ok(key)) = (Signature::from_slice(signature), XOnlyPublicKey::from_slice(public_key))
    else {
        return false;
    };
    secp.verify_schnorr(&signature, message, &key).is_ok()
}
