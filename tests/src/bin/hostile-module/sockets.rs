//! Attempts through the two sockets: what the node reads from them is input, and what it does not want costs it nothing.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use blvm_bus::request::{FRAME_HEAD_BYTES, MAX_FRAME_BYTES, Refusal, Reply, Request, send_with_descriptors};
use blvm_bus::wake::{Record, Want};
use libc::{MAP_SHARED, PROT_READ};
use nix::errno::Errno;

use crate::conversation::Conversation;
use crate::kernel::{Answer, View, call};
use crate::report::{Layer, Report, Target};

/// Longer than a node that is well takes for anything here.
const TOO_LONG: Duration = Duration::from_secs(1);

/// How long closing a socket waits for its unsent data: in whatever process closes it last.
const LINGER_S: i32 = 3;

const GARBAGE_FRAMES: usize = 2_000;
const UNREAD_REQUESTS: usize = 20_000;
/// More than any node lets a module hold.
const KEPT_ANSWERS: usize = 1_000;
const PAGE_BYTES: usize = 4096;
const RECORDS: usize = 20_000;

/// Everything on the request socket; the conversation must go on after each of it.
pub(crate) fn attack_requests(
    report: &mut Report,
    target: &Target,
    talk: &mut Conversation,
) -> io::Result<()> {
    let hello = talk.hello();
    report.refused_by_the_node("requests: hello a second time", hello.is_err())?;
    let again = talk.ask(&Request::Mapped)?;
    let is_refused = matches!(again, Reply::Refused(Refusal::OutOfTurn { .. }));
    report.refused_by_the_node("requests: mapped a second time", is_refused)?;
    let denied = talk.ask(&Request::SubmitMempoolTransaction { raw: vec![0; 100] })?;
    let is_refused = matches!(denied, Reply::Refused(Refusal::Denied { .. }));
    report.refused_by_the_node("requests: one without permission", is_refused)?;
    garbage(report, talk)?;
    oversized(report, talk)?;
    false_heads(report, talk)?;
    unread(report, target, talk)?;
    kept(report, talk)?;
    descriptors(report, target, talk)
}

/// Asks something ordinary; whether the answer came in time.
fn is_answered(talk: &mut Conversation) -> bool {
    let start = Instant::now();
    matches!(talk.ask(&Request::GetChainTip), Ok(Reply::ChainTip(_))) && start.elapsed() < TOO_LONG
}

fn garbage(report: &mut Report, talk: &mut Conversation) -> io::Result<()> {
    let mut refused = 0;
    for number in 0..GARBAGE_FRAMES {
        let body = vec![number as u8 | 0x80; number % 300];
        let head = talk.head(body.len());
        talk.request.write_all(&[&head.encode()[..], &body].concat())?;
        refused += usize::from(matches!(talk.answer()?, Reply::Refused(Refusal::Malformed { .. })));
    }
    let is_well = refused == GARBAGE_FRAMES && is_answered(talk);
    report.refused_by_the_node("requests: 2000 frames of garbage", is_well)
}

fn oversized(report: &mut Report, talk: &mut Conversation) -> io::Result<()> {
    let body = vec![0xee; MAX_FRAME_BYTES + 1];
    let head = talk.head(body.len());
    talk.request.write_all(&head.encode())?;
    talk.request.write_all(&body)?;
    let is_refused = matches!(talk.answer()?, Reply::Refused(Refusal::TooLarge { .. }));
    report.refused_by_the_node("requests: a frame beyond the limit", is_refused && is_answered(talk))
}

/// A head that promises descriptors and a memfd that never come.
fn false_heads(report: &mut Report, talk: &mut Conversation) -> io::Result<()> {
    let mut frame = talk.frame(&Request::GetChainTip);
    frame[4..8].copy_from_slice(&[0xff, 0xff, 1, 0]);
    frame[20..FRAME_HEAD_BYTES].copy_from_slice(&[0xff; 4]);
    talk.request.write_all(&frame)?;
    let first = talk.answer();
    report.harmless("requests: a head that promises descriptors", Layer::Node, &Ok(0), || {
        first.is_ok() && is_answered(talk)
    })
}

/// Asks on and on, and reads no answer until the socket takes no more.
fn unread(report: &mut Report, target: &Target, talk: &mut Conversation) -> io::Result<()> {
    talk.request.set_nonblocking(true)?;
    let mut pending: Vec<u8> = Vec::new();
    let mut asked = 0;
    for _ in 0..UNREAD_REQUESTS {
        // An answer this long comes in a memfd.
        let frame = talk.frame(&Request::GetBlockByHeight { height: 1 });
        match talk.request.write(&frame) {
            Ok(length) => {
                asked += 1;
                if length < frame.len() {
                    pending = frame[length..].to_vec();
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let is_well = target.is_well();
    talk.request.set_nonblocking(false)?;
    // What is left of the last frame goes out from behind, while the answers are read here.
    let mut writer = talk.request.try_clone()?;
    let rest = std::thread::spawn(move || writer.write_all(&pending));
    for _ in 0..asked {
        talk.answer()?;
    }
    let is_written = matches!(rest.join(), Ok(Ok(())));
    report.harmless("requests: ask on and read no answer", Layer::Node, &Ok(0), || {
        is_well && is_written && is_answered(talk)
    })
}

/// Maps every long answer it gets and closes its descriptor: the memory would be the node's for as long as this lives.
fn kept(report: &mut Report, talk: &mut Conversation) -> io::Result<()> {
    let ask = |talk: &mut Conversation| talk.ask(&Request::GetBlockByHeight { height: 1 });
    // What was not read before is given back.
    drop(talk.take_memfd());
    let mut mapped = Vec::new();
    let is_refused = loop {
        match ask(talk)? {
            Reply::Refused(refusal) => break matches!(refusal, Refusal::AnswersHeld { .. }),
            _ if mapped.len() == KEPT_ANSWERS => break false,
            _ => {
                let memory = talk.take_memfd().ok_or_else(|| io::Error::other("an answer without memory"))?;
                mapped.push(View::map(memory.as_raw_fd(), PAGE_BYTES, PROT_READ, MAP_SHARED)?);
            }
        }
    };
    drop(mapped);
    let is_served_again = !matches!(ask(talk)?, Reply::Refused(_));
    drop(talk.take_memfd());
    report.refused_by_the_node("requests: keep every long answer mapped", is_refused && is_served_again)
}

/// Descriptors nobody asked for: the node must not even have to close them.
fn descriptors(report: &mut Report, target: &Target, talk: &mut Conversation) -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    let many = [null.as_fd(); 253];
    let mut answer: Answer<usize> = Ok(0);
    for _ in 0..100 {
        let frame = talk.frame(&Request::GetChainTip);
        answer = send(talk.request_fd(), &frame, &many);
        if answer.is_err() {
            break;
        }
        talk.answer()?;
    }
    report.refused("requests: 25300 descriptors to the node", Layer::Node, &[Errno::EPERM], &answer)?;
    let frame = talk.frame(&Request::GetChainTip);
    let Some(slow) = slow_to_close(target)? else { return Ok(()) };
    let start = Instant::now();
    let answer = send(talk.request_fd(), &frame, &[slow.as_fd()]);
    drop(slow);
    if answer.is_ok() {
        talk.answer()?;
    }
    let is_harmless = start.elapsed() < TOO_LONG;
    let attempt = "requests: a socket that is slow to close";
    match answer {
        Ok(_) => report.harmless(attempt, Layer::Node, &answer, || is_harmless && target.is_well()),
        Err(_) => report.refused(attempt, Layer::Node, &[Errno::EPERM], &answer),
    }
}

/// A TCP connection with data that nobody takes: whoever closes it last waits for that data. `None` where this module has
/// no port, as the host could not confine it to that one.
fn slow_to_close(target: &Target) -> io::Result<Option<TcpStream>> {
    let Some(port) = target.own_port else { return Ok(None) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nonblocking(true)?;
    while client.write(&[0; 64 << 10]).is_ok() {}
    // `struct linger`: on, and for how long.
    let linger = [1 | (LINGER_S as u64) << 32];
    call!(libc::SYS_setsockopt, client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &linger[..], 8)?;
    // The peer must stay, or its reset would end the waiting; this program's end takes it away.
    std::mem::forget(server);
    Ok(Some(client))
}

/// As many descriptors in flight as this user may have: they count for all processes of one user together.
pub(crate) fn hold_descriptors(report: &mut Report, talk: &mut Conversation) -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    let many = [null.as_fd(); 253];
    let mut pairs: Vec<(UnixStream, UnixStream)> = Vec::new();
    let refused = loop {
        let pair = UnixStream::pair()?;
        let answer = send(pair.0.as_fd(), b"x", &many);
        pairs.push(pair);
        if let Err(errno) = answer {
            break errno;
        }
        if pairs.len() > 400 {
            break Errno::UnknownErrno;
        }
    };
    // The node's long answers are descriptors as well.
    let mut is_answered = || {
        let reply = talk.ask(&Request::GetBlockByHeight { height: 1 });
        matches!(reply, Ok(Reply::Block(_)))
    };
    let attempt = "requests: all descriptors in flight that the user may have";
    let is_bounded = refused == Errno::ETOOMANYREFS;
    report.harmless(attempt, Layer::Node, &Ok(0), || is_bounded && is_answered())
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Answer<usize> {
    send_with_descriptors(socket, bytes, descriptors)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Everything on the wake socket. The last of it makes the node close it.
pub(crate) fn attack_wakes(report: &mut Report, target: &Target, talk: &mut Conversation) -> io::Result<()> {
    let wake = talk.wake_fd();
    for number in 0..RECORDS as u64 {
        // Cursors that are always, and that are never reached; topics that were never given.
        let cursor = [1, u64::MAX, target.published()][number as usize % 3];
        let want = Want { topic: number as u32 % 9, cursor, kinds: u64::MAX >> (number % 64) };
        let record = Record { waiter: number as u32 % 64, epoch: number, wants: vec![want; 16] };
        let _ = send_record(wake, &record.encode());
        let _ = drain_wakes(wake);
    }
    let is_woken = is_woken(target, wake);
    report.harmless("wakes: 20000 park records", Layer::Node, &Ok(0), || is_woken && target.is_well())?;
    let unread = (0..RECORDS as u64).filter(|epoch| {
        let record = Record { waiter: 1, epoch: *epoch, wants: vec![Want::all(1, 1)] };
        send_record(wake, &record.encode()).is_ok()
    });
    let _ = unread.count();
    report.harmless("wakes: park and read no wake", Layer::Node, &Ok(0), || target.is_well())?;
    slow_wake(report, target, talk)?;
    let oversized = vec![0xee; 2_000];
    let sent = send_record(wake, &oversized);
    // The node closes the socket: the attacker is told nothing more, and everybody else is.
    report.harmless("wakes: a record of garbage", Layer::Node, &sent, || is_closed(wake) && target.is_well())
}

fn slow_wake(report: &mut Report, target: &Target, talk: &Conversation) -> io::Result<()> {
    use std::os::fd::AsFd;
    let wake = talk.wake_fd();
    let Some(slow) = slow_to_close(target)? else { return Ok(()) };
    let record = Record { waiter: 0, epoch: 7, wants: vec![Want::all(1, u64::MAX)] };
    let answer = send(talk.wake.as_fd(), &record.encode(), &[slow.as_fd()]);
    drop(slow);
    let attempt = "wakes: a socket that is slow to close";
    match answer {
        Ok(_) => report.harmless(attempt, Layer::Node, &answer, || is_woken(target, wake)),
        Err(_) => report.refused(attempt, Layer::Node, &[Errno::EPERM], &answer),
    }
}

/// Parks as an honest module would; whether the wake comes in time.
fn is_woken(target: &Target, wake: i32) -> bool {
    let start = Instant::now();
    let epoch = u64::MAX - 1;
    let record = Record { waiter: 0, epoch, wants: vec![Want::all(1, target.published())] };
    let encoded = record.encode();
    let mut is_sent = send_record(wake, &encoded).is_ok();
    while start.elapsed() < TOO_LONG {
        is_sent = is_sent || send_record(wake, &encoded).is_ok();
        if drain_wakes(wake).contains(&epoch) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn send_record(wake: i32, bytes: &[u8]) -> Answer {
    call!(libc::SYS_sendto, wake, bytes, bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL, 0, 0)
}

fn drain_wakes(wake: i32) -> Vec<u64> {
    let mut epochs = Vec::new();
    // The waiter, then its epoch.
    let mut words = [0_u64; 2];
    while let Ok(16) = call!(libc::SYS_recvfrom, wake, &mut words[..], 16, libc::MSG_DONTWAIT, 0, 0) {
        epochs.push(u64::from_le(words[1]));
    }
    epochs
}

fn is_closed(wake: i32) -> bool {
    let start = Instant::now();
    while start.elapsed() < TOO_LONG {
        match send_record(wake, &[0; 1]) {
            Err(Errno::EPIPE | Errno::ECONNRESET) => return true,
            _ => std::thread::yield_now(),
        }
    }
    false
}

/// Half a frame, then nothing: the program ends after it.
pub(crate) fn half_a_frame(talk: &mut Conversation) -> io::Result<()> {
    let frame = talk.frame(&Request::GetChainTip);
    talk.request.write_all(&frame[..frame.len() / 2])?;
    // The socket must hold it when the program ends: nothing comes back.
    talk.request.set_nonblocking(true)?;
    match talk.request.read(&mut [0; 1]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(io::Error::other("the node answered half a frame")),
    }
}
