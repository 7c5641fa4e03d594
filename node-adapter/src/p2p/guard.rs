//! What the node does against its peers: points, bans, and what it withholds. Shared by all connections.
//!
//! Events of bans are published under the lock of the list, so that they come in the order in which it changed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bans::{Bans, BansError, DEFAULT_BAN_S};
use super::close::CloseReason;
use super::context::Context;
use super::denylist::Withheld;
use super::live::LivePeer;
use super::misbehaviour::{Culprit, LIMIT, Offence, Scores};
use super::options::P2pOptions;
use crate::source::{Ban, EventSink, NodeEvent};

/// Longest sleep of the task that ends bans: the system's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// The node's memory of its peers.
#[derive(Debug)]
pub(super) struct Guard {
    /// What peers do not get.
    pub withheld: Withheld,
    scores: Mutex<Scores>,
    bans: Mutex<Bans>,
    /// Held while the file is written, so that a later list is never replaced by an earlier one.
    saving: Mutex<()>,
    bans_changed: Notify,
    spares_loopback: bool,
}

impl Guard {
    /// Reads the list of bans.
    pub fn open(options: &P2pOptions) -> Result<Self, BansError> {
        let mut bans = Bans::open(options.bans.clone())?;
        // What ended while the node was down is no event of this run.
        bans.expire(now_s());
        Ok(Self {
            withheld: Withheld::default(),
            scores: Mutex::default(),
            bans: Mutex::new(bans),
            saving: Mutex::new(()),
            bans_changed: Notify::new(),
            spares_loopback: !options.bans_loopback,
        })
    }

    /// Whether an address may not connect now.
    pub fn is_banned(&self, address: IpAddr) -> bool {
        self.bans.lock().is_banned(address, now_s())
    }

    /// Every ban in force.
    pub fn bans(&self) -> Vec<Ban> {
        let now_s = now_s();
        self.bans.lock().all().into_iter().filter(|ban| ban.until_s > now_s).collect()
    }

    /// How many there are.
    pub fn banned(&self) -> u32 {
        // Bounded far below 2^32.
        self.bans.lock().len() as u32
    }

    fn insert(&self, address: IpAddr, until_s: u64, reason: &str, sink: &dyn EventSink) {
        let mut bans = self.bans.lock();
        let (ban, displaced) = bans.insert(address, until_s, reason);
        if let Some(address) = displaced {
            sink.event(NodeEvent::PeerUnbanned { address, is_early: true });
        }
        let Ban { address, until_s, reason } = ban;
        tracing::info!(%address, until_s, reason, "address banned");
        sink.event(NodeEvent::PeerBanned { address, until_s, reason });
        self.bans_changed.notify_one();
    }

    fn remove(&self, address: IpAddr, sink: &dyn EventSink) -> bool {
        let mut bans = self.bans.lock();
        let was_banned = bans.remove(address);
        if was_banned {
            sink.event(NodeEvent::PeerUnbanned { address: address.to_canonical(), is_early: true });
        }
        was_banned
    }

    /// Ends the bans that are over; whether there were any.
    fn expire(&self, sink: &dyn EventSink) -> bool {
        let mut bans = self.bans.lock();
        let ended = bans.expire(now_s());
        for address in &ended {
            sink.event(NodeEvent::PeerUnbanned { address: *address, is_early: false });
        }
        !ended.is_empty()
    }

    /// Writes the list as it is now. May wait for the disk.
    fn save(&self) -> Result<(), BansError> {
        let _turn = self.saving.lock();
        let bans = self.bans.lock().clone();
        bans.save().inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "bans are not kept");
        })
    }

    /// Whose points are counted together. Addresses on loopback are shared by all who test there.
    fn culprit(&self, address: IpAddr, id: u64) -> Culprit {
        if self.spares(address) { Culprit::Connection(id) } else { Culprit::Address(address.to_canonical()) }
    }

    /// Whether misbehaviour from this address costs the connection only.
    fn spares(&self, address: IpAddr) -> bool {
        self.spares_loopback && address.to_canonical().is_loopback()
    }

    /// Forgets the points of a connection that is gone; those of its address stay.
    pub fn gone(&self, peer: &LivePeer) {
        self.scores.lock().forget(Culprit::Connection(peer.id()));
    }
}

impl Context {
    /// Notes what a peer did, and says so; at [`LIMIT`] points its address is banned and its connections end.
    ///
    /// # Errors
    ///
    /// Why this connection ends, if it does.
    pub fn misbehaved(self: &Arc<Self>, peer: &LivePeer, offence: Offence) -> Result<(), CloseReason> {
        let (address, points) = (peer.address().ip(), offence.points());
        let culprit = self.guard.culprit(address, peer.id());
        let total = self.guard.scores.lock().add(culprit, offence, Instant::now());
        peer.set_misbehaviour(total);
        let offence = offence.as_str();
        tracing::debug!(id = peer.id(), offence, points, total, "misbehaviour");
        let event = NodeEvent::PeerMisbehaved { peer: peer.id(), points, total, offence: offence.to_owned() };
        self.sink.event(event);
        if total < LIMIT {
            return Ok(());
        }
        peer.close(CloseReason::Misbehaving { offence });
        if !self.guard.spares(address) {
            self.ban_soon(address, offence);
        }
        Err(CloseReason::Misbehaving { offence })
    }

    /// Notes what somebody did who never became a peer.
    pub fn misbehaved_before_handshake(self: &Arc<Self>, address: SocketAddr, offence: Offence) {
        if self.guard.spares(address.ip()) {
            return;
        }
        let culprit = Culprit::Address(address.ip().to_canonical());
        if self.guard.scores.lock().add(culprit, offence, Instant::now()) >= LIMIT {
            self.ban_soon(address.ip(), offence.as_str());
        }
    }

    /// Bans from now on, and writes the list on a thread that may block.
    fn ban_soon(self: &Arc<Self>, address: IpAddr, reason: &str) {
        self.enforce(address, now_s() + DEFAULT_BAN_S, reason);
        let context = Arc::clone(self);
        // Nobody asked for it: the log says if it is not kept.
        self.tasks.spawn_blocking(move || drop(context.guard.save()));
    }

    /// Bans an address for `duration_s`, 0 being 24 h, and ends its connections. May wait for the disk.
    ///
    /// # Errors
    ///
    /// [`BansError::Write`] if the ban ends with the node.
    pub fn ban(&self, address: IpAddr, duration_s: u64, reason: &str) -> Result<(), BansError> {
        let duration_s = if duration_s == 0 { DEFAULT_BAN_S } else { duration_s };
        self.enforce(address, now_s().saturating_add(duration_s), reason);
        self.guard.save()
    }

    fn enforce(&self, address: IpAddr, until_s: u64, reason: &str) {
        self.guard.insert(address, until_s, reason, &*self.sink);
        // Who completes its handshake later looks at the list itself.
        let address = address.to_canonical();
        for peer in self.live.all() {
            if peer.address().ip().to_canonical() == address {
                peer.close(CloseReason::Banned);
            }
        }
    }

    /// Ends a ban; whether there was one. May wait for the disk.
    ///
    /// # Errors
    ///
    /// [`BansError::Write`] if the next start bans it again.
    pub fn unban(&self, address: IpAddr) -> Result<bool, BansError> {
        let was_banned = self.guard.remove(address, &*self.sink);
        if was_banned {
            self.guard.save()?;
        }
        Ok(was_banned)
    }

    /// Ends each ban in its time, until the node stops.
    pub async fn end_bans(self: Arc<Self>) {
        loop {
            if self.guard.expire(&*self.sink) {
                let context = Arc::clone(&self);
                self.tasks.spawn_blocking(move || drop(context.guard.save()));
            }
            let next_s = self.guard.bans.lock().next_end_s();
            let sleep =
                next_s.map_or(LONGEST_SLEEP, |end_s| Duration::from_secs(end_s.saturating_sub(now_s())));
            tokio::select! {
                () = self.stop.cancelled() => return,
                // Rounded down to the second that now is: it may still be a second away.
                () = tokio::time::sleep(sleep.clamp(Duration::from_millis(100), LONGEST_SLEEP)) => {}
                () = self.guard.bans_changed.notified() => {}
            }
        }
    }
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
