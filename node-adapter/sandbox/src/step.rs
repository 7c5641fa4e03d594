//! What the child does between fork and exec, named, and how it reports over the error pipe.

use std::fmt;

/// One step of the child on its way from fork to exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Step {
    /// Entering its control groups.
    ControlGroup,
    /// Starting a session of its own.
    Session,
    /// Resetting signal dispositions and the signal mask.
    Signals,
    /// Placing descriptors, and closing the rest (needs Linux 5.9).
    Descriptors,
    /// Entering the working directory.
    WorkingDirectory,
    /// Setting resource limits.
    Limits,
    /// Leaving a real-time policy or a raised priority of the node.
    Scheduling,
    /// Emptying the ambient and the bounding set.
    CapabilitySets,
    /// Clearing the supplementary groups (needs `CAP_SETGID`).
    Groups,
    /// Changing the group (needs `CAP_SETGID`).
    Gid,
    /// Changing the user (needs `CAP_SETUID`).
    Uid,
    /// Dropping all capabilities.
    Capabilities,
    /// Asking for the death signal.
    DeathSignal,
    /// Checking that the node still lives and is the parent, in the same PID namespace.
    Parent,
    /// Becoming non-dumpable.
    Dumpable,
    /// Setting `no_new_privs`.
    NoNewPrivs,
    /// Entering the Landlock ruleset.
    Landlock,
    /// Loading the system call filter.
    Seccomp,
    /// Executing the sealed program.
    Execute,
}

impl Step {
    /// Every step, in the order the child takes them; the position is the code on the pipe.
    pub const ALL: [Self; 19] = [
        Self::ControlGroup,
        Self::Session,
        Self::Signals,
        Self::Descriptors,
        Self::WorkingDirectory,
        Self::Limits,
        Self::Scheduling,
        Self::CapabilitySets,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Capabilities,
        Self::DeathSignal,
        Self::Parent,
        Self::Dumpable,
        Self::NoNewPrivs,
        Self::Landlock,
        Self::Seccomp,
        Self::Execute,
    ];

    /// Returns the stable name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ControlGroup => "control_group",
            Self::Session => "session",
            Self::Signals => "signals",
            Self::Descriptors => "descriptors",
            Self::WorkingDirectory => "working_directory",
            Self::Limits => "limits",
            Self::Scheduling => "scheduling",
            Self::CapabilitySets => "capability_sets",
            Self::Groups => "groups",
            Self::Gid => "gid",
            Self::Uid => "uid",
            Self::Capabilities => "capabilities",
            Self::DeathSignal => "death_signal",
            Self::Parent => "parent",
            Self::Dumpable => "dumpable",
            Self::NoNewPrivs => "no_new_privs",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Execute => "execute",
        }
    }

    /// Returns what to look at when this step fails.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::ControlGroup => "something else removed or changed the module's control group",
            Self::Descriptors => "Linux 5.9 or newer is needed",
            Self::WorkingDirectory => "check that the directory exists and the node may enter it",
            Self::Groups | Self::Gid | Self::Uid => {
                "the node needs CAP_SETUID and CAP_SETGID to give a module its own user"
            }
            Self::Parent => "the node exited, or its children live in another PID namespace",
            Self::Execute => "check the program, and the limits it starts under",
            _ => "the kernel or an outer sandbox refused it",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record on the error pipe: a step that failed, and the errno.
///
/// A failed [`Step::Seccomp`] where weak isolation is allowed is followed by the exec; any other record is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
}

impl Failure {
    /// A record is far below `PIPE_BUF`, so the kernel writes it whole.
    pub(crate) const BYTES: usize = 8;

    pub(crate) const fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d] = (self.step as u32).to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn from_bytes([a, b, c, d, e, f, g, h]: [u8; Self::BYTES]) -> Option<Self> {
        let code = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?;
        let step = *Step::ALL.get(code)?;
        Some(Self { step, errno: i32::from_ne_bytes([e, f, g, h]) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Step};

    #[test]
    fn every_step_comes_back_from_the_pipe_as_itself() {
        for step in Step::ALL {
            let sent = Failure { step, errno: libc::EPERM };
            assert_eq!(Failure::from_bytes(sent.to_bytes()), Some(sent));
        }
    }

    #[test]
    fn an_unknown_step_is_refused() {
        assert_eq!(Failure::from_bytes([0xff; Failure::BYTES]), None);
    }
}
