//! Leases: how a subscriber keeps a block body still while it reads it in place.
//!
//! Each lease holder has one lease page, the one memory a module may write. A lease word holds the sequence of the
//! message whose body it claims, or 0. The publisher reads every word once when it wants to reuse a term.
//!
//! | subscriber (`Lease::take`)            | publisher (`Terms::enter_next`)              |
//! |---------------------------------------|-----------------------------------------------|
//! | L1 store the sequence (Release)       | R1 raise `oldest_body` (Relaxed)             |
//! | fence(SeqCst)                         | fence(SeqCst)                                |
//! | L2 load `oldest_body` (Relaxed)       | R2 load the scan table, then every word (Acquire) |
//! | L3 read the body                      | R3 write the body, if no word names the term |
//! | L4 store 0 (Release), when dropped    |                                               |
//!
//! One of L2 and R2 sees the other side: a subscriber that finds its sequence still above `oldest_body` has
//! published a word that the scan sees. Every store to a lease word is Release and R2 is Acquire, so that R3 comes
//! after all reads made under a lease that ended (L3 before L4 before R2 before R3), also when the word moved on
//! to another message in between.

#[cfg(not(loom))]
pub mod page;

#[cfg(not(loom))]
mod body;

#[cfg(not(loom))]
pub use body::LeasedBody;

use std::sync::Arc;

use crate::memory::{Memory, Word as _, word};
use crate::sync::{Mutex, Ordering, fence};

/// Words between two lease words: each stands on its own pair of cache lines.
#[cfg(not(loom))]
const LEASE_STRIDE_WORDS: usize = 16;
#[cfg(loom)]
const LEASE_STRIDE_WORDS: usize = 1;

/// Most leases one module may be given.
pub const MAX_LEASES: u8 = 32;

/// Bytes of a lease page.
pub const LEASE_PAGE_BYTES: usize = MAX_LEASES as usize * 128;

/// What a subscriber needs to take leases: its page, and how many words of it count.
#[derive(Debug)]
pub struct LeaseHolder<P: Memory> {
    page: P,
    limit: u8,
    /// Which words are in use. Private to this process: what stands in the page is for the publisher.
    taken: Mutex<u32>,
}

/// Why no lease was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRefused {
    /// All words are in use.
    TooMany {
        /// How many there are.
        limit: u8,
    },
    /// The body was reclaimed.
    Gone,
}

/// A claim on one body. Ends when dropped, or with the process.
#[derive(Debug)]
pub struct Lease<P: Memory> {
    holder: Arc<LeaseHolder<P>>,
    index: u8,
}

impl<P: Memory> LeaseHolder<P> {
    /// A holder of at most `limit` leases at once.
    ///
    /// # Panics
    ///
    /// If `limit` is beyond [`MAX_LEASES`], the page is too short for it, or the page has a holder already: two would
    /// take the same words.
    pub fn new(page: P, limit: u8) -> Self {
        assert!(limit <= MAX_LEASES && page.len_bytes() >= usize::from(limit) * LEASE_STRIDE_WORDS * 8);
        assert!(page.claim(), "a lease page has one holder");
        LeaseHolder { page, limit, taken: Mutex::new(0) }
    }

    /// Claims the body of `sequence` in `segment`, whose `oldest_body` word is given.
    ///
    /// # Errors
    ///
    /// [`LeaseRefused`].
    pub fn take<M: Memory + ?Sized>(
        self: &Arc<Self>,
        segment: &M,
        oldest_body_word: usize,
        sequence: u64,
    ) -> Result<Lease<P>, LeaseRefused> {
        let index = self.reserve()?;
        // From here on dropping the lease clears the word, whatever happens.
        let lease = Lease { holder: Arc::clone(self), index };
        // L1, Release: the reads under this word's lease before are over. Pairs with R2.
        self.word(index).store(sequence, Ordering::Release); // ordering: lease-take
        // SeqCst: L1 before L2. Pairs with the fence between R1 and R2 in `Terms::enter_next`.
        fence(Ordering::SeqCst); // ordering: lease-fence
        // L2
        if word(segment, oldest_body_word).load(Ordering::Relaxed) <= sequence {
            Ok(lease)
        } else {
            Err(LeaseRefused::Gone)
        }
    }

    /// How many leases are held now.
    pub fn held(&self) -> u8 {
        self.taken.lock().count_ones() as u8
    }

    fn reserve(&self) -> Result<u8, LeaseRefused> {
        let mut taken = self.taken.lock();
        let index = taken.trailing_ones() as u8;
        if index >= self.limit {
            return Err(LeaseRefused::TooMany { limit: self.limit });
        }
        *taken |= 1 << index;
        Ok(index)
    }

    fn word(&self, index: u8) -> &P::Word {
        word(&self.page, usize::from(index) * LEASE_STRIDE_WORDS)
    }
}

impl<P: Memory> Drop for Lease<P> {
    fn drop(&mut self) {
        // L4, Release: the reads under the lease are over. Pairs with R2.
        self.holder.word(self.index).store(0, Ordering::Release); // ordering: lease-drop
        *self.holder.taken.lock() &= !(1 << self.index);
    }
}

/// The lease pages the publisher looks at before it reuses a term. Node-private.
///
/// A page is entered before its module is told that it is attached, and taken out when the module's process has
/// exited. A scan in progress keeps the page alive.
#[derive(Debug)]
pub struct ScanTable<P> {
    pages: Mutex<Vec<Arc<ScannedPage<P>>>>,
    /// Of `capacity`, the places that neither a page nor a promise takes. Locked before `pages`, never by a scan.
    free: Mutex<usize>,
    capacity: usize,
}

/// A place in the table, promised to a page that its module has not mapped yet. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place<P> {
    table: Arc<ScanTable<P>>,
    is_taken: bool,
}

/// One lease page as the node sees it.
#[derive(Debug)]
pub struct ScannedPage<P> {
    page: P,
    limit: u8,
}

/// The table holds all the lease pages it may: this module gets copies by request instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{capacity} modules hold lease pages already: this one is served without leases")]
pub struct TableFull {
    /// How many it may hold.
    pub capacity: usize,
}

impl<P: Memory> ScanTable<P> {
    /// An empty table for at most `capacity` lease pages.
    pub fn new(capacity: usize) -> Self {
        ScanTable { pages: Mutex::new(Vec::with_capacity(capacity)), free: Mutex::new(capacity), capacity }
    }

    /// Promises a place: the page may be entered later, whoever else comes meanwhile.
    ///
    /// # Errors
    ///
    /// [`TableFull`].
    pub fn promise(self: &Arc<Self>) -> Result<Place<P>, TableFull> {
        self.take_place()?;
        Ok(Place { table: Arc::clone(self), is_taken: false })
    }

    /// Enters a page of which `limit` words count.
    ///
    /// # Errors
    ///
    /// [`TableFull`].
    pub fn enter(&self, page: P, limit: u8) -> Result<Arc<ScannedPage<P>>, TableFull> {
        self.take_place()?;
        Ok(self.push(page, limit))
    }

    fn take_place(&self) -> Result<(), TableFull> {
        let mut free = self.free.lock();
        *free = free.checked_sub(1).ok_or(TableFull { capacity: self.capacity })?;
        Ok(())
    }

    fn push(&self, page: P, limit: u8) -> Arc<ScannedPage<P>> {
        let entry = Arc::new(ScannedPage { page, limit: limit.min(MAX_LEASES) });
        self.pages.lock().push(Arc::clone(&entry));
        entry
    }

    /// Takes a page out. Only when its module's process has exited: its leases end here.
    pub fn remove(&self, entry: &Arc<ScannedPage<P>>) {
        let mut free = self.free.lock();
        let mut pages = self.pages.lock();
        let before = pages.len();
        pages.retain(|other| !Arc::ptr_eq(other, entry));
        *free += before - pages.len();
    }

    /// R2: appends every claimed sequence to `found` (cleared first). The caller has fenced before.
    pub(crate) fn scan(&self, found: &mut Vec<u64>) {
        found.clear();
        // The lock is the node's own; attaching holds it for one push. Pages entered after this look
        // belong to modules that see the raised `oldest_body`: the lock orders R1 before their attach.
        for entry in self.pages.lock().iter() {
            for index in 0..usize::from(entry.limit) {
                // R2, Acquire: pairs with L1 and L4. Read once: the module may change it at any moment.
                let claimed = word(&entry.page, index * LEASE_STRIDE_WORDS).load(Ordering::Acquire); // ordering: lease-scan
                if claimed != 0 {
                    found.push(claimed);
                }
            }
        }
    }

    /// How many pages are in the table.
    pub fn len(&self) -> usize {
        self.pages.lock().len()
    }

    /// Whether no page is in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<P: Memory> Place<P> {
    /// Enters a page of which `limit` words count, at the place that was promised.
    pub fn enter(mut self, page: P, limit: u8) -> Arc<ScannedPage<P>> {
        self.is_taken = true;
        self.table.push(page, limit)
    }
}

impl<P> Drop for Place<P> {
    fn drop(&mut self) {
        if !self.is_taken {
            *self.table.free.lock() += 1;
        }
    }
}

impl<P: Memory> ScannedPage<P> {
    /// How many leases this module claims now.
    pub fn claimed(&self) -> u8 {
        (0..usize::from(self.limit))
            .filter(|index| word(&self.page, index * LEASE_STRIDE_WORDS).load(Ordering::Relaxed) != 0)
            .count() as u8
    }
}
