//! A frame from the other end of the request socket: see `blvm_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::request(data);
});
