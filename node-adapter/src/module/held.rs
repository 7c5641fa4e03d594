//! Long answers that one party holds: their memory is the node's as long as it does.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use blvm_bus::request::{Refusal, SealedAnswer, close_elsewhere, unread_bytes};
use parking_lot::Mutex;
use tokio::net::UnixStream;

use super::limits::RequestLimits;

/// When the node first looks whether a long answer was given back; each time nothing was, it waits twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// It never waits longer.
const SLOWEST_LOOK: Duration = Duration::from_secs(1);

/// Memory whose return to the kernel takes milliseconds: another thread does it.
const SLOW_TO_FREE_BYTES: u64 = 4 << 20;

/// The long answers that one party holds, unread in its socket, open or mapped, and how many it may.
///
/// Each is a descriptor in flight until it is read, and these are counted per user for all modules together (unix(7),
/// ETOOMANYREFS); afterwards a mapping keeps its memory, which no control group charges to the party.
#[derive(Debug)]
pub(super) struct HeldAnswers {
    answers: Mutex<Answers>,
    most: u32,
    /// A single longer one may be held alone.
    most_bytes: u64,
    socket: Weak<UnixStream>,
}

#[derive(Debug, Default)]
struct Answers {
    held: Vec<SealedAnswer>,
    is_watched: bool,
}

impl HeldAnswers {
    pub(super) fn new(socket: &Arc<UnixStream>, limits: &RequestLimits) -> Arc<Self> {
        Arc::new(HeldAnswers {
            answers: Mutex::default(),
            most: limits.held_answers.max(1),
            most_bytes: limits.held_answer_bytes,
            socket: Arc::downgrade(socket),
        })
    }

    /// Whether one more of `bytes` may be held.
    pub(super) fn room_for(&self, bytes: u64) -> Result<(), Refusal> {
        self.sweep();
        let held = &self.answers.lock().held;
        if held.len() >= self.most as usize {
            return Err(Refusal::AnswersHeld { limit: self.most });
        }
        if !held.is_empty() && held.iter().map(SealedAnswer::bytes).sum::<u64>() + bytes > self.most_bytes {
            let what = "bytes of long answers that are unread or still held".to_owned();
            return Err(Refusal::Limit { what, limit: self.most_bytes });
        }
        Ok(())
    }

    /// Keeps what was sent until the other side has given it back. Needs a Tokio runtime.
    pub(super) fn keep(self: &Arc<Self>, answer: SealedAnswer) {
        let mut answers = self.answers.lock();
        answers.held.push(answer);
        if !answers.is_watched {
            answers.is_watched = true;
            tokio::spawn(Arc::clone(self).watch());
        }
    }

    /// Looks after what is held, whether or not more is asked for, until nothing is.
    async fn watch(self: Arc<Self>) {
        let mut pause = FIRST_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            let before = self.answers.lock().held.len();
            let left = self.sweep();
            let mut answers = self.answers.lock();
            if answers.held.is_empty() {
                answers.is_watched = false;
                return;
            }
            pause = if left < before { FIRST_LOOK } else { (pause * 2).min(SLOWEST_LOOK) };
        }
    }

    /// Returns once nothing is held any more.
    pub(super) async fn released(&self) {
        let mut pause = FIRST_LOOK;
        while self.sweep() > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_LOOK);
        }
    }

    /// Drops what was given back; how many are left.
    fn sweep(&self) -> usize {
        let mut answers = self.answers.lock();
        let is_held = |answer: &SealedAnswer| answer.is_held().unwrap_or_else(|_| self.is_unread());
        let (held, given_back) =
            std::mem::take(&mut answers.held).into_iter().partition::<Vec<_>, _>(is_held);
        answers.held = held;
        let left = answers.held.len();
        drop(answers);
        if given_back.iter().map(SealedAnswer::bytes).sum::<u64>() >= SLOW_TO_FREE_BYTES {
            close_elsewhere(given_back);
        }
        left
    }

    /// Where the kernel cannot tell who holds a memfd, an answer is held until the socket is empty.
    fn is_unread(&self) -> bool {
        let unread = |socket: Arc<UnixStream>| -> io::Result<usize> { unread_bytes(&*socket) };
        self.socket.upgrade().is_some_and(|socket| unread(socket).is_ok_and(|bytes| bytes > 0))
    }
}
