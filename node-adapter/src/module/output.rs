//! What a module prints, line by line in the node's log and in its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use super::host::Module;
use super::log_file::LogFile;
use super::party::Party;

/// Longest line logged whole; a longer one is cut into such pieces.
const MAX_LINE_BYTES: u64 = 8 << 10;

/// Drains one of a module's pipes until it closes, so that the module never waits for a reader.
pub(super) async fn drain(
    end: OwnedFd,
    stream: &'static str,
    module: Arc<Module>,
    log: Option<Arc<LogFile>>,
) {
    let pipe = match pipe::Receiver::from_owned_fd(end) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::error!(module = module.name(), stream, %error, "the module's output cannot be read");
            return;
        }
    };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                // A module must not write control sequences to the operator's terminal.
                let text: String =
                    text.trim_end().chars().filter(|c| !c.is_control() || *c == '\t').collect();
                tracing::info!(target: "module", module = module.name(), stream, "{text}");
                if let Some(log) = &log {
                    log.write(stream, &text);
                }
            }
            Err(error) => {
                tracing::warn!(module = module.name(), stream, %error, "reading the module's output failed");
                return;
            }
        }
    }
}
