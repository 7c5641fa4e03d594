//! What a module's program begins with: `use blvm_sdk::prelude::*;`

pub use std::process::ExitCode;

pub use blvm_bus::message::Hash;
// Both have a `PacketReceived`: `#[on(mesh_packets::PacketReceived)]`.
pub use blvm_bus::message::chain::kinds::*;
pub use blvm_bus::message::mempool::kinds::*;
pub use blvm_bus::message::mining::kinds::*;
pub use blvm_bus::message::modules::kinds::*;
pub use blvm_bus::message::payments::kinds::*;
pub use blvm_bus::message::peers::kinds::*;
pub use blvm_bus::message::system::kinds::*;
pub use blvm_bus::message::{mesh_packets, stratum_packets};
pub use blvm_bus::request::CommandOutput;
pub use blvm_sdk_macros::module;

pub use crate::MempoolView;
pub use crate::module::{BlockBytes, Error, Message, NoSettings, Reorganisation, Requests, Start};
