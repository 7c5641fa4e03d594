//! A segment whose every byte is hostile, also between polls: see `blvm_fuzz::segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::segment(data);
});
