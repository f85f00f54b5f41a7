//! `examples/cluster/run`, as a user would run it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Database;

#[test]
fn the_example_handles_every_event() {
    let Some(database) = Database::shared() else {
        return;
    };
    let (programs, libraries) = database.programs();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster/run");
    let mut command = Command::new(script);
    command
        .env("OFFHOOK", env!("CARGO_BIN_EXE_offhook"))
        .env("PG_PROGRAMS", programs)
        .stdin(Stdio::null());
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let ran = command.output().unwrap();
    let [said, errors] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(ran.status.success(), "{said}{errors}");
    let handled = "200 events were acknowledged, 200 were handled";
    assert!(said.contains(handled), "{said}{errors}");
}
