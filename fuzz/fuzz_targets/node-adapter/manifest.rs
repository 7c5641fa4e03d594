//! What a module says of itself: see `blvm_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::manifest(data);
});
