//! No body is decoded beyond its limits, and what is seen before its sender is proven is what is read later.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

fuzz_target!(|input: &[u8]| checks::decoding::check(input));
