//! What commands read: secrets, and bodies from a file or standard input.

use std::fs::File;
use std::io::{IsTerminal as _, Read, stdin};

use offhook::signature::Secret;

use super::output::{Failure, note};

/// The exact bytes of a file, or of standard input for `-`.
pub(super) fn body(file: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::usage(format!("{file}: {error}"));
    match file {
        "-" => {
            if stdin().is_terminal() {
                note("Reading the body from standard input; Ctrl-D ends it.");
            }
            limited(stdin().lock(), "standard input")
        }
        path => limited(File::open(path).map_err(unreadable)?, path),
    }
}

fn limited(input: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(MAX_BODY + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    match bytes.len() as u64 > MAX_BODY {
        true => Err(Failure::usage(format!("{name}: longer than 256 MiB"))),
        false => Ok(bytes),
    }
}

/// The secret that `--secret` names: `env:NAME`, `file:PATH`, or the text itself.
pub(super) fn secret(reference: &str) -> Result<Secret, Failure> {
    named_secret("--secret", reference)
}

/// The same for another option.
pub(super) fn named_secret(option: &str, reference: &str) -> Result<Secret, Failure> {
    Secret::resolve(reference).map_err(|error| Failure::usage(format!("{option}: {error}")))
}

const MAX_BODY: u64 = 256 * 1024 * 1024;
