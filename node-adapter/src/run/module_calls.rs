//! What modules offer through JSON-RPC: their methods, and their commands.

use std::time::Duration;

use blvm_bus::request::{CliArgument, CliArgumentForm, CommandOutput, ModuleError};
use jsonrpsee_server::types::ErrorObjectOwned;
use serde_json::{Value, json};

use super::module_json;
use crate::module::{CallFailure, ModuleCommand, Registry, RegistryError};
use crate::rpc::error::{
    BUSY, MODULE_FAILED, MODULE_GONE, NO_SUCH_COMMAND, TIMED_OUT, error, invalid_params,
};

/// Calls a method that a module has registered, and waits at most `deadline`; the result is the module's own.
pub(super) async fn call(
    registry: &Registry,
    method: &str,
    params: Value,
    deadline: Duration,
) -> Result<Value, ErrorObjectOwned> {
    let result = registry.call_rpc(method, params.to_string(), deadline).await.map_err(call_error)?;
    module_json::parse(&result).map_err(|wrong| {
        error(MODULE_FAILED, format!("what the module answered is no JSON that the node takes: {wrong}"))
    })
}

/// Runs a command that a module has registered, and waits at most `deadline`.
pub(super) async fn run(
    registry: &Registry,
    module: &str,
    arguments: Vec<String>,
    deadline: Duration,
) -> Result<Value, ErrorObjectOwned> {
    let ran = registry.run_command(module, arguments, deadline).await.map_err(call_error)?;
    let CommandOutput { output, error, status } = ran;
    Ok(json!({ "status": status, "output": output, "error": error }))
}

/// Every command, as its module describes it.
pub(super) fn specs(registry: &Registry) -> Value {
    registry.specs().iter().map(spec).collect()
}

fn spec(command: &ModuleCommand) -> Value {
    let ModuleCommand { module, spec } = command;
    let commands = spec.commands.iter().map(|command| {
        json!({ "name": command.name, "about": command.about, "arguments": arguments(&command.arguments) })
    });
    json!({
        "module": module,
        "name": spec.name,
        "about": spec.about,
        "arguments": arguments(&spec.arguments),
        "commands": commands.collect::<Vec<_>>(),
    })
}

fn arguments(arguments: &[CliArgument]) -> Value {
    let argument = |argument: &CliArgument| {
        let form = match argument.form {
            CliArgumentForm::Positional => "positional",
            CliArgumentForm::Option => "option",
            CliArgumentForm::Flag => "flag",
        };
        json!({
            "name": argument.name, "about": argument.about, "form": form, "is_required": argument.is_required,
        })
    };
    arguments.iter().map(argument).collect()
}

fn call_error(failed: RegistryError) -> ErrorObjectOwned {
    let message = failed.to_string();
    match failed {
        RegistryError::NotOffered { .. } => error(NO_SUCH_COMMAND, message),
        RegistryError::Call(failure) => match failure {
            CallFailure::NotAttached { .. } | CallFailure::Gone { .. } => error(MODULE_GONE, message),
            CallFailure::Deadline { .. } => error(TIMED_OUT, message),
            CallFailure::TooMany { .. } | CallFailure::TooManyOfCaller { .. } => error(BUSY, message),
            CallFailure::TooLong { .. } => invalid_params(message),
            CallFailure::Module { error: ModuleError::WrongParameters { .. }, .. } => invalid_params(message),
            CallFailure::Module { error: ModuleError::UnknownMethod { .. }, .. } => {
                error(NO_SUCH_COMMAND, message)
            }
            CallFailure::Module { error: ModuleError::Busy { .. }, .. } => error(BUSY, message),
            CallFailure::Module { error: ModuleError::Failed { code, message: own }, module } => {
                let data = json!({ "module": module, "code": code, "message": own });
                ErrorObjectOwned::owned(MODULE_FAILED, message, Some(data))
            }
            CallFailure::Module { .. } | CallFailure::AnswerTooLong { .. } | CallFailure::NoAnswer { .. } => {
                error(MODULE_FAILED, message)
            }
        },
    }
}
