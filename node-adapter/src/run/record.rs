//! `blvm record`: what a running node publishes, in a file.

mod chain;
mod mempool;
mod plain;
mod recorder;
mod taken;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use blvm_recording::{Totals, WriteError, Writing};
use blvm_sdk::{CallError, SessionError};
use serde::Serialize;
use tokio::time::Instant;

use super::cli::RecordArguments;
use super::{RunError, StopSignals, until};
use recorder::Recorder;

/// How often the recorder says how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

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
    /// The node refused a request, or is gone.
    #[error("the node did not answer")]
    Call(#[from] CallError),
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
    let end = arguments.duration.map(|duration| Instant::now() + duration);
    let mut recorder = Recorder::begin(&arguments)?;
    eprintln!("recording to {}; Ctrl-C ends it", arguments.file.display());
    let outcome = record(&mut recorder, &mut stop, end).await;
    let bytes_before = recorder.so_far();
    // In order whatever ended it, unless the file itself cannot be written.
    let ended = match &outcome {
        Err(RecordError::Write(_)) => None,
        _ => Some(recorder.finish().map_err(RecordError::from)?),
    };
    outcome?;
    if let Some(totals) = ended {
        tell(&arguments, &totals, bytes_before)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn record(
    recorder: &mut Recorder,
    stop: &mut StopSignals,
    end: Option<Instant>,
) -> Result<(), RecordError> {
    let mut told = Instant::now();
    loop {
        let is_behind = recorder.take()?;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let Writing { records, missed, file_bytes } = recorder.so_far();
            eprintln!("{records} records, {missed} messages missed, {} KiB in the file", file_bytes >> 10);
        }
        let wait = async {
            if is_behind {
                tokio::task::yield_now().await;
                return Ok(());
            }
            let due = recorder.due()?.unwrap_or(PROGRESS).min(PROGRESS);
            tokio::time::timeout(due, recorder.wait()).await.unwrap_or(Ok(()))
        };
        let waited = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            () = until(end) => return Ok(()),
            waited = wait => waited,
        };
        if let Err(error) = waited {
            // Everything it had published stands in the rings.
            while recorder.take().unwrap_or(false) {}
            return Err(error);
        }
        if recorder.is_over() {
            return Ok(());
        }
    }
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
