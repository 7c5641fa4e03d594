//! `blvm module …`, and the short forms `blvm load`, `unload` and `reload`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::RunError;
use super::cli::{MetricsArguments, ModuleCommand, NamedModule, NodeArguments};
use super::module_metrics::{self, Figures};
use super::module_text;
use super::rpc_client::{AskError, Client};
use super::status::write_line;
use super::trust_command;
use crate::module::ModuleInfo;

/// Does it, and says what came of it.
pub(super) async fn run(command: ModuleCommand) -> Result<ExitCode, RunError> {
    match command {
        ModuleCommand::List(node) => {
            let text = |modules: Vec<ModuleInfo>| module_text::table(&modules);
            ask(&node, "listmodules", json!({}), text).await
        }
        ModuleCommand::Show(of) => {
            let text = |shown: Shown| module_text::card(&shown.module, shown.metrics);
            named(of, "getmoduleinfo", text).await
        }
        ModuleCommand::Load(of) => {
            named(of, "loadmodule", |module: ModuleInfo| module_text::at_work(&module)).await
        }
        ModuleCommand::Reload(of) => {
            named(of, "reloadmodule", |module: ModuleInfo| module_text::at_work(&module)).await
        }
        ModuleCommand::Unload(NamedModule { name, node }) => {
            ask(&node, "unloadmodule", json!({ "name": name }), |result: Value| {
                let names = result["stopped"].as_array().into_iter().flatten().filter_map(Value::as_str);
                names.map(|name| format!("module {name} is unloaded")).collect()
            })
            .await
        }
        ModuleCommand::Metrics(MetricsArguments { name, prometheus, node }) => {
            let text = |figures: Vec<Figures>| match prometheus {
                true => module_metrics::prometheus(&figures),
                false => module_metrics::lines(&figures),
            };
            let params = name.map_or_else(|| json!({}), |name| json!({ "name": name }));
            ask(&node, "getmodulemetrics", params, text).await
        }
        ModuleCommand::Logs(arguments) => super::module_logs::run(arguments).await,
        ModuleCommand::Sign(arguments) => trust_command::add_signature(&arguments),
        ModuleCommand::Verify(arguments) => trust_command::verify(&arguments),
    }
}

/// What `getmoduleinfo` answers.
#[derive(serde::Deserialize)]
struct Shown {
    #[serde(flatten)]
    module: ModuleInfo,
    /// Series that it reports.
    metrics: u64,
}

async fn named<T: serde::de::DeserializeOwned>(
    of: NamedModule,
    method: &str,
    text: impl FnOnce(T) -> Vec<String>,
) -> Result<ExitCode, RunError> {
    ask(&of.node, method, json!({ "name": of.name }), text).await
}

/// Asks, and prints the result: as it is, or in words.
async fn ask<T: serde::de::DeserializeOwned>(
    node: &NodeArguments,
    method: &str,
    params: Value,
    text: impl FnOnce(T) -> Vec<String>,
) -> Result<ExitCode, RunError> {
    let result = Client::of(node)?.ask(method, params).await?;
    if node.json {
        write_line(&result.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let result = serde_json::from_value(result).map_err(AskError::Other)?;
    text(result).iter().try_for_each(|line| write_line(line))?;
    Ok(ExitCode::SUCCESS)
}
