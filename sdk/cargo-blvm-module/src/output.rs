//! What is printed: for people progress on stderr and results on stdout, as JSON one object a line on stdout, the result last.

use std::io::{self, Write};

use serde_json::Value;

use crate::error::ToolError;

/// How it is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// As JSON.
    pub(crate) is_json: bool,
}

impl Output {
    /// Says what is being done.
    pub(crate) fn progress(self, text: &str, json: &Value) -> Result<(), ToolError> {
        if self.is_json {
            return line(&json.to_string());
        }
        eprintln!("{text}");
        Ok(())
    }

    /// Says what came of it.
    pub(crate) fn result(self, text: &str, json: &Value) -> Result<(), ToolError> {
        line(if self.is_json { json.to_string() } else { text.to_owned() }.as_str())
    }
}

/// A line on stdout. Who does not read on wants no more of it.
fn line(text: &str) -> Result<(), ToolError> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ToolError::Output(error)),
        _ => Ok(()),
    }
}
