//! The operator's file of trusted keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secp256k1::XOnlyPublicKey;

use crate::document::{self, Item, Mistakes, Section};
use crate::file_error::FileError;
use crate::manifest::{is_module_name, parse};
use crate::mistake::Wrong;

/// Name of the file beside `blvm.toml`, unless `blvm.toml` names another.
pub(super) const TRUST_FILE: &str = "trusted-keys.toml";

const ROOT: &[&str] = &["threshold", "keys", "modules"];
const KEY: &[&str] = &["name", "public_key", "modules"];
const MODULE: &[&str] = &["threshold"];

/// Whom the operator trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Where it stands; the file itself may be missing.
    pub path: PathBuf,
    /// The keys.
    pub keys: Vec<TrustedKey>,
    /// Signatures that any signed module needs, whatever its manifest says; at least 1.
    pub threshold: u8,
    /// The same for some modules.
    pub thresholds: BTreeMap<String, u8>,
}

/// A key that the operator trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Whose it is, in the operator's words.
    pub name: String,
    /// The x coordinate, as in BIP-0340.
    pub public_key: [u8; 32],
    /// The modules it counts for; all of them where there are none.
    pub modules: Vec<String>,
}

impl Trust {
    /// Trusts nobody.
    pub fn nobody(path: impl Into<PathBuf>) -> Self {
        Trust { path: path.into(), keys: Vec::new(), threshold: 1, thresholds: BTreeMap::new() }
    }

    /// Reads the file `asked` for, which then has to be there, or `directory/trusted-keys.toml` if there is one.
    ///
    /// # Errors
    ///
    /// [`FileError`] with everything that is wrong in it.
    pub fn read(asked: Option<&Path>, directory: &Path) -> Result<Self, FileError> {
        let path = asked.map_or_else(|| directory.join(TRUST_FILE), Path::to_owned);
        match document::read(&path, document::Author::Operator) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if asked.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::nobody(path))
            }
            Err(source) => Err(FileError::Read { path, source }),
        }
    }

    /// Reads the text of the file `path`.
    ///
    /// # Errors
    ///
    /// [`FileError::Invalid`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let mistakes = Mistakes::new(text);
        let trust =
            document::parse(text, &mistakes).map(|table| read(&Section::root(&table, &mistakes), path));
        let mistakes = mistakes.take();
        match trust {
            Some(trust) if mistakes.is_empty() => Ok(trust),
            _ => Err(FileError::Invalid { path: path.to_owned(), mistakes }),
        }
    }

    /// The key, if it is trusted with that module.
    pub(super) fn key(&self, public_key: &[u8; 32], module: &str) -> Option<&TrustedKey> {
        let counts =
            |key: &&TrustedKey| key.modules.is_empty() || key.modules.iter().any(|name| name == module);
        self.keys.iter().find(|key| key.public_key == *public_key).filter(counts)
    }

    /// Signatures that the operator wants for a module.
    pub(super) fn threshold_for(&self, module: &str) -> u8 {
        self.thresholds.get(module).copied().unwrap_or(self.threshold)
    }
}

fn read(root: &Section<'_>, path: &Path) -> Trust {
    root.allow(ROOT);
    let mut trust = Trust::nobody(path);
    trust.threshold = threshold(root).unwrap_or(1);
    for item in root.get("keys").map(|item| item.elements()).unwrap_or_default() {
        let Some(key) = key(&item) else { continue };
        // One person is not two because the key has two names.
        if trust.keys.iter().any(|other| other.public_key == key.public_key) {
            item.wrong(Wrong::Twice { value: super::hex(&key.public_key) });
        }
        trust.keys.push(key);
    }
    for (name, item) in root.section("modules").iter().flat_map(Section::items) {
        if !is_module_name(name) {
            item.wrong_key(Wrong::ModuleName { name: name.to_owned() });
        }
        let Some(table) = item.section() else { continue };
        table.allow(MODULE);
        trust.thresholds.extend(threshold(&table).map(|threshold| (name.to_owned(), threshold)));
    }
    trust
}

fn threshold(table: &Section<'_>) -> Option<u8> {
    table.get("threshold")?.number(1..=u8::MAX.into()).map(|number| number as u8)
}

fn key(item: &Item<'_>) -> Option<TrustedKey> {
    let table = item.section()?;
    table.allow(KEY);
    let name = table.need("name").and_then(|item| item.string().map(str::to_owned));
    let public_key = table.need("public_key").and_then(|item| {
        let bytes = parse::bytes::<32>(&item)?;
        if XOnlyPublicKey::from_slice(&bytes).is_err() {
            item.wrong(Wrong::PublicKey { text: item.string()?.to_owned() });
        }
        Some(bytes)
    });
    let mut modules = Vec::new();
    for (item, module) in table.get("modules").map(|item| item.strings()).unwrap_or_default() {
        match is_module_name(module) {
            true => modules.push(module.to_owned()),
            false => item.wrong(Wrong::ModuleName { name: module.to_owned() }),
        }
    }
    Some(TrustedKey { name: name?, public_key: public_key?, modules })
}
