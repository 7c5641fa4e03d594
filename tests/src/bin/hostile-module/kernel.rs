//! System calls by number, without the wrappers that would refuse bad arguments first.

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::RawFd;

use nix::errno::Errno;

/// One argument of a system call.
pub(crate) enum Argument<'a> {
    Value(c_long),
    Text(&'a CStr),
    Read(&'a [u8]),
    Write(&'a mut [u8]),
    Words(&'a [u64]),
    WordsMut(&'a mut [u64]),
}

impl Argument<'_> {
    fn raw(&mut self) -> c_long {
        match self {
            Argument::Value(value) => *value,
            Argument::Text(text) => text.as_ptr() as c_long,
            Argument::Read(bytes) => bytes.as_ptr() as c_long,
            Argument::Write(bytes) => bytes.as_mut_ptr() as c_long,
            Argument::Words(words) => words.as_ptr() as c_long,
            Argument::WordsMut(words) => words.as_mut_ptr() as c_long,
        }
    }
}

macro_rules! values {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Argument<'_> {
            fn from(value: $kind) -> Self {
                // As registers take it: the bits, whatever the sign.
                Argument::Value(value as c_long)
            }
        }
    )*};
}
values!(i32, u32, i64, u64, usize);

impl<'a> From<&'a CStr> for Argument<'a> {
    fn from(text: &'a CStr) -> Self {
        Argument::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Argument::Read(bytes)
    }
}

impl<'a> From<&'a mut [u8]> for Argument<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Argument::Write(bytes)
    }
}

impl<'a> From<&'a [u64]> for Argument<'a> {
    fn from(words: &'a [u64]) -> Self {
        Argument::Words(words)
    }
}

impl<'a> From<&'a mut [u64]> for Argument<'a> {
    fn from(words: &'a mut [u64]) -> Self {
        Argument::WordsMut(words)
    }
}

/// Makes a system call: `call!(number, argument, …)`.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::kernel::invoke($number, &mut [$($crate::kernel::Argument::from($argument)),*])
    };
}
pub(crate) use call;

/// What an attempt came to: what the call returned, or why it was refused.
pub(crate) type Answer<T = c_long> = Result<T, Errno>;

/// Makes a system call.
pub(crate) fn invoke(number: c_long, arguments: &mut [Argument<'_>]) -> Answer {
    let mut raw = [0; 6];
    for (raw, argument) in raw.iter_mut().zip(arguments) {
        *raw = argument.raw();
    }
    let [a, b, c, d, e, f] = raw;
    // SAFETY: pointers are borrowed for the call. Addresses given as values lie in mappings that this program made to
    // be attacked and reads through `View` only; descriptors are attacked too, and none is owned by a library here.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    Errno::result(result)
}

/// Makes a call that could start a process, and ends that process if it did.
pub(crate) fn call_that_forks(number: c_long, arguments: &mut [Argument<'_>]) -> Answer {
    let answer = invoke(number, arguments);
    if answer == Ok(0) {
        // SAFETY: ends the second copy of this process at once.
        unsafe { libc::_exit(0) };
    }
    answer
}

/// Memory mapped from a descriptor, to be attacked.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) address: usize,
    pub(crate) len_bytes: usize,
}

impl View {
    /// Maps the first `len_bytes` of a descriptor.
    pub(crate) fn map(fd: RawFd, len_bytes: usize, protection: c_int, flags: c_int) -> Answer<View> {
        let address = call!(libc::SYS_mmap, 0, len_bytes, protection, flags, fd, 0)?;
        Ok(View { address: address as usize, len_bytes })
    }

    /// Reads word `index`.
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.atomic(index).load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Writes word `index`; the view must be writable.
    pub(crate) fn store(&self, index: usize, value: u64) {
        self.atomic(index).store(value, std::sync::atomic::Ordering::Release);
    }

    /// The first page, word by word.
    pub(crate) fn first_page(&self) -> Vec<u64> {
        (0..512).map(|index| self.load(index)).collect()
    }

    fn atomic(&self, index: usize) -> &std::sync::atomic::AtomicU64 {
        assert!(index < self.len_bytes / 8);
        let word = (self.address as *mut u64).wrapping_add(index);
        // SAFETY: inside the mapping, asserted above, which lives as long as `self`; page-aligned, so aligned for words.
        unsafe { std::sync::atomic::AtomicU64::from_ptr(word) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // It was mapped here, and nothing refers to it any more; a failure leaves it mapped until the end.
        let _ = call!(libc::SYS_munmap, self.address, self.len_bytes);
    }
}
