//! A whole node in this process: Bitcoin Core's validation engine, a mempool and a miner for regtest.
//!
//! [`EmbeddedNode`] implements [`NodeApi`](crate::source::NodeApi) and says what happens through an
//! [`EventSink`](crate::source::EventSink). One lock holds unspent outputs, mempool and journal while something
//! changes, and is held while events are published, so that their order is the order of what happened.
//! [`chain_tip`](crate::source::NodeApi::chain_tip) and [`mempool_size`](crate::source::NodeApi::mempool_size)
//! never wait for it.
//!
//! | file | what |
//! |---|---|
//! | `open`, `node` | opening the node; what it answers and what is submitted to it |
//! | `datadir`, `journal` | whose the directory is; blocks the engine may not have written |
//! | `apply` | the engine's changes, carried into our state and published |
//! | `index`, `utxo`, `reconcile` | a block taken apart; unspent outputs on disk; bringing them to the engine's tip |
//! | `mempool`, `admit`, `replace`, `finality` | what waits; who may enter, replace, and when |
//! | `answers` | questions about the chain |
//! | `import` | blocks from files |
//! | `unconfirmed`, `restore` | the mempool on disk, and back after a start |
//! | `tip` | the tip, and what the next block must meet |
//! | `mining`, `mine` | what the next block could hold, kept ready; mining and reorganising on regtest |

mod admit;
mod answers;
mod apply;
mod datadir;
mod finality;
mod import;
mod incoming;
mod index;
mod journal;
mod mempool;
mod mine;
mod mining;
mod network;
mod node;
mod open;
mod reconcile;
mod replace;
mod restore;
mod tip;
mod unconfirmed;
mod utxo;

pub use blvm_kernel::{InvalidReason, Network, Verdict as BlockVerdict};
pub use datadir::DataDirectoryError;
pub use import::{ImportError, Imported};
pub use mine::{MineError, ReorgError, Reorganisation};
pub use network::WireNetwork;
pub use node::{EmbeddedNode, SubmitBlockError};
pub use open::{EmbeddedOptions, OpenError};
pub use utxo::{Coin, StoreError};
