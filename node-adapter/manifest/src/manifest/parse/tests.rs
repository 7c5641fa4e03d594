use super::*;

const GOOD: &str = "name = \"watch\"\nversion = \"0.1.0\"\nentry_point = \"watch\"\n";

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text, Path::new("modules/watch/module.toml"))
}

/// The mistakes in `GOOD` and `more`.
fn mistakes(more: &str) -> Vec<String> {
    match parse(&format!("{GOOD}{more}")) {
        Err(ManifestError::Invalid { mistakes, .. }) => mistakes.iter().map(ToString::to_string).collect(),
        other => panic!("{more}: {other:?}"),
    }
}

/// The only mistake in `GOOD` and `more`.
fn mistake(more: &str) -> String {
    let [only] = &mistakes(more)[..] else { panic!("{more}: {:?}", mistakes(more)) };
    only.clone()
}

#[test]
fn every_key_is_read() {
    let text = r#"
name = "blvm-lightning"
version = "0.2.1"
entry_point = "bin/lightning"
description = "A Lightning node"
author = "Somebody"
license = "MIT"
homepage = "https://example.org"
capabilities = ["read_blockchain", "publish:PaymentSettled", "read_mempool"]

[dependencies]
blvm-node = ">=0.1, <1"
mesh = "^0.3"

[optional_dependencies]
governance = "*"

[compatibility]
min_node_version = "0.1.0"
bus_layout = 2
schemas = { chain = "0x00000000000000ff" }

[binary]
hash = "sha256:0101010101010101010101010101010101010101010101010101010101010101"
size = 1024

[signatures]
threshold = "1-of-2"
signed = { name = "blvm-lightning", version = "0.2.0", program = "sha256:0505050505050505050505050505050505050505050505050505050505050505", manifest = "sha256:0606060606060606060606060606060606060606060606060606060606060606" }
maintainers = [
    { name = "a", public_key = "02020202020202020202020202020202020202020202020202020202020202Ff" },
    { name = "b", public_key = "0303030303030303030303030303030303030303030303030303030303030303", signature = "04040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404040404" },
]

[sandbox]
listen = [9735]
connect = [9735, 443]
memory_mb = 256
open_files = 1000
cpu_percent = 150

[config_schema]
alias = "What peers see"
channels.max = "How many channels"

[topics]
mesh_packets = {}
chain = { kinds = ["BlockDisconnected", "BlockConnected"] }
"#;
    let manifest = parse(text).unwrap();
    let constraint = |text: &str| text.parse::<VersionReq>().unwrap();
    let expected = Manifest {
        name: "blvm-lightning".to_owned(),
        version: Version::new(0, 2, 1),
        entry_point: "bin/lightning".to_owned(),
        directory: "modules/watch".into(),
        program: "modules/watch/bin/lightning".into(),
        description: Some("A Lightning node".to_owned()),
        author: Some("Somebody".to_owned()),
        license: Some("MIT".to_owned()),
        homepage: Some("https://example.org".to_owned()),
        permissions: vec![Permission::ReadBlockchain, Permission::ReadMempool],
        publishes: vec!["PaymentSettled".to_owned()],
        dependencies: BTreeMap::from([("mesh".to_owned(), constraint("^0.3"))]),
        optional_dependencies: BTreeMap::from([("governance".to_owned(), constraint("*"))]),
        compatibility: Compatibility {
            node: Some(constraint(">=0.1, <1")),
            min_node_version: Some(Version::new(0, 1, 0)),
            bus_layout: Some(2),
            schemas: BTreeMap::from([(1, 0xff)]),
        },
        binary: Binary { sha256: Some([1; 32]), size_bytes: Some(1024) },
        signatures: Some(Signatures {
            threshold: Threshold { needed: 1, of: 2 },
            maintainers: vec![
                Maintainer {
                    name: "a".to_owned(),
                    public_key: std::array::from_fn(|index| if index == 31 { 0xff } else { 2 }),
                    signature: None,
                },
                Maintainer { name: "b".to_owned(), public_key: [3; 32], signature: Some([4; 64]) },
            ],
            signed: Some(Signed {
                name: "blvm-lightning".to_owned(),
                version: Version::new(0, 2, 0),
                program_sha256: [5; 32],
                manifest_sha256: [6; 32],
            }),
        }),
        sandbox: Sandbox {
            listen: vec![9735],
            connect: vec![9735, 443],
            memory_mb: Some(256),
            open_files: Some(1000),
            cpu_percent: Some(150),
        },
        config_schema: Some(BTreeMap::from([
            ("alias".to_owned(), "What peers see".to_owned()),
            ("channels.max".to_owned(), "How many channels".to_owned()),
        ])),
        topics: vec![
            ManifestTopic { topic: 1, kinds: vec![2, 1] },
            ManifestTopic { topic: 5, kinds: Vec::new() },
        ],
        content_sha256: manifest.content_sha256,
    };
    assert_eq!(manifest, expected);
}

#[test]
fn the_shortest_manifest_asks_for_nothing() {
    let manifest = parse(GOOD).unwrap();
    let content_sha256 = manifest.content_sha256;
    assert_eq!(manifest, Manifest { content_sha256, ..Manifest::new("watch", "modules/watch/watch") });
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let error = parse("name = \"watch\"\nversion = \n").unwrap_err().to_string();
    assert!(error.starts_with("modules/watch/module.toml: line 2, column 11: "), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    let error = parse("nane = 1\nversion = \"1\"\nentry_point = \"../x\"\n[sandbox]\nlisten = [0, 70000]\n");
    let text = error.unwrap_err().to_string();
    let told = [
        "line 1, column 1: name: the key is missing",
        "line 1, column 1: nane: unknown key; did you mean \"name\"?",
        "line 2, column 11: version: \"1\" is no version",
        "line 3, column 15: entry_point: \"../x\" must be a relative path",
        "line 5, column 11: sandbox.listen[0]: must be a number from 1 to 65535",
        "line 5, column 14: sandbox.listen[1]: must be a number from 1 to 65535",
    ];
    let places: Vec<_> =
        told.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"))).collect();
    assert_eq!(text.matches("line ").count(), told.len(), "{text}");
    assert!(places[1..].is_sorted(), "{text}");
}

#[test]
fn unknown_keys_are_told_on_every_level_with_the_nearest() {
    for (more, told) in [
        ("licence = \"MIT\"", "licence: unknown key; did you mean \"license\"?"),
        ("colour = 1", "colour: unknown key; known are name, version,"),
        ("[sandbox]\nopenfiles = 9", "sandbox.openfiles: unknown key; did you mean \"open_files\"?"),
        (
            "[compatibility]\nbus-layout = 2",
            "compatibility.bus-layout: unknown key; did you mean \"bus_layout\"?",
        ),
        (
            "[compatibility.schemas]\nchains = \"0x0000000000000000\"",
            "compatibility.schemas.chains: unknown key; did you mean \"chain\"?",
        ),
        ("[binary]\nhsh = \"\"", "binary.hsh: unknown key; did you mean \"hash\"?"),
        ("[topics]\nmempol = {}", "topics.mempol: unknown key; did you mean \"mempool\"?"),
        ("[topics]\nchain = { kind = [] }", "topics.chain.kind: unknown key; did you mean \"kinds\"?"),
        ("[dependency]", "dependency: unknown key; did you mean \"dependencies\"?"),
    ] {
        let found = mistake(more);
        assert!(found.contains(told), "{found}");
    }
    let key = "public_key = \"0303030303030303030303030303030303030303030303030303030303030303\"";
    let more = format!("[signatures]\nthreshold = \"1-of-1\"\nmaintainers = [{{ nam = \"a\", {key} }}]");
    let found = mistakes(&more);
    assert!(
        found[1].contains("signatures.maintainers[0].nam: unknown key; did you mean \"name\"?"),
        "{found:?}"
    );
}

#[test]
fn values_of_another_kind_are_told_with_both_kinds() {
    for (more, told) in [
        ("author = 1", "line 4, column 10: author: must be a string, and is an integer"),
        ("capabilities = \"read_blockchain\"", "capabilities: must be an array, and is a string"),
        ("capabilities = [1]", "capabilities[0]: must be a string, and is an integer"),
        ("sandbox = 1", "sandbox: must be a table, and is an integer"),
        ("[sandbox]\nmemory_mb = 1.5", "sandbox.memory_mb: must be an integer, and is a float"),
        ("[dependencies]\nmesh = true", "dependencies.mesh: must be a string, and is a boolean"),
        ("[dependencies]\nmesh = { version = \"1\" }", "dependencies.mesh: must be a string, and is a table"),
        ("[config_schema]\nport = 9", "config_schema.port: must be a string, and is an integer"),
        ("[topics]\nchain = 2026-01-01", "topics.chain: must be a table, and is a date or time"),
    ] {
        let found = mistake(more);
        assert!(found.contains(told), "{found}");
    }
}

#[test]
fn values_out_of_bounds_are_told_with_what_is_right() {
    for (more, told) in [
        (
            "capabilities = [\"read_blockchian\"]",
            "unknown permission \"read_blockchian\"; did you mean \"read_blockchain\"?",
        ),
        ("capabilities = [\"fly\"]", "unknown permission \"fly\"; known are read_blockchain,"),
        (
            "capabilities = [\"read_mempool\", \"read_mempool\"]",
            "capabilities[1]: \"read_mempool\" stands twice",
        ),
        ("capabilities = [\"publish:\"]", "\"\" is no name of an event"),
        ("capabilities = [\"publish:Payment Settled\"]", "\"Payment Settled\" is no name of an event"),
        ("[dependencies]\nmesh = \"latest\"", "dependencies.mesh: \"latest\" is no constraint on versions"),
        ("[dependencies]\nMesh = \"1\"", "\"Mesh\" must be 1 to 64 lower-case letters"),
        ("[dependencies]\nwatch = \"1\"", "dependencies.watch: a module does not depend on itself"),
        ("[optional_dependencies]\nblvm-node = \"1\"", "put \"blvm-node\" in [dependencies]"),
        (
            "[compatibility]\nmin_node_version = \"0.1\"",
            "compatibility.min_node_version: \"0.1\" is no version",
        ),
        ("[compatibility]\nbus_layout = -1", "must be a number from 0 to 4294967295"),
        ("[compatibility.schemas]\nchain = \"ff\"", "\"ff\" must be \"0x\" and 16 hexadecimal digits"),
        ("[binary]\nhash = \"md5:00\"", "must be \"sha256:\" and 64 hexadecimal digits"),
        ("[binary]\nsize = -1", "must be a number from 0 to"),
        ("[sandbox]\nconnect = [443, 443]", "sandbox.connect[1]: \"443\" stands twice"),
        ("[sandbox]\ncpu_percent = 0", "must be a number from 1 to 100000"),
        (
            "[topics]\nchain = { kinds = [\"BlockConected\"] }",
            "unknown kind \"BlockConected\"; did you mean \"BlockConnected\"?",
        ),
    ] {
        let found = mistake(more);
        assert!(found.contains(told), "{found}");
    }
    let both = "[dependencies]\nmesh = \"1\"\n[optional_dependencies]\nmesh = \"1\"";
    assert!(mistake(both).contains("optional_dependencies.mesh: stands in [dependencies] too"));
}

#[test]
fn thresholds_that_nobody_can_reach_are_told() {
    let key = "0303030303030303030303030303030303030303030303030303030303030303";
    let of = |threshold: &str, maintainers: usize| {
        let maintainer = format!("{{ name = \"a\", public_key = \"{key}\" }},");
        mistake(&format!(
            "[signatures]\nthreshold = \"{threshold}\"\nmaintainers = [{}]",
            maintainer.repeat(maintainers)
        ))
    };
    assert!(of("3-of-2", 2).contains("\"3-of-2\" is impossible"));
    assert!(of("0-of-2", 2).contains("\"0-of-2\" is impossible"));
    assert!(of("2-of-3", 2).contains("counts 3 maintainers, and 2 are listed"));
    assert!(of("two of three", 2).contains("as in \"2-of-3\""));
    assert!(
        mistakes("[signatures]").iter().any(|told| told.contains("signatures.threshold: the key is missing"))
    );
    let short = "[signatures]\nthreshold = \"1-of-1\"\nmaintainers = [{ name = \"a\", public_key = \"03\" }]";
    assert!(
        mistake(short).contains("signatures.maintainers[0].public_key: \"03\" must be 64 hexadecimal digits")
    );
}

#[test]
fn names_of_modules_are_bounded() {
    let long = "a".repeat(MAX_NAME_BYTES);
    assert!(is_module_name(&long) && is_module_name("block-watch") && is_module_name("0"));
    for wrong in ["", "Watch", "a_b", "../x", "a/b", "enabled", "blvm-node", "ü", &format!("{long}a")] {
        assert!(!is_module_name(wrong), "{wrong}");
        let text = GOOD.replacen("watch", wrong, 1);
        assert!(parse(&text).unwrap_err().to_string().contains("lower-case"), "{wrong}");
    }
}

#[test]
fn versions_are_bounded() {
    let of = |length: usize| parse(&GOOD.replace("0.1.0", &format!("0.1.0-{}", "a".repeat(length - 6))));
    assert!(of(MAX_NAME_BYTES).is_ok());
    let message = of(MAX_NAME_BYTES + 1).unwrap_err().to_string();
    assert!(message.contains("version: must have at most 64 bytes"), "{message}");
}

#[test]
fn entry_points_stay_in_the_modules_directory() {
    for wrong in ["", "..", "../watch", "/bin/sh", "a/../../b", "."] {
        let text = GOOD.replace("point = \"watch\"", &format!("point = \"{wrong}\""));
        assert!(parse(&text).unwrap_err().to_string().contains("without \"..\""), "{wrong}");
    }
    assert!(parse(&GOOD.replace("point = \"watch\"", "point = \"target/release/watch\"")).is_ok());
}
