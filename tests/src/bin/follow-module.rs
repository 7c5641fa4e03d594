//! Module of the test in which modules and nodes are killed while blocks come and go: keeps the chain in its database, each
//! step committed with its checkpoint. In the file `tip` it says where it stands when it has nothing to do.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use bitcoin::Network;
use bitcoin::blockdata::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use blvm_sdk::request::ChainPosition;
use blvm_sdk::storage::StoredFollower;
use blvm_sdk::{Chain, Session, Topics, Wait};
use blvm_tests::follow::{Failed, effect, open};
use blvm_tests::record::hex;

fn main() -> ExitCode {
    match follow() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follow-module: {error}: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn follow() -> Result<(), Failed> {
    let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::Park)?;
    let storage = open(Path::new(""))?;
    let genesis =
        ChainPosition { height: 0, hash: genesis_block(Network::Regtest).block_hash().to_byte_array() };
    let mut follower = StoredFollower::new(&storage, &mut session, genesis)?;
    let mut told = None;
    loop {
        while follower.advance::<Failed>(session.client(), effect)? > 0 {}
        if told != Some(follower.checkpoint()) {
            // Whoever reads it finds the old one or the new one.
            std::fs::write("tip.new", hex(&follower.checkpoint().hash))?;
            std::fs::rename("tip.new", "tip")?;
            told = Some(follower.checkpoint());
        }
        if follower.feed().is_closed() || session.is_stopping() {
            return Ok(session.finish(&[follower.feed()])?);
        }
        session.wait(&[follower.feed()])?;
    }
}
