//! A module that keeps the chain in its database is killed again and again, and so is its node, while blocks come and go.
//! After each kill every block that it has kept has had its effect once; at rest its chain is the node's.
//!
//! `FOLLOW_KILLS` says how often the module is killed in all (10), `FOLLOW_NODE_KILLS` how often the node (2), `FOLLOW_SEED`
//! from which seed; a seed does not fix the moments of the kills.
#![allow(clippy::unwrap_used, missing_docs)]

mod node;
mod random;

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use node::Node;
use random::Random;

const DIRECTORY: &str = "BLVM_TEST_FOLLOW_DIRECTORY";
const SEED: &str = "BLVM_TEST_FOLLOW_SEED";
const KILLS: &str = "BLVM_TEST_FOLLOW_KILLS";

/// Not a test: the node that is killed. It checks what it finds, works, and kills its module.
#[test]
#[ignore = "a helper process, started by the test that kills it"]
fn helper_process() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    // A node that stops by itself says why there.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stderr);
    log.init();
    let number = |name| env::var(name).unwrap().parse::<u64>().unwrap();
    let mut random = Random::new(number(SEED));
    let node = Node::open(Path::new(&directory), &mut random);
    let kept = node.check_at_rest();
    println!("\nchecked height {}, {} steps, {} of them live", kept.chain.len(), kept.steps, kept.live);
    node.work(Random::new(random.below(u64::MAX)));
    for _ in 0..number(KILLS) {
        node.kill_module(&mut random);
        node.check();
    }
    println!("killed its module");
    let module = node.start_module();
    loop {
        assert!(!module.has_exited(), "the module has ended by itself");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The node, until it is killed.
struct Helper {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seed: u64,
}

impl Helper {
    fn start(directory: &Path, seed: u64, kills: u64) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "helper_process", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(SEED, seed.to_string())
            .env(KILLS, kills.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, seed }
    }

    /// The rest of the next line that begins with `begin`.
    fn says(&mut self, begin: &str) -> String {
        let said = self
            .lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix(begin).map(str::to_owned));
        said.unwrap_or_else(|| panic!("the node ended (seed {}): {:?}", self.seed, self.child.wait()))
    }

    fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the node ended by itself (seed {}): {ended:?}", self.seed);
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

#[test]
fn each_blocks_effect_is_there_once_whenever_module_and_node_are_killed() {
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let node_kills = number("FOLLOW_NODE_KILLS").unwrap_or(2).max(1);
    let kills = number("FOLLOW_KILLS").unwrap_or(10).div_ceil(node_kills);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("FOLLOW_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("FOLLOW_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let started = Instant::now();
    for life in 0..node_kills {
        let mut node = Helper::start(directory.path(), seed.wrapping_add(life), kills);
        let checked = node.says("checked ");
        node.says("killed its module");
        thread::sleep(Duration::from_millis(random.below(200)));
        node.kill();
        println!("life {} after {:.1} s: began at {checked}", life + 1, started.elapsed().as_secs_f64());
    }
    let node = Node::open(directory.path(), &mut random);
    let kept = node.check_at_rest();
    println!(
        "at the end: {} blocks, {} steps, {} of them live; {} kills of the module, {node_kills} of the node",
        kept.chain.len(),
        kept.steps,
        kept.live,
        kills * node_kills,
    );
    assert!(kept.steps > kept.chain.len() as u64, "no block ever left the chain");
    assert!(kept.live > 0, "it never followed live");
}
