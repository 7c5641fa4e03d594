//! Node sources, the node's answers, and the processes of modules.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | what every node says and answers |
//! | [`embedded`] | a whole node in this process |
//! | [`p2p`] | peers on loopback |
//! | [`topics`] | the node's events, published on the bus |
//! | [`module`] | module processes and their requests |
//! | [`run`] | `blvm run`: all of it together |
//! | [`demo`] | wallets and a second process that sends payments |
#![forbid(unsafe_code)]

pub mod demo;
pub mod embedded;
pub mod module;
pub mod p2p;
pub mod run;
pub mod source;
pub mod topics;
