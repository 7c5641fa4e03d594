//! Test helper: a module that does what the file `behaviour` in its directory says, one word per line.
//!
//! | word | it |
//! |---|---|
//! | `early-exit` | exits with status 3 before it attaches |
//! | `never-attach` | sleeps for ever instead of attaching |
//! | `crash` | aborts as soon as it has attached |
//! | `crash-later` | aborts after up to 1.5 s |
//! | `done` | exits with status 0 as soon as it has attached |
//! | `stubborn` | neither ends when it is asked nor on SIGTERM |
//! | `chatty` | prints 8 MB before it attaches |
//! | `blank` | prints empty lines for ever; makes the file `flooded` after 448 KiB of them |
//! | `wait` | waits for the file `go` before it attaches |
//! | `unhealthy` | says that it does not work |
//! | `record` | appends the sequence of each message of `mempool` it has finished to the file `record` |
//!
//! It leaves its process id and these words in the file `began`, and its configuration in `configuration`. Otherwise it reads `mempool` and `system` until they close or it is asked to stop.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use blvm_sdk::{Mempool, Session, System, Topics, Wait};
use nix::sys::signal::{SigSet, Signal};

type Failed = Box<dyn std::error::Error>;

/// Lines of a chatty module, 100 bytes each.
const CHATTY_LINES: usize = 80_000;

fn main() -> ExitCode {
    match live() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("managed-module: {error}");
            ExitCode::FAILURE
        }
    }
}

fn live() -> Result<ExitCode, Failed> {
    // Not there: it just works.
    let behaviour = std::fs::read_to_string("behaviour").unwrap_or_default();
    let has = |word: &str| behaviour.lines().any(|line| line == word);
    if has("chatty") {
        let mut output = std::io::stderr().lock();
        for number in 0..CHATTY_LINES {
            writeln!(output, "line {number:05} {}", "x".repeat(88))?;
        }
    }
    // Whole or not at all, as others read it.
    std::fs::write("began.new", format!("{} {behaviour}", std::process::id()))?;
    std::fs::rename("began.new", "began")?;
    if has("early-exit") {
        eprintln!("nothing works here");
        return Ok(ExitCode::from(3));
    }
    if has("stubborn") {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
    }
    while has("wait") && !std::path::Path::new("go").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    while has("never-attach") {
        std::thread::sleep(Duration::from_secs(3600));
    }
    let topics = Topics::new().with::<Mempool>().with::<System>();
    let mut session = Session::attach(topics, Wait::Park)?;
    let mut mempool = session.feed::<Mempool>()?;
    let mut system = session.feed::<System>()?;
    std::fs::write("configuration", session.config())?;
    eprintln!("attached");
    if has("blank") {
        std::thread::spawn(print_nothing);
    }
    if has("crash") {
        std::process::abort();
    }
    if has("crash-later") {
        let random = std::process::id().wrapping_mul(2_654_435_761) >> 16;
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(u64::from(random % 1_500)));
            std::process::abort();
        });
    }
    if has("done") {
        return Ok(ExitCode::SUCCESS);
    }
    while has("stubborn") {
        std::thread::sleep(Duration::from_secs(3600));
    }
    let mut record = if has("record") { Some(open_record()?) } else { None };
    loop {
        while let Some(sample) = mempool.poll()? {
            if let Some(record) = &mut record {
                record.write_all(&sample.sequence().to_le_bytes())?;
            }
        }
        while system.poll()?.is_some() {}
        let is_over = session.is_stopping() || mempool.is_closed() && system.is_closed();
        if is_over {
            session.finish(&[&mempool, &system])?;
            return Ok(ExitCode::SUCCESS);
        }
        session.wait(&[&mempool, &system])?;
    }
}

/// Prints empty lines until its process ends.
fn print_nothing() -> std::io::Result<()> {
    let lines = [b'\n'; 64 << 10];
    for round in 1_u64.. {
        std::io::stderr().lock().write_all(&lines)?;
        if round == 7 {
            File::create("flooded")?;
        }
    }
    Ok(())
}

fn open_record() -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open("record")
}
