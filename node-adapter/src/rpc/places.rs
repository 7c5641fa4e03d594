//! Places for connections. One more than there are takes the place of the one that has waited longest for its client, so
//! that who speaks at once is heard however many others are silent.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    taken: Vec<Arc<Taken>>,
    /// Those that wait for their client, the longest first.
    waiting: Vec<u64>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    evicted: Notify,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    taken: Arc<Taken>,
}

/// A connection is being answered; it waits again when this is dropped.
#[derive(Debug)]
pub(super) struct Serving<'a>(&'a Place);

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Places { limit, state: Mutex::default() })
    }

    /// A place; `None` if all connections are being answered.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        if state.taken.len() == self.limit {
            if state.waiting.is_empty() {
                return None;
            }
            let oldest = state.waiting.remove(0);
            let index = state.taken.iter().position(|taken| taken.number == oldest)?;
            state.taken.remove(index).evicted.notify_one();
        }
        state.last_number += 1;
        let number = state.last_number;
        let taken = Arc::new(Taken { number, evicted: Notify::new() });
        state.taken.push(Arc::clone(&taken));
        state.waiting.push(number);
        Some(Place { places: Arc::clone(self), taken })
    }
}

impl Place {
    /// Waits until another connection needs the place.
    pub(super) async fn evicted(&self) {
        self.taken.evicted.notified().await;
    }

    /// The client has sent a whole request; `None` if another connection has the place already.
    pub(super) fn serve(&self) -> Option<Serving<'_>> {
        let mut state = self.places.state.lock();
        let index = state.waiting.iter().position(|number| *number == self.taken.number)?;
        state.waiting.remove(index);
        Some(Serving(self))
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.places.state.lock().waiting.push(self.0.taken.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        state.taken.retain(|taken| taken.number != self.taken.number);
        state.waiting.retain(|number| *number != self.taken.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn is_evicted(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.evicted() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn who_waits_longest_makes_room_and_who_is_answered_never() {
        let places = Places::new(2);
        let (first, second) = (places.enter().unwrap(), places.enter().unwrap());
        let serving = first.serve().unwrap();
        let third = places.enter().unwrap();
        assert!(is_evicted(&second).await && !is_evicted(&first).await);
        assert!(second.serve().is_none(), "too late");
        drop(second);
        let serving_third = third.serve().unwrap();
        assert!(places.enter().is_none(), "all are being answered");
        // The third waits again before the first.
        drop(serving_third);
        drop(serving);
        let fourth = places.enter().unwrap();
        assert!(is_evicted(&third).await && !is_evicted(&first).await && !is_evicted(&fourth).await);
        drop((first, third));
        let fifth = places.enter().unwrap();
        assert!(!is_evicted(&fourth).await && !is_evicted(&fifth).await);
        drop((fourth, fifth));
        let state = places.state.lock();
        assert!(state.taken.is_empty() && state.waiting.is_empty());
    }
}
