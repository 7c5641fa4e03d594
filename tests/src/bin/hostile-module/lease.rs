//! Attempts on the lease page: the one memory a module may write, made so that the node cannot be hurt through it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use blvm_bus::request::{Refusal, Reply, Request};
use libc::{MAP_SHARED, PROT_READ, PROT_WRITE};
use nix::errno::Errno;

use crate::conversation::Conversation;
use crate::kernel::{Answer, View, call};
use crate::report::{Layer, Report, Target};
use crate::segment;

const PAGE_BYTES: usize = 4096;
const PUNCH: i32 = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE;
const F_SEAL_SEAL: i32 = 1;

/// How often the node must take a new term while the words are torn about.
const TERM_CHANGES: usize = 40;

/// More than the usual limit on locked memory, 8 MiB, has pages.
const SPOILT_PAGES: usize = 3_000;

/// Words of the page, and how far apart the ones that count are.
const WORDS: usize = 512;
const STRIDE_WORDS: usize = 16;

/// Attempts that may succeed: what they did to the node shows only later.
pub(crate) type Pending = Vec<(&'static str, Answer)>;

/// Before the node has sealed the page: its size stands, its contents may go.
pub(crate) fn before_the_seal(report: &mut Report, fd: RawFd, page: &View) -> io::Result<Pending> {
    size_stands(report, fd, "before the seal")?;
    let garbage: &[u8] = &[0xee; PAGE_BYTES];
    Ok(vec![
        ("lease page: write before the seal", call!(libc::SYS_pwrite64, fd, garbage, garbage.len(), 0)),
        ("lease page: punch a hole before the seal", call!(libc::SYS_fallocate, fd, PUNCH, 0, PAGE_BYTES)),
        (
            "lease page: MADV_REMOVE before the seal",
            call!(libc::SYS_madvise, page.address, PAGE_BYTES, libc::MADV_REMOVE),
        ),
    ])
}

/// The node has populated the page again, or it would stall here: it takes a new term, for which it reads the page.
pub(crate) fn judge_pending(report: &mut Report, target: &Target, pending: &Pending) -> io::Result<()> {
    let is_well = await_term_changes(target, 1);
    for (attempt, answer) in pending {
        report.harmless(attempt, Layer::Node, answer, || is_well && target.is_well())?;
    }
    Ok(())
}

/// Once it is sealed, only the mapping from before writes.
pub(crate) fn after_the_seal(report: &mut Report, target: &Target, fd: RawFd, page: &View) -> io::Result<()> {
    size_stands(report, fd, "after the seal")?;
    let garbage: &[u8] = &[0xee; 64];
    let both = PROT_READ | PROT_WRITE;
    let again = segment::open(&format!("/proc/self/fd/{fd}"), libc::O_RDWR);
    let mapped_again = again.and_then(|again| {
        let mapped = View::map(again, PAGE_BYTES, both, MAP_SHARED).map(|_| 0);
        segment::close(again);
        mapped
    });
    let read_only = View::map(fd, PAGE_BYTES, PROT_READ, MAP_SHARED);
    let protect = read_only.and_then(|view| call!(libc::SYS_mprotect, view.address, PAGE_BYTES, both));
    let refusals: &[Errno] = &[Errno::EPERM];
    let tries: [(&str, &[Errno], Answer); 8] = [
        ("write", refusals, call!(libc::SYS_pwrite64, fd, garbage, garbage.len(), 0)),
        ("punch a hole", refusals, call!(libc::SYS_fallocate, fd, PUNCH, 0, PAGE_BYTES)),
        ("map it writable", refusals, View::map(fd, PAGE_BYTES, both, MAP_SHARED).map(|_| 0)),
        ("re-open and map it writable", &[Errno::EPERM, Errno::EACCES], mapped_again),
        ("mprotect a new mapping", &[Errno::EACCES], protect),
        (
            "MADV_REMOVE on the old mapping",
            refusals,
            call!(libc::SYS_madvise, page.address, PAGE_BYTES, libc::MADV_REMOVE),
        ),
        (
            "MADV_FREE on the old mapping",
            &[Errno::EINVAL],
            call!(libc::SYS_madvise, page.address, PAGE_BYTES, libc::MADV_FREE),
        ),
        ("add seals", refusals, call!(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, 8)),
    ];
    for (what, expected, answer) in &tries {
        report.refused(&format!("lease page: {what} after the seal"), Layer::Seals, expected, answer)?;
    }
    // Another way to the same words: the module's own to write.
    let second = call!(libc::SYS_mremap, page.address, 0, PAGE_BYTES, libc::MREMAP_MAYMOVE)
        .map(|address| View { address: address as usize, len_bytes: PAGE_BYTES });
    report.harmless("lease page: map it twice by mremap", Layer::Kernel, &second, || target.is_well())
}

/// Every word of the page, changed as fast as it goes, until the node has taken many new terms.
pub(crate) fn tear(report: &mut Report, target: &Target, page: &View) -> io::Result<()> {
    let is_over = AtomicBool::new(false);
    let is_well = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
            while !is_over.load(Ordering::Relaxed) {
                for index in 0..WORDS {
                    // xorshift64: any generator will do.
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    page.store(index, value(seed, target));
                }
            }
        });
        let is_well = await_term_changes(target, TERM_CHANGES);
        is_over.store(true, Ordering::Relaxed);
        is_well
    });
    report.harmless("lease page: flip every word", Layer::Node, &Ok(0), || is_well && target.is_well())?;
    for index in 0..WORDS {
        page.store(index, 0);
    }
    hoard(report, target, page)
}

/// Something that could hurt: living, dead, coming, absurd, or just random.
fn value(seed: u64, target: &Target) -> u64 {
    let next = target.published();
    match seed >> 61 {
        0 => 0,
        1 => target.oldest_body(),
        2 => next,
        3 => next.saturating_sub(1),
        4 => next + (seed & 0xff),
        5 => next.saturating_sub(seed & 0xff),
        6 => u64::MAX,
        _ => seed,
    }
}

/// Claims as many bodies as there are words, and holds them.
fn hoard(report: &mut Report, target: &Target, page: &View) -> io::Result<()> {
    let newest = target.published().saturating_sub(1);
    for index in 0..WORDS / STRIDE_WORDS {
        page.store(index * STRIDE_WORDS, newest.saturating_sub(index as u64 * 8));
    }
    let is_well = await_term_changes(target, TERM_CHANGES);
    report
        .harmless("lease page: claim 32 bodies for good", Layer::Node, &Ok(0), || is_well && target.is_well())
}

/// Waits until bodies were reclaimed `changes` times; `false` if the node stops taking terms.
fn await_term_changes(target: &Target, changes: usize) -> bool {
    let mut last = target.oldest_body();
    for _ in 0..changes {
        let start = std::time::Instant::now();
        while target.oldest_body() == last {
            if start.elapsed() > std::time::Duration::from_secs(5) {
                return false;
            }
            std::thread::yield_now();
        }
        last = target.oldest_body();
    }
    true
}

fn size_stands(report: &mut Report, fd: RawFd, when: &str) -> io::Result<()> {
    for (what, length) in [("truncate", 0), ("grow", 2 * PAGE_BYTES)] {
        let answer = call!(libc::SYS_ftruncate, fd, length);
        report.refused(&format!("lease page: {what} {when}"), Layer::Seals, &[Errno::EPERM], &answer)?;
    }
    let beyond = call!(libc::SYS_fallocate, fd, libc::FALLOC_FL_KEEP_SIZE, PAGE_BYTES, PAGE_BYTES);
    let attempt = format!("lease page: allocate beyond its end {when}");
    report.refused(&attempt, Layer::Seals, &[Errno::EPERM], &beyond)
}

/// Seals the page before the node can: it must be refused by name, and the connection stay open.
pub(crate) fn seal_first(report: &mut Report, talk: &mut Conversation) -> io::Result<()> {
    // Again and again: each refused page must be given back, or the limit on locked memory would end it.
    for round in 0..SPOILT_PAGES {
        let given = talk.hello()?;
        call!(libc::SYS_fcntl, given.lease_page.as_raw_fd(), libc::F_ADD_SEALS, F_SEAL_SEAL)?;
        let reply = talk.ask(&Request::Mapped)?;
        let is_refused = matches!(reply, Reply::Refused(Refusal::LeasePage { .. }));
        if round == 0 {
            report.refused_by_the_node("lease page: add SEAL first", is_refused)?;
        } else if !is_refused || round + 1 == SPOILT_PAGES {
            report.refused_by_the_node("lease page: add SEAL first, 3000 times", is_refused)?;
            break;
        }
    }
    // With all four seals the page is what the node would have made of it.
    let given = talk.hello()?;
    let seals = libc::F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    call!(libc::SYS_fcntl, given.lease_page.as_raw_fd(), libc::F_ADD_SEALS, seals)?;
    let attached = talk.mapped().map_err(|_| Errno::EPROTO);
    report.harmless("lease page: add FUTURE_WRITE and SEAL first", Layer::Seals, &attached, || {
        matches!(talk.ask(&Request::GetChainTip), Ok(Reply::ChainTip(_)))
    })
}

/// A page for a while: maps it and says so.
pub(crate) fn map(fd: &OwnedFd) -> io::Result<View> {
    View::map(fd.as_raw_fd(), PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED).map_err(io::Error::from)
}
