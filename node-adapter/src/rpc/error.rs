//! Codes of errors, and how they are made. The table is in `docs/rpc.md`.

use jsonrpsee_server::types::ErrorObjectOwned;
use jsonrpsee_server::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE, METHOD_NOT_FOUND_CODE};

/// No module of this name, in the directories or among those that are loaded.
pub const NO_SUCH_MODULE: i32 = -32020;
/// The module is loaded already.
pub const ALREADY_LOADED: i32 = -32021;
/// The module is not loaded.
pub const NOT_LOADED: i32 = -32022;
/// The module could not be started: manifest, program, trust, isolation, or it did not attach.
pub const NOT_STARTED: i32 = -32023;
/// A module it depends on is missing, or one that depends on it cannot be stopped.
pub const DEPENDENCY: i32 = -32024;
/// The module did not answer in time.
pub const TIMED_OUT: i32 = -32025;
/// The module ended before it answered.
pub const MODULE_GONE: i32 = -32026;
/// The module answered with an error; `data` has its own.
pub const MODULE_FAILED: i32 = -32027;
/// No such command among those of the module.
pub const NO_SUCH_COMMAND: i32 = -32028;
/// Too much is being worked on already.
pub const BUSY: i32 = -32029;
/// The node is stopping.
pub const STOPPING: i32 = -32030;

/// An error without further data.
pub fn error(code: i32, message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}

/// A method that nobody has; `nearest` is one that sounds like it.
pub(super) fn unknown_method(method: &str, nearest: Option<&str>) -> ErrorObjectOwned {
    let advice = match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "`help` lists the methods".to_owned(),
    };
    error(METHOD_NOT_FOUND_CODE, format!("there is no method {}: {advice}", quoted(method)))
}

/// Parameters that do not fit.
pub fn invalid_params(message: impl Into<String>) -> ErrorObjectOwned {
    error(INVALID_PARAMS_CODE, message)
}

/// The node's own mistake.
pub fn internal(message: impl Into<String>) -> ErrorObjectOwned {
    error(INTERNAL_ERROR_CODE, message)
}

/// Longest piece of a client's own text in an answer, in characters.
const MAX_QUOTED: usize = 64;

/// A client's own text, bounded, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        quoted.push('…');
    }
    format!("\"{quoted}\"")
}

/// The name that sounds most like `name`, if one does.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are nobody's slip of the finger, and would cost time.
    if name.len() > MAX_QUOTED {
        return None;
    }
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    let best = known.into_iter().map(|known| (likeness(known), known)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}
