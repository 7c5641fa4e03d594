//! Kills a node at random moments of import, mining, reorganisation and payments, and checks at every start that chain,
//! unspent outputs, index of transactions, mempool and a follower agree with each other and with what was announced.
//!
//! `CRASH_KILLS` says how often (10), `CRASH_SEED` from which seed; a seed does not fix the moments of the kills.
#![allow(clippy::unwrap_used)]

mod announced;
mod check;
mod work;

#[path = "../embedded/wallet.rs"]
mod wallet;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use bitcoin::p2p::Magic;
use blvm_node_adapter::embedded::{EmbeddedNode, EmbeddedOptions, Network};
use blvm_node_adapter::source::{EventSink, NodeApi as _, NodeEvent};

use announced::Announced;
use check::check;
use wallet::Wallet;
use work::{Random, work};

const DIRECTORY: &str = "BLVM_TEST_CRASH_DIRECTORY";
const SEED: &str = "BLVM_TEST_CRASH_SEED";
/// Blocks in the file that the node imports first.
const IMPORTED_BLOCKS: u32 = 300;

/// What one series of kills uses.
struct Places {
    directory: PathBuf,
}

impl Places {
    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn announced(&self) -> PathBuf {
        self.directory.join("announced")
    }

    fn blocks(&self) -> PathBuf {
        self.directory.join("blocks")
    }
}

fn open(places: &Places, random: &mut Random) -> (EmbeddedNode, Arc<Announced>) {
    let announced = Arc::new(Announced::open(&places.announced()));
    let options = EmbeddedOptions {
        journal_bytes: 10_000 + random.below(100_000),
        state_blocks: 1 + u32::try_from(random.below(40)).unwrap(),
        ..EmbeddedOptions::new(places.data(), Network::Regtest)
    };
    (EmbeddedNode::open(options, announced.clone()).unwrap(), announced)
}

struct Nobody;

impl EventSink for Nobody {
    fn event(&self, _: NodeEvent) {}
}

/// A file of blocks, as an operator would import it.
fn write_blocks(path: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::new(directory.path(), Network::Regtest);
    let node = EmbeddedNode::open(options, Arc::new(Nobody)).unwrap();
    let mut file = fs::File::create(path).unwrap();
    for height in 1..=IMPORTED_BLOCKS {
        node.mine_block(&Wallet::new().segwit_script()).unwrap();
        let raw = node.block_by_height(height).unwrap().unwrap().raw;
        let length = u32::try_from(raw.len()).unwrap().to_le_bytes();
        file.write_all(&[&Magic::REGTEST.to_bytes()[..], &length, &raw].concat()).unwrap();
    }
}

/// Not a test: the process that is killed. It checks what it finds, says so, and works until its end.
#[test]
#[ignore = "a helper process, started by the test that kills it"]
fn helper_process() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let places = Places { directory: directory.into() };
    let mut random = Random::new(env::var(SEED).unwrap().parse().unwrap());
    let (node, announced) = open(&places, &mut random);
    let summary = check(&node, &announced, &mut random);
    println!("\nchecked {summary}");
    if node.chain_tip().height < IMPORTED_BLOCKS {
        node.import(&places.blocks()).unwrap();
    }
    work(&node, &mut random);
}

/// Starts the helper, lets it work for a random time, and kills it. Answers what its check said, if it came so far.
fn run_and_kill(places: &Places, seed: u64) -> Option<String> {
    let mut random = Random::new(seed);
    let mut helper: Child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "helper_process", "--ignored", "--nocapture"])
        .env(DIRECTORY, &places.directory)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    let mut find = move || {
        lines.by_ref().map(Result::unwrap).find_map(|line| line.strip_prefix("checked ").map(str::to_owned))
    };
    // One in four is killed while it starts, if it is slow enough.
    let checked = if random.below(4) == 0 {
        thread::sleep(Duration::from_millis(random.below(250)));
        None
    } else {
        let checked = find();
        assert!(checked.is_some(), "the node did not pass its check (seed {seed}): {:?}", helper.wait());
        thread::sleep(Duration::from_millis(random.below(700)));
        checked
    };
    // A helper that has ended has failed: it works for ever.
    let ended = helper.try_wait().unwrap();
    assert!(ended.is_none(), "the node ended by itself (seed {seed}): {ended:?}");
    helper.kill().unwrap();
    helper.wait().unwrap();
    checked
}

#[test]
fn a_node_killed_at_any_moment_comes_back_as_it_announced_itself() {
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let kills = number("CRASH_KILLS").unwrap_or(10);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("CRASH_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let directory = tempfile::tempdir().unwrap();
    let places = Places { directory: directory.path().to_owned() };
    write_blocks(&places.blocks());
    let mut checks = 0;
    for kill in 0..kills {
        let checked = run_and_kill(&places, seed.wrapping_add(kill));
        checks += u64::from(checked.is_some());
        println!("kill {}: {}", kill + 1, checked.as_deref().unwrap_or("while it started"));
    }
    let (node, announced) = open(&places, &mut Random::new(seed));
    println!("at the end: {}", check(&node, &announced, &mut Random::new(seed)));
    assert!(node.chain_tip().height > 110, "it never came far: {:?}", node.chain_tip());
    drop((node, announced));
    // Closed in order, it is the same once more.
    let (node, announced) = open(&places, &mut Random::new(seed));
    check(&node, &announced, &mut Random::new(seed));
    assert!(checks > 0);
}
