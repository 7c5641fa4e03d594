//! Modules that do what would hurt, if anything did.

use std::os::fd::AsRawFd as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_bus::lease::LEASE_PAGE_BYTES;
use blvm_bus::memory::Memory as _;
use blvm_bus::message::chain::Chain;
use blvm_bus::subscriber::{Body, Subscriber};
use blvm_bus::wake::{ALL_KINDS, Record, Want};
use nix::sys::socket::{MsgFlags, recv, send};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::module::{Seat, park};
use crate::reader::IS_READING;

/// One way to torment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Torment {
    /// Holds as many leases as it may, and moves them on to the newest bodies.
    Hoard,
    /// Writes sequences into its lease words, as fast as it can.
    Flip,
    /// Sends park records as fast as the socket takes them, and takes the wakes.
    Flood,
    /// Parks again and again at cursors that are never reached, for kinds that there are not.
    Far,
    /// Parks for everything at once, over and over, so that every message rings.
    Steal,
    /// Sends park records that match, and never reads its socket.
    Mute,
}

/// A torment for module number `index`, of which only the first few have lease pages.
pub fn of_module(index: usize, has_leases: bool) -> Torment {
    use Torment::{Far, Flip, Flood, Hoard, Mute, Steal};
    if has_leases {
        [Flood, Hoard, Flip, Far, Steal, Mute][index % 6]
    } else {
        [Flood, Far, Steal, Mute][index % 4]
    }
}

/// Torments until it is killed.
pub fn run(mut seat: Seat, torment: Torment) -> Outcome<()> {
    seat.page.word(IS_READING).store(1, Ordering::Release);
    match torment {
        Torment::Hoard => hoard(&mut seat),
        Torment::Flip => flip(&seat),
        Torment::Flood => flood(&seat),
        Torment::Far => park_for_ever(&seat, u64::MAX, 1 << 63, Duration::from_micros(50)),
        Torment::Steal => park_for_ever(&seat, 1, ALL_KINDS, Duration::from_millis(1)),
        Torment::Mute => mute(&seat),
    }
}

fn hoard(seat: &mut Seat) -> Outcome<()> {
    let leases = seat.leases();
    let mut subscriber: Subscriber<Chain> = seat.subscribe(leases)?;
    let mut held = std::collections::VecDeque::new();
    loop {
        let Ok(Some(sample)) = subscriber.poll() else { continue };
        match sample.body() {
            Ok(Body::InPlace(body)) => held.push_back(body),
            // It holds all it may: on to the next newest.
            Err(_) => drop(held.pop_front()),
            Ok(_) => {}
        }
    }
}

fn flip(seat: &Seat) -> Outcome<()> {
    let page = seat.lease_page.as_ref().ok_or("no lease page to write to")?;
    let words = page.words(0, LEASE_PAGE_BYTES / 8);
    for sequence in (1..1_000).cycle() {
        words.iter().for_each(|word| word.store(sequence, Ordering::Release));
    }
    Ok(())
}

fn flood(seat: &Seat) -> Outcome<()> {
    for epoch in 1.. {
        send_record(seat, epoch, 1)?;
        take_wakes(seat);
    }
    Ok(())
}

fn mute(seat: &Seat) -> Outcome<()> {
    for epoch in 1.. {
        send_record(seat, epoch, 1)?;
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

fn park_for_ever(seat: &Seat, cursor: u64, kinds: u64, timeout: Duration) -> Outcome<()> {
    let mut parker = seat.parker()?;
    let wants: Vec<_> = seat.topics().map(|topic| Want { topic, cursor, kinds }).collect();
    loop {
        park(&mut parker, &wants, timeout)?;
    }
}

/// Sends one record for all topics; a full socket is no error.
fn send_record(seat: &Seat, epoch: u64, cursor: u64) -> Outcome<()> {
    let wants = seat.topics().map(|topic| Want::all(topic, cursor)).collect();
    let record = Record { waiter: 0, epoch, wants };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    match send(seat.wake.as_raw_fd(), &record.encode(), flags) {
        Ok(_) | Err(nix::Error::EAGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn take_wakes(seat: &Seat) {
    let mut wake = [0; 64];
    while recv(seat.wake.as_raw_fd(), &mut wake, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0) {}
}
