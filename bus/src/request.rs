//! The other direction: what a module asks, what the node answers, and the frames both travel in.
//!
//! One stream socket per module, inherited when it is spawned; programs that are no modules attach by path with a token.
//! `docs/protocol.md` gives the conversation.

mod answer;
mod descriptors;
mod frame;
mod message;
mod path;
mod permission;
mod token;

pub use answer::{AnswerError, read_answer, seal_answer};
pub use descriptors::{
    InheritError, MAX_DESCRIPTORS, close_elsewhere, inherited_sockets, recv_refusing, recv_with_descriptors,
    refuse_descriptors, send_with_descriptors, unread_bytes,
};
pub use frame::{FRAME_HEAD_BYTES, FrameError, FrameHead, MAX_ANSWER_BYTES, MAX_FRAME_BYTES, decode, encode};
pub use message::{
    Attached, Block, ChainTip, Hello, LatencyNs, MempoolEntry, Refusal, Reply, Request, Statistics,
    TopicGrant, TopicStart, TopicStatistics, TopicWish, TransactionRefusal, Welcome,
};
pub use path::{SOCKET_NAME, TOKEN_NAME, connect_path, listen_path};
pub use permission::{Permission, UnknownPermission};
pub use token::{TOKEN_BYTES, Token, TokenError};

/// Version of this protocol; peers with another one are refused, naming both.
pub const PROTOCOL_VERSION: u32 = 2;

/// Answers longer than this travel as a sealed memfd.
pub const INLINE_ANSWER_BYTES: usize = 64 << 10;

/// Descriptor of the request socket in a module's process.
pub const REQUEST_FD: i32 = 3;

/// Descriptor of the wake socket in a module's process.
pub const WAKE_FD: i32 = 4;
