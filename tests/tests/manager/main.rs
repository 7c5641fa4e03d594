//! The module manager with real processes: events, crashes, roll-backs, deadlines.
#![allow(missing_docs, clippy::unwrap_used)]

mod crashes;
mod crowd;
mod dependencies;
mod events;
mod handover;
mod installed;
mod life;
mod managed;
mod reload;
mod trust;
