//! The files of an installed module: `module.toml` with its program's hash and size, the program, and the configuration that its
//! author ships.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use blvm_manifest::{CONFIG_FILE, MANIFEST_FILE, Manifest, hash_program};
use toml_edit::{DocumentMut, Item, Table, value};

use super::{InstallError, Source};
use crate::compile::Built;
use crate::error::FileFault;
use crate::project::Project;
use crate::signals::Signals;

/// Bytes that are copied between two looks at the signals.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes all of it into `directory`, through to the disk, and reads it as a node does.
pub(super) fn write(
    directory: &Path,
    project: &Project,
    built: &Built,
    source: &Source,
    signals: &Signals,
) -> Result<(), InstallError> {
    let program = directory.join(&project.manifest.entry_point);
    let beside = program.parent().unwrap_or(directory);
    fs::create_dir_all(beside).map_err(FileFault::at(beside, "made"))?;
    copy(&built.path, &program, 0o755, signals)?;
    let manifest = directory.join(MANIFEST_FILE);
    let text = manifest_text(project, built)?;
    create(&manifest, 0o644, |file| file.write_all(text.as_bytes()))?;
    let configuration = project.directory.join(CONFIG_FILE);
    if configuration.is_file() {
        copy(&configuration, &directory.join(CONFIG_FILE), 0o644, signals)?;
    }
    if let Some((name, text)) = source.file() {
        create(&directory.join(name), 0o644, |file| file.write_all(text.as_bytes()))?;
    }
    // From the program's directory up to this one: their entries too are on the disk.
    for place in beside.ancestors().take_while(|place| place.starts_with(directory)) {
        let synced = File::open(place).and_then(|place| place.sync_all());
        synced.map_err(FileFault::at(place, "written through to the disk"))?;
    }
    verify(directory, built)
}

/// What another `config.toml` is kept as.
const OLD_CONFIG_FILE: &str = "config.toml.old";

/// Keeps the `config.toml` of the module that is replaced, where it is another: somebody may have written there what the operator's
/// own files are for.
pub(super) fn keep_configuration(
    old: &Path,
    new: &Path,
    signals: &Signals,
) -> Result<Option<&'static str>, InstallError> {
    let (was, is) = (old.join(CONFIG_FILE), new.join(CONFIG_FILE));
    let Ok(text) = fs::read(&was) else { return Ok(None) };
    if fs::read(&is).is_ok_and(|now| now == text) {
        return Ok(None);
    }
    copy(&was, &new.join(OLD_CONFIG_FILE), 0o644, signals)?;
    Ok(Some(OLD_CONFIG_FILE))
}

/// Whether exactly this is installed there.
pub(super) fn is_same(installed: &Path, project: &Project, built: &Built) -> Result<bool, InstallError> {
    let text = manifest_text(project, built)?;
    let file = |directory: &Path, name: &str| fs::read(directory.join(name)).ok();
    let program = hash_program(&installed.join(&project.manifest.entry_point));
    Ok(file(installed, MANIFEST_FILE) == Some(text.into_bytes())
        && file(installed, CONFIG_FILE) == file(&project.directory, CONFIG_FILE)
        && program.is_ok_and(|program| program == built.program))
}

/// Reads the manifest and the program as a node does.
fn verify(directory: &Path, built: &Built) -> Result<(), InstallError> {
    let damaged = || InstallError::Damaged { path: directory.to_owned() };
    let manifest = Manifest::read(directory, directory).map_err(|_| damaged())?;
    let program = hash_program(&manifest.program).map_err(FileFault::at(&manifest.program, "read"))?;
    let said = manifest.binary.sha256.unwrap_or(program.sha256);
    if program != built.program || said != program.sha256 { Err(damaged()) } else { Ok(()) }
}

/// The author's manifest, with hash and size of the program. A signed one stays as it is, as the signatures are over it.
fn manifest_text(project: &Project, built: &Built) -> Result<String, InstallError> {
    let Manifest { name, signatures, binary, .. } = &project.manifest;
    if let Some(signed) = signatures.as_ref().and_then(|signatures| signatures.signed.as_ref()) {
        let fits = signed.program_sha256 == built.program.sha256
            && binary.sha256.is_none_or(|sha256| sha256 == built.program.sha256);
        return match fits {
            true => Ok(project.text.clone()),
            false => Err(InstallError::OtherThanSigned { name: name.clone() }),
        };
    }
    let path = project.directory.join(MANIFEST_FILE);
    let wrong = |source: toml_edit::TomlError| FileFault::at(&path, "read")(io::Error::other(source));
    let mut document: DocumentMut = project.text.parse().map_err(wrong)?;
    let table = document.entry("binary").or_insert(Item::Table(Table::new()));
    if let Some(table) = table.as_table_like_mut() {
        table.insert("hash", value(built.hash()));
        table.insert("size", value(built.program.size_bytes.cast_signed()));
    }
    Ok(document.to_string())
}

/// Copies a file, until somebody wants this to end.
fn copy(from: &Path, to: &Path, mode: u32, signals: &Signals) -> Result<(), InstallError> {
    let mut source = File::open(from).map_err(FileFault::at(from, "read"))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut is_interrupted = false;
    create(to, mode, |file| {
        loop {
            is_interrupted = signals.count() > 0;
            let count = source.read(&mut chunk)?;
            if count == 0 || is_interrupted {
                return Ok(());
            }
            file.write_all(&chunk[..count])?;
        }
    })?;
    if is_interrupted { Err(InstallError::Interrupted) } else { Ok(()) }
}

/// A new file, written through to the disk.
fn create(path: &Path, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), FileFault> {
    let written = File::create_new(path).and_then(|mut file| {
        fill(&mut file)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    });
    written.map_err(FileFault::at(path, "written; what was installed before stays"))
}
