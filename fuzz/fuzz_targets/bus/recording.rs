//! A recorded stream: see `blvm_fuzz::recording`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::recording(data);
});
