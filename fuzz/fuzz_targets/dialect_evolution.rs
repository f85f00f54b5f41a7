//! No text makes the dialect `evolution` panic, give no event, or too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::dialect::Evolution;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

fuzz_target!(|body: &str| checks::dialect::check(&Evolution, body));
