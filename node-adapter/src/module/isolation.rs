//! What a module's process gets: its limits and permissions, as far as this host can hold them.
//!
//! `blvm_manifest` decides how much: what the manifest asks for, capped by the operator ([`ModuleLimits`]). Nothing here asks
//! the host for anything: the same inputs give the same answer.

use std::path::Path;

use blvm_bus::request::Permission;
use blvm_manifest::ModuleLimits;
use blvm_sandbox::{
    Child, ControlGroup, ControlGroups, GroupLimits, Layer, Limits, Reach, SpawnRequest, confines_ports,
    landlock_lacks,
};
use serde::{Deserialize, Serialize};

/// Threads of one module. Counted per user too, where it has one of its own.
const THREADS: u64 = 1024;

/// What a control group's memory may come to beyond the private memory: the program and its libraries, page cache, what the
/// kernel keeps for the process, shared anonymous memory. Allocations fail before the group's limit kills.
const BESIDE_PRIVATE_BYTES: u64 = 64 << 20;

/// DNS over TCP, which name resolution falls back to when an answer is long.
const DNS_PORT: u16 = 53;

/// What one process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Isolation {
    limits: Limits,
    group: GroupLimits,
    listen: Vec<u16>,
    connect: Vec<u16>,
    may_use_network: bool,
}

impl Isolation {
    /// Decides. `has_own_uid` says whether the node gives the module a user of its own.
    ///
    /// An operator who leaves a module none of the ports it asks for takes the right away, UDP included.
    pub(crate) fn decide(granted: &ModuleLimits, permissions: &[Permission], has_own_uid: bool) -> Self {
        let may = |permission, key, ports: &[u16]| {
            permissions.contains(&permission) && !(ports.is_empty() && granted.cut.contains(&key))
        };
        let may_listen = may(Permission::NetworkListen, "listen", &granted.listen);
        let may_connect = may(Permission::NetworkConnect, "connect", &granted.connect);
        let mut connect = if may_connect { granted.connect.clone() } else { Vec::new() };
        if may_connect && !connect.contains(&DNS_PORT) {
            connect.push(DNS_PORT);
        }
        Isolation {
            limits: Limits {
                data_bytes: granted.memory_bytes,
                open_files: granted.open_files,
                // Under the node's own user they would be counted together with the user's other programs.
                processes: has_own_uid.then_some(THREADS),
                memlock_bytes: 0,
                file_bytes: None,
            },
            group: GroupLimits {
                memory_bytes: granted.memory_bytes.saturating_add(BESIDE_PRIVATE_BYTES),
                tasks: THREADS,
                cpu_percent: granted.cpu_percent,
            },
            listen: if may_listen { granted.listen.clone() } else { Vec::new() },
            connect,
            may_use_network: may_listen || may_connect,
        }
    }

    /// What its control group may use.
    pub(crate) fn group_limits(&self) -> GroupLimits {
        self.group
    }

    /// Puts it into a request; `directory` is the module's own.
    pub(crate) fn apply(&self, request: &mut SpawnRequest, directory: &Path, group: Option<ControlGroup>) {
        let mut reach = Reach::of_module(directory, &request.program);
        reach.listen.clone_from(&self.listen);
        reach.connect.clone_from(&self.connect);
        request.reach = Some(reach);
        request.limits = self.limits;
        request.may_use_network = self.may_use_network;
        request.control_group = group;
    }

    /// Says layer by layer what holds for a process started so, with Landlock of version `abi` (0: none).
    pub(crate) fn report(&self, child: &Child, groups: &ControlGroups, abi: u32) -> Vec<LayerReport> {
        let seals = LayerReport {
            layer: "seals".to_owned(),
            is_enforced: true,
            detail: "segments are read-only".to_owned(),
        };
        let layers = Layer::ALL.into_iter().map(|layer| {
            let missing = child.weak().iter().find(|(weak, _)| *weak == layer);
            let is_enforced = child.enforced().contains(&layer);
            let detail = match (missing, layer) {
                (Some((_, reason)), _) => reason.to_string(),
                (None, Layer::ControlGroup) => self.describe_group(groups),
                (None, Layer::Uid) if !is_enforced => {
                    "the node's own user: only a node that runs as root can give others".to_owned()
                }
                (None, _) => self.describe(layer, abi),
            };
            LayerReport { layer: layer.as_str().to_owned(), is_enforced, detail }
        });
        std::iter::once(seals).chain(layers).collect()
    }

    fn describe(&self, layer: Layer, abi: u32) -> String {
        let mebibytes = self.limits.data_bytes >> 20;
        match layer {
            Layer::Environment => "empty".to_owned(),
            Layer::Descriptors => "standard streams and the module's two sockets".to_owned(),
            Layer::Uid => "a user of its own".to_owned(),
            Layer::Rlimits => {
                format!("{mebibytes} MiB of private memory, {} descriptors", self.limits.open_files)
            }
            Layer::Landlock => {
                let lacks = landlock_lacks(abi);
                let lacks =
                    if lacks.is_empty() { String::new() } else { format!("; lacks {}", lacks.join(", ")) };
                format!(
                    "version {abi}: its own directory, system libraries, name resolution, roots of trust{lacks}"
                )
            }
            Layer::Ports if !self.may_use_network => "no network".to_owned(),
            Layer::Ports if confines_ports(abi) => format!(
                "TCP: listens on {}, connects to {}; UDP is not confined",
                ports(&self.listen),
                ports(&self.connect)
            ),
            Layer::Seccomp if self.may_use_network => "no other processes, no Unix sockets".to_owned(),
            Layer::Seccomp => "no other processes, no sockets".to_owned(),
            _ => String::new(),
        }
    }

    fn describe_group(&self, groups: &ControlGroups) -> String {
        let GroupLimits { memory_bytes, tasks, cpu_percent } = self.group;
        let holds = groups.available().into_iter().map(|controller| match controller {
            blvm_sandbox::Controller::Memory => format!("{} MiB of memory of every kind", memory_bytes >> 20),
            blvm_sandbox::Controller::Pids => format!("{tasks} tasks"),
            blvm_sandbox::Controller::Cpu => format!("{cpu_percent} % of a processor"),
            _ => controller.to_string(),
        });
        let lacks =
            groups.unavailable().iter().map(|(controller, reason)| format!("no {controller}: {reason}"));
        holds.chain(lacks).collect::<Vec<_>>().join("; ")
    }
}

/// What holds of one layer for one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Its name.
    pub layer: String,
    /// Whether the kernel enforces it on this process.
    pub is_enforced: bool,
    /// What it holds, or why it is missing and what to do.
    pub detail: String,
}

fn ports(ports: &[u16]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use blvm_manifest::{Manifest, NodeFile};

    use super::*;

    const BOTH: &[Permission] = &[Permission::NetworkListen, Permission::NetworkConnect];

    /// What a module gets that asks for nothing.
    fn granted() -> ModuleLimits {
        NodeFile::empty(PathBuf::new()).limits_of(&Manifest::new("pool", "pool"))
    }

    fn with_ports() -> ModuleLimits {
        ModuleLimits { listen: vec![3333, 3334], connect: vec![9735], ..granted() }
    }

    #[test]
    fn who_asks_for_nothing_gets_the_defaults_and_no_network() {
        let got = Isolation::decide(&granted(), &[], true);
        assert_eq!((got.limits.data_bytes, got.limits.open_files), (512 << 20, 256));
        assert_eq!(got.group, GroupLimits { memory_bytes: 576 << 20, tasks: 1024, cpu_percent: 50 });
        assert!(!got.may_use_network && got.listen.is_empty() && got.connect.is_empty());
    }

    #[test]
    fn what_was_granted_becomes_limits_and_a_group_with_room_for_the_rest() {
        let granted =
            ModuleLimits { memory_bytes: 32 << 20, open_files: 5000, cpu_percent: 200, ..granted() };
        let got = Isolation::decide(&granted, &[], true);
        assert_eq!((got.limits.data_bytes, got.limits.open_files), (32 << 20, 5000));
        assert_eq!((got.group.memory_bytes, got.group.cpu_percent), (96 << 20, 200));
    }

    #[test]
    fn ports_need_the_permission() {
        let got = Isolation::decide(&with_ports(), BOTH, true);
        assert_eq!((&got.listen[..], &got.connect[..]), (&[3333, 3334][..], &[9735, DNS_PORT][..]));
        let got = Isolation::decide(&with_ports(), &[Permission::NetworkListen], true);
        assert_eq!((&got.listen[..], &got.connect[..]), (&[3333, 3334][..], &[][..]));
        assert!(got.may_use_network);
        let got = Isolation::decide(&with_ports(), &[], true);
        assert!(!got.may_use_network && got.listen.is_empty() && got.connect.is_empty());
    }

    #[test]
    fn an_operator_who_leaves_no_port_takes_the_right_away() {
        let none = ModuleLimits { cut: vec!["listen", "connect"], ..granted() };
        assert!(!Isolation::decide(&none, BOTH, true).may_use_network);
        let some = ModuleLimits { cut: vec!["listen", "connect"], connect: vec![443], ..granted() };
        let got = Isolation::decide(&some, BOTH, true);
        assert!(got.may_use_network && got.listen.is_empty());
        assert_eq!(got.connect, [443, DNS_PORT]);
    }

    #[test]
    fn threads_of_a_user_that_others_share_are_not_the_modules_alone() {
        let decide = |has_own_uid| Isolation::decide(&with_ports(), BOTH, has_own_uid);
        assert_eq!((decide(true).limits.processes, decide(false).limits.processes), (Some(THREADS), None));
    }
}
