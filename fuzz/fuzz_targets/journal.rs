//! What is read of the journal's files is what was written, or nothing; and no bytes make their readers panic.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

/// Each process has a folder of its own.
static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let name = format!("offhook-fuzz-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
});

fuzz_target!(|input: &[u8]| checks::journal::check(input, &FOLDER));
