//! `all`: every measurement, one after the other.

use clap::Args;

use crate::Outcome;
use crate::load::Touch;
use crate::mixed::Wait;
use crate::node::Placement;
use crate::publish_cost::State;
use crate::throughput::Mode;
use crate::{idle, mixed, one_way, publish_cost, throughput, torment, wake};

/// Sizes in slots, then of bodies.
const SLOTS: [usize; 4] = [32, 96, 128, 1 << 10];
const BODIES: [usize; 3] = [64 << 10, 1 << 20, 4 << 20];

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Few samples: whether everything works, not what it costs
    #[arg(long)]
    pub quick: bool,
}

pub fn measure(options: &Options, placement: Placement) -> Outcome<()> {
    let quick = options.quick;
    let in_slots = SLOTS.into_iter().map(|bytes| (bytes, Touch::All));
    let bodies = BODIES.into_iter().flat_map(|bytes| [(bytes, Touch::Header), (bytes, Touch::All)]);
    for (bytes, touch) in in_slots.clone().chain(bodies.clone()) {
        let count = quick.then_some(if bytes > 1 << 10 { 60 } else { 30_000 });
        let rounds = if quick { 3 } else { 9 };
        one_way::measure(
            &one_way::Options {
                bytes,
                touch,
                count,
                interval_ns: None,
                terms: None,
                term_bytes: None,
                rounds,
            },
            placement,
        )?;
    }
    for (bytes, touch) in in_slots.chain(bodies) {
        for mode in [Mode::Lossless, Mode::Overrun] {
            let count = quick.then_some(if bytes > 1 << 10 { 60 } else { 300_000 });
            let rounds = if quick { 3 } else { 5 };
            for batch in if bytes > 1 << 10 { &[1][..] } else { &[1, 64][..] } {
                let options = throughput::Options { bytes, mode, batch: *batch, touch, count, rounds };
                throughput::measure(&options, placement)?;
            }
        }
    }
    for state in [State::Spinning, State::Parked, State::Stopped, State::Dead, State::Hostile] {
        let subscribers = if quick { vec![1, 4] } else { vec![1, 2, 4, 8, 16, 32] };
        let (count, rounds) = if quick { (Some(300), 2) } else { (None, 9) };
        publish_cost::measure(&publish_cost::Options { subscribers, state, count, rounds }, placement)?;
    }
    let (count, rounds) = if quick { (40, 2) } else { (2_000, 5) };
    wake::measure(&wake::Options { count, rounds }, placement)?;
    let (count, rounds) = if quick { (20, 2) } else { (100, 9) };
    wake::measure_isolation(&wake::IsolationOptions { count, rounds }, placement)?;
    let (count, rounds) = if quick { (40, 2) } else { (400, 9) };
    torment::measure(&torment::Options { count, rounds }, placement)?;
    for wait in [Wait::Spin, Wait::Park] {
        let (per_block, blocks) = if quick { (100, 10) } else { (1_000, 100) };
        mixed::measure(&mixed::Options { wait, rate: 20_000, per_block, blocks, no_node: true }, placement)?;
    }
    idle::measure(&idle::Options { subscribers: 32, seconds: if quick { 1.0 } else { 30.0 } }, placement)
}
