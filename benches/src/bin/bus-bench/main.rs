//! What the bus costs between processes: real modules, exec'ed, attached as a node attaches them, on read-only mappings.
//!
//! This program is the node: it publishes on the first core it may use, and starts itself again as the modules, on the
//! second. Figures go to standard output, one JSON object a line; what is going on to standard error. Every run checks
//! the content and the sequence of what arrives before and while it is timed. Each file says from which instruction to
//! which it measures, with what load.
//!
//! Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted. Ctrl-C ends it and all its modules; nothing is left behind.
#![forbid(unsafe_code)]

mod all;
mod hostile;
mod idle;
mod load;
mod mixed;
mod module;
mod node;
mod one_way;
mod publish_cost;
mod reader;
mod throughput;
mod torment;
mod wake;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use blvm_benches::pair;
use clap::{Parser, Subcommand};

use crate::node::Placement;

/// What a measurement ends with: whatever failed, there is no figure.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Measures the bus between processes. One JSON object a line on standard output.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From the stamp before publish to the message in a spinning subscriber's hand
    OneWay(one_way::Options),
    /// Messages a second, lossless or with the publisher running free
    Throughput(throughput::Options),
    /// One publish while N subscribers spin, sleep, are stopped, dead or hostile
    PublishCost(publish_cost::Options),
    /// From publish until a parked subscriber has the message, beside a bare socket wake
    Wake(wake::Options),
    /// The same for an honest module beside a hostile one
    WakeIsolation(wake::IsolationOptions),
    /// Publishing blocks and transactions with tormenting modules and without
    Torment(torment::Options),
    /// Blocks while transactions flood: latency under load
    Mixed(mixed::Options),
    /// Processor time of parked modules and an idle node
    Idle(idle::Options),
    /// Everything
    All(all::Options),
    /// A module of a measurement; started by this program only
    #[command(hide = true)]
    Module,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Module => module::run(),
        command => pair::end_with_children()
            .map_err(Into::into)
            .and_then(|()| Placement::find())
            .and_then(|placement| measure(&command, placement)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::from(1)
        }
    }
}

fn measure(command: &Command, placement: Placement) -> Outcome<()> {
    match command {
        Command::OneWay(options) => one_way::measure(options, placement),
        Command::Throughput(options) => throughput::measure(options, placement),
        Command::PublishCost(options) => publish_cost::measure(options, placement),
        Command::Wake(options) => wake::measure(options, placement),
        Command::WakeIsolation(options) => wake::measure_isolation(options, placement),
        Command::Torment(options) => torment::measure(options, placement),
        Command::Mixed(options) => mixed::measure(options, placement),
        Command::Idle(options) => idle::measure(options, placement),
        Command::All(options) => all::measure(options, placement),
        Command::Module => module::run(),
    }
}

/// Says something to people.
fn note(text: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "bus-bench: {text}");
}
