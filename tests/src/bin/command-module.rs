//! Test helper: a module with a method of JSON-RPC and a command.
#![forbid(unsafe_code)]

use std::error::Error;

use blvm_sdk::request::{
    Call, CallReply, CliArgument, CliArgumentForm, CliCommand, CliSpec, CommandOutput, ModuleError,
};
use blvm_sdk::{Session, Topics, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut session = Session::attach(Topics::new(), Wait::Park)?;
    let client = session.client();
    for method in ["weather_echo", "weather_fail"] {
        client.register_rpc_endpoint(method, "a test's")?;
    }
    let city = CliArgument {
        name: "city".to_owned(),
        about: "where".to_owned(),
        form: CliArgumentForm::Positional,
        is_required: true,
    };
    let today = CliCommand {
        name: "today".to_owned(),
        about: "the weather of today".to_owned(),
        arguments: vec![city],
    };
    client.register_cli_spec(CliSpec {
        name: "weather".to_owned(),
        about: "the weather".to_owned(),
        arguments: Vec::new(),
        commands: vec![today],
    })?;
    eprintln!("it is ready");
    while !session.is_stopping() {
        while let Some(call) = session.next_call()? {
            let reply = reply(call.call());
            call.answer(reply)?;
        }
        session.wait(&[])?;
    }
    session.finish(&[])?;
    Ok(())
}

fn reply(call: &Call) -> Result<CallReply, ModuleError> {
    let output = |output: String, error: String, status| {
        Ok(CallReply::Command(CommandOutput { output, error, status }))
    };
    match call {
        Call::Rpc { method, params } if method == "weather_echo" => Ok(CallReply::Rpc(params.clone())),
        Call::Rpc { .. } => Err(ModuleError::Failed { code: 7, message: "it rains".to_owned() }),
        Call::Command { arguments, .. } => match &arguments[..] {
            [command, city] if command == "today" => output(format!("sun in {city}\n"), String::new(), 0),
            _ => output(String::new(), "today CITY is all there is\n".to_owned(), 2),
        },
        _ => Err(ModuleError::UnknownMethod { name: "that".to_owned() }),
    }
}
