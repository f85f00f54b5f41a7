//! No bytes on a connection, in no pieces, are answered by halves or twice, or hide what follows them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

static SERVER: LazyLock<checks::guard::Guarded> = LazyLock::new(checks::guard::Guarded::start);

fuzz_target!(|input: &[u8]| SERVER.check(input));
