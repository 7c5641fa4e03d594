//! The module of `node-bench`: takes every tip and every block in place, and notes when it had it.
//!
//! A tip in hand: its header read and hashed to what the message says. A block in hand: leased, its body checked, its header
//! likewise. It reads until the topics close.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Write as _;

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash as _;
use blvm_node_bench::{ARRIVALS, now_ns};
use blvm_sdk::{BlockBody, Body, Chain, ChainEvent, Feed, Mining, MiningEvent, Session, Topics, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let wait = match std::env::args().nth(1).as_deref() {
        Some("spin") => Wait::Spin,
        Some("park") => Wait::Park,
        _ => return Err("usage: node-bench-module spin|park".into()),
    };
    let mut session = Session::attach(Topics::new().with::<Mining>().with::<Chain>(), wait)?;
    let mut mining = session.feed::<Mining>()?;
    let mut chain = session.feed::<Chain>()?;
    let mut arrivals = String::new();
    while !chain.is_closed() {
        let has_tip = take_tip(&mut mining, &mut arrivals)?;
        let has_block = take_block(&mut chain, &mut arrivals)?;
        if !has_tip && !has_block {
            session.wait(&[&mining, &chain])?;
        }
    }
    std::fs::write(ARRIVALS, arrivals)?;
    session.finish(&[&mining, &chain])?;
    Ok(())
}

/// Takes the next message about tips and templates; whether there was one.
fn take_tip(mining: &mut Feed<Mining>, arrivals: &mut String) -> Result<bool, Box<dyn Error>> {
    let Some(sample) = mining.poll().map_err(|missed| format!("{} messages missed", missed.messages))? else {
        return Ok(false);
    };
    let MiningEvent::TipChanged(tip) = sample.event()? else { return Ok(true) };
    let header: Header = deserialize(&tip.header)?;
    let in_hand_ns = now_ns();
    if header.block_hash().to_byte_array() != tip.hash {
        return Err(format!("tip {} arrived damaged", tip.height).into());
    }
    writeln!(arrivals, "tip {} {in_hand_ns}", tip.height)?;
    Ok(true)
}

/// Takes the next message about blocks; whether there was one.
fn take_block(chain: &mut Feed<Chain>, arrivals: &mut String) -> Result<bool, Box<dyn Error>> {
    let Some(sample) = chain.poll().map_err(|missed| format!("{} messages missed", missed.messages))? else {
        return Ok(false);
    };
    let ChainEvent::BlockConnected(block) = sample.event()? else { return Ok(true) };
    let Body::InPlace(body) = sample.body()? else { return Err("a body that is not in place".into()) };
    let raw = BlockBody::access(body.bytes())?.raw.get();
    let header: Header = deserialize(raw.get(..80).ok_or("a block without a header")?)?;
    let in_hand_ns = now_ns();
    let is_whole = header.block_hash().to_byte_array() == block.hash
        && raw.len() == block.raw_bytes.to_native() as usize;
    if !is_whole {
        return Err(format!("block {} arrived damaged", block.height).into());
    }
    writeln!(arrivals, "block {} {in_hand_ns}", block.height)?;
    Ok(true)
}
