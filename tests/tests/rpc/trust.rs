//! What docs/trust.md says of signing a module, done as it says, and what is said of each fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Node, blvm, said};

const DOCUMENT: &str = include_str!("../../../docs/trust.md");

/// The commands that the document shows, in order.
fn commands() -> Vec<&'static str> {
    DOCUMENT.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

/// A node that requires signatures, and the module `pool` to be signed.
struct Signing {
    node: Node,
    programs: TempDir,
}

impl Signing {
    fn start() -> Self {
        let node = Node::start_with(&["--require-signatures"]);
        let programs = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_idle-node"), programs.path().join("blvm")).unwrap();
        Signing { node, programs }
    }

    /// Runs commands as the document shows them, beside the module's directory.
    fn run(&self, commands: &str) -> (String, String) {
        let output = Command::new("bash")
            .args(["-ec", commands])
            .current_dir(self.node.modules.path())
            .env("PATH", format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap()))
            .env("DATADIR", self.node.datadir.path())
            .env("BLVM_LOG", "error")
            .output()
            .unwrap();
        said(&output, 0)
    }

    /// Writes the manifest without a signature.
    fn write_manifest(&self, version: &str, threshold: &str, keys: &[&str]) {
        let keys = keys.iter().map(|key| format!("    {{ name = \"m\", public_key = \"{key}\" }},\n"));
        let signatures = format!(
            "capabilities = [\"read_mempool\", \"subscribe_events\"]\n# who answers for it\n[signatures]\nthreshold = \"{threshold}\" # all\nmaintainers = [\n{}]\n",
            keys.collect::<String>()
        );
        self.node.install("pool", "managed-module", version, &signatures);
    }

    fn trust(&self, keys: &[(&str, &str)]) {
        let keys =
            keys.iter().map(|(name, key)| format!("[[keys]]\nname = \"{name}\"\npublic_key = \"{key}\"\n"));
        fs::write(self.node.datadir.path().join("trusted-keys.toml"), keys.collect::<String>()).unwrap();
    }

    fn sign(&self, key: &str) {
        self.run(&format!("blvm module sign pool --key {key}"));
    }

    /// Why neither `blvm module verify` nor the node takes the module, after a look at both.
    fn refused(&self) -> String {
        let directory = self.node.files("pool");
        let directory = directory.to_str().unwrap();
        let (out, by_command) = said(&self.node.ask(&["module", "verify", directory]), 1);
        assert_eq!(out, "");
        let (_, by_node) = said(&self.node.ask(&["load", "pool"]), 1);
        let reason = by_command.strip_prefix("blvm: ").unwrap().trim_end().to_owned();
        assert!(by_node.contains(&reason), "{by_node} for {reason}");
        let (json, _) = said(&self.node.ask(&["module", "verify", directory, "--json"]), 1);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["is_trusted"], &json["fault"]), (&false.into(), &reason.as_str().into()));
        reason
    }
}

#[test]
fn a_module_is_signed_as_the_document_says_and_loaded_and_every_fault_is_told_apart() {
    let signing = Signing::start();
    let [generate, sign, verify, load] = commands()[..] else { panic!("{:?}", commands()) };
    let (keys, _) = signing.run(generate);
    let [alice, bob] = keys.lines().collect::<Vec<_>>()[..] else { panic!("{keys}") };
    signing.write_manifest("1.0.0", "2-of-2", &[alice, bob]);
    signing.trust(&[("alice", alice), ("bob", bob)]);
    assert!(signing.refused().contains("needs 2 signatures by different keys, and has 0"));
    let (told, _) = signing.run(sign);
    assert!(told.contains("it has 2 signatures, and its manifest asks for 2-of-2"), "{told}");
    let manifest = fs::read_to_string(signing.node.files("pool").join("module.toml")).unwrap();
    assert!(manifest.contains("# who answers for it") && manifest.contains("# all"), "{manifest}");
    assert_eq!(signing.run(verify).0, "pool 1.0.0 is signed by alice, bob\n");
    let (json, _) = signing.run(&format!("{verify} --json"));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["is_trusted"], &json["threshold"]), (&true.into(), &"2-of-2".into()));
    assert_eq!((&json["signed_by"], &json["fault"]), (&serde_json::json!(["alice", "bob"]), &Value::Null));
    assert!(signing.run(load).0.starts_with("module pool 1.0.0 is running"));
    signing.node.result(&["unload", "pool"]);

    // Another program, as any byte more makes it.
    let program = signing.node.files("pool").join("target/release/managed-module");
    let right = fs::read(&program).unwrap();
    fs::write(&program, [&right[..], b"x"].concat()).unwrap();
    assert!(signing.refused().contains("the program of module pool was changed after it was signed"));
    fs::write(&program, right).unwrap();
    // Another manifest.
    let path = signing.node.files("pool").join("module.toml");
    fs::write(&path, format!("description = \"x\"\n{manifest}")).unwrap();
    assert!(signing.refused().contains("the manifest of module pool was changed after it was signed"));
    // Another version.
    fs::write(&path, manifest.replacen("1.0.0", "1.0.1", 1)).unwrap();
    assert!(signing.refused().contains("are for version 1.0.0, and this is version 1.0.1"));
    // A signature of somebody else's.
    let signatures: Vec<&str> = manifest.split("signature = \"").skip(1).map(|rest| &rest[..128]).collect();
    fs::write(&path, manifest.replace(signatures[0], signatures[1])).unwrap();
    assert!(signing.refused().contains("the signature of alice on module pool is wrong"));
    // Too few.
    signing.write_manifest("1.0.0", "2-of-2", &[alice, bob]);
    signing.sign("alice.key");
    assert!(signing.refused().contains("needs 2 signatures by different keys, and has 1"));
    // A key that the operator does not trust.
    signing.sign("bob.key");
    signing.trust(&[("alice", alice)]);
    assert!(signing.refused().contains("is signed by keys that"));
    signing.trust(&[("alice", alice), ("bob", bob)]);
    assert!(signing.run(load).0.contains("is running"));
}

#[test]
fn a_key_is_private_and_never_overwritten_and_who_is_no_maintainer_signs_nothing() {
    let signing = Signing::start();
    let (public, _) = signing.run("blvm module sign --generate-key a.key --json");
    let public: Value = serde_json::from_str(&public).unwrap();
    let file = signing.node.modules.path().join("a.key");
    let secret = fs::read_to_string(&file).unwrap();
    assert_eq!((secret.len(), fs::metadata(&file).unwrap().permissions().mode() & 0o7777), (65, 0o600));
    let again = |words: &[&str], at: &std::path::Path| {
        said(&blvm(&[&["module", "sign"], words].concat()).arg(at).output().unwrap(), 1).1
    };
    let error = again(&["--generate-key"], &file);
    assert!(error.contains("never overwritten") && error.lines().count() == 1, "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), secret);
    let other = signing.node.modules.path().join("other.key");
    fs::write(&other, "no key").unwrap();
    let (b, _) = signing.run("blvm module sign --generate-key b.key");
    assert_ne!(b.trim(), public["public_key"].as_str().unwrap());
    signing.write_manifest("1.0.0", "1-of-1", &[b.trim()]);
    let pool = signing.node.files("pool");
    let before = fs::read_to_string(pool.join("module.toml")).unwrap();
    let error = again(&["--key", file.to_str().unwrap()], &pool);
    assert!(error.contains("is none of the maintainers") && error.lines().count() == 1, "{error}");
    let error = again(&["--key", other.to_str().unwrap()], &pool);
    // Written by `fs::write`: others may read it.
    assert!(error.contains("chmod 600") && error.contains("other.key holds no secret key"), "{error}");
    assert_eq!(fs::read_to_string(pool.join("module.toml")).unwrap(), before);
}
