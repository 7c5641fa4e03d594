//! The chain's effects exactly once: what the author writes for a step is committed together with the step's checkpoint.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use blvm_bus::message::Hash;
use blvm_bus::request::ChainPosition;

use super::Storage;
use super::error::StorageError;
use super::tables::{Reader, Table, Writer};
use crate::chain_follower::{ChainFollower, ChainStep, FollowError};
use crate::client::Client;
use crate::session::{Session, SessionError};

/// Height and hash of the block whose effects are there, by the follower's name.
const CHECKPOINTS: Table<&str, (u32, Hash)> = Table::new("blvm.checkpoints");

/// The one follower of a module.
const NAME: &str = "chain";

/// Most steps of one transaction: a commit waits for the disk, and a module that catches up takes many steps.
const MAX_STEPS: u32 = 64;

/// Follows the chain from the checkpoint in the module's database.
///
/// Whatever dies at whatever moment: from the start on, which is kept in the database, each block's effect is there exactly once, and
/// undone exactly once where the block has left. What came and went while the module did not follow is not seen: it is brought
/// from its checkpoint to the chain there is.
///
/// ```no_run
/// # use blvm_sdk::storage::{Migrations, Storage, StorageOptions, StoredFollower, Table};
/// # use blvm_sdk::{Chain, ChainStep, Session, Topics, Wait, request::ChainPosition};
/// const BLOCKS: Table<u32, [u8; 32]> = Table::new("blocks");
///
/// # fn follow(genesis: ChainPosition) -> Result<(), Box<dyn std::error::Error>> {
/// let mut session = Session::attach(Topics::new().with::<Chain>(), Wait::Park)?;
/// let storage = Storage::open(&StorageOptions::default(), &Migrations::new(&[]))?;
/// let mut follower = StoredFollower::new(&storage, &mut session, genesis)?;
/// while !follower.feed().is_closed() && !session.is_stopping() {
///     let steps = follower.advance(session.client(), |writer, step| {
///         let mut blocks = writer.table(BLOCKS)?;
///         match step {
///             ChainStep::Connect(block) => blocks.insert(block.position.height, block.position.hash)?,
///             ChainStep::Disconnect(block) => drop(blocks.remove(block.position.height)?),
///         }
///         Ok::<_, Box<dyn std::error::Error>>(())
///     })?;
///     if steps == 0 {
///         session.wait(&[follower.feed()])?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StoredFollower<'a> {
    storage: &'a Storage,
    follower: ChainFollower,
    /// As in the database, as far as is known.
    checkpoint: ChainPosition,
    /// After a failure it is read again: a commit that failed on the disk may have been one all the same.
    is_known: bool,
}

/// Why a follower with a database could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The checkpoint could not be read, or the first one not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The topic could not be read.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl<'a> StoredFollower<'a> {
    /// Follows from the checkpoint in `storage`; from `start` where there is none: the block below the first whose effect is
    /// wanted. The first `start` is committed as the checkpoint: what a later start of the program gives has no meaning any more, and
    /// no block between is passed over. One follower for a database.
    ///
    /// # Errors
    ///
    /// [`BeginError`].
    pub fn new(
        storage: &'a Storage,
        session: &mut Session,
        start: ChainPosition,
    ) -> Result<Self, BeginError> {
        let checkpoint = match storage.read(checkpoint)? {
            Some(checkpoint) => checkpoint,
            None => {
                storage.write(|writer| keep(writer, start))?;
                start
            }
        };
        let follower = ChainFollower::new(session, checkpoint)?;
        Ok(StoredFollower { storage, follower, checkpoint, is_known: true })
    }

    /// Takes the steps there are, 64 at most: lets `effect` write what each means, and commits all of it with the
    /// checkpoint. How many they were; at 0 wait for [`StoredFollower::feed`].
    ///
    /// `effect` may be called again for a step whose transaction was not committed: it writes with what it is given, and
    /// does nothing else that would count twice.
    ///
    /// # Errors
    ///
    /// Those of `effect`, [`FollowError`] and [`StorageError`]. Nothing was written then, and the follower stands at its
    /// checkpoint: call again to try again.
    pub fn advance<E>(
        &mut self,
        client: &mut Client,
        mut effect: impl FnMut(&Writer, &ChainStep) -> Result<(), E>,
    ) -> Result<u32, E>
    where
        E: From<FollowError> + From<StorageError>,
    {
        if !self.is_known {
            self.checkpoint = self.storage.read(checkpoint)?.unwrap_or(self.checkpoint);
            self.follower.return_to(self.checkpoint);
            self.is_known = true;
        }
        // Without a step there is no transaction: an idle module writes nothing.
        let Some(first) = self.follower.next(client)? else { return Ok(0) };
        let follower = &mut self.follower;
        let taken = self.storage.write(|writer| {
            let mut steps = 1;
            effect(writer, &first)?;
            // A body in place is one of few: it goes before the next step comes.
            drop(first);
            while steps < MAX_STEPS {
                // A failure comes again with the next call; what was done is kept.
                let Ok(Some(step)) = follower.next(client) else { break };
                effect(writer, &step)?;
                steps += 1;
            }
            keep(writer, follower.position())?;
            Ok::<_, E>(steps)
        });
        self.is_known = taken.is_ok();
        if self.is_known {
            self.checkpoint = self.follower.position();
        }
        taken
    }

    /// The block whose effects are in the database.
    pub fn checkpoint(&self) -> ChainPosition {
        self.checkpoint
    }

    /// The feed, to wait for.
    pub fn feed(&self) -> &crate::Feed<crate::Chain> {
        self.follower.feed()
    }

    /// How often it had to ask the node, the first time included.
    pub fn repairs(&self) -> u64 {
        self.follower.repairs()
    }
}

impl Storage {
    /// The block whose effects are in the database; `None` before the first [`StoredFollower`].
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn checkpoint(&self) -> Result<Option<ChainPosition>, StorageError> {
        self.read(checkpoint)
    }
}

fn keep(writer: &Writer, position: ChainPosition) -> Result<(), StorageError> {
    writer.own_table(CHECKPOINTS)?.insert(NAME, (position.height, position.hash)).map(drop)
}

fn checkpoint(reader: &Reader) -> Result<Option<ChainPosition>, StorageError> {
    let kept = reader.own(CHECKPOINTS, NAME)?;
    Ok(kept.map(|(height, hash)| ChainPosition { hash, height }))
}
