//! Which files a module may open and which TCP ports it may use, as a Landlock ruleset.
//!
//! A rule names a file or everything below a directory, by what it is and not by its name: a file that is renamed over
//! another is a new one. So `/etc/resolv.conf` is granted as the file it leads to, and the directory that file lies in
//! where a resolver's service owns it (`/run/systemd/resolve`); `/etc` as a whole is not.
//!
//! Landlock does not look at `stat`, `readlink` or `chdir`, at UDP, or at descriptors that were granted. `/proc` is granted to nobody:
//! its files belong to other processes as well.
//!
//! Source: landlock(7); Documentation/userspace-api/landlock.rst.
#![allow(unsafe_code)]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::ptr;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset as Builder,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::errno::Errno;

/// The last ABI whose rights are used: file rights to 5, ports from 4, scopes from 6. Later ones are not tested here.
const USED: ABI = ABI::V6;
/// The first ABI that knows TCP ports.
const PORTS: u32 = 4;
/// `LANDLOCK_CREATE_RULESET_VERSION`. Source: include/uapi/linux/landlock.h.
const CREATE_RULESET_VERSION: u32 = 1;

/// Libraries, and the dynamic loader, which the kernel executes.
const LIBRARIES: &[&str] = &[
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/local/lib",
    "/nix/store",
    "/gnu/store",
];

/// What libraries read: where others are, names of hosts, roots of trust for TLS, time zones, random bytes.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    // Roots of trust by distribution; not /etc/ssl itself, where private keys lie.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    // How many processors there are, which thread pools ask.
    "/sys/devices/system/cpu",
];

const RESOLVER: &str = "/etc/resolv.conf";

/// What a module may reach by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Read, written, made and removed, but not executed. These must exist.
    pub writable: Vec<PathBuf>,
    /// Read. Whatever does not exist is left out, here and below.
    pub readable: Vec<PathBuf>,
    /// Read and executed.
    pub executable: Vec<PathBuf>,
    /// TCP ports it may bind; 0 stands for one the kernel chooses.
    pub listen: Vec<u16>,
    /// TCP ports it may connect to, on any host.
    pub connect: Vec<u16>,
}

impl Reach {
    /// What every module needs: its own directory and its program, system libraries, name resolution, roots of trust.
    /// No port.
    pub fn of_module(directory: &Path, program: &Path) -> Self {
        let mut readable: Vec<PathBuf> = SYSTEM_FILES.iter().map(PathBuf::from).collect();
        readable.extend(resolver_files(Path::new(RESOLVER)));
        Reach {
            writable: vec![directory.to_owned(), "/dev/null".into()],
            readable,
            executable: LIBRARIES.iter().map(PathBuf::from).chain([program.to_owned()]).collect(),
            listen: Vec::new(),
            connect: Vec::new(),
        }
    }

    /// Makes the ruleset, for a process that is to reach no more.
    ///
    /// # Errors
    ///
    /// [`LandlockError`].
    pub fn ruleset(&self) -> Result<OwnedFd, LandlockError> {
        let abi = landlock_abi()?;
        let mut builder = Builder::default().handle_access(AccessFs::from_all(USED))?;
        if abi >= PORTS {
            builder = builder.handle_access(AccessNet::from_all(USED))?;
        }
        let mut rules = builder.scope(Scope::from_all(USED))?.create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        for path in &self.writable {
            let object = PathFd::new(path)
                .map_err(|source| LandlockError::Path { path: path.clone(), source: Box::new(source) })?;
            rules = allow(rules, object, path, written())?;
        }
        let some = self.readable.iter().map(|path| (path, read));
        for (path, rights) in some.chain(self.executable.iter().map(|path| (path, read | AccessFs::Execute)))
        {
            // Not every system has each of these.
            if let Ok(object) = PathFd::new(path) {
                rules = allow(rules, object, path, rights)?;
            }
        }
        if abi >= PORTS {
            for &port in &self.listen {
                rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
            }
            for &port in &self.connect {
                rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
            }
        }
        // Without a descriptor only where the kernel has no Landlock, which was asked before.
        Option::<OwnedFd>::from(rules).ok_or(LandlockError::Unavailable { errno: Errno::ENOSYS })
    }
}

/// Everything a module does with its own files; devices and the execution of what it wrote are left out.
fn written() -> BitFlags<AccessFs> {
    let never = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_all(USED) & !never
}

fn allow(
    rules: RulesetCreated,
    object: PathFd,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, LandlockError> {
    let rights = if path.is_dir() { rights } else { rights & AccessFs::from_file(USED) };
    Ok(rules.add_rule(PathBeneath::new(object, rights))?)
}

/// The file that `link` leads to, and its directory where that is a service's own below `/run`: the service renames new
/// files over it.
fn resolver_files(link: &Path) -> Vec<PathBuf> {
    let mut found = vec![link.to_owned()];
    if let Ok(target) = fs::canonicalize(link)
        && let Some(directory) = target.parent()
        && directory.starts_with("/run")
        && directory != Path::new("/run")
    {
        found.push(directory.to_owned());
    }
    found
}

/// Returns the version of Landlock this kernel has, from 1 on.
///
/// # Errors
///
/// [`LandlockError::Unavailable`].
///
/// Source: landlock_create_ruleset(2).
pub fn landlock_abi() -> Result<u32, LandlockError> {
    // SAFETY: with this flag and a size of 0 the kernel reads no memory.
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u64>(), 0_usize, CREATE_RULESET_VERSION)
    };
    let version = Errno::result(answer).map_err(|errno| LandlockError::Unavailable { errno })?;
    u32::try_from(version).map_err(|_| LandlockError::Unavailable { errno: Errno::EINVAL })
}

/// Returns whether this version confines TCP ports.
#[must_use]
pub const fn confines_ports(abi: u32) -> bool {
    abi >= PORTS
}

/// Returns what an older version lacks of what is used here; empty if nothing.
#[must_use]
pub fn landlock_lacks(abi: u32) -> Vec<&'static str> {
    [
        (3, "truncation of files it may read"),
        (PORTS, "TCP ports"),
        (5, "device ioctls"),
        (6, "signals and abstract sockets, which seccomp denies"),
    ]
    .into_iter()
    .filter_map(|(since, what)| (abi < since).then_some(what))
    .collect()
}

/// Why there is no ruleset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LandlockError {
    /// The kernel has none, or it is switched off.
    #[error("{}", advice(*errno))]
    Unavailable {
        /// What the kernel answered.
        errno: Errno,
    },
    /// A path that must be granted cannot be.
    #[error("{} cannot be granted: check that it exists", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<landlock::PathFdError>,
    },
    /// The kernel refused a ruleset or a rule.
    #[error("the kernel refused a Landlock ruleset: an outer sandbox may forbid it")]
    Refused(#[from] landlock::RulesetError),
}

/// Says why there is no Landlock, and what to do.
pub(crate) fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSYS => {
            "this kernel has no Landlock: use Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK, or an outer sandbox hides it"
        }
        Errno::EOPNOTSUPP => "Landlock is switched off: add landlock to lsm= on the kernel's command line",
        _ => "an outer sandbox refuses Landlock's system calls",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writable_path_must_exist_and_others_need_not() {
        let mut reach = Reach::of_module(&std::env::temp_dir(), Path::new("/nowhere"));
        let Ok(_) = landlock_abi() else { return };
        reach.ruleset().unwrap();
        reach.writable.push("/nowhere/at/all".into());
        let error = reach.ruleset().unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for (errno, word) in [
            (Errno::ENOSYS, "CONFIG_SECURITY_LANDLOCK"),
            (Errno::EOPNOTSUPP, "lsm="),
            (Errno::EPERM, "outer"),
        ] {
            let error = LandlockError::Unavailable { errno }.to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_a_version_lacks_shrinks_with_every_version() {
        let lengths: Vec<_> = (1..=7).map(|abi| landlock_lacks(abi).len()).collect();
        assert_eq!(lengths, [4, 4, 3, 2, 1, 0, 0]);
        assert!(!confines_ports(3) && confines_ports(4));
    }

    #[test]
    fn the_resolvers_own_directory_is_granted_and_no_wider_one() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("resolv.conf");
        let file = directory.path().join("real");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(resolver_files(&link), std::slice::from_ref(&link));
    }
}
