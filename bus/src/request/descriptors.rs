//! Descriptors over Unix sockets: sent with a frame, received with it, inherited at the start.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::sys::stat::{SFlag, fstat};

use super::{REQUEST_FD, WAKE_FD};

/// Most descriptors in one frame: a segment per topic and a lease page, with room.
pub const MAX_DESCRIPTORS: usize = 24;

/// Sends as many of `bytes` as the socket takes, `descriptors` with the first of them.
///
/// # Errors
///
/// What sendmsg(2) says; `WouldBlock` on a socket that does not block.
pub fn send_with_descriptors(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<UnixAddr>(socket.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?)
}

/// Receives some bytes into `buffer` and the descriptors that travel with them.
///
/// # Errors
///
/// What recvmsg(2) says.
pub fn recv_with_descriptors(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = nix::cmsg_space!([i32; MAX_DESCRIPTORS]);
    recv_into(socket.as_fd(), buffer, &mut control, MsgFlags::MSG_CMSG_CLOEXEC, descriptors)
}

/// As [`recv_with_descriptors`], but never waits.
///
/// # Errors
///
/// What recvmsg(2) says; `WouldBlock` when there is nothing.
pub fn try_recv_with_descriptors(
    socket: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = nix::cmsg_space!([i32; MAX_DESCRIPTORS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    recv_into(socket.as_fd(), buffer, &mut control, flags, descriptors)
}

fn recv_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut [u8],
    flags: MsgFlags,
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(control), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for raw in received {
                // SAFETY: the kernel has just installed this descriptor for us; nobody else owns it.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    Ok(message.bytes)
}

/// Receives bytes from a module without waiting; whether it sent descriptors with them, which nobody takes.
///
/// They are closed by [`close_elsewhere`]. [`refuse_descriptors`] keeps them out altogether where the kernel knows how.
///
/// # Errors
///
/// What recvmsg(2) says; `WouldBlock` when there is nothing.
pub fn recv_refusing(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    // Room for as many as one message can carry (SCM_MAX_FD): what finds no room is closed by the kernel, here.
    let mut control = nix::cmsg_space!([i32; 253]);
    let mut refused = Vec::new();
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let length = recv_into(socket.as_fd(), buffer, &mut control, flags, &mut refused)?;
    let sent_any = !refused.is_empty();
    if sent_any {
        close_elsewhere(refused);
    }
    Ok((length, sent_any))
}

/// Drops what a module had its hands on, on a thread of its own: closing a descriptor can take as long as its maker likes (a
/// TCP socket that lingers), and closing a socket closes the descriptors that wait in it.
pub fn close_elsewhere<T: Send + 'static>(value: T) {
    let close = std::thread::Builder::new().name("blvm-close".to_owned()).spawn(move || drop(value));
    if let Err(error) = close {
        tracing::warn!(%error, "no thread to close a module's descriptors: they were closed where they are");
    }
}

/// Bytes (with their bookkeeping) that were sent on a Unix stream socket and not read yet; 0 once the peer has read all.
///
/// # Errors
///
/// What ioctl(2) says.
///
/// Source: unix(7), `SIOCOUTQ`.
pub fn unread_bytes(socket: impl AsFd) -> io::Result<usize> {
    nix::ioctl_read_bad!(outq, libc::TIOCOUTQ, libc::c_int);
    let mut unread = 0;
    // SAFETY: the request writes one int, to a live variable of that type.
    unsafe { outq(socket.as_fd().as_raw_fd(), &mut unread) }?;
    Ok(usize::try_from(unread).unwrap_or(0))
}

/// Whether the file of `descriptor` is open by another open(2) than the one `descriptor` comes from, in whatever hands: a
/// descriptor, a message on its way, a mapping. All of them, `descriptor` too, must be without the right to write.
///
/// A write lease is granted on a file that is open once only; it is given back at once.
///
/// # Errors
///
/// What fcntl(2) says of leases but that the file is open elsewhere: EINVAL where its file system has none.
///
/// Source: fcntl(2), "Leases"; `check_conflicting_open` in Linux' fs/locks.c counts readers since 5.3.
pub(super) fn is_open_elsewhere(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    // include/uapi/asm-generic/fcntl.h
    const F_SETSIG: libc::c_int = 10;
    let set = |command: libc::c_int, argument: libc::c_int| {
        // SAFETY: these commands take an integer, and touch no memory of this process.
        nix::Error::result(unsafe { libc::fcntl(descriptor.as_raw_fd(), command, argument) })
    };
    // Whoever opened the file in between would have this process told by SIGIO, which ends it: SIGURG does nothing.
    set(F_SETSIG, libc::SIGURG)?;
    match set(libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(_) => {
            set(libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(nix::Error::EAGAIN) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the kernel refuse descriptors that the peer of `socket` sends (EPERM there); `false` where it cannot.
///
/// A descriptor that nobody takes is closed by the thread that receives its message, and closing can take as long as
/// the sender likes: a TCP socket with `SO_LINGER` blocks until its time is out. Call it before the peer can send.
///
/// # Errors
///
/// What setsockopt(2) says.
///
/// Source: `SO_PASSRIGHTS`, since Linux 6.16 (include/uapi/asm-generic/socket.h).
pub fn refuse_descriptors(socket: impl AsFd) -> io::Result<bool> {
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    // SAFETY: the option is one int, read from a live variable of that type.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match nix::Error::result(outcome) {
        Ok(_) => Ok(true),
        Err(nix::Error::ENOPROTOOPT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// This process was not started by a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The descriptors are no sockets.
    #[error(
        "descriptor {descriptor} is not a socket of the node: a module is started by `blvm run`, not by hand"
    )]
    NotASocket {
        /// Which.
        descriptor: i32,
    },
    /// They were taken before.
    #[error("the node's sockets were taken already: attach once per process")]
    Taken,
}

/// The request socket and the wake socket that the node gave to this process, once.
///
/// # Errors
///
/// [`InheritError`].
pub fn inherited_sockets() -> Result<(UnixStream, OwnedFd), InheritError> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    for descriptor in [REQUEST_FD, WAKE_FD] {
        // SAFETY: borrowed for this one question; a closed descriptor answers EBADF.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let is_socket = fstat(borrowed)
            .is_ok_and(|status| status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits());
        if !is_socket {
            return Err(InheritError::NotASocket { descriptor });
        }
    }
    if IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Err(InheritError::Taken);
    }
    // SAFETY: open, as just seen; the node placed it there for us before exec, and the flag above lets
    // one caller only become its owner.
    let request = unsafe { OwnedFd::from_raw_fd(REQUEST_FD) };
    // SAFETY: as above.
    let wake = unsafe { OwnedFd::from_raw_fd(WAKE_FD) };
    Ok((UnixStream::from(request), wake))
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_arrive_with_the_first_byte_of_their_frame() {
        let (left, right) = UnixStream::pair().unwrap();
        let (a, b) = nix::unistd::pipe().unwrap();
        assert_eq!(send_with_descriptors(&left, b"one", &[]).unwrap(), 3);
        assert_eq!(send_with_descriptors(&left, b"two", &[a.as_fd(), b.as_fd()]).unwrap(), 3);
        let mut descriptors = Vec::new();
        let mut bytes = Vec::new();
        while bytes.len() < 6 {
            let mut buffer = [0; 16];
            let length = recv_with_descriptors(&right, &mut buffer, &mut descriptors).unwrap();
            bytes.extend_from_slice(&buffer[..length]);
            assert_eq!(descriptors.len(), if bytes.len() > 3 { 2 } else { 0 });
        }
        assert_eq!(bytes, b"onetwo");
    }

    #[test]
    fn a_socket_that_refuses_descriptors_takes_bytes_and_sends_descriptors_all_the_same() {
        let (node, module) = UnixStream::pair().unwrap();
        if !refuse_descriptors(&node).unwrap() {
            // An older kernel.
            return;
        }
        let refused = send_with_descriptors(&module, b"x", &[module.as_fd()]).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert_eq!(unread_bytes(&module).unwrap(), 0);
        assert_eq!(send_with_descriptors(&module, b"x", &[]).unwrap(), 1);
        let mut descriptors = Vec::new();
        send_with_descriptors(&node, b"y", &[node.as_fd()]).unwrap();
        recv_with_descriptors(&module, &mut [0; 1], &mut descriptors).unwrap();
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn what_was_sent_counts_as_unread_until_it_is_read() {
        let (left, right) = UnixStream::pair().unwrap();
        assert_eq!(unread_bytes(&left).unwrap(), 0);
        send_with_descriptors(&left, b"abc", &[]).unwrap();
        assert!(unread_bytes(&left).unwrap() >= 3);
        recv_with_descriptors(&right, &mut [0; 3], &mut Vec::new()).unwrap();
        assert_eq!(unread_bytes(&left).unwrap(), 0);
    }
}
