//! Everything a child needs, prepared before the fork: between fork and exec nothing may allocate.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getresuid, pipe2};

use crate::binary::SealedBinary;
use crate::descriptors::Descriptors;
use crate::error::cannot;
use crate::landlock::{LandlockError, confines_ports, landlock_abi};
use crate::seccomp::Filter;
use crate::{ControlGroup, Layer, Limits, SpawnError, SpawnRequest, UidGid, WeakReason};

/// What the child does, as plain memory.
pub(crate) struct Plan {
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) working_directory: CString,
    pub(crate) descriptors: Descriptors,
    pub(crate) limits: Vec<Limit>,
    pub(crate) uid: Option<UidGid>,
    pub(crate) filter: Option<Filter>,
    pub(crate) is_weak_seccomp_allowed: bool,
    pub(crate) node_pid: i32,
    /// `cgroup.procs` of each group the child enters.
    pub(crate) groups: Vec<OwnedFd>,
}

/// One hard and soft limit, in the form prlimit64 takes.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) resource: u32,
    pub(crate) value: libc::rlimit64,
}

/// The parent's ends of the pipes, and what is already known about the result.
pub(crate) struct ParentSide {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) reports: File,
    pub(crate) binary: SealedBinary,
    pub(crate) enforced: Vec<Layer>,
    pub(crate) weak: Vec<(Layer, WeakReason)>,
    pub(crate) control_group: Option<ControlGroup>,
    /// Whether ports are confined by the filter alone.
    pub(crate) needs_filter_for_ports: bool,
}

/// Checks a request and prepares its child.
pub(crate) fn prepare(request: SpawnRequest) -> Result<(Plan, ParentSide), SpawnError> {
    check_user(request.uid)?;
    let Layers { enforced, weak, filter, ruleset } = layers(&request)?;

    let binary = match request.sealed {
        Some(sealed) => sealed,
        None => {
            let name = request.name.as_deref().unwrap_or_else(|| name_of(&request.program));
            SealedBinary::copy(&request.program, name, request.allow_debugging)?
        }
    };
    if let Some(expected) = request.expected_sha256
        && expected != binary.sha256
    {
        return Err(SpawnError::HashMismatch { program: request.program, expected, found: binary.sha256 });
    }

    let open_files = clamp(Resource::RLIMIT_NOFILE, request.limits.open_files)?.rlim_cur;
    let granted = request.descriptors.len();
    if u64::try_from(granted).is_ok_and(|granted| granted.saturating_add(3) > open_files) {
        return Err(SpawnError::TooManyDescriptors { granted, open_files });
    }
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(cannot("open a pipe for the module"));
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let (reports, report) = pipe()?;
    let null = File::open("/dev/null").map_err(|cause| {
        cannot("open /dev/null")(Errno::from_raw(cause.raw_os_error().unwrap_or(libc::EIO)))
    })?;

    let mut placed = vec![OwnedFd::from(null), stdout_end, stderr_end];
    placed.extend(request.descriptors);
    let has_ruleset = ruleset.is_some();
    let cannot_duplicate = cannot("duplicate a descriptor for the module");
    let program =
        binary.file.as_fd().try_clone_to_owned().map_err(|cause| {
            cannot_duplicate(Errno::from_raw(cause.raw_os_error().unwrap_or(libc::EMFILE)))
        })?;
    let descriptors = Descriptors::new(placed, report, program, ruleset).map_err(cannot_duplicate)?;

    let plan = Plan {
        arguments: arguments(&request.program, request.arguments)?,
        environment: environment(request.environment)?,
        working_directory: c_string(
            request.working_directory.into_os_string().into_vec(),
            "the working directory",
        )?,
        descriptors,
        limits: limits(&request.limits)?,
        uid: request.uid,
        filter,
        is_weak_seccomp_allowed: request.allow_weak_isolation,
        node_pid: nix::unistd::getpid().as_raw(),
        groups: match &request.control_group {
            Some(group) => group.entries().map_err(cannot("open the module's control group"))?,
            None => Vec::new(),
        },
    };
    let control_group = request.control_group;
    let needs_filter_for_ports = !has_ruleset || !landlock_abi().is_ok_and(confines_ports);
    let parent = ParentSide {
        stdout,
        stderr,
        reports: reports.into(),
        binary,
        enforced,
        weak,
        control_group,
        needs_filter_for_ports,
    };
    Ok((plan, parent))
}

/// Refuses user 0, also as a real or saved user the module could return to.
fn check_user(asked: Option<UidGid>) -> Result<(), SpawnError> {
    let Some(UidGid { uid, gid }) = asked else {
        let own = getresuid().map_err(cannot("read the node's own user"))?;
        let is_root = [own.real, own.effective, own.saved].iter().any(|uid| uid.is_root());
        return if is_root { Err(SpawnError::UidZero) } else { Ok(()) };
    };
    // u32::MAX means "leave unchanged" to setresuid and setresgid.
    if uid == 0 || uid == u32::MAX {
        return Err(SpawnError::UidZero);
    }
    if gid == 0 || gid == u32::MAX {
        return Err(SpawnError::GidZero);
    }
    Ok(())
}

/// What will be enforced, what is missing, and what the child needs for it.
struct Layers {
    enforced: Vec<Layer>,
    weak: Vec<(Layer, WeakReason)>,
    filter: Option<Filter>,
    ruleset: Option<OwnedFd>,
}

/// Sorts the layers into those the child will enforce and those this host lacks.
fn layers(request: &SpawnRequest) -> Result<Layers, SpawnError> {
    let mut weak = Vec::new();
    let filter = Filter::compile(request.may_use_network);
    if filter.is_none() {
        weak.push((Layer::Seccomp, WeakReason::NoFilter { architecture: std::env::consts::ARCH }));
    }
    if !request.allow_debugging && is_suid_dumpable() {
        weak.push((Layer::NotDumpable, WeakReason::SuidDumpable));
    }
    let ruleset = confine(request, &mut weak)?;
    if let Some(&(layer, reason)) = weak.first().filter(|_| !request.allow_weak_isolation) {
        return Err(SpawnError::WeakIsolation { layer, reason });
    }
    let is_missing = |layer: &Layer| weak.iter().any(|(missing, _)| missing == layer);
    let has_ports = request.reach.is_some() || !request.may_use_network;
    let is_enforced = |layer: &Layer| match layer {
        Layer::Uid => request.uid.is_some(),
        Layer::Landlock => ruleset.is_some(),
        Layer::Ports => has_ports && !is_missing(layer),
        Layer::ControlGroup => request.control_group.is_some(),
        Layer::NotDumpable if request.allow_debugging => false,
        _ => !is_missing(layer),
    };
    let enforced = Layer::ALL.into_iter().filter(is_enforced).collect();
    Ok(Layers { enforced, weak, filter, ruleset })
}

/// The ruleset that was asked for, or what is missing for it.
fn confine(
    request: &SpawnRequest,
    weak: &mut Vec<(Layer, WeakReason)>,
) -> Result<Option<OwnedFd>, SpawnError> {
    let Some(reach) = &request.reach else { return Ok(None) };
    // Without a filter nothing denies the sockets.
    let is_without_network =
        !request.may_use_network && weak.iter().all(|(layer, _)| *layer != Layer::Seccomp);
    let lose_ports = |weak: &mut Vec<_>, abi| {
        if !is_without_network {
            weak.push((Layer::Ports, WeakReason::NoPorts { abi }));
        }
    };
    match landlock_abi() {
        Err(LandlockError::Unavailable { errno }) => {
            weak.push((Layer::Landlock, WeakReason::NoLandlock { errno }));
            lose_ports(weak, 0);
            return Ok(None);
        }
        Ok(abi) if !confines_ports(abi) => lose_ports(weak, abi),
        _ => {}
    }
    reach.ruleset().map(Some).map_err(|source| SpawnError::Landlock { source: Box::new(source) })
}

/// Whether the kernel makes programs dumpable that their user cannot read. Source: proc_sys_fs(5).
fn is_suid_dumpable() -> bool {
    std::fs::read_to_string("/proc/sys/fs/suid_dumpable").is_ok_and(|value| value.trim() == "1")
}

/// The default limits and the asked ones, each no higher than the node's own hard limit.
fn limits(asked: &Limits) -> Result<Vec<Limit>, SpawnError> {
    let mut wanted = vec![
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_RTPRIO, 0),
        (Resource::RLIMIT_NICE, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        // Counted per user, compared with the caller's own limit: a flood cannot use up the node's share.
        (Resource::RLIMIT_SIGPENDING, 1024),
        (Resource::RLIMIT_MEMLOCK, asked.memlock_bytes),
        (Resource::RLIMIT_DATA, asked.data_bytes),
        (Resource::RLIMIT_NOFILE, asked.open_files),
    ];
    wanted.extend(asked.processes.map(|count| (Resource::RLIMIT_NPROC, count)));
    wanted.extend(asked.file_bytes.map(|bytes| (Resource::RLIMIT_FSIZE, bytes)));
    wanted
        .into_iter()
        .map(|(resource, most)| Ok(Limit { resource: resource as u32, value: clamp(resource, most)? }))
        .collect()
}

fn clamp(resource: Resource, most: u64) -> Result<libc::rlimit64, SpawnError> {
    let (_, hard) = getrlimit(resource).map_err(cannot("read the node's own limits"))?;
    let most = most.min(hard);
    Ok(libc::rlimit64 { rlim_cur: most, rlim_max: most })
}

fn name_of(program: &Path) -> &OsStr {
    program.file_name().unwrap_or(OsStr::new("module"))
}

fn arguments(program: &Path, rest: Vec<OsString>) -> Result<Vec<CString>, SpawnError> {
    let name = name_of(program).as_bytes().to_vec();
    std::iter::once(name)
        .chain(rest.into_iter().map(OsStringExt::into_vec))
        .map(|argument| c_string(argument, "an argument"))
        .collect()
}

fn environment(pairs: Vec<(OsString, OsString)>) -> Result<Vec<CString>, SpawnError> {
    pairs
        .into_iter()
        .map(|(name, value)| {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(SpawnError::EnvironmentName { name });
            }
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            c_string(entry, "an environment entry")
        })
        .collect()
}

fn c_string(bytes: Vec<u8>, what: &'static str) -> Result<CString, SpawnError> {
    CString::new(bytes).map_err(|_| SpawnError::ContainsNul { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_with_an_equals_sign_in_its_name_is_refused() {
        let pairs = vec![("A=B".into(), "c".into())];
        assert!(matches!(environment(pairs), Err(SpawnError::EnvironmentName { .. })));
    }

    #[test]
    fn user_zero_and_unchanged_are_refused() {
        for uid in [0, u32::MAX] {
            let asked = Some(UidGid { uid, gid: 1 });
            assert!(matches!(check_user(asked), Err(SpawnError::UidZero)));
        }
        for gid in [0, u32::MAX] {
            let asked = Some(UidGid { uid: 1, gid });
            assert!(matches!(check_user(asked), Err(SpawnError::GidZero)));
        }
        assert!(check_user(Some(UidGid { uid: 1, gid: 1 })).is_ok());
    }

    #[test]
    fn a_limit_is_never_above_the_nodes_own() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(clamp(Resource::RLIMIT_NOFILE, u64::MAX).unwrap().rlim_max, hard);
        assert_eq!(clamp(Resource::RLIMIT_NOFILE, 7).unwrap().rlim_max, 7.min(hard));
    }
}
