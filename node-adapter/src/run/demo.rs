//! `blvm run --demo`: traffic of every kind, then a proof of what the modules received.
//!
//! Set-up is mined first. Only after the modules have attached does anything count: blocks on a schedule, payments
//! between the node's own keys, a second `blvm` process that dials in and relays transactions it signed itself, and
//! one reorganisation. At the end publishing stops, the modules read the rest, and the two sides are compared.

use std::io;
use std::num::NonZeroU32;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, FeeRate, OutPoint, ScriptBuf, Txid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::assembly::{Assembly, random_seed};
use super::cli::{DemoPeerArguments, RunArguments};
use super::report::{self, NodeReport, Report};
use super::{RunError, StopSignals, every, status, until};
use crate::demo::coins::{self, Coin, CoinsError};
use crate::demo::peer::{self, PeerError, PeerOptions, Until};
use crate::demo::wallet::{SpendError, Wallet};
use crate::embedded::EmbeddedNode;
use crate::source::{NodeApi, NodeError, SubmitError};

/// How long a demonstration takes without `--for`.
const DEFAULT_DURATION: Duration = Duration::from_secs(20);

const BLOCK_INTERVAL: Duration = Duration::from_millis(400);
const PAYMENT_INTERVAL: Duration = Duration::from_millis(50);
const PEER_PAYMENTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();
const REORGANISATION_DEPTH: u32 = 2;

/// Confirmed coins each of the two wallets begins with.
const COINS: usize = 200;

/// Time the second process has to say goodbye.
const PEER_DEADLINE: Duration = Duration::from_secs(10);

/// What payments pay, in satoshi per virtual byte.
const FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// Why the demonstration proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// No random numbers for the wallets.
    #[error("the system's random numbers cannot be read")]
    Seed(#[source] io::Error),
    /// A payment could not be signed.
    #[error("a payment of the set-up could not be signed")]
    Spend(#[from] SpendError),
    /// A payment was not taken.
    #[error("a payment of the set-up was refused")]
    Submit(#[from] SubmitError),
    /// The block store failed.
    #[error(transparent)]
    Store(#[from] NodeError),
    /// The second process could not be run.
    #[error("the second process could not be run")]
    Process(#[source] io::Error),
    /// The second process ended badly.
    #[error("the second process ended with {status}; its last words are in the log above")]
    Peer {
        /// How.
        status: std::process::ExitStatus,
    },
    /// What the second process itself found wrong.
    #[error(transparent)]
    PeerRun(#[from] PeerError),
    /// The second process got no coins.
    #[error(transparent)]
    Coins(#[from] CoinsError),
    /// What a module received is not what the node did.
    #[error("the proof failed: {what}")]
    Disagreement {
        /// The first difference.
        what: String,
    },
}

/// Runs the demonstration and prints its report as the last line.
pub(super) async fn run(arguments: &RunArguments, stop: &mut StopSignals) -> Result<ExitCode, RunError> {
    let mut assembly = Assembly::open(arguments).await?;
    let was_interrupted = tokio::select! {
        outcome = perform(arguments, &mut assembly) => outcome.map(|()| false),
        () = stop.wait() => Ok(true),
    };
    let reason = match was_interrupted {
        Ok(false) => "the demonstration is over",
        Ok(true) => "it was asked to",
        Err(_) => "it failed",
    };
    assembly.stop(reason).await;
    let was_interrupted = was_interrupted?;
    let hashes = assembly.ledger.counts().connected;
    let blocks_sha256 = report::blocks_sha256(&assembly, &hashes).map_err(DemoError::from)?;
    let mut report = Report::new(&assembly);
    report.node = Some(NodeReport { blocks_sha256 });
    report::print_summary(&report, arguments.json)?;
    if was_interrupted && report.modules.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    check(&report)?;
    if !arguments.json {
        let has_hash = report.modules.values().flat_map(|module| module.topics.values());
        let blocks = match has_hash.filter(|topic| topic.content_sha256.is_some()).count() {
            0 => "",
            _ => ", and the blocks read in place are those in the block store",
        };
        status::write_line(&format!("proof: every message arrived{blocks}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn perform(arguments: &RunArguments, assembly: &mut Assembly) -> Result<(), RunError> {
    let wallets = Wallets::set_up(assembly).await?;
    // Nothing happens between the two: what counts for the modules counts here.
    assembly.ledger.mark();
    assembly.start_modules().await?;
    let peer = start_peer(assembly, &wallets).await?;
    let outcome = traffic(arguments, assembly, wallets).await;
    // Whatever happened, the second process ends before the node does.
    let peer = stop_peer(peer).await;
    outcome?;
    Ok(peer?)
}

/// The node's wallet, and the coins of the second process.
struct Wallets {
    own: Wallet,
    payout: ScriptBuf,
    peer_seed: [u8; 32],
    peer_coins: Vec<Coin>,
}

impl Wallets {
    /// Mines a coin for each and splits it, so that payments are independent of each other.
    async fn set_up(assembly: &Assembly) -> Result<Self, RunError> {
        let own_seed = random_seed().map_err(DemoError::Seed)?;
        let peer_seed = random_seed().map_err(DemoError::Seed)?;
        let mut own = Wallet::new(&own_seed);
        let mut peer = Wallet::new(&peer_seed);
        let payout = own.script_pubkey();
        for wallet in [&mut own, &mut peer] {
            assembly.on_node(&wallet.script_pubkey(), |node, payout| node.mine_block(payout)).await?;
            take_coinbase(assembly, wallet)?;
        }
        let mature = |node: &EmbeddedNode, payout: &ScriptBuf| {
            (0..100).try_for_each(|_| node.mine_block(payout).map(|_| ()))
        };
        assembly.on_node(&payout, mature).await?;
        for wallet in [&mut own, &mut peer] {
            let split = wallet.spend(COINS, FEE_RATE).map_err(DemoError::from)?;
            assembly.node.submit_transaction(&serialize(&split)).map_err(DemoError::from)?;
            assembly.on_node(&payout, |node, payout| node.mine_block(payout)).await?;
            wallet.confirmed(&split.compute_txid());
        }
        let peer_coins = peer.take(COINS);
        Ok(Wallets { own, payout, peer_seed, peer_coins })
    }
}

/// Takes the coin of the block on the tip.
fn take_coinbase(assembly: &Assembly, wallet: &mut Wallet) -> Result<(), DemoError> {
    let tip = assembly.node.chain_tip();
    let wrong = || NodeError::Store { reason: format!("the block at height {} is not as mined", tip.height) };
    let stored = assembly.node.block(&tip.hash)?.ok_or_else(wrong)?;
    let block: Block = deserialize(&stored.raw).map_err(|_| wrong())?;
    let coinbase = block.coinbase().ok_or_else(wrong)?;
    let outpoint = OutPoint { txid: coinbase.compute_txid(), vout: 0 };
    Ok(wallet.add(outpoint, &coinbase.output[0]).map_err(|_| wrong())?)
}

/// Blocks, payments and one reorganisation, a status line a second.
async fn traffic(
    arguments: &RunArguments,
    assembly: &Assembly,
    mut wallets: Wallets,
) -> Result<(), RunError> {
    let duration = arguments.duration.unwrap_or(DEFAULT_DURATION);
    let end = Instant::now() + duration;
    let mut reorganise_at = Some(end - duration / 2);
    let (mut blocks, mut payments) = (every(BLOCK_INTERVAL), every(PAYMENT_INTERVAL));
    let mut seconds = every(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = until(Some(end)) => return Ok(()),
            _ = seconds.tick() => status::print(&assembly.status(), arguments.json)?,
            () = until(reorganise_at) => {
                reorganise_at = None;
                let reorganise = |node: &EmbeddedNode, payout: &ScriptBuf| {
                    node.reorganise(REORGANISATION_DEPTH, payout).map(|_| ())
                };
                assembly.on_node(&wallets.payout, reorganise).await?;
            }
            _ = blocks.tick() => {
                assembly.on_node(&wallets.payout, |node, payout| node.mine_block(payout)).await?;
                for txid in assembly.ledger.take_confirmed() {
                    wallets.own.confirmed(&Txid::from_byte_array(txid));
                }
            }
            _ = payments.tick() => pay(assembly, &mut wallets.own),
        }
    }
}

fn pay(assembly: &Assembly, wallet: &mut Wallet) {
    let payment = match wallet.spend(1, FEE_RATE) {
        Ok(payment) => payment,
        Err(error) => return tracing::warn!(%error, "no payment"),
    };
    // A reorganisation may have taken its coin away: then the node is right to refuse it.
    if let Err(error) = assembly.node.submit_transaction(&serialize(&payment)) {
        tracing::warn!(%error, "a payment was refused");
    }
}

async fn start_peer(assembly: &Assembly, wallets: &Wallets) -> Result<Child, DemoError> {
    let executable = std::env::current_exe().map_err(DemoError::Process)?;
    let closed = || DemoError::Process(io::ErrorKind::NotConnected.into());
    let address = assembly.listen_address().ok_or_else(closed)?;
    let mut child = Command::new(executable)
        .arg("demo-peer")
        .args(["--connect", &address.to_string()])
        .args(["--rate-per-second", &PEER_PAYMENTS_PER_SECOND.to_string()])
        .stdin(Stdio::piped())
        // Its report is for whoever runs it by hand.
        .stdout(Stdio::null())
        // A Ctrl-C at the terminal is for the node, which then closes this input.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(DemoError::Process)?;
    let mut input = wallets.peer_seed.to_vec();
    coins::write_line(&mut input, &wallets.peer_coins)?;
    if let Some(pipe) = child.stdin.as_mut() {
        pipe.write_all(&input).await.map_err(DemoError::Process)?;
    }
    Ok(child)
}

/// Closes the second process's input, which ends it, and waits for it.
async fn stop_peer(mut peer: Child) -> Result<(), DemoError> {
    drop(peer.stdin.take());
    let timed_out = |_| DemoError::Process(io::ErrorKind::TimedOut.into());
    let status = tokio::time::timeout(PEER_DEADLINE, peer.wait()).await.map_err(timed_out)?;
    let status = status.map_err(DemoError::Process)?;
    if status.success() { Ok(()) } else { Err(DemoError::Peer { status }) }
}

/// The second process: reads its seed and coins from the standard input, and relays payments until that closes.
pub(super) async fn peer(arguments: DemoPeerArguments) -> Result<ExitCode, RunError> {
    let mut seed = [0; 32];
    let mut input = io::stdin().lock();
    io::Read::read_exact(&mut input, &mut seed).map_err(DemoError::Process)?;
    let coins = coins::read_line(&mut input).map_err(DemoError::from)?;
    drop(input);
    let options = PeerOptions {
        connect: arguments.connect,
        network: bitcoin::Network::Regtest,
        seed,
        coins,
        fee_rate: FEE_RATE,
        outputs: 1,
        rate_per_second: arguments.rate_per_second,
        until: Until::input_closed(),
    };
    peer::run(options, &mut io::stdout()).await.map_err(DemoError::from)?;
    Ok(ExitCode::SUCCESS)
}

/// Compares what the modules received with what the node did.
fn check(report: &Report) -> Result<(), DemoError> {
    let fail = |what: String| Err(DemoError::Disagreement { what });
    let blocks = report.node.as_ref().map(|node| node.blocks_sha256.as_str());
    if report.modules.is_empty() {
        return fail("no module took part".to_owned());
    }
    for (name, module) in &report.modules {
        if let Some(topic) = module.granted.iter().find(|topic| !module.topics.contains_key(*topic)) {
            return fail(format!("{name} did not say what it received of {topic}"));
        }
        for (topic, counts) in &module.topics {
            if (counts.received, counts.missed) != (counts.published, 0) {
                return fail(format!(
                    "{name} received {} and missed {} of {} messages of {topic}",
                    counts.received, counts.missed, counts.published
                ));
            }
            if counts.content_sha256.is_some() && counts.content_sha256.as_deref() != blocks {
                return fail(format!("{name} read other blocks than the block store holds"));
            }
        }
    }
    Ok(())
}
