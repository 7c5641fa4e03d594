//! Topic `chain`: blocks that join and leave the active chain, in order.
//!
//! A connected block's summary stands in its slot; the block itself with its index is the body, written straight into
//! the body area and read there in place.

use rkyv::rancor;
use rkyv::ser::Serializer as Composed;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::sharing::Share;
use rkyv::ser::writer::Buffer;
use rkyv::with::InlineAsBox;

use super::{BodyAccess, Hash};
use crate::layout::Geometry;

topic! {
    /// What happens to the active chain.
    Chain = 1 "chain", ChainEvent,
    Geometry { depth: 1_024, slot_bytes: 128, terms: 18, term_bytes: 8 << 20 }, BodyAccess::Leased, BODY_SCHEMA;

    /// A block joined the active chain. Its body is a [`BlockBody`].
    1 BlockConnected / ArchivedBlockConnected {
        /// Block hash.
        hash: Hash,
        /// Hash of the block before it; all zero for genesis.
        previous: Hash,
        /// Height; genesis is 0.
        height: u32,
        /// Number of transactions.
        transactions: u32,
        /// Length of the block in consensus encoding.
        raw_bytes: u32,
    }

    /// A block left the active chain.
    2 BlockDisconnected / ArchivedBlockDisconnected {
        /// Block hash.
        hash: Hash,
        /// Hash of the block before it, the tip from now on.
        previous: Hash,
        /// Height it had.
        height: u32,
    }

    /// A reorganisation is complete: sums up the disconnects and connects before it. Its body is a [`ReorganisationBody`].
    3 ChainReorganised / ArchivedChainReorganised {
        /// Last block both branches share.
        fork_hash: Hash,
        /// Its height.
        fork_height: u32,
        /// Number of blocks that left.
        disconnected: u32,
        /// Number of blocks that joined.
        connected: u32,
    }
}

/// The definitions of the bodies below, as far as they fix bytes: part of every schema hash.
pub(crate) const BODY_SCHEMA: &str = "transactions:[txid:Hash,wtxid:Hash,fee_sat:u64,offset_bytes:u32,\
    length_bytes:u32,weight:u32,reserved:u32],raw:[u8];disconnected:[Hash],connected:[Hash]";

/// Fee of a transaction whose source does not know the outputs it spends.
pub const FEE_UNKNOWN: u64 = u64::MAX;

/// One transaction of a block.
///
/// Laid out without padding, in memory as in the archive, so that a whole index is written with one copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(derive(Debug), attr(repr(C)))]
#[repr(C)]
pub struct BlockTransaction {
    /// Transaction id.
    pub txid: Hash,
    /// Witness transaction id; all zero for the coinbase (BIP-0141).
    pub wtxid: Hash,
    /// Inputs minus outputs in satoshi; 0 for the coinbase, [`FEE_UNKNOWN`] if not known.
    pub fee_sat: u64,
    /// Where it starts in the raw block.
    pub offset_bytes: u32,
    /// Its length in the raw block, witness included.
    pub length_bytes: u32,
    /// Weight in weight units (BIP-0141).
    pub weight: u32,
    /// Always 0; keeps the size a multiple of 8.
    pub reserved: u32,
}

const _: () = assert!(size_of::<BlockTransaction>() == 88);
const _: () = assert!(size_of::<ArchivedBlockTransaction>() == 88);

/// Body of [`BlockConnected`]: the block in consensus encoding and an index over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct BlockBody<'a> {
    /// One entry per transaction, in block order.
    #[rkyv(with = InlineAsBox)]
    pub transactions: &'a [BlockTransaction],
    /// The block.
    #[rkyv(with = InlineAsBox)]
    pub raw: &'a [u8],
}

/// Body of [`ChainReorganised`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, rkyv::Archive, rkyv::Serialize)]
pub struct ReorganisationBody<'a> {
    /// Blocks that left, highest first.
    #[rkyv(with = InlineAsBox)]
    pub disconnected: &'a [Hash],
    /// Blocks that joined, lowest first.
    #[rkyv(with = InlineAsBox)]
    pub connected: &'a [Hash],
}

/// The bytes are not a body of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid body: {reason}")]
pub struct BodyError {
    /// What the check found.
    pub reason: String,
}

/// Room besides the contents that a body may take: its root and the alignment before it.
const BODY_SLACK_BYTES: usize = 64;

/// The body does not fit where it was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not fit into {room_bytes} bytes")]
pub struct BodyTooLarge {
    /// The room there was.
    pub room_bytes: usize,
}

/// A body that can be written straight into a term.
pub trait WriteBody {
    /// A bound on the bytes it takes.
    fn bound_bytes(&self) -> usize;

    /// Writes it to the start of `target` and answers how many bytes it took. The archive's root stands at their end.
    ///
    /// # Errors
    ///
    /// [`BodyTooLarge`] if `target` is shorter than that.
    fn write(&self, target: &mut [u8]) -> Result<usize, BodyTooLarge>;

    /// Its bytes, apart from any term: for answers and files.
    fn to_bytes(&self) -> Vec<u8> {
        // Aligned, as archives are made.
        let mut bytes = crate::ring::Scratch::new();
        bytes.resize(self.bound_bytes(), 0);
        let length = self.write(&mut bytes).expect("the bound is one");
        bytes[..length].to_vec()
    }
}

/// Serialises into mapped memory: no copy in between, and nothing allocated on the way.
fn write_archive<T>(body: &T, target: &mut [u8]) -> Result<usize, BodyTooLarge>
where
    T: for<'b, 'c> rkyv::Serialize<
            rancor::Strategy<Composed<Buffer<'b>, SubAllocator<'c>, Share>, rancor::BoxedError>,
        >,
{
    let room_bytes = target.len();
    let mut scratch = [core::mem::MaybeUninit::uninit(); 256];
    rkyv::api::serialize_using::<_, rancor::BoxedError>(
        body,
        &mut Composed::new(Buffer::from(&mut *target), SubAllocator::new(&mut scratch), Share::new()),
    )
    .map(|root| root + size_of::<T::Archived>())
    .map_err(|_| BodyTooLarge { room_bytes })
}

impl WriteBody for BlockBody<'_> {
    fn bound_bytes(&self) -> usize {
        // Archived integers are as wide as ours; only the alignment may differ.
        self.raw.len() + size_of_val(self.transactions) + BODY_SLACK_BYTES
    }

    fn write(&self, target: &mut [u8]) -> Result<usize, BodyTooLarge> {
        write_archive(self, target)
    }
}

impl WriteBody for ReorganisationBody<'_> {
    fn bound_bytes(&self) -> usize {
        size_of_val(self.disconnected) + size_of_val(self.connected) + BODY_SLACK_BYTES
    }

    fn write(&self, target: &mut [u8]) -> Result<usize, BodyTooLarge> {
        write_archive(self, target)
    }
}

impl BlockBody<'_> {
    /// Checks `bytes` and gives access to the block in them.
    ///
    /// # Errors
    ///
    /// [`BodyError`].
    pub fn access(bytes: &[u8]) -> Result<&ArchivedBlockBody<'_>, BodyError> {
        rkyv::access::<ArchivedBlockBody<'_>, rancor::BoxedError>(bytes)
            .map_err(|error| BodyError { reason: error.to_string() })
    }
}

impl ArchivedBlockBody<'_> {
    /// The bytes of transaction `index`; `None` if there is none or its entry points outside the block.
    pub fn transaction_bytes(&self, index: usize) -> Option<&[u8]> {
        // The check of an archive does not know what its numbers mean: bound them here.
        let entry = self.transactions.get().get(index)?;
        let start = entry.offset_bytes.to_native() as usize;
        let end = start.checked_add(entry.length_bytes.to_native() as usize)?;
        self.raw.get().get(start..end)
    }
}

impl ReorganisationBody<'_> {
    /// Checks `bytes` and gives access to the lists in them.
    ///
    /// # Errors
    ///
    /// [`BodyError`].
    pub fn access(bytes: &[u8]) -> Result<&ArchivedReorganisationBody<'_>, BodyError> {
        rkyv::access::<ArchivedReorganisationBody<'_>, rancor::BoxedError>(bytes)
            .map_err(|error| BodyError { reason: error.to_string() })
    }
}
