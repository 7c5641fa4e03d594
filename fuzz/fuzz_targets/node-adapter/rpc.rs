//! The body of a request by JSON-RPC: see `blvm_fuzz::rpc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::rpc(data);
});
