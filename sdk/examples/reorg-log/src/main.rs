//! Example module: keeps the reorganisations it follows with their blocks, each exactly once whatever is killed.
//!
//! One that came and was undone while the module did not follow, killed or overrun, is not kept: from its checkpoint to the chain there
//! is, nothing has left.
#![forbid(unsafe_code)]

mod log;

use std::process::ExitCode;

use blvm_sdk::module::Error;
use blvm_sdk::request::{Call, CallReply, ChainPosition, CliCommand, CliSpec, CommandOutput, ModuleError};
use blvm_sdk::storage::{Migrations, Storage, StorageOptions, StoredFollower};
use blvm_sdk::{Chain, ChainStep, Session, Topics, Wait};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reorg-log: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let mut session = Session::attach(topics(), Wait::Park)?;
    let tip = session.client().chain_tip()?;
    // In the working directory, which is the module's own.
    follow(session, &StorageOptions::default(), tip)
}

fn topics() -> Topics {
    Topics::new().with_all_kinds::<Chain>()
}

/// Until the node asks the module to end, or is gone; from `start` where the database has no checkpoint yet.
fn follow(mut session: Session, options: &StorageOptions, start: ChainPosition) -> Result<(), Error> {
    let storage = Storage::open(options, &Migrations::new(&[]))?;
    session.client().register_cli_spec(commands())?;
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
        } else {
            // Also while it catches up for hours.
            session.attend(&[follower.feed()])?;
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
            about: "the reorganisations it followed, with the blocks that left and joined".to_owned(),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blvm_sdk::testing::TestNode;

    use super::*;

    /// Follows while the node does what `work` says, until the node ends; what is listed then, without the hashes.
    fn logged(node: &TestNode, options: &StorageOptions, work: impl FnOnce()) -> Vec<String> {
        let session = node.attach(topics(), Wait::Park).unwrap();
        let for_module = options.clone();
        let tip = node.tip();
        let module = std::thread::spawn(move || follow(session, &for_module, tip));
        work();
        node.shut_down();
        module.join().unwrap().unwrap();
        node.crash();
        let storage = Storage::open(options, &Migrations::new(&[])).unwrap();
        let listed = storage.read(log::list).unwrap();
        listed.lines().map(|line| line.split(" 0").next().unwrap_or_default().to_owned()).collect()
    }

    /// From its checkpoint to the chain there is: what came and went in between, it never hears of.
    #[test]
    fn a_reorganisation_of_blocks_the_module_has_not_seen_is_not_kept_and_two_that_it_missed_are_one() {
        let directory = tempfile::tempdir().unwrap();
        let options =
            StorageOptions { path: directory.path().join("storage.redb"), ..StorageOptions::default() };
        let node = TestNode::start();
        node.mine(3);
        assert_eq!(logged(&node, &options, || ()), ["no reorganisation"]);
        // While the module is dead: A4 and A5 come, leave, and B4 to B6 join. What it had seen stays.
        node.restart();
        node.mine(2);
        node.reorganise(2);
        assert_eq!(logged(&node, &options, || _ = node.mine(1)), ["no reorganisation"]);
        // Height 7 of what it has seen leaves for two others, and these leave for three.
        node.restart();
        node.reorganise(1);
        node.reorganise(2);
        let listed = logged(&node, &options, || ());
        assert_eq!(listed[0], "reorganisation 1 from height 6: 1 left, 2 joined");
        assert!(listed[1..].iter().all(|line| !line.starts_with("reorganisation")), "{listed:?}");
    }

    #[test]
    fn reorganisations_of_two_lives_of_a_node_are_listed_once_each() {
        let directory = tempfile::tempdir().unwrap();
        let options =
            StorageOptions { path: directory.path().join("storage.redb"), ..StorageOptions::default() };
        let node = TestNode::start();
        node.mine(3);
        assert_eq!(logged(&node, &options, || _ = node.mine(2)), ["no reorganisation"]);
        node.restart();
        let listed = logged(&node, &options, || _ = node.reorganise(2));
        let first = ["reorganisation 1 from height 3: 2 left, 3 joined"];
        assert_eq!(listed[..1], first, "{listed:?}");
        assert_eq!(listed.len(), 6);
        node.restart();
        let listed = logged(&node, &options, || {
            node.reorganise(1);
            node.mine(1);
        });
        assert_eq!(listed[..1], first, "{listed:?}");
        assert_eq!(listed[6], "reorganisation 2 from height 5: 1 left, 2 joined");
        assert_eq!(listed.len(), 10);
    }
}
