//! The addresses that may not connect, kept in a file so that no restart and no kill forgets them.
//!
//! The file is JSON, one ban a line, written whole beside the old one and then renamed over it: it is always one or the other.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::source::Ban;

/// Bans at a time; beyond, the one that would end first ends now. A ban is about 300 bytes of memory and file.
const CAPACITY: usize = 10_000;

/// Longest reason kept, in bytes.
const REASON_BYTES: usize = 200;

/// Time of a ban for misbehaviour, in seconds.
///
/// Source: `DEFAULT_MISBEHAVING_BANTIME` in Bitcoin Core's `src/banman.h`.
pub const DEFAULT_BAN_S: u64 = 24 * 60 * 60;

/// Why the list of bans cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BansError {
    /// The file cannot be read.
    #[error("the list of bans {path} cannot be read: mend its permissions", path = path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a list of bans.
    #[error("{path} is not a list of bans: mend it, or remove it to ban nobody", path = path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("the list of bans {path} cannot be written: mend its permissions or free the disk", path = path.display())]
    Write {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A ban as the file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    address: IpAddr,
    until_s: u64,
    reason: String,
}

/// The bans in force, and the file that says so.
#[derive(Debug, Clone, Default)]
pub(super) struct Bans {
    path: Option<PathBuf>,
    bans: BTreeMap<IpAddr, (u64, String)>,
}

impl Bans {
    /// Reads the file; one that is not there bans nobody. Without a path nothing is kept.
    pub fn open(path: Option<PathBuf>) -> Result<Self, BansError> {
        let mut bans = BTreeMap::new();
        if let Some(path) = &path {
            for line in read(path)? {
                bans.insert(line.address.to_canonical(), (line.until_s, line.reason));
            }
        }
        Ok(Self { path, bans })
    }

    /// Whether an address may not connect at `now_s`.
    pub fn is_banned(&self, address: IpAddr, now_s: u64) -> bool {
        self.bans.get(&address.to_canonical()).is_some_and(|(until_s, _)| *until_s > now_s)
    }

    /// Bans an address, for longer or shorter than before; call [`Bans::save`] then.
    ///
    /// Answers the ban, and the address that had to give up its place in a full list.
    pub fn insert(&mut self, address: IpAddr, until_s: u64, reason: &str) -> (Ban, Option<IpAddr>) {
        let address = address.to_canonical();
        let mut displaced = None;
        if self.bans.len() >= CAPACITY && !self.bans.contains_key(&address) {
            displaced =
                self.bans.iter().min_by_key(|(_, (until_s, _))| *until_s).map(|(address, _)| *address);
            displaced.iter().for_each(|first| drop(self.bans.remove(first)));
        }
        let reason = printable(reason);
        self.bans.insert(address, (until_s, reason.clone()));
        (Ban { address, until_s, reason }, displaced)
    }

    /// Ends a ban; whether there was one. Call [`Bans::save`] then.
    pub fn remove(&mut self, address: IpAddr) -> bool {
        self.bans.remove(&address.to_canonical()).is_some()
    }

    /// Takes out the bans that have ended by `now_s`.
    pub fn expire(&mut self, now_s: u64) -> Vec<IpAddr> {
        self.bans.extract_if(.., |_, (until_s, _)| *until_s <= now_s).map(|(address, _)| address).collect()
    }

    /// When the next ban ends, in seconds since 1970.
    pub fn next_end_s(&self) -> Option<u64> {
        self.bans.values().map(|(until_s, _)| *until_s).min()
    }

    /// Every ban, by address.
    pub fn all(&self) -> Vec<Ban> {
        let ban = |(address, (until_s, reason)): (&IpAddr, &(u64, String))| Ban {
            address: *address,
            until_s: *until_s,
            reason: reason.clone(),
        };
        self.bans.iter().map(ban).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Writes the file; after it returns, no kill and no power loss forgets what it says.
    pub fn save(&self) -> Result<(), BansError> {
        let Some(path) = &self.path else { return Ok(()) };
        write(path, &self.bans).map_err(|source| BansError::Write { path: path.clone(), source })
    }
}

fn read(path: &Path) -> Result<Vec<Line>, BansError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|source| BansError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(BansError::Read { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, bans: &BTreeMap<IpAddr, (u64, String)>) -> io::Result<()> {
    let mut text = String::from("[");
    for (address, (until_s, reason)) in bans {
        let line = Line { address: *address, until_s: *until_s, reason: reason.clone() };
        text.push_str(if text.len() == 1 { "\n  " } else { ",\n  " });
        text.push_str(&serde_json::to_string(&line)?);
    }
    text.push_str("\n]\n");
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The rename itself is kept only with the directory.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A reason comes from modules: bounded, without control characters.
fn printable(reason: &str) -> String {
    let mut kept = String::new();
    for c in reason.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > REASON_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bans.json");
        (directory, path)
    }

    #[test]
    fn a_ban_holds_until_its_end_and_survives_the_process() {
        let (_directory, path) = file();
        let mut bans = Bans::open(Some(path.clone())).unwrap();
        bans.insert(address("10.0.0.1"), 100, "said \"so\"");
        bans.insert(address("2001:db8::1"), 200, "");
        bans.save().unwrap();
        let mut again = Bans::open(Some(path)).unwrap();
        assert_eq!(again.all(), bans.all());
        assert_eq!((again.len(), again.next_end_s()), (2, Some(100)));
        assert!(again.is_banned(address("10.0.0.1"), 99) && !again.is_banned(address("10.0.0.1"), 100));
        assert_eq!(again.expire(99), [] as [IpAddr; 0]);
        assert_eq!(again.expire(100), [address("10.0.0.1")]);
        assert!(again.remove(address("2001:db8::1")) && !again.remove(address("2001:db8::1")));
        assert_eq!(again.next_end_s(), None);
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let mut bans = Bans::open(None).unwrap();
        bans.insert(address("::ffff:10.0.0.1"), 100, "");
        assert!(bans.is_banned(address("10.0.0.1"), 0));
        assert!(bans.remove(address("10.0.0.1")));
    }

    #[test]
    fn what_a_kill_leaves_beside_the_file_changes_nothing() {
        let (_directory, path) = file();
        let mut bans = Bans::open(Some(path.clone())).unwrap();
        bans.insert(address("10.0.0.1"), 100, "first");
        bans.save().unwrap();
        // Killed after writing part of the next one, before the rename.
        fs::write(path.with_extension("json.new"), "[\n  {\"addr").unwrap();
        let mut bans = Bans::open(Some(path.clone())).unwrap();
        assert_eq!(bans.len(), 1);
        bans.insert(address("10.0.0.2"), 100, "second");
        bans.save().unwrap();
        assert_eq!(Bans::open(Some(path.clone())).unwrap().len(), 2);
        assert!(!path.with_extension("json.new").exists());
    }

    #[test]
    fn the_file_can_be_read_and_mended_by_hand() {
        let (_directory, path) = file();
        let mut bans = Bans::open(Some(path.clone())).unwrap();
        bans.save().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[\n]\n");
        bans.insert(address("10.0.0.1"), 100, "a");
        bans.insert(address("10.0.0.2"), 200, "b");
        bans.save().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "[\n  {\"address\":\"10.0.0.1\",\"until_s\":100,\"reason\":\"a\"},\n  \
             {\"address\":\"10.0.0.2\",\"until_s\":200,\"reason\":\"b\"}\n]\n"
        );
        fs::write(&path, "[{\"address\":\"nowhere\",\"until_s\":1,\"reason\":\"\"}]").unwrap();
        let error = Bans::open(Some(path.clone())).unwrap_err();
        assert!(error.to_string().contains("mend it, or remove it"), "{error}");
        assert!(matches!(error, BansError::Damaged { .. }));
    }

    #[test]
    fn a_full_list_gives_up_the_ban_that_ends_first() {
        let mut bans = Bans::open(None).unwrap();
        let nth = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        for n in 0..CAPACITY as u32 {
            assert_eq!(bans.insert(nth(n), 1_000 + u64::from(n), "").1, None);
        }
        assert_eq!(bans.insert(nth(5), 9_000, "").1, None, "it has its place already");
        assert_eq!(bans.insert(nth(u32::MAX), 5, "").1, Some(nth(0)));
        assert_eq!(bans.len(), CAPACITY);
    }

    #[test]
    fn a_reason_is_bounded_and_printable() {
        let mut bans = Bans::open(None).unwrap();
        let (ban, _) = bans.insert(address("10.0.0.1"), 1, &format!("\u{1b}[31m{}", "ä".repeat(300)));
        assert!(ban.reason.starts_with("[31mä") && ban.reason.len() <= REASON_BYTES, "{}", ban.reason);
    }
}
