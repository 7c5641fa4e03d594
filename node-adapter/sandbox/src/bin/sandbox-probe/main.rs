//! Test helper: does what its first argument names and prints one line per answer.
//!
//! | command | does |
//! |---|---|
//! | `calls` | makes every denied call: `group name answer` |
//! | `reach PORT PORT FILE` | opens files and ports, granted and others: `name answer` |
//! | `works` | does what modules do: `name answer` |
//! | `status`, `limits`, `environment`, `arguments`, `directory` | prints what it is |
//! | `descriptors` | prints the open ones |
//! | `granted COUNT` | reads one line from each granted descriptor |
//! | `exit STATUS`, `raise SIGNAL`, `abort` | ends |
//! | `park` | prints `ready`, then sleeps until killed |
//! | `exec PROGRAM ARGUMENTS` | replaces itself |
//! | `open-memory PID` | opens another process's memory for writing |
//! | `foreign` | makes a system call of another architecture |
//! | `memory KIND MEBIBYTES` | fills memory, `private` or `shared` |
//! | `threads COUNT` | prints how many it could start |
//! | `old-node PROGRAM` | is a node on a kernel without Landlock: prints how spawns are answered |
//! | `weak-node PROGRAM` | is a node on a kernel without filters: prints how a spawn is answered |
//! | `node PROGRAM ARGUMENTS` | is a protected node: spawns the program, passes its output on, prints its pid first |

mod calls;
mod reach;
mod weak;
mod works;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use blvm_sandbox::{SpawnRequest, Spawner, UidGid, is_protected, protect_this_process};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{Signal, raise};

/// Any user that owns nothing.
const MODULE: UidGid = UidGid { uid: 60_001, gid: 60_001 };

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failed> {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let mut out = io::stdout().lock();
    match words.as_slice() {
        ["calls"] => calls::run(&mut out)?,
        ["reach", open, closed, other] => reach::run(open.parse()?, closed.parse()?, other, &mut out)?,
        ["works"] => works::run(&mut out)?,
        ["status"] => copy_file("/proc/self/status", &mut out)?,
        ["limits"] => copy_file("/proc/self/limits", &mut out)?,
        ["environment"] => {
            for (name, value) in std::env::vars() {
                writeln!(out, "{name}={value}")?;
            }
        }
        ["arguments", ..] => writeln!(out, "{arguments:?}")?,
        ["directory"] => writeln!(out, "{}", std::env::current_dir()?.display())?,
        ["descriptors"] => print_descriptors(&mut out)?,
        ["granted", count] => print_granted(count.parse()?, &mut out)?,
        ["exit", status] => return Ok(ExitCode::from(status.parse::<u8>()?)),
        ["raise", signal] => raise(signal.parse::<Signal>()?)?,
        ["abort"] => std::process::abort(),
        ["park"] => {
            writeln!(out, "ready")?;
            out.flush()?;
            park();
        }
        ["exec", program, rest @ ..] => return Err(Command::new(program).args(rest).exec().into()),
        ["open-memory", pid] => {
            let opened = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"));
            match opened {
                Ok(_) => writeln!(out, "ok")?,
                Err(error) => writeln!(out, "{:?}", Errno::from_raw(error.raw_os_error().unwrap_or(0)))?,
            }
        }
        ["foreign"] => calls::foreign(&mut out)?,
        ["memory", kind, mebibytes] => fill_memory(kind, mebibytes.parse()?)?,
        ["threads", count] => writeln!(out, "{}", start_threads(count.parse()?))?,
        ["old-node", program] => weak::run_without_landlock(program, &mut out)?,
        ["weak-node", program] => weak::run(program, &mut out)?,
        ["node", program, rest @ ..] => node(program, rest, &mut out)?,
        _ => return Ok(ExitCode::from(2)),
    }
    Ok(ExitCode::SUCCESS)
}

fn copy_file(path: &str, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut File::open(path)?, out).map(drop)
}

/// Touches every page of so much memory.
#[allow(unsafe_code)]
fn fill_memory(kind: &str, mebibytes: usize) -> Result<(), Failed> {
    let bytes = NonZeroUsize::new(mebibytes << 20).ok_or("nothing to fill")?;
    let sharing = if kind == "shared" { MapFlags::MAP_SHARED } else { MapFlags::MAP_PRIVATE };
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: new memory that nothing else refers to.
    let start = unsafe { mmap_anonymous(None, bytes, access, sharing) }?;
    for page in (0..bytes.get()).step_by(4096) {
        // SAFETY: `page` lies below the length of the mapping.
        let byte = unsafe { start.cast::<u8>().add(page) };
        // SAFETY: as above; the mapping is writable and stays to the end.
        unsafe { byte.write_volatile(1) };
    }
    Ok(())
}

/// Starts threads that sleep, until it has `count` or gets no more.
fn start_threads(count: usize) -> usize {
    (0..count).take_while(|_| std::thread::Builder::new().spawn(|| park()).is_ok()).count()
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

#[allow(unsafe_code)]
fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: used for one question each, which fails with EBADF if the number is not open; nothing here closes one.
    unsafe { BorrowedFd::borrow_raw(number) }
}

fn print_descriptors(out: &mut impl Write) -> io::Result<()> {
    for number in 0..65_536 {
        if fcntl(borrow(number), FcntlArg::F_GETFD).is_ok() {
            writeln!(out, "{number}")?;
        }
    }
    Ok(())
}

fn print_granted(count: i32, out: &mut impl Write) -> Result<(), Failed> {
    for number in 3..3 + count {
        let mut bytes = [0; 64];
        let length = nix::unistd::read(borrow(number), &mut bytes)?;
        write!(out, "{number} ")?;
        out.write_all(&bytes[..length])?;
    }
    Ok(())
}

fn node(program: &str, arguments: &[&str], out: &mut impl Write) -> Result<(), Failed> {
    protect_this_process()?;
    if !is_protected() {
        return Err("the node is not protected".into());
    }
    let spawner = Spawner::start()?;
    let mut request = SpawnRequest::new(program);
    let own = std::process::id().to_string();
    request.arguments =
        arguments.iter().map(|argument| if *argument == "NODE" { &own } else { *argument }.into()).collect();
    if nix::unistd::geteuid().is_root() {
        request.uid = Some(MODULE);
    }
    let mut child = spawner.spawn(request)?;
    writeln!(out, "{}", child.pid())?;
    out.flush()?;
    let output = child.stdout.take().ok_or("the output was taken")?;
    for line in BufReader::new(File::from(output)).lines() {
        writeln!(out, "{}", line?)?;
        out.flush()?;
    }
    writeln!(out, "{:?}", child.wait()?)?;
    Ok(())
}
