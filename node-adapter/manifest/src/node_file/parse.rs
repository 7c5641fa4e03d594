//! From the text of `blvm.toml` to what it says.

use std::path::Path;
use std::time::Duration;

use super::{LimitDefaults, LimitOverrides, LogLevel, ModuleTable, ModulesTable, NodeFile};
use crate::document::{self, Item, Mistakes, Section};
use crate::file_error::FileError;
use crate::manifest::{is_module_name, parse as manifest};
use crate::mistake::Wrong;

const ROOT: &[&str] = &["modules", "module_resource_limits"];
const MODULES: &[&str] = &[
    "enabled",
    "modules_dir",
    "data_dir",
    "socket_dir",
    "enabled_modules",
    "disabled_modules",
    "registry_url",
    "watch_enabled",
    "watch_auto_load",
    "watch_auto_unload",
    "require_signatures",
    "trusted_keys",
];
const DEFAULTS: &[&str] = &[
    "default_max_cpu_percent",
    "default_max_memory_bytes",
    "default_max_file_descriptors",
    "default_max_child_processes",
    "startup_deadline_ms",
    "stop_deadline_ms",
    "default_log_level",
];
const LIMITS: &[&str] = &[
    "max_cpu_percent",
    "max_memory_bytes",
    "max_file_descriptors",
    "max_child_processes",
    "startup_deadline_ms",
    "stop_deadline_ms",
    "listen",
    "connect",
    "log_level",
];

/// The table of a module's limits in the table of its configuration.
pub(crate) const LIMITS_TABLE: &str = "limits";

/// Every key of `blvm.toml` by the table it stands in; `""` is the file itself, `NAME` any module.
pub const NODE_FILE_KEYS: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("modules", MODULES),
    ("modules", &["NAME"]),
    ("modules.NAME", &["*", LIMITS_TABLE]),
    ("modules.NAME.limits", LIMITS),
    ("module_resource_limits", DEFAULTS),
];

pub(super) fn node_file(text: &str, path: &Path) -> Result<NodeFile, FileError> {
    let mistakes = Mistakes::new(text);
    let file =
        document::parse(text, &mistakes).map(|table| read(&Section::root(&table, &mistakes), path, text));
    let mistakes = mistakes.take();
    match file {
        Some(file) if mistakes.is_empty() => Ok(file),
        _ => Err(FileError::Invalid { path: path.to_owned(), mistakes }),
    }
}

/// What the file says; worth something only if no mistake is noted.
fn read(root: &Section<'_>, path: &Path, text: &str) -> NodeFile {
    for (name, item) in root.items().filter(|(name, _)| !ROOT.contains(name)) {
        let is_like_known = crate::nearest::nearest(name, ROOT.iter().copied()).is_some();
        if item.value.is_table() && is_module_name(name) && !is_like_known {
            item.wrong_key(Wrong::ModuleTable { name: name.to_owned() });
        } else {
            item.unknown_key(name, ROOT);
        }
    }
    NodeFile {
        path: path.to_owned(),
        text: text.to_owned(),
        modules: root.section("modules").map(|table| modules(&table)).unwrap_or_default(),
        limits: root.section("module_resource_limits").map(|table| defaults(&table)).unwrap_or_default(),
    }
}

fn modules(table: &Section<'_>) -> ModulesTable {
    let boolean = |name| table.get(name).and_then(|item| item.boolean());
    let path = |name| table.string(name).map(Into::into);
    let mut read = ModulesTable {
        enabled: boolean("enabled").unwrap_or(true),
        modules_dir: path("modules_dir"),
        data_dir: path("data_dir"),
        socket_dir: path("socket_dir"),
        enabled_modules: names(table, "enabled_modules"),
        disabled_modules: names(table, "disabled_modules"),
        registry_url: table.string("registry_url"),
        watch_enabled: boolean("watch_enabled").unwrap_or(false),
        watch_auto_load: boolean("watch_auto_load").unwrap_or(false),
        watch_auto_unload: boolean("watch_auto_unload").unwrap_or(false),
        require_signatures: boolean("require_signatures").unwrap_or(false),
        trusted_keys: path("trusted_keys"),
        ..ModulesTable::default()
    };
    for (name, item) in table.items().filter(|(name, _)| !MODULES.contains(name)) {
        module(name, &item, &mut read);
    }
    read
}

/// A pin, or a module's table.
fn module(name: &str, item: &Item<'_>, read: &mut ModulesTable) {
    let is_misspelt = crate::nearest::nearest(name, MODULES.iter().copied()).is_some();
    if !is_module_name(name) || (is_misspelt && !item.value.is_table() && !is_constraint(item)) {
        item.unknown_key(name, MODULES);
    } else if item.value.is_table() {
        read.tables.extend(item.section().map(|table| (name.to_owned(), module_table(&table))));
    } else if item.value.is_str() {
        read.pins.extend(manifest::constraint(item).map(|pin| (name.to_owned(), pin)));
    } else {
        item.wrong(Wrong::ModuleEntry);
    }
}

fn is_constraint(item: &Item<'_>) -> bool {
    item.value.as_str().is_some_and(|text| text.parse::<semver::VersionReq>().is_ok())
}

fn names(table: &Section<'_>, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (item, name) in table.get(name).map(|item| item.strings()).unwrap_or_default() {
        match is_module_name(name) {
            true => names.push(name.to_owned()),
            false => item.wrong(Wrong::ModuleName { name: name.to_owned() }),
        }
    }
    names
}

fn module_table(table: &Section<'_>) -> ModuleTable {
    // Numbers that nothing holds are noted here: the rest is read with the module's other layers.
    table.plain();
    ModuleTable { limits: table.section(LIMITS_TABLE).map(|table| limits(&table)).unwrap_or_default() }
}

fn limits(table: &Section<'_>) -> LimitOverrides {
    table.allow(LIMITS);
    no_children(table, "max_child_processes");
    let ports = |name| table.get(name).map(|_| manifest::ports(table, name));
    LimitOverrides {
        max_cpu_percent: cpu_percent(table, "max_cpu_percent"),
        max_memory_bytes: memory_bytes(table, "max_memory_bytes"),
        max_file_descriptors: descriptors(table, "max_file_descriptors"),
        startup_deadline: deadline(table, "startup_deadline_ms"),
        stop_deadline: deadline(table, "stop_deadline_ms"),
        listen: ports("listen"),
        connect: ports("connect"),
        log_level: log_level(table, "log_level"),
    }
}

fn defaults(table: &Section<'_>) -> LimitDefaults {
    table.allow(DEFAULTS);
    no_children(table, "default_max_child_processes");
    let usual = LimitDefaults::default();
    LimitDefaults {
        max_cpu_percent: cpu_percent(table, "default_max_cpu_percent").unwrap_or(usual.max_cpu_percent),
        max_memory_bytes: memory_bytes(table, "default_max_memory_bytes").unwrap_or(usual.max_memory_bytes),
        max_file_descriptors: descriptors(table, "default_max_file_descriptors")
            .unwrap_or(usual.max_file_descriptors),
        startup_deadline: deadline(table, "startup_deadline_ms").unwrap_or(usual.startup_deadline),
        stop_deadline: deadline(table, "stop_deadline_ms").unwrap_or(usual.stop_deadline),
        log_level: log_level(table, "default_log_level").unwrap_or(usual.log_level),
    }
}

fn cpu_percent(table: &Section<'_>, name: &str) -> Option<u32> {
    table.get(name)?.number(1..=100_000).map(|number| number as u32)
}

fn memory_bytes(table: &Section<'_>, name: &str) -> Option<u64> {
    table.get(name)?.number(1 << 20..=1 << 40)
}

fn descriptors(table: &Section<'_>, name: &str) -> Option<u64> {
    table.get(name)?.number(16..=1 << 20)
}

/// From a tenth of a second to an hour.
fn deadline(table: &Section<'_>, name: &str) -> Option<Duration> {
    table.get(name)?.number(100..=3_600_000).map(Duration::from_millis)
}

fn log_level(table: &Section<'_>, name: &str) -> Option<LogLevel> {
    let item = table.get(name)?;
    let text = table.string(name)?;
    let found = LogLevel::ALL.into_iter().find(|level| level.name() == text);
    if found.is_none() {
        item.unknown_name("level", &text, LogLevel::ALL.into_iter().map(LogLevel::name));
    }
    found
}

fn no_children(table: &Section<'_>, name: &str) {
    if let Some(item) = table.get(name)
        && item.number(0..=u64::from(u32::MAX)).is_some_and(|children| children > 0)
    {
        item.wrong(Wrong::ChildProcesses);
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::super::LeftOut;
    use super::*;
    use crate::manifest::Manifest;

    fn parse(text: &str) -> Result<NodeFile, FileError> {
        NodeFile::parse(text, Path::new("/etc/blvm/blvm.toml"))
    }

    #[test]
    fn every_key_is_read() {
        let file = parse(
            "[modules]\nenabled = false\nmodules_dir = \"modules\"\ndata_dir = \"/var/lib/blvm\"\nsocket_dir = \"s\"\n\
             enabled_modules = [\"mesh\"]\ndisabled_modules = [\"pool\"]\nregistry_url = \"index.toml\"\n\
             watch_enabled = true\nwatch_auto_load = true\nwatch_auto_unload = true\nrequire_signatures = true\n\
             trusted_keys = \"keys.toml\"\nblock-watch = \"0.1.*\"\n[modules.pool]\nport = 3333\n\
             [modules.pool.limits]\nmax_cpu_percent = 75\nmax_memory_bytes = 1048576\nmax_file_descriptors = 2048\n\
             max_child_processes = 0\nstartup_deadline_ms = 100\nstop_deadline_ms = 200\nlisten = [1]\nconnect = [2]\nlog_level = \"debug\"\n\
             [module_resource_limits]\ndefault_max_cpu_percent = 1\ndefault_max_memory_bytes = 1048577\n\
             default_max_file_descriptors = 16\ndefault_max_child_processes = 0\nstartup_deadline_ms = 300\nstop_deadline_ms = 400\ndefault_log_level = \"off\"\n",
        )
        .unwrap();
        let milliseconds = Duration::from_millis;
        let expected = ModulesTable {
            enabled: false,
            modules_dir: Some("modules".into()),
            data_dir: Some("/var/lib/blvm".into()),
            socket_dir: Some("s".into()),
            enabled_modules: vec!["mesh".to_owned()],
            disabled_modules: vec!["pool".to_owned()],
            registry_url: Some("index.toml".to_owned()),
            watch_enabled: true,
            watch_auto_load: true,
            watch_auto_unload: true,
            require_signatures: true,
            trusted_keys: Some("keys.toml".into()),
            pins: [("block-watch".to_owned(), "0.1.*".parse().unwrap())].into(),
            tables: [(
                "pool".to_owned(),
                ModuleTable {
                    limits: LimitOverrides {
                        max_cpu_percent: Some(75),
                        max_memory_bytes: Some(1 << 20),
                        max_file_descriptors: Some(2048),
                        startup_deadline: Some(milliseconds(100)),
                        stop_deadline: Some(milliseconds(200)),
                        listen: Some(vec![1]),
                        connect: Some(vec![2]),
                        log_level: Some(LogLevel::Debug),
                    },
                },
            )]
            .into(),
        };
        assert_eq!(file.modules, expected);
        let limits = LimitDefaults {
            max_cpu_percent: 1,
            max_memory_bytes: (1 << 20) + 1,
            max_file_descriptors: 16,
            startup_deadline: milliseconds(300),
            stop_deadline: milliseconds(400),
            log_level: LogLevel::Off,
        };
        assert_eq!(file.limits, limits);
        assert_eq!(file.resolve(Path::new("modules")), Path::new("/etc/blvm/modules"));
        assert_eq!(file.resolve(Path::new("/var")), Path::new("/var"));
        assert_eq!(file.named_modules().collect::<Vec<_>>(), ["mesh", "pool", "block-watch", "pool"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_is_near() {
        for (text, told) in [
            ("[module]", "line 1, column 2: module: unknown key; did you mean \"modules\"?"),
            ("[pool]\nport = 1", "pool: a module's table is called [modules.pool]"),
            ("colour = 1", "colour: unknown key; known are modules, module_resource_limits"),
            (
                "[modules]\nmodule_dir = \"x\"",
                "modules.module_dir: unknown key; did you mean \"modules_dir\"?",
            ),
            ("[modules]\nenable = true", "modules.enable: unknown key; did you mean \"enabled\"?"),
            (
                "[modules]\nwatch-enabled = \"yes\"",
                "modules.watch-enabled: unknown key; did you mean \"watch_enabled\"?",
            ),
            ("[modules]\nenabled = \"yes\"", "modules.enabled: must be a boolean, and is a string"),
            ("[modules]\nmesh = \"newest\"", "modules.mesh: \"newest\" is no constraint"),
            ("[modules]\nmesh = 1", "modules.mesh: must be a constraint on the module's version, or a table"),
            (
                "[modules]\nenabled_modules = [\"Mesh\"]",
                "modules.enabled_modules[0]: \"Mesh\" must be 1 to 64",
            ),
            (
                "[modules.mesh.limits]\nmax_memory = 1",
                "modules.mesh.limits.max_memory: unknown key; did you mean \"max_memory_bytes\"?",
            ),
            (
                "[modules.mesh.limits]\nlisten = [0]",
                "modules.mesh.limits.listen[0]: must be a number from 1 to 65535",
            ),
            (
                "[modules.mesh.limits]\nlog_level = \"debgu\"",
                "modules.mesh.limits.log_level: unknown level \"debgu\"; did you mean \"debug\"?",
            ),
            ("[modules.mesh.limits]\nmax_child_processes = 1", "must be 0: no module starts other processes"),
            (
                "[modules.mesh]\nkey = 99999999999999999999",
                "modules.mesh.key: 99999999999999999999 is too large a number",
            ),
            ("[module_resource_limits]\nmax_cpu_percent = 1", "did you mean \"default_max_cpu_percent\"?"),
            ("[module_resource_limits]\nstop_deadline_ms = 0", "must be a number from 100 to 3600000"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains(told) && error.starts_with("/etc/blvm/blvm.toml: line "),
                "{text}: {error}"
            );
            assert_eq!(error.matches("line ").count(), 1, "{error}");
        }
    }

    #[test]
    fn lists_and_pins_decide_what_is_loaded_and_disabling_wins() {
        let module = |name: &str| Manifest { version: Version::new(0, 1, 7), ..Manifest::new(name, name) };
        let admits = |text: &str, name: &str| parse(text).unwrap().admits(&module(name));
        assert_eq!(admits("", "mesh"), Ok(()));
        assert_eq!(admits("[modules]\nenabled = false", "mesh"), Err(LeftOut::Off));
        let lists = "[modules]\nenabled_modules = [\"mesh\", \"pool\"]\ndisabled_modules = [\"pool\"]\n";
        assert_eq!(admits(lists, "mesh"), Ok(()));
        assert_eq!(admits(lists, "pool"), Err(LeftOut::Disabled { name: "pool".to_owned() }));
        assert_eq!(admits(lists, "other"), Err(LeftOut::NotEnabled { name: "other".to_owned() }));
        assert_eq!(admits("[modules]\nmesh = \"0.1.*\"", "mesh"), Ok(()));
        let error = admits("[modules]\nmesh = \"0.2.*\"", "mesh").unwrap_err().to_string();
        assert_eq!(error, "module mesh is pinned to 0.2.*, and version 0.1.7 is installed");
    }

    #[test]
    fn a_file_asked_for_has_to_be_there_and_the_usual_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = NodeFile::read(None, directory.path()).unwrap();
        assert_eq!(file, NodeFile::empty(directory.path().join("blvm.toml")));
        let error = NodeFile::read(Some(&file.path), directory.path()).unwrap_err();
        assert!(matches!(error, FileError::Read { .. }), "{error}");
        std::fs::write(&file.path, "[modules]\nenabled = false\n").unwrap();
        assert!(!NodeFile::read(None, directory.path()).unwrap().modules.enabled);
        std::fs::write(&file.path, "[modules\n").unwrap();
        assert!(NodeFile::read(None, directory.path()).is_err(), "never the defaults");
    }
}
