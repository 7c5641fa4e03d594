//! What ordinary modules do, and must still be able to do.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

type Failed = Box<dyn std::error::Error>;
type Work = fn() -> Result<(), Failed>;

/// Prints `name ok`, or `name` and what failed, for every work.
pub(super) fn run(out: &mut impl Write) -> io::Result<()> {
    let works: [(&str, Work); 9] = [
        ("threads", threads),
        ("tcp", tcp),
        ("udp", udp),
        ("name_resolution", name_resolution),
        ("socket_pair", socket_pair),
        ("memory_file", memory_file),
        ("poll", poll_pair),
        ("sleep", sleep),
        ("raise", raise_own),
    ];
    for (name, work) in works {
        match work() {
            Ok(()) => writeln!(out, "{name} ok")?,
            Err(error) => writeln!(out, "{name} {error}")?,
        }
    }
    Ok(())
}

/// Threads start through clone, after clone3 was answered ENOSYS, and wake each other through futexes.
fn threads() -> Result<(), Failed> {
    let (send, receive) = channel();
    let threads: Vec<_> = (0..8_u32)
        .map(|number| {
            let send = send.clone();
            std::thread::Builder::new().spawn(move || send.send(number))
        })
        .collect::<Result<_, _>>()?;
    drop(send);
    let sum: u32 = receive.iter().sum();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    if sum == 28 { Ok(()) } else { Err("a thread's message is missing".into()) }
}

fn tcp() -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    client.write_all(b"block")?;
    let mut bytes = [0; 5];
    server.read_exact(&mut bytes)?;
    if &bytes == b"block" { Ok(()) } else { Err("other bytes came out".into()) }
}

fn udp() -> Result<(), Failed> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.send_to(b"x", receiver.local_addr()?)?;
    receiver.recv_from(&mut [0; 1])?;
    Ok(())
}

/// The C library asks netlink for addresses and tries AF_UNIX first; both answers must be ones it copes with.
fn name_resolution() -> Result<(), Failed> {
    ("localhost", 1).to_socket_addrs()?.next().map(drop).ok_or_else(|| "no address".into())
}

fn socket_pair() -> Result<(), Failed> {
    let (mut left, mut right) = UnixStream::pair()?;
    left.write_all(b"x")?;
    right.read_exact(&mut [0; 1])?;
    Ok(())
}

fn memory_file() -> Result<(), Failed> {
    let mut file = std::fs::File::from(memfd_create(c"probe", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(b"x")?;
    Ok(())
}

fn poll_pair() -> Result<(), Failed> {
    let (mut left, right) = UnixStream::pair()?;
    left.write_all(b"x")?;
    let mut waited = [PollFd::new(right.as_fd(), PollFlags::POLLIN)];
    if poll(&mut waited, PollTimeout::NONE)? == 1 { Ok(()) } else { Err("nothing to read".into()) }
}

fn sleep() -> Result<(), Failed> {
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(1));
    if before.elapsed() >= Duration::from_millis(1) { Ok(()) } else { Err("woke early".into()) }
}

/// `raise` is tgkill on the own pid. The mask must be empty, or the signal would stay pending.
#[allow(unsafe_code)]
fn raise_own() -> Result<(), Failed> {
    if SigSet::thread_get_mask()? != SigSet::empty() {
        return Err("signals are blocked".into());
    }
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal runs no code.
    let before = unsafe { sigaction(Signal::SIGUSR1, &ignore) }?;
    if !matches!(before.handler(), SigHandler::SigDfl) {
        return Err("a disposition was inherited".into());
    }
    Ok(raise(Signal::SIGUSR1)?)
}
