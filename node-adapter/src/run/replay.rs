//! `blvm replay`: a recording played to modules, which run as under a node.

mod assembly;
mod check;
mod play;
mod rate;
mod settle;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use blvm_recording::{ReadError, Recording};
use serde::Serialize;

use super::cli::ReplayArguments;
use super::{RunError, StopSignals};
use crate::embedded::Network;
use crate::replay::PlayError;
use assembly::Stage;
use play::{Played, Player};
pub(crate) use rate::Rate;

/// Why `blvm replay` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayCommandError {
    /// The recording cannot be read, or not to its end. What could be read was played.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record does not follow from those before it. These were played.
    #[error("record {record} cannot be played")]
    Play {
        /// Its number, from 1.
        record: u64,
        /// Why.
        #[source]
        source: PlayError,
    },
    /// The recording is of a network that there is not.
    #[error("the recording is of the network \"{network}\", which this program does not know")]
    Network {
        /// Its name.
        network: String,
    },
    /// Modules would begin with what is there.
    #[error(
        "{} is not empty: modules begin with nothing, so that each replay does the same; name another directory",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A module does not get on.
    #[error("module {module} has been at message {sequence} of {topic} for {} s; see its log", patience.as_secs())]
    Stuck {
        /// Its name.
        module: String,
        /// The topic.
        topic: &'static str,
        /// The first message that it has not finished.
        sequence: u64,
        /// How long it was waited for.
        patience: Duration,
    },
    /// A module does not say what it reads.
    #[error("module {module} has not said for {} s what it has read: it must wait with its session", patience.as_secs())]
    Silent {
        /// Its name.
        module: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// A module was given up.
    #[error("module {module} crashed too often; see its log")]
    Failed {
        /// Its name.
        module: String,
    },
}

/// The last line for programs.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    file: String,
    is_complete: bool,
    records: u64,
    published: u64,
    missed: u64,
    bodies_without_room: u64,
    seconds: f64,
    error: Option<&'a str>,
}

/// Plays the recording to its end, to its damage, or until a signal comes.
pub(super) async fn run(arguments: ReplayArguments) -> Result<ExitCode, RunError> {
    if arguments.check {
        return check::run(&arguments);
    }
    let mut stop = StopSignals::listen()?;
    let recording = Recording::open(&arguments.file).map_err(ReplayCommandError::from)?;
    let name = recording.header().network.clone();
    let network: Network = name.parse().map_err(|_| ReplayCommandError::Network { network: name.clone() })?;
    let stage = Stage::open(&arguments, network)?;
    tracing::warn!(
        file = %arguments.file.display(),
        network = network.name(),
        "this is a replay: what is published was recorded, and nothing is validated"
    );
    let mut player = Player::new(recording, &stage, &arguments);
    if let Err(error) = player.stand() {
        stage.stop().await;
        tell(&arguments, &player.played(), Some(&error))?;
        return Err(error.into());
    }
    let started = tokio::select! {
        started = stage.start_modules() => started,
        () = stop.wait() => {
            stage.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Err(error) = started {
        stage.stop().await;
        return Err(error);
    }
    let outcome = tokio::select! {
        outcome = player.play() => outcome,
        () = stop.wait() => {
            tracing::info!("asked to stop: the rest of the recording is not played");
            Ok(())
        }
    };
    let played = player.played();
    stage.stop().await;
    tell(&arguments, &played, outcome.as_ref().err())?;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn tell(
    arguments: &ReplayArguments,
    played: &Played,
    error: Option<&ReplayCommandError>,
) -> Result<(), RunError> {
    let Played { records, published, missed, bodies_without_room, is_complete, elapsed } = *played;
    let file = arguments.file.display().to_string();
    let seconds = elapsed.as_secs_f64();
    let line = if arguments.json {
        let error = error.map(|error| crate::plain::with_causes(error));
        let outcome = Outcome {
            file,
            is_complete,
            records,
            published,
            missed,
            bodies_without_room,
            seconds,
            error: error.as_deref(),
        };
        serde_json::to_string(&outcome).map_err(|error| RunError::Output(error.into()))?
    } else {
        let missing = if missed > 0 { format!("; {missed} are missing in it") } else { String::new() };
        let lost = match bodies_without_room {
            0 => String::new(),
            count => format!("; {count} bodies found no room in shared memory"),
        };
        format!("replayed {published} messages of {file} in {seconds:.1} s{missing}{lost}")
    };
    writeln!(io::stdout(), "{line}").map_err(RunError::Output)
}
