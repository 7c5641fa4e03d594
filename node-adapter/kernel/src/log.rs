//! The engine's log: one connection for the whole process, to `tracing` with target `kernel`.
//!
//! The engine calls back on the thread that logs, holding its log lock: a `tracing` subscriber must not call the
//! engine. Its error lines are also the only place where it says *why* in words, so [`capture_errors`] collects
//! those written by the current thread.

use std::cell::RefCell;
use std::mem;
use std::sync::Once;

use bitcoinkernel::log::logging::{LoggingOptions, set_logging_options};
use bitcoinkernel::{Log, Logger};

/// Most error lines kept by one capture; the first ones name the cause.
const CAPTURED_LINES: usize = 16;

thread_local! {
    static CAPTURED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct ToTracing;

impl Log for ToTracing {
    fn log(&self, message: &str) {
        let line = message.trim_end();
        if let Some(error) = line.strip_prefix("[error] ") {
            remember(error);
            tracing::error!(target: "kernel", "{error}");
        } else if let Some(warning) = line.strip_prefix("[warning] ") {
            tracing::warn!(target: "kernel", "{warning}");
        } else if line.starts_with('[') {
            tracing::debug!(target: "kernel", "{line}");
        } else {
            tracing::info!(target: "kernel", "{line}");
        }
    }
}

fn remember(error: &str) {
    // A thread that is ending has no cell any more; its lines still reach `tracing`.
    let _ = CAPTURED.try_with(|cell| {
        if let Some(lines) = cell.borrow_mut().as_mut()
            && lines.len() < CAPTURED_LINES
        {
            lines.push(error.to_owned());
        }
    });
}

/// Connects the engine's log once; later calls do nothing.
pub(crate) fn connect() {
    static CONNECTED: Once = Once::new();
    CONNECTED.call_once(|| {
        set_logging_options(LoggingOptions {
            log_timestamps: false,
            log_time_micros: false,
            log_threadnames: false,
            log_sourcelocations: false,
            always_print_category_levels: false,
        });
        match Logger::new(ToTracing) {
            // The connection lives as long as the process: dropping it would end logging for every chain.
            Ok(logger) => mem::forget(logger),
            Err(error) => tracing::warn!(target: "kernel", "the log could not be connected: {error}"),
        }
    });
}

/// Runs `work` and answers the error lines the engine wrote on this thread meanwhile.
pub(crate) fn capture_errors<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = CAPTURED.with(|cell| cell.borrow_mut().replace(Vec::new()));
    let result = work();
    let lines = CAPTURED.with(|cell| mem::replace(&mut *cell.borrow_mut(), outer));
    (result, lines.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_error_lines_of_the_capture_are_kept() {
        ToTracing.log("[error] before\n");
        let ((), lines) = capture_errors(|| {
            ToTracing.log("[error] ConnectTip: no\n");
            ToTracing.log("[warning] unkept\n");
            ToTracing.log("UpdateTip: new best\n");
        });
        assert_eq!(lines, ["ConnectTip: no"]);
        let ((), lines) = capture_errors(|| ());
        assert!(lines.is_empty());
    }
}
