//! The wake socket: a pair of which the node keeps one end and the module gets the other.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};

use crate::request::refuse_descriptors;

/// Room for the wakes of all waiters of a module; the kernel doubles it, and takes most of a KiB a packet. Small: what a
/// module leaves unread costs the node's memory.
const WAKES_BYTES: usize = 32 << 10;

/// Room for a few records. Whoever finds none waits until the node has read one.
const RECORDS_BYTES: usize = 4 << 10;

/// Why waking could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("setting up the waker failed at {step}")]
pub struct WakerError {
    /// What was being done.
    pub step: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

pub(super) fn at(step: &'static str) -> impl Fn(nix::Error) -> WakerError {
    move |errno| WakerError { step, source: errno.into() }
}

/// A wake socket: the node's end, then the module's.
///
/// # Errors
///
/// [`WakerError`].
pub fn wake_socket_pair() -> Result<(OwnedFd, OwnedFd), WakerError> {
    let (node, module) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(at("socketpair"))?;
    for (end, bytes) in [(&node, WAKES_BYTES), (&module, RECORDS_BYTES)] {
        setsockopt(end, sockopt::SndBuf, &bytes).map_err(at("setsockopt"))?;
    }
    refuse_descriptors(&node).map_err(|source| WakerError { step: "refusing descriptors", source })?;
    Ok((node, module))
}
