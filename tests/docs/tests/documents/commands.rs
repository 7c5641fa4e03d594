//! Every command that a document shows is there: a subcommand and options that the program's own help names, a target of the
//! Makefile, a package of the workspace. Documents whose commands a test runs are named with that test.
//!
//! | command in a block | is |
//! |---|---|
//! | in a document of `RUN` | run, by the test named there |
//! | `blvm …`, `make run …` in another | run without what stands in brackets (`running.rs`), and every option held against the help |
//! | `cargo blvm-module …` | held against its help |
//! | `make TARGET` | one of `make test`'s, or of the checks that README lists |
//! | `cargo run … --bin bus-bench -- …` | held against the program's help |
//! | other `cargo …`, `scripts/…` | packages, targets and files are there |
//!
//! What a `text` block shows as a command, and what stands in backticks, is held against the help alone.

use std::path::Path;

use super::markdown::documents;
use super::programs::{Helps, Makefile, Workspace};
use super::{assert_none, root};

/// Documents of which a test runs every command, and the test.
pub const RUN: [(&str, &str); 3] = [
    ("docs/first-module.md", "tests/first-module"),
    ("docs/rpc.md", "tests/tests/rpc/main.rs"),
    ("docs/trust.md", "tests/tests/rpc/trust.rs"),
];

/// Programs of the system. A document that uses one is run by a test.
const OF_THE_SYSTEM: [&str; 3] = ["cd", "curl", "export"];

struct Checker {
    helps: Helps,
    makefile: Makefile,
    workspace: Workspace,
}

impl Checker {
    fn new() -> Self {
        Checker { helps: Helps::default(), makefile: Makefile::read(), workspace: Workspace::read() }
    }

    /// What is wrong with a command; `Ok(false)` if it is none of ours.
    fn check(&mut self, command: &str) -> Result<bool, String> {
        let words = shlex::split(command).ok_or("quotes that do not end")?;
        // Variables before the program.
        let words: Vec<_> = words.into_iter().skip_while(|word| is_assignment(word)).collect();
        let Some((program, arguments)) = words.split_first() else { return Ok(false) };
        match program.as_str() {
            "make" => self.check_make(arguments),
            "cargo" if arguments.first().is_some_and(|word| word == "blvm-module") => {
                self.check_program("cargo-blvm-module", &arguments[1..])
            }
            "cargo" => self.check_cargo(arguments),
            "blvm" | "target/release/blvm" => self.check_program("blvm", arguments),
            script if script.starts_with("scripts/") => {
                if root().join(script).is_file() {
                    Ok(())
                } else {
                    Err(format!("there is no {script}"))
                }
            }
            _ => return Ok(false),
        }
        .map(|()| true)
    }

    fn check_program(&mut self, program: &str, words: &[String]) -> Result<(), String> {
        let mut subcommands: Vec<String> = Vec::new();
        let top = self.helps.level(program, &[]);
        let mut level = top.clone();
        for word in words {
            // Brackets and bars of a synopsis, and what ends a command.
            let word = word.trim_start_matches(['[', '(']).trim_end_matches([']', ')', '…']);
            if word == "--" || word == "|" || word.is_empty() {
                continue;
            }
            if word.starts_with('-') {
                let option = word.split('=').next().unwrap_or(word);
                if !level.options.contains(option) && !top.options.contains(option) {
                    return Err(format!("{program} {} has no {option}", subcommands.join(" ")));
                }
            } else if !level.subcommands.is_empty() {
                // `load|unload`: all of them are.
                let names: Vec<_> = word.split('|').collect();
                if subcommands.is_empty() && program == "blvm" && is_of_a_module(word) {
                    return Ok(());
                }
                if let Some(name) = names.iter().find(|name| !level.subcommands.contains(**name)) {
                    return Err(format!("{program} {} has no {name}", subcommands.join(" ")));
                }
                subcommands.push(names[0].to_owned());
                level = self.helps.level(program, &subcommands);
            }
        }
        Ok(())
    }

    fn check_make(&mut self, words: &[String]) -> Result<(), String> {
        for word in words {
            match word.split_once('=') {
                Some(("ARGS", arguments)) if words.first().is_some_and(|target| target == "run") => {
                    let words = shlex::split(arguments).ok_or("quotes that do not end")?;
                    self.check_program("blvm", &[vec!["run".to_owned()], words].concat())?;
                }
                Some((name, _)) if !self.makefile.has_variable(name) => {
                    return Err(format!("the Makefile knows no {name}"));
                }
                None if !self.makefile.has_target(word) && !is_placeholder(word) => {
                    return Err(format!("the Makefile has no target {word}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Packages and targets of the workspace; what stands behind `--` is the program's own, and looked at where that is ours.
    fn check_cargo(&mut self, words: &[String]) -> Result<(), String> {
        if words.iter().any(|word| word == "--manifest-path")
            || words.first().is_none_or(|word| word == "install")
        {
            return Ok(());
        }
        if words.iter().any(|word| word == "bus-bench")
            && let Some(own) = words.iter().position(|word| word == "--")
        {
            self.check_program("bus-bench", &words[own + 1..])?;
        }
        let pairs = || words.iter().zip(words.iter().skip(1)).take_while(|(word, _)| *word != "--");
        let package = pairs().find(|(option, _)| *option == "-p").map(|(_, name)| name.as_str());
        if let Some(package) = package.filter(|package| !self.workspace.has_package(package)) {
            return Err(format!("the workspace has no package {package}"));
        }
        for (option, name) in pairs() {
            let kind = option.trim_start_matches("--");
            if option.starts_with("--") && ["bin", "bench", "test", "example"].contains(&kind) {
                let name = name.trim_end_matches(['`', ',', '.']);
                if !self.workspace.has_target(package, kind, name) {
                    return Err(format!("{} has no {kind} {name}", package.unwrap_or("the workspace")));
                }
            }
        }
        Ok(())
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    })
}

/// `NAME`, `…`: something stands for it.
fn is_placeholder(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_uppercase() || "_…$".contains(letter))
}

/// The commands of modules are their own: those of the examples are known by their directories.
fn is_of_a_module(word: &str) -> bool {
    is_placeholder(word) || root().join("sdk/examples").join(word).join("module.toml").is_file()
}

/// The commands of a block, continued lines put together, comments taken off.
pub fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim().to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn every_command_of_every_document_is_run_or_known() {
    let mut checker = Checker::new();
    let (mut wrong, mut run, mut known) = (Vec::new(), 0, 0);
    for document in documents() {
        let is_run = RUN.iter().any(|(name, _)| document.path == Path::new(name));
        for block in document.blocks.iter().filter(|block| block.language() == "sh") {
            for line in commands(&block.text) {
                for command in line.split(" && ") {
                    *(if is_run { &mut run } else { &mut known }) += 1;
                    let program = command.split_whitespace().next().unwrap_or_default();
                    match checker.check(command) {
                        Ok(true) => {}
                        Ok(false) if is_run && OF_THE_SYSTEM.contains(&program) => {}
                        Ok(false) => wrong
                            .push(format!("{}: nothing is known of {command:?}", document.place(block.line))),
                        Err(error) => {
                            wrong.push(format!("{}: {command:?}: {error}", document.place(block.line)))
                        }
                    }
                }
            }
        }
        let shown = document.blocks.iter().filter(|block| block.language() == "text").flat_map(|block| {
            let lines = block.text.lines().zip(block.line..);
            lines.map(|(text, line)| (line, text.to_owned()))
        });
        let shown: Vec<_> = shown.collect();
        for (line, code) in document.code.iter().chain(&shown) {
            let is_command =
                ["blvm ", "make ", "cargo ", "scripts/"].iter().any(|begin| code.starts_with(begin));
            if is_command && let Err(error) = checker.check(code) {
                wrong.push(format!("{}: {code:?}: {error}", document.place(*line)));
            }
        }
    }
    assert_none(&wrong);
    eprintln!("commands in blocks: {run} in documents that a test runs, {known} known to their programs");
    assert!(run >= 20 && known >= 20, "{run} and {known}");
}

/// A target is part of `make test` by what it does, or README says what it is for: who shows another has to put it there.
#[test]
fn every_target_that_is_shown_is_one_of_the_tests_or_of_the_checks() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let checks: Vec<_> =
        readme.lines().filter_map(|line| line.strip_prefix("| `make ")?.split(['`', ' ']).next()).collect();
    assert!(checks.contains(&"test") && checks.contains(&"soak"), "{checks:?}");
    // `run` by running.rs, `build` by tests/first-module.
    let is_run = |target: &str| ["run", "build"].contains(&target) || checks.contains(&target);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in documents() {
        for block in document.blocks.iter().filter(|block| block.language() == "sh") {
            for line in commands(&block.text) {
                let Some(target) = line.split("make ").nth(1).and_then(|rest| rest.split(' ').next()) else {
                    continue;
                };
                count += 1;
                if !is_run(target) {
                    wrong.push(format!("{}: make {target}: nobody runs it", document.place(block.line)));
                }
            }
        }
    }
    assert_none(&wrong);
    assert!(count >= 5, "{count}");
}

#[test]
fn documents_that_are_run_are_read_by_the_test_that_runs_them() {
    for (document, test) in RUN {
        let text = std::fs::read_to_string(root().join(test)).unwrap();
        let reads = match test.ends_with(".rs") {
            // Read into a constant, which is used again, by a program that starts others.
            true => {
                text.contains(&format!("const DOCUMENT: &str = include_str!(\"../../../{document}\");"))
                    && text.matches("DOCUMENT").count() >= 2
                    && text.contains("Command::new(\"bash\")")
            }
            // A script, which `make test` runs.
            false => {
                let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
                text.contains(&format!("chapter=$repository/{document}\n"))
                    && makefile.contains(&format!(" {test}\n"))
            }
        };
        assert!(reads, "{test} does not read {document}");
    }
}

#[test]
fn what_is_not_there_is_found() {
    let mut checker = Checker::new();
    for right in [
        "blvm run --module DIR --for 5s",
        "blvm module logs NAME [--follow] [-n LINES]",
        "blvm --datadir DIR NAME ARGUMENT",
        "cargo blvm-module install --path DIR --json",
        "SOAK_SEED=1 make soak SOAK_SECONDS=5",
        "make run ARGS=\"--demo --for 20s\"",
        "cargo bench -p blvm-benches --bench module -- --quick",
    ] {
        assert_eq!(checker.check(right), Ok(true), "{right}");
    }
    for wrong in [
        "blvm walk",
        "blvm run --modul DIR",
        "blvm module log NAME",
        "cargo blvm-module instal",
        "make tests",
        "make run ARGS=\"--dmo\"",
        "make soak SOAK_HOURS=1",
        "cargo bench -p blvm-bench",
        "cargo bench -p blvm-benches --bench modules",
        "scripts/nothing",
        "cargo run --release -p blvm-benches --bin bus-bench -- one-way --byte 96",
        "cargo run --release -p blvm-benches --bin bus-bench -- sleep",
    ] {
        assert!(checker.check(wrong).is_err(), "{wrong}");
    }
    assert_eq!(checker.check("curl x"), Ok(false));
}
