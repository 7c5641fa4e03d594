//! A message as a handler gets it.

use std::fmt::{self, Debug, Formatter};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use blvm_bus::Scratch;
use blvm_bus::message::{Kind, Topic};
use blvm_bus::subscriber::Body;
use rkyv::Archive;

use super::{Error, Requests};
use crate::feed::Received;

/// A message of kind `K`: its fields, and what else is known of it.
pub struct Message<'a, K: Kind> {
    fields: &'a K::Archived,
    origin: Origin<'a, K::Topic>,
    requests: &'a Requests,
}

/// Where a message stands.
pub(crate) enum Origin<'a, T: Topic> {
    /// In the feed, until it is polled again.
    Feed(&'a Received<'a, T>),
    /// In a copy.
    Copy(&'a MessageCopy),
}

impl<T: Topic> Clone for Origin<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Topic> Copy for Origin<'_, T> {}

impl<'a, K: Kind> Message<'a, K> {
    pub(crate) fn read(origin: Origin<'a, K::Topic>, requests: &'a Requests) -> Result<Self, Error> {
        let archive = match origin {
            Origin::Feed(sample) => sample.archive(),
            Origin::Copy(copy) => &copy.archive,
        };
        Ok(Message { fields: K::access(archive)?, origin, requests })
    }

    /// Its fields, where they stand. Numbers are little-endian there; [`Field::take`](super::Field::take) gives them as usual.
    pub fn fields(&self) -> &'a <K as Archive>::Archived {
        self.fields
    }

    /// Its sequence within the topic and run.
    pub fn sequence(&self) -> u64 {
        match self.origin {
            Origin::Feed(sample) => sample.sequence(),
            Origin::Copy(copy) => copy.sequence,
        }
    }

    /// To ask the node.
    pub fn requests(&self) -> &'a Requests {
        self.requests
    }

    /// Its body. A copy gives it away once.
    pub(crate) fn bus_body(&self) -> Body {
        match self.origin {
            // Too many leases: it is fetched, as one that is gone.
            Origin::Feed(sample) => sample.body().unwrap_or(Body::Gone),
            Origin::Copy(copy) => {
                let mut body = copy.body.lock().unwrap_or_else(PoisonError::into_inner);
                body.take().unwrap_or(Body::Gone)
            }
        }
    }
}

impl<K: Kind> Debug for Message<'_, K> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::NAME).field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}

/// A message copied out of its feed, for handlers on other threads; finished when the last of them lets it go.
pub(crate) struct MessageCopy {
    sequence: u64,
    archive: Scratch,
    body: Mutex<Option<Body>>,
    _ticket: Ticket,
}

/// Tells the feed's thread when it is dropped.
struct Ticket {
    sequence: u64,
    finished: Sender<u64>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Nobody listens after the end.
        let _ = self.finished.send(self.sequence);
    }
}

impl MessageCopy {
    pub(crate) fn of<T: Topic>(sample: &Received<'_, T>, finished: Sender<u64>) -> Arc<Self> {
        let sequence = sample.sequence();
        let mut archive = Scratch::new();
        archive.extend_from_slice(sample.archive());
        let body = Mutex::new(sample.body().ok());
        Arc::new(MessageCopy { sequence, archive, body, _ticket: Ticket { sequence, finished } })
    }
}
