//! Every form a handler may have compiles.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};

use blvm_sdk::prelude::*;
use blvm_sdk::{Wait, serde};

#[derive(serde::Deserialize)]
#[serde(crate = "blvm_sdk::serde", default, deny_unknown_fields)]
struct Settings {
    above_sat_per_vb: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { above_sat_per_vb: 100 }
    }
}

struct Watch {
    settings: Settings,
    requests: Requests,
    seen: AtomicU64,
}

#[module(config = Settings, name = "watch", concurrency = 4, wait = Park)]
impl Watch {
    fn new(start: Start<Settings>) -> Result<Self, std::io::Error> {
        Ok(Watch { settings: start.settings, requests: start.requests, seen: AtomicU64::new(0) })
    }

    /// No handler.
    fn count(&self) -> u64 {
        self.seen.fetch_add(1, Ordering::Relaxed)
    }

    #[on(BlockConnected)]
    fn block(
        &self,
        height: u32,
        hash: &Hash,
        body: BlockBytes<'_>,
        sequence: u64,
    ) -> Result<(), std::fmt::Error> {
        let _ = (height, hash, body.raw().len(), sequence);
        Ok(())
    }

    #[on(BlockConnected)]
    #[on(BlockDisconnected)]
    fn either(&self, height: u32, previous: Hash) {
        let _ = (height, previous);
    }

    #[on(BlockConnected, concurrent)]
    fn maybe(&self, body: Option<BlockBytes<'_>>, message: &Message<'_, BlockConnected>) {
        let _ = (body.is_some(), message.sequence());
    }

    #[on(ChainReorganised)]
    async fn reorganised(&self, fork_height: u32, body: Reorganisation<'_>) -> Result<(), Error> {
        let _ = (fork_height, body.connected.len());
        self.requests.client().chain_tip()?;
        Ok(())
    }

    #[on(TransactionAdded, concurrent)]
    async fn transaction(&self, txid: &Hash, fee_sat: u64, raw: &[u8]) {
        let _ = (txid, fee_sat > self.settings.above_sat_per_vb, raw);
    }

    #[on(TipChanged)]
    fn tip(&self, header: &[u8; 80], next_bits: Option<u32>) {
        let _ = (header, next_bits);
    }

    #[on(TemplateUpdated)]
    fn template(&self, merkle_path: &[Hash], coinbase_prefix: &[u8]) {
        let _ = (merkle_path, coinbase_prefix);
    }

    #[on(FeeEstimatesChanged)]
    fn estimates(&self, target_blocks: Vec<u64>, sat_per_kvb: Vec<u64>) {
        let _ = (target_blocks, sat_per_kvb);
    }

    #[on(ModuleEvent)]
    fn event(&self, publisher: &str, name: String) {
        let _ = (publisher, name);
    }

    #[on(mesh_packets::PacketReceived)]
    fn packet(&self) {}

    #[on_missed]
    fn missed(&self, topic: &str, messages: u64) {
        let _ = (topic, messages);
    }

    #[on_missed(Mempool)]
    async fn missed_transactions(&self, messages: u64) {
        let _ = messages;
    }

    /// How many were seen.
    #[rpc]
    fn watch_count(&self, verbose: bool, names: Option<Vec<String>>) -> Result<u64, Error> {
        let _ = (verbose, names);
        Ok(self.count())
    }

    #[rpc(name = "watch_async")]
    async fn other(&self) -> (u64, String) {
        (self.count(), String::new())
    }

    /// Says what there is.
    #[command]
    fn status(
        &self,
        /// How much of it.
        long_form: bool,
        above: Option<u64>,
        city: String,
    ) -> String {
        format!("{long_form} {above:?} {city}")
    }

    #[command(name = "re-set")]
    fn reset(&self) -> Result<(), Error> {
        Err(Error::new("not now").with_code(7))
    }

    #[every("10s")]
    #[every("5m")]
    async fn tick(&self) {}

    fn interval(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.settings.above_sat_per_vb)
    }

    #[every(Self::interval)]
    fn tock(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// The mempool as a whole, and beside it no handler of one of its messages.
struct Waiting;

#[module(name = "waiting")]
impl Waiting {
    fn new() -> Self {
        Waiting
    }

    #[on_mempool]
    fn changed(&self, mempool: &MempoolView) -> Result<(), Error> {
        let _ = (mempool.transactions().len(), mempool.through());
        Ok(())
    }
}

#[test]
fn every_form_of_a_handler_compiles_and_options_are_taken() {
    assert_eq!(<Watch as blvm_sdk::module::Module>::NAME, "watch");
    assert_eq!(<Watch as blvm_sdk::module::Module>::CONCURRENCY, 4);
    assert_eq!(<Watch as blvm_sdk::module::Module>::WAIT, Wait::Park);
    let _ = blvm_sdk::module::topics::<Watch>();
    let _ = blvm_sdk::module::topics::<Waiting>();
}
