//! Module of the soak test. Its role changes with every shift, as the schedule says; see `schedule` for what there is.
//!
//! `soak-module SEED START_NS SHIFT_MS SHIFTS LAST_PHASE INDEX`
//!
//! As a reader it checks every byte of every message, and keeps `account.json` in its directory: what it received,
//! missed, and read in place. Everything that is not as it should be is a line on stderr that begins with `fault:`.
//! Roles that need what the SDK does not give away are played by a process that attached by hand; between the two
//! ways a module exits and is started again.
#![forbid(unsafe_code)]

mod by_hand;
mod check;
mod garbage;
mod reader;
mod report;
#[path = "../../soak/mod.rs"]
#[expect(dead_code, reason = "the test itself needs the rest of it")]
mod soak;

use std::process::ExitCode;
use std::time::Duration;

use blvm_bus::clock::Clock;
use soak::schedule::{Role, Schedule};

/// Exit status of a module that plays [`Role::Exit`].
const DIED: i32 = 3;

type Failed = Box<dyn std::error::Error>;

/// What this process was told.
#[derive(Clone, Copy)]
struct Part {
    schedule: Schedule,
    index: usize,
}

impl Part {
    fn shift(&self) -> u64 {
        self.schedule.shift_at(Clock::MONOTONIC.now())
    }

    fn role(&self) -> Role {
        self.schedule.role(self.shift(), self.index)
    }
}

fn main() -> ExitCode {
    let Some(part) = part() else { return ExitCode::from(2) };
    let outcome = if part.role().is_by_hand() { garbage::play(part) } else { reader::play(part) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fault: {error}");
            ExitCode::FAILURE
        }
    }
}

fn part() -> Option<Part> {
    let numbers: Option<Vec<u64>> = std::env::args().skip(1).map(|argument| argument.parse().ok()).collect();
    let [seed, start_ns, shift_ms, shifts, last_phase, index] = numbers?[..] else { return None };
    let shift = Duration::from_millis(shift_ms);
    Some(Part {
        schedule: Schedule { seed, start_ns, shift, shifts, last_phase },
        index: usize::try_from(index).ok()?,
    })
}
