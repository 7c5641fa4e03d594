//! The module of `node-bench`: takes every block in place and notes when it had it.
//!
//! In hand: leased, its body checked, its header read and hashed to what the message says. It reads until the topic closes.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Write as _;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_node_bench::{ARRIVALS, now_ns};
use blvm_sdk::{BlockBody, Body, Chain, ChainEvent, Session, Topics, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let wait = match std::env::args().nth(1).as_deref() {
        Some("spin") => Wait::Spin,
        Some("park") => Wait::Park,
        _ => return Err("usage: node-bench-module spin|park".into()),
    };
    let mut session = Session::attach(Topics::new().with::<Chain>(), wait)?;
    let mut chain = session.feed::<Chain>()?;
    let mut arrivals = String::new();
    while !chain.is_closed() {
        let Some(sample) = chain.poll().map_err(|missed| format!("{} messages missed", missed.messages))?
        else {
            session.wait(&[&chain])?;
            continue;
        };
        let ChainEvent::BlockConnected(block) = sample.event()? else { continue };
        let Body::InPlace(body) = sample.body()? else { return Err("a body that is not in place".into()) };
        let raw = BlockBody::access(body.bytes())?.raw.get();
        let header: Header = deserialize(raw.get(..80).ok_or("a block without a header")?)?;
        let in_hand_ns = now_ns();
        let is_whole = header.block_hash().to_byte_array() == block.hash
            && raw.len() == block.raw_bytes.to_native() as usize;
        if !is_whole {
            return Err(format!("block {} arrived damaged", block.height).into());
        }
        writeln!(arrivals, "{} {in_hand_ns}", block.height)?;
    }
    std::fs::write(ARRIVALS, arrivals)?;
    session.finish(&[&chain])?;
    Ok(())
}
