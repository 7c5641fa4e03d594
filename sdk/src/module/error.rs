//! What a handler fails with.

use std::fmt::{self, Debug, Display, Formatter};

use blvm_bus::request::ModuleError;

/// Why a module's own code did not do what it should: any error converts into it with `?`.
///
/// Of a method of JSON-RPC or a command the caller reads it; of a handler it stands in the log and in the module's health.
pub struct Error {
    code: i32,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The code of errors that were given none: "server error" (JSON-RPC 2.0, 5.1).
const CODE: i32 = -32_000;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Error { code: CODE, source: message.into().into() }
    }

    /// The same with another code for JSON-RPC; -32000 without.
    #[must_use]
    pub fn with_code(self, code: i32) -> Self {
        Error { code, ..self }
    }

    /// For who called.
    pub(crate) fn into_module_error(self) -> ModuleError {
        ModuleError::Failed { code: self.code, message: format!("{self:#}") }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Error { code: CODE, source: error.into() }
    }
}

/// What a handler answered, with whatever error of its own.
///
/// # Errors
///
/// The handler's.
pub fn with_error<T, E: Into<Error>>(result: Result<T, E>) -> Result<T, Error> {
    result.map_err(Into::into)
}

impl Display for Error {
    /// With `{:#}` the causes follow, each after a colon.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = if f.alternate() { self.source.source() } else { None };
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Debug for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes_and_keeps_its_code() {
        let cause = "x".parse::<u32>().unwrap_err();
        #[derive(Debug, thiserror::Error)]
        #[error("the level cannot be read")]
        struct Level(#[source] std::num::ParseIntError);
        let error = Error::from(Level(cause)).with_code(7);
        assert_eq!(error.to_string(), "the level cannot be read");
        let expected = "the level cannot be read: invalid digit found in string";
        assert_eq!(error.into_module_error(), ModuleError::Failed { code: 7, message: expected.to_owned() });
        assert_eq!(format!("{:#}", Error::new("no")), "no");
    }
}
