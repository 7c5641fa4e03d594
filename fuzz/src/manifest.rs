//! Target `manifest`: what a module says of itself, whoever wrote it.

use std::path::Path;

use blvm_manifest::{Manifest, ManifestError, Mistake, Program, Trust, TrustError, is_module_name};
use semver::Version;

/// Reads `data` as a manifest, and as a file of trusted keys. Says whether it is a manifest.
pub fn manifest(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let file = Path::new("module.toml");
    let trust = match Trust::parse(text, file) {
        Ok(trust) => trust,
        Err(error) => {
            one_line(&error.to_string());
            Trust::nobody(file)
        }
    };
    let manifest = match Manifest::parse(text, file) {
        Ok(manifest) => manifest,
        Err(error) => {
            one_line(&error.to_string());
            let ManifestError::Invalid { mistakes, .. } = error else { panic!("no file was read: {error}") };
            check_places(text, &mistakes);
            return false;
        }
    };
    assert_eq!(Manifest::parse(text, file).ok().as_ref(), Some(&manifest), "read twice, it is the same");
    assert!(is_module_name(&manifest.name));
    assert!(!manifest.entry_point.is_empty() && !manifest.entry_point.split('/').any(|part| part == ".."));
    assert!(!Path::new(&manifest.entry_point).is_absolute());
    let ports = manifest.sandbox.listen.iter().chain(&manifest.sandbox.connect);
    assert!(ports.into_iter().all(|port| *port != 0));
    let _ = manifest.check_compatibility(&Version::new(0, 1, 0));
    // Nobody can sign a program with this hash and be in the same file as a trusted key.
    match trust.verify(&manifest, Program { sha256: [0; 32], size_bytes: 0 }) {
        Ok(by) => panic!("signed by {by:?}"),
        Err(TrustError::NotSigned { .. }) => assert!(manifest.signatures.is_none()),
        Err(_) => {}
    }
    true
}

/// Each mistake stands in the text, in order.
fn check_places(text: &str, mistakes: &[Mistake]) {
    assert!(!mistakes.is_empty());
    let lines = text.split('\n').count();
    for mistake in mistakes {
        assert!((1..=lines).contains(&mistake.line), "{mistake} of {lines}");
        let line = text.split('\n').nth(mistake.line - 1).unwrap_or_default();
        assert!((1..=line.chars().count() + 1).contains(&mistake.column), "{mistake}: {line:?}");
    }
    assert!(mistakes.is_sorted_by_key(|mistake| (mistake.line, mistake.column)), "{mistakes:?}");
}

/// What is told fits one line of a log.
pub(crate) fn one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
