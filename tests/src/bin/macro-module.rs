//! Test helper: a module written with the macros. It prints what its handlers are given, and waits where it is told to.
//!
//! With a directory as argument it attaches to the node there by path.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use blvm_sdk::prelude::*;
use blvm_sdk::request::HealthState;

/// The block whose handler waits for the gate of that name.
const WAITING: u32 = 100;

struct Probe {
    requests: Requests,
    /// Open ones.
    gates: Mutex<BTreeSet<String>>,
    opened: Condvar,
    at_once: AtomicU32,
    has_ticked: AtomicBool,
}

#[module(name = "probe", concurrency = 4)]
impl Probe {
    fn new(start: Start) -> Result<Self, Error> {
        // The node answers requests before the first message.
        let tip = start.requests.client().chain_tip()?;
        eprintln!("on {} at {}", start.network, tip.height);
        Ok(Probe {
            requests: start.requests,
            gates: Mutex::default(),
            opened: Condvar::new(),
            at_once: AtomicU32::new(0),
            has_ticked: AtomicBool::new(false),
        })
    }

    #[on(BlockConnected)]
    fn block(
        &self,
        height: u32,
        hash: &Hash,
        transactions: u32,
        body: BlockBytes<'_>,
        sequence: u64,
    ) -> Result<(), Error> {
        let from = if body.is_in_place() { "in place" } else { "fetched" };
        let (length, first) = (body.raw().len(), hash[0]);
        eprintln!("block {height} {first:02x} {transactions} {length} bytes {from} at {sequence}");
        match height {
            WAITING => self.wait("block"),
            200 => panic!("two hundred"),
            300 => return Err(Error::new("three hundred")),
            _ => {}
        }
        eprintln!("finished {height}");
        Ok(())
    }

    #[on(BlockDisconnected)]
    async fn disconnected(&self, height: u32, previous: &Hash) {
        // Borrowed across a wait.
        tokio::time::sleep(Duration::from_millis(5)).await;
        eprintln!("disconnected {height} back to {:02x}", previous[0]);
    }

    #[on(ChainReorganised)]
    fn reorganised(&self, fork_height: u32, disconnected: u32, body: Option<Reorganisation<'_>>) {
        let lists = body.map(|body| (body.disconnected.len(), body.connected.len()));
        eprintln!("reorganised from {fork_height}: {disconnected} left, lists {lists:?}");
    }

    #[on(TransactionRemoved, concurrent)]
    async fn removed(&self, txid: &Hash, reason: u16) {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        eprintln!("removal {} for {reason}, {at_once} at once", txid[0]);
        self.wait("removal");
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        eprintln!("removed {}", txid[0]);
    }

    #[on(MempoolCleared)]
    fn cleared(&self, transactions: u64) {
        eprintln!("cleared {transactions}");
    }

    #[on_missed]
    fn missed(&self, topic: &str, messages: u64) {
        eprintln!("missed {messages} of {topic}");
    }

    /// Lets those go on that wait at a gate.
    #[rpc]
    fn probe_open(&self, gate: String) {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).insert(gate);
        self.opened.notify_all();
    }

    #[rpc]
    async fn probe_echo(&self, text: String, times: Option<usize>) -> Result<String, Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        match times {
            Some(0) => Err(Error::new("not at all").with_code(17)),
            times => Ok(text.repeat(times.unwrap_or(1))),
        }
    }

    #[rpc]
    fn probe_panic(&self) -> u32 {
        panic!("as asked");
    }

    /// Says something.
    #[command]
    fn say(
        &self,
        /// What.
        text: String,
        /// Louder.
        loud: bool,
        /// How often.
        times: Option<usize>,
    ) -> Result<String, Error> {
        if text.is_empty() {
            return Err(Error::new("nothing to say"));
        }
        let text = if loud { text.to_uppercase() } else { text };
        Ok(text.repeat(times.unwrap_or(1)))
    }

    #[command]
    fn degrade(&self, why: String) {
        self.requests.set_health(HealthState::Degraded, why);
    }

    #[every("10ms")]
    fn tick(&self) {
        if !self.has_ticked.swap(true, Ordering::Relaxed) {
            eprintln!("tick");
        }
    }

    /// Until the gate of that name is open.
    fn wait(&self, name: &str) {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let is_shut = |gates: &mut BTreeSet<String>| !gates.contains(name);
        drop(self.opened.wait_while(gates, is_shut).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The node still answers.
        let answered = self.requests.client().chain_tip().is_ok();
        eprintln!("dropped, answered {answered}");
    }
}

fn main() -> ExitCode {
    let Some(datadir) = std::env::args().nth(1) else { return blvm_sdk::run::<Probe>() };
    let error = blvm_sdk::module::run_by_path::<Probe>(Path::new(&datadir), "");
    eprintln!("{error}");
    ExitCode::FAILURE
}
