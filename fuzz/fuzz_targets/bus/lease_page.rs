//! Lease pages that say anything, another thing at each look: see `blvm_fuzz::lease_page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    blvm_fuzz::lease_page(data);
});
