//! Measures one peer, in two processes, and prints a line of JSON as `bus-bench` does.
#![forbid(unsafe_code)]

use blvm_baselines::codec::{Codec, Flat, Nested};
use blvm_baselines::cost;
use blvm_baselines::harness::{self, Failure, Job};
use blvm_baselines::system::{System, Touch};
use blvm_baselines::systems::copy_flag::CopyFlag;
use blvm_baselines::systems::iceoryx::Iceoryx;
use blvm_baselines::systems::socket_wake::SocketWake;
use blvm_baselines::systems::tango::Tango;
use blvm_baselines::systems::unix::Unix;
use blvm_baselines::systems::zeromq::ZeroMq;
use blvm_benches::blocks::Load;
use blvm_benches::cores;
use blvm_benches::figure::Figure;
use blvm_benches::report::Line;
use clap::{Parser, Subcommand, ValueEnum};

/// Measures one peer and prints a line of JSON.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Latency of single messages at a fixed pace, stamp to in hand.
    OneWay {
        #[arg(long)]
        system: Peer,
        #[arg(long)]
        bytes: usize,
        #[arg(long, default_value = "header")]
        touch: Touch,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        /// From one message to the next [default: by size]
        #[arg(long)]
        interval_ns: Option<u64>,
        /// Bytes of payload memory to go round in, where the system leaves the choice.
        #[arg(long)]
        footprint_bytes: Option<usize>,
    },
    /// Messages a second, back to back, none lost.
    Throughput {
        #[arg(long)]
        system: Peer,
        #[arg(long)]
        bytes: usize,
        #[arg(long, default_value = "header")]
        touch: Touch,
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
        /// Messages handed over in one go, where the system can.
        #[arg(long, default_value_t = 64)]
        batch: u64,
        #[arg(long)]
        footprint_bytes: Option<usize>,
    },
    /// What publishing costs an iceoryx2 publisher with many subscribers.
    PublishCost {
        #[arg(long)]
        subscribers: usize,
        #[arg(long)]
        state: cost::State,
        #[arg(long, default_value_t = 128)]
        bytes: usize,
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        #[arg(long, default_value_t = 20_000)]
        interval_ns: u64,
    },
    /// A block of the main chain: encode it, make it usable, read every txid.
    Codec {
        #[arg(long)]
        way: Way,
        #[arg(long, default_value_t = 200)]
        count: u64,
        /// Transactions of the block.
        #[arg(long, default_value_t = 2_500)]
        transactions: usize,
    },
    /// The other process of a measurement; not for people.
    #[command(hide = true)]
    Subscribe { system: Peer },
    /// The other process of `publish-cost`; not for people.
    #[command(hide = true)]
    Attend,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Peer {
    Tango,
    CopyFlag,
    Iceoryx2,
    Zeromq,
    UnixBincode,
    SocketWake,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// The bus's: raw bytes and a flat index, archived in place.
    Flat,
    /// The predecessor's: nested structures, bincode 1.3.3.
    Nested,
}

/// What the subcommands have in common: a job, for whatever system.
trait Task {
    fn run<S: System>(self) -> Result<(), Failure>;
}

impl Peer {
    fn run(self, task: impl Task) -> Result<(), Failure> {
        match self {
            Peer::Tango => task.run::<Tango>(),
            Peer::CopyFlag => task.run::<CopyFlag>(),
            Peer::Iceoryx2 => task.run::<Iceoryx>(),
            Peer::Zeromq => task.run::<ZeroMq>(),
            Peer::UnixBincode => task.run::<Unix>(),
            Peer::SocketWake => task.run::<SocketWake>(),
        }
    }
}

struct Measure(&'static str, Job);

impl Task for Measure {
    fn run<S: System>(self) -> Result<(), Failure> {
        Ok(harness::run::<S>(self.0, self.1)?.print()?)
    }
}

struct Attend;

impl Task for Attend {
    fn run<S: System>(self) -> Result<(), Failure> {
        harness::subscribe::<S>()
    }
}

fn main() -> Result<(), Failure> {
    match Arguments::parse().command {
        Command::OneWay { system, bytes, touch, count, interval_ns, footprint_bytes } => {
            let mut job = Job::new(bytes, touch, count);
            // As bus-bench does: copying takes up to 130 ns a KiB, and reading it again as long.
            job.interval_ns = Some(interval_ns.unwrap_or(2_000 + bytes as u64 / 2));
            job.footprint_bytes = footprint_bytes.unwrap_or(1_024 * bytes).min(LARGEST_FOOTPRINT_BYTES);
            system.run(Measure("one-way", job))
        }
        Command::Throughput { system, bytes, touch, count, batch, footprint_bytes } => {
            let mut job = Job::new(bytes, touch, count);
            job.batch = batch.max(1);
            job.footprint_bytes = footprint_bytes.unwrap_or(1_024 * bytes).min(LARGEST_FOOTPRINT_BYTES);
            system.run(Measure("throughput", job))
        }
        Command::PublishCost { subscribers, state, bytes, count, interval_ns } => {
            Ok(cost::run(cost::Job::new(subscribers, state, bytes, count, interval_ns))?.print()?)
        }
        Command::Codec { way, count, transactions } => Ok(codec(way, count, transactions)?.print()?),
        Command::Subscribe { system } => system.run(Attend),
        Command::Attend => cost::attend(),
    }
}

/// As much payload memory as topic `chain` has: 18 terms of 8 MiB.
const LARGEST_FOOTPRINT_BYTES: usize = 18 * (8 << 20);

fn codec(way: Way, count: u64, transactions: usize) -> Result<Line, Failure> {
    let (near, _) = cores::two()?;
    cores::pin(near);
    let load = Load::cut_to_transactions(transactions);
    let bytes = load.raw.len() as u64;
    let (line, figures) = match way {
        Way::Flat => (Line::new("codec", "bus"), rounds(Flat::new(load), count)),
        Way::Nested => (Line::new("codec", "bincode"), rounds(Nested::new(&load), count)),
    };
    let [both, encode, make_usable] = figures;
    let mut line = line
        .with_figure(&both)
        .with("encode_p50_ns", encode.p50_ns())
        .with("make_usable_p50_ns", make_usable.p50_ns())
        .with("transactions", transactions);
    line.bytes = Some(bytes);
    Ok(line)
}

fn rounds(mut codec: impl Codec, count: u64) -> [Figure; 3] {
    let mut figures = ["both", "encode", "make usable"].map(Figure::new);
    for round in 0..count + count / 10 {
        let (timed, _) = codec.round();
        if round >= count / 10 {
            let parts = [timed.encode + timed.make_usable, timed.encode, timed.make_usable];
            figures.iter_mut().zip(parts).for_each(|(figure, part)| figure.record(part));
        }
    }
    figures
}
