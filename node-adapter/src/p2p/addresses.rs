//! The address book: where other nodes were said to be, or were found. Kept in a file.
//!
//! The file is JSON, one address a line, written whole beside the old one and then renamed over it. It is a memory, no
//! setting: one that cannot be read is begun anew.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::source::{EventSink, NodeEvent};

/// Addresses at a time; beyond, the one that was not seen for longest is given up.
const CAPACITY: usize = 4_000;

/// An address that was not seen for this long is given up, as in Bitcoin Core (`ADDRMAN_HORIZON`).
const HORIZON_S: u64 = 30 * 24 * 60 * 60;

/// How old an address counts whose time lies in the future, as in Bitcoin Core (`ProcessMessage`, `addr`).
const DOUBTFUL_S: u64 = 5 * 24 * 60 * 60;

/// Most addresses in an answer, as in Bitcoin Core (`MAX_ADDR_TO_SEND`).
pub(super) const MAX_ADDRESSES: usize = 1_000;

/// Share of the book in an answer, in hundredths, as in Bitcoin Core (`MAX_PCT_ADDR_TO_SEND`).
const ANSWER_PERCENT: usize = 23;

/// How often the book is cleaned and written, if it has changed.
const TEND_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// An address as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    address: SocketAddr,
    services: u64,
    /// When a node was last known to be there, in seconds since 1970.
    seen_s: u64,
}

/// The book.
#[derive(Debug)]
pub(super) struct Addresses {
    path: Option<PathBuf>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    lines: BTreeMap<SocketAddr, Line>,
    is_changed: bool,
}

impl Addresses {
    /// Reads the file; without a path nothing is kept.
    pub fn open(path: Option<PathBuf>) -> Self {
        let lines = path.as_ref().map(|path| fs::read_to_string(path).and_then(|text| parse(&text)));
        let lines = match lines {
            Some(Ok(lines)) => lines,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the address book cannot be read and is begun anew");
                BTreeMap::new()
            }
            _ => BTreeMap::new(),
        };
        Self { path, book: Mutex::new(Book { lines, is_changed: false }) }
    }

    /// How many addresses there are.
    pub fn len(&self) -> u32 {
        // At most `CAPACITY`, or what the file had.
        self.book.lock().lines.len() as u32
    }

    /// Notes that a node was at `address` at `seen_s`; `None` stands for now. Says what is new and what is given up.
    pub fn learn(&self, address: SocketAddr, services: u64, seen_s: Option<u64>, sink: &dyn EventSink) {
        let now_s = now_s();
        let seen_s = match seen_s {
            None => now_s,
            Some(seen_s) if seen_s > now_s => now_s.saturating_sub(DOUBTFUL_S),
            Some(seen_s) => seen_s,
        };
        if !is_usable(&address) || seen_s.saturating_add(HORIZON_S) < now_s {
            return;
        }
        let mut book = self.book.lock();
        book.is_changed = true;
        if let Some(line) = book.lines.get_mut(&address) {
            (line.services, line.seen_s) = (services, line.seen_s.max(seen_s));
            return;
        }
        if book.lines.len() >= CAPACITY {
            let oldest = book.lines.values().min_by_key(|line| line.seen_s).map(|line| line.address);
            book.give_up(oldest.into_iter().collect(), sink);
        }
        book.lines.insert(address, Line { address, services, seen_s });
        sink.event(NodeEvent::AddressDiscovered { address: address.to_string(), services });
    }

    /// What a peer that asks is told: some of the book, chosen anew each time.
    pub fn some(&self) -> Vec<AddrV2Message> {
        let order = RandomState::new();
        let mut lines: Vec<Line> = self.book.lock().lines.values().copied().collect();
        let count = (lines.len() * ANSWER_PERCENT).div_ceil(100).min(MAX_ADDRESSES);
        lines.sort_by_cached_key(|line| order.hash_one(line.address));
        lines[..count].iter().map(Line::message).collect()
    }

    /// Gives up addresses that were not seen for long, and writes the book if it has changed. May wait for the disk.
    fn tend(&self, sink: &dyn EventSink) {
        let mut book = self.book.lock();
        let oldest_s = now_s().saturating_sub(HORIZON_S);
        let old =
            book.lines.values().filter(|line| line.seen_s < oldest_s).map(|line| line.address).collect();
        book.give_up(old, sink);
        if !std::mem::take(&mut book.is_changed) {
            return;
        }
        let text = write_lines(book.lines.values());
        drop(book);
        if let Some(path) = &self.path
            && let Err(error) = replace(path, &text)
        {
            tracing::warn!(%error, path = %path.display(), "the address book is not kept");
        }
    }
}

impl Book {
    fn give_up(&mut self, addresses: Vec<SocketAddr>, sink: &dyn EventSink) {
        for address in addresses {
            self.is_changed |= self.lines.remove(&address).is_some();
            sink.event(NodeEvent::AddressExpired { address: address.to_string() });
        }
    }
}

impl Line {
    fn message(&self) -> AddrV2Message {
        let addr = match self.address {
            SocketAddr::V4(address) => AddrV2::Ipv4(*address.ip()),
            SocketAddr::V6(address) => AddrV2::Ipv6(*address.ip()),
        };
        AddrV2Message {
            // Seconds since 1970 fit until 2106.
            time: u32::try_from(self.seen_s).unwrap_or(u32::MAX),
            services: ServiceFlags::from(self.services),
            addr,
            port: self.address.port(),
        }
    }
}

/// Cleans and writes the book now and then, and once more when the node stops.
pub(super) async fn tend(context: Arc<Context>) {
    loop {
        let is_over = tokio::select! {
            () = context.stop.cancelled() => true,
            () = tokio::time::sleep(TEND_INTERVAL) => false,
        };
        let tending = Arc::clone(&context);
        // A book that is not written is one to be learnt again.
        let _ = context.tasks.spawn_blocking(move || tending.addresses.tend(&*tending.sink)).await;
        if is_over {
            return;
        }
    }
}

/// The same addresses for peers that do not know `addrv2`.
pub(super) fn as_v1(addresses: &[AddrV2Message]) -> Vec<(u32, Address)> {
    let entry =
        |each: &AddrV2Message| Some((each.time, Address::new(&each.socket_addr().ok()?, each.services)));
    addresses.iter().filter_map(entry).collect()
}

/// Whether somebody could be there.
fn is_usable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

fn parse(text: &str) -> io::Result<BTreeMap<SocketAddr, Line>> {
    let lines = text.lines().map(serde_json::from_str::<Line>);
    let lines = lines.take(CAPACITY).map(|line| line.map(|line| (line.address, line)));
    Ok(lines.collect::<Result<_, _>>()?)
}

fn write_lines<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        // Numbers and an address can always be written.
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
        }
    }
    text
}

fn replace(path: &std::path::Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl EventSink for Told {
        fn event(&self, event: NodeEvent) {
            self.0.lock().push(match event {
                NodeEvent::AddressDiscovered { address, services } => format!("+{address} {services}"),
                NodeEvent::AddressExpired { address } => format!("-{address}"),
                other => panic!("{other:?}"),
            });
        }
    }

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 8_333))
    }

    #[test]
    fn an_address_is_told_once_and_kept_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("addresses.json");
        let told = Told::default();
        let addresses = Addresses::open(Some(path.clone()));
        addresses.learn(address(1), 9, None, &told);
        addresses.learn(address(1), 8, Some(5), &told);
        addresses.learn(address(1), 8, Some(now_s()), &told);
        addresses.learn("0.0.0.0:8333".parse().unwrap(), 9, None, &told);
        addresses.learn("10.0.0.9:0".parse().unwrap(), 9, None, &told);
        assert_eq!(*told.0.lock(), ["+10.0.0.1:8333 9"]);
        addresses.tend(&told);
        let again = Addresses::open(Some(path.clone()));
        assert_eq!(again.book.lock().lines, addresses.book.lock().lines);
        assert_eq!(again.some()[0].socket_addr().unwrap(), address(1));
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(Addresses::open(Some(path)).len(), 0);
    }

    #[test]
    fn the_book_is_bounded_and_gives_up_what_was_not_seen_for_long() {
        let told = Told::default();
        let addresses = Addresses::open(None);
        let now_s = now_s();
        addresses.learn(address(0), 1, Some(now_s - HORIZON_S - 1), &told);
        assert_eq!(addresses.len(), 0, "too old to be learnt");
        for n in 0..CAPACITY as u32 {
            addresses.learn(address(n), 1, Some(now_s - 1_000_000 + u64::from(n)), &told);
        }
        addresses.learn(address(99_999), 1, None, &told);
        assert_eq!(addresses.len() as usize, CAPACITY);
        assert!(told.0.lock().contains(&"-10.0.0.0:8333".to_owned()));
        assert_eq!(addresses.some().len(), 920);
        addresses.book.lock().lines.values_mut().for_each(|line| line.seen_s -= HORIZON_S);
        addresses.tend(&told);
        assert_eq!(addresses.len(), 1);
    }
}
