//! The whole of a module's `main`.

use std::process::ExitCode;

use super::Module;
use super::serve::{RunError, serve, topics};
use crate::log::{self, say_at_the_end};
use crate::session::Session;

/// Runs module `M` in the process that the node started for it: attaches, works, and ends when the node says so.
///
/// What goes wrong is printed, and the exit status is 1 then.
///
/// ```no_run
/// # use blvm_sdk::module::{Error, Handlers, Module, NoSettings, Start};
/// # struct Watch;
/// # impl Module for Watch {
/// #     const NAME: &str = "watch";
/// #     type Settings = NoSettings;
/// #     fn new(_: Start<NoSettings>) -> Result<Self, Error> { Ok(Watch) }
/// #     fn handlers(_: &mut Handlers<Self>) {}
/// # }
/// fn main() -> std::process::ExitCode {
///     blvm_sdk::run::<Watch>()
/// }
/// ```
pub fn run<M: Module>() -> ExitCode {
    log::install();
    let _flushed = log::Flushed;
    run_logged::<M>()
}

fn run_logged<M: Module>() -> ExitCode {
    let outcome = Session::attach(topics::<M>(), M::WAIT).map_err(RunError::from).and_then(serve::<M>);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let RunError::Settings(error) = &error {
                say_at_the_end(format_args!("{}: the configuration is wrong", M::NAME));
                error.mistakes().iter().for_each(|mistake| say_at_the_end(format_args!("  {mistake}")));
                say_at_the_end(format_args!("  {}", error.advice()));
                return ExitCode::FAILURE;
            }
            say_at_the_end(format_args!("{}: {error}", M::NAME));
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                say_at_the_end(format_args!("  because: {error}"));
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
