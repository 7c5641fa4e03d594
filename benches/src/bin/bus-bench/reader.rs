//! A subscriber that only has to be there: it reads, checks, and accounts for every message.

use std::hint::spin_loop;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blvm_benches::page::FIRST_FREE_WORD;
use blvm_bus::message::Topic as _;
use blvm_bus::subscriber::{PollError, Subscriber};
use blvm_bus::wake::Want;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::load::{Care, InSlot, Load as _};
use crate::module::{Seat, park};

/// What it reads.
pub type Message = InSlot<96, 128>;
pub type Topic = <Message as crate::load::Load>::Topic;

/// Harness word: the last sequence there will be, once that is known.
pub const LAST: usize = FIRST_FREE_WORD;

/// Harness word: 1 once it reads.
pub const IS_READING: usize = FIRST_FREE_WORD + 1;

/// How it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    Spin,
    Park,
}

/// What it saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub received: u64,
    pub missed: u64,
}

/// Reads until every message is received or missed.
pub fn run(mut seat: Seat, task: Task) -> Outcome<()> {
    let mut subscriber: Subscriber<Topic> = seat.subscribe(None)?;
    let mut parker = seat.parker()?;
    let mut message = Message::new();
    let mut tally = Tally::default();
    seat.page.word(IS_READING).store(1, Ordering::Release);
    loop {
        match subscriber.poll() {
            Ok(Some(sample)) => {
                message.receive(&sample, Care::Untimed)?;
                tally.received += 1;
            }
            Ok(None) => {
                let last = seat.page.word(LAST).load(Ordering::Acquire);
                if last != 0 && tally.received + tally.missed == last {
                    return seat.control.send(&tally, &[]);
                }
                if task == Task::Spin {
                    spin_loop();
                } else {
                    park(
                        &mut parker,
                        &[Want::all(Topic::NUMBER, subscriber.cursor())],
                        Duration::from_secs(5),
                    )?;
                }
            }
            Err(PollError::Overrun { missed }) => tally.missed += missed,
            Err(error) => return Err(error.into()),
        }
    }
}
