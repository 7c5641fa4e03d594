//! Using up what there is: processes, threads, descriptors, memory, the processor. Each attempt stops by itself well below what
//! could hurt the host, should nothing else stop it.

use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use blvm_bus::request::{Reply, Request};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};

use crate::conversation::Conversation;
use crate::kernel::{Answer, View, call, call_that_forks};
use crate::report::{Layer, Report, Setting, Target};
use crate::segment::close;

const FORKS: usize = 10_000;
/// Twice what a module may have.
const THREADS: usize = 2_100;
const DESCRIPTORS: usize = 4_096;
/// Twice what a module may have; small machines must survive it.
const MEMORY_BYTES: usize = 1 << 30;
const PIECE_BYTES: usize = 16 << 20;
const PAGE_BYTES: usize = 4096;
const SPIN: Duration = Duration::from_secs(1);
/// A module may have half a processor; spinners have one each where nothing bounds them.
const SPINNERS: usize = 2;
const MOST_CPU: Duration = Duration::from_millis(750);

/// Everything that this process outlives.
pub(crate) fn attack(report: &mut Report, target: &Target, talk: &mut Conversation) -> io::Result<()> {
    forks(report)?;
    let is_well = target.is_well() && is_answered(talk);
    report.harmless("bombs: the node after the forks", Layer::Node, &Ok(0), || is_well)?;
    descriptors(report)?;
    private_memory(report)?;
    let is_well = target.is_well() && is_answered(talk);
    report.harmless("bombs: the node after descriptors and memory", Layer::Node, &Ok(0), || is_well)?;
    processor(report, target, talk)?;
    // Last: they stay.
    threads(report, target, talk)
}

/// Whether the node answers an ordinary question. This process may be short of processor time itself, so how soon it reads the
/// answer says little; [`Conversation`] does not wait for ever.
fn is_answered(talk: &mut Conversation) -> bool {
    matches!(talk.ask(&Request::GetChainTip), Ok(Reply::ChainTip(_)))
}

fn forks(report: &mut Report) -> io::Result<()> {
    let signal = i64::from(libc::SIGCHLD);
    let mut answer: Answer = Err(Errno::EPERM);
    for _ in 0..FORKS {
        answer =
            call_that_forks(libc::SYS_clone, &mut [signal.into(), 0.into(), 0.into(), 0.into(), 0.into()]);
        if answer != Err(Errno::EPERM) {
            break;
        }
    }
    report.refused("bombs: 10000 forks", Layer::Seccomp, &[Errno::EPERM], &answer)
}

fn descriptors(report: &mut Report) -> io::Result<()> {
    let mut held = Vec::new();
    let answer = loop {
        match call!(libc::SYS_dup, 0) {
            Ok(fd) if held.len() < DESCRIPTORS => held.push(fd as i32),
            answer => break answer,
        }
    };
    held.into_iter().for_each(close);
    report.refused("bombs: descriptors without end", Layer::Rlimits, &[Errno::EMFILE], &answer)
}

fn private_memory(report: &mut Report) -> io::Result<()> {
    let answer = fill(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1).map(|_| 0);
    report.refused("bombs: private memory without end", Layer::Rlimits, &[Errno::ENOMEM], &answer)
}

/// Maps and touches memory, piece after piece; given back by the caller.
fn fill(flags: i32, fd: i32) -> Answer<Vec<View>> {
    let mut held = Vec::new();
    while held.len() * PIECE_BYTES < MEMORY_BYTES {
        let view = View::map(fd, PIECE_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags)?;
        (0..PIECE_BYTES).step_by(PAGE_BYTES).for_each(|at| view.store(at / 8, 1));
        held.push(view);
    }
    Ok(held)
}

fn processor(report: &mut Report, target: &Target, talk: &mut Conversation) -> io::Result<()> {
    let used = || {
        getrusage(UsageWho::RUSAGE_SELF).map(|usage| {
            let time = |value: nix::sys::time::TimeVal| {
                Duration::from_micros((value.tv_sec() * 1_000_000 + value.tv_usec()) as u64)
            };
            time(usage.user_time()) + time(usage.system_time())
        })
    };
    let (before, end) = (used()?, Instant::now() + SPIN);
    let spin = move || while Instant::now() < end {};
    let spinners =
        (0..SPINNERS).map(|_| std::thread::Builder::new().spawn(spin)).collect::<io::Result<Vec<_>>>()?;
    let is_well = target.is_well() && is_answered(talk);
    for spinner in spinners {
        spinner.join().map_err(|_| io::Error::other("a spinner panicked"))?;
    }
    // Held back to what it may have: told as what a limit answers.
    let answer = if used()?.saturating_sub(before) > MOST_CPU { Ok(0) } else { Err(Errno::EAGAIN) };
    let attempt = "bombs: two threads that spin for a second";
    report.refused_where_there_is("cpu", attempt, Layer::ControlGroup, &[Errno::EAGAIN], &answer)?;
    report.harmless("bombs: the node while they spin", Layer::Node, &Ok(0), || is_well)
}

fn threads(report: &mut Report, target: &Target, talk: &mut Conversation) -> io::Result<()> {
    let start = || {
        std::thread::Builder::new().stack_size(16 << 10).spawn(|| {
            loop {
                std::thread::park()
            }
        })
    };
    let mut answer: Answer = Ok(0);
    for _ in 0..THREADS {
        if let Err(error) = start() {
            answer = Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)));
            break;
        }
    }
    // With a user of its own its threads are counted as that user's, too.
    let layer = if report.setting == Setting::OwnUid { Layer::Rlimits } else { Layer::ControlGroup };
    let attempt = "bombs: threads without end";
    if layer == Layer::Rlimits {
        report.refused(attempt, layer, &[Errno::EAGAIN], &answer)?;
    } else {
        report.refused_where_there_is("pids", attempt, layer, &[Errno::EAGAIN], &answer)?;
    }
    let is_well = target.is_well() && is_answered(talk);
    report.harmless("bombs: the node beside a thousand threads", Layer::Node, &Ok(0), || is_well)
}

/// Shared anonymous memory, which is not private and so passes the limit on that. Ends well only where nothing bounds it.
pub(crate) fn shared_memory() -> io::Result<()> {
    Ok(fill(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1).map(drop)?)
}

/// The same in memory files, which nothing need be mapped of.
pub(crate) fn memory_files() -> io::Result<()> {
    let piece = vec![1_u8; PIECE_BYTES];
    let fd = call!(libc::SYS_memfd_create, c"hostile", libc::MFD_CLOEXEC)? as i32;
    for _ in 0..MEMORY_BYTES / PIECE_BYTES {
        call!(libc::SYS_write, fd, &piece[..], piece.len())?;
    }
    Ok(())
}

/// Does what could keep it alive when the node dies, says so, and stays.
pub(crate) fn outlive() -> io::Result<Infallible> {
    let ignored = [libc::SIG_IGN as u64, 0, 0, 0];
    for signal in 1..=64 {
        let _ = call!(libc::SYS_rt_sigaction, signal, &ignored[..], 0, 8);
    }
    let _ = call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0);
    let _ = call!(libc::SYS_setsid);
    let _ = call_that_forks(
        libc::SYS_clone,
        &mut [i64::from(libc::SIGCHLD).into(), 0.into(), 0.into(), 0.into(), 0.into()],
    );
    std::fs::write("ready", "")?;
    loop {
        std::thread::park();
    }
}
