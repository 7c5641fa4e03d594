//! Where the node's own control group lies, and which controllers can be had below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Controller, Unavailable};

/// The child of the node's own group that the node moves into.
const NODE: &str = "blvm-node";

/// Two kinds of hierarchy, which may stand beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The node's own group in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) directory: PathBuf,
    pub(super) version: Version,
    /// Those of [`Controller::ALL`] that belong to the hierarchy.
    pub(super) controllers: Vec<Controller>,
}

/// Finds the hierarchies, version 2 first.
pub(super) fn find() -> Vec<Hierarchy> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

/// Source: proc_pid_mountinfo(5), cgroups(7).
fn parse(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = groups.lines().filter_map(|line| hierarchy(line, mounts)).collect();
    found.sort_by_key(|hierarchy| hierarchy.version == Version::One);
    found
}

/// One line of `/proc/self/cgroup`: `number:controllers:path`.
fn hierarchy(line: &str, mounts: &str) -> Option<Hierarchy> {
    let mut parts = line.splitn(3, ':');
    let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
    if names.is_empty() {
        let directory = directory_of(mounts, path, |kind, _| kind == "cgroup2")?;
        // An earlier search may have moved this process.
        let own = if directory.ends_with(NODE) { directory.parent() } else { None };
        let directory = own.map_or(directory.clone(), Path::to_owned);
        let known = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        return Some(Hierarchy {
            directory,
            version: Version::Two,
            controllers: named(known.split_whitespace()),
        });
    }
    let controllers = named(names.split(','));
    let first = names.split(',').next()?;
    let directory = directory_of(mounts, path, |kind, options| {
        kind == "cgroup" && options.split(',').any(|option| option == first)
    })?;
    (!controllers.is_empty()).then_some(Hierarchy { directory, version: Version::One, controllers })
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Controller> {
    let names: Vec<_> = names.collect();
    Controller::ALL.into_iter().filter(|controller| names.contains(&controller.as_str())).collect()
}

/// Where the group `path` stands below a mount that `is_right`, by its type and options.
fn directory_of(mounts: &str, path: &str, is_right: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        // A mount shows the hierarchy from `root` down: in a container that need not be its top.
        let below = Path::new(path).strip_prefix(root).ok()?;
        is_right(kind, options).then(|| Path::new(point).join(below))
    })
}

impl Hierarchy {
    /// Makes the directory `name` in the node's own group, with as many of the `wanted` controllers for the groups in it as the
    /// kernel gives; why it gives no others.
    pub(super) fn enter(
        &self,
        name: &str,
        wanted: &[Controller],
    ) -> Result<(Vec<Controller>, Option<Unavailable>), Unavailable> {
        let made = self.directory.join(name);
        fs::create_dir(&made).map_err(|error| self.not_writable(&error))?;
        if self.version == Version::One {
            return Ok((wanted.to_vec(), None));
        }
        let mut given = Vec::new();
        let mut reason = Some(Unavailable::NotDelegated { directory: self.directory.clone() });
        for &controller in wanted {
            let handed = self.hand_out(controller).and_then(|()| {
                let below = made.join("cgroup.subtree_control");
                fs::write(below, format!("+{controller}")).map_err(|error| self.not_writable(&error))
            });
            match handed {
                Ok(()) => given.push(controller),
                Err(why) => reason = Some(why),
            }
        }
        Ok((given, reason))
    }

    /// Lets the groups below the node's own have a controller.
    fn hand_out(&self, controller: Controller) -> Result<(), Unavailable> {
        let control = self.directory.join("cgroup.subtree_control");
        let has = fs::read_to_string(&control).unwrap_or_default();
        if has.split_whitespace().any(|name| name == controller.as_str()) {
            return Ok(());
        }
        let ask = || fs::write(&control, format!("+{controller}"));
        match ask() {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                self.move_away()?;
                ask().map_err(|error| self.not_writable(&error))
            }
            Err(error) => Err(self.not_writable(&error)),
        }
    }

    /// Moves this process out of its group, if it is alone there.
    fn move_away(&self) -> Result<(), Unavailable> {
        let members = fs::read_to_string(self.directory.join("cgroup.procs"))
            .map_err(|error| self.not_writable(&error))?;
        let own = std::process::id().to_string();
        if members.lines().any(|pid| pid != own) {
            return Err(Unavailable::Shared { directory: self.directory.clone() });
        }
        let away = self.directory.join(NODE);
        match fs::create_dir(&away) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.not_writable(&error)),
            _ => fs::write(away.join("cgroup.procs"), own).map_err(|error| self.not_writable(&error)),
        }
    }

    fn not_writable(&self, error: &io::Error) -> Unavailable {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        Unavailable::NotWritable { directory: self.directory.clone(), errno }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn version_2_comes_first_and_version_1_has_its_controllers() {
        let groups = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/a\n0::/a\n";
        let found = parse(HYBRID, groups);
        let seen: Vec<_> = found
            .iter()
            .map(|one| (one.directory.to_str().unwrap(), one.version, &one.controllers[..]))
            .collect();
        assert_eq!(
            seen,
            [
                ("/sys/fs/cgroup/unified/a", Version::Two, &[][..]),
                ("/sys/fs/cgroup/memory/a/b", Version::One, &[Controller::Memory]),
                ("/sys/fs/cgroup/cpu,cpuacct/a", Version::One, &[Controller::Cpu]),
            ]
        );
    }

    #[test]
    fn in_a_container_the_mount_may_begin_below_the_top() {
        let mounts = "35 31 0:32 /docker/c1 /sys/fs/cgroup/memory ro - cgroup cgroup ro,memory\n";
        let found = parse(mounts, "4:memory:/docker/c1/blvm\n");
        assert_eq!(found[0].directory, Path::new("/sys/fs/cgroup/memory/blvm"));
        assert_eq!(parse(mounts, "4:memory:/elsewhere\n"), []);
    }

    #[test]
    fn a_process_that_moved_away_still_finds_its_own_group() {
        let mounts = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse(mounts, "0::/system.slice/blvm.service/blvm-node\n");
        assert_eq!(found[0].directory, Path::new("/sys/fs/cgroup/system.slice/blvm.service"));
    }

    #[test]
    fn a_host_without_control_groups_has_none() {
        assert_eq!(parse("", "0::/\n"), []);
        assert_eq!(parse(HYBRID, ""), []);
        assert_eq!(parse(HYBRID, "nonsense\n4:memory\n"), []);
    }
}
