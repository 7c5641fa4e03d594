//! `blvm rpc`: any method of a running node.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::RunError;
use super::cli::RpcArguments;
use super::rpc_client::Client;
use super::status::write_line;
use crate::plain::printable;

/// Calls the method and prints its result.
pub(super) async fn run(arguments: RpcArguments) -> Result<ExitCode, RunError> {
    let params = params(&arguments.params).map_err(RunError::Usage)?;
    let result = Client::of(&arguments.node)?.ask(&arguments.method, params).await?;
    print(&result, arguments.node.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a result: as one line of JSON, or for people.
pub(super) fn print(result: &Value, as_json: bool) -> Result<(), RunError> {
    match result {
        result if as_json => write_line(&result.to_string()),
        Value::Null => Ok(()),
        // It may be a module's answer.
        Value::String(text) => write_line(&printable(text)),
        result => write_line(&printable(&format!("{result:#}"))),
    }
}

/// Parameters from words: one JSON object or list, `NAME=VALUE` each, or values in their order.
fn params(words: &[String]) -> Result<Value, String> {
    if let [only] = words
        && only.starts_with(['{', '['])
    {
        return serde_json::from_str(only).map_err(|error| format!("the parameters are no JSON: {error}"));
    }
    let named: Vec<_> = words.iter().map_while(|word| name_and_value(word)).collect();
    if named.is_empty() {
        return Ok(words.iter().map(|word| value(word)).collect());
    }
    if named.len() < words.len() {
        return Err(format!(
            "the parameter \"{}\" has no name: give all of them as NAME=VALUE, or none, or one JSON object",
            words[named.len()]
        ));
    }
    let mut params = Map::new();
    for (name, given) in named {
        if params.insert(name.to_owned(), value(given)).is_some() {
            return Err(format!("the parameter {name} is given twice"));
        }
    }
    Ok(params.into())
}

fn name_and_value(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((name, value))
}

fn value(word: &str) -> Value {
    serde_json::from_str(word).unwrap_or_else(|_| Value::from(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(words: &[&str]) -> Result<Value, String> {
        params(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parameters_are_read_by_name_in_order_and_as_json() {
        assert_eq!(read(&[]), Ok(json!([])));
        assert_eq!(read(&["name=watch", "deep=true"]), Ok(json!({"name": "watch", "deep": true})));
        assert_eq!(read(&["a=b=c", "x="]), Ok(json!({"a": "b=c", "x": ""})));
        assert_eq!(read(&["watch", "7", "[1]", "\"8\""]), Ok(json!(["watch", 7, [1], "8"])));
        assert_eq!(read(&["{\"name\": \"watch\"}"]), Ok(json!({"name": "watch"})));
        assert_eq!(read(&["[\"watch\"]"]), Ok(json!(["watch"])));
        assert_eq!(read(&["-1", "=7"]), Ok(json!([-1, "=7"])));
        for (words, said) in [
            (&["{name: 7}"][..], "no JSON"),
            (&["name=watch", "seven"], "\"seven\" has no name"),
            (&["a=1", "a=2"], "a is given twice"),
        ] {
            assert!(read(words).unwrap_err().contains(said), "{words:?}");
        }
    }
}
