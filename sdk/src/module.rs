//! A module as a set of handlers: what runs when, on which thread, and what becomes of what goes wrong.
//!
//! The macro [`module`](macro@crate::module) writes an implementation of [`Module`] from the methods of an impl block; by hand it is
//! [`Handlers`].
//!
//! | handler | runs |
//! |---|---|
//! | of an event | on its topic's thread, in order, where the message stands; one topic does not hold up another |
//! | of the mempool as a whole | on a thread that keeps it, whenever it has changed |
//! | of an event, `concurrent` | on one of [`Module::CONCURRENCY`] threads, with a copy of the message, in any order |
//! | method, command, timer | apart from the topics, eight at once |
//!
//! A handler that panics or fails stays alone with it: that is in the log and in what the node hears of the module's health,
//! and the next message comes. When the node asks the module to end no new message comes, what runs is finished, the
//! module is dropped, and the node told the last counts.

mod arguments;
mod block;
mod block_on;
mod by_path;
mod calls;
mod error;
mod field;
mod handlers;
mod health;
mod keeper;
mod message;
mod metrics;
mod observer;
mod params;
mod pool;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod probe;
mod requests;
mod run;
mod serve;
mod start;
mod stop;
mod timers;
mod told;
mod topic;
mod view;

pub use arguments::{Arguments, Output, output};
pub use block::{BlockBytes, HasBody, HeldBlock, HeldReorganisation, Reorganisation, TakeBody};
pub use block_on::block_on;
pub use by_path::run_by_path;
pub use error::{Error, with_error};
pub use field::Field;
pub use handlers::{Handlers, MissedMessages};
pub use message::Message;
pub use metrics::{Counter, Gauge, Histogram, Metrics, MetricsError};
pub use params::{Params, answer};
pub use requests::Requests;
pub use run::run;
pub use serve::{RunError, serve, topics};
pub use start::{NoSettings, Start};
#[cfg(any(test, feature = "testing"))]
pub(crate) use {
    by_path::run_again,
    health::panic_message,
    observer::Observer,
    serve::{Callee, Shared, work},
};

use crate::session::Wait;

/// A module: what is kept between messages, and its handlers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no module",
    label = "not a module",
    note = "`#[module]` on its impl block makes it one, or `impl Module` by hand"
)]
pub trait Module: Sized + Send + Sync + 'static {
    /// Its name, as its `module.toml` says: its commands are `blvm NAME …`.
    const NAME: &'static str;
    /// How many of its concurrent handlers run at once.
    const CONCURRENCY: usize = 16;
    /// How the threads of its topics wait.
    const WAIT: Wait = Wait::SpinThenPark;
    /// Its configuration; [`NoSettings`] if it has none. Unknown keys are errors, whatever serde is told.
    type Settings: serde::de::DeserializeOwned;

    /// Builds it. No handler runs before, and every topic is read from where the module attached.
    ///
    /// # Errors
    ///
    /// [`Error`] ends the program.
    fn new(start: Start<Self::Settings>) -> Result<Self, Error>;

    /// Names its handlers.
    fn handlers(handlers: &mut Handlers<Self>);
}
