//! A node on a kernel that loads no filters.

use std::collections::BTreeMap;
use std::io::Write;

use blvm_sandbox::{SpawnRequest, Spawner};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::{Failed, MODULE};

/// Prints how a spawn is answered, first without, then with weak isolation allowed.
pub(super) fn run(program: &str, out: &mut impl Write) -> Result<(), Failed> {
    refuse_filters()?;
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

/// From now on seccomp(2) answers ENOSYS, as on a kernel built without it.
fn refuse_filters() -> Result<(), Failed> {
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_seccomp, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}
