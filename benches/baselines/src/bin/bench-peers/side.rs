//! Running one program of a comparison, and what it printed.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// How long one run may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Exit status of a program that was used in a way it does not know: clap's.
const WRONG_USE: i32 = 2;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// `bus-bench`.
    Bus,
    /// `peer-bench`.
    Peer,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `bus-bench`.
    pub bus: PathBuf,
    /// `peer-bench`.
    pub peer: PathBuf,
}

/// One run of a program, and which of its lines is meant.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is called in tables.
    pub label: String,
    program: Program,
    arguments: Vec<String>,
    pick: Vec<(&'static str, Value)>,
}

/// Why there is no figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The program does not know the arguments, or did not print the line: nothing was measured.
    NotOffered(String),
    /// It failed, or took too long.
    Failed(String),
}

/// One line that a program printed.
#[derive(Debug, Clone)]
pub struct Measured(Map<String, Value>);

/// What programs printed in one round, so that none runs twice in it.
pub type Round = HashMap<(Program, Vec<String>), Result<Vec<Measured>, Missing>>;

impl Side {
    /// `bus-bench` with `arguments`, given as one text.
    pub fn bus(label: &str, arguments: &str) -> Self {
        Side::new(label, Program::Bus, arguments)
    }

    /// `peer-bench` with `arguments`, given as one text.
    pub fn peer(label: &str, arguments: &str) -> Self {
        Side::new(label, Program::Peer, arguments)
    }

    fn new(label: &str, program: Program, arguments: &str) -> Self {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Side { label: label.to_owned(), program, arguments, pick: Vec::new() }
    }

    /// Means the line whose field `key` is `value`, of all that the program prints.
    pub fn pick(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.pick.push((key, value.into()));
        self
    }

    /// Adds arguments, given as one text.
    pub fn with(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split_whitespace().map(str::to_owned));
        self
    }

    /// Calls it otherwise.
    pub fn labelled(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// The command as people would type it.
    pub fn command(&self) -> String {
        let program = match self.program {
            Program::Bus => "bus-bench",
            Program::Peer => "peer-bench",
        };
        format!("{program} {}", self.arguments.join(" "))
    }

    /// Runs it, unless `round` has it already.
    pub fn measure(&self, programs: &Programs, round: &mut Round) -> Result<Measured, Missing> {
        let key = (self.program, self.arguments.clone());
        let lines = round.entry(key).or_insert_with(|| self.run(programs)).clone()?;
        let is_meant = |line: &Measured| self.pick.iter().all(|(key, value)| line.0.get(*key) == Some(value));
        let found = lines.into_iter().find(is_meant);
        found.ok_or_else(|| Missing::NotOffered(format!("{} did not print it", self.command())))
    }

    fn run(&self, programs: &Programs) -> Result<Vec<Measured>, Missing> {
        let program = match self.program {
            Program::Bus => &programs.bus,
            Program::Peer => &programs.peer,
        };
        let failed = |what: String| Missing::Failed(format!("{}: {what}", self.command()));
        let mut command = Command::new(program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
        let pipes = (process.stdout.take(), process.stderr.take());
        let (Some(mut stdout), Some(mut stderr)) = pipes else { return Err(failed("no pipes".to_owned())) };
        // Both are read while it runs: it must not wait for a full pipe.
        let output = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let complaint = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match process.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                _ => {
                    // It is still ours: nobody else waits for it.
                    let _ = process.kill();
                    let _ = process.wait();
                    return Err(failed(format!("took longer than {} s", PATIENCE.as_secs())));
                }
            }
        };
        let complaint = complaint.join().ok().and_then(Result::ok).unwrap_or_default();
        let complaint = complaint.trim().lines().next().unwrap_or("no message").to_owned();
        match status.code() {
            Some(0) => {}
            Some(WRONG_USE) => {
                return Err(Missing::NotOffered(format!("{}: {complaint}", self.command())));
            }
            _ => return Err(failed(format!("{status}: {complaint}"))),
        }
        let output = output.join().ok().and_then(Result::ok).unwrap_or_default();
        Ok(output.lines().filter_map(|line| serde_json::from_str(line).ok().map(Measured)).collect())
    }
}

impl Measured {
    /// A number; `None` if it is not there.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    /// The round trip of a cache line beside the figure.
    pub fn line_rtt_ns(&self) -> Option<f64> {
        self.number("line_rtt_ns")
    }

    /// Values and their numbers.
    pub fn histogram(&self) -> Vec<(u64, u64)> {
        let histogram = self.0.get("histogram").cloned().unwrap_or_default();
        serde_json::from_value(histogram).unwrap_or_default()
    }

    #[cfg(test)]
    pub fn of(value: Value) -> Self {
        Measured(serde_json::from_value(value).unwrap())
    }
}
