//! The request that is at work on a thread of its own, and what the party has sent meanwhile.
//!
//! ```text
//! frame ── kept ──> taken ──> at work ──> answered
//!                     │          └─ deadline ──> refused, still at work
//!                     └──────── next ────────────────────────┘
//! ```
//!
//! A request that has missed its deadline has its answer, but its thread goes on: what needs no thread is served then, what
//! needs one is next.

use std::collections::VecDeque;
use std::time::Duration;

use blvm_bus::request::{FrameHead, Request};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};
use tokio_util::bytes::BytesMut;

use crate::module::flight::InFlight;
use crate::module::reply::Prepared;

/// Requests read while one is at work: what is beyond stays in the socket, and answers to calls behind it too.
const MAX_KEPT: usize = 16;

/// What one party has at work.
#[derive(Debug)]
pub(super) struct Work {
    job: Option<Job>,
    next: Option<Asked>,
    /// Without a body the frame is too long.
    kept: VecDeque<(FrameHead, Option<BytesMut>)>,
    kept_bytes: usize,
    limit_bytes: usize,
}

/// A request that needs a thread.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) head: FrameHead,
    pub(super) request: Request,
    pub(super) place: InFlight,
}

/// A request on its thread.
#[derive(Debug)]
struct Job {
    head: FrameHead,
    deadline: Duration,
    until: Instant,
    answer: JoinHandle<Prepared>,
    /// `None` once it has missed its deadline.
    place: Option<InFlight>,
}

/// What has become of the request at work.
#[derive(Debug)]
pub(super) enum Done {
    /// It is done; its place in flight is free once the answer is sent.
    Answered { head: FrameHead, answer: Result<Prepared, JoinError>, place: InFlight },
    /// It has missed its deadline, and is still at work.
    Late { head: FrameHead, deadline: Duration },
    /// It is no longer at work, and was answered before.
    Ended,
}

impl Work {
    /// Nothing is at work. Frames are kept up to `limit_bytes`, the last one beyond them.
    pub(super) fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.max(1);
        Work { job: None, next: None, kept: VecDeque::new(), kept_bytes: 0, limit_bytes }
    }

    /// Whether another frame may be kept.
    pub(super) fn has_room(&self) -> bool {
        self.kept.len() < MAX_KEPT && self.kept_bytes < self.limit_bytes
    }

    /// Keeps a request until it is its turn.
    pub(super) fn keep(&mut self, head: FrameHead, body: Option<BytesMut>) {
        self.kept_bytes += body.as_ref().map_or(0, BytesMut::len);
        self.kept.push_back((head, body));
    }

    /// The oldest request that was kept, if the one before it is answered.
    pub(super) fn take_kept(&mut self) -> Option<(FrameHead, Option<BytesMut>)> {
        if self.next.is_some() || self.job.as_ref().is_some_and(|job| job.place.is_some()) {
            return None;
        }
        let kept = self.kept.pop_front()?;
        self.kept_bytes -= kept.1.as_ref().map_or(0, BytesMut::len);
        Some(kept)
    }

    /// Lets a request wait for the thread.
    pub(super) fn set_next(&mut self, asked: Asked) {
        debug_assert!(self.next.is_none(), "only one is taken while another is at work");
        self.next = Some(asked);
    }

    /// What is next, if nothing is at work any more.
    pub(super) fn take_next(&mut self) -> Option<Asked> {
        if self.job.is_some() { None } else { self.next.take() }
    }

    /// `answer` is at work from now on.
    pub(super) fn begin(
        &mut self,
        head: FrameHead,
        deadline: Duration,
        until: Instant,
        answer: JoinHandle<Prepared>,
        place: InFlight,
    ) {
        self.job = Some(Job { head, deadline, until, answer, place: Some(place) });
    }

    /// What becomes of the request at work; never without one. Cancel-safe.
    pub(super) async fn done(&mut self) -> Done {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let answer = match job.place {
            Some(_) => timeout_at(job.until, &mut job.answer).await.ok(),
            None => Some((&mut job.answer).await),
        };
        let (head, place) = (job.head, job.place.take());
        let Some(answer) = answer else { return Done::Late { head, deadline: job.deadline } };
        self.job = None;
        place.map_or(Done::Ended, |place| Done::Answered { head, answer, place })
    }

    /// Waits until nothing is at work; what was kept is forgotten.
    pub(super) async fn end(&mut self) {
        if let Some(job) = self.job.take() {
            // Nobody waits for it any more.
            let _ = job.answer.await;
        }
    }
}
