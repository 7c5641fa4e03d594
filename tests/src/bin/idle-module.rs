//! Test helper: a module that has nothing to do. Attaches, says so with a file, and sleeps until the node wakes it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use blvm_sdk::{AnyFeed, Chain, Feed, Mempool, Peers, Session, System, Topic, Topics, Wait};

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match idle() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle-module: {error}");
            ExitCode::FAILURE
        }
    }
}

fn idle() -> Result<(), Failed> {
    let topics = Topics::new().with::<Chain>().with::<Mempool>().with::<Peers>().with::<System>();
    let mut session = Session::attach(topics, Wait::Park)?;
    let mut chain = session.feed::<Chain>()?;
    let mut mempool = session.feed::<Mempool>()?;
    let mut peers = session.feed::<Peers>()?;
    let mut system = session.feed::<System>()?;
    std::fs::write("attached", "")?;
    while [drain(&mut chain), drain(&mut mempool), drain(&mut peers), drain(&mut system)].contains(&false) {
        let feeds: [&dyn AnyFeed; 4] = [&chain, &mempool, &peers, &system];
        session.wait(&feeds)?;
    }
    session.finish(&[&chain, &mempool, &peers, &system])?;
    Ok(())
}

/// Takes all that is there; whether the topic is closed.
fn drain<T: Topic>(feed: &mut Feed<T>) -> bool {
    while !matches!(feed.poll(), Ok(None)) {}
    feed.is_closed()
}
