//! Bodies as handlers take them: the block that joined, the lists of a reorganisation.

use std::fmt::{self, Debug, Formatter};

use blvm_bus::message::chain::{
    ArchivedBlockBody, ArchivedBlockTransaction, BlockBody, BlockConnected, ChainReorganised,
    ReorganisationBody,
};
use blvm_bus::message::{Hash, Kind};
use blvm_bus::subscriber::Body;

use super::{Error, Message};

/// A kind of message that has a body.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no body",
    label = "has no body",
    note = "`BlockConnected` has one, taken as `BlockBytes<'_>`, and `ChainReorganised`, taken as `Reorganisation<'_>`"
)]
pub trait HasBody: Kind + Sized {
    /// Where the body is kept while a handler reads it.
    type Held;

    /// Holds it: in place under a lease, or else as the node answers.
    fn hold(message: &Message<'_, Self>) -> Self::Held;
}

/// A body that a handler can take as `T`.
#[diagnostic::on_unimplemented(
    message = "the body cannot be taken as `{T}`",
    label = "another type than the body has",
    note = "that of `BlockConnected` is taken as `BlockBytes<'_>` or `Option<BlockBytes<'_>>`, that of `ChainReorganised` as \
            `Reorganisation<'_>` or `Option<Reorganisation<'_>>`"
)]
pub trait TakeBody<'a, T> {
    /// The body.
    ///
    /// # Errors
    ///
    /// [`Error`] if it is not there; the handler is not called then. As `Option` it is `None`.
    fn take(&'a self) -> Result<T, Error>;
}

/// A block's bytes: in shared memory, or fetched by request where they were reclaimed.
#[derive(Clone, Copy)]
pub struct BlockBytes<'a> {
    raw: &'a [u8],
    index: Option<&'a ArchivedBlockBody<'a>>,
}

impl<'a> BlockBytes<'a> {
    /// The block in consensus encoding.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether the bytes stand in shared memory, with an index.
    pub fn is_in_place(&self) -> bool {
        self.index.is_some()
    }

    /// One entry per transaction, in block order: ids, fees, places, weights. `None` if the block was fetched.
    pub fn transactions(&self) -> Option<&'a [ArchivedBlockTransaction]> {
        Some(self.index?.transactions.get())
    }

    /// The bytes of transaction `index`; `None` if there is none or the block was fetched.
    pub fn transaction_bytes(&self, index: usize) -> Option<&'a [u8]> {
        self.index?.transaction_bytes(index)
    }
}

impl Debug for BlockBytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockBytes")
            .field("bytes", &self.raw.len())
            .field("is_in_place", &self.is_in_place())
            .finish()
    }
}

/// A block's bytes while a handler reads them.
#[derive(Debug)]
pub struct HeldBlock {
    height: u32,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Bus(Body),
    Fetched(Vec<u8>),
    /// Neither on the bus nor to be had from the node; why, if it said so.
    Missing(Option<String>),
}

impl HasBody for BlockConnected {
    type Held = HeldBlock;

    fn hold(message: &Message<'_, Self>) -> HeldBlock {
        let block = message.fields();
        let bytes = match message.bus_body() {
            body @ (Body::InPlace(_) | Body::Copied(_)) => Bytes::Bus(body),
            Body::None | Body::Gone => match message.requests().client().block(block.hash) {
                Ok(Some(block)) => Bytes::Fetched(block.raw),
                Ok(None) => Bytes::Missing(None),
                Err(error) => Bytes::Missing(Some(error.to_string())),
            },
        };
        HeldBlock { height: block.height.to_native(), bytes }
    }
}

impl<'a> TakeBody<'a, BlockBytes<'a>> for HeldBlock {
    fn take(&'a self) -> Result<BlockBytes<'a>, Error> {
        let height = self.height;
        match &self.bytes {
            Bytes::Bus(body) => {
                let index = BlockBody::access(body.bytes().unwrap_or_default())?;
                Ok(BlockBytes { raw: index.raw.get(), index: Some(index) })
            }
            Bytes::Fetched(raw) => Ok(BlockBytes { raw, index: None }),
            Bytes::Missing(None) => {
                Err(Error::new(format!("the block at height {height} has left the bus and the chain")))
            }
            Bytes::Missing(Some(why)) => {
                Err(Error::new(format!("the block at height {height} cannot be fetched: {why}")))
            }
        }
    }
}

impl<'a> TakeBody<'a, Option<BlockBytes<'a>>> for HeldBlock {
    fn take(&'a self) -> Result<Option<BlockBytes<'a>>, Error> {
        Ok(TakeBody::<BlockBytes<'a>>::take(self).ok())
    }
}

/// The blocks of a reorganisation.
#[derive(Debug, Clone, Copy)]
pub struct Reorganisation<'a> {
    /// Blocks that left, highest first.
    pub disconnected: &'a [Hash],
    /// Blocks that joined, lowest first.
    pub connected: &'a [Hash],
}

/// The lists of a reorganisation while a handler reads them.
#[derive(Debug)]
pub struct HeldReorganisation {
    fork_height: u32,
    body: Body,
}

impl HasBody for ChainReorganised {
    type Held = HeldReorganisation;

    fn hold(message: &Message<'_, Self>) -> HeldReorganisation {
        HeldReorganisation { fork_height: message.fields().fork_height.to_native(), body: message.bus_body() }
    }
}

impl<'a> TakeBody<'a, Reorganisation<'a>> for HeldReorganisation {
    fn take(&'a self) -> Result<Reorganisation<'a>, Error> {
        let Some(bytes) = self.body.bytes() else {
            let height = self.fork_height;
            return Err(Error::new(format!(
                "the lists of the reorganisation from height {height} have left the bus"
            )));
        };
        let lists = ReorganisationBody::access(bytes)?;
        Ok(Reorganisation { disconnected: lists.disconnected.get(), connected: lists.connected.get() })
    }
}

impl<'a> TakeBody<'a, Option<Reorganisation<'a>>> for HeldReorganisation {
    fn take(&'a self) -> Result<Option<Reorganisation<'a>>, Error> {
        Ok(TakeBody::<Reorganisation<'a>>::take(self).ok())
    }
}
