//! What is seen of a module while it runs, until its node has ended.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::json;

use super::audit::{Audit, News};
use super::log::{Line, Tail};
use super::scenario::Scenario;
use super::{RunError, stop};
use crate::error::{FileFault, ToolError};
use crate::output::Output;
use crate::project::Project;
use crate::signals::Signals;

/// How often the module's log and the node are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Time after which a module that has ended is not expected back: the node starts one that crashed again, at first after 0.5 s.
const ABSENCE: Duration = Duration::from_secs(3);

/// Lines of a module that are repeated when it has ended.
const LAST_WORDS: usize = 10;

/// What is seen of a module while it runs.
pub(super) struct Watch<'a> {
    project: &'a Project,
    output: Output,
    printed: Tail,
    audit: Audit,
    /// What is still to happen to the node.
    scenario: Option<Scenario>,
    /// How many lines it printed, and the last of them.
    lines: u64,
    last: VecDeque<String>,
    /// How often it attached: a module that ends before its time is started again.
    attached: usize,
    /// Its process as it last attached, and since when that is gone.
    process: Option<(Pid, Option<Instant>)>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(project: &'a Project, data: &Path, scenario: Option<Scenario>, output: Output) -> Self {
        let name = &project.manifest.name;
        let printed = Tail::new(data.join("logs").join(format!("{name}.log")));
        let audit = Audit::new(data, name);
        Watch {
            project,
            output,
            printed,
            audit,
            scenario,
            lines: 0,
            last: VecDeque::new(),
            attached: 0,
            process: None,
        }
    }

    /// Tells what the module prints, and what it may not, until the node has ended.
    pub(super) fn until_end(&mut self, node: &mut Child, signals: &Signals) -> Result<(), ToolError> {
        let commands = node.stdin.take().map(|commands| Arc::new(Mutex::new(commands)));
        if let Some(commands) = commands.clone() {
            // Ends with its input, with the node, or with this process.
            std::thread::spawn(move || {
                let typed = io::stdin().lock().lines().map_while(Result::ok);
                typed.map(|line| send(&commands, &line)).take_while(Result::is_ok).for_each(drop);
            });
        }
        let mut told = 0;
        loop {
            // Asked first, so that what it wrote before it ended is read.
            let has_ended = node.try_wait().map_err(FileFault::at(&self.project.directory, "watched"));
            let has_ended = has_ended.map_err(RunError::from)?.is_some();
            self.tell()?;
            if has_ended {
                return Ok(());
            }
            if let (Some(commands), 1..) = (&commands, self.attached) {
                self.play(commands)?;
            }
            if told == 0 {
                self.look_for_module()?;
            }
            if signals.count() > told {
                told = signals.count();
                stop(node);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Tells once of a module that has ended and does not come back, while its node goes on.
    fn look_for_module(&mut self) -> Result<(), ToolError> {
        let Some((process, since)) = &mut self.process else { return Ok(()) };
        if kill(*process, None) != Err(Errno::ESRCH) {
            return Ok(());
        }
        if since.get_or_insert_with(Instant::now).elapsed() >= ABSENCE {
            self.process = None;
            let name = &self.project.manifest.name;
            let text = format!("{name} has ended, and the node goes on without it; Ctrl-C ends the node");
            self.output.progress(&text, &json!({ "event": "module_ended", "module": name }))?;
        }
        Ok(())
    }

    /// Takes the steps that are due.
    fn play(&mut self, commands: &Mutex<ChildStdin>) -> Result<(), ToolError> {
        let due = self.scenario.as_mut().map(|scenario| scenario.due(Instant::now())).unwrap_or_default();
        for command in due {
            self.output.progress(&format!("> {command}"), &json!({ "event": "step", "step": command }))?;
            // A node that has ended is found out by who waits for it.
            let _ = send(commands, &command);
        }
        Ok(())
    }

    /// Lines that the module has printed.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// What has come since.
    fn tell(&mut self) -> Result<(), ToolError> {
        for news in self.audit.news() {
            let (text, json) = match news {
                News::Granted(granted) => {
                    self.attached += 1;
                    self.process = Some((Pid::from_raw(granted.pid), None));
                    granted.told(&self.project.manifest.name)
                }
                News::Denied(denied) => denied.told(self.project),
            };
            self.output.progress(&text, &json)?;
        }
        for line in self.printed.lines() {
            let line = Line::parse(&line);
            self.output.result(&line.text, &line.json())?;
            self.lines += 1;
            if self.last.len() == LAST_WORDS {
                self.last.pop_front();
            }
            self.last.push_back(line.text);
        }
        Ok(())
    }

    /// Whether all of it went well.
    pub(super) fn judge(&self, status: ExitStatus) -> Result<(), RunError> {
        let name = self.project.manifest.name.clone();
        let (denied, ended) = (self.audit.denied(), self.attached.saturating_sub(1));
        match status.success() {
            _ if denied > 0 => Err(RunError::Denied { name, count: denied }),
            false if self.attached == 0 => {
                Err(RunError::NeverAttached { name, words: self.last.iter().cloned().collect() })
            }
            false => Err(RunError::Node { status }),
            true if ended > 0 => Err(RunError::Restarted { name, count: ended }),
            true => Ok(()),
        }
    }
}

/// A line for the node's standard input.
fn send(commands: &Mutex<ChildStdin>, line: &str) -> io::Result<()> {
    let mut commands = commands.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(commands, "{line}").and_then(|()| commands.flush())
}
