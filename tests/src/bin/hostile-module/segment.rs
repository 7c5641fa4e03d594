//! Attempts on a segment: on the descriptor as it was given, then on one re-opened for writing.
//!
//! All of them must fail for root as well, but the few that only the sandbox or the owner of a file can refuse.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

use libc::{MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};
use nix::errno::Errno;

use crate::kernel::{Answer, Argument, View, call};
use crate::report::{Layer, Report, Setting};

/// Numbers and flags that libc lacks. Source: include/uapi/linux/{fs,fcntl}.h, asm-generic/{mman-common,unistd}.h.
const SYS_SETXATTRAT: libc::c_long = 463;
const F_SEAL_WRITE: i32 = 8;
const MADV_COLLAPSE: i32 = 25;

const PAGE_BYTES: usize = 4096;
const LARGE_PAGE_BYTES: usize = 2 << 20;
const ANONYMOUS: i32 = MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// Everything on one segment, called `name` in the report.
pub(crate) fn attack(report: &mut Report, name: &str, fd: RawFd, len_bytes: usize) -> io::Result<()> {
    let view = View::map(fd, len_bytes, PROT_READ, MAP_SHARED).map_err(io::Error::from)?;
    let segment = Segment { name: name.to_owned(), fd, view };
    segment.as_given(report)?;
    segment.through_the_mapping(report)?;
    segment.private_copy(report)?;
    segment.metadata(report)?;
    if let Some(writable) = segment.reopen(report)? {
        segment.reopened(report, writable)?;
        close(writable);
    }
    Ok(())
}

/// Closes a descriptor of this program.
pub(crate) fn close(fd: RawFd) {
    // It was opened here; a failure leaves it open until the end.
    let _ = call!(libc::SYS_close, fd);
}

/// Opens a path as the kernel has it.
pub(crate) fn open(path: &str, flags: i32) -> Answer<RawFd> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let fd = call!(libc::SYS_openat, libc::AT_FDCWD, path.as_c_str(), flags | libc::O_CLOEXEC, 0)?;
    // A descriptor is a C int.
    Ok(fd as RawFd)
}

struct Segment {
    name: String,
    fd: RawFd,
    view: View,
}

impl Segment {
    fn attempt(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }

    /// The header page never changes after creation, and every attempt aims at it.
    fn unchanged(&self) -> impl FnOnce() -> bool + '_ {
        let before = self.view.first_page();
        move || self.view.first_page() == before
    }

    fn as_given(&self, report: &mut Report) -> io::Result<()> {
        let Segment { fd, view, .. } = self;
        let fd = *fd;
        let garbage: &[u8] = &[0xee; 64];
        let keep_and_punch = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE;
        let mut tries: Vec<(&str, &[Errno], Answer)> = vec![
            (
                "map it shared and writable",
                &[Errno::EACCES],
                View::map(fd, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED).map(|_| 0),
            ),
            ("write", &[Errno::EBADF], call!(libc::SYS_write, fd, garbage, garbage.len())),
            ("pwrite", &[Errno::EBADF], call!(libc::SYS_pwrite64, fd, garbage, garbage.len(), 0)),
            ("ftruncate to 0", &[Errno::EINVAL], call!(libc::SYS_ftruncate, fd, 0)),
            (
                "ftruncate to twice its length",
                &[Errno::EINVAL],
                call!(libc::SYS_ftruncate, fd, view.len_bytes * 2),
            ),
            ("splice into it", &[Errno::EBADF], splice_into(fd)),
            ("add seals", &[Errno::EPERM], call!(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, F_SEAL_WRITE)),
        ];
        for (what, mode) in [
            ("punch a hole", keep_and_punch),
            ("collapse a range", libc::FALLOC_FL_COLLAPSE_RANGE),
            ("zero a range", libc::FALLOC_FL_ZERO_RANGE),
            ("insert a range", libc::FALLOC_FL_INSERT_RANGE),
        ] {
            let refusals: &[Errno] = &[Errno::EBADF, Errno::EOPNOTSUPP];
            tries.push((what, refusals, call!(libc::SYS_fallocate, fd, mode, 0, PAGE_BYTES)));
        }
        for (what, expected, answer) in &tries {
            report.refused(&self.attempt(what), Layer::ReadOnly, expected, answer)?;
        }
        Ok(())
    }

    /// The memory itself, mapped read-only.
    fn through_the_mapping(&self, report: &mut Report) -> io::Result<()> {
        let at = self.view.address;
        let denied: &[Errno] = &[Errno::EACCES];
        let protect = call!(libc::SYS_mprotect, at, PAGE_BYTES, PROT_READ | PROT_WRITE);
        report.refused(&self.attempt("mprotect to writable"), Layer::ReadOnly, denied, &protect)?;
        let protect = call!(libc::SYS_pkey_mprotect, at, PAGE_BYTES, PROT_READ | PROT_WRITE, -1);
        report.refused(&self.attempt("pkey_mprotect to writable"), Layer::ReadOnly, denied, &protect)?;
        let second = call!(libc::SYS_mremap, at, 0, PAGE_BYTES, libc::MREMAP_MAYMOVE)
            .map(|address| View { address: address as usize, len_bytes: PAGE_BYTES });
        let protect = second
            .and_then(|second| call!(libc::SYS_mprotect, second.address, PAGE_BYTES, PROT_READ | PROT_WRITE));
        report.refused(&self.attempt("mremap, then mprotect"), Layer::ReadOnly, denied, &protect)?;
        let zeroes = open("/dev/zero", libc::O_RDONLY);
        let read = zeroes.and_then(|zeroes| {
            let read = call!(libc::SYS_read, zeroes, at, 64);
            close(zeroes);
            read
        });
        report.refused(&self.attempt("read zeroes into it"), Layer::ReadOnly, &[Errno::EFAULT], &read)?;
        let remove = call!(libc::SYS_madvise, at, PAGE_BYTES, libc::MADV_REMOVE);
        report.refused(&self.attempt("MADV_REMOVE"), Layer::ReadOnly, denied, &remove)?;
        let populate = call!(libc::SYS_madvise, at, PAGE_BYTES, libc::MADV_POPULATE_WRITE);
        let refusals: &[Errno] = &[Errno::EINVAL, Errno::EFAULT];
        report.refused(&self.attempt("MADV_POPULATE_WRITE"), Layer::ReadOnly, refusals, &populate)?;
        let poison = call!(libc::SYS_madvise, at, PAGE_BYTES, libc::MADV_HWPOISON);
        let refusals: &[Errno] = &[Errno::EPERM, Errno::EINVAL];
        report.refused(&self.attempt("MADV_HWPOISON"), Layer::Capabilities, refusals, &poison)?;
        self.own_memory(report)?;
        for (what, advice) in [
            ("MADV_DONTNEED", libc::MADV_DONTNEED),
            ("MADV_PAGEOUT", libc::MADV_PAGEOUT),
            ("MADV_COLD", libc::MADV_COLD),
        ] {
            let unchanged = self.unchanged();
            let answer = call!(libc::SYS_madvise, at, PAGE_BYTES, advice);
            report.harmless(&self.attempt(what), Layer::Kernel, &answer, unchanged)?;
        }
        // Merges its pages into large ones, and takes every one of them out of the node's page table on the way.
        let collapse = self.collapse();
        // For root the kernel answers EINVAL where nothing is large enough.
        let (layer, refusals): (_, &[Errno]) = match report.setting {
            Setting::Root => (Layer::Kernel, &[Errno::EINVAL]),
            _ => (Layer::Seccomp, &[Errno::EPERM]),
        };
        report.refused(&self.attempt("MADV_COLLAPSE"), layer, refusals, &collapse)?;
        self.rearrange(report)
    }

    /// Needs a mapping whose addresses are aligned as large pages are.
    fn collapse(&self) -> Answer {
        let len_bytes = self.view.len_bytes;
        let reserved = View::map(-1, len_bytes + LARGE_PAGE_BYTES, libc::PROT_NONE, ANONYMOUS)?;
        let at = reserved.address.next_multiple_of(LARGE_PAGE_BYTES);
        let flags = MAP_SHARED | libc::MAP_FIXED;
        call!(libc::SYS_mmap, at, len_bytes, PROT_READ, flags, self.fd, 0)?;
        // Unmapped with what was reserved.
        call!(libc::SYS_madvise, at, len_bytes.next_multiple_of(PAGE_BYTES), MADV_COLLAPSE)
    }

    /// Writing this program's own memory from behind, where the kernel may force it.
    fn own_memory(&self, report: &mut Report) -> io::Result<()> {
        let at = self.view.address;
        let garbage = [0xee_u8; 64];
        let own = open("/proc/self/mem", libc::O_RDWR);
        let is_root = report.setting == Setting::Root;
        let (layer, refusals): (_, &[Errno]) = if is_root {
            (Layer::ReadOnly, &[Errno::EIO])
        } else {
            (report.files_layer(Layer::Dumpable), &[Errno::EACCES])
        };
        let written = own.and_then(|own| {
            let written = call!(libc::SYS_pwrite64, own, &garbage[..], garbage.len(), at);
            close(own);
            written
        });
        report.refused(&self.attempt("write it through /proc/self/mem"), layer, refusals, &written)?;
        let from = [garbage.as_ptr() as u64, garbage.len() as u64];
        let to = [at as u64, garbage.len() as u64];
        let own = std::process::id();
        let written = call!(libc::SYS_process_vm_writev, own, &from[..], 1, &to[..], 1, 0);
        let (layer, errno) =
            if is_root { (Layer::ReadOnly, Errno::EFAULT) } else { (Layer::Seccomp, Errno::EPERM) };
        report.refused(&self.attempt("process_vm_writev into the own mapping"), layer, &[errno], &written)
    }

    /// Calls that only rearrange this program's view.
    fn rearrange(&self, report: &mut Report) -> io::Result<()> {
        let Ok(scratch) = View::map(self.fd, 2 * PAGE_BYTES, PROT_READ, MAP_SHARED) else {
            return Err(io::Error::last_os_error());
        };
        let unchanged = self.unchanged();
        let answer = call!(libc::SYS_remap_file_pages, scratch.address, PAGE_BYTES, 0, 1, 0);
        report.harmless(&self.attempt("remap_file_pages"), Layer::Kernel, &answer, unchanged)?;
        let unchanged = self.unchanged();
        let answer = call!(libc::SYS_msync, scratch.address, PAGE_BYTES, libc::MS_INVALIDATE | libc::MS_SYNC);
        report.harmless(&self.attempt("msync MS_INVALIDATE"), Layer::Kernel, &answer, unchanged)?;
        let lock = call!(libc::SYS_mlock, scratch.address, PAGE_BYTES);
        let layer = if report.setting == Setting::Root { Layer::Kernel } else { Layer::Rlimits };
        report.refused(&self.attempt("mlock"), layer, &[Errno::EPERM, Errno::ENOMEM], &lock)
    }

    /// Allowed: the copy is the module's own.
    fn private_copy(&self, report: &mut Report) -> io::Result<()> {
        let unchanged = self.unchanged();
        let copy = View::map(self.fd, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        if let Ok(copy) = &copy {
            for index in 0..PAGE_BYTES / 8 {
                copy.store(index, u64::MAX);
            }
        }
        report.harmless(&self.attempt("write a private mapping"), Layer::Kernel, &copy, unchanged)?;
        let remove =
            copy.and_then(|copy| call!(libc::SYS_madvise, copy.address, PAGE_BYTES, libc::MADV_REMOVE));
        let refusals: &[Errno] = &[Errno::EACCES, Errno::EINVAL];
        report.refused(&self.attempt("MADV_REMOVE on a private mapping"), Layer::ReadOnly, refusals, &remove)
    }

    /// The file behind the memory: its mode, owner, attributes, locks, times.
    fn metadata(&self, report: &mut Report) -> io::Result<()> {
        let fd = self.fd;
        // Attributes are kernel memory that stays with the segment as long as the node lives.
        let value: &[u8] = &[0; 4096];
        let path = format!("/proc/self/fd/{fd}");
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let name = c"user.hostile";
        // `struct xattr_args`: the value's address, then its size and the flags.
        let described = [value.as_ptr() as u64, value.len() as u64];
        let at = [
            ("fsetxattr", call!(libc::SYS_fsetxattr, fd, name, value, value.len(), 0)),
            ("setxattr", call!(libc::SYS_setxattr, path.as_c_str(), name, value, value.len(), 0)),
            ("setxattrat", call!(SYS_SETXATTRAT, fd, c"", libc::AT_EMPTY_PATH, name, &described[..], 16)),
        ];
        let layer = if report.setting == Setting::Root { Layer::Kernel } else { Layer::Seccomp };
        for (what, answer) in &at {
            // ENOSYS: older kernels have no setxattrat.
            report.refused(&self.attempt(what), layer, &[Errno::EPERM, Errno::ENOSYS], answer)?;
        }
        if at.iter().any(|(_, answer)| answer.is_ok()) {
            let _ = call!(libc::SYS_fremovexattr, fd, name);
        }
        let is_owner = report.setting == Setting::SameUid;
        for (what, answer) in [
            ("fchmod", call!(libc::SYS_fchmod, fd, 0o600)),
            ("fchmod to executable", call!(libc::SYS_fchmod, fd, 0o777)),
            ("fchown to root", call!(libc::SYS_fchown, fd, 0, 0)),
        ] {
            if (what == "fchmod" && is_owner) || report.setting == Setting::Root {
                report.harmless(&self.attempt(what), Layer::Kernel, &answer, self.unchanged())?;
            } else {
                // Memfds that are not executable are sealed against becoming so, for their owner too.
                let is_sealed = is_owner && what == "fchmod to executable";
                let layer = if is_sealed { Layer::Seals } else { Layer::Capabilities };
                report.refused(&self.attempt(what), layer, &[Errno::EPERM], &answer)?;
            }
        }
        let lock = libc::LOCK_EX | libc::LOCK_NB;
        // Nothing else locks a segment, so nothing can wait for it.
        let answer = call!(libc::SYS_flock, fd, lock);
        report.harmless(&self.attempt("flock"), Layer::Kernel, &answer, self.unchanged())?;
        let lease = call!(libc::SYS_fcntl, fd, libc::F_SETLEASE, libc::F_RDLCK);
        let layer = if report.setting == Setting::Root { Layer::Kernel } else { Layer::Seccomp };
        report.refused(&self.attempt("F_SETLEASE"), layer, &[Errno::EPERM], &lease)?;
        if lease.is_ok() {
            // Or it would be broken by the attempts that follow.
            let _ = call!(libc::SYS_fcntl, fd, libc::F_SETLEASE, libc::F_UNLCK);
        }
        // `linkat` needs CAP_DAC_READ_SEARCH for a descriptor, and a file system that can hold the name.
        let link =
            call!(libc::SYS_linkat, fd, c"", libc::AT_FDCWD, c"/dev/shm/blvm-hostile", libc::AT_EMPTY_PATH);
        let refusals: &[Errno] = &[Errno::ENOENT, Errno::EXDEV, Errno::EPERM];
        report.refused(&self.attempt("give it a name"), Layer::Kernel, refusals, &link)?;
        // The node looks afterwards whether the descriptor it hands to others has moved.
        let seek = call!(libc::SYS_lseek, fd, 4096, libc::SEEK_SET);
        report.harmless(&self.attempt("move the descriptor's offset"), Layer::Node, &seek, self.unchanged())
    }

    /// Re-opening for writing: possible for the owner, which is why the seals must hold.
    fn reopen(&self, report: &mut Report) -> io::Result<Option<RawFd>> {
        let path = format!("/proc/self/fd/{}", self.fd);
        let emptied = open(&path, libc::O_RDWR | libc::O_TRUNC);
        let (layer, errno) = match report.setting {
            Setting::OwnUid => (Layer::Kernel, Errno::EACCES),
            Setting::SameUid | Setting::Root => (Layer::Seals, Errno::EPERM),
        };
        report.refused(&self.attempt("re-open and truncate"), layer, &[errno], &emptied)?;
        let writable = open(&path, libc::O_RDWR);
        if report.setting == Setting::OwnUid {
            report.refused(&self.attempt("re-open for writing"), layer, &[errno], &writable)?;
        } else {
            // What happens with it is told by the rows that follow.
            let unchanged = self.unchanged();
            report.harmless(&self.attempt("re-open for writing"), Layer::Seals, &writable, unchanged)?;
        }
        Ok(writable.ok())
    }

    fn reopened(&self, report: &mut Report, fd: RawFd) -> io::Result<()> {
        let len_bytes = self.view.len_bytes;
        let garbage: &[u8] = &[0xee; 64];
        let vector = [garbage.as_ptr() as u64, garbage.len() as u64];
        let punch = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE;
        let both = PROT_READ | PROT_WRITE;
        let refusals: &[Errno] = &[Errno::EPERM];
        let tries: [(&str, Answer); 14] = [
            ("write", call!(libc::SYS_write, fd, garbage, garbage.len())),
            ("pwrite", call!(libc::SYS_pwrite64, fd, garbage, garbage.len(), 0)),
            ("pwritev2", call!(libc::SYS_pwritev2, fd, &vector[..], 1, 0, 0, 0)),
            ("map it shared and writable", View::map(fd, PAGE_BYTES, both, MAP_SHARED).map(|_| 0)),
            ("map it with MAP_SHARED_VALIDATE", {
                View::map(fd, PAGE_BYTES, both, libc::MAP_SHARED_VALIDATE).map(|_| 0)
            }),
            ("ftruncate to 0", call!(libc::SYS_ftruncate, fd, 0)),
            ("ftruncate to twice its length", call!(libc::SYS_ftruncate, fd, len_bytes * 2)),
            ("punch a hole", call!(libc::SYS_fallocate, fd, punch, 0, PAGE_BYTES)),
            (
                "allocate beyond the end",
                call!(libc::SYS_fallocate, fd, libc::FALLOC_FL_KEEP_SIZE, len_bytes, len_bytes),
            ),
            ("grow by fallocate", call!(libc::SYS_fallocate, fd, 0, len_bytes, PAGE_BYTES)),
            ("splice into it", splice_into(fd)),
            ("copy_file_range into it", copy_into(fd, libc::SYS_copy_file_range)),
            ("sendfile into it", copy_into(fd, libc::SYS_sendfile)),
            ("add seals", call!(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, F_SEAL_WRITE)),
        ];
        for (what, answer) in &tries {
            report.refused(&self.attempt(&format!("re-opened, {what}")), Layer::Seals, refusals, answer)?;
        }
        let view = View::map(fd, PAGE_BYTES, PROT_READ, MAP_SHARED);
        let protect = view
            .as_ref()
            .map_err(|errno| *errno)
            .and_then(|view| call!(libc::SYS_mprotect, view.address, PAGE_BYTES, PROT_READ | PROT_WRITE));
        let attempt = self.attempt("re-opened, mprotect to writable");
        report.refused(&attempt, Layer::Seals, &[Errno::EACCES], &protect)?;
        let remove = view
            .as_ref()
            .map_err(|errno| *errno)
            .and_then(|view| call!(libc::SYS_madvise, view.address, PAGE_BYTES, libc::MADV_REMOVE));
        let attempt = self.attempt("re-opened, MADV_REMOVE");
        report.refused(&attempt, Layer::Seals, &[Errno::EACCES, Errno::EPERM], &remove)?;
        if let (Setting::Root, Ok(view)) = (report.setting, &view) {
            let answer = register_faults(view);
            let attempt = self.attempt("re-opened, fill pages by userfaultfd");
            report.refused(&attempt, Layer::Seals, &[Errno::EPERM, Errno::ENOSYS], &answer)?;
        }
        let unchanged = self.unchanged();
        let answer = call!(libc::SYS_fallocate, fd, 0, 0, len_bytes);
        report.harmless(&self.attempt("re-opened, allocate what is there"), Layer::Kernel, &answer, unchanged)
    }
}

/// Asks to serve the page faults of a mapping.
fn register_faults(view: &View) -> Answer {
    const UFFDIO_API: u64 = 0xc018_aa3f;
    const UFFDIO_REGISTER: u64 = 0xc020_aa00;
    const MODE_MISSING: u64 = 1;
    let faults = call!(libc::SYS_userfaultfd, libc::O_CLOEXEC)?;
    let mut api = [0xaa_u64, 0, 0];
    let mut range = [view.address as u64, PAGE_BYTES as u64, MODE_MISSING, 0];
    let answer = call!(libc::SYS_ioctl, faults, UFFDIO_API, &mut api[..])
        .and_then(|_| call!(libc::SYS_ioctl, faults, UFFDIO_REGISTER, &mut range[..]));
    close(faults as RawFd);
    answer
}

/// Moves bytes from a pipe into the file.
fn splice_into(fd: RawFd) -> Answer {
    let mut ends = [0_u64];
    call!(libc::SYS_pipe2, &mut ends[..], libc::O_CLOEXEC)?;
    let [out, into] = [ends[0] as u32 as RawFd, (ends[0] >> 32) as RawFd];
    let garbage: &[u8] = &[0xee; 64];
    let mut offset = [0_u64];
    let answer = call!(libc::SYS_write, into, garbage, garbage.len())
        .and_then(|_| call!(libc::SYS_splice, out, 0, fd, &mut offset[..], garbage.len(), 0));
    close(out);
    close(into);
    answer
}

/// Lets the kernel copy from another file into the file, both at their start.
fn copy_into(fd: RawFd, number: libc::c_long) -> Answer {
    let from = call!(libc::SYS_memfd_create, c"hostile", 1)? as RawFd;
    let garbage: &[u8] = &[0xee; 64];
    let mut offset = [0_u64];
    let answer = call!(libc::SYS_pwrite64, from, garbage, garbage.len(), 0).and_then(|_| {
        if number == libc::SYS_sendfile {
            call!(libc::SYS_sendfile, fd, from, &mut offset[..], garbage.len())
        } else {
            call!(number, from, &mut offset[..], fd, Argument::Value(0), garbage.len(), 0)
        }
    });
    close(from);
    answer
}
