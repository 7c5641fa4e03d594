//! A node on a kernel that loads no filters, or has no Landlock.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use blvm_sandbox::{Reach, SpawnRequest, Spawner};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::{Failed, MODULE};

/// Prints how a spawn is answered, first without, then with weak isolation allowed.
pub(super) fn run(program: &str, out: &mut impl Write) -> Result<(), Failed> {
    refuse(libc::SYS_seccomp)?;
    let spawner = Spawner::start()?;
    for allow_weak_isolation in [false, true] {
        let mut request = SpawnRequest::new(program);
        request.arguments = vec!["exit".into(), "7".into()];
        request.allow_weak_isolation = allow_weak_isolation;
        request.uid = nix::unistd::geteuid().is_root().then_some(MODULE);
        match spawner.spawn(request) {
            Err(error) => writeln!(out, "{error}")?,
            Ok(mut child) => {
                for (layer, reason) in child.weak() {
                    writeln!(out, "{layer}: {reason}")?;
                }
                writeln!(out, "{} enforced, {:?}", child.enforced().len(), child.wait()?)?;
            }
        }
    }
    Ok(())
}

/// Prints how spawns of a confined module are answered.
pub(super) fn run_without_landlock(program: &str, out: &mut impl Write) -> Result<(), Failed> {
    refuse(libc::SYS_landlock_create_ruleset)?;
    let spawner = Spawner::start()?;
    for (allow_weak_isolation, may_use_network) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let mut request = SpawnRequest::new(program);
        request.arguments = vec!["exit".into(), "0".into()];
        request.uid = nix::unistd::geteuid().is_root().then_some(MODULE);
        request.reach = Some(Reach::of_module(Path::new("/"), Path::new(program)));
        request.may_use_network = may_use_network;
        request.allow_weak_isolation = allow_weak_isolation;
        match spawner.spawn(request) {
            Err(error) => writeln!(out, "{error}")?,
            Ok(child) => {
                let weak: Vec<_> =
                    child.weak().iter().map(|(layer, reason)| format!("{layer}: {reason}")).collect();
                writeln!(out, "{weak:?}")?;
            }
        }
    }
    Ok(())
}

/// From now on a system call answers ENOSYS, as on a kernel built without it.
fn refuse(call: libc::c_long) -> Result<(), Failed> {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}
