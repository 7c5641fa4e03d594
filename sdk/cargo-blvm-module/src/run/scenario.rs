//! What happens to the node while a module runs, step by step: a file with a step a line.
//!
//! | step | does |
//! |---|---|
//! | `mine [N]`, `pay [N]`, `reorganise DEPTH`, `clear-mempool`, `stop` | what `blvm run` takes on its standard input |
//! | `wait TIME` | waits: `500ms`, `2s` |
//!
//! Empty lines, and what follows a `#`, are passed over. The first step is taken when the module has attached.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::FileFault;

/// The one that is built in.
const TOUR: &str = include_str!("tour.txt");

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error(transparent)]
    File(#[from] FileFault),
    #[error(
        "{}: line {line}: {text:?} is no step: there are mine [N], pay [N] (N from 1 to 1000), reorganise DEPTH, clear-mempool, wait TIME (as in 500ms), stop",
        path.display()
    )]
    Step { path: PathBuf, line: usize, text: String },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// For the node, as it reads it.
    Command(String),
    Wait(Duration),
}

/// The steps that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scenario {
    steps: VecDeque<Step>,
    /// When the next one is due; not before the module has attached.
    due: Option<Instant>,
}

impl Scenario {
    /// The steps of a file.
    pub(super) fn read(path: &Path) -> Result<Self, ScenarioError> {
        Scenario::parse(&fs::read_to_string(path).map_err(FileFault::at(path, "read"))?, path)
    }

    /// Each kind of event of a chain and a mempool.
    pub(super) fn tour() -> Result<Self, ScenarioError> {
        Scenario::parse(TOUR, Path::new("tour"))
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ScenarioError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let written = lines.zip(1..).filter(|(text, _)| !text.is_empty());
        let steps: Result<_, _> = written
            .map(|(text, line)| {
                let wrong = || ScenarioError::Step { path: path.to_owned(), line, text: text.to_owned() };
                step(text).ok_or_else(wrong)
            })
            .collect();
        Ok(Scenario { steps: steps?, due: None })
    }

    /// Whether coins are spent, which the node must have.
    pub(super) fn pays(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Command(command) if command.starts_with("pay")))
    }

    /// The commands that are due at `now`; the module has attached.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let mut commands = Vec::new();
        while self.due.is_none_or(|due| due <= now) {
            match self.steps.pop_front() {
                Some(Step::Command(command)) => commands.push(command),
                Some(Step::Wait(time)) => self.due = Some(now + time),
                None => break,
            }
        }
        commands
    }
}

fn step(text: &str) -> Option<Step> {
    let words: Vec<_> = text.split_whitespace().collect();
    let is_count = |word: &str| word.parse().is_ok_and(|count| (1..=1000).contains(&count));
    let is_right = match words[..] {
        ["wait", time] => return humantime::parse_duration(time).ok().map(Step::Wait),
        ["mine" | "pay", count] => is_count(count),
        ["reorganise", depth] => depth.parse::<u32>().is_ok(),
        ["mine" | "pay" | "clear-mempool" | "stop"] => true,
        _ => false,
    };
    is_right.then(|| Step::Command(words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_due_one_after_another_and_waits_part_them() {
        let text = "# all\nmine   3 # blocks\n\npay\nwait 2s\nreorganise 1\nclear-mempool\nwait 500ms\nstop";
        let mut scenario = Scenario::parse(text, Path::new("s")).unwrap();
        assert!(scenario.pays());
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!(scenario.due(at(0)), ["mine 3", "pay"]);
        assert_eq!(scenario.due(at(1_999)), [] as [&str; 0]);
        assert_eq!(scenario.due(at(2_000)), ["reorganise 1", "clear-mempool"]);
        assert_eq!(scenario.due(at(2_400)), [] as [&str; 0]);
        assert_eq!(scenario.due(at(2_600)), ["stop"]);
        assert_eq!(scenario.due(at(9_000)), [] as [&str; 0]);
        assert!(Scenario::tour().unwrap().pays());
    }

    #[test]
    fn what_is_no_step_is_told_with_its_line() {
        for wrong in ["dance", "mine 0", "mine 1001", "pay x", "reorganise", "wait", "wait 3", "stop now"] {
            let error = Scenario::parse(&format!("mine\n{wrong}\n"), Path::new("s.txt")).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("s.txt: line 2: {wrong:?} is no step")),
                "{error}"
            );
        }
    }
}
