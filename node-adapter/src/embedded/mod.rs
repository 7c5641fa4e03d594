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
//! | `answers` | questions about the chain |
//! | `mempool`, `rate` | what waits, and what families of it pay |
//! | `admit`, `accept`, `replace`, `limits`, `finality` | who may enter, replace, with which relatives, and when |
//! | `package` | a child that pays for its parent |
//! | `fees`, `summary` | fee estimates; the mempool by fee rate |
//! | `standard`, `truc` | which valid transactions are taken |
//! | `changes`, `floor`, `gauges`, `clock`, `ageing` | what leaves when it is full or old; the least rate; what is told of it; time that passes by itself |
//! | `import` | blocks from files |
//! | `unconfirmed`, `restore` | the mempool on disk, and back after a start |
//! | `check` | would the engine take a block? |
//! | `tip` | the tip, and what the next block must meet |
//! | `mining`, `mine` | what the next block could hold, kept ready; mining and reorganising on regtest |

mod accept;
mod admit;
mod ageing;
mod answers;
mod apply;
mod changes;
mod check;
mod clock;
mod datadir;
mod fees;
mod finality;
mod floor;
mod gauges;
mod import;
mod incoming;
mod index;
mod journal;
mod limits;
mod mempool;
mod mine;
mod mining;
mod network;
mod node;
mod open;
mod package;
mod prepare;
mod rate;
mod reconcile;
mod reindex;
mod replace;
mod restore;
mod standard;
mod summary;
mod tip;
mod truc;
mod unconfirmed;
mod utxo;

pub use blvm_kernel::{InvalidReason, Network, Verdict as BlockVerdict};
pub use clock::Clock;
pub use datadir::DataDirectoryError;
pub use fees::{FeeEstimator, FeeStatisticsError};
pub use import::{ImportError, Imported};
pub use mine::{MineError, ReorgError, Reorganisation};
pub use network::WireNetwork;
pub use node::{EmbeddedNode, SubmitBlockError};
pub use open::{EmbeddedOptions, OpenError};
pub use utxo::{Coin, StoreError};
