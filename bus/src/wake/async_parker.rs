//! Sleeping in a task instead of a thread: [`Parker`] for tokio.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::parker::{ParkError, Parker};
use super::record::Want;

/// Sleeps until the node wakes it: one waiter of a module, as a task.
#[derive(Debug)]
pub struct AsyncParker {
    parker: Parker,
    socket: AsyncFd<OwnedFd>,
    handed: AsyncFd<OwnedFd>,
    /// Ends a sleep too when it can be read.
    other: Option<AsyncFd<OwnedFd>>,
}

impl AsyncParker {
    /// Makes `parker` sleep in tasks.
    ///
    /// # Errors
    ///
    /// [`ParkError::Kernel`] without a free descriptor.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled.
    pub fn new(parker: Parker) -> Result<Self, ParkError> {
        // Duplicates: a runtime takes a descriptor once, and waiters of one module share their socket.
        let socket = register(parker.socket(), Interest::READABLE | Interest::WRITABLE)?;
        let handed = register(parker.handed_event(), Interest::READABLE)?;
        Ok(AsyncParker { parker, socket, handed, other: None })
    }

    /// Lets sleeps from here on end also when `other` can be read or has ended: once for what came since the last time, so
    /// read it until there is nothing.
    ///
    /// # Errors
    ///
    /// [`ParkError::Kernel`] without a free descriptor.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled.
    pub fn end_also_for(&mut self, other: BorrowedFd<'_>) -> Result<(), ParkError> {
        self.other = Some(register(other, Interest::READABLE)?);
        Ok(())
    }

    /// Its number among the module's waiters.
    pub fn waiter(&self) -> u32 {
        self.parker.waiter()
    }

    /// Another waiter on the same socket, for another task.
    ///
    /// # Errors
    ///
    /// As [`Parker::another`] and [`AsyncParker::new`].
    pub fn another(&self) -> Result<Self, ParkError> {
        AsyncParker::new(self.parker.another()?)
    }

    /// Sleeps until a topic has what is wanted of it.
    ///
    /// Returns at once if there is something. May wake early: poll again. Without a bound in time of its own: a node that
    /// loses a wake would leave it asleep, so put one around it, `tokio::time::timeout`.
    ///
    /// Cancel-safe: dropped, it takes nothing from another waiter, and its own wake, should it still come, ends no later
    /// sleep.
    ///
    /// # Errors
    ///
    /// [`ParkError`].
    ///
    /// # Panics
    ///
    /// With no topic and no other descriptor, or with more than [`MAX_TOPICS`](super::MAX_TOPICS).
    pub async fn park(&mut self, wants: &[Want]) -> Result<(), ParkError> {
        assert!(self.other.is_some() || !wants.is_empty(), "a sleep waits for something");
        // Without a topic there is nothing to ask of the node.
        let mut is_sent = wants.is_empty();
        let record = if is_sent { Vec::new() } else { self.parker.begin(wants) };
        std::future::poll_fn(|context| {
            if !is_sent {
                is_sent = self.poll_send(context, &record)?.is_ready();
            }
            self.poll_woken(context, !wants.is_empty())
        })
        .await
    }

    fn poll_send(&self, context: &mut Context<'_>, record: &[u8]) -> Poll<Result<(), ParkError>> {
        while !self.parker.send(record)? {
            // Room that came after the attempt shows as ready again.
            ready!(self.socket.poll_write_ready(context)).map_err(ParkError::Kernel)?.clear_ready();
        }
        Poll::Ready(Ok(()))
    }

    /// Without topics there is no sleep that a wake could be for.
    fn poll_woken(&self, context: &mut Context<'_>, has_topics: bool) -> Poll<Result<(), ParkError>> {
        loop {
            if self.parker.take_wakes()? && has_topics {
                return Poll::Ready(Ok(()));
            }
            if let Some(other) = &self.other
                && let Poll::Ready(guard) = other.poll_read_ready(context)
            {
                guard.map_err(ParkError::Kernel)?.clear_ready();
                return Poll::Ready(Ok(()));
            }
            // Both are asked, so that both wake this task; what was ready was from before, or is looked at again.
            let mut is_stale = false;
            for descriptor in [&self.socket, &self.handed] {
                if let Poll::Ready(guard) = descriptor.poll_read_ready(context) {
                    guard.map_err(ParkError::Kernel)?.clear_ready();
                    is_stale = true;
                }
            }
            if !is_stale {
                return Poll::Pending;
            }
        }
    }
}

fn register(descriptor: BorrowedFd<'_>, interest: Interest) -> Result<AsyncFd<OwnedFd>, ParkError> {
    let own = descriptor.as_fd().try_clone_to_owned().map_err(ParkError::Kernel)?;
    // SAFETY: an `OwnedFd` is one open descriptor, always the same, and closed only with the `AsyncFd` that owns it here.
    let registered = unsafe { AsyncFd::register_with_interest(own, interest) };
    registered.map_err(|error| ParkError::Kernel(error.into_parts().1))
}

#[cfg(all(test, not(miri)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::{Bell, Waker, kind_bit, wake_socket_pair};
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(5);

    fn waker_with_parker() -> (Waker, Arc<Bell>, Parker) {
        let waker = Waker::start().unwrap();
        let bell = waker.bell(1, 1 << 20);
        let (node, module) = wake_socket_pair().unwrap();
        waker.add(node, vec![1]);
        (waker, bell, Parker::new(module).unwrap())
    }

    fn tell(bell: &Bell, sequence: u64) {
        bell.note(1, sequence);
        bell.look(sequence + 1, kind_bit(1));
    }

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_parked_task_is_woken_by_the_next_message_and_at_once_if_it_was_missed() {
        let (_waker, bell, parker) = waker_with_parker();
        run(async {
            let mut parker = AsyncParker::new(parker).unwrap();
            for sequence in 1..200 {
                let publisher = Arc::clone(&bell);
                let publisher = std::thread::spawn(move || tell(&publisher, sequence));
                timeout(LONG, parker.park(&[Want::all(1, sequence)])).await.unwrap().unwrap();
                publisher.join().unwrap();
            }
            timeout(LONG, parker.park(&[Want::all(1, 199)])).await.unwrap().unwrap();
            assert!(timeout(SHORT, parker.park(&[Want::all(1, 200)])).await.is_err());
        });
    }

    #[test]
    fn a_sleep_that_was_cancelled_costs_no_later_one_its_wake_and_ends_none() {
        let (_waker, bell, parker) = waker_with_parker();
        run(async {
            let mut parker = AsyncParker::new(parker).unwrap();
            for sequence in 1..100 {
                // Its record stands at the node, and is woken for; the sleep is over by then.
                assert!(
                    timeout(Duration::from_micros(100), parker.park(&[Want::all(1, sequence)]))
                        .await
                        .is_err()
                );
                tell(&bell, sequence);
                assert!(timeout(SHORT, parker.park(&[Want::all(1, sequence + 1)])).await.is_err());
                timeout(LONG, parker.park(&[Want::all(1, sequence)])).await.unwrap().unwrap();
            }
        });
    }

    /// Whoever reads the socket reads the wakes of all.
    #[test]
    fn tasks_and_threads_share_a_socket_and_none_loses_a_wake() {
        const MESSAGES: u64 = 2_000;
        let (_waker, bell, parker) = waker_with_parker();
        let mut thread_parker = parker.another().unwrap();
        let publisher = std::thread::spawn(move || {
            for sequence in 1..=MESSAGES {
                tell(&bell, sequence);
                std::thread::sleep(Duration::from_micros(sequence % 90));
            }
        });
        let thread = std::thread::spawn(move || {
            for sequence in 1..=MESSAGES {
                let woken = thread_parker.park(&[Want::all(1, sequence)], LONG).unwrap();
                assert_eq!(woken, super::super::Parked::Woken);
            }
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let first = AsyncParker::new(parker).unwrap();
            let parkers = [first.another().unwrap(), first.another().unwrap(), first];
            let tasks = parkers.map(|mut parker| {
                tokio::spawn(async move {
                    for sequence in 1..=MESSAGES {
                        timeout(LONG, parker.park(&[Want::all(1, sequence)])).await.unwrap().unwrap();
                    }
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
        thread.join().unwrap();
        publisher.join().unwrap();
    }

    #[test]
    fn the_end_of_the_node_ends_the_sleep() {
        let (waker, _bell, parker) = waker_with_parker();
        run(async {
            let mut parker = AsyncParker::new(parker).unwrap();
            let stop = std::thread::spawn(move || drop(waker));
            let ended = timeout(LONG, parker.park(&[Want::all(1, 1)])).await.unwrap();
            assert!(matches!(ended, Err(ParkError::Closed)));
            stop.join().unwrap();
        });
    }
}
