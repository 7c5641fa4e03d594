use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::manifest::Manifest;

/// The key of maintainer `number`.
fn key(number: u8) -> SecretKey {
    hex(&[number; 32]).parse().unwrap()
}

fn public(number: u8) -> String {
    hex(&key(number).public_key())
}

const PROGRAM: Program = Program { sha256: [7; 32], size_bytes: 100 };

fn unsigned(threshold: &str, maintainers: &[u8]) -> String {
    let listed = maintainers
        .iter()
        .map(|number| format!("{{ name = \"m{number}\", public_key = \"{}\" }},", public(*number)));
    format!(
        "# kept\nname = \"pool\"\nversion = \"1.0.0\"\nentry_point = \"pool\"\n[sandbox]\nlisten = [3333]\n\
         [signatures]\nthreshold = \"{threshold}\"\nmaintainers = [{}]\n",
        listed.collect::<String>()
    )
}

fn read(text: &str) -> Manifest {
    Manifest::parse(text, Path::new("pool/module.toml")).unwrap()
}

/// A manifest of some maintainers that some of them have signed.
fn signed(threshold: &str, maintainers: &[u8], signers: &[u8]) -> String {
    let mut text = unsigned(threshold, maintainers);
    for signer in signers {
        text = sign(&text, &read(&text), PROGRAM, &key(*signer)).unwrap();
    }
    text
}

/// An operator who trusts some.
fn trust(numbers: &[u8]) -> Trust {
    let keys = numbers.iter().map(|number| {
        format!("[[keys]]\nname = \"trusted {number}\"\npublic_key = \"{}\"\n", public(*number))
    });
    Trust::parse(&keys.collect::<String>(), Path::new("trusted-keys.toml")).unwrap()
}

fn refused(text: &str, program: Program, trusted: &[u8]) -> String {
    trust(trusted).verify(&read(text), program).unwrap_err().to_string()
}

#[test]
fn enough_signatures_by_trusted_keys_are_right() {
    let text = signed("2-of-3", &[1, 2, 3], &[3, 1]);
    assert!(text.starts_with("# kept\nname"), "{text}");
    assert_eq!(trust(&[1, 2, 3]).verify(&read(&text), PROGRAM).unwrap(), ["trusted 1", "trusted 3"]);
    let by_tables = "name = \"pool\"\nversion = \"1.0.0\"\nentry_point = \"pool\"\n[signatures]\nthreshold = \"1-of-1\"\n[[signatures.maintainers]]\nname = \"m\"\npublic_key = \"KEY\"\n";
    let by_tables = by_tables.replace("KEY", &public(1));
    let by_tables = sign(&by_tables, &read(&by_tables), PROGRAM, &key(1)).unwrap();
    assert_eq!(trust(&[1]).verify(&read(&by_tables), PROGRAM).unwrap(), ["trusted 1"]);
}

#[test]
fn signing_anew_keeps_comments_and_every_other_key() {
    let text = format!(
        "# first\nname = \"pool\" # the name\nversion = \"1.0.0\"\nentry_point = \"pool\"\n\n[sandbox] # ports\nlisten = [3333]\n\n\
         [signatures]\n# how many\nthreshold = \"1-of-1\" # one\nsigned = {{ name = \"pool\", version = \"0.9.0\", program = \"sha256:{hash}\", manifest = \"sha256:{hash}\" }} # what\n\
         [[signatures.maintainers]] # me\nname = \"m\"\npublic_key = \"{key}\" # mine\nsignature = \"{signature}\" # old\n# last\n",
        hash = "11".repeat(32),
        key = public(1),
        signature = "22".repeat(64),
    );
    let signed = sign(&text, &read(&text), PROGRAM, &key(1)).unwrap();
    assert_eq!(trust(&[1]).verify(&read(&signed), PROGRAM).unwrap(), ["trusted 1"]);
    let others = |text: &str| {
        let lines =
            text.lines().filter(|line| !line.starts_with("signed =") && !line.starts_with("signature ="));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(others(&signed), others(&text));
    for (key, comment) in [("signed =", "# what"), ("signature =", "# old")] {
        let line = signed.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.ends_with(comment) && !text.contains(line), "{line}");
    }
}

#[test]
fn a_changed_program_is_told_apart() {
    let text = signed("1-of-1", &[1], &[1]);
    let other = Program { sha256: [8; 32], ..PROGRAM };
    assert!(refused(&text, other, &[1]).contains("was changed after it was signed: its SHA-256 is 0808"));
    let pinned =
        format!("{}[binary]\nhash = \"sha256:{}\"\nsize = 100\n", unsigned("1-of-1", &[1]), hex(&[7; 32]));
    assert!(refused(&pinned, other, &[]).contains("its manifest says 0707"));
    assert!(
        refused(&pinned, Program { size_bytes: 99, ..PROGRAM }, &[])
            .contains("it has 99 bytes, and its manifest says 100")
    );
}

#[test]
fn a_changed_manifest_is_told_apart() {
    let text = signed("1-of-1", &[1], &[1]);
    for changed in [
        text.replace("[3333]", "[22]"),
        text.replace("\"pool\"\n[sandbox]", "\"pool2\"\n[sandbox]"),
        text.replace("[sandbox]", "capabilities = [\"submit_block\"]\n[sandbox]"),
    ] {
        assert_eq!(
            refused(&changed, PROGRAM, &[1]),
            "the manifest of module pool was changed after it was signed"
        );
    }
    let commented = text.replace("[sandbox]", "\n# a comment\n[ sandbox ]");
    assert!(trust(&[1]).verify(&read(&commented), PROGRAM).is_ok());
}

#[test]
fn signatures_for_another_name_or_version_are_told_apart() {
    let text = signed("1-of-1", &[1], &[1]);
    let renamed = text.replacen("name = \"pool\"", "name = \"pond\"", 1);
    assert_eq!(refused(&renamed, PROGRAM, &[1]), "the signatures of module pond are for the module pool");
    let newer = text.replacen("1.0.0", "1.0.1", 1);
    assert_eq!(
        refused(&newer, PROGRAM, &[1]),
        "the signatures of module pool are for version 1.0.0, and this is version 1.0.1"
    );
    // Who changes what is said to be signed too has no signature for it.
    let both = text
        .replace("1.0.0", "1.0.1")
        .replace(&hex(&read(&text).content_sha256.unwrap()), &hex(&read(&newer).content_sha256.unwrap()));
    assert!(refused(&both, PROGRAM, &[1]).contains("the signature of trusted 1 on module pool is wrong"));
}

#[test]
fn keys_that_the_operator_does_not_trust_count_for_nothing_and_are_named() {
    let text = signed("1-of-2", &[1, 2], &[2]);
    let message = refused(&text, PROGRAM, &[1]);
    assert!(message.contains("trusted-keys.toml does not trust with it: m2 ("), "{message}");
    assert!(message.contains(&public(2)) && message.ends_with("0 of 1 signatures count"), "{message}");
    let elsewhere = format!("[[keys]]\nname = \"a\"\npublic_key = \"{}\"\nmodules = [\"mesh\"]\n", public(2));
    let elsewhere = Trust::parse(&elsewhere, Path::new("trusted-keys.toml")).unwrap();
    assert!(matches!(elsewhere.verify(&read(&text), PROGRAM), Err(TrustError::UntrustedKeys { .. })));
    // The name in the manifest is the signer's word: the key decides.
    let borrowed = text.replace("\"m2\"", "\"m1\"");
    assert!(matches!(trust(&[1]).verify(&read(&borrowed), PROGRAM), Err(TrustError::UntrustedKeys { .. })));
}

#[test]
fn a_wrong_signature_is_told_apart() {
    let text = signed("1-of-2", &[1, 2], &[1, 2]);
    let [first, second] =
        [0, 1].map(|index| read(&text).signatures.unwrap().maintainers[index].signature.unwrap());
    let damaged = text.replace(&hex(&first), &hex(&[9; 64]));
    assert!(
        refused(&damaged, PROGRAM, &[1, 2]).contains("the signature of trusted 1 on module pool is wrong")
    );
    let swapped = text.replace(&hex(&first), &hex(&second));
    assert!(refused(&swapped, PROGRAM, &[1, 2]).contains("trusted 1 on module pool is wrong"));
}

#[test]
fn too_few_signatures_are_told_and_one_key_counts_once() {
    let one = signed("2-of-3", &[1, 2, 3], &[1]);
    assert_eq!(
        refused(&one, PROGRAM, &[1, 2, 3]),
        "module pool needs 2 signatures by different keys, and has 1"
    );
    let twice = signed("2-of-2", &[1, 1], &[1]);
    let signatures = read(&twice).signatures.unwrap().maintainers;
    assert!(signatures.iter().all(|maintainer| maintainer.signature.is_some()));
    assert_eq!(refused(&twice, PROGRAM, &[1]), "module pool needs 2 signatures by different keys, and has 1");
    assert_eq!(
        refused(&unsigned("1-of-1", &[1]), PROGRAM, &[1]),
        "module pool needs 1 signatures by different keys, and has 0"
    );
}

#[test]
fn a_threshold_is_signed_and_the_operators_own_is_the_least() {
    let text = signed("2-of-2", &[1, 2], &[1]);
    for lowered in [
        text.replace("2-of-2", "1-of-2"),
        text.replace("2-of-2", "1-of-1")
            .replace(&format!(",{{ name = \"m2\", public_key = \"{}\" }}", public(2)), ""),
        text.replace(&public(2), &public(3)),
    ] {
        assert_ne!(lowered, text);
        assert!(
            refused(&lowered, PROGRAM, &[1, 2]).contains("another threshold or other maintainers"),
            "{lowered}"
        );
    }
    let text = signed("1-of-2", &[1, 2], &[1]);
    let mut trust = trust(&[1, 2]);
    assert!(trust.verify(&read(&text), PROGRAM).is_ok());
    trust.thresholds.insert("pool".to_owned(), 2);
    assert!(matches!(
        trust.verify(&read(&text), PROGRAM),
        Err(TrustError::TooFew { valid: 1, needed: 2, .. })
    ));
    trust.thresholds.clear();
    trust.threshold = 2;
    assert!(matches!(
        trust.verify(&read(&text), PROGRAM),
        Err(TrustError::TooFew { valid: 1, needed: 2, .. })
    ));
}

#[test]
fn upstream_fault_08_hash_and_signatures_are_looked_at_before_every_start() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("pool");
    std::fs::write(&program, "first").unwrap();
    let manifest = |text: &str| Manifest { program: program.clone(), ..read(text) };
    let first = hash_program(&program).unwrap();
    let text = unsigned("1-of-1", &[1]);
    let text = sign(&text, &read(&text), first, &key(1)).unwrap();
    for _ in 0..2 {
        let (found, verdict) = trust(&[1]).admit(&manifest(&text), true).unwrap();
        assert!(found == first && matches!(verdict, Verdict::Signed { by } if by == ["trusted 1"]));
    }
    std::fs::write(&program, "other").unwrap();
    // A change is refused even by who asks for no signatures.
    for requires_signatures in [true, false] {
        let error = trust(&[1]).admit(&manifest(&text), requires_signatures).unwrap_err();
        assert!(matches!(error, TrustError::ProgramChanged { .. }), "{error}");
    }
    std::fs::remove_file(&program).unwrap();
    let error = trust(&[1]).admit(&manifest(&text), false).unwrap_err();
    assert!(matches!(error, TrustError::Unreadable { .. }), "{error}");
}

#[test]
fn unsigned_modules_start_unless_signatures_are_required() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("pool");
    std::fs::write(&program, "program").unwrap();
    let manifest = Manifest::new("pool", &program);
    let (_, verdict) = trust(&[1]).admit(&manifest, false).unwrap();
    assert!(matches!(verdict, Verdict::Unproven(TrustError::NotSigned { .. })));
    assert_eq!(trust(&[1]).admit(&manifest, true).unwrap_err().to_string(), "module pool is not signed");
}

#[test]
fn the_signature_is_that_of_the_document() {
    let text = signed("1-of-1", &[1], &[1]);
    let manifest = read(&text);
    let signatures = manifest.signatures.unwrap();
    let message =
        statement(signatures.signed.as_ref().unwrap(), signatures.threshold, &signatures.maintainers);
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trust.md")).unwrap();
    for (what, bytes) in [
        ("public key", &key(1).public_key()[..]),
        ("manifest", &manifest.content_sha256.unwrap()),
        ("message", &message),
        ("signature", &signatures.maintainers[0].signature.unwrap()),
    ] {
        assert!(document.contains(&hex(bytes)), "docs/trust.md: {what} {}", hex(bytes));
    }
}

#[test]
fn who_is_no_maintainer_signs_nothing_and_a_new_version_drops_old_signatures() {
    let text = signed("2-of-2", &[1, 2], &[1]);
    assert!(matches!(sign(&text, &read(&text), PROGRAM, &key(3)), Err(SignError::NotMaintainer { .. })));
    let newer = text.replacen("1.0.0", "1.1.0", 1);
    let newer = sign(&newer, &read(&newer), PROGRAM, &key(2)).unwrap();
    let signatures = read(&newer).signatures.unwrap().maintainers;
    assert!(signatures[0].signature.is_none() && signatures[1].signature.is_some());
    assert!(matches!(sign("a = 1", &read(&text), PROGRAM, &key(1)), Err(SignError::OtherText { .. })));
    let bare = "name = \"pool\"\nversion = \"1.0.0\"\nentry_point = \"pool\"\n";
    assert!(matches!(sign(bare, &read(bare), PROGRAM, &key(1)), Err(SignError::NoMaintainers { .. })));
    for wrong in ["", "00", &"0".repeat(64), &"f".repeat(64), &"g".repeat(64)] {
        assert!(wrong.parse::<SecretKey>().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_wrong_in_the_file_of_trusted_keys_is_told() {
    let key = |more: &str| format!("[[keys]]\nname = \"a\"\npublic_key = \"{}\"\n{more}", public(1));
    for (text, told) in [
        ("treshold = 1", "treshold: unknown key; did you mean \"threshold\"?"),
        ("threshold = 0", "threshold: must be a number from 1 to 255"),
        (&key("module = []"), "keys[0].module: unknown key; did you mean \"modules\"?"),
        (&key(&key("")), "stands twice"),
        ("[[keys]]\nname = \"a\"\npublic_key = \"00\"\n", "must be 64 hexadecimal digits"),
        (
            &format!("[[keys]]\nname = \"a\"\npublic_key = \"{}\"\n", "f".repeat(64)),
            "is no public key of BIP-0340",
        ),
        ("[modules.Pool]\nthreshold = 1", "modules.Pool: \"Pool\" must be 1 to 64"),
        ("[modules.pool]\nkeys = 1", "modules.pool.keys: unknown key"),
    ] {
        let error = Trust::parse(text, Path::new("trusted-keys.toml")).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    assert!(Trust::read(None, directory.path()).unwrap().keys.is_empty());
    assert!(Trust::read(Some(&directory.path().join("keys.toml")), directory.path()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_verdict_is_that_of_counting(
        maintainers in proptest::sample::subsequence(vec![1u8, 2, 3, 4], 1..=4),
        signs in proptest::array::uniform4(any::<bool>()),
        trusts in proptest::array::uniform4(any::<bool>()),
        needed in 1usize..=4,
    ) {
        let needed = needed.min(maintainers.len());
        let is = |set: [bool; 4], number: u8| set[usize::from(number) - 1];
        let signers: Vec<_> = maintainers.iter().copied().filter(|number| is(signs, *number)).collect();
        let trusted: Vec<_> = (1..=4).filter(|number| is(trusts, *number)).collect();
        let text = signed(&format!("{needed}-of-{}", maintainers.len()), &maintainers, &signers);
        let count = signers.iter().filter(|number| is(trusts, **number)).count();
        match trust(&trusted).verify(&read(&text), PROGRAM) {
            Ok(by) => prop_assert!(count >= needed && by.len() == count),
            Err(TrustError::TooFew { valid, .. } | TrustError::UntrustedKeys { valid, .. }) => {
                prop_assert!(count < needed && valid == count);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
