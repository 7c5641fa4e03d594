//! Example module: keeps every reorganisation with its blocks, each exactly once whatever is killed.
#![forbid(unsafe_code)]

mod log;

use std::process::ExitCode;

use blvm_sdk::module::Error;
use blvm_sdk::request::{Call, CallReply, CliCommand, CliSpec, CommandOutput, ModuleError};
use blvm_sdk::storage::{Migrations, Storage, StorageOptions, StoredFollower};
use blvm_sdk::{Chain, ChainStep, Session, Topics, Wait};

fn main() -> ExitCode {
    match follow() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reorg-log: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn follow() -> Result<(), Error> {
    let mut session = Session::attach(Topics::new().with_all_kinds::<Chain>(), Wait::Park)?;
    // In the working directory, which is the module's own.
    let storage = Storage::open(&StorageOptions::default(), &Migrations::new(&[]))?;
    session.client().register_cli_spec(commands())?;
    // Only where the database has no checkpoint yet.
    let start = session.client().chain_tip()?;
    let mut follower = StoredFollower::new(&storage, &mut session, start)?;
    eprintln!("follows from height {}", follower.checkpoint().height);
    while !follower.feed().is_closed() && !session.is_stopping() {
        while let Some(call) = session.next_call()? {
            let reply = reply(&storage, call.call());
            call.answer(reply)?;
        }
        let steps = follower.advance::<Error>(session.client(), |writer, step| {
            match step {
                ChainStep::Disconnect(block) => log::left(writer, block.position)?,
                ChainStep::Connect(block) => log::joined(writer, block.position)?,
            }
            Ok(())
        })?;
        if steps == 0 {
            session.wait(&[follower.feed()])?;
        }
    }
    Ok(session.finish(&[follower.feed()])?)
}

fn commands() -> CliSpec {
    CliSpec {
        name: "reorg-log".to_owned(),
        about: "reorganisations of the chain".to_owned(),
        arguments: Vec::new(),
        commands: vec![CliCommand {
            name: "list".to_owned(),
            about: "every reorganisation with the blocks that left and joined".to_owned(),
            arguments: Vec::new(),
        }],
    }
}

fn reply(storage: &Storage, call: &Call) -> Result<CallReply, ModuleError> {
    let Call::Command { arguments, .. } = call else {
        return Err(ModuleError::UnknownMethod { name: call.name().to_owned() });
    };
    let output = if arguments.iter().map(String::as_str).eq(["list"]) {
        match storage.read(log::list) {
            Ok(output) => CommandOutput { output, error: String::new(), status: 0 },
            Err(error) => CommandOutput { output: String::new(), error: format!("{error}\n"), status: 1 },
        }
    } else {
        CommandOutput {
            output: String::new(),
            error: "list is the one command there is\n".to_owned(),
            status: 2,
        }
    };
    Ok(CallReply::Command(output))
}
