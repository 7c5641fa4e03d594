//! One thing wrong in a file, and what would be right.

use std::fmt;

/// One thing wrong in a file of TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The key, with the tables it stands in: `sandbox.listen`; empty for the file as a whole.
    pub key: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl fmt::Display for Mistake {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(to, "{}: ", shown(&self.key))?;
        }
        to.write_str(&shown(&self.wrong.to_string()))
    }
}

/// Longest text of a file that a message repeats, in characters.
const MAX_SHOWN_CHARS: usize = 600;

/// The text for one line of a terminal: whoever wrote the file neither breaks the line nor fills the screen.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == MAX_SHOWN_CHARS {
            shown.push('…');
            break;
        }
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// Kind of a value in a file of TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Text in quotation marks.
    String,
    /// A whole number.
    Integer,
    /// A number with a point or an exponent.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A date, a time, or both.
    Datetime,
    /// `[…]`.
    Array,
    /// `{…}`, or lines under `[…]`.
    Table,
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Kind::String => "a string",
            Kind::Integer => "an integer",
            Kind::Float => "a float",
            Kind::Boolean => "a boolean",
            Kind::Datetime => "a date or time",
            Kind::Array => "an array",
            Kind::Table => "a table",
        })
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// It is no TOML.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// There is no such key here.
    #[error("unknown key{}", instead(nearest.as_deref(), known))]
    UnknownKey {
        /// The known key most like it.
        nearest: Option<String>,
        /// The keys there are.
        known: Vec<String>,
    },
    /// A key must be there and is not.
    #[error("the key is missing")]
    Missing,
    /// The value is of another kind.
    #[error("must be {expected}, and is {found}")]
    Kind {
        /// What it should be.
        expected: Kind,
        /// What it is.
        found: Kind,
    },
    /// A number is too small or too large.
    #[error("must be a number from {least} to {most}")]
    Range {
        /// The least that is right.
        least: u64,
        /// The most that is right.
        most: u64,
    },
    /// A number that no type holds.
    #[error("{text} is too large a number")]
    Number {
        /// What stands there.
        text: String,
    },
    /// A table in too many tables.
    #[error("tables and arrays stand in each other at most {most} deep")]
    TooDeep {
        /// How deep they may stand.
        most: usize,
    },
    /// A value is given twice.
    #[error("{value:?} stands twice")]
    Twice {
        /// The value.
        value: String,
    },
    /// A name that is not among the known ones.
    #[error("unknown {what} {name:?}{}", instead(nearest.as_deref(), known))]
    UnknownName {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
        /// The known names.
        known: Vec<String>,
    },
    /// Not the name of a module.
    #[error(
        "{name:?} must be 1 to 64 lower-case letters, digits and hyphens, and neither \"enabled\" nor \"blvm-node\""
    )]
    ModuleName {
        /// The name.
        name: String,
    },
    /// Not the name of an event.
    #[error(
        "{name:?} is no name of an event: 1 to 64 letters and digits, a letter first, as in \"publish:PaymentSettled\""
    )]
    EventName {
        /// The name.
        name: String,
    },
    /// Not a version.
    #[error("{text:?} is no version: {reason}; write three numbers as in \"1.2.0\"")]
    Version {
        /// What stands there.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A text with too many bytes.
    #[error("must have at most {most} bytes")]
    TooLong {
        /// How many it may have.
        most: usize,
    },
    /// Not a constraint on versions.
    #[error("{text:?} is no constraint on versions: {reason}; write for example \">=0.1, <1\"")]
    Constraint {
        /// What stands there.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A module that needs itself.
    #[error("a module does not depend on itself")]
    DependsOnItself,
    /// Needed and optional at once.
    #[error("stands in [dependencies] too: remove one of the two")]
    NeededAndOptional,
    /// The node is never optional.
    #[error("the node is always there: put \"blvm-node\" in [dependencies]")]
    OptionalNode,
    /// A path that leaves its directory.
    #[error("{path:?} must be a relative path without \"..\"")]
    Path {
        /// The path.
        path: String,
    },
    /// Not a hash.
    #[error("{text:?} must be \"sha256:\" and 64 hexadecimal digits")]
    Hash {
        /// What stands there.
        text: String,
    },
    /// Hexadecimal digits of another number.
    #[error("{text:?} must be {digits} hexadecimal digits")]
    Hexadecimal {
        /// What stands there.
        text: String,
        /// How many there should be.
        digits: usize,
    },
    /// Not the identity of a schema.
    #[error("{text:?} must be \"0x\" and 16 hexadecimal digits, as docs/messages.md has them")]
    Schema {
        /// What stands there.
        text: String,
    },
    /// A key that a maintainer cannot have.
    #[error("{text:?} is no public key of BIP-0340: no point has this x coordinate")]
    PublicKey {
        /// What stands there.
        text: String,
    },
    /// Not a threshold.
    #[error("{text:?} must say how many of how many, as in \"2-of-3\"")]
    Threshold {
        /// What stands there.
        text: String,
    },
    /// The keys stand in a table of the module's name, where nothing is read.
    #[error("the keys stand under [{name}]: write them without that table, the file is the module's own")]
    Wrapped {
        /// The module.
        name: String,
    },
    /// The table of a module beside `[modules]` instead of in it.
    #[error("a module's table is called [modules.{name}]")]
    ModuleTable {
        /// The module.
        name: String,
    },
    /// A pin is a constraint, a module's configuration is a table.
    #[error("must be a constraint on the module's version, or a table with its configuration")]
    ModuleEntry,
    /// No module may have child processes.
    #[error("must be 0: no module starts other processes")]
    ChildProcesses,
    /// A value where another layer has a table, or the reverse.
    #[error("is {found}, and {} has {expected} there", other)]
    OtherKind {
        /// What it is.
        found: Kind,
        /// What the weaker layer has.
        expected: Kind,
        /// The weaker layer.
        other: String,
    },
    /// A threshold that cannot be reached, or that nothing reaches.
    #[error("\"{needed}-of-{of}\" is impossible: the first number must be from 1 to the second")]
    ThresholdImpossible {
        /// Signatures needed.
        needed: u8,
        /// Maintainers there should be.
        of: u8,
    },
    /// A threshold that counts other maintainers than there are.
    #[error("\"{needed}-of-{of}\" counts {of} maintainers, and {found} are listed in signatures.maintainers")]
    ThresholdCount {
        /// Signatures needed.
        needed: u8,
        /// Maintainers there should be.
        of: u8,
        /// Maintainers there are.
        found: usize,
    },
}

/// ", did you mean", or what there is.
fn instead(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest:?}?"),
        None if known.is_empty() => "; there is none to give here".to_owned(),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// All of them for one line of a log or a terminal.
pub(crate) fn in_one_line(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_file_neither_breaks_a_line_nor_fills_the_screen() {
        let key = "a\n\u{1b}[31m".to_owned();
        let wrong = Wrong::Number { text: "9".repeat(1 << 20) };
        let text = Mistake { line: 1, column: 2, key, wrong }.to_string();
        assert!(text.starts_with("line 1, column 2: a\\n\\u{1b}[31m: 999"), "{text}");
        assert!(text.len() < 2 * MAX_SHOWN_CHARS && !text.chars().any(char::is_control));
    }
}
