//! Segments under a name: for containers that share `/dev/shm`, and for systems without sealed memory files.
//!
//! Weaker than a sealed segment, and made for that:
//!
//! - Whoever may write the name (its user, and root) may change what others read. Subscribers copy, then validate;
//!   nothing is read in place, there are no lease pages.
//! - The file behind it can be shortened by whoever may write it: a reader then dies of SIGBUS.
//! - A name outlives a killed process. Each is locked (flock(2)) by its creator for as long as it lives; a name that nobody
//!   has locked is stale, and taken over when it is wanted again; [`sweep_named`] takes all of them away.
//! - A reader is not told that its writer died: it finds nothing new, and the name still opens.
//! - There is no wake socket: subscribers spin, or look now and then.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg, OFlag, posix_fallocate};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::unistd::Uid;
use shared_memory::ShmemError;

use super::{Bodies, Header, HeaderError, Identity, RunId, read_header, write_header_with};
use crate::layout::{Geometry, GeometryError, Layout, PAGE_BYTES};
use crate::memory::{MapError, Mapped, Named, WORD_BYTES, word};
use crate::message::Topic;
use crate::sync::Ordering;

/// Where Linux shows the names.
#[cfg(target_os = "linux")]
const NAMES: &str = "/dev/shm";

/// What every name of ours begins with, after its slash.
const PREFIX: &str = "blvm-";

/// Longest name of an instance. Some systems bound a whole name to 31 bytes; Linux allows 255.
const MAX_INSTANCE_BYTES: usize = 64;

/// Word of a segment that tells its creator's file from another under the same name, until the header is written.
const MARK_WORD: usize = PAGE_BYTES / WORD_BYTES - 1;

/// How often a name is tried that somebody is sweeping at the very moment.
const ATTEMPTS: usize = 10;

/// Why a named segment could not be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// The instance cannot be part of a name.
    #[error(
        "{instance:?} cannot name an instance: take 1 to {MAX_INSTANCE_BYTES} letters, digits, dots or underscores"
    )]
    Instance {
        /// What was given.
        instance: String,
    },
    /// Its sizes are out of bounds.
    #[error("the geometry of segment {name} is out of bounds")]
    Geometry {
        /// Its name.
        name: String,
        /// Which bound.
        #[source]
        source: GeometryError,
    },
    /// A living process has the name.
    #[error("segment {name} belongs to a living process: give this instance another name")]
    Taken {
        /// The name.
        name: String,
    },
    /// The system refused.
    #[error("segment {name} failed at {step}")]
    Kernel {
        /// Its name.
        name: String,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `shared_memory` could not make it.
    #[error("segment {name} cannot be made")]
    Create {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: ShmemError,
    },
    /// Mapping failed.
    #[error("segment {name} cannot be mapped")]
    Map {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: MapError,
    },
    /// The header is wrong, or not written yet.
    #[error("the header of segment {name} is wrong")]
    Header {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: HeaderError,
    },
    /// Another user made it, or it is no file: whoever may write it decides what is read.
    #[error("segment {name} belongs to user {uid}: only those of one's own user and of root are read")]
    Foreign {
        /// Its name.
        name: String,
        /// Its owner.
        uid: u32,
    },
    /// It is another topic's, or its bodies are not for copying.
    #[error("segment {name} is not one of topic {topic} for readers that copy")]
    NotThis {
        /// Its name.
        name: String,
        /// The topic expected.
        topic: &'static str,
    },
}

/// A segment under a name, as its creator holds it. The name goes with the last owner of the memory.
#[derive(Debug)]
pub struct NamedSegment {
    /// The node's mapping.
    pub memory: Arc<Named>,
    /// Where everything lies.
    pub layout: Layout,
    /// What it is.
    pub identity: Identity,
}

impl NamedSegment {
    /// Creates the segment `/blvm-INSTANCE-TOPIC` with memory for every page, readable by its user alone. A name that a
    /// dead process left behind is taken over.
    ///
    /// # Errors
    ///
    /// [`NamedError`].
    pub fn create(
        instance: &str,
        topic: &str,
        geometry: Geometry,
        identity: Identity,
    ) -> Result<Self, NamedError> {
        if let Err(error) = sweep_named() {
            tracing::debug!(%error, "names of dead processes were not swept");
        }
        let name = name_of(instance, topic)?;
        let layout =
            geometry.layout().map_err(|source| NamedError::Geometry { name: name.clone(), source })?;
        for _ in 0..ATTEMPTS {
            sweep_name(&name)?;
            let mut memory = match Named::create(&name, layout.segment_bytes) {
                Ok(memory) => memory,
                Err(ShmemError::MappingIdExists) => continue,
                Err(source) => return Err(NamedError::Create { name, source }),
            };
            // Whoever sweeps may have come between the creation and the lock: then the name is gone, or another's. Only
            // with the lock on our own file may the name be taken away.
            memory.disown();
            let mark = RunId::random().map_err(|source| kernel(&name, "reading random numbers", source))?;
            let mark = u64::from_le_bytes(mark.0.first_chunk().copied().unwrap_or_default());
            word(&memory, MARK_WORD).store(mark, Ordering::Relaxed);
            let Some(lock) = lock_name(&name)? else { continue };
            let mut found = [0; 8];
            let is_read = File::from(lock.try_clone().map_err(|source| kernel(&name, "dup", source))?)
                .read_exact_at(&mut found, (MARK_WORD * WORD_BYTES) as u64);
            if is_read.is_err() || u64::from_ne_bytes(found) != mark {
                continue;
            }
            word(&memory, MARK_WORD).store(0, Ordering::Relaxed);
            let lock = memory.keep(lock);
            let len = libc::off_t::try_from(layout.segment_bytes).unwrap_or(libc::off_t::MAX);
            // A page that cannot be had later is SIGBUS.
            while let Err(errno) = posix_fallocate(lock.as_fd(), 0, len) {
                if errno != nix::Error::EINTR {
                    return Err(at(&name, "posix_fallocate")(errno));
                }
            }
            write_header_with(&memory, &layout, &identity, Bodies::Copied);
            return Ok(NamedSegment { memory: Arc::new(memory), layout, identity });
        }
        Err(NamedError::Taken { name })
    }

    /// Its name, as the system knows it.
    pub fn name(&self) -> &str {
        self.memory.name()
    }
}

/// Maps the segment of topic `T` of an instance for reading. Of which run it is, its header says.
///
/// # Errors
///
/// [`NamedError`]; `Kernel` with ENOENT if there is none. A killed instance's opens like a living one's.
pub fn open_named<T: Topic>(instance: &str) -> Result<(Mapped, Header), NamedError> {
    let name = name_of(instance, T::NAME)?;
    // Not blocking: the name may be a pipe's that somebody put there.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = shm_open(name.as_str(), flags, Mode::empty()).map_err(at(&name, "shm_open"))?;
    let stat = fstat(&file).map_err(at(&name, "fstat"))?;
    let is_file = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    let owners = [Uid::effective(), Uid::from_raw(0)];
    if !is_file || !owners.contains(&Uid::from_raw(stat.st_uid)) {
        return Err(NamedError::Foreign { name, uid: stat.st_uid });
    }
    let memory = Mapped::read_only(&file, usize::try_from(stat.st_size).unwrap_or(0))
        .map_err(|source| NamedError::Map { name: name.clone(), source })?;
    let header = read_header(&memory).map_err(|source| NamedError::Header { name: name.clone(), source })?;
    let is_topic = (header.identity.topic, header.identity.schema) == (T::NUMBER, T::SCHEMA);
    if !is_topic || header.bodies != Bodies::Copied {
        return Err(NamedError::NotThis { name, topic: T::NAME });
    }
    Ok((memory, header))
}

/// Takes away the names that dead processes of this user left behind, of every instance; how many there were.
///
/// On other systems than Linux names cannot be listed: there a name is swept when it is wanted again.
///
/// # Errors
///
/// What listing the names says.
pub fn sweep_named() -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        let mut swept = 0;
        for entry in std::fs::read_dir(NAMES)? {
            let Ok(file) = entry?.file_name().into_string() else { continue };
            if file.starts_with(PREFIX) {
                // Another user's cannot be opened, a living one's not be locked: both stay.
                swept += usize::from(matches!(sweep_name(&format!("/{file}")), Ok(true)));
            }
        }
        Ok(swept)
    }
    #[cfg(not(target_os = "linux"))]
    Ok(0)
}

fn name_of(instance: &str, topic: &str) -> Result<String, NamedError> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_';
    if !(1..=MAX_INSTANCE_BYTES).contains(&instance.len()) || !instance.bytes().all(is_fit) {
        return Err(NamedError::Instance { instance: instance.to_owned() });
    }
    Ok(format!("/{PREFIX}{instance}-{topic}"))
}

fn kernel(name: &str, step: &'static str, source: io::Error) -> NamedError {
    NamedError::Kernel { name: name.to_owned(), step, source }
}

fn at(name: &str, step: &'static str) -> impl Fn(nix::Error) -> NamedError {
    move |errno| NamedError::Kernel { name: name.to_owned(), step, source: errno.into() }
}

/// Takes a stale name away; whether it was one.
fn sweep_name(name: &str) -> Result<bool, NamedError> {
    let Some(_lock) = lock_name(name)? else { return Ok(false) };
    // Locked by nobody else, and still the name's: its creator is dead, or will find it gone.
    match shm_unlink(name) {
        Ok(()) => Ok(true),
        Err(nix::Error::ENOENT) => Ok(false),
        Err(errno) => Err(at(name, "shm_unlink")(errno)),
    }
}

/// Locks what stands under `name`; `None` if that is nothing, somebody else has locked it, or it is another file by now.
fn lock_name(name: &str) -> Result<Option<Flock<OwnedFd>>, NamedError> {
    let open = || shm_open(name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty());
    let file = match open() {
        Ok(file) => file,
        Err(nix::Error::ENOENT) => return Ok(None),
        Err(errno) => return Err(at(name, "shm_open")(errno)),
    };
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::Error::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(at(name, "flock")(errno)),
    };
    let same = |other: FileStat| fstat(lock.as_fd()).map(|ours| ours.st_ino == other.st_ino);
    let is_same = open().and_then(fstat).and_then(same).unwrap_or(false);
    Ok(is_same.then_some(lock))
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use nix::sys::eventfd::EventFd;

    use super::*;
    use crate::message::chain::{BlockBody, BlockConnected, BlockTransaction, Chain, ChainEvent};
    use crate::message::system::System;
    use crate::publisher::Publisher;
    use crate::segment::RunId;
    use crate::subscriber::{Body, Subscriber};
    use crate::wake::Bell;

    const GEOMETRY: Geometry = Geometry { depth: 8, slot_bytes: 128, terms: 2, term_bytes: 1 << 16 };
    const IDENTITY: Identity =
        Identity { topic: Chain::NUMBER, schema: Chain::SCHEMA, run_id: RunId([7; 16]) };

    /// A name of this test in this process.
    fn instance(test: &str) -> String {
        format!("test_{test}_{}", std::process::id())
    }

    fn create(instance: &str) -> Result<NamedSegment, NamedError> {
        NamedSegment::create(instance, Chain::NAME, GEOMETRY, IDENTITY)
    }

    #[test]
    fn a_block_published_under_a_name_is_copied_whole() {
        let instance = instance("copy");
        let segment = create(&instance).unwrap();
        let (memory, header) = open_named::<Chain>(&instance).unwrap();
        assert_eq!((header.identity, header.layout), (IDENTITY, segment.layout));
        let bell = Arc::new(Bell::new(1, GEOMETRY.depth, Arc::new(EventFd::new().unwrap())));
        let mut publisher = Publisher::<Chain, Named, Mapped>::new(
            Arc::clone(&segment.memory),
            segment.layout,
            2,
            None,
            bell,
        );
        let raw = vec![9; 5_000];
        let connected = BlockConnected {
            hash: [1; 32],
            previous: [2; 32],
            height: 3,
            transactions: 1,
            raw_bytes: raw.len() as u32,
        };
        let body = BlockBody { transactions: &[BlockTransaction::default()], raw: &raw };
        assert!(publisher.publish_with_body(&connected, &body).unwrap().has_body);
        let mut subscriber = Subscriber::<Chain>::new(Arc::new(memory), header.layout, 1, None);
        let sample = subscriber.poll().unwrap().unwrap();
        let ChainEvent::BlockConnected(event) = sample.event().unwrap() else { panic!("another kind") };
        assert_eq!(event.hash, [1; 32]);
        let Body::Copied(bytes) = sample.body().unwrap() else { panic!("no copy") };
        assert_eq!(BlockBody::access(&bytes).unwrap().raw.get(), &raw[..]);
    }

    #[test]
    fn a_living_name_is_taken_and_a_dropped_one_is_gone() {
        let instance = instance("taken");
        let segment = create(&instance).unwrap();
        assert!(matches!(create(&instance), Err(NamedError::Taken { .. })));
        sweep_named().unwrap();
        assert!(open_named::<Chain>(&instance).is_ok());
        let memory = Arc::clone(&segment.memory);
        drop(segment);
        // A publisher still has it.
        assert!(matches!(create(&instance), Err(NamedError::Taken { .. })));
        drop(memory);
        assert!(matches!(open_named::<Chain>(&instance), Err(NamedError::Kernel { step: "shm_open", .. })));
    }

    /// What a killed process leaves: the name, without its lock.
    fn leave_behind(instance: &str) -> String {
        let segment = create(instance).unwrap();
        let name = segment.name().to_owned();
        Arc::into_inner(segment.memory).unwrap().disown();
        name
    }

    #[test]
    fn a_stale_name_is_taken_over_or_swept() {
        let instance = instance("stale");
        leave_behind(&instance);
        assert!(open_named::<Chain>(&instance).is_ok(), "the name outlives its process");
        let segment = create(&instance).unwrap();
        drop(segment);
        leave_behind(&instance);
        assert!(sweep_named().unwrap() >= 1);
        assert!(open_named::<Chain>(&instance).is_err());
    }

    #[test]
    fn what_is_not_this_topic_for_copying_is_refused() {
        let instance = instance("other");
        let segment = NamedSegment::create(&instance, System::NAME, GEOMETRY, IDENTITY).unwrap();
        assert!(matches!(open_named::<System>(&instance), Err(NamedError::NotThis { .. })));
        drop(segment);
        for bad in ["", "a/b", "a-b", &"a".repeat(MAX_INSTANCE_BYTES + 1)] {
            assert!(matches!(create(bad), Err(NamedError::Instance { .. })), "{bad:?}");
        }
        assert!(create(&"a".repeat(MAX_INSTANCE_BYTES)).is_ok());
    }
}
