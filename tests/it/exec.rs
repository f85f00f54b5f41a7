//! The handler `exec`: commands that cannot run.

use crate::served::settings;
use crate::support::{Folder, run};

#[test]
fn commands_that_cannot_run_stop_the_start() {
    let folder = Folder::new("exec-check");
    let table = [
        (
            "no-such-program",
            "there is no program \"no-such-program\" in PATH (",
        ),
        ("/no/such/program", "there is no file \"/no/such/program\""),
        ("/etc/passwd", "this user may not execute \"/etc/passwd\""),
        ("/etc", "\"/etc\" is a folder, not a program"),
    ];
    for (program, problem) in table {
        let handler = format!(
            "[[handlers]]\nname = \"good\"\nuse = \"exec\"\ncommand = [\"true\"]\n\
             [[handlers]]\nname = \"script\"\nuse = \"exec\"\ncommand = [{program:?}]\n"
        );
        settings(&folder, &handler);
        let file = folder.0.join("settings.toml");
        let file = file.to_str().unwrap();
        let place = format!("{file}: handlers[1].command: script: {problem}");
        for command in ["check", "serve"] {
            let ran = run(&[command, "--settings", file]);
            assert_eq!(ran.status, 1, "{ran:?}");
            assert!(ran.said.starts_with(&place), "{}\nnot {place}", ran.said);
            assert!(ran.said.contains("1 problem in the settings"), "{ran:?}");
        }
    }
}
