//! Kills a node at random moments of import, synchronisation, mining, reorganisation and payments, and its module while the
//! node lives. Checks at every start that chain, unspent outputs, index of transactions, mempool and the module's own file
//! agree with each other and with what was announced.
//!
//! The blocks come from another node, in the process that kills, which the killed one dials in each of its lives. What a
//! life is for follows from its number (`Life`); the module is killed in all of them.
//!
//! `CRASH_KILLS` says how often (10), `CRASH_MODULE_KILLS` how often the module is killed at least in a life of work (1),
//! `CRASH_SEED` from which seed; a seed does not fix the moments of the kills.
#![allow(clippy::unwrap_used, missing_docs)]

mod announced;
mod check;
mod module;
mod node;
mod work;

#[path = "../../../node-adapter/tests/embedded/wallet.rs"]
mod wallet;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use bitcoin::p2p::Magic;
use blvm_node_adapter::source::NodeApi as _;

use check::check;
use module::{Module, check_after_kill, kill_again_and_again};
use node::{Node, Places, Source};
use wallet::Wallet;
use work::{Random, work};

const DIRECTORY: &str = "BLVM_TEST_CRASH_DIRECTORY";
const SEED: &str = "BLVM_TEST_CRASH_SEED";
const SOURCE: &str = "BLVM_TEST_CRASH_SOURCE";
const WORKS: &str = "BLVM_TEST_CRASH_WORKS";
/// Blocks of the source before the first life.
const FIRST_BLOCKS: u32 = 300;
/// How many of them are in the file that the node imports first.
const IMPORTED_BLOCKS: u32 = 100;
/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What a life of the node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It fetches blocks, after a reorganisation of the source sometimes, and is killed among them.
    Sync,
    /// It mines, pays and reorganises; the source follows.
    Work,
    /// It is killed while it starts, if it is slow enough.
    Start,
}

impl Life {
    /// The first life fetches: there is nothing to work with yet.
    fn of(kill: u64) -> Self {
        [Self::Sync, Self::Work, Self::Sync, Self::Work, Self::Start][(kill % 5) as usize]
    }
}

/// A file of blocks with its key beside it, as an operator would copy them from Bitcoin Core.
fn write_blocks(source: &Source, path: &Path) {
    let mut bytes = Vec::new();
    for height in 1..=IMPORTED_BLOCKS {
        let raw = source.node.block_by_height(height).unwrap().unwrap().raw;
        let length = u32::try_from(raw.len()).unwrap().to_le_bytes();
        bytes.extend([&Magic::REGTEST.to_bytes()[..], &length, &raw].concat());
    }
    let key = [0x5c, 1, 0xff, 0, 9, 0x80, 0x33, 7];
    for (byte, key) in bytes.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    fs::write(path, bytes).unwrap();
    fs::write(path.with_file_name("xor.dat"), key).unwrap();
}

/// Not a test: the process that is killed. It checks what it finds, says so, and lives until its end.
#[test]
#[ignore = "a helper process, started by the test that kills it"]
fn helper_process() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    // A node that stops by itself says why there.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stderr);
    log.init();
    let variable = |name| env::var(name).unwrap();
    let places = || Places { directory: directory.clone().into() };
    let mut random = Random::new(variable(SEED).parse().unwrap());
    let mut node = Node::open(&places(), &mut random);
    let (summary, module) = check_all(&node, &places(), &mut random);
    println!("\nchecked {summary}");
    node.connect(variable(SOURCE).parse().unwrap());
    let node = Arc::new(node);
    kill_again_and_again(module, Arc::clone(&node), places(), Random::new(random.below(u64::MAX)));
    if node.node.chain_tip().height < IMPORTED_BLOCKS {
        node.node.import(&places().blocks()).unwrap();
    }
    if variable(WORKS) == "yes" {
        work(&node.node, &mut random);
    }
    loop {
        thread::park();
    }
}

/// Checks a node that was just opened, with what its module has kept, and starts the module, which must come to the same.
fn check_all(node: &Node, places: &Places, random: &mut Random) -> (String, Module) {
    let kept = check_after_kill(places, &node.node);
    let summary = check(&node.node, &node.announced, random);
    let module = Module::start(node, places);
    module.agrees_with(&node.node);
    (format!("{summary}; {kept}"), module)
}

/// The process that is killed, once it has passed its check.
struct Helper {
    child: Child,
    seed: u64,
}

impl Helper {
    fn start(places: &Places, source: &Source, seed: u64, life: Life) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "helper_process", "--ignored", "--nocapture"])
            .env(DIRECTORY, &places.directory)
            .env(SEED, seed.to_string())
            .env(SOURCE, source.address().to_string())
            .env(WORKS, if life == Life::Work { "yes" } else { "no" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, seed }
    }

    /// What its check said.
    fn checked(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let checked = lines.find_map(|line| line.strip_prefix("checked ").map(str::to_owned));
        let Some(checked) = checked else {
            panic!("the node did not pass its check (seed {}): {:?}", self.seed, self.child.wait())
        };
        checked
    }

    fn await_state(&mut self, what: &str, mut is_reached: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_reached() {
            self.lives();
            assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?} (seed {})", self.seed);
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// It lives for ever: one that has ended has failed.
    fn lives(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the node ended by itself (seed {}): {ended:?}", self.seed);
    }

    fn kill(mut self) {
        self.lives();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives the source more blocks than the node has seen announced, on a branch of its own sometimes. Answers how many the
/// node lacks at least.
fn get_ahead(source: &Source, places: &Places, random: &mut Random) -> u64 {
    let known = announced::known_height(&places.announced());
    let script = Wallet::new().segwit_script();
    if random.below(2) == 0 {
        source.node.reorganise(1 + random.below(4) as u32, &script).unwrap();
    }
    let ahead = 40 + random.below(110);
    while u64::from(source.node.chain_tip().height) < known + ahead {
        source.node.mine_block(&script).unwrap();
    }
    ahead
}

/// Lets the node live a life, and kills it. Answers what its check said and when it was killed, if it came so far.
fn live_and_die(
    places: &Places,
    source: &Source,
    seed: u64,
    life: Life,
    module_kills: u64,
) -> Option<String> {
    let mut random = Random::new(seed);
    let ahead = if life == Life::Sync { get_ahead(source, places, &mut random) } else { 0 };
    let mut helper = Helper::start(places, source, seed, life);
    if life == Life::Start {
        thread::sleep(Duration::from_millis(random.below(400)));
        helper.kill();
        return None;
    }
    let checked = helper.checked();
    let died = match life {
        Life::Sync => {
            let mut announced = announced::Tail::at_end(&places.announced());
            let wanted = 1 + random.below(ahead);
            helper.await_state("it fetches blocks", || announced.connected() >= wanted);
            helper.kill();
            format!("killed after {} blocks, {ahead} or more behind", announced.connected())
        }
        _ => {
            let kills = || fs::metadata(places.module_kills()).map_or(0, |file| file.len());
            let before = kills();
            helper.await_state("its module is killed", || kills() >= before + module_kills);
            thread::sleep(Duration::from_millis(random.below(300)));
            helper.kill();
            format!("its module was killed {} times", kills() - before)
        }
    };
    Some(format!("{checked}; {life:?}: {died}"))
}

#[test]
fn a_node_and_its_module_killed_at_any_moment_come_back_as_they_announced_themselves() {
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let kills = number("CRASH_KILLS").unwrap_or(10);
    let module_kills = number("CRASH_MODULE_KILLS").unwrap_or(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("CRASH_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills} CRASH_MODULE_KILLS={module_kills}");
    let directory = tempfile::tempdir().unwrap();
    let places = Places { directory: directory.path().to_owned() };
    fs::write(places.announced(), "").unwrap();
    let source = Source::start();
    for _ in 0..FIRST_BLOCKS {
        source.node.mine_block(&Wallet::new().segwit_script()).unwrap();
    }
    write_blocks(&source, &places.blocks());
    let started = Instant::now();
    for kill in 0..kills {
        let said = live_and_die(&places, &source, seed.wrapping_add(kill), Life::of(kill), module_kills);
        let said = said.as_deref().unwrap_or("while it started");
        println!("kill {} after {:.1} s: {said}", kill + 1, started.elapsed().as_secs_f64());
    }
    // Closed in order, it is the same once more.
    let mut random = Random::new(seed);
    for _ in 0..2 {
        let node = Node::open(&places, &mut random);
        let (summary, module) = check_all(&node, &places, &mut random);
        println!("at the end: {summary}");
        assert!(node.node.chain_tip().height > 110, "it never came far: {:?}", node.node.chain_tip());
        node.stop();
        module.finishes(&node);
        node.node.close();
    }
    let module_kills = fs::metadata(places.module_kills()).unwrap().len();
    println!("{kills} kills of the node, {module_kills} of its module alone");
}
