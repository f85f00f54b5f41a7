//! The handler `exec`: commands that cannot run, and what programs leave behind.

use std::process::Command;

use offhook::testing::TestEvent;

use crate::served::{Served, settings, until, within};
use crate::support::{Folder, KEY, run, secret};

/// A handler that runs a script of sh.
fn script(text: &str) -> String {
    format!(
        "[[handlers]]\nname = \"script\"\nuse = \"exec\"\ntimeout = \"1s\"\n\
         retry = {{ first = \"1h\" }}\ncommand = [\"sh\", \"-c\", {text:?}]\n"
    )
}

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

/// The server as the first process of its own namespace, as in a container. `None` where that is not allowed,
/// which is said, and not in CI.
fn contained(folder: &Folder) -> Option<Served> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork"]);
        command.args(["--kill-child", "--mount-proc"]);
        command
    };
    let tried = unshare().arg("true").output();
    if !tried.as_ref().is_ok_and(|ran| ran.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI allows unshare: {tried:?}"
        );
        eprintln!("unshare is not allowed here, so nothing was tried");
        return None;
    }
    let mut command = unshare();
    command.arg(env!("CARGO_BIN_EXE_offhook"));
    Some(Served::try_start(&mut within(folder, command)).unwrap())
}

/// The children of a process, also those that have ended and were not reaped.
fn children(of: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{of}/task")).unwrap();
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    pids.map(|pid| pid.parse().unwrap()).collect()
}

fn signal(pid: u32, name: &str) {
    let killed = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[actix_web::test]
async fn the_first_process_reaps_all_that_is_left() {
    let folder = Folder::new("exec-zombies");
    // Left in its group, left outside of it, and killed with the group by the timeout.
    let text = "cat > /dev/null; (sleep 0.2 &); (setsid sleep 0.3 &); echo >> ran; \
                [ $OFFHOOK_SESSION = slow ] && { sleep 1000 & sleep 1000; }; exit 0";
    settings(&folder, &script(text));
    let Some(served) = contained(&folder) else {
        return;
    };
    let [first] = children(served.program.id())[..] else {
        panic!("unshare has one child");
    };
    for number in 0..12 {
        let event = TestEvent::message(&format!("+{number}"), "Hello!");
        let session = if number % 4 == 0 { "slow" } else { "quick" };
        let request = event.session(session).sign(&secret(KEY));
        assert_eq!(request.send(served.public).await.status, 200);
    }
    let ran = || std::fs::read_to_string(folder.0.join("ran")).unwrap_or_default();
    until("all ran", async || ran().len() == 12).await;
    // The server alone is left, and it has no child.
    until("all reaped", async || {
        let left = children(first);
        left.len() == 1 && children(left[0]).is_empty()
    })
    .await;
    signal(first, "TERM");
    served.program.logged("stopped");
    assert!(served.program.wait().success());
}

#[actix_web::test]
async fn the_first_process_passes_on_the_exit_status() {
    let folder = Folder::new("exec-status");
    settings(&folder, &script("exit 0"));
    let Some(served) = contained(&folder) else {
        return;
    };
    let first = children(served.program.id())[0];
    signal(children(first)[0], "KILL");
    assert_eq!(served.program.wait().code(), Some(128 + 9));
}
