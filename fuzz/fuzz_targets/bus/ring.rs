//! A segment that changes while it is read: see `blvm_fuzz::ring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::ring(data);
});
