use std::os::unix::fs::{chown, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A module `pool` with its two directories and a file of the operator's.
struct Place {
    directory: TempDir,
    manifest: Manifest,
    environment: Vec<(String, String)>,
}

impl Place {
    fn new(schema: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["module", "data"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let schema = schema.iter().map(|&key| (key.to_owned(), String::new())).collect();
        let config_schema = Some(schema).filter(|schema: &BTreeMap<_, _>| !schema.is_empty());
        let manifest =
            Manifest { config_schema, ..Manifest::new("pool", directory.path().join("module/pool")) };
        Place { directory, manifest, environment: Vec::new() }
    }

    fn with(self, file: &str, text: &str) -> Self {
        std::fs::write(self.directory.path().join(file), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn read(&self) -> Result<Configuration, ConfigurationError> {
        let node_file = NodeFile::read(None, self.directory.path())?;
        let data_directory = &self.directory.path().join("data");
        Configuration::read(ConfigurationSources {
            manifest: &self.manifest,
            data_directory,
            node_file: &node_file,
            environment: &self.environment,
        })
    }

    /// Every value, as TOML writes it, and where it comes from without the directory.
    fn shown(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        let configuration = self.read().unwrap();
        let lines = configuration.values().map(|(key, value, origin)| {
            format!("{} = {value} from {}", dotted(key), origin.to_string().replace(&directory, ""))
        });
        lines.collect()
    }

    fn mistake(&self) -> String {
        let directory = format!("{}/", self.directory.path().display());
        self.read().unwrap_err().to_string().replace(&directory, "")
    }
}

#[test]
fn each_layer_is_stronger_than_the_one_before_and_every_value_has_its_origin() {
    let place = Place::new(&[])
        .with("module/config.toml", "a = 1\nb = 1\nc = 1\nd = 1\n[fees]\nleast = 1\nmost = 1\n")
        .with("data/config.toml", "b = 2\nc = 2\nd = 2\n")
        .with(
            "blvm.toml",
            "[modules.pool]\nc = 3\nd = 3\nfees.least = 3\n[modules.pool.limits]\nmax_cpu_percent = 9\n",
        )
        .variable("MODULE_CONFIG_D", "4")
        .variable("MODULE_CONFIG_UNRELATED", "5");
    assert_eq!(
        place.shown(),
        [
            "a = 1 from module/config.toml:1",
            "b = 2 from data/config.toml:1",
            "c = 3 from blvm.toml:2",
            "d = 4 from MODULE_CONFIG_D",
            "fees.least = 3 from blvm.toml:4",
            "fees.most = 1 from module/config.toml:7",
        ]
    );
    assert_eq!(place.read().unwrap().table["fees"]["least"].as_integer(), Some(3));
    assert_eq!(Place::new(&[]).read().unwrap(), Configuration::default());
}

#[test]
fn upstream_fault_13_a_malformed_configuration_is_an_error_and_never_the_defaults() {
    let good = "port = 1\n";
    for file in ["module/config.toml", "data/config.toml"] {
        let place = Place::new(&[]).with("module/config.toml", good).with(file, "port = \n");
        assert!(place.mistake().starts_with(&format!("{file}: line 1, column ")), "{}", place.mistake());
    }
    let place = Place::new(&[]).with("module/config.toml", good).with("blvm.toml", "[modules.pool\n");
    assert!(place.mistake().starts_with("blvm.toml: line 1"), "{}", place.mistake());
    let number = Place::new(&[]).with("module/config.toml", "port = 99999999999999999999\n");
    assert!(number.mistake().ends_with("port: 99999999999999999999 is too large a number"));
    let directory = Place::new(&[]);
    std::fs::create_dir(directory.directory.path().join("data/config.toml")).unwrap();
    assert!(directory.mistake().contains("data/config.toml cannot be read"));
    let not_text = Place::new(&[]);
    std::fs::write(not_text.directory.path().join("data/config.toml"), b"\xff\xfe").unwrap();
    assert!(not_text.mistake().contains("data/config.toml cannot be read"));
}

#[test]
fn upstream_fault_13_keys_in_a_table_of_the_modules_name_are_an_error() {
    let told = "the keys stand under [pool]: write them without that table";
    let wrapped = "[pool]\nport = 1\n";
    let place = Place::new(&[]).with("module/config.toml", wrapped);
    assert!(place.mistake().contains("line 1, column 2: pool: ") && place.mistake().contains(told));
    let place = Place::new(&["port"]).with("data/config.toml", &format!("port = 2\n{wrapped}"));
    assert!(place.mistake().contains(told), "{}", place.mistake());
    let place = Place::new(&["port"]).with("data/config.toml", "[modules.pool]\nport = 1\n");
    assert!(place.mistake().contains("the keys stand under [modules.pool]"), "{}", place.mistake());
    // Where the module has such a table itself, it is read.
    assert_eq!(Place::new(&["pool.port"]).with("module/config.toml", wrapped).shown().len(), 1);
    assert_eq!(Place::new(&[]).with("module/config.toml", &format!("a = 1\n{wrapped}")).shown().len(), 2);
}

#[test]
fn with_a_schema_unknown_keys_are_told_in_every_layer_with_the_nearest() {
    let schema = ["port", "fees.least", "peers"];
    let fine = Place::new(&schema)
        .with("module/config.toml", "port = 1\nfees.least = 2\npeers = { a = { b = 1 } }\n");
    assert_eq!(fine.shown().len(), 3);
    for (text, told) in [
        ("prot = 1", "line 1, column 1: prot: unknown key; did you mean \"port\"?"),
        ("[fees]\nlast = 1", "line 2, column 1: fees.last: unknown key; did you mean \"fees.least\"?"),
        ("fees = 1", "fees: unknown key"),
        ("colour.x = 1", "colour: unknown key; known are fees.least, peers, port"),
    ] {
        for file in ["module/config.toml", "data/config.toml"] {
            let mistake = Place::new(&schema).with(file, text).mistake();
            assert!(mistake.starts_with(file) && mistake.contains(told), "{mistake}");
        }
    }
    let mistake = Place::new(&schema).with("blvm.toml", "[modules.pool]\nprot = 1\n").mistake();
    assert!(
        mistake
            .contains("blvm.toml: line 2, column 1: modules.pool.prot: unknown key; did you mean \"port\"?"),
        "{mistake}"
    );
}

#[test]
fn a_table_over_a_value_and_a_value_over_a_table_are_told() {
    let place = |weak: &str, strong: &str| {
        Place::new(&[]).with("module/config.toml", weak).with("data/config.toml", strong).mistake()
    };
    let mistake = place("fee = 1", "fee.least = 2");
    assert!(
        mistake.contains("fee: is a table, and ")
            && mistake.contains("module/config.toml:1 has an integer there")
    );
    let mistake = place("fee.least = 1", "fee = 2");
    assert!(
        mistake.contains("fee: is an integer, and ") && mistake.contains("has a table there"),
        "{mistake}"
    );
}

#[test]
fn variables_are_read_as_the_kind_a_weaker_layer_has() {
    let config = "name = \"x\"\nport = 1\nrate = 1.5\nis-on = false\nlist = [1]\nfees.\"least sat\" = 1\n";
    let with =
        |name: &str, value: &str| Place::new(&[]).with("module/config.toml", config).variable(name, value);
    for (variable, value, shown) in [
        ("MODULE_CONFIG_NAME", "12", "name = \"12\""),
        ("MODULE_CONFIG_PORT", "0x10", "port = 16"),
        ("MODULE_CONFIG_RATE", "2", "rate = 2.0"),
        ("MODULE_CONFIG_IS_ON", "true", "is-on = true"),
        ("MODULE_CONFIG_LIST", "[2, 3]", "list = [2, 3]"),
        ("MODULE_CONFIG_FEES_LEAST_SAT", "7", "fees.\"least sat\" = 7"),
    ] {
        let expected = format!("{shown} from {variable}");
        assert!(
            with(variable, value).shown().contains(&expected),
            "{expected}: {:?}",
            with(variable, value).shown()
        );
    }
    for (variable, value, told) in [
        (
            "MODULE_CONFIG_PORT",
            "many",
            "MODULE_CONFIG_PORT=\"many\": port is an integer in module/config.toml:2, and this is none",
        ),
        ("MODULE_CONFIG_IS_ON", "1", "is-on is a boolean"),
        ("MODULE_CONFIG_PORT", "1\nother = 2", "port is an integer"),
        ("MODULE_CONFIG_PORT", "", "port is an integer"),
    ] {
        let mistake = with(variable, value).mistake();
        assert!(mistake.contains(told), "{mistake}");
    }
}

#[test]
fn variables_for_described_keys_are_numbers_where_they_look_like_it_and_else_text() {
    let with = |value: &str| Place::new(&["free"]).variable("MODULE_CONFIG_FREE", value).shown();
    assert_eq!(with("7"), ["free = 7 from MODULE_CONFIG_FREE"]);
    assert_eq!(with("\"7\""), ["free = \"7\" from MODULE_CONFIG_FREE"]);
    assert_eq!(with("seven"), ["free = \"seven\" from MODULE_CONFIG_FREE"]);
    assert_eq!(with(""), ["free = \"\" from MODULE_CONFIG_FREE"]);
    let both = Place::new(&["a.b", "a_b"]).variable("MODULE_CONFIG_A_B", "1");
    assert_eq!(
        both.mistake(),
        "MODULE_CONFIG_A_B stands for each of a.b and a_b: set them in blvm.toml instead"
    );
    let table = Place::new(&["a"]).with("module/config.toml", "a.b = 1").variable("MODULE_CONFIG_A", "1");
    assert!(table.mistake().contains("a is a table and a value at once"), "{}", table.mistake());
}

#[test]
fn a_key_that_only_the_module_itself_can_have_written_opens_no_variable() {
    let place = |schema: &[&str]| {
        Place::new(schema)
            .with("data/config.toml", "secret = \"\"\n")
            .variable("MODULE_CONFIG_SECRET", "meant for another")
    };
    assert_eq!(place(&[]).shown(), ["secret = \"\" from data/config.toml:1"]);
    let given = ["secret = \"meant for another\" from MODULE_CONFIG_SECRET"];
    assert_eq!(place(&["secret"]).shown(), given);
    assert_eq!(place(&[]).with("module/config.toml", "secret = \"\"\n").shown(), given);
    assert_eq!(place(&[]).with("blvm.toml", "[modules.pool]\nsecret = \"\"\n").shown(), given);
}

#[test]
fn what_a_module_puts_in_its_data_directory_in_place_of_a_file_is_refused_without_waiting() {
    let place = Place::new(&[]).with("secret", "password = 1");
    let (secret, data) =
        (place.directory.path().join("secret"), place.directory.path().join("data/config.toml"));
    let refused = |told: &str| {
        let error = place.read().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("data/config.toml cannot be read"), "{error}");
        assert!(cause.contains(told) && !cause.contains("password"), "{cause}");
        std::fs::remove_file(&data).unwrap();
    };
    symlink(&secret, &data).unwrap();
    refused("a symbolic link");
    nix::unistd::mkfifo(&data, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("no regular file");
    std::fs::hard_link(&secret, &data).unwrap();
    refused("2 names");
    std::fs::write(&data, vec![b'#'; document::MAX_FILE_BYTES as usize + 1]).unwrap();
    refused("longer than 1048576 bytes");
    std::fs::write(&data, "fee = 1").unwrap();
    assert_eq!(place.shown(), ["fee = 1 from data/config.toml:1"]);
}

#[test]
fn in_a_modules_data_directory_files_of_other_users_are_refused() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can give files to other users");
        return;
    }
    let place = Place::new(&[]).with("data/config.toml", "fee = 1");
    let (directory, file) =
        (place.directory.path().join("data"), place.directory.path().join("data/config.toml"));
    chown(&directory, Some(61_200), None).unwrap();
    for (owner, is_read) in [(61_200, true), (0, true), (61_201, false)] {
        chown(&file, Some(owner), None).unwrap();
        assert_eq!(place.read().is_ok(), is_read, "{owner}");
    }
}

/// Values by key, as a layer of them.
type Layer = BTreeMap<&'static str, i64>;

fn layer() -> impl Strategy<Value = Layer> {
    let key = prop_oneof![Just("a"), Just("b"), Just("t.a"), Just("t.b"), Just("t.u.a"), Just("t.u.b")];
    proptest::collection::btree_map(key, any::<i64>(), 0..6)
}

fn lines(layer: &Layer) -> String {
    layer.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_strongest_layer_with_a_key_decides(layers in proptest::array::uniform4(layer())) {
        let mut place = Place::new(&["a", "b", "t.a", "t.b", "t.u"])
            .with("module/config.toml", &lines(&layers[0]))
            .with("data/config.toml", &lines(&layers[1]))
            .with("blvm.toml", &format!("[modules.pool]\n{}", lines(&layers[2])));
        let weaker: BTreeMap<_, _> = layers[..3].iter().flatten().collect();
        let mut expected: BTreeMap<String, i64> = weaker.iter().map(|(key, value)| ((**key).to_owned(), **value)).collect();
        for (key, value) in &layers[3] {
            let variable = format!("MODULE_CONFIG_{}", key.to_uppercase().replace('.', "_"));
            place = place.variable(&variable, &value.to_string());
            // Below t.u nothing is described: a variable stands for what a layer has that the module cannot write.
            if !key.starts_with("t.u.") || [0, 2].iter().any(|layer: &usize| layers[*layer].contains_key(key)) {
                expected.insert((*key).to_owned(), *value);
            }
        }
        let configuration = place.read().unwrap();
        let found: BTreeMap<_, _> =
            configuration.values().map(|(key, value, _)| (dotted(key), value.as_integer().unwrap())).collect();
        prop_assert_eq!(&found, &expected);
        // The table has these values and no others.
        let text = toml::to_string(&configuration.table).unwrap();
        let again = Place::new(&[]).with("module/config.toml", &text).read().unwrap();
        prop_assert_eq!(again.table, configuration.table);
        prop_assert_eq!(again.origins.len(), expected.len());
    }
}
