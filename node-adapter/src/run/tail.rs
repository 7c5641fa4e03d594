//! `blvm tail`: what the node publishes on one topic, a line per message.

mod line;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use blvm_bus::message::Topic;
use blvm_bus::with_topic;
use blvm_sdk::{DecodeError, Feed, Missed, SessionError, Topics};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::attach::attach;
use super::cli::{Start, TailArguments};
use super::{RunError, StopSignals};
use line::Line;

/// Lines are gathered up to this length while there is more to read.
const GATHERED_BYTES: usize = 64 << 10;

/// How often the reader of the output is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end waits for a line that is being written.
const LAST_LINE: Duration = Duration::from_millis(200);

/// Why `blvm tail` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// The node did not let this program go on.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The node was killed, or has closed the connection.
    #[error("the node is gone")]
    Gone(#[source] SessionError),
    /// A message that this program does not understand.
    #[error("a message cannot be shown")]
    Decode(#[from] DecodeError),
    /// Fewer messages than asked for.
    #[error("the node stopped after {shown} of {count} messages")]
    Ended {
        /// Messages shown.
        shown: u64,
        /// Messages asked for.
        count: u64,
    },
}

/// Shows one topic until the node or the reader of the output ends, enough was shown, or a signal comes.
pub(super) async fn run(arguments: TailArguments) -> Result<ExitCode, RunError> {
    let mut stop = StopSignals::listen()?;
    let output = Arc::new(Output::default());
    let (done, outcome) = oneshot::channel();
    let tail = {
        let output = Arc::clone(&output);
        // Nobody waits for the outcome after a signal.
        move || drop(done.send(show(&arguments, &output)))
    };
    // Not one of the runtime's threads: the program can end while this one sleeps.
    Builder::new().name("blvm-tail".to_owned()).spawn(tail).map_err(RunError::Runtime)?;
    tokio::select! {
        outcome = outcome => {
            outcome.map_err(|_| RunError::Runtime(io::Error::other("showing the topic failed")))??;
        }
        () = reader_gone() => {}
        () = stop.wait() => output.end(),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &TailArguments, output: &Output) -> Result<(), RunError> {
    // `TailArguments` holds known topics only.
    with_topic!(arguments.topic.number, T => show_topic::<T>(arguments, output)).unwrap_or(Ok(()))
}

fn show_topic<T: Topic>(arguments: &TailArguments, output: &Output) -> Result<(), RunError> {
    let mut session = attach(arguments.datadir.as_deref(), arguments.network, Topics::new().with::<T>())?;
    if arguments.from == Start::Oldest {
        session.start_at_oldest();
    }
    let mut feed = session.feed::<T>().map_err(TailError::from)?;
    let count = arguments.count.map_or(u64::MAX, u64::from);
    let mut gathered = String::new();
    let mut shown = 0;
    let mut gone = None;
    while shown < count {
        let has_more = take::<T>(&mut feed, arguments.json, &mut gathered, &mut shown)?;
        if has_more && shown < count && gathered.len() < GATHERED_BYTES {
            continue;
        }
        if output.write(&mut gathered)?.is_gone() {
            return Ok(());
        }
        if has_more {
            continue;
        }
        if feed.is_closed() {
            let has_enough = arguments.count.is_none();
            return if has_enough { Ok(()) } else { Err(TailError::Ended { shown, count }.into()) };
        }
        // Gone, and everything it had published was read.
        if let Some(error) = gone.take() {
            return Err(TailError::Gone(error).into());
        }
        gone = session.wait(&[&feed]).err();
    }
    Ok(())
}

/// Adds the next line; `false` if there is none now.
fn take<T: Topic>(
    feed: &mut Feed<T>,
    as_json: bool,
    gathered: &mut String,
    shown: &mut u64,
) -> Result<bool, TailError> {
    match feed.poll() {
        Ok(Some(sample)) => {
            let line = Line {
                sequence: sample.sequence(),
                published_at_ns: sample.published_at_ns(),
                age_ns: sample.age_ns(),
                event: &sample.event()?,
            };
            if as_json {
                line.json::<T>(gathered);
            } else {
                line.text::<T>(gathered);
            }
            *shown += 1;
        }
        Ok(None) => return Ok(false),
        Err(Missed { messages }) => line::missed(messages, as_json, gathered),
    }
    Ok(true)
}

/// Waits until the other end of the output, a pipe, is closed: no write says so before the next message.
async fn reader_gone() {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let output = io::stdout();
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::empty())];
        let has_failed = matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
            && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR));
        if has_failed {
            return;
        }
    }
}

/// Whether somebody reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Reads,
    Gone,
}

impl Reader {
    fn is_gone(self) -> bool {
        self == Reader::Gone
    }
}

/// The standard output, written whole lines at a time.
#[derive(Default)]
struct Output {
    writing: Mutex<()>,
}

impl Output {
    /// Writes the lines and empties `lines`.
    fn write(&self, lines: &mut String) -> Result<Reader, RunError> {
        if lines.is_empty() {
            return Ok(Reader::Reads);
        }
        let _writing = self.writing.lock();
        let mut output = io::stdout().lock();
        let outcome = output.write_all(lines.as_bytes()).and_then(|()| output.flush());
        lines.clear();
        match outcome {
            Ok(()) => Ok(Reader::Reads),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(RunError::Output(error)),
        }
    }

    /// Lets no more lines out, the one being written excepted; one that nobody takes is cut.
    fn end(&self) {
        if let Some(writing) = self.writing.try_lock_for(LAST_LINE) {
            std::mem::forget(writing);
        }
    }
}
