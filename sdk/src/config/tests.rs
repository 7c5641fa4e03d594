use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Settings {
    above_sat_per_vb: u64,
    listen: u16,
    name: String,
    mode: Mode,
    pool: Pool,
    ratio: f64,
    since: Option<toml::value::Datetime>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Off,
    Slow,
    Paced {
        per_second: u32,
    },
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Pool {
    user: String,
    #[serde(default)]
    fees: Vec<u8>,
    #[serde(default)]
    by_peer: BTreeMap<String, u8>,
}

impl Default for Settings {
    fn default() -> Self {
        let (name, mode, pool) = ("none".to_owned(), Mode::Off, Pool::default());
        Settings { above_sat_per_vb: 7, listen: 1, name, mode, pool, ratio: 0.5, since: None }
    }
}

fn of_file(key: &[&str], line: usize) -> ConfigOrigin {
    let key = key.iter().map(|key| (*key).to_owned()).collect();
    ConfigOrigin { key, origin: format!("/etc/blvm.toml:{line}"), variable: None }
}

fn of_variable(key: &[&str], text: &str) -> ConfigOrigin {
    let origin = format!("MODULE_CONFIG_{}", key.join("_").to_uppercase());
    ConfigOrigin { origin, variable: Some(text.to_owned()), ..of_file(key, 0) }
}

/// Each mistake in words.
fn wrong(text: &str, origins: &[ConfigOrigin]) -> Vec<String> {
    let error = read::<Settings>(text, origins, "fee-alarm").unwrap_err();
    error.mistakes().iter().map(ToString::to_string).collect()
}

#[test]
fn values_of_every_kind_are_read() {
    let text = "above_sat_per_vb = 9\nratio = 2\nsince = 2026-01-01\n[mode.paced]\nper_second = 3\n[pool]\nuser = \"u\"\nfees = [1, 2]\nby_peer = { a = 1 }";
    let pool =
        Pool { user: "u".to_owned(), fees: vec![1, 2], by_peer: BTreeMap::from([("a".to_owned(), 1)]) };
    let expected = Settings {
        above_sat_per_vb: 9,
        ratio: 2.0,
        mode: Mode::Paced { per_second: 3 },
        pool,
        since: Some("2026-01-01".parse().unwrap()),
        ..Settings::default()
    };
    assert_eq!(read::<Settings>(text, &[], ""), Ok(expected));
    assert_eq!(read::<Settings>("", &[], ""), Ok(Settings::default()));
    assert_eq!(read::<Settings>("mode = \"slow\"", &[], "").unwrap().mode, Mode::Slow);
    assert_eq!(read::<crate::module::NoSettings>("", &[], ""), Ok(crate::module::NoSettings {}));
}

#[test]
fn a_mistake_names_key_value_origin_and_what_is_expected() {
    let cases = [
        (
            "above_sat_per_vb = \"ten\"",
            of_variable(&["above_sat_per_vb"], "ten"),
            "above_sat_per_vb: the string \"ten\" stands there, expected a whole number, 0 or more (MODULE_CONFIG_ABOVE_SAT_PER_VB)",
        ),
        (
            "above_sat_per_vb = -1",
            of_file(&["above_sat_per_vb"], 4),
            "above_sat_per_vb: the number -1 stands there, expected a whole number, 0 or more (/etc/blvm.toml:4)",
        ),
        (
            "listen = 65536",
            of_file(&["listen"], 2),
            "listen: the number 65536 stands there, expected a whole number from 0 to 65535 (/etc/blvm.toml:2)",
        ),
        (
            "name = 7",
            of_file(&["name"], 3),
            "name: the number 7 stands there, expected a string (/etc/blvm.toml:3)",
        ),
        (
            "pool = { user = \"u\", fees = [1, 2, 300] }",
            of_file(&["pool", "fees"], 5),
            "pool.fees[2]: the number 300 stands there, expected a whole number from 0 to 255 (/etc/blvm.toml:5)",
        ),
        (
            "pool = { user = \"u\", by_peer = { \"a b\" = true } }",
            of_file(&["pool", "by_peer", "a b"], 6),
            "pool.by_peer.\"a b\": true stands there, expected a whole number from 0 to 255 (/etc/blvm.toml:6)",
        ),
        (
            "pool = 3",
            of_file(&["pool"], 1),
            "pool: the number 3 stands there, expected a table (/etc/blvm.toml:1)",
        ),
        (
            "mode = \"slwo\"",
            of_file(&["mode"], 1),
            "mode: \"slwo\" stands there; did you mean \"slow\"? (/etc/blvm.toml:1)",
        ),
        (
            "mode = 3",
            of_file(&["mode"], 1),
            "mode: the number 3 stands there, expected one of off, slow, paced (/etc/blvm.toml:1)",
        ),
        (
            "mode.paced.per_second = \"x\"",
            of_file(&["mode", "paced", "per_second"], 1),
            "mode.paced.per_second: the string \"x\" stands there, expected a whole number from 0 to 4294967295 (/etc/blvm.toml:1)",
        ),
    ];
    for (text, origin, expected) in cases {
        assert_eq!(wrong(text, &[of_file(&["other"], 9), origin]), [expected], "{text}");
    }
}

#[test]
fn an_unknown_key_is_an_error_whatever_serde_was_told_and_names_the_nearest() {
    let origin = of_file(&["above_sat_per_vbyte"], 2);
    let expected = "above_sat_per_vbyte: unknown key; did you mean \"above_sat_per_vb\"? (/etc/blvm.toml:2)";
    assert_eq!(wrong("above_sat_per_vbyte = 3", &[origin]), [expected]);
    let expected = "pool.colour: unknown key; known are user, fees, by_peer";
    assert_eq!(wrong("[pool]\nuser = \"u\"\ncolour = 1", &[]), [expected]);
    let error = read::<crate::module::NoSettings>("a = 1", &[], "").unwrap_err();
    assert_eq!(error.mistakes()[0].to_string(), "a: unknown key; there is none to give here");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_twice() {
    let text = "abov = 1\nlisten = \"x\"\nratio = \"y\"\n[pool]\nuser = 3\nfees = [1, true, 300]\n";
    let told = wrong(text, &[]);
    let keys: Vec<_> = told.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(keys, ["abov", "listen", "pool.fees[1]", "pool.user", "ratio"]);
    let error = read::<Settings>(text, &[], "fee-alarm").unwrap_err();
    let advice = "`blvm config show fee-alarm` prints each value and where it comes from";
    assert!(error.to_string().ends_with(advice), "{error}");
    // More are not counted.
    let many: String = (0..100).map(|number| format!("key{number} = 1\n")).collect();
    assert_eq!(wrong(&many, &[]).len(), MAX_MISTAKES);
}

#[test]
fn a_missing_key_says_how_it_is_set() {
    let error = read::<Settings>("[pool]\nfees = []", &[], "fee-alarm").unwrap_err();
    assert_eq!(error.mistakes()[0].to_string(), "pool.user: the key is missing");
    let text = error.to_string();
    for part in ["blvm config set modules.fee-alarm.pool.user=VALUE", "MODULE_CONFIG_POOL_USER"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_number_given_as_text_in_a_variable_is_the_text_where_a_text_is_wanted() {
    let of = |text: &str, toml: &str| {
        let read = read::<Settings>(&format!("name = {toml}"), &[of_variable(&["name"], text)], "");
        read.unwrap().name
    };
    assert_eq!(of("7", "7"), "7");
    assert_eq!(of("1e3", "1000.0"), "1e3");
    assert_eq!(of("true", "true"), "true");
    assert_eq!(of("x", "\"x\""), "x");
}

#[test]
fn what_is_no_toml_names_its_line_and_hostile_values_are_one_short_line() {
    let told = wrong("a = 1\nb = = 2\n", &[]);
    assert!(told[0].starts_with("line 2: "), "{told:?}");
    let text = format!("name = [\"\"]\nmode = \"{}\\n\\u001b[31m\"", "x".repeat(100_000));
    for line in wrong(&text, &[]) {
        assert!(line.len() < 400 && !line.chars().any(char::is_control), "{line}");
    }
}

#[test]
fn a_time_is_no_struct_of_one_field() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        pool: Named,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Named {
        name: String,
    }
    let error = read::<Outer>("pool = 2020-01-01", &[], "").unwrap_err();
    let expected = "pool: the time 2020-01-01 stands there, expected a table";
    assert_eq!(error.mistakes()[0].to_string(), expected);
}

#[test]
fn what_serde_keeps_back_needs_deny_unknown_fields() {
    #[derive(Debug, Deserialize)]
    struct Lenient {
        #[serde(flatten)]
        pool: Pool,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(flatten)]
        pool: Pool,
    }
    let wrong = "user = \"u\"\nusr = \"v\"";
    assert_eq!(read::<Lenient>(wrong, &[], "").unwrap().pool.user, "u");
    let error = read::<Strict>(wrong, &[], "").unwrap_err();
    assert_eq!(error.mistakes()[0].to_string(), "unknown field `usr`");
    assert_eq!(read::<Strict>("user = \"u\"\nfees = [1]", &[], "").unwrap().pool.fees, [1]);
}
