//! A blob of the index is read as it was written, or not at all; and no bytes make its decoders panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

fuzz_target!(|input: &[u8]| checks::index::check(input));
