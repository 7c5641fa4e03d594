//! Example module: reads every block in place, hashes the bytes in order, and logs what happens.
//!
//! The node shows the hash beside its own, which it takes from its block store.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use blvm_sdk::{
    BlockBody, Body, Chain, ChainEvent, Feed, Mempool, Missed, Peers, Received, Session, SessionError,
    System, Topic, Topics, Wait,
};
use sha2::{Digest, Sha256};

fn main() -> ExitCode {
    match watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("block-watch: {error}");
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn watch() -> Result<(), SessionError> {
    let topics = Topics::new().with::<Chain>().with::<Mempool>().with::<Peers>().with::<System>();
    let mut session = Session::attach(topics, Wait::Park)?;
    let mut chain = session.feed::<Chain>()?;
    let mut mempool = session.feed::<Mempool>()?;
    let mut peers = session.feed::<Peers>()?;
    let mut system = session.feed::<System>()?;
    eprintln!("attached to a node on {}", session.network());

    let mut content = Sha256::new();
    loop {
        let is_stopping = session.is_stopping();
        drain(&mut chain, |sample| hash_block(&mut content, &sample));
        chain.set_content_sha256(content.clone().finalize().into());
        drain(&mut mempool, |_| {});
        drain(&mut peers, |_| {});
        drain(&mut system, |_| {});
        let are_closed = chain.is_closed() && mempool.is_closed() && peers.is_closed() && system.is_closed();
        // All that came before the node asked was drained above.
        if are_closed || is_stopping {
            return session.finish(&[&chain, &mempool, &peers, &system]);
        }
        session.wait(&[&chain, &mempool, &peers, &system])?;
    }
}

/// Reads all that a feed holds now.
fn drain<T: Topic>(feed: &mut Feed<T>, mut each: impl FnMut(Received<'_, T>)) {
    loop {
        match feed.poll() {
            Ok(Some(sample)) => each(sample),
            Ok(None) => return,
            Err(Missed { messages }) => eprintln!("{}: {messages} messages missed", T::NAME),
        }
    }
}

fn hash_block(content: &mut Sha256, sample: &Received<'_, Chain>) {
    let event = match sample.event() {
        Ok(event) => event,
        Err(error) => return eprintln!("message {}: {error}", sample.sequence()),
    };
    let ChainEvent::BlockConnected(block) = event else { return };
    match sample.body() {
        Ok(Body::InPlace(body)) => match BlockBody::access(body.bytes()) {
            Ok(block) => content.update(block.raw.get()),
            Err(error) => eprintln!("block at height {}: {error}", block.height),
        },
        Ok(_) => eprintln!("block at height {} is gone from the bus", block.height),
        Err(error) => eprintln!("block at height {}: {error}", block.height),
    }
}
