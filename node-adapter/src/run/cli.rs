//! The command line of `blvm`.

use std::error::Error;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bitcoin::Work;
use blvm_bus::message::{KnownTopic, TOPICS};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::config_command::{ConfigCommand, PathArguments};
use super::limits::LimitArguments;
use super::replay::Rate;
use super::trust_command::{SignArguments, VerifyArguments};
use crate::embedded::{Network, WireNetwork as _};
use crate::plain;
use crate::rpc::error::nearest;

#[derive(Debug, Parser)]
#[command(name = "blvm", version, about = "A Bitcoin node that feeds isolated modules through shared memory")]
struct Cli {
    #[command(flatten)]
    node: NodeArguments,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a node with its modules until Ctrl-C.
    ///
    /// Commands on the standard input: `mine [N]`, `pay [N]`, `reorganise DEPTH`, `clear-mempool`, `status`, `stop`,
    /// `help`.
    /// Logs go to stderr; BLVM_LOG sets their level, for example BLVM_LOG=debug.
    Run(Box<RunArguments>),
    /// Print what a running node publishes on one topic, a line per message.
    ///
    /// Attaches to the node by bus.sock and bus.token in its data directory, as the node's user. Ctrl-C ends it.
    Tail(TailArguments),
    /// Record what a running node publishes, blocks included, in a file that blvm replay plays to modules.
    ///
    /// Attaches to the node as `blvm tail` does. Ctrl-C ends the recording. A file that was cut by a kill or a full disk is
    /// readable up to there.
    Record(RecordArguments),
    /// Play a recording to modules, which run as under a node: isolated, and told what was recorded.
    ///
    /// Nothing is validated, and nothing is answered but what was recorded. By default as fast as the modules read: a message
    /// is published when what came before it was processed, so that the same recording always does the same.
    /// A damaged recording is played up to the damage; exit status 1.
    Replay(Box<ReplayArguments>),
    /// Say how a running node stands, unspent outputs included.
    ///
    /// Attaches to the node as `blvm tail` does.
    Status(StatusArguments),
    /// Show the configuration of a module, or change it in blvm.toml. No node has to run.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the path of the file with which an operator configures a module. No node has to run.
    #[command(name = "configpath")]
    ConfigPath(PathArguments),
    /// Say what this host can enforce for modules, and what to do about the rest.
    ///
    /// Exit status 0 if modules start under the default policy, 1 if they are refused.
    Doctor(DoctorArguments),
    /// Start a module of a running node.
    Load(NamedModule),
    /// Stop a module of a running node, and before it those that depend on it.
    Unload(NamedModule),
    /// Stop a module of a running node and start it anew, with the program and configuration of now.
    Reload(NamedModule),
    /// The modules of a running node.
    Module(ModuleArguments),
    /// Call a method of a running node by JSON-RPC, and print its result. `blvm rpc help` lists the methods.
    Rpc(RpcArguments),
    /// A command of a loaded module: `blvm [--datadir DIR] [--json] MODULE COMMAND…`. `blvm MODULE` lists them.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
    /// The demonstration's second process; started by `blvm run --demo`.
    #[command(hide = true)]
    DemoPeer(DemoPeerArguments),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// Directory of the node's data, created when missing.
    ///
    /// Without it: blvm/NETWORK in the user's data directory, or a temporary directory with --demo.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,

    /// Network: mainnet, testnet, testnet4, signet or regtest.
    #[arg(long, default_value = "regtest", value_name = "NETWORK")]
    pub(crate) network: Network,

    /// Address for peers, on loopback; port 0 takes a free one; may be repeated. A demonstration takes a free one unless told.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<SocketAddr>,

    /// Node to dial, and to dial again when the connection ends; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) connect: Vec<SocketAddr>,

    /// Connections kept to nodes that other nodes told of, each in another part of the network; 0 dials nobody.
    ///
    /// Without it 8; none on regtest, in a demonstration, and with --connect. Regtest dials loopback addresses, other networks
    /// public ones only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=64))]
    pub(crate) outbound: Option<u8>,

    /// Ask no DNS seeds for a first node; without this they are asked when nobody else is known, and never with --connect.
    #[arg(long)]
    pub(crate) no_dns_seeds: bool,

    /// Work that a peer's chain must show before its headers are taken, in hexadecimal; 0 takes any chain. Without it what the
    /// network is known to have.
    #[arg(long, value_name = "HEX", value_parser = parse_work)]
    pub(crate) minimum_work: Option<Work>,

    /// Let --listen name addresses that other machines can reach. The connections are not encrypted.
    #[arg(long)]
    pub(crate) allow_remote_peers: bool,

    /// Publish each message from and to a connected peer on the topic `peers`, where it may drown other events.
    #[arg(long)]
    pub(crate) traffic_events: bool,

    /// Directory of a module (with its module.toml); may be repeated. A demonstration without one takes block-watch.
    #[arg(long = "module", value_name = "DIR")]
    pub(crate) modules: Vec<PathBuf>,

    /// Directory whose subdirectories are modules, each loaded at the start unless it is faulty. Without it what blvm.toml
    /// says, or `installed` in the data directory, where there is one.
    #[arg(long, value_name = "DIR")]
    pub(crate) modules_dir: Option<PathBuf>,

    /// File in which the operator says what modules may do and how they are configured; without it blvm.toml in the data
    /// directory, where there is one.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Load only modules that enough of the people have signed whose keys stand in the operator's trusted-keys.toml.
    #[arg(long)]
    pub(crate) require_signatures: bool,

    /// Make everything but the block files anew from them, where the databases are damaged. It takes as long as validating the
    /// blocks took.
    #[arg(long)]
    pub(crate) reindex: bool,

    /// Read blocks from this file before anything else, each framed by the network's first bytes and its length, as
    /// Bitcoin Core's blk files are, obfuscated ones included; bzip2 is unpacked. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) import: Vec<PathBuf>,

    /// Time between two mined blocks, on regtest only; 0s mines none. Without it 5s on regtest.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) mine_interval: Option<Duration>,

    /// Blocks that are mined before the modules start, on regtest only: after 101 of them `pay` has a coin to spend.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000),
        hide_default_value = true, conflicts_with = "demo")]
    pub(crate) mine_first: u32,

    /// Stop after this time, for example 20s.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) duration: Option<Duration>,

    /// Show everything at work and prove what the modules got.
    ///
    /// Blocks, payments, a second node process that relays its own, and a reorganisation.
    #[arg(long)]
    pub(crate) demo: bool,

    /// Print one JSON object per line; the last one is the result.
    #[arg(long)]
    pub(crate) json: bool,

    /// Let no program attach by path: neither bus.sock nor bus.token is made in the data directory.
    #[arg(long)]
    pub(crate) no_attach: bool,

    /// Loopback address for JSON-RPC; port 0 takes a free one. Without it 127.0.0.1 with Bitcoin Core's port of the network and
    /// 10, or a free port where that one is taken. rpc.address in the data directory says which; a demonstration takes a free
    /// one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) rpc_listen: Option<SocketAddr>,

    /// Serve no JSON-RPC: neither .cookie nor rpc.address is made in the data directory.
    #[arg(long, conflicts_with = "rpc_listen")]
    pub(crate) no_rpc: bool,

    /// Start modules even where this host cannot enforce every layer of their isolation. Never as user 0.
    #[arg(long)]
    pub(crate) allow_weak_isolation: bool,

    /// Free bytes on the disk of the data below which the topic `system` says so.
    #[arg(long, default_value = "1GiB", value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) low_disk: u64,

    #[command(flatten)]
    pub(crate) limits: LimitArguments,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TailArguments {
    /// Topic.
    #[arg(value_name = "TOPIC", value_parser = parse_topic)]
    pub(crate) topic: KnownTopic,

    /// Print one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,

    /// End after this many messages.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,

    /// Directory of the node's data; without it blvm/NETWORK in the user's data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,

    /// Network of the node, where no directory is given.
    #[arg(long, default_value = "regtest", value_name = "NETWORK")]
    pub(crate) network: Network,

    /// First message: the oldest still held, or the next one.
    #[arg(long, value_enum, default_value = "next", value_name = "oldest|next", hide_possible_values = true)]
    pub(crate) from: Start,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RecordArguments {
    /// File to write.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Topics, separated by commas; without it all of them.
    #[arg(long, value_name = "TOPIC,…", value_delimiter = ',', value_parser = parse_topic)]
    topics: Vec<KnownTopic>,

    /// Record the chain from the block after this height on; without it from the tip on.
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) from: Option<u32>,

    /// Stop after this time, for example 60s.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) duration: Option<Duration>,

    /// Replace a file that is there already.
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,

    /// Directory of the node's data; without it blvm/NETWORK in the user's data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,

    /// Network of the node, where no directory is given.
    #[arg(long, default_value = "regtest", value_name = "NETWORK")]
    pub(crate) network: Network,
}

impl RecordArguments {
    /// The topics asked for, each once and in the order of their numbers.
    pub(crate) fn topics(&self) -> Vec<KnownTopic> {
        let is_wanted = |topic: &KnownTopic| self.topics.iter().any(|asked| asked.number == topic.number);
        TOPICS.iter().filter(|topic| self.topics.is_empty() || is_wanted(topic)).copied().collect()
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArguments {
    /// Recording, as blvm record makes it.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Directory of a module (with its module.toml); may be repeated.
    #[arg(long = "module", value_name = "DIR", required_unless_present = "check")]
    pub(crate) modules: Vec<PathBuf>,

    /// Read the recording through, say what it holds, and play nothing.
    #[arg(long, conflicts_with = "modules")]
    pub(crate) check: bool,

    /// Pace: `full` as fast as the modules read, `real` as it was recorded, `2x` twice as fast as that, `50/s` so many messages a
    /// second. Never faster than the modules read.
    #[arg(long, default_value = "full", value_name = "RATE")]
    pub(crate) rate: Rate,

    /// How long a module may be at one message before the replay is given up.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_time)]
    pub(crate) patience: Duration,

    /// Directory for what modules write, and their logs; empty or missing. Without it a temporary one.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,

    /// File in which the operator says what modules may do and how they are configured.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print one JSON object per line; the last one is the result.
    #[arg(long)]
    pub(crate) json: bool,

    /// Start modules even where this host cannot enforce every layer of their isolation. Never as user 0.
    #[arg(long)]
    pub(crate) allow_weak_isolation: bool,

    #[command(flatten)]
    pub(crate) limits: LimitArguments,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArguments {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,

    /// Leave out the hash over all unspent outputs, which takes long on a long chain.
    #[arg(long)]
    pub(crate) quick: bool,

    /// Directory of the node's data; without it blvm/NETWORK in the user's data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,

    /// Network of the node, where no directory is given.
    #[arg(long, default_value = "regtest", value_name = "NETWORK")]
    pub(crate) network: Network,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DoctorArguments {
    /// Print one JSON object per line; the last one is the result.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which running node, and how to say what it says.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArguments {
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Directory of the node's data; without it blvm/NETWORK in the user's data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) datadir: Option<PathBuf>,

    /// Network of the node, where no directory is given. Without it regtest.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<Network>,
}

impl NodeArguments {
    /// Whether nothing was said.
    fn is_empty(&self) -> bool {
        !self.json && self.datadir.is_none() && self.network.is_none()
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct NamedModule {
    /// The module, as its module.toml names it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ModuleArguments {
    #[command(subcommand)]
    pub(crate) command: ModuleCommand,
}

/// What `blvm module` does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ModuleCommand {
    /// All modules, a line each.
    List(NodeArguments),
    /// One module: version, state, process, permissions, isolation, what it has received.
    Show(NamedModule),
    /// Start a module.
    Load(NamedModule),
    /// Stop a module, and before it those that depend on it.
    Unload(NamedModule),
    /// Stop a module and start it anew, with the program and configuration of now.
    Reload(NamedModule),
    /// The figures that a module reports of itself, or those of all modules.
    Metrics(MetricsArguments),
    /// What a module printed. Reads the file in the data directory, whether the node runs or not.
    Logs(LogArguments),
    /// Sign a module in a directory, as one of the maintainers that its manifest lists. No node has to run.
    Sign(SignArguments),
    /// Say whether enough of the people whom the operator trusts have signed a module in a directory. No node has to run.
    ///
    /// Exit status 0 if they have, 1 if not.
    Verify(VerifyArguments),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct MetricsArguments {
    /// The module, as its module.toml names it. Without it all modules.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Print the text that Prometheus reads, for its textfile collector for example.
    #[arg(long, conflicts_with = "json")]
    pub(crate) prometheus: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LogArguments {
    /// The module, as its module.toml names it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Go on with what it prints from now on, until Ctrl-C.
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// How many lines of before to begin with.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
    pub(crate) lines: u32,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RpcArguments {
    /// The method.
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,

    /// Its parameters: NAME=VALUE, or values in the documented order, or one JSON object or list. A value is JSON where it can
    /// be read as such, and else a text.
    #[arg(value_name = "PARAMETER", allow_negative_numbers = true)]
    pub(crate) params: Vec<String>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

/// Where `blvm tail` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// At the oldest message still in the ring.
    Oldest,
    /// At the next message published.
    Next,
}

fn parse_topic(name: &str) -> Result<KnownTopic, String> {
    blvm_bus::message::topic_named(name).copied().ok_or_else(|| {
        let names: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
        format!("there is no such topic, only {}", names.join(", "))
    })
}

#[derive(Debug, Args)]
pub(crate) struct DemoPeerArguments {
    /// The node.
    #[arg(long)]
    pub(crate) connect: SocketAddr,
    /// Payments a second.
    #[arg(long)]
    pub(crate) rate_per_second: std::num::NonZeroU32,
}

impl RunArguments {
    /// Connections kept to addresses of the book.
    pub(crate) fn outbound(&self) -> u8 {
        let is_alone = self.network == Network::Regtest || self.demo || !self.connect.is_empty();
        self.outbound.unwrap_or(if is_alone { 0 } else { DEFAULT_OUTBOUND })
    }

    /// The DNS seeds that may be asked.
    pub(crate) fn seeds(&self) -> &'static [&'static str] {
        let may_ask = self.outbound() > 0 && self.connect.is_empty() && !self.no_dns_seeds;
        if may_ask { self.network.seeds() } else { &[] }
    }

    /// Time between two mined blocks; zero mines none.
    pub(crate) fn mine_interval(&self) -> Duration {
        let default = if self.network == Network::Regtest { DEFAULT_MINE_INTERVAL } else { Duration::ZERO };
        self.mine_interval.unwrap_or(default)
    }
}

/// Source: `MAX_OUTBOUND_FULL_RELAY_CONNECTIONS` in Bitcoin Core's `src/net.h`.
const DEFAULT_OUTBOUND: u8 = 8;

const DEFAULT_MINE_INTERVAL: Duration = Duration::from_secs(5);

/// Longest time that can be asked for.
const MAX_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Units of bytes, as IEC 80000-13 names them.
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Reads a number of bytes: `1000000`, `512KiB`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let unit = UNITS.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = unit.unwrap_or((text, 0));
    let number: Option<u64> = number.trim_end().parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << bits));
    bytes.ok_or_else(|| "not a number of bytes, such as 512KiB, 8MiB, 2GiB or 1TiB".to_owned())
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time > MAX_TIME { Err("longer than ten years".to_owned()) } else { Ok(time) }
}

fn parse_work(text: &str) -> Result<Work, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    Work::from_unprefixed_hex(digits).map_err(|_| "not a number of at most 64 hexadecimal digits".to_owned())
}

/// Reads the command line: the command, and what stands before it. What is wrong with it is said in one line; help and
/// version are printed.
pub(super) fn parse() -> Result<(Command, NodeArguments), ExitCode> {
    match Cli::try_parse() {
        Ok(Cli { command, node }) if node.is_empty() || matches!(command, Command::Other(_)) => {
            Ok((command, node))
        }
        Ok(_) => {
            eprintln!(
                "blvm: --datadir, --network and --json go behind the command, unless it is a module's; see blvm --help"
            );
            Err(ExitCode::from(2))
        }
        // Without a subcommand clap prints the help as an error.
        Err(error) if error.use_stderr() => {
            eprintln!("blvm: {}; see blvm --help", one_line(&error.render().to_string()));
            Err(ExitCode::from(2))
        }
        Err(error) => {
            // Help and version; a closed output is no error for them.
            let _ = error.print();
            Err(ExitCode::SUCCESS)
        }
    }
}

/// The sentences before the usage, without line breaks.
fn one_line(text: &str) -> String {
    let before_usage = text.split("Usage:").next().unwrap_or(text);
    let words: Vec<_> = before_usage.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.split(" For more information").next().unwrap_or(&line).to_owned();
    match line.strip_prefix("error: ") {
        Some(message) => message.to_owned(),
        None => "a command is missing: try blvm run".to_owned(),
    }
}

/// Says in one line what went wrong, with its causes.
pub(super) fn complain(error: &dyn Error) {
    eprintln!("blvm: {}", plain::with_causes(error));
}

/// The name of a command of `blvm` itself that sounds like `word`.
pub(super) fn nearest_command(word: &str) -> Option<String> {
    let commands = Cli::command();
    let names =
        commands.get_subcommands().filter(|command| !command.is_hide_set()).map(|each| each.get_name());
    nearest(word, names).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_dials_strangers_and_asks_seeds_only_where_nobody_said_otherwise() {
        let of = |rest: &[&str]| {
            let cli = Cli::try_parse_from([&["blvm", "run"], rest].concat()).unwrap();
            let Command::Run(arguments) = cli.command else { panic!("{rest:?}") };
            (arguments.outbound(), !arguments.seeds().is_empty())
        };
        assert_eq!(of(&[]), (0, false), "regtest");
        assert_eq!(of(&["--outbound", "3"]), (3, false), "regtest has no seeds");
        for network in ["mainnet", "testnet", "testnet4", "signet"] {
            let of = |rest: &[&str]| of(&[&["--network", network], rest].concat());
            assert_eq!(of(&[]), (8, true));
            assert_eq!(of(&["--no-dns-seeds"]), (8, false));
            assert_eq!(of(&["--outbound", "0"]), (0, false));
            assert_eq!(of(&["--demo"]), (0, false));
            assert_eq!(of(&["--connect", "127.0.0.1:8333"]), (0, false));
            assert_eq!(of(&["--connect", "127.0.0.1:8333", "--outbound", "2"]), (2, false));
        }
    }

    #[test]
    fn every_wrong_use_is_one_line_that_names_the_mistake() {
        for (arguments, named) in [
            (vec!["blvm", "run", "--colour"], "--colour"),
            (vec!["blvm", "run", "--network", "moon"], "moon"),
            (vec!["blvm", "run", "--for", "soon"], "soon"),
            (vec!["blvm", "run", "--for", "300000000000years"], "ten years"),
            (vec!["blvm", "run", "--listen", "here"], "here"),
            (vec!["blvm", "run", "--low-disk", "some"], "512KiB"),
            (vec!["blvm", "run", "--low-disk", "99999999999TiB"], "512KiB"),
            (vec!["blvm", "run", "--request-rate", "0"], "between 1 and 10000000"),
            (vec!["blvm", "run", "--minimum-work", "much"], "hexadecimal"),
            (vec!["blvm", "tail", "mempol"], "chain, mining, mempool, peers, "),
            (vec!["blvm", "tail"], "TOPIC"),
            (vec!["blvm", "tail", "chain", "--from", "here"], "oldest"),
            (vec!["blvm", "tail", "chain", "--count", "0"], "--count"),
            (vec!["blvm", "record"], "FILE"),
            (vec!["blvm", "record", "day", "--topics", "chain,mempol"], "mempol"),
            (vec!["blvm", "replay", "day"], "--module"),
            (vec!["blvm", "replay", "day", "--check", "--module", "pool"], "--check"),
            (vec!["blvm", "replay", "day", "--module", "pool", "--rate", "fast"], "50/s"),
            (vec!["blvm", "rpc"], "METHOD"),
            (vec!["blvm", "module", "look"], "look"),
            (vec!["blvm", "module", "logs", "watch", "-n", "all"], "all"),
            (vec!["blvm", "module", "sign", "pool"], "--key"),
            (vec!["blvm", "module", "sign", "pool", "--generate-key", "new"], "--generate-key"),
            (vec!["blvm", "module", "verify"], "DIR"),
            (vec!["blvm", "run", "--no-rpc", "--rpc-listen", "127.0.0.1:0"], "--no-rpc"),
            (vec!["blvm"], "command is missing"),
        ] {
            let error = Cli::try_parse_from(&arguments).unwrap_err();
            let line = one_line(&error.render().to_string());
            assert!(line.contains(named) && !line.contains('\n') && line.len() < 300, "{line}");
        }
    }
}
