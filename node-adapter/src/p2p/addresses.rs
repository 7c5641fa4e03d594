//! The address book: where other nodes were said to be, or were found. Kept in a file.
//!
//! The file is JSON, one address a line, written whole beside the old one and then renamed over it. It is a memory, no
//! setting: one that cannot be read is begun anew.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::context::Context;
use super::groups::{Group, is_public};
use crate::source::{EventSink, NodeEvent};

/// Addresses at a time; beyond, the one that was not seen for longest is given up.
const CAPACITY: usize = 4_000;

/// An address that was not seen for this long is given up, as in Bitcoin Core (`ADDRMAN_HORIZON`).
const HORIZON_S: u64 = 30 * 24 * 60 * 60;

/// How old an address counts whose time lies in the future, as in Bitcoin Core (`ProcessMessage`, `addr`).
pub(super) const DOUBTFUL_S: u64 = 5 * 24 * 60 * 60;

/// Most addresses in an answer, as in Bitcoin Core (`MAX_ADDR_TO_SEND`).
pub(super) const MAX_ADDRESSES: usize = 1_000;

/// Addresses of one network group, so that nobody fills the book with what costs nothing; addresses that are not public
/// are not counted.
const PER_GROUP: usize = 64;

/// Dials that may fail, while others succeed, before an address that never answered is given up.
///
/// Source: `ADDRMAN_RETRIES` in Bitcoin Core's `src/addrman_impl.h`.
const ATTEMPTS: u32 = 3;

/// Longest time before an address of the book is dialled again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

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
    /// Whether a node answered there when it was dialled.
    #[serde(default)]
    has_answered: bool,
}

/// Dials of an address in this run.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    failures: u32,
    next: Instant,
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
    attempts: HashMap<SocketAddr, Attempts>,
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
        Self { path, book: Mutex::new(Book { lines, ..Book::default() }) }
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
            if !line.has_answered {
                // Of a node that was dialled only the node itself tells what it offers.
                line.services = services;
            }
            line.seen_s = line.seen_s.max(seen_s);
            return;
        }
        let displaced = book.displaced(address.ip());
        book.give_up(displaced.into_iter().collect(), sink);
        book.lines.insert(address, Line { address, services, seen_s, has_answered: false });
        sink.event(NodeEvent::AddressDiscovered { address: address.to_string(), services });
    }

    /// Notes that a node answered when it was dialled, and what it offers.
    pub fn answered(&self, address: SocketAddr, services: u64, sink: &dyn EventSink) {
        self.learn(address, services, None, sink);
        let mut book = self.book.lock();
        book.attempts.remove(&address);
        if let Some(line) = book.lines.get_mut(&address) {
            (line.services, line.has_answered) = (services, true);
        }
    }

    /// An address to dial now that `may_be` takes, chosen anew each time. Half of the time one that answered before, so that
    /// addresses made up by peers cannot crowd out all others.
    ///
    /// Source: `AddrManImpl::Select_` in Bitcoin Core's `src/addrman.cpp`.
    pub fn choose(
        &self,
        now: Instant,
        may_be: impl Fn(&SocketAddr, ServiceFlags) -> bool,
    ) -> Option<SocketAddr> {
        let order = RandomState::new();
        let book = self.book.lock();
        let is_due =
            |line: &&Line| book.attempts.get(&line.address).is_none_or(|attempts| attempts.next <= now);
        let mut chosen = [None, None];
        for line in book.lines.values().filter(is_due) {
            if may_be(&line.address, ServiceFlags::from(line.services)) {
                let best = &mut chosen[usize::from(line.has_answered)];
                let entry = (order.hash_one(line.address), line.address);
                *best = Some(best.map_or(entry, |best: (u64, SocketAddr)| best.min(entry)));
            }
        }
        let [new, old] = chosen.map(|chosen| chosen.map(|(_, address)| address));
        if order.hash_one(0).is_multiple_of(2) { old.or(new) } else { new.or(old) }
    }

    /// Notes that a dial failed, or that the connection is over: the address is left alone for a while, `first` and then
    /// twice as long each time. One that never answered is given up after some failures that `counts` as its own fault.
    pub fn left(
        &self,
        address: SocketAddr,
        was_peer: bool,
        counts: bool,
        first: Duration,
        sink: &dyn EventSink,
    ) {
        let mut book = self.book.lock();
        let Some(line) = book.lines.get(&address).copied() else { return };
        let failures = book.attempts.get(&address).map_or(0, |attempts| attempts.failures);
        let pause = first.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
        let failures = if was_peer { 0 } else { failures + u32::from(counts) };
        if failures >= ATTEMPTS && !line.has_answered {
            book.give_up(vec![address], sink);
            return;
        }
        // An outage of ours is no fault of theirs, and has its pause too.
        book.attempts.insert(address, Attempts { failures, next: Instant::now() + pause });
    }

    /// What a peer that asks is told: some of the book, chosen anew each time. Addresses that are not public only where
    /// `with_local`: elsewhere they are other machines.
    pub fn some(&self, with_local: bool) -> Vec<AddrV2Message> {
        let order = RandomState::new();
        let mut lines: Vec<Line> = self.book.lock().lines.values().copied().collect();
        lines.retain(|line| with_local || is_public(line.address.ip()));
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
    /// Who gives up its place for a new address there, if anybody must: of a full group, or else of a full book, the one
    /// that was not seen for longest; one that has answered only where all have.
    fn displaced(&self, address: IpAddr) -> Option<SocketAddr> {
        let oldest = |lines: &mut dyn Iterator<Item = &Line>| {
            lines.min_by_key(|line| (line.has_answered, line.seen_s)).map(|line| line.address)
        };
        let group = Group::of(address);
        let mut in_group = self.lines.values().filter(|line| Group::of(line.address.ip()) == group);
        if is_public(address) && in_group.clone().count() >= PER_GROUP {
            return oldest(&mut in_group);
        }
        if self.lines.len() < CAPACITY { None } else { oldest(&mut self.lines.values()) }
    }

    fn give_up(&mut self, addresses: Vec<SocketAddr>, sink: &dyn EventSink) {
        for address in addresses {
            self.is_changed |= self.lines.remove(&address).is_some();
            self.attempts.remove(&address);
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

pub(super) fn now_s() -> u64 {
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
        assert_eq!(again.some(true)[0].socket_addr().unwrap(), address(1));
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
        assert_eq!(addresses.some(true).len(), 920);
        addresses.book.lock().lines.values_mut().for_each(|line| line.seen_s -= HORIZON_S);
        addresses.tend(&told);
        assert_eq!(addresses.len(), 1);
    }

    #[test]
    fn one_network_group_cannot_fill_the_book_and_who_answered_is_kept() {
        let told = Told::default();
        let addresses = Addresses::open(None);
        let in_group = |n: u16| SocketAddr::from(([8, 8, (n >> 8) as u8, n as u8], 8_333));
        addresses.answered(in_group(0), 9, &told);
        for n in 1..1_000 {
            addresses.learn(in_group(n), 9, None, &told);
        }
        addresses.learn(SocketAddr::from(([8, 9, 0, 0], 8_333)), 9, None, &told);
        assert_eq!(addresses.len() as usize, PER_GROUP + 1);
        assert!(addresses.book.lock().lines[&in_group(0)].has_answered);
        addresses.learn(in_group(0), 0, None, &told);
        assert_eq!(addresses.book.lock().lines[&in_group(0)].services, 9, "others do not know better");
    }

    #[test]
    fn local_addresses_are_told_to_local_peers_only() {
        let told = Told::default();
        let addresses = Addresses::open(None);
        addresses.learn(address(1), 9, None, &told);
        addresses.learn(SocketAddr::from(([8, 8, 8, 8], 8_333)), 9, None, &told);
        let ports = |with_local| addresses.some(with_local).len();
        assert_eq!((ports(true), ports(false)), (1, 1));
        assert_eq!(addresses.some(false)[0].socket_addr().unwrap().ip(), IpAddr::from([8, 8, 8, 8]));
    }

    #[test]
    fn an_address_is_left_alone_for_longer_with_each_failure_and_given_up_if_it_never_answered() {
        let told = Told::default();
        let addresses = Addresses::open(None);
        let first = Duration::from_secs(30);
        addresses.learn(address(1), 9, None, &told);
        addresses.answered(address(2), 9, &told);
        let choose = |after_s: u64, n: u32| {
            let at = Instant::now() + Duration::from_secs(after_s);
            addresses.choose(at, |found, _| *found == address(n)).is_some()
        };
        for n in [1, 2] {
            assert!(choose(0, n));
            addresses.left(address(n), false, true, first, &told);
            assert!(!choose(25, n) && choose(30, n));
            addresses.left(address(n), false, true, first, &told);
            assert!(!choose(55, n) && choose(60, n));
            addresses.left(address(n), false, true, first, &told);
        }
        assert!(!choose(1_000, 1) && choose(120, 2));
        assert_eq!(told.0.lock().last().unwrap(), "-10.0.0.1:8333");
        for _ in 0..20 {
            addresses.left(address(2), false, true, first, &told);
        }
        assert!(choose(600, 2), "not longer than ten minutes");
        // Without any peer the fault may be this node's: nothing is given up for it.
        addresses.learn(address(3), 9, None, &told);
        for _ in 0..9 {
            addresses.left(address(3), false, false, first, &told);
        }
        assert!(!choose(25, 3) && choose(30, 3));
    }

    #[test]
    fn addresses_that_answered_are_chosen_about_as_often_as_all_that_were_only_told() {
        let told = Told::default();
        let addresses = Addresses::open(None);
        addresses.answered(address(0), 9, &told);
        for n in 1..1_000 {
            addresses.learn(address(n), 9, None, &told);
        }
        let chosen = (0..400).filter(|_| addresses.choose(Instant::now(), |_, _| true) == Some(address(0)));
        // Fair coins fall outside of this about once in 10^21 runs.
        assert!((100..300).contains(&chosen.count()));
    }
}
