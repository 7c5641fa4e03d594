//! Publishes on a named segment until it is killed: `named-publisher INSTANCE`. Says "ready" after the first messages.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use blvm_bus::memory::{Mapped, Named};
use blvm_bus::message::Topic;
use blvm_bus::message::mempool::{Mempool, TransactionRemoved};
use blvm_bus::publisher::Publisher;
use blvm_bus::segment::{Identity, NamedSegment, RunId};
use blvm_bus::wake::Bell;
use nix::sys::eventfd::EventFd;

fn main() -> ExitCode {
    let Some(instance) = std::env::args().nth(1) else {
        eprintln!("usage: named-publisher INSTANCE");
        return ExitCode::from(2);
    };
    match publish(&instance) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trouble: {error}");
            ExitCode::FAILURE
        }
    }
}

fn publish(instance: &str) -> Result<(), Box<dyn std::error::Error>> {
    let identity = Identity { topic: Mempool::NUMBER, schema: Mempool::SCHEMA, run_id: RunId::random()? };
    let segment = NamedSegment::create(instance, Mempool::NAME, Mempool::GEOMETRY, identity)?;
    let bell = Arc::new(Bell::new(Mempool::NUMBER, Mempool::GEOMETRY.depth, Arc::new(EventFd::new()?)));
    let terms = Mempool::GEOMETRY.terms as usize;
    let memory = Arc::clone(&segment.memory);
    let mut publisher = Publisher::<Mempool, Named, Mapped>::new(memory, segment.layout, terms, None, bell);
    for number in 0_u64.. {
        let mut txid = [0; 32];
        txid[..8].copy_from_slice(&number.to_le_bytes());
        publisher.publish(&TransactionRemoved { txid, reason: 1, replaced_by: [0; 32] })?;
        if number == 100 {
            eprintln!("ready");
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}
