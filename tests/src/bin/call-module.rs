//! A module that is called, for tests that end it in the middle of a call.
//!
//! It offers the methods `echo` and `hang` to all who may call; `hang` says that it was called and never answers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use blvm_sdk::request::{Call, CallReply, CliSpec, ModuleError};
use blvm_sdk::{ReceivedCall, Session, Topics, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut session = Session::attach(Topics::new(), Wait::Park)?;
    // Which methods, and whom to ask: several of these modules run at once.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let client = session.client();
    client.register_module_api(&["echo", "hang"])?;
    for method in &arguments {
        client.register_rpc_endpoint(method, "a test's")?;
    }
    if let Some(name) = arguments.first() {
        client.register_cli_spec(CliSpec { name: name.clone(), ..CliSpec::default() })?;
    }
    eprintln!("ready");
    let mut held: Vec<ReceivedCall> = Vec::new();
    while !session.is_stopping() {
        while let Some(call) = session.next_call()? {
            match call.call().clone() {
                Call::Api { method, payload, .. } if method == "echo" => {
                    call.answer(Ok(CallReply::Api(payload)))?;
                }
                Call::Rpc { method, params } if !method.starts_with("hang") => {
                    call.answer(Ok(CallReply::Rpc(params)))?;
                }
                // By way of the node, to a module that hangs.
                Call::Command { arguments, .. } => {
                    let module = arguments.first().cloned().unwrap_or_default();
                    let asked = session.client().call_module(&module, "hang", b"", Duration::from_secs(60));
                    let message =
                        asked.err().map_or_else(|| "it answered".to_owned(), |error| error.to_string());
                    call.answer(Err(ModuleError::Failed { code: 1, message }))?;
                }
                _ => {
                    eprintln!("hanging");
                    held.push(call);
                }
            }
        }
        session.wait(&[])?;
    }
    eprintln!("stopping");
    session.finish(&[])?;
    Ok(())
}
