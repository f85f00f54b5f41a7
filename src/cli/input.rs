//! What commands read.

use std::fs::File;
use std::io::{IsTerminal as _, Read, stdin};

use super::output::{Failure, note};

/// Reads a body: the exact bytes of a file, or of standard input for `-`.
pub(super) fn read_body(file: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| {
        Failure::usage(format!(
            "{file}: {error}\nGive a file that this user can read, or - for standard input."
        ))
    };
    let input: Box<dyn Read> = if file == "-" {
        if stdin().is_terminal() {
            note("Reading the body from standard input; Ctrl-D ends it.");
        }
        Box::new(stdin().lock())
    } else {
        Box::new(File::open(file).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    input
        .take(MAX_BODY + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BODY {
        return Err(Failure::usage(format!("{file}: longer than 256 MiB")));
    }
    Ok(bytes)
}

const MAX_BODY: u64 = 256 * 1024 * 1024;
