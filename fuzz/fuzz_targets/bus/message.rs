//! An archive whose every byte is hostile: see `blvm_fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::message(data);
});
