//! What a module's process gets: what its manifest asks for, capped by the operator, as far as this host can hold it.
//!
//! | | the manifest asks | the operator says | default |
//! |---|---|---|---|
//! | memory, descriptors, processor time | up to | at most | [`ResourceDefaults`] |
//! | TCP ports | these | only these | what the manifest asks |
//!
//! Nothing here asks the host for anything: the same inputs give the same answer.

use std::path::Path;

use blvm_bus::request::Permission;
use blvm_manifest::Sandbox;
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

/// What each module may use at most, unless the operator says otherwise for one of them: `[module_resource_limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceDefaults {
    /// Private memory in bytes; mappings of the bus do not count.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub open_files: u64,
    /// Processor time in hundredths of one processor.
    pub cpu_percent: u32,
}

impl Default for ResourceDefaults {
    /// 512 MiB, 256 descriptors, half a processor.
    fn default() -> Self {
        ResourceDefaults { memory_bytes: 512 << 20, open_files: 256, cpu_percent: 50 }
    }
}

/// What the operator allows one module: `[modules.NAME.limits]`. What is not said stays at the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorLimits {
    /// TCP ports it may listen on, of those its manifest asks for.
    pub listen: Option<Vec<u16>>,
    /// TCP ports it may connect to, of those its manifest asks for.
    pub connect: Option<Vec<u16>>,
    /// Private memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Open descriptors.
    pub open_files: Option<u64>,
    /// Processor time in hundredths of one processor.
    pub cpu_percent: Option<u32>,
}

/// What one process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Isolation {
    limits: Limits,
    group: GroupLimits,
    listen: Vec<u16>,
    connect: Vec<u16>,
    may_use_network: bool,
    may_lack: Vec<Layer>,
}

impl Isolation {
    /// Decides. `has_own_uid` says whether the node gives the module a user of its own.
    ///
    /// Without Landlock a user of its own keeps a module from the files of the node and of other modules: then that layer may be
    /// missing. Without such a user it may not, and neither may the confinement of ports where there is a network.
    pub(crate) fn decide(
        asked: &Sandbox,
        permissions: &[Permission],
        operator: &OperatorLimits,
        defaults: &ResourceDefaults,
        has_own_uid: bool,
    ) -> Self {
        let memory_asked = asked.memory_mb.map(|mebibytes| mebibytes.saturating_mul(1 << 20));
        let data_bytes = capped(memory_asked, operator.memory_bytes.unwrap_or(defaults.memory_bytes));
        let may = |permission, ports: &Option<Vec<u16>>| {
            permissions.contains(&permission) && ports.as_ref().is_none_or(|ports| !ports.is_empty())
        };
        let may_listen = may(Permission::NetworkListen, &operator.listen);
        let may_connect = may(Permission::NetworkConnect, &operator.connect);
        let mut connect = if may_connect { allowed(&asked.connect, &operator.connect) } else { Vec::new() };
        if may_connect && !connect.contains(&DNS_PORT) {
            connect.push(DNS_PORT);
        }
        Isolation {
            limits: Limits {
                data_bytes,
                open_files: capped(asked.open_files, operator.open_files.unwrap_or(defaults.open_files)),
                // Under the node's own user they would be counted together with the user's other programs.
                processes: has_own_uid.then_some(THREADS),
                memlock_bytes: 0,
                file_bytes: None,
            },
            group: GroupLimits {
                memory_bytes: data_bytes.saturating_add(BESIDE_PRIVATE_BYTES),
                tasks: THREADS,
                cpu_percent: capped(asked.cpu_percent, operator.cpu_percent.unwrap_or(defaults.cpu_percent)),
            },
            listen: if may_listen { allowed(&asked.listen, &operator.listen) } else { Vec::new() },
            connect,
            may_use_network: may_listen || may_connect,
            may_lack: if has_own_uid { vec![Layer::Landlock] } else { Vec::new() },
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
        request.may_lack.clone_from(&self.may_lack);
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

fn capped<N: Ord + Copy>(asked: Option<N>, most: N) -> N {
    asked.map_or(most, |asked| asked.min(most))
}

fn allowed(asked: &[u16], operator: &Option<Vec<u16>>) -> Vec<u16> {
    let is_allowed = |port: &&u16| operator.as_ref().is_none_or(|ports| ports.contains(port));
    asked.iter().filter(is_allowed).copied().collect()
}

fn ports(ports: &[u16]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Permission] = &[Permission::NetworkListen, Permission::NetworkConnect];

    fn asks() -> Sandbox {
        Sandbox {
            listen: vec![3333, 3334],
            connect: vec![9735],
            memory_mb: Some(64),
            open_files: Some(4096),
            cpu_percent: Some(20),
        }
    }

    fn decide(asked: &Sandbox, permissions: &[Permission], operator: &OperatorLimits) -> Isolation {
        Isolation::decide(asked, permissions, operator, &ResourceDefaults::default(), true)
    }

    #[test]
    fn who_asks_for_nothing_gets_the_defaults_and_no_network() {
        let got = decide(&Sandbox::default(), &[], &OperatorLimits::default());
        assert_eq!((got.limits.data_bytes, got.limits.open_files), (512 << 20, 256));
        assert_eq!(got.group, GroupLimits { memory_bytes: 576 << 20, tasks: 1024, cpu_percent: 50 });
        assert!(!got.may_use_network && got.listen.is_empty() && got.connect.is_empty());
    }

    #[test]
    fn a_module_may_ask_for_less_than_the_default_and_not_for_more() {
        let got = decide(&asks(), &[], &OperatorLimits::default());
        assert_eq!(
            (got.limits.data_bytes, got.limits.open_files, got.group.cpu_percent),
            (64 << 20, 256, 20)
        );
    }

    #[test]
    fn the_operators_limit_takes_the_place_of_the_default() {
        let operator = OperatorLimits {
            memory_bytes: Some(32 << 20),
            open_files: Some(5000),
            cpu_percent: Some(200),
            ..OperatorLimits::default()
        };
        let got = decide(&asks(), &[], &operator);
        assert_eq!(
            (got.limits.data_bytes, got.limits.open_files, got.group.cpu_percent),
            (32 << 20, 4096, 20)
        );
        let got = decide(&Sandbox::default(), &[], &operator);
        assert_eq!((got.limits.open_files, got.group.cpu_percent), (5000, 200));
    }

    #[test]
    fn ports_need_the_permission_and_the_operators_leave() {
        let any = OperatorLimits::default();
        let got = decide(&asks(), BOTH, &any);
        assert_eq!((&got.listen[..], &got.connect[..]), (&[3333, 3334][..], &[9735, DNS_PORT][..]));
        let got = decide(&asks(), &[Permission::NetworkListen], &any);
        assert_eq!((&got.listen[..], &got.connect[..]), (&[3333, 3334][..], &[][..]));
        assert!(got.may_use_network);
        let some = OperatorLimits { listen: Some(vec![3334, 80]), connect: Some(vec![443]), ..any };
        let got = decide(&asks(), BOTH, &some);
        assert_eq!((&got.listen[..], &got.connect[..]), (&[3334][..], &[DNS_PORT][..]));
        let none = OperatorLimits { listen: Some(vec![]), connect: Some(vec![]), ..some };
        let got = decide(&asks(), BOTH, &none);
        assert!(!got.may_use_network && got.listen.is_empty() && got.connect.is_empty());
    }

    #[test]
    fn only_a_user_of_its_own_makes_up_for_landlock() {
        let decide = |has_own_uid| {
            let defaults = ResourceDefaults::default();
            Isolation::decide(&asks(), BOTH, &OperatorLimits::default(), &defaults, has_own_uid)
        };
        assert_eq!(decide(true).may_lack, [Layer::Landlock]);
        assert_eq!(decide(false).may_lack, []);
        // Threads of a user that others share are not the module's alone.
        assert_eq!((decide(true).limits.processes, decide(false).limits.processes), (Some(THREADS), None));
    }
}
