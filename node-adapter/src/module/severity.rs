//! How bad a line is that a module printed, as the line itself says: `<N>` before it, N a digit.
//!
//! Source: sd-daemon(3) has 0 to 7, of syslog(3): emergency, alert, critical, error, warning, notice, information, debugging. 8 is
//! ours, for steps below debugging.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// 0 to 3.
    Error,
    /// 4.
    Warn,
    /// 5 and 6.
    Info,
    /// 7.
    Debug,
    /// 8.
    Trace,
}

impl Severity {
    /// What a line says of itself, and the rest of it. Anything else before it is part of the line.
    pub(super) fn of(line: &[u8]) -> (Option<Self>, &[u8]) {
        let [b'<', digit, b'>', rest @ ..] = line else { return (None, line) };
        let severity = match digit {
            b'0'..=b'3' => Severity::Error,
            b'4' => Severity::Warn,
            b'5' | b'6' => Severity::Info,
            b'7' => Severity::Debug,
            b'8' => Severity::Trace,
            _ => return (None, line),
        };
        (Some(severity), rest)
    }

    /// Its name in logs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warn => "warn",
            Severity::Info => "info",
            Severity::Debug => "debug",
            Severity::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_bad_it_is_once_and_only_before_it() {
        let of = |line: &'static str| {
            let (severity, rest) = Severity::of(line.as_bytes());
            (severity.map(Severity::name), std::str::from_utf8(rest).unwrap_or_default())
        };
        let named = ["error", "error", "error", "error", "warn", "info", "info", "debug", "trace"];
        for (digit, name) in named.into_iter().enumerate() {
            let line = format!("<{digit}>text");
            let (severity, rest) = Severity::of(line.as_bytes());
            assert_eq!((severity.map(Severity::name), rest), (Some(name), b"text".as_slice()));
        }
        assert_eq!(of("<3><7>text"), (Some("error"), "<7>text"));
        assert_eq!(of("<3>"), (Some("error"), ""));
        for line in ["", "<", "<3", "<9>x", "<10>x", "<>x", "< 3>x", " <3>x", "text <3>", "<x>"] {
            assert_eq!(of(line), (None, line));
        }
    }
}
