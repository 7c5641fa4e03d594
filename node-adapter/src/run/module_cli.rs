//! `blvm NAME COMMAND…`: what is no command of `blvm` may be one of a loaded module.

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::RunError;
use super::cli::{NodeArguments, nearest_command};
use super::rpc_client::{AskError, Client};
use super::status::write_line;
use crate::plain::printable;

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
    let specs = match specs(&node).await {
        Err(RunError::Ask(AskError::NotRunning { path })) => {
            let path = path.display();
            return Err(unknown(&format!("(and no node runs on {path} whose modules might have it)")));
        }
        outcome => outcome?,
    };
    let named = |key: &str| specs.iter().find(|spec| spec[key] == module);
    let Some(spec) = named("module").or_else(|| named("name")) else {
        let names: Vec<_> = specs.iter().filter_map(|spec| spec["name"].as_str()).collect();
        let names = if names.is_empty() { "no command".to_owned() } else { names.join(", ") };
        return Err(unknown(&format!("(loaded modules have {names})")));
    };
    let arguments: Vec<_> = words.collect();
    let wants_help =
        arguments.first().is_some_and(|first| ["help", "--help", "-h"].contains(&first.as_str()))
            || (arguments.is_empty() && has_commands(spec));
    if wants_help {
        help(spec).iter().try_for_each(|line| write_line(&printable(line)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let params = json!({ "module": module, "arguments": arguments });
    let result = Client::of(&node)?.ask("runmodulecli", params).await?;
    let status = result["status"].as_u64().and_then(|status| u8::try_from(status).ok()).unwrap_or(1);
    if node.json {
        write_line(&result.to_string())?;
        return Ok(ExitCode::from(status));
    }
    let said = |key: &str| printable(result[key].as_str().unwrap_or_default().trim_end_matches('\n'));
    match said("output") {
        text if text.is_empty() => {}
        text => write_line(&text)?,
    }
    match said("error") {
        text if text.is_empty() => {}
        text => eprintln!("{text}"),
    }
    Ok(ExitCode::from(status))
}

async fn specs(node: &NodeArguments) -> Result<Vec<Value>, RunError> {
    let specs = Client::of(node)?.ask("getmoduleclispecs", json!({})).await?;
    Ok(specs.as_array().cloned().unwrap_or_default())
}

fn has_commands(spec: &Value) -> bool {
    spec["commands"].as_array().is_some_and(|commands| !commands.is_empty())
}

/// What a module's command does, and how it is used.
fn help(spec: &Value) -> Vec<String> {
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let mut lines = vec![text(spec, "about"), String::new()];
    let name = text(spec, "name");
    let all = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let mut usage = |command: &Value, words: String| {
        let arguments = all(command, "arguments");
        let shown: Vec<_> = arguments.iter().map(shown).collect();
        lines.push([&[format!("blvm {words}")][..], &shown].concat().join(" "));
        let about = text(command, "about");
        if command["commands"].is_null() && !about.is_empty() {
            lines.push(format!("    {about}"));
        }
        for argument in &arguments {
            lines.push(format!("    {}: {}", text(argument, "name"), text(argument, "about")));
        }
    };
    if has_commands(spec) {
        for command in all(spec, "commands") {
            let words = format!("{name} {}", text(&command, "name"));
            usage(&command, words);
        }
    } else {
        usage(spec, name.clone());
    }
    lines
}

fn shown(argument: &Value) -> String {
    let name = argument["name"].as_str().unwrap_or_default();
    let shown = match argument["form"].as_str() {
        Some("option") => format!("--{name} VALUE"),
        Some("flag") => format!("--{name}"),
        _ => name.to_uppercase(),
    };
    if argument["is_required"] == true { shown } else { format!("[{shown}]") }
}
