//! Single rounds, without the thread: what is sent, what is armed, how long the sleep is bounded.

use std::os::fd::OwnedFd;

use nix::sys::socket::recv;

use super::super::super::client::HOLD;
use super::*;
use crate::wake::record::decode_wake;

/// A waker whose rounds the test turns.
struct Turns {
    waker: Waker,
    round: Round,
    start: Instant,
}

impl Turns {
    fn new() -> Self {
        let (waker, round) = Waker::set_up().unwrap();
        Turns { waker, round, start: Instant::now() }
    }

    fn add(&self, topics: &[u32]) -> OwnedFd {
        let (node, module) = wake_socket_pair().unwrap();
        self.waker.add(node, topics.to_vec());
        module
    }

    /// A round at `now_us`, with what is ready by then; the bound of the next sleep.
    fn turn(&mut self, now_us: u64) -> Option<Duration> {
        self.round.sleep(Some(Duration::ZERO)).unwrap();
        self.round.turn(self.start + Duration::from_micros(now_us)).unwrap()
    }
}

fn park(module: &OwnedFd, waiter: u32, epoch: u64, wants: &[Want]) {
    let record = Record { waiter, epoch, wants: wants.to_vec() };
    send(module.as_raw_fd(), &record.encode(), MsgFlags::MSG_DONTWAIT).unwrap();
}

/// The wakes that wait in the module's socket.
fn wakes(module: &OwnedFd) -> Vec<(u32, u64)> {
    let mut bytes = [0; 64];
    let mut found = Vec::new();
    while let Ok(length) = recv(module.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        found.push(decode_wake(&bytes[..length]).unwrap());
    }
    found
}

#[test]
fn waiters_for_mining_are_woken_first() {
    let mut turns = Turns::new();
    let bells = [1, MINING, 3].map(|topic| turns.waker.bell(topic, 64));
    let module = turns.add(&[1, MINING, 3]);
    for (waiter, topic) in [(0, 1), (1, 3), (2, MINING), (3, 1)] {
        park(&module, waiter, 9, &[Want::all(topic, 1)]);
        // One record a round; the first takes the socket in as well.
        turns.turn(0);
        turns.turn(0);
    }
    bells.iter().for_each(|bell| tell(bell, 2));
    turns.turn(1);
    assert_eq!(wakes(&module), [(2, 9), (0, 9), (1, 9), (3, 9)]);
}

#[test]
fn a_kind_nobody_awaits_rings_for_nobody_and_leaves_the_bell_armed() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 64);
    let module = turns.add(&[1]);
    turns.turn(0);
    for (waiter, kind) in [(0, 2), (1, 5)] {
        park(&module, waiter, 1, &[Want { topic: 1, cursor: 1, kinds: kind_bit(kind) }]);
        turns.turn(0);
    }
    for (kind, next) in [(1, 2), (3, 3), (70, 4)] {
        tell_kind(&bell, kind, next);
    }
    assert_eq!((bell.rings.load(Ordering::Relaxed), bell.is_armed()), (0, true));
    assert_eq!(turns.turn(1), None);
    assert_eq!(wakes(&module), []);
    tell_kind(&bell, 2, 5);
    assert_eq!((bell.rings.load(Ordering::Relaxed), bell.is_armed()), (1, false));
    turns.turn(2);
    assert_eq!(wakes(&module), [(0, 1)]);
    assert!(bell.is_armed(), "the other still waits");
    tell_kind(&bell, 5, 6);
    assert_eq!(bell.rings.load(Ordering::Relaxed), 2);
    turns.turn(3);
    assert_eq!(wakes(&module), [(1, 1)]);
}

#[test]
fn a_batch_rings_once_and_only_for_its_kinds() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 1 << 10);
    let module = turns.add(&[1]);
    turns.turn(0);
    park(&module, 0, 1, &[Want { topic: 1, cursor: 1, kinds: kind_bit(2) }]);
    turns.turn(0);
    let batch = |first: u64, kinds: &[u16]| {
        let noted = kinds.iter().zip(first..).inspect(|(kind, sequence)| bell.note(**kind, *sequence));
        let bits = noted.fold(0, |bits, (kind, _)| bits | kind_bit(*kind));
        bell.look(first + kinds.len() as u64, bits);
    };
    batch(1, &[1, 1, 3]);
    assert_eq!(bell.rings.load(Ordering::Relaxed), 0);
    batch(4, &[1, 2, 1, 2]);
    assert_eq!(bell.rings.load(Ordering::Relaxed), 1);
    turns.turn(1);
    assert_eq!(wakes(&module), [(0, 1)]);
}

#[test]
fn parked_modules_leave_the_waker_asleep_without_a_bound() {
    let mut turns = Turns::new();
    let bells = [1, 2].map(|topic| turns.waker.bell(topic, 64));
    let modules: Vec<_> = (0..32).map(|_| turns.add(&[1, 2])).collect();
    turns.turn(0);
    for module in &modules {
        park(module, 0, 1, &[Want::all(1, 1), Want::all(2, 1)]);
    }
    assert_eq!(turns.turn(0), None);
    assert!(bells.iter().all(|bell| bell.is_armed()));
    // Nothing that is left ready would end that sleep either.
    turns.round.sleep(Some(Duration::from_millis(1))).unwrap();
    assert!(turns.round.ready.is_empty());
}

#[test]
fn a_waiter_that_parks_again_soon_is_armed_later_and_loses_nothing() {
    let hold_us = HOLD.as_micros() as u64;
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 64);
    let module = turns.add(&[1]);
    turns.turn(0);
    park(&module, 0, 1, &[Want::all(1, 1)]);
    assert_eq!(turns.turn(10), None);
    tell(&bell, 2);
    assert_eq!(turns.turn(100), None);
    assert_eq!(wakes(&module), [(0, 1)]);
    // Woken at 100: held until 150.
    park(&module, 0, 2, &[Want::all(1, 2)]);
    assert_eq!(turns.turn(110), Some(Duration::from_micros(hold_us - 10)));
    assert!(!bell.is_armed());
    // Another waiter is not held for it.
    park(&module, 1, 7, &[Want { topic: 1, cursor: 2, kinds: kind_bit(5) }]);
    assert_eq!(turns.turn(120), Some(Duration::from_micros(hold_us - 20)));
    assert!(bell.is_armed());
    // Nobody rings for it yet, and the end of the hold finds it.
    tell(&bell, 3);
    assert_eq!(bell.rings.load(Ordering::Relaxed), 1);
    assert_eq!(turns.turn(100 + hold_us), None);
    assert_eq!(wakes(&module), [(0, 2)]);
    // After a rest it is armed at once.
    park(&module, 0, 3, &[Want::all(1, 3)]);
    assert_eq!(turns.turn(100 + 2 * hold_us), None);
    tell(&bell, 4);
    assert_eq!(bell.rings.load(Ordering::Relaxed), 2);
}

#[test]
fn a_module_that_leaves_its_wakes_unread_is_mute_until_it_reads() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 1 << 20);
    let (module, other) = (turns.add(&[1]), turns.add(&[1]));
    turns.turn(0);
    let id = *turns.round.clients.keys().next().unwrap();
    let mut epoch = 0;
    while !turns.round.clients[&id].is_mute() {
        epoch += 1;
        // The highest cursor is that of the next message.
        park(&module, 0, epoch, &[Want::all(1, u64::MAX)]);
        turns.turn(epoch * 1_000);
        tell(&bell, epoch + 1);
        turns.turn(epoch * 1_000);
    }
    assert!(epoch > u64::from(MAX_WAITERS), "the wakes of all waiters find room: {epoch}");
    // Mute, it asks the publisher for nothing, whatever it sends, and costs no bound of the sleep.
    let rings = bell.rings.load(Ordering::Relaxed);
    park(&module, 0, epoch + 1, &[Want::all(1, u64::MAX)]);
    assert_eq!(turns.turn((epoch + 1) * 1_000), None);
    assert!(!bell.is_armed());
    tell(&bell, epoch + 2);
    assert_eq!(bell.rings.load(Ordering::Relaxed), rings);
    // Others go on.
    park(&other, 0, 1, &[Want::all(1, 1)]);
    turns.turn((epoch + 2) * 1_000);
    assert_eq!(wakes(&other), [(0, 1)]);
    // It reads: nothing is lost but time.
    assert_eq!(wakes(&module).len() as u64, epoch - 1);
    turns.turn((epoch + 3) * 1_000);
    assert_eq!(wakes(&module), [(0, epoch + 1)]);
    assert!(!turns.round.clients[&id].is_mute());
    park(&module, 0, epoch + 2, &[Want::all(1, u64::MAX)]);
    turns.turn((epoch + 4) * 1_000);
    assert!(bell.is_armed());
}

#[test]
fn a_later_record_of_a_waiter_replaces_the_earlier_one() {
    let mut turns = Turns::new();
    let bells = [1, 3].map(|topic| turns.waker.bell(topic, 64));
    let module = turns.add(&[1, 3]);
    turns.turn(0);
    park(&module, 4, 1, &[Want::all(1, 1)]);
    park(&module, 4, 2, &[Want::all(3, 1)]);
    turns.turn(0);
    turns.turn(0);
    assert!(!bells[0].is_armed() && bells[1].is_armed());
    bells.iter().for_each(|bell| tell(bell, 2));
    turns.turn(1);
    assert_eq!(wakes(&module), [(4, 2)]);
}

#[test]
fn one_record_of_a_socket_is_taken_in_a_round() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 64);
    let module = turns.add(&[1]);
    turns.turn(0);
    tell(&bell, 2);
    for waiter in 0..4 {
        park(&module, waiter, 1, &[Want::all(1, 1)]);
    }
    for waiter in 0..4 {
        turns.turn(0);
        assert_eq!(wakes(&module), [(waiter, 1)]);
    }
}

#[test]
fn a_module_that_floods_is_read_once_in_100_microseconds_and_others_at_once() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 64);
    let (flooding, honest) = (turns.add(&[1]), turns.add(&[1]));
    turns.turn(0);
    let want = [Want::all(1, 1)];
    // Never woken in between: the burst is read a record a round.
    for epoch in 1..=u64::from(MAX_WAITERS) {
        park(&flooding, 0, epoch, &want);
        let is_last = epoch == u64::from(MAX_WAITERS);
        assert_eq!(turns.turn(0), is_last.then_some(Duration::from_micros(100)));
    }
    park(&flooding, 0, 1_000, &want);
    park(&honest, 0, 1, &want);
    assert_eq!(turns.turn(10), Some(Duration::from_micros(90)));
    tell(&bell, 2);
    turns.turn(20);
    // The honest module's record was read, the other's last one not.
    assert_eq!(wakes(&honest), [(0, 1)]);
    assert_eq!(wakes(&flooding), [(0, u64::from(MAX_WAITERS))]);
    // Its pause is over: the round that ends it reads one more.
    turns.turn(100);
    assert_eq!(wakes(&flooding), [(0, 1_000)]);
}

#[test]
fn a_module_that_sleeps_until_it_is_woken_is_never_paused() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 1 << 20);
    let module = turns.add(&[1]);
    turns.turn(0);
    for next in 1..1_000 {
        let now_us = next * 60;
        park(&module, 0, next, &[Want::all(1, next)]);
        // Held at most, never paused.
        assert!(turns.turn(now_us).is_none_or(|bound| bound < HOLD));
        tell(&bell, next + 1);
        turns.turn(now_us + 1);
        assert_eq!(wakes(&module), [(0, next)]);
    }
}

/// Cursors that rise are progress, but not the same ones twice.
#[test]
fn a_module_that_goes_back_and_rises_again_is_paused() {
    let mut turns = Turns::new();
    let bell = turns.waker.bell(1, 1 << 20);
    let module = turns.add(&[1]);
    turns.turn(0);
    tell(&bell, 1_000);
    let mut bounds = Vec::new();
    for (epoch, cursor) in (1..=10).cycle().take(10 * MAX_WAITERS as usize).enumerate() {
        park(&module, 0, epoch as u64, &[Want::all(1, cursor)]);
        bounds.push(turns.turn(0));
        if bounds.last().unwrap().is_some() {
            break;
        }
        wakes(&module);
    }
    assert_eq!(bounds.pop().unwrap(), Some(Duration::from_micros(100)));
    // Ten were progress, the others cost what a burst may.
    assert!(bounds.len() <= MAX_WAITERS as usize + 10, "{}", bounds.len());
}
