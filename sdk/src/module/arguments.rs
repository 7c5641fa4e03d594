//! Words of a command, as its arguments say they are given.

use std::fmt::Display;
use std::str::FromStr;

use blvm_bus::request::{CliArgument, CliArgumentForm, CommandOutput, ModuleError};

use super::Error;

/// The arguments that a command was given.
#[derive(Debug)]
pub struct Arguments {
    values: Vec<(String, Option<String>)>,
}

impl Arguments {
    /// Sorts `words` by `known`: flags and options anywhere, the others by place. After `--` everything is by place.
    ///
    /// # Errors
    ///
    /// What is wrong, for who gave them.
    pub(crate) fn parse(words: &[String], known: &[CliArgument]) -> Result<Self, String> {
        let mut values: Vec<_> = known.iter().map(|argument| (argument.name.clone(), None)).collect();
        let mut places = (0..)
            .zip(known)
            .filter(|(_, argument)| argument.form == CliArgumentForm::Positional)
            .map(|(at, _)| at);
        let mut words = words.iter();
        let mut are_options_over = false;
        while let Some(word) = words.next() {
            if word == "--" && !are_options_over {
                are_options_over = true;
                continue;
            }
            let Some(option) = word.strip_prefix("--").filter(|_| !are_options_over) else {
                let place: usize =
                    places.next().ok_or_else(|| format!("\"{word}\" is one argument too many"))?;
                values[place].1 = Some(word.clone());
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let at = known
                .iter()
                .position(|argument| argument.name == name && argument.form != CliArgumentForm::Positional);
            let at = at.ok_or_else(|| format!("there is no option --{name}"))?;
            let value = match (known[at].form, inline) {
                (CliArgumentForm::Flag, None) => String::new(),
                (CliArgumentForm::Flag, Some(_)) => return Err(format!("--{name} takes no value")),
                (_, Some(value)) => value,
                (_, None) => words.next().cloned().ok_or_else(|| format!("--{name} needs a value"))?,
            };
            if values[at].1.replace(value).is_some() {
                return Err(format!("--{name} is given twice"));
            }
        }
        let missing =
            known.iter().zip(&values).find(|(argument, (_, value))| argument.is_required && value.is_none());
        match missing {
            Some((argument, _)) => Err(format!("{} is missing", argument.name.to_uppercase())),
            None => Ok(Arguments { values }),
        }
    }

    /// Whether the flag `name` is given.
    pub fn flag(&mut self, name: &str) -> bool {
        self.word(name).is_some()
    }

    /// The value of `name`; `None` if it is not given.
    ///
    /// # Errors
    ///
    /// [`ModuleError::WrongParameters`] if it cannot be read as `T`.
    pub fn option<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, ModuleError> {
        let read = |word: String| {
            word.parse().map_err(|error| ModuleError::WrongParameters {
                message: format!("{} cannot be \"{word}\": {error}", name.to_uppercase()),
            })
        };
        self.word(name).map(read).transpose()
    }

    /// The value of `name`.
    ///
    /// # Errors
    ///
    /// [`ModuleError::WrongParameters`] if it is missing or cannot be read as `T`.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, ModuleError> {
        self.option(name)?.ok_or_else(|| ModuleError::WrongParameters {
            message: format!("{} is missing", name.to_uppercase()),
        })
    }

    fn word(&mut self, name: &str) -> Option<String> {
        self.values.iter_mut().find(|(known, _)| known == name)?.1.take()
    }
}

/// What a command may answer.
#[diagnostic::on_unimplemented(
    message = "a command cannot answer `{Self}`",
    label = "what a command answers",
    note = "a command answers `String`, `&'static str`, `()` or `CommandOutput`, or a `Result` of one of them"
)]
pub trait Output {
    /// As the caller gets it.
    fn output(self) -> CommandOutput;
}

impl Output for CommandOutput {
    fn output(self) -> CommandOutput {
        self
    }
}

impl Output for () {
    fn output(self) -> CommandOutput {
        CommandOutput::default()
    }
}

impl Output for String {
    /// Ends with a line break.
    fn output(mut self) -> CommandOutput {
        if !self.is_empty() && !self.ends_with('\n') {
            self.push('\n');
        }
        CommandOutput { output: self, ..CommandOutput::default() }
    }
}

impl Output for &str {
    fn output(self) -> CommandOutput {
        self.to_owned().output()
    }
}

/// A command's answer: an error is printed, with status 1.
pub fn output<T: Output>(result: Result<T, Error>) -> Result<CommandOutput, ModuleError> {
    result.map(T::output).map_err(Error::into_module_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(name: &str, form: CliArgumentForm, is_required: bool) -> CliArgument {
        CliArgument { name: name.to_owned(), about: String::new(), form, is_required }
    }

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        let known = [
            argument("city", CliArgumentForm::Positional, true),
            argument("days", CliArgumentForm::Option, false),
            argument("verbose", CliArgumentForm::Flag, false),
        ];
        Arguments::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &known)
    }

    #[test]
    fn words_are_taken_as_the_arguments_say() {
        for words in [
            &["Bern", "--days", "3", "--verbose"][..],
            &["--verbose", "--days=3", "Bern"],
            &["--days", "3", "--verbose", "--", "Bern"],
        ] {
            let mut arguments = parse(words).unwrap();
            assert_eq!(arguments.required::<String>("city").unwrap(), "Bern");
            assert_eq!(arguments.option::<u8>("days").unwrap(), Some(3));
            assert!(arguments.flag("verbose"));
        }
        let mut arguments = parse(&["--", "--days"]).unwrap();
        assert_eq!(arguments.required::<String>("city").unwrap(), "--days");
        assert_eq!(arguments.option::<u8>("days").unwrap(), None);
        assert!(!arguments.flag("verbose"));
    }

    #[test]
    fn wrong_use_is_said_in_words() {
        for (words, expected) in [
            (&[][..], "CITY is missing"),
            (&["Bern", "Basel"], "\"Basel\" is one argument too many"),
            (&["Bern", "--week"], "there is no option --week"),
            (&["Bern", "--city", "x"], "there is no option --city"),
            (&["Bern", "--days"], "--days needs a value"),
            (&["Bern", "--days=1", "--days=2"], "--days is given twice"),
            (&["Bern", "--verbose=1"], "--verbose takes no value"),
        ] {
            assert_eq!(parse(words).unwrap_err(), expected);
        }
        let error = parse(&["Bern", "--days", "x"]).unwrap().option::<u8>("days").unwrap_err();
        let expected = "wrong parameters: DAYS cannot be \"x\": invalid digit found in string";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_a_command_says_ends_with_a_line_break() {
        assert_eq!("a".output().output, "a\n");
        assert_eq!("a\n".output().output, "a\n");
        assert_eq!("".output(), ().output());
    }
}
