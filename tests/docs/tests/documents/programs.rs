//! What the programs take: the words of their own help, the targets of the Makefile, the packages of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::root;

/// One level of a program's command line, as its help says.
#[derive(Clone)]
pub struct Level {
    pub subcommands: BTreeSet<String>,
    pub options: BTreeSet<String>,
}

/// Asks programs for their help, each level once.
#[derive(Default)]
pub struct Helps(BTreeMap<Vec<String>, Level>);

impl Helps {
    /// Of `program`, one that is built beside the tests, behind the words of `subcommands`.
    pub fn level(&mut self, program: &str, subcommands: &[String]) -> Level {
        let key: Vec<_> = std::iter::once(program.to_owned()).chain(subcommands.iter().cloned()).collect();
        self.0.entry(key).or_insert_with(|| Level::of(&help(program, subcommands))).clone()
    }
}

impl Level {
    fn of(help: &str) -> Self {
        let mut level = Level { subcommands: BTreeSet::new(), options: BTreeSet::new() };
        let mut part = "";
        for line in help.lines() {
            if !line.starts_with(' ') {
                part = line.trim_end_matches(':');
            }
            let word = line.split_whitespace().next().unwrap_or_default();
            // Deeper lines are what is said of an option or command.
            if part == "Commands" && line.starts_with("  ") && !line.starts_with("   ") {
                level.subcommands.insert(word.to_owned());
            }
            if line.trim_start().starts_with('-') {
                let names =
                    line.split([' ', ',']).take_while(|name| name.is_empty() || name.starts_with('-'));
                level.options.extend(
                    names.filter(|name| !name.is_empty()).map(|name| name.trim_end_matches("...").to_owned()),
                );
            }
        }
        level
    }
}

fn help(program: &str, subcommands: &[String]) -> String {
    let output = Command::new(built(program)).args(subcommands).arg("--help").output().unwrap();
    assert!(output.status.success(), "{program} {subcommands:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// A program that `make build` and `make test` build before this.
pub fn built(program: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(program);
    assert!(path.is_file(), "{} is missing: build it first, make build", path.display());
    path
}

/// The Makefile.
pub struct Makefile {
    text: String,
}

impl Makefile {
    pub fn read() -> Self {
        Makefile { text: std::fs::read_to_string(root().join("Makefile")).unwrap() }
    }

    pub fn has_target(&self, name: &str) -> bool {
        self.text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")))
    }

    /// A variable of the Makefile itself, or named where a target says what it does.
    pub fn has_variable(&self, name: &str) -> bool {
        self.text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).any(|word| word == name)
    }
}

/// What Cargo can build: of each package its targets, by kind and name.
pub struct Workspace {
    targets: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Workspace {
    /// That of the tree, and that of the benchmarks against others.
    pub fn read() -> Self {
        let mut workspace = Workspace { targets: BTreeMap::new() };
        for manifest in ["Cargo.toml", "benches/baselines/Cargo.toml"] {
            workspace.add(manifest);
        }
        workspace
    }

    fn add(&mut self, manifest: &str) {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let words =
            ["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path", manifest];
        let output = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        for package in metadata["packages"].as_array().unwrap() {
            let targets = package["targets"].as_array().unwrap().iter().map(|target| {
                (target["kind"][0].as_str().unwrap().to_owned(), target["name"].as_str().unwrap().to_owned())
            });
            self.targets.insert(package["name"].as_str().unwrap().to_owned(), targets.collect());
        }
    }

    pub fn has_package(&self, name: &str) -> bool {
        self.targets.contains_key(name)
    }

    /// Of `package`, or of any if that is not said.
    pub fn has_target(&self, package: Option<&str>, kind: &str, name: &str) -> bool {
        let mut packages = self.targets.iter().filter(|(of, _)| package.is_none_or(|package| package == *of));
        packages.any(|(_, targets)| targets.contains(&(kind.to_owned(), name.to_owned())))
    }
}
