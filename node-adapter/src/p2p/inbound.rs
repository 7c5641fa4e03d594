//! The places of peers that dialled: how many an address has, and who leaves when all are taken.
//!
//! Somebody who takes every place cuts the node off. So a new peer gets the place of another, chosen so that an attacker would
//! have to be better than honest peers in many ways at once: who answers fastest, brought blocks or transactions last, is
//! alone in its network, or has stayed longest keeps its place.
//!
//! Source: `SelectNodeToEvict` in Bitcoin Core's `src/node/eviction.cpp`; the numbers are scaled from its 114 places to 32.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::groups::Group;
use super::live::LivePeer;
use super::options::P2pOptions;

/// Peers that keep their place because their network group comes first in an order that nobody can foresee.
const KEPT_BY_GROUP: usize = 2;

/// Peers that keep their place because they answer pings fastest.
const KEPT_BY_PING: usize = 4;

/// Peers that keep their place because they brought a transaction that the mempool took, most recently.
const KEPT_BY_TRANSACTION: usize = 2;

/// Peers that keep their place because they sent a block that was missing, most recently.
const KEPT_BY_BLOCK: usize = 2;

/// The places of one node.
#[derive(Debug)]
pub(super) struct Inbound {
    seats: Mutex<Seats>,
    order: RandomState,
    limit: usize,
    per_address: usize,
    spares_loopback: bool,
}

#[derive(Debug, Default)]
struct Seats {
    last_id: u64,
    taken: BTreeMap<u64, Holder>,
}

/// Who has a place, from the moment it was accepted.
#[derive(Debug)]
struct Holder {
    address: SocketAddr,
    since: Instant,
    /// What is known of it once its handshake is complete.
    peer: Option<Arc<LivePeer>>,
    leave: CancellationToken,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSeat {
    /// Its address has as many as one may have.
    #[error("its address has {limit} connections")]
    Address {
        /// How many that is.
        limit: usize,
    },
    /// All are taken, by peers that are worth more.
    #[error("all {limit} places are taken")]
    Full {
        /// How many there are.
        limit: usize,
    },
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    inbound: Arc<Inbound>,
    id: u64,
    /// Fires when somebody else gets the place.
    pub leave: CancellationToken,
}

/// What counts for and against a peer.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u64,
    group: Group,
    since: Instant,
    min_ping_us: u64,
    last_transaction: Option<Instant>,
    last_block: Option<Instant>,
}

impl Inbound {
    /// All places are free.
    pub fn new(options: &P2pOptions) -> Self {
        Self {
            seats: Mutex::default(),
            order: RandomState::new(),
            limit: options.max_inbound,
            per_address: options.max_inbound_per_address,
            spares_loopback: !options.bans_loopback,
        }
    }

    /// Gives a place, that of another peer if there is no free one.
    pub fn sit(self: &Arc<Self>, address: SocketAddr) -> Result<Seat, NoSeat> {
        let mut seats = self.seats.lock();
        let machine = machine(address.ip());
        let of_machine =
            seats.taken.values().filter(|holder| self::machine(holder.address.ip()) == machine).count();
        if of_machine >= self.per_address && !(self.spares_loopback && machine.is_loopback()) {
            return Err(NoSeat::Address { limit: self.per_address });
        }
        if seats.taken.len() >= self.limit {
            let candidates = seats.taken.iter().map(|(id, holder)| holder.candidate(*id)).collect();
            let out = leaves(candidates, &self.order).ok_or(NoSeat::Full { limit: self.limit })?;
            if let Some(holder) = seats.taken.remove(&out) {
                tracing::debug!(address = %holder.address, "leaves its place to another peer");
                holder.leave.cancel();
            }
        }
        seats.last_id += 1;
        let (id, leave) = (seats.last_id, CancellationToken::new());
        let holder = Holder { address, since: Instant::now(), peer: None, leave: leave.clone() };
        seats.taken.insert(id, holder);
        Ok(Seat { inbound: Arc::clone(self), id, leave })
    }
}

impl Seat {
    /// Notes that the handshake is complete.
    pub fn is_peer(&self, peer: &Arc<LivePeer>) {
        if let Some(holder) = self.inbound.seats.lock().taken.get_mut(&self.id) {
            holder.peer = Some(Arc::clone(peer));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inbound.seats.lock().taken.remove(&self.id);
    }
}

impl Holder {
    fn candidate(&self, id: u64) -> Candidate {
        let peer = self.peer.as_ref();
        Candidate {
            id,
            group: Group::of(self.address.ip()),
            since: self.since,
            min_ping_us: peer.and_then(|peer| peer.min_ping_us()).unwrap_or(u64::MAX),
            last_transaction: peer.and_then(|peer| peer.useful.last_transaction()),
            last_block: peer.and_then(|peer| peer.useful.last_block()),
        }
    }
}

/// What one machine is likely to have: an IPv4 address, or a /64.
fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) if address.is_loopback() => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// Whom to close: of those that nothing speaks for, the youngest of the largest network group.
fn leaves(mut candidates: Vec<Candidate>, order: &RandomState) -> Option<u64> {
    candidates.sort_by_key(|candidate| order.hash_one(candidate.group));
    keep(&mut candidates, KEPT_BY_GROUP, |_| true);
    candidates.sort_by_key(|candidate| candidate.min_ping_us);
    keep(&mut candidates, KEPT_BY_PING, |candidate| candidate.min_ping_us != u64::MAX);
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.last_transaction));
    keep(&mut candidates, KEPT_BY_TRANSACTION, |candidate| candidate.last_transaction.is_some());
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.last_block));
    keep(&mut candidates, KEPT_BY_BLOCK, |candidate| candidate.last_block.is_some());
    // Half of the rest keep their places because they have stayed longest.
    candidates.sort_by_key(|candidate| candidate.since);
    let long = candidates.len() / 2;
    candidates.drain(..long);

    let mut groups: HashMap<Group, (usize, Instant, u64)> = HashMap::new();
    for Candidate { id, group, since, .. } in candidates {
        let (count, youngest, of) = groups.entry(group).or_insert((0, since, id));
        *count += 1;
        if since >= *youngest {
            (*youngest, *of) = (since, id);
        }
    }
    groups.into_values().max_by_key(|(count, youngest, _)| (*count, *youngest)).map(|(_, _, id)| id)
}

/// Takes out the first `count` candidates, as far as they have what keeps them.
fn keep(candidates: &mut Vec<Candidate>, count: usize, has_it: impl Fn(&Candidate) -> bool) {
    let kept = candidates.iter().take(count).take_while(|candidate| has_it(candidate)).count();
    candidates.drain(..kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;
    use std::time::Duration;

    fn inbound(limit: usize, per_address: usize) -> Arc<Inbound> {
        let mut options = P2pOptions::new(Network::Regtest);
        (options.max_inbound, options.max_inbound_per_address) = (limit, per_address);
        Arc::new(Inbound::new(&options))
    }

    fn at(address: [u8; 4], port: u16) -> SocketAddr {
        (address, port).into()
    }

    #[test]
    fn an_address_has_its_places_and_no_more_until_one_is_free() {
        let inbound = inbound(32, 2);
        let first = inbound.sit(at([8, 8, 8, 8], 1)).unwrap();
        let _second = inbound.sit(at([8, 8, 8, 8], 2)).unwrap();
        assert_eq!(inbound.sit(at([8, 8, 8, 8], 3)).unwrap_err(), NoSeat::Address { limit: 2 });
        let _neighbour = inbound.sit(at([8, 8, 8, 9], 3)).unwrap();
        drop(first);
        let _third = inbound.sit(at([8, 8, 8, 8], 3)).unwrap();
        // On loopback everybody shares one address.
        let _near: Vec<_> = (0..9).map(|port| inbound.sit(at([127, 0, 0, 1], port)).unwrap()).collect();
        let of_one_network = |n: u16| SocketAddr::from(([0x2a00, 1, 2, 3, n, n, n, n], 8_333));
        let _network = [inbound.sit(of_one_network(1)).unwrap(), inbound.sit(of_one_network(2)).unwrap()];
        assert!(inbound.sit(of_one_network(3)).is_err());
    }

    #[test]
    fn a_crowd_from_one_network_loses_its_places_and_not_those_of_others() {
        let inbound = inbound(32, 4);
        let honest: Vec<_> = (1..=16).map(|n| inbound.sit(at([n, 1, 1, 1], 1)).unwrap()).collect();
        let mut crowd = Vec::new();
        for n in 0..=255 {
            crowd.push(inbound.sit(at([200, 1, n, n], 1)).unwrap());
        }
        assert!(honest.iter().all(|seat| !seat.leave.is_cancelled()));
        assert_eq!(crowd.iter().filter(|seat| !seat.leave.is_cancelled()).count(), 16);
        // And a late honest one comes in.
        let late = inbound.sit(at([100, 1, 1, 1], 1)).unwrap();
        assert!(!late.leave.is_cancelled() && honest.iter().all(|seat| !seat.leave.is_cancelled()));
        assert_eq!(inbound.seats.lock().taken.len(), 32);
    }

    #[test]
    fn few_places_are_all_kept() {
        let inbound = inbound(2, 2);
        let _seats = [inbound.sit(at([1, 1, 1, 1], 1)).unwrap(), inbound.sit(at([2, 1, 1, 1], 1)).unwrap()];
        assert_eq!(inbound.sit(at([3, 1, 1, 1], 1)).unwrap_err(), NoSeat::Full { limit: 2 });
    }

    /// Forty young peers of one network, and one of it that `change` makes better.
    fn is_kept(change: impl Fn(&mut Candidate, Instant)) -> bool {
        let start = Instant::now();
        let candidate = |n: u64| Candidate {
            id: n,
            group: Group::of([8, 8, 8, 8].into()),
            since: start + Duration::from_secs(n),
            min_ping_us: u64::MAX,
            last_transaction: None,
            last_block: None,
        };
        let mut candidates: Vec<_> = (0..40).map(candidate).collect();
        // Without what it has, the youngest would leave.
        change(&mut candidates[39], start);
        leaves(candidates, &RandomState::new()) != Some(39)
    }

    #[test]
    fn each_merit_keeps_a_peer_that_would_leave_without_it() {
        assert!(!is_kept(|_, _| {}));
        assert!(is_kept(|peer, _| peer.min_ping_us = 100));
        assert!(is_kept(|peer, start| peer.last_transaction = Some(start)));
        assert!(is_kept(|peer, start| peer.last_block = Some(start)));
        assert!(is_kept(|peer, start| peer.since = start - Duration::from_secs(1)));
        assert!(is_kept(|peer, _| peer.group = Group::of([9, 9, 9, 9].into())));
    }
}
