//! What came of each attempt, as one line of JSON.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::kernel::{Answer, View};

/// Ends a wait for a state that never comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// A module under a user of its own.
    OwnUid,
    /// A module under the node's user.
    SameUid,
    /// A process of root, outside the sandbox.
    Root,
}

impl Setting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Setting::OwnUid => "own_uid",
            Setting::SameUid => "same_uid",
            Setting::Root => "root",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Setting::OwnUid, Setting::SameUid, Setting::Root].into_iter().find(|setting| setting.name() == name)
    }
}

/// What should have refused an attempt, or makes it harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Seals,
    ReadOnly,
    Seccomp,
    Capabilities,
    Dumpable,
    Rlimits,
    Landlock,
    Ports,
    Uid,
    ControlGroup,
    Kernel,
    Node,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Layer::Seals => "seals",
            Layer::ReadOnly => "read_only",
            Layer::Seccomp => "seccomp",
            Layer::Capabilities => "capabilities",
            Layer::Dumpable => "dumpable",
            Layer::Rlimits => "rlimits",
            Layer::Landlock => "landlock",
            Layer::Ports => "ports",
            Layer::Uid => "uid",
            Layer::ControlGroup => "control_group",
            Layer::Kernel => "kernel",
            Layer::Node => "node",
        }
    }
}

/// The node as an attacker sees it.
pub(crate) struct Target {
    pub(crate) pid: i32,
    /// The `chain` segment, read-only.
    pub(crate) chain: View,
    /// The port this module was granted, to listen on and to connect to.
    pub(crate) own_port: Option<u16>,
}

impl Target {
    /// Whether the node runs and goes on publishing: waits for the next message.
    pub(crate) fn is_well(&self) -> bool {
        let before = self.published();
        let start = Instant::now();
        while self.published() == before {
            if start.elapsed() > PATIENCE {
                return false;
            }
            std::thread::yield_now();
        }
        // Where Landlock hides it, what was published has to do.
        self.state().is_none_or(|state| matches!(state, 'R' | 'S' | 'D'))
    }

    /// The next sequence of `chain`.
    pub(crate) fn published(&self) -> u64 {
        self.chain.load(4096 / 8)
    }

    /// The sequence below which bodies are reclaimed.
    pub(crate) fn oldest_body(&self) -> u64 {
        self.chain.load((4096 + 128) / 8)
    }

    /// The process state, as /proc shows it.
    pub(crate) fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
}

/// Writes the lines.
pub(crate) struct Report {
    pub(crate) setting: Setting,
    /// What this host cannot enforce, as the node says: `landlock`, `ports`, `memory`, `pids`, `cpu`.
    lacks: Vec<String>,
    lines: File,
}

impl Report {
    pub(crate) fn new(setting: Setting, lacks: Vec<String>, lines: File) -> Self {
        Report { setting, lacks, lines }
    }

    /// Whether this host cannot enforce `what`.
    pub(crate) fn lacks(&self, what: &str) -> bool {
        self.lacks.iter().any(|lacking| lacking == what)
    }

    /// What refuses to open files: Landlock, which looks first, or else `other`.
    pub(crate) fn files_layer(&self, other: Layer) -> Layer {
        if self.setting == Setting::Root || self.lacks("landlock") { other } else { Layer::Landlock }
    }

    /// As [`Self::refused`], by a layer that hosts without `what` do not have: there it is told as that.
    pub(crate) fn refused_where_there_is<T>(
        &mut self,
        what: &str,
        attempt: &str,
        layer: Layer,
        expected: &[Errno],
        answer: &Answer<T>,
    ) -> io::Result<()> {
        match answer {
            Ok(_) if self.lacks(what) => self.line(attempt, layer.name(), "not_enforceable", None),
            _ => self.refused(attempt, layer, expected, answer),
        }
    }

    /// An attempt that `layer` must refuse with one of `expected`. One that succeeds is a hole, but for root at
    /// what only the sandbox protects.
    pub(crate) fn refused<T>(
        &mut self,
        attempt: &str,
        layer: Layer,
        expected: &[Errno],
        answer: &Answer<T>,
    ) -> io::Result<()> {
        let is_for_root_too = matches!(layer, Layer::Seals | Layer::ReadOnly);
        match answer {
            Err(errno) if expected.contains(errno) => {
                self.line(attempt, layer.name(), "refused", Some(*errno))
            }
            // Refused, but not by what should have: luck is no layer.
            Err(errno) => self.line(attempt, "none", "refused", Some(*errno)),
            Ok(_) if self.setting == Setting::Root && !is_for_root_too => {
                self.line(attempt, "none", "not_enforceable", None)
            }
            Ok(_) => self.line(attempt, layer.name(), "succeeded", None),
        }
    }

    /// An attempt that may succeed without consequence, which `is_unhurt` then looks for.
    pub(crate) fn harmless<T>(
        &mut self,
        attempt: &str,
        layer: Layer,
        answer: &Answer<T>,
        is_unhurt: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        match answer {
            Err(errno) => self.line(attempt, layer.name(), "refused", Some(*errno)),
            Ok(_) if is_unhurt() => self.line(attempt, layer.name(), "harmless", None),
            Ok(_) => self.line(attempt, layer.name(), "succeeded", None),
        }
    }

    /// An attempt the node itself must refuse, by a typed refusal: there is no error number then.
    pub(crate) fn refused_by_the_node(&mut self, attempt: &str, is_refused: bool) -> io::Result<()> {
        let result = if is_refused { "refused" } else { "succeeded" };
        self.line(attempt, Layer::Node.name(), result, None)
    }

    fn line(&mut self, attempt: &str, layer: &str, result: &str, errno: Option<Errno>) -> io::Result<()> {
        let errno = errno.map_or("null".to_owned(), |errno| format!("\"{errno:?}\""));
        let setting = self.setting.name();
        writeln!(
            self.lines,
            "{{\"setting\":\"{setting}\",\"attempt\":\"{attempt}\",\"layer\":\"{layer}\",\"result\":\"{result}\",\"errno\":{errno}}}"
        )
    }
}
