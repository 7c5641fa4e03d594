//! Test helper: a well-behaved module beside a hostile one. Reads every message, and every block in place.
//!
//! A block's hash is that of its bytes: each body is hashed when it comes and again, under its lease, once the next one
//! has come. Exits with 1 if a body differs, changes, or is gone.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use blvm_sdk::{
    BlockBody, Body, Chain, ChainEvent, Feed, Hash, Mempool, Missed, Peers, Received, Session, SessionError,
    System, Topic, Topics, Wait,
};
use sha2::{Digest, Sha256};

/// What was read, and what was wrong with it.
#[derive(Default)]
struct Witness {
    content: Sha256,
    /// The last block, still held.
    held: Option<(Body, Hash)>,
    faults: u64,
}

fn main() -> ExitCode {
    match watch() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("hostile-witness: {faults} faults");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("hostile-witness: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch() -> Result<u64, SessionError> {
    let topics = Topics::new().with::<Chain>().with::<Mempool>().with::<Peers>().with::<System>();
    let mut session = Session::attach(topics, Wait::Park)?;
    let mut chain = session.feed::<Chain>()?;
    let mut mempool = session.feed::<Mempool>()?;
    let mut peers = session.feed::<Peers>()?;
    let mut system = session.feed::<System>()?;
    let mut witness = Witness::default();
    loop {
        let mut missed = drain(&mut chain, |sample| witness.take(&sample));
        chain.set_content_sha256(witness.content.clone().finalize().into());
        missed += drain(&mut mempool, |_| {});
        missed += drain(&mut peers, |_| {});
        missed += drain(&mut system, |_| {});
        witness.faults += missed;
        if chain.is_closed() && mempool.is_closed() && peers.is_closed() && system.is_closed() {
            witness.look_again();
            session.finish(&[&chain, &mempool, &peers, &system])?;
            return Ok(witness.faults);
        }
        session.wait(&[&chain, &mempool, &peers, &system])?;
    }
}

/// Reads all that a feed holds now; answers how much was missed.
fn drain<T: Topic>(feed: &mut Feed<T>, mut each: impl FnMut(Received<'_, T>)) -> u64 {
    let mut missed = 0;
    loop {
        match feed.poll() {
            Ok(Some(sample)) => each(sample),
            Ok(None) => return missed,
            Err(Missed { messages }) => missed += messages,
        }
    }
}

impl Witness {
    fn take(&mut self, sample: &Received<'_, Chain>) {
        let Ok(ChainEvent::BlockConnected(block)) = sample.event() else {
            return self.fault("a message that is no block");
        };
        match sample.body() {
            Ok(body) => {
                if let Some(raw) = raw(&body) {
                    self.content.update(raw);
                }
                let is_whole = raw(&body).is_some_and(|raw| Sha256::digest(raw)[..] == block.hash);
                if !is_whole {
                    self.fault("a body that is gone or differs");
                }
                self.look_again();
                self.held = Some((body, block.hash));
            }
            Err(error) => self.fault(&error.to_string()),
        }
    }

    /// The body held since the last block must still be what it was.
    fn look_again(&mut self) {
        let Some((body, hash)) = self.held.take() else { return };
        if raw(&body).is_some_and(|raw| Sha256::digest(raw)[..] != hash) {
            self.fault("a body changed while it was held");
        }
    }

    fn fault(&mut self, what: &str) {
        self.faults += 1;
        eprintln!("hostile-witness: {what}");
    }
}

/// The block's bytes, in place.
fn raw(body: &Body) -> Option<&[u8]> {
    match body {
        Body::InPlace(leased) => BlockBody::access(leased.bytes()).ok().map(|body| body.raw.get()),
        _ => None,
    }
}
