//! `blvm module sign` and `blvm module verify`: who answers for a module. Files only, no running node.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blvm_manifest::{
    FileError, MANIFEST_FILE, Manifest, ManifestError, NodeFile, SecretKey, SecretKeyError, SignError, Trust,
    TrustError, Verdict, hash_program, replace_file, sign,
};
use clap::Args;
use serde_json::json;

use super::RunError;
use super::assembly::{random_seed, write_private};
use super::cli::NodeArguments;
use super::rpc_client::directory_of;
use super::status::write_line;
use crate::plain::{hex, one_line, with_causes};

/// Why a module was not judged or not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustCommandError {
    /// Its manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file of the operator's is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not signed as the operator asks for.
    #[error(transparent)]
    NotTrusted(Box<TrustError>),
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key is never overwritten.
    #[error("{} is there already, and a key is never overwritten: name another file", path.display())]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
    /// There is no secret key in the file.
    #[error("{} holds no secret key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SecretKeyError,
    },
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SignArguments {
    /// Directory of the module; its program has to be built, and its manifest has to list the key among the maintainers.
    #[arg(value_name = "DIR", required_unless_present = "generate_key")]
    directory: Option<PathBuf>,

    /// File with the secret key, 64 hexadecimal digits.
    #[arg(long, value_name = "FILE", required_unless_present = "generate_key")]
    key: Option<PathBuf>,

    /// Sign nothing: make a secret key in a new file that only its owner may read, and print its public key.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "key"])]
    generate_key: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArguments {
    /// Directory of the module.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The operator's file, beside which the trusted keys stand; without it blvm.toml in the data directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    node: NodeArguments,
}

/// Adds a maintainer's signature to the manifest, or makes a key.
pub(super) fn add_signature(arguments: &SignArguments) -> Result<ExitCode, RunError> {
    let line = match (&arguments.generate_key, &arguments.directory, &arguments.key) {
        (Some(path), _, _) => {
            let public_key = generate(path)?;
            eprintln!("blvm: {} holds a new secret key: whoever has it signs in your name", path.display());
            if arguments.json { json!({ "public_key": public_key }).to_string() } else { public_key }
        }
        (None, Some(directory), Some(key)) => sign_in(directory, key)?.line(arguments.json),
        // The command line was refused before it came to this.
        (None, _, _) => return Err(RunError::Usage("a directory and --key are missing".to_owned())),
    };
    write_line(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a secret key in a new file; answers its public key.
fn generate(path: &Path) -> Result<String, TrustCommandError> {
    let access = |source| TrustCommandError::Access { path: path.to_owned(), source };
    // All but a few in 2^128 numbers are keys.
    let (text, key) = loop {
        let text = hex(&random_seed().map_err(access)?);
        if let Ok(key) = text.parse::<SecretKey>() {
            break (text, key);
        }
    };
    match write_private(path, format!("{text}\n").as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(TrustCommandError::KeyExists { path: path.to_owned() })
        }
        written => written.map(|()| hex(&key.public_key())).map_err(access),
    }
}

/// A module that was signed.
struct NewlySigned {
    manifest: Manifest,
    public_key: String,
}

impl NewlySigned {
    fn line(&self, is_json: bool) -> String {
        let Manifest { name, version, signatures, .. } = &self.manifest;
        let threshold = signatures.as_ref().map(|signatures| signatures.threshold.to_string());
        let maintainers = signatures.iter().flat_map(|signatures| &signatures.maintainers);
        let count = maintainers.filter(|maintainer| maintainer.signature.is_some()).count();
        let version = version.to_string();
        if is_json {
            let key = &self.public_key;
            return json!({
                "module": name, "version": version, "public_key": key, "signatures": count, "threshold": threshold,
            })
            .to_string();
        }
        let threshold = threshold.unwrap_or_default();
        format!(
            "{name} {version} is signed with the key {}: it has {count} signatures, and its manifest asks for {threshold}",
            self.public_key
        )
    }
}

fn sign_in(directory: &Path, key: &Path) -> Result<NewlySigned, TrustCommandError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| TrustCommandError::Access { path, source }
    };
    let secret = read_key(key)?;
    let path = directory.join(MANIFEST_FILE);
    let manifest = read(directory)?;
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    let program = hash_program(&manifest.program).map_err(at(&manifest.program))?;
    let signed = sign(&text, &manifest, program, &secret)?;
    replace_file(&path, &signed).map_err(at(&path))?;
    Ok(NewlySigned { manifest: read(directory)?, public_key: hex(&secret.public_key()) })
}

/// Longest file of a key that is read, in bytes: room for the digits and some white space.
const MAX_KEY_BYTES: u64 = 1 << 10;

/// Reads a secret key, and says so if others may read it too.
fn read_key(path: &Path) -> Result<SecretKey, TrustCommandError> {
    let at = |source| TrustCommandError::Access { path: path.to_owned(), source };
    let file = File::open(path).map_err(at)?;
    let found = file.metadata().map_err(at)?;
    if found.is_file() && found.permissions().mode() & 0o077 != 0 {
        eprintln!("blvm: others may read {0}: chmod 600 {0}", path.display());
    }
    let mut text = String::new();
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(at)?;
    text.parse().map_err(|source| TrustCommandError::Key { path: path.to_owned(), source })
}

/// Judges a module as a node does that requires signatures.
pub(super) fn verify(arguments: &VerifyArguments) -> Result<ExitCode, RunError> {
    let manifest = read(&arguments.directory).map_err(TrustCommandError::from)?;
    let judged = judge(arguments, &manifest)?;
    let (name, version) = (&manifest.name, manifest.version.to_string());
    if arguments.node.json {
        let threshold = manifest.signatures.as_ref().map(|signatures| signatures.threshold.to_string());
        let (by, fault) = (judged.as_ref().ok(), judged.as_ref().err());
        let line = json!({
            "module": name,
            "version": version,
            "is_trusted": by.is_some(),
            "signed_by": by,
            "threshold": threshold,
            "fault": fault.map(|error| with_causes(error)),
            "is_damaged": fault.is_some_and(TrustError::is_damage),
        });
        write_line(&line.to_string())?;
        return Ok(if by.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let by = judged.map_err(|error| TrustCommandError::NotTrusted(Box::new(error)))?;
    write_line(&one_line(&format!("{name} {version} is signed by {}", by.join(", ")), usize::MAX))?;
    Ok(ExitCode::SUCCESS)
}

/// Who has signed it, in the operator's words, or why it does not count as signed.
fn judge(
    arguments: &VerifyArguments,
    manifest: &Manifest,
) -> Result<Result<Vec<String>, TrustError>, RunError> {
    let datadir = directory_of(&arguments.node)?;
    let node_file = NodeFile::read(arguments.config.as_deref(), &datadir).map_err(TrustCommandError::from)?;
    let asked = node_file.modules.trusted_keys.as_ref().map(|path| node_file.resolve(path));
    let beside = node_file.path.parent().unwrap_or(&datadir);
    let trust = Trust::read(asked.as_deref(), beside).map_err(TrustCommandError::from)?;
    Ok(match trust.admit(manifest, true) {
        Ok((_, Verdict::Signed { by })) => Ok(by),
        Ok((_, Verdict::Unproven(error))) | Err(error) => Err(error),
    })
}

/// The manifest, and its program where the node looks for it: beside the manifest, in its `target/release`, beside `blvm`.
fn read(directory: &Path) -> Result<Manifest, ManifestError> {
    let executable = std::env::current_exe().ok();
    Manifest::read(directory, executable.as_deref().and_then(Path::parent).unwrap_or(directory))
}
