//! The first word of a segment, which says that the header behind it is complete.
//!
//! | creator                            | whoever maps it             |
//! |------------------------------------|-----------------------------|
//! | H1 store the header's other words  | G1 load the magic           |
//! | H2 store the magic (Release)       | fence(Acquire)              |
//! |                                    | G2 load the header's words  |

use crate::memory::{Memory, Word as _, word};
use crate::sync::{Ordering, fence};

/// First word of a segment: "BLVMBUS" and a version-independent 1, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BLVMBUS\x01");

/// Where it stands.
pub const WORD: usize = 0;

/// H2: says that the header is complete.
pub fn store<M: Memory + ?Sized>(memory: &M) {
    // Release: H1 before H2. Pairs with the fence in `load`.
    word(memory, WORD).store(MAGIC, Ordering::Release); // ordering: magic
}

/// G1: what stands where a segment has its magic. If that is [`MAGIC`], the header behind it is complete.
pub fn load<M: Memory + ?Sized>(memory: &M) -> u64 {
    let found = word(memory, WORD).load(Ordering::Relaxed);
    // Acquire: G1 before G2. Pairs with H2.
    fence(Ordering::Acquire); // ordering: magic-fence
    found
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::memory::Model;

    #[test]
    fn whoever_sees_the_magic_finds_the_whole_header() {
        loom::model(|| {
            let memory = Arc::new(Model::new(24, 0, 0));
            let creator = {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    word(&*memory, 1).store(1, Ordering::Relaxed);
                    word(&*memory, 2).store(2, Ordering::Relaxed);
                    store(&*memory);
                })
            };
            if load(&*memory) == MAGIC {
                let header = [1, 2].map(|index| word(&*memory, index).load(Ordering::Relaxed));
                assert_eq!(header, [1, 2]);
            }
            creator.join().unwrap();
        });
    }
}
