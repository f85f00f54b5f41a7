//! `offhook init`: what it writes starts as it is.

use std::os::unix::fs::PermissionsExt as _;

use crate::served::{Served, within};
use crate::support::{Folder, offhook, run};

#[actix_web::test]
async fn what_init_writes_starts_as_it_is() {
    let folder = Folder::new("cli-init");
    let inner = Folder(folder.0.join("new/my folder"));
    let made = run(&["init", inner.0.to_str().unwrap()]);
    assert_eq!((made.status, made.said.as_str()), (0, ""), "{made:?}");
    let enter = format!("\n  cd '{}'\n", inner.0.display());
    assert!(made.printed.contains(&enter), "{made:?}");
    let file = inner.0.join("settings.toml");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut serve = offhook(&[]);
    for listener in ["SERVER", "ADMIN"] {
        serve.env(format!("OFFHOOK__{listener}__BIND"), "127.0.0.1:0");
    }
    let server = Served::try_start(&mut within(&inner, serve)).unwrap();
    let mut send = offhook(&["send", &format!("http://{}/webhook", server.public)]);
    let sent = send.current_dir(&inner.0).output().unwrap();
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(
        server.program.line(),
        "New message from +1234567890: Hello!"
    );

    // Its secret may be used on an address that is open to others.
    let mut check = offhook(&["check"]);
    check.env("OFFHOOK__SERVER__BIND", "0.0.0.0:5000");
    let checked = check.current_dir(&inner.0).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn init_never_changes_a_file() {
    let folder = Folder::new("cli-init-twice");
    let in_folder = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).unwrap();
    for name in ["a", "b"] {
        assert_eq!(run(&["init", &in_folder(name)]).status, 0);
    }
    let first = read("a/settings.toml");
    assert_ne!(
        first,
        read("b/settings.toml"),
        "each has a secret of its own"
    );
    let again = run(&["init", &in_folder("a")]);
    assert_eq!((again.status, again.printed.as_str()), (1, ""), "{again:?}");
    assert!(
        again.said.contains("exists, and was not changed"),
        "{again:?}"
    );
    assert_eq!(first, read("a/settings.toml"));
    // Before or after the name of the command, a file is not a folder.
    for arguments in [
        ["init", "--settings", "x.toml"],
        ["--settings", "x.toml", "init"],
    ] {
        let named = run(&arguments);
        assert_eq!(named.status, 2, "{named:?}");
        assert!(named.said.contains("name the folder"), "{named:?}");
    }
    let below_a_file = run(&["init", &in_folder("a/settings.toml/x")]);
    assert_eq!(below_a_file.status, 1, "{below_a_file:?}");
    assert!(
        below_a_file.said.contains("a/settings.toml/x: "),
        "{below_a_file:?}"
    );
}
