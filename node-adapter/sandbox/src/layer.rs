//! The layers of isolation, by the names reports use.

use std::fmt;

use nix::errno::Errno;

/// One kernel-enforced part of a module's isolation.
///
/// The names of [`Layer::as_str`] are stable: reports and scripts may match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// The environment holds exactly what was granted.
    Environment,
    /// Descriptors 0, 1, 2 and the granted ones are open, nothing else.
    Descriptors,
    /// The module has a user and a group of its own, and no supplementary groups.
    Uid,
    /// Permitted, effective, inheritable and ambient capabilities are empty. The bounding set is emptied where
    /// the node may do so; where it may not, `no_new_privs` makes it meaningless.
    Capabilities,
    /// No execution grants privileges any more: set-uid bits and file capabilities are ignored.
    NoNewPrivs,
    /// Resource limits are set, hard limits included.
    Rlimits,
    /// Files are confined to a Landlock ruleset; from its version 6 on signals and abstract sockets too.
    Landlock,
    /// TCP ports are confined to those granted: by Landlock from its version 4 on, or because there is no network at all.
    Ports,
    /// Memory of every kind, tasks and processor time are bounded together, as far as the host lets the node.
    ControlGroup,
    /// System calls that reach other processes are denied.
    Seccomp,
    /// The kernel kills the module when the node dies.
    DeathSignal,
    /// The module leads a session of its own: no terminal, no shared process group.
    Session,
    /// What runs is the sealed copy that was hashed.
    SealedBinary,
    /// No process of the same user can trace the module or open its memory. Lost if the module executes another program.
    NotDumpable,
}

impl Layer {
    /// Every layer, in the order reports show them.
    pub const ALL: [Self; 14] = [
        Self::Environment,
        Self::Descriptors,
        Self::Uid,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Rlimits,
        Self::Landlock,
        Self::Ports,
        Self::ControlGroup,
        Self::Seccomp,
        Self::DeathSignal,
        Self::Session,
        Self::SealedBinary,
        Self::NotDumpable,
    ];

    /// Returns the stable name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Descriptors => "descriptors",
            Self::Uid => "uid",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivs => "no_new_privs",
            Self::Rlimits => "rlimits",
            Self::Landlock => "landlock",
            Self::Ports => "ports",
            Self::ControlGroup => "control_group",
            Self::Seccomp => "seccomp",
            Self::DeathSignal => "death_signal",
            Self::Session => "session",
            Self::SealedBinary => "sealed_binary",
            Self::NotDumpable => "not_dumpable",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a layer is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeakReason {
    /// There is no filter for this processor architecture.
    #[error("there is no system call filter for {architecture}")]
    NoFilter {
        /// The architecture this program was built for.
        architecture: &'static str,
    },
    /// The kernel refused the filter.
    #[error("the kernel refused the system call filter ({errno}): is CONFIG_SECCOMP_FILTER on?")]
    FilterRefused {
        /// What the kernel answered.
        errno: Errno,
    },
    /// The kernel has no Landlock.
    #[error("{}", crate::landlock::advice(*errno))]
    NoLandlock {
        /// What the kernel answered.
        errno: Errno,
    },
    /// The kernel's Landlock does not know TCP ports.
    #[error("this kernel's Landlock (version {abi}) knows no TCP ports: use Linux 6.7 or newer")]
    NoPorts {
        /// The version, 0 if there is none.
        abi: u32,
    },
    /// The host makes processes dumpable that should not be.
    #[error("fs.suid_dumpable is 1: set it to 0 or 2")]
    SuidDumpable,
}

#[cfg(test)]
mod tests {
    use super::Layer;

    #[test]
    fn every_layer_has_a_name_of_its_own() {
        let mut names: Vec<_> = Layer::ALL.iter().map(|layer| layer.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Layer::ALL.len());
    }
}
