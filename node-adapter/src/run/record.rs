//! `blvm record`: what a running node publishes, in a file.

mod chain;
mod mempool;
mod output;
mod plain;
mod recorder;
mod taken;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use blvm_recording::{Totals, WriteError, Writing};
use blvm_sdk::{CallError, SessionError};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cli::RecordArguments;
use super::{RunError, StopSignals, until};
use output::Output;
use recorder::Recorder;

/// How often the recorder says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// How often it looks whether something is due to be written.
const ATTENTION: Duration = Duration::from_millis(250);

/// How long the node may take for its last answer when the recording is to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why `blvm record` failed. What was written before stays readable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The node did not let this program go on.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The node refused a request, or its answer cannot be read.
    #[error("the node did not answer as it should")]
    Call(#[source] CallError),
    /// The node does not answer, and was not waited for any longer.
    #[error("the node does not answer; what had come is in the recording, which was not ended")]
    Silent,
    /// The thread that records could not be started.
    #[error("the recorder cannot be started")]
    Thread(#[source] io::Error),
    /// The thread that records has ended: a mistake in this program.
    #[error("the recorder has panicked; the recording was ended with what had been written")]
    Panicked,
    /// The node was killed, or has closed the connection. The recording was ended in order.
    #[error("the node is gone; the recording was ended with what had come")]
    Gone(#[source] SessionError),
    /// There is no block to begin at.
    #[error("the node has no block at height {height}: its tip is at {tip}")]
    NoBlock {
        /// The height asked for.
        height: u32,
        /// Height of the tip.
        tip: u32,
    },
    /// `--from` says where the chain begins, and the chain is not recorded.
    #[error("--from needs the topic chain among --topics")]
    FromWithoutChain,
    /// What the node tells of its chain does not fit together.
    #[error("the node's chain does not follow from the block at height {height}")]
    Inconsistent {
        /// Height of the last block recorded.
        height: u32,
    },
}

impl From<CallError> for RecordError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Closed | CallError::Socket(_) => RecordError::Gone(error.into()),
            error => RecordError::Call(error),
        }
    }
}

/// The last line for programs.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    file: &'a str,
    records: u64,
    missed: u64,
    chunks: u32,
    bytes: u64,
}

/// Records until the node ends, the time is over, or a signal comes.
pub(super) async fn run(arguments: RecordArguments) -> Result<ExitCode, RunError> {
    let mut stop = StopSignals::listen()?;
    let output = Arc::new(Output::default());
    let outcome = record(&arguments, &output, &mut stop).await;
    let bytes_before = output.so_far();
    match &outcome {
        // What is not in the file is not known, or cannot be written.
        Err(RunError::Record(RecordError::Write(WriteError::Io { .. }))) => {}
        Err(RunError::Record(RecordError::Silent)) => output.abandon().map_err(RecordError::from)?,
        _ => {
            let totals = output.finish().map_err(RecordError::from)?;
            if let (Ok(()), Some(totals)) = (&outcome, totals) {
                tell(&arguments, &totals, bytes_before)?;
            }
        }
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Has the recorder at work on a thread of its own, where it may wait for the node; sees to the file and to whoever wants it to end.
async fn record(
    arguments: &RecordArguments,
    output: &Arc<Output>,
    stop: &mut StopSignals,
) -> Result<(), RunError> {
    let end = arguments.duration.map(|duration| Instant::now() + duration);
    let is_stopped = CancellationToken::new();
    let mut recorder = start(arguments, output, &is_stopped)?;
    let (mut told, mut given_up) = (Instant::now(), None);
    loop {
        tokio::select! {
            biased;
            outcome = &mut recorder => return outcome.unwrap_or(Err(RecordError::Panicked.into())),
            () = until(given_up) => return Err(RecordError::Silent.into()),
            // Asked again: the node is not waited for any more.
            () = stop.wait() => given_up = Some(given_up.map_or_else(|| Instant::now() + PATIENCE, |_| Instant::now())),
            () = until(end), if given_up.is_none() => given_up = Some(Instant::now() + PATIENCE),
            () = tokio::time::sleep(ATTENTION) => {}
        }
        if given_up.is_some() {
            is_stopped.cancel();
        }
        output.attend().map_err(RecordError::from)?;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let Writing { records, missed, file_bytes } = output.so_far();
            eprintln!("{records} records, {missed} messages missed, {} KiB in the file", file_bytes >> 10);
        }
    }
}

/// Starts the recorder; gives what comes of it. If nobody waits for it any more it is left behind: the process ends.
fn start(
    arguments: &RecordArguments,
    output: &Arc<Output>,
    stop: &CancellationToken,
) -> Result<oneshot::Receiver<Result<(), RunError>>, RecordError> {
    let (told, outcome) = oneshot::channel();
    let (arguments, output, stop) = (arguments.clone(), Arc::clone(output), stop.clone());
    let work = move || {
        let recorded = Recorder::begin(&arguments, output).and_then(|recorder| {
            eprintln!("recording to {}; Ctrl-C ends it", arguments.file.display());
            Ok(recorder.run(&stop)?)
        });
        // Nobody is there any more.
        let _ = told.send(recorded);
    };
    thread::Builder::new().name("recorder".to_owned()).spawn(work).map_err(RecordError::Thread)?;
    Ok(outcome)
}

fn tell(arguments: &RecordArguments, totals: &Totals, so_far: Writing) -> Result<(), RunError> {
    let file = arguments.file.display().to_string();
    let bytes = std::fs::metadata(&arguments.file).map_or(so_far.file_bytes, |found| found.len());
    let Totals { records, missed, chunks, .. } = *totals;
    let line = if arguments.json {
        let result = Outcome { file: &file, records, missed, chunks, bytes };
        serde_json::to_string(&result).map_err(|error| RunError::Output(error.into()))?
    } else {
        format!("recorded to {file}: {records} records, {missed} messages missed, {} KiB", bytes >> 10)
    };
    writeln!(io::stdout(), "{line}").map_err(RunError::Output)
}
