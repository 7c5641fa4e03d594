//! What the node announced, in a file that survives the kill of its process: what a module would know.
//!
//! One line per event: `C height hash` connected, `D height hash` disconnected, `A txid raw` accepted, `R txid` removed;
//! after a start, the follower's own steps as `C` and `D`, then `N txid…`: what the mempool's snapshot held.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bitcoin::hex::{DisplayHex as _, FromHex as _};
use blvm_node_adapter::source::{ChainPosition, EventSink, Hash, NodeApi, NodeEvent, ReplayStep};

pub struct Announced {
    path: PathBuf,
    file: Mutex<File>,
}

/// Height of the chain that was announced.
pub fn known_height(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    // A line that the kill cut short was not announced.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.fold(0, |height, line| match line.as_bytes()[0] {
        b'C' => height + 1,
        b'D' => height - 1,
        _ => height,
    })
}

/// Counts what is announced from some moment on.
pub struct Tail {
    file: File,
    connected: u64,
    is_begin: bool,
}

impl Tail {
    pub fn at_end(path: &Path) -> Self {
        let mut file = File::open(path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        // In the middle of a line, perhaps, which is not counted then.
        Self { file, connected: 0, is_begin: false }
    }

    /// Blocks connected so far.
    pub fn connected(&mut self) -> u64 {
        let mut news = Vec::new();
        self.file.read_to_end(&mut news).unwrap();
        for byte in news {
            self.connected += u64::from(self.is_begin && byte == b'C');
            self.is_begin = byte == b'\n';
        }
        self.connected
    }
}

/// What all lines amount to.
#[derive(Default)]
pub struct Known {
    /// From height 1 on.
    pub chain: Vec<Hash>,
    /// Raw transactions by txid.
    pub mempool: HashMap<Hash, Vec<u8>>,
    /// Every transaction that was in a mempool at some time.
    pub ever: HashMap<Hash, Vec<u8>>,
}

impl Announced {
    pub fn open(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path).unwrap();
        Self { path: path.to_owned(), file: Mutex::new(file) }
    }

    fn write(&self, text: &str) {
        self.file.lock().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes the steps of a replay and the mempool's snapshot, as a module keeps them.
    pub fn caught_up(&self, steps: &[ReplayStep], node: &impl NodeApi) {
        let mut text = String::new();
        for step in steps {
            text += &match step {
                ReplayStep::Connect(block) => connected(block.height, &block.hash),
                ReplayStep::Disconnect { position, .. } => disconnected(position),
            };
        }
        let mempool = node.mempool_transactions();
        for transaction in &mempool {
            text += &accepted(&transaction.txid, &transaction.raw);
        }
        let txids: Vec<String> =
            mempool.iter().map(|transaction| transaction.txid.to_lower_hex_string()).collect();
        text += &format!("N {}\n", txids.join(" "));
        self.write(&text);
    }

    /// Reads the file; a line that the kill cut short was not announced.
    pub fn known(&self) -> Known {
        let text = fs::read_to_string(&self.path).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut known = Known::default();
        for line in whole.lines() {
            known.take(line);
        }
        known
    }
}

impl Known {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let hash = |word: &str| Hash::from_hex(word).unwrap();
        match words[..] {
            ["C", height, block] => {
                self.chain.push(hash(block));
                assert_eq!(self.chain.len().to_string(), height, "connected on another block");
            }
            ["D", height, block] => {
                assert_eq!(self.chain.len().to_string(), height);
                assert_eq!(self.chain.pop(), Some(hash(block)), "disconnected a block that was not the tip");
            }
            ["A", txid, raw] => {
                let raw = Vec::from_hex(raw).unwrap();
                self.ever.insert(hash(txid), raw.clone());
                self.mempool.insert(hash(txid), raw);
            }
            ["R", txid] => {
                assert!(self.mempool.remove(&hash(txid)).is_some(), "removed, but never added: {txid}");
            }
            ["N", ref txids @ ..] => {
                let held: HashSet<Hash> =
                    txids.iter().filter(|txid| !txid.is_empty()).map(|txid| hash(txid)).collect();
                self.mempool.retain(|txid, _| held.contains(txid));
            }
            _ => panic!("not a line of ours: {line}"),
        }
    }
}

impl EventSink for Announced {
    fn event(&self, event: NodeEvent) {
        match event {
            NodeEvent::BlockConnected(block) => {
                self.write(&connected(block.position.height, &block.position.hash))
            }
            NodeEvent::BlockDisconnected { position, .. } => self.write(&disconnected(&position)),
            NodeEvent::TransactionAdded(transaction) => {
                self.write(&accepted(&transaction.txid, &transaction.raw));
            }
            NodeEvent::TransactionRemoved { txid, .. } => {
                self.write(&format!("R {}\n", txid.to_lower_hex_string()));
            }
            _ => {}
        }
    }
}

fn connected(height: u32, hash: &Hash) -> String {
    format!("C {height} {}\n", hash.to_lower_hex_string())
}

fn disconnected(position: &ChainPosition) -> String {
    format!("D {} {}\n", position.height, position.hash.to_lower_hex_string())
}

fn accepted(txid: &Hash, raw: &[u8]) -> String {
    format!("A {} {}\n", txid.to_lower_hex_string(), raw.to_lower_hex_string())
}
