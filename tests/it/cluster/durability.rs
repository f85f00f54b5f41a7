//! `offhook verify-durability --engine postgres`: what a user can run.

use std::process::Command;

use super::database::Server as Database;
use crate::support::{Ran, offhook, run};

/// With the programs of the tests' own server.
fn with_programs(mut command: Command, database: &Database) -> Command {
    let (programs, libraries) = database.programs();
    command.arg("--postgres-programs").arg(programs);
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

#[test]
fn kills_of_instances_and_database_lose_nothing() {
    let Some(database) = Database::shared() else {
        return;
    };
    let command = offhook(&[
        "verify-durability",
        "--engine",
        "postgres",
        "--kills",
        "4",
        "--seconds",
        "0.6",
        // Kills all instances and the database.
        "--seed",
        "9",
        "--json",
    ]);
    let ran: Ran = with_programs(command, database).output().unwrap().into();
    let figures = ran.json();
    println!("{figures}");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        (&figures["engine"], &figures["instances"]),
        (&"postgres".into(), &3.into())
    );
    assert!(figures["database_kills"].as_u64() > Some(0), "{figures}");
    for nothing in [
        "lost",
        "out_of_order",
        "kept_twice",
        "false_acknowledgements",
    ] {
        assert_eq!(figures[nothing], 0, "{nothing}: {figures}");
    }
    assert!(figures["acknowledged"].as_u64() > Some(100), "{figures}");
}

#[test]
fn what_is_for_a_database_is_not_ignored_without_one() {
    for arguments in [["--instances", "5"], ["--postgres-programs", "/nowhere"]] {
        let ran = run(&[&["verify-durability"][..], &arguments].concat());
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(ran.said.contains("--engine postgres"), "{ran:?}");
    }
}

#[test]
fn without_programs_it_says_what_to_do() {
    let arguments = [
        "verify-durability",
        "--engine",
        "postgres",
        "--postgres-programs",
        "/nowhere",
    ];
    let ran = run(&arguments);
    assert_eq!(ran.status, 1, "{ran:?}");
    let said = "/nowhere: the programs initdb and postgres are not there";
    assert!(ran.said.contains(said), "{ran:?}");
}
