//! Starts module processes that the kernel, not good manners, keeps apart from the node.
//!
//! | step | where | file |
//! |---|---|---|
//! | copy the program into sealed memory, hash it | the caller's thread | `binary` |
//! | check the request, prepare every byte the child needs | the caller's thread | `plan`, `seccomp` |
//! | fork, read the child's reports | the spawner's thread | `spawner`, `launch` |
//! | give up everything that was not granted, execute | the child | `stages` |
//! | signal, wait, reap | anywhere | `child` |
//!
//! All children are forked by one thread that lives as long as the [`Spawner`]: the kernel sends
//! the death signal when the forking *thread* exits. Dropping the spawner therefore kills its children.
//!
//! Unsafe code: `descriptors` (one duplicate), `launch` (fork), `stages` (between fork and exec), `child` (waitid, pidfds, signals).
//!
//! What this crate cannot enforce: shared anonymous memory escapes `RLIMIT_DATA`, so only a cgroup
//! bounds a module's memory; files and TCP ports are open unless the request brings a Landlock ruleset; an `execve` by the module itself
//! stays possible and keeps every layer except [`Layer::NotDumpable`].
//!
//! ```no_run
//! use blvm_sandbox::{SpawnRequest, Spawner, UidGid};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spawner = Spawner::start()?;
//! let mut request = SpawnRequest::new("/usr/lib/blvm/modules/mesh");
//! request.uid = Some(UidGid { uid: 61_001, gid: 61_001 });
//! let mut module = spawner.spawn(request)?;
//! let report = module.wait()?;
//! # let _ = report;
//! # Ok(())
//! # }
//! ```

mod binary;
mod child;
mod control_group;
mod descriptors;
mod error;
mod landlock;
mod launch;
mod layer;
mod plan;
mod protect;
mod request;
mod seccomp;
mod spawner;
mod stages;
mod step;

pub use binary::SealedBinary;
pub use child::{Child, ExitReport, signal_process};
pub use control_group::{ControlGroup, ControlGroups, Controller, GroupError, GroupLimits, Unavailable};
pub use error::{SpawnError, StartError};
pub use landlock::{LandlockError, Reach, confines_ports, landlock_abi, landlock_lacks};
pub use layer::{Layer, WeakReason};
pub use protect::{ProtectError, is_protected, protect_this_process};
pub use request::{Limits, SpawnRequest, UidGid};
pub use spawner::Spawner;
pub use step::Step;
