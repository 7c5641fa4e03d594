//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::check::{self, CheckArguments};
use crate::compile::{self, BuildArguments, TestArguments};
use crate::error::{ToolError, with_causes};
use crate::install::{self, InstallArguments};
use crate::list::{self, ListArguments, RemoveArguments};
use crate::new::{self, NewArguments};
use crate::output::Output;
use crate::run::{self, ExecArguments, RunArguments};
use crate::update::{self, UpdateArguments};

/// Makes, builds, checks, tests, runs, installs and updates modules of the node.
#[derive(Debug, Parser)]
#[command(name = "cargo blvm-module", bin_name = "cargo blvm-module", version, arg_required_else_help = true)]
#[command(after_help = "A first module:
  cargo blvm-module new hello && cd hello
  cargo blvm-module run

Exit status: 0 done, 1 failed, 2 wrong use.")]
struct Cli {
    /// Print one JSON object per line on stdout, the result last.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArguments),
    Build(BuildArguments),
    Check(CheckArguments),
    Test(TestArguments),
    Run(RunArguments),
    Install(InstallArguments),
    Update(UpdateArguments),
    List(ListArguments),
    Remove(RemoveArguments),
    /// Becomes another program, which ends with the process that started this one.
    #[command(hide = true)]
    Exec(ExecArguments),
}

/// The whole program.
pub(crate) fn main() -> ExitCode {
    // Cargo gives the name of the subcommand as first argument.
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "blvm-module") {
        words.remove(1);
    }
    let is_json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            if is_json {
                complain_in_json(&first_line(&error.to_string()));
            }
            let _ = error.print();
            return ExitCode::from(2);
        }
        Err(error) => {
            // Help and version; a closed output is no error for them.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    match execute(&cli) {
        Ok(status) => status,
        Err(error) => {
            let line = with_causes(&error);
            if cli.json {
                complain_in_json(&line);
            }
            eprintln!("cargo blvm-module: {line}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: &Cli) -> Result<ExitCode, ToolError> {
    let output = Output { is_json: cli.json };
    match &cli.command {
        Command::New(arguments) => new::new(arguments, output)?,
        Command::Build(arguments) => compile::build(arguments, output)?,
        Command::Check(arguments) => check::check(arguments, output)?,
        Command::Test(arguments) => compile::test(arguments, output)?,
        Command::Run(arguments) => run::run(arguments, output)?,
        Command::Install(arguments) => install::install(arguments, output)?,
        Command::Update(arguments) => update::update(arguments, output)?,
        Command::List(arguments) => list::list(arguments, output)?,
        Command::Remove(arguments) => list::remove(arguments, output)?,
        Command::Exec(arguments) => run::exec(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The last object where results are JSON: what went wrong.
fn complain_in_json(error: &str) {
    // The exit status says it too, should nobody read this.
    let _ = Output { is_json: true }.result("", &json!({ "result": "failed", "error": error }));
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_says_what_it_does_and_shows_examples() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("cargo blvm-module {name}")), "{name}: {help}");
        }
    }
}
