//! The waker's thread with real sockets. `rounds.rs` looks at single rounds.

use std::io::IoSlice;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, send, sendmsg, setsockopt,
    socketpair, sockopt,
};

use super::super::client::HOLD;
use super::*;
use crate::request::refuse_descriptors;
use crate::sync::Ordering;
use crate::wake::record::encode_wake;
use crate::wake::{MAX_WAITERS, ParkError, Parked, Parker, Record, Want, kind_bit, wake_socket_pair};

mod rounds;

const LONG: Duration = Duration::from_secs(20);

/// Publishes, as far as the waker can tell, the message of kind 1 before `next`.
fn tell(bell: &Bell, next: u64) {
    tell_kind(bell, 1, next);
}

fn tell_kind(bell: &Bell, kind: u16, next: u64) {
    bell.note(kind, next - 1);
    bell.look(next, kind_bit(kind));
}

fn waker_with_client(topics: Vec<u32>) -> (Waker, Parker) {
    let waker = Waker::start().unwrap();
    let (node, module) = wake_socket_pair().unwrap();
    waker.add(node, topics);
    (waker, Parker::new(module).unwrap())
}

#[test]
fn a_parked_module_is_woken_by_the_next_message_and_at_once_if_it_was_missed() {
    let (waker, mut parker) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    for sequence in 1..50 {
        std::thread::scope(|scope| {
            scope.spawn(|| tell(&bell, sequence + 1));
            assert_eq!(parker.park(&[Want::all(1, sequence)], LONG).unwrap(), Parked::Woken);
        });
    }
    assert_eq!(parker.park(&[Want::all(1, 49)], LONG).unwrap(), Parked::Woken);
    assert_eq!(parker.park(&[Want::all(1, 50)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
}

/// A stop that comes while the thread is between its inbox and its sleep must end the sleep.
#[test]
fn a_waker_stops_at_whatever_moment_it_is_dropped() {
    for round in 0..4_000_u32 {
        let waker = Waker::start().unwrap();
        let (node, _module) = wake_socket_pair().unwrap();
        let client = waker.add(node, vec![1]);
        // From before the thread's first round to after its second.
        for _ in 0..round % 400 {
            std::hint::spin_loop();
        }
        waker.remove(client);
    }
}

#[test]
fn a_closed_topic_wakes_its_waiters() {
    let (waker, mut parker) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| bell.close());
        assert_eq!(parker.park(&[Want::all(1, 1)], LONG).unwrap(), Parked::Woken);
    });
}

#[test]
fn a_wake_for_an_earlier_sleep_does_not_end_a_later_one() {
    let (node, module) = wake_socket_pair().unwrap();
    let mut parker = Parker::new(module).unwrap();
    for stale in [0_u64, 2, u64::MAX] {
        send(node.as_raw_fd(), &encode_wake(0, stale), MsgFlags::empty()).unwrap();
    }
    assert_eq!(parker.park(&[Want::all(1, 1)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
}

#[test]
fn a_waiter_for_the_far_future_is_woken_by_the_next_message_and_rings_once() {
    let (waker, mut parker) = waker_with_client(vec![1, 2]);
    let (bell, other) = (waker.bell(1, 1 << 20), waker.bell(2, 1 << 20));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !bell.is_armed() {
                std::thread::yield_now();
            }
            tell(&bell, 2);
        });
        assert_eq!(parker.park(&[Want::all(1, u64::MAX)], LONG).unwrap(), Parked::Woken);
    });
    // A round of the waker later nobody waits for topic 1 any more.
    tell(&other, 2);
    assert_eq!(parker.park(&[Want::all(2, 1)], LONG).unwrap(), Parked::Woken);
    assert!(!bell.is_armed());
}

#[test]
fn a_topic_that_was_not_granted_is_never_armed() {
    let (waker, mut parker) = waker_with_client(vec![2]);
    let (secret, granted) = (waker.bell(1, 1 << 20), waker.bell(2, 1 << 20));
    assert_eq!(parker.park(&[Want::all(1, 1)], Duration::from_millis(5)).unwrap(), Parked::TimedOut);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !granted.is_armed() {
                std::thread::yield_now();
            }
            // The record was looked at, and with it topic 1.
            assert!(!secret.is_armed());
            tell(&secret, 2);
            tell(&granted, 2);
        });
        assert_eq!(parker.park(&[Want::all(1, 1), Want::all(2, 1)], LONG).unwrap(), Parked::Woken);
    });
}

#[test]
fn a_packet_that_is_no_record_ends_the_wake_socket_and_no_other() {
    let (waker, mut honest) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    let (node, module) = wake_socket_pair().unwrap();
    waker.add(node, vec![1]);
    send(module.as_raw_fd(), b"nonsense", MsgFlags::empty()).unwrap();
    let mut hostile = Parker::new(module).unwrap();
    while !matches!(hostile.park(&[Want::all(1, 1)], Duration::from_millis(5)), Err(ParkError::Closed)) {}
    tell(&bell, 2);
    assert_eq!(honest.park(&[Want::all(1, 1)], LONG).unwrap(), Parked::Woken);
}

#[test]
fn a_module_cannot_send_descriptors_to_the_node() {
    let (node, module) = wake_socket_pair().unwrap();
    if !refuse_descriptors(&node).unwrap() {
        return; // Before Linux 6.16 the kernel cannot refuse them.
    }
    let descriptor = [module.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptor)];
    let bytes = [IoSlice::new(&[0; 24])];
    let sent = sendmsg::<UnixAddr>(module.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None);
    assert_eq!(sent, Err(nix::Error::EPERM));
    // The other way it still works: the node sends segments.
    assert!(sendmsg::<UnixAddr>(node.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).is_ok());
}

/// A connection that is slow to close: data that nobody takes, and a minute to wait for that.
fn slow_to_close() -> (std::net::TcpListener, std::net::TcpStream) {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 64 << 10]).is_ok() {}
    let linger = libc::linger { l_onoff: 1, l_linger: 60 };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    (listener, stream)
}

#[test]
fn a_descriptor_that_is_slow_to_close_holds_up_nobody_where_the_kernel_lets_it_in() {
    let waker = Waker::start().unwrap();
    let bell = waker.bell(1, 1 << 20);
    // As before Linux 6.16: a socket that does not refuse descriptors.
    let (node, module) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let (_listener, slow) = slow_to_close();
    let record = Record { waiter: 0, epoch: 1, wants: vec![Want::all(1, 1)] }.encode();
    let descriptors = [slow.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let slices = [IoSlice::new(&record)];
    sendmsg::<UnixAddr>(module.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None).unwrap();
    // The message in the socket holds the last reference, when the waker comes to it.
    drop(slow);
    waker.add(node, vec![1]);
    let (other, waiter) = wake_socket_pair().unwrap();
    waker.add(other, vec![1]);
    tell(&bell, 2);
    assert_eq!(Parker::new(waiter).unwrap().park(&[Want::all(1, 1)], LONG).unwrap(), Parked::Woken);
    assert!(matches!(Parker::new(module).unwrap().park(&[Want::all(1, 1)], LONG), Err(ParkError::Closed)));
}

#[test]
fn a_message_published_at_any_moment_of_a_round_wakes_its_waiter() {
    let (waker, mut parker) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    let wanted = crate::sync::AtomicU64::new(0);
    let last = 20_000;
    let mut lost = None;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 1..=last {
                while wanted.load(Ordering::Relaxed) < sequence {
                    std::hint::spin_loop();
                }
                // From at once to well after the hold, when the waker sleeps, in steps no longer than its race.
                let delay = Duration::from_nanos(sequence * 7_919 % 120_000);
                let start = Instant::now();
                while start.elapsed() < delay {
                    std::hint::spin_loop();
                }
                tell(&bell, sequence + 1);
            }
        });
        for sequence in 1..=last {
            wanted.store(sequence, Ordering::Relaxed);
            if parker.park(&[Want::all(1, sequence)], LONG).unwrap() != Parked::Woken {
                lost = Some(sequence);
                // Lets the publisher come to its end.
                wanted.store(last, Ordering::Relaxed);
                break;
            }
        }
    });
    assert_eq!(lost, None, "a wake was lost");
}

#[test]
fn closing_a_publisher_wakes_its_waiters() {
    use crate::memory::Heap;
    use crate::message::Topic;
    use crate::message::system::System;
    use crate::publisher::Publisher;
    use crate::segment::{Identity, RunId, write_header};
    let (waker, mut parker) = waker_with_client(vec![System::NUMBER]);
    let layout = System::GEOMETRY.layout().unwrap();
    let memory = Arc::new(Heap::new(layout.segment_bytes));
    let identity = Identity { topic: System::NUMBER, schema: System::SCHEMA, run_id: RunId([1; 16]) };
    write_header(&*memory, &layout, &identity);
    let bell = waker.bell(System::NUMBER, layout.geometry.depth);
    let mut publisher = Publisher::<System, Heap, Heap>::new(memory, layout, 0, None, bell);
    std::thread::scope(|scope| {
        scope.spawn(|| publisher.close());
        assert_eq!(parker.park(&[Want::all(System::NUMBER, 1)], LONG).unwrap(), Parked::Woken);
    });
}

#[test]
fn a_waiter_whose_kinds_do_not_come_is_woken_at_half_a_ring_and_not_before() {
    const DEPTH: u32 = 64;
    let (waker, mut parker) = waker_with_client(vec![1]);
    let bell = waker.bell(1, DEPTH);
    let masked = Want { topic: 1, cursor: 1, kinds: kind_bit(2) };
    for next in 2..=u64::from(DEPTH / 2) {
        tell_kind(&bell, 1, next);
    }
    assert_eq!(parker.park(&[masked], Duration::from_millis(20)).unwrap(), Parked::TimedOut);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(1));
            tell_kind(&bell, 1, u64::from(DEPTH / 2) + 1);
        });
        assert_eq!(parker.park(&[masked], LONG).unwrap(), Parked::Woken);
    });
}

#[test]
fn all_waiters_of_a_module_park_on_one_socket_and_one_more_is_refused() {
    let (waker, first) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    let mut parkers: Vec<_> = (1..MAX_WAITERS).map(|_| first.another().unwrap()).collect();
    assert!(matches!(first.another(), Err(ParkError::TooManyWaiters { limit: MAX_WAITERS })));
    // A number that is free again is given again.
    drop(parkers.remove(6));
    parkers.push(first.another().unwrap());
    assert_eq!(parkers.last().unwrap().waiter(), 7);
    parkers.push(first);
    std::thread::scope(|scope| {
        for mut parker in parkers {
            scope.spawn(move || {
                for sequence in 1..=20 {
                    assert_eq!(parker.park(&[Want::all(1, sequence)], LONG).unwrap(), Parked::Woken);
                }
            });
        }
        for sequence in 1..=20 {
            std::thread::sleep(Duration::from_millis(1));
            tell(&bell, sequence + 1);
        }
    });
}

/// Parks again as fast as it is woken, while the publisher publishes as fast as it can.
#[test]
fn a_module_that_parks_again_at_once_makes_the_publisher_ring_once_in_50_microseconds_at_most() {
    let (waker, mut parker) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    let last = 200_000;
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 1..=last {
                tell(&bell, sequence + 1);
            }
        });
        let mut cursor = 1;
        while cursor <= last {
            // None of these waits for its bound: whatever is published while the waiter is held is found.
            assert_eq!(parker.park(&[Want::all(1, cursor)], LONG).unwrap(), Parked::Woken);
            cursor = bell.clamp(u64::MAX);
        }
    });
    let most = start.elapsed().as_micros() / HOLD.as_micros() + 2;
    let rings = u128::from(bell.rings.load(Ordering::Relaxed));
    assert!(rings <= most, "{rings} rings, where {most} fit into the time");
}

/// One module floods, one never reads, one steals nobody's wakes: the honest one gets its own.
#[test]
fn an_honest_module_gets_every_wake_among_modules_that_do_not_behave() {
    let (waker, mut honest) = waker_with_client(vec![1]);
    let bell = waker.bell(1, 1 << 20);
    let (node, flooder) = wake_socket_pair().unwrap();
    waker.add(node, vec![1]);
    let (node, never_reads) = wake_socket_pair().unwrap();
    waker.add(node, vec![1]);
    let is_over = crate::sync::AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut epoch = 0;
            let mut bytes = [0; 64];
            while is_over.load(Ordering::Relaxed) == 0 {
                epoch += 1;
                let want =
                    Want { topic: 1, cursor: epoch % 3 * (u64::MAX / 2), kinds: u64::MAX >> (epoch % 64) };
                let waiter = epoch as u32 % MAX_WAITERS;
                let record = Record { waiter, epoch, wants: vec![want; 16] }.encode();
                let _ = send(flooder.as_raw_fd(), &record, MsgFlags::MSG_DONTWAIT);
                let _ = send(never_reads.as_raw_fd(), &record, MsgFlags::MSG_DONTWAIT);
                let _ = nix::sys::socket::recv(flooder.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT);
            }
        });
        let bell = &bell;
        for sequence in 1..=300 {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(300));
                tell(bell, sequence + 1);
            });
            assert_eq!(honest.park(&[Want::all(1, sequence)], LONG).unwrap(), Parked::Woken);
        }
        is_over.store(1, Ordering::Relaxed);
    });
}
