//! Signing a module: what a maintainer does.

use secp256k1::{Keypair, Message, Secp256k1};
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use super::program::Program;
use super::{hex, statement};
use crate::manifest::{Manifest, Signed, parse};

/// A maintainer's secret key.
pub struct SecretKey(Keypair);

/// A text that is no secret key. The text itself is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret key is 64 hexadecimal digits, and not any of them")]
pub struct SecretKeyError;

/// Why a module was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The manifest names no maintainers.
    #[error("module {name} has no [signatures] in its manifest: say who signs it, and how many have to")]
    NoMaintainers {
        /// The module.
        name: String,
    },
    /// The key belongs to nobody of them.
    #[error("the key {public_key} is none of the maintainers in the manifest of module {name}")]
    NotMaintainer {
        /// The module.
        name: String,
        /// The public key.
        public_key: String,
    },
    /// The program is another than the manifest says.
    #[error("the manifest of module {name} names another program: correct [binary] before signing")]
    OtherProgram {
        /// The module.
        name: String,
    },
    /// The text is another manifest than the one given with it.
    #[error("the text is not the manifest of module {name}")]
    OtherText {
        /// The module.
        name: String,
    },
}

impl std::str::FromStr for SecretKey {
    type Err = SecretKeyError;

    fn from_str(text: &str) -> Result<Self, SecretKeyError> {
        let bytes = parse::hexadecimal::<32>(text.trim()).ok_or(SecretKeyError)?;
        let secp = Secp256k1::signing_only();
        Keypair::from_seckey_slice(&secp, &bytes).map(SecretKey).map_err(|_| SecretKeyError)
    }
}

impl SecretKey {
    /// The public key that belongs to it: the x coordinate, as in BIP-0340.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.x_only_public_key().0.serialize()
    }
}

/// The text of the manifest with the signature of one more maintainer. If others have signed something else, another version
/// say, their signatures are removed.
///
/// # Errors
///
/// [`SignError`].
pub fn sign(text: &str, manifest: &Manifest, program: Program, key: &SecretKey) -> Result<String, SignError> {
    let name = || manifest.name.clone();
    let (Some(signatures), Some(manifest_sha256)) = (&manifest.signatures, manifest.content_sha256) else {
        return Err(SignError::NoMaintainers { name: name() });
    };
    let public_key = key.public_key();
    if signatures.maintainers.iter().all(|maintainer| maintainer.public_key != public_key) {
        return Err(SignError::NotMaintainer { name: name(), public_key: hex(&public_key) });
    }
    let binary = &manifest.binary;
    if binary.sha256.is_some_and(|sha256| sha256 != program.sha256)
        || binary.size_bytes.is_some_and(|size| size != program.size_bytes)
    {
        return Err(SignError::OtherProgram { name: name() });
    }
    let version = manifest.version.clone();
    let signed = Signed { name: name(), version, program_sha256: program.sha256, manifest_sha256 };
    let message = Message::from_digest(statement(&signed, signatures.threshold, &signatures.maintainers));
    let signature = Secp256k1::signing_only().sign_schnorr_no_aux_rand(&message, &key.0).serialize();
    let keeps_others = signatures.signed.as_ref() == Some(&signed);
    put(text, &signed, &public_key, &signature, keeps_others)
        .ok_or_else(|| SignError::OtherText { name: name() })
}

/// Writes the signature, and what was signed, into the text; `None` if it is not that manifest.
fn put(
    text: &str,
    signed: &Signed,
    key: &[u8; 32],
    signature: &[u8; 64],
    keeps_others: bool,
) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let table = document.get_mut("signatures")?.as_table_like_mut()?;
    let mut is_put = false;
    let mut put_in = |maintainer: &mut dyn TableLike| {
        let own = maintainer.get("public_key").and_then(Item::as_str).and_then(parse::hexadecimal::<32>);
        if own.as_ref() == Some(key) {
            set(maintainer, "signature", hex(signature).into());
            is_put = true;
        } else if !keeps_others {
            maintainer.remove("signature");
        }
    };
    match table.get_mut("maintainers")? {
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| put_in(table)),
        item => item.as_array_mut()?.iter_mut().for_each(|value| {
            if let Some(table) = value.as_inline_table_mut() {
                put_in(table);
            }
        }),
    }
    let mut what = InlineTable::new();
    what.insert("name", signed.name.as_str().into());
    what.insert("version", signed.version.to_string().into());
    what.insert("program", format!("sha256:{}", hex(&signed.program_sha256)).into());
    what.insert("manifest", format!("sha256:{}", hex(&signed.manifest_sha256)).into());
    set(table, "signed", what.into());
    is_put.then(|| document.to_string())
}

/// Gives a key its value; a comment behind the old value stays.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(value));
}
