//! A module's configuration, from its layers: see `blvm_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::config(data);
});
