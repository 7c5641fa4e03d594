//! A datagram from a wake socket: see `blvm_fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::record(data);
});
