//! The second process of the demonstration: a peer that signs and relays payments of its own coins.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use bitcoin::{FeeRate, Network, Transaction};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::coins::Coin;
use super::wallet::{SpendError, Wallet};
use crate::p2p::{Connection, ConnectionError, DialError, DialOptions};

/// Time between two batches, so that a high rate does not cost one round trip each.
const TICK: Duration = Duration::from_millis(10);

/// Payments in one batch; a peer that cannot keep its rate catches up no faster than this.
const MAX_BATCH: u64 = 1_000;

/// What the peer does.
#[derive(Debug)]
pub struct PeerOptions {
    /// The node.
    pub connect: SocketAddr,
    /// The node's network.
    pub network: Network,
    /// Seed of the wallet that the coins belong to.
    pub seed: [u8; 32],
    /// What it may spend; nobody else should. Coins of another seed make payments that the node refuses.
    pub coins: Vec<Coin>,
    /// Fee rate of each payment.
    pub fee_rate: FeeRate,
    /// Outputs of each payment; 2 doubles the coins, 1 makes a chain of each.
    pub outputs: usize,
    /// Payments a second.
    pub rate_per_second: NonZeroU32,
    /// When it stops.
    pub until: Until,
}

/// When the peer stops.
#[derive(Debug)]
pub enum Until {
    /// After this many payments.
    Count(u64),
    /// When the other half is dropped or sends; without coins the peer stays connected until then.
    Stopped(oneshot::Receiver<()>),
}

impl Until {
    /// When the standard input is closed: the way a parent process stops the peer, even by dying.
    ///
    /// Reads and drops what still comes, on a thread that ends with the input or the process.
    pub fn input_closed() -> Self {
        let (stop, stopped) = oneshot::channel();
        // Not tokio's stdin: its pending read would keep the runtime from ending.
        std::thread::spawn(move || {
            // An input that fails is as good as closed.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(stop);
        });
        Self::Stopped(stopped)
    }
}

/// What the peer did: the one line it prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerReport {
    /// Payments announced, all of them before the node's last pong.
    pub relayed: u64,
    /// Payments the node asked for and got; fewer where the node knew some already.
    pub requested: u64,
    /// Bytes of these payments in consensus encoding.
    pub bytes: u64,
    /// Whether no coin was left that could be spent.
    pub is_out_of_coins: bool,
    /// Time from the first payment to the last pong, in milliseconds.
    pub elapsed_ms: u64,
    /// Id of the last payment.
    pub last_txid: Option<String>,
    /// What the node calls itself.
    pub node: String,
}

/// Why the peer gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The node could not be reached.
    #[error("the peer could not join the node")]
    Dial(#[from] DialError),
    /// The connection ended early.
    #[error("the node was lost")]
    Connection(#[from] ConnectionError),
    /// A payment could not be made, for another reason than a want of coins.
    #[error("a payment could not be signed")]
    Spend(#[source] SpendError),
    /// The coins did not suffice.
    #[error(
        "out of coins after {relayed} of {wanted} payments: hand over more coins or ask for fewer payments"
    )]
    OutOfCoins {
        /// Payments relayed.
        relayed: u64,
        /// Payments asked for.
        wanted: u64,
        /// What the wallet said.
        source: SpendError,
    },
    /// The report could not be printed.
    #[error("the report could not be written")]
    Output(#[source] io::Error),
}

/// Dials the node, relays payments until told to stop, and prints [`PeerReport`] as one line of JSON.
///
/// # Errors
///
/// [`PeerError`] says what to change; nothing is printed then.
pub async fn run(options: PeerOptions, output: &mut impl io::Write) -> Result<PeerReport, PeerError> {
    let report = relay(options).await?;
    let line = serde_json::to_string(&report).map_err(|error| PeerError::Output(error.into()))?;
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(PeerError::Output)?;
    Ok(report)
}

async fn relay(options: PeerOptions) -> Result<PeerReport, PeerError> {
    let mut connection = Connection::dial(options.connect, &DialOptions::new(options.network)).await?;
    let mut wallet = Wallet::new(&options.seed);
    wallet.extend(options.coins);
    let (wanted, mut stopped) = match options.until {
        Until::Count(count) => (count, None),
        Until::Stopped(stopped) => (u64::MAX, Some(stopped)),
    };
    let mut report = PeerReport {
        relayed: 0,
        requested: 0,
        bytes: 0,
        is_out_of_coins: false,
        elapsed_ms: 0,
        last_txid: None,
        node: connection.peer().user_agent.clone(),
    };
    let start = Instant::now();
    while report.relayed < wanted {
        let due = due(start.elapsed(), options.rate_per_second).min(wanted);
        let mut batch = Vec::new();
        let mut shortage = None;
        for _ in report.relayed..due.min(report.relayed + MAX_BATCH) {
            match wallet.spend(options.outputs, options.fee_rate) {
                Ok(payment) => batch.push(payment),
                Err(source @ SpendError::NoCoin { .. }) => {
                    shortage = Some(source);
                    break;
                }
                Err(source) => return Err(PeerError::Spend(source)),
            }
        }
        report.announce(&mut connection, &batch, start).await?;
        report.is_out_of_coins = shortage.is_some();
        if let (Some(source), None) = (shortage, &stopped) {
            connection.close().await?;
            return Err(PeerError::OutOfCoins { relayed: report.relayed, wanted, source });
        }
        if report.relayed < wanted && pause(&mut connection, stopped.as_mut()).await? {
            break;
        }
    }
    connection.barrier().await?;
    report.requested = connection.served();
    connection.close().await?;
    Ok(report)
}

impl PeerReport {
    async fn announce(
        &mut self,
        connection: &mut Connection,
        batch: &[Transaction],
        start: Instant,
    ) -> Result<(), ConnectionError> {
        let Some(last) = batch.last() else { return Ok(()) };
        connection.announce(batch).await?;
        // The payments were asked for and sent; this pong says that they were judged.
        connection.barrier().await?;
        self.relayed += batch.len() as u64;
        self.bytes += batch.iter().map(|payment| payment.total_size() as u64).sum::<u64>();
        self.last_txid = Some(last.compute_txid().to_string());
        self.elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Payments that should have been made by now, the first at once.
fn due(elapsed: Duration, rate_per_second: NonZeroU32) -> u64 {
    let made = elapsed.as_micros() * u128::from(rate_per_second.get()) / 1_000_000;
    u64::try_from(made).unwrap_or(u64::MAX).saturating_add(1)
}

/// Answers the node for one tick; true if the peer is to stop.
async fn pause(
    connection: &mut Connection,
    stopped: Option<&mut oneshot::Receiver<()>>,
) -> Result<bool, ConnectionError> {
    let tick = connection.serve_until(Instant::now() + TICK);
    match stopped {
        Some(stopped) => tokio::select! {
            // Dropped or sent: either way somebody said stop.
            _ = stopped => Ok(true),
            ended = tick => ended.map(|()| false),
        },
        None => tick.await.map(|()| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::tests::{Fixture, PATIENCE, until};
    use crate::source::{NodeApi as _, NodeEvent};
    use bitcoin::hashes::Hash as _;
    use bitcoin::{OutPoint, Txid};
    use std::collections::HashSet;

    fn options(fixture: &Fixture, coins: u32, until: Until) -> PeerOptions {
        let coin = |vout| Coin {
            outpoint: OutPoint { txid: Txid::from_byte_array([3; 32]), vout },
            amount_sat: 100_000_000,
            script: super::super::coins::ScriptKind::P2wpkh,
            depth: 0,
        };
        PeerOptions {
            connect: fixture.address(),
            network: Network::Regtest,
            seed: [5; 32],
            coins: (0..coins).map(coin).collect(),
            fee_rate: FeeRate::from_sat_per_vb_u32(2),
            outputs: 1,
            rate_per_second: NonZeroU32::new(20_000).unwrap(),
            until,
        }
    }

    /// Every submitted transaction, checked to spend a coin or an output submitted before it.
    fn submitted(fixture: &Fixture) -> Vec<Transaction> {
        let raw = fixture.node.submitted.lock().clone();
        let all: Vec<Transaction> =
            raw.iter().map(|raw| bitcoin::consensus::deserialize(raw).unwrap()).collect();
        let mut known = HashSet::from([Txid::from_byte_array([3; 32])]);
        for transaction in &all {
            assert!(known.contains(&transaction.input[0].previous_output.txid), "parents come first");
            assert!(known.insert(transaction.compute_txid()), "no payment twice");
        }
        all
    }

    #[tokio::test]
    async fn a_count_of_payments_reaches_the_node_exactly_and_is_reported_in_one_line() {
        let fixture = Fixture::start().await;
        let mut line = Vec::new();
        let report = run(options(&fixture, 100, Until::Count(1_234)), &mut line).await.unwrap();
        let submitted = submitted(&fixture);
        assert_eq!((report.relayed, report.requested, submitted.len()), (1_234, 1_234, 1_234));
        assert_eq!(report.bytes, submitted.iter().map(|each| each.total_size() as u64).sum::<u64>());
        assert_eq!(report.last_txid, submitted.last().map(|each| each.compute_txid().to_string()));
        assert!(!report.is_out_of_coins);
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&json["relayed"], &json["requested"]), (&1_234.into(), &1_234.into()));
        assert_eq!(fixture.reason().await, "the peer closed the connection");
    }

    #[tokio::test]
    async fn the_peer_stops_when_told_and_has_relayed_what_it_reports() {
        let fixture = Fixture::start().await;
        let (stop, stopped) = oneshot::channel();
        let options = options(&fixture, 100, Until::Stopped(stopped));
        let mut line = Vec::new();
        let stopper = async {
            until(|| fixture.node.mempool_size() >= 50).await;
            drop(stop);
        };
        let (report, ()) = tokio::join!(run(options, &mut line), stopper);
        assert_eq!(report.unwrap().relayed, submitted(&fixture).len() as u64);
    }

    #[tokio::test]
    async fn without_coins_a_counting_peer_fails_and_a_stopped_one_stays_until_then() {
        let fixture = Fixture::start().await;
        let error = run(options(&fixture, 1, Until::Count(50)), &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, PeerError::OutOfCoins { relayed: 20, wanted: 50, .. }), "{error}");
        assert_eq!(submitted(&fixture).len(), 20);

        let fixture = Fixture::start().await;
        let (stop, stopped) = oneshot::channel();
        let options = options(&fixture, 1, Until::Stopped(stopped));
        let mut line = Vec::new();
        let stopper = async {
            until(|| fixture.node.mempool_size() == 20).await;
            tokio::time::sleep(5 * TICK).await;
            assert_eq!(fixture.p2p.peer_count(), 1);
            drop(stop);
        };
        let (report, ()) = tokio::join!(run(options, &mut line), stopper);
        let report = report.unwrap();
        assert!(report.is_out_of_coins && report.relayed == 20, "{report:?}");
    }

    #[tokio::test]
    async fn a_node_that_goes_away_or_never_was_is_an_error_and_nothing_is_printed() {
        let fixture = Fixture::start().await;
        let (_stop, stopped) = oneshot::channel();
        let lost = options(&fixture, 1, Until::Stopped(stopped));
        let absent = options(&fixture, 1, Until::Count(1));
        let mut line = Vec::new();
        let node = async {
            assert!(matches!(fixture.events.nth(0).await, NodeEvent::PeerConnected(_)));
            fixture.p2p.shutdown().await;
        };
        let both = async { tokio::join!(run(lost, &mut line), node).0.unwrap_err() };
        let error = tokio::time::timeout(PATIENCE, both).await.unwrap();
        assert!(matches!(error, PeerError::Connection(_)), "{error}");
        let error = run(absent, &mut line).await.unwrap_err();
        assert!(matches!(error, PeerError::Dial(_)), "{error}");
        assert!(line.is_empty());
    }

    #[test]
    fn the_rate_is_kept_from_the_first_payment_on() {
        let rate = |n| NonZeroU32::new(n).unwrap();
        assert_eq!(due(Duration::ZERO, rate(1)), 1);
        assert_eq!(due(Duration::from_millis(999), rate(1)), 1);
        assert_eq!(due(Duration::from_secs(1), rate(1)), 2);
        assert_eq!(due(Duration::from_millis(10), rate(1_000)), 11);
        assert_eq!(due(Duration::MAX, rate(u32::MAX)), u64::MAX);
    }
}
