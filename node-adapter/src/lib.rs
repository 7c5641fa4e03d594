//! Node sources, the node's answers, and the processes of modules.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | what every node says and answers |
//! | [`embedded`] | a whole node in this process |
//! | [`replay`] | a recording that answers as a node does |
//! | [`p2p`] | peers on loopback |
//! | [`topics`] | the node's events, published on the bus |
//! | [`rpc`] | JSON-RPC for operators, on loopback |
//! | [`module`] | module processes and their requests |
//! | [`run`] | `blvm run`: all of it together |
//! | [`demo`] | wallets and a second process that sends payments |
//!
//! Without the feature `node` there are only [`source`], [`p2p`] and [`rpc`], and no C++ is built.
#![forbid(unsafe_code)]

#[cfg(feature = "node")]
pub mod demo;
#[cfg(feature = "node")]
pub mod embedded;
#[cfg(feature = "node")]
pub mod module;
pub mod p2p;
#[cfg(feature = "node")]
mod plain;
mod private_file;
#[cfg(feature = "node")]
pub mod replay;
pub mod rpc;
#[cfg(feature = "node")]
pub mod run;
pub mod source;
#[cfg(feature = "node")]
pub mod topics;
#[cfg(feature = "node")]
mod watch;
