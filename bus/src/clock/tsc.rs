//! The time stamp counter of an x86-64 processor.
//!
//! Source: Intel SDM volume 2B, RDTSC; AMD APM volume 3, RDTSC.
#![allow(unsafe_code)]

use core::arch::x86_64::{_mm_lfence, _rdtsc};

/// Now. The processor may move it among the instructions around it.
#[inline]
pub(super) fn read() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; it touches no memory.
    unsafe { _rdtsc() }
}

/// Now, after all loads before this call.
#[inline]
pub(super) fn read_ordered() -> u64 {
    // SAFETY: every x86-64 processor has SSE2, which this fence is part of; it touches no memory.
    unsafe { _mm_lfence() };
    read()
}
