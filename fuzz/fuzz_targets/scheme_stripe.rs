//! No request makes the scheme `stripe` panic, or accept what is not signed.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

fuzz_target!(|input: &[u8]| checks::scheme::check(&checks::scheme::of("stripe"), input));
