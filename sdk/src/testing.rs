//! Tests of modules: a node in the test's process, over the real bus and the real protocol, that does what the test says.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use blvm_sdk::prelude::*;
//! use blvm_sdk::testing::{TestNode, Transaction, json};
//!
//! /// Counts what pays more than its settings say.
//! struct FeeAlarm {
//!     above_sat_per_vb: u64,
//!     alarms: AtomicU64,
//! }
//!
//! #[derive(blvm_sdk::serde::Deserialize)]
//! #[serde(crate = "blvm_sdk::serde", deny_unknown_fields)]
//! struct Settings {
//!     above_sat_per_vb: u64,
//! }
//!
//! #[module(config = Settings)]
//! impl FeeAlarm {
//!     fn new(start: Start<Settings>) -> Self {
//!         FeeAlarm { above_sat_per_vb: start.settings.above_sat_per_vb, alarms: AtomicU64::new(0) }
//!     }
//!
//!     #[on(TransactionAdded)]
//!     fn transaction(&self, fee_sat: u64, weight: u32) {
//!         if fee_sat * 4 > self.above_sat_per_vb * u64::from(weight) {
//!             self.alarms.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//!
//!     #[rpc]
//!     fn alarms(&self) -> u64 {
//!         self.alarms.load(Ordering::Relaxed)
//!     }
//! }
//!
//! // In a test:
//! let node = TestNode::start();
//! let module = node.module::<FeeAlarm>().settings("above_sat_per_vb = 20").start().unwrap();
//! node.add(&Transaction::new(1).fee_rate(5));
//! node.add(&Transaction::new(2).fee_rate(50));
//! module.settle();
//! assert_eq!(module.state().alarms(), 1);
//! assert_eq!(module.call("alarms", json!({})).unwrap(), json!(1));
//! module.stop().unwrap();
//! ```
//!
//! Nothing is guessed: [`TestModule::settle`] returns when all that was published is handled, timers run when
//! [`TestModule::advance`] says so, and a module misses what the test publishes only while it is [held](TestModule::hold).

mod answers;
mod bus;
mod chain;
#[cfg(test)]
pub(crate) mod changes;
pub(crate) mod encoding;
mod gate;
mod grants;
mod module;
mod names;
mod node;
mod party;
mod script;
mod template;
mod transaction;
mod world;

/// Requests and replies as they travel: for programmed answers, and to look at what a module asked.
pub mod protocol {
    pub use blvm_bus::request::{
        ChainReply, ChainRequest, MempoolReply, MempoolRequest, MiningReply, MiningRequest, ModulesReply,
        ModulesRequest, NetworkReply, NetworkRequest, Refusal, Reply, Request, WatchReply, WatchRequest,
    };
}

pub use crate::module::probe::Failure;
pub use answers::Removal;
pub use blvm_bus::publisher::ArchivedBody;
pub use encoding::Malformed;
pub use gate::Gate;
pub use module::{ModuleTest, State, TestModule};
pub use node::{PlayError, PlayedMessage, TestNode, TestNodeOptions};
pub use party::PublishedEvent;
pub use script::{Answer, When};
/// A JSON value, for [`TestModule::call`].
pub use serde_json::json;
pub use transaction::Transaction;
