//! The commands read in the settings what their options do not say: where the server is, and its secrets.

use std::fs::write;
use std::net::TcpListener;
use std::process::Command;

use crate::served::{Served, command};
use crate::support::{Folder, Ran, offhook};

/// Four sources, each with another proof. Another program's environment has `OFFHOOK_TEST_HANDLER`.
const SETTINGS: &str = r#"
[server]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
token = "hidden-admin-token"
[[sources]]
name = "codeskytz"
secrets = ["hidden-1", "hidden-old"]
[[sources]]
name = "shop"
path = "/shop"
scheme = "hmac"
header = "X-Shop"
encoding = "base64"
template = "{timestamp:X-Time}.{body}"
secrets = ["hidden-2"]
[[sources]]
name = "standard"
path = "/standard"
scheme = "standard-webhooks"
secrets = ["hidden-3"]
sessions."408f7372-f7c9-4299-a8db-326bc5548a73".secrets = ["hidden-own"]
[[sources]]
name = "open"
path = "/open"
unsigned = true
path_token = "hidden-0123456789"
"#;

fn folder(name: &str, settings: &str) -> Folder {
    let folder = Folder::new(name);
    write(folder.0.join("settings.toml"), settings).unwrap();
    folder
}

/// A command in the folder.
fn within(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = offhook(arguments);
    command.current_dir(&folder.0);
    command
}

/// The same, for a server whose ports the system has chosen, bound to every address of the machine.
fn asking(server: &Served, folder: &Folder, arguments: &[&str]) -> Ran {
    let mut command = within(folder, arguments);
    let (public, admin) = (server.public.port(), server.admin.port());
    command.env("OFFHOOK__SERVER__BIND", format!("0.0.0.0:{public}"));
    command.env("OFFHOOK__ADMIN__BIND", format!("0.0.0.0:{admin}"));
    command.output().unwrap().into()
}

fn ran(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

#[actix_web::test]
async fn events_are_sent_as_the_settings_say() {
    let folder = folder("cli-settings-send", SETTINGS);
    let server = Served::start(&folder);
    let table = [
        (&["send"][..], "codeskytz", "/webhook"),
        (&["send", "--source", "shop"], "shop", "/shop"),
        (&["send", "--source", "standard"], "standard", "/standard"),
        (&["send", "--source", "open"], "open", "/open/{token}"),
        (&["--settings", "settings.toml", "send"], "codeskytz", ""),
        (&["send", "--settings", "settings.toml"], "codeskytz", ""),
    ];
    for (arguments, source, path) in table {
        let arguments = [arguments, &["--json"]].concat();
        let sent = asking(&server, &folder, &arguments);
        assert_eq!(sent.status, 0, "{sent:?}");
        let json = sent.json();
        assert_eq!(json["source"], source);
        let url = json["url"].as_str().unwrap();
        let expected = format!("http://127.0.0.1:{}/", server.public.port());
        assert!(
            url.starts_with(&expected) && url.ends_with(path),
            "{sent:?}"
        );
        assert!(!format!("{sent:?}").contains("hidden"), "{sent:?}");
    }
    let url = format!("http://{}/shop", server.public);
    let sent = ran(within(&folder, &["send", &url]));
    assert_eq!(sent.status, 0, "the path names the source: {sent:?}");
    assert!(
        sent.printed.contains(&format!("to        {url} as shop\n")),
        "{sent:?}"
    );
}

#[actix_web::test]
async fn a_running_server_is_found_by_its_settings() {
    let folder = folder("cli-settings-admin", SETTINGS);
    let server = Served::start(&folder);
    for arguments in [
        &["consumers", "--json"][..],
        &["--settings", "settings.toml", "events", "--json"],
        &["dead", "--settings", "settings.toml", "list", "--json"],
        &["health"],
    ] {
        let asked = asking(&server, &folder, arguments);
        assert_eq!((asked.status, asked.said.as_str()), (0, ""), "{asked:?}");
    }
    let token = "wrong-token";
    let asked = asking(&server, &folder, &["events", "--token", token]);
    assert_eq!(asked.status, 1, "{asked:?}");
    assert!(
        asked.said.contains("not the server's admin token"),
        "{asked:?}"
    );
    // The file is not about this address, so its token is not sent there.
    let admin = format!("http://{}", server.admin);
    for arguments in [
        &["events", "--admin", &admin][..],
        &["events", "--settings", "settings.toml", "--admin", &admin],
    ] {
        let asked = ran(within(&folder, arguments));
        assert!(asked.said.contains("asks for its admin token"), "{asked:?}");
    }
}

/// What the command line names wins over a variable, for the address and for the token.
#[actix_web::test]
async fn named_settings_win_over_variables() {
    let folder = folder("cli-settings-variables", SETTINGS);
    let server = Served::start(&folder);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let other = format!("http://{}", elsewhere.local_addr().unwrap());
    let admin = format!("127.0.0.1:{}", server.admin.port());
    let with = |arguments: &[&str], token: &str| {
        let mut command = within(&folder, arguments);
        command.env("OFFHOOK__ADMIN__BIND", &admin);
        command.env("OFFHOOK_ADMIN", &other);
        command.env("OFFHOOK_ADMIN_TOKEN", token);
        ran(command)
    };
    let asked = with(&["events", "--settings", "settings.toml"], "hidden-other");
    assert_eq!(asked.status, 0, "{asked:?}");
    let given = format!("http://{admin}");
    let asked = with(&["events", "--admin", &given], "hidden-admin-token");
    assert_eq!(asked.status, 0, "{asked:?}");
    assert!(elsewhere.accept().is_err(), "nothing was sent elsewhere");
    // Without both, the variables are meant.
    let mut command = within(&folder, &["events"]);
    command.env("OFFHOOK_ADMIN", &given);
    let asked = ran(command);
    assert!(asked.said.contains("asks for its admin token"), "{asked:?}");
    let mut command = within(&folder, &["events"]);
    command.env("OFFHOOK_ADMIN", "nowhere");
    let asked = ran(command);
    assert_eq!(asked.status, 2, "{asked:?}");
    assert!(
        asked.said.contains("OFFHOOK_ADMIN in the environment"),
        "{asked:?}"
    );
}

/// The server's environment has secrets that the command's has not.
#[actix_web::test]
async fn a_problem_elsewhere_does_not_matter() {
    let more = "[[sources]]\nname = \"other\"\npath = \"/other\"\n\
                secrets = [\"env:OFFHOOK_TEST_NO_SUCH\"]\n";
    let folder = folder("cli-settings-partly", &format!("{SETTINGS}{more}"));
    let mut serve = command(&folder);
    serve.env("OFFHOOK_TEST_NO_SUCH", "hidden-other");
    let server = Served::try_start(&mut serve).unwrap();
    for arguments in [&["consumers"][..], &["send"], &["health"]] {
        let asked = asking(&server, &folder, arguments);
        assert_eq!(asked.status, 0, "{asked:?}");
    }
    let sent = asking(&server, &folder, &["send", "--source", "other"]);
    assert_eq!((sent.status, sent.printed.as_str()), (1, ""), "{sent:?}");
    let problem = "settings.toml: sources[4].secrets[0]: ";
    assert!(sent.said.contains(problem), "{sent:?}");
    assert!(sent.said.contains("--secret"), "{sent:?}");
    let secret = ["send", "--source", "other", "--secret", "hidden-other"];
    let sent = asking(&server, &folder, &secret);
    assert_eq!(sent.status, 0, "{sent:?}");
}

#[test]
fn without_settings_the_defaults_are_tried() {
    let folder = Folder::new("cli-settings-none");
    let default = "no settings.toml in this folder";
    for (arguments, address) in [
        (&["events"][..], "http://127.0.0.1:5001"),
        (&["send"], "http://127.0.0.1:5000/webhook"),
    ] {
        // Other tests or servers may listen there, so the command is only known to try.
        let asked = ran(within(&folder, arguments));
        if asked.said.contains("connection refused") {
            assert_eq!(asked.status, 1, "{asked:?}");
            assert!(asked.said.contains(default), "{asked:?}");
            let all = asked.printed + &asked.said;
            assert!(all.contains(address), "{all}");
        }
    }
    let named = ran(within(&folder, &["events", "--settings", "none.toml"]));
    assert_eq!(named.status, 1, "{named:?}");
    assert!(
        named.said.contains("none.toml: there is no such file"),
        "{named:?}"
    );
}

#[test]
fn unusable_settings_say_what_to_do() {
    let table: [(&str, &[&str], &str, &str); 7] = [
        (
            "[admin",
            &["events"],
            "not TOML",
            "1 problem in the settings",
        ),
        (
            "admin.bind = \"nowhere\"",
            &["events"],
            "admin.bind: found",
            "--admin",
        ),
        (
            "admin.bind = \"nowhere\"",
            &["health"],
            "admin.bind: found",
            "--admin",
        ),
        (
            "admin.bind = \"127.0.0.1:0\"",
            &["events"],
            "port 0",
            "--admin",
        ),
        (
            "admin.token = \"env:OFFHOOK_TEST_NO_SUCH\"",
            &["events"],
            "admin.token: ",
            "--token",
        ),
        (
            "server.bind = \"nowhere\"",
            &["send"],
            "server.bind: found",
            "send URL",
        ),
        ("", &["send"], "sources: there is none", "send URL"),
    ];
    let folder = Folder::new("cli-settings-odd");
    for (settings, arguments, found, advice) in table {
        let source = "\n[[sources]]\nname = \"s\"\nsecrets = [\"x\"]\n";
        let source = if settings.is_empty() { "" } else { source };
        write(
            folder.0.join("settings.toml"),
            format!("{settings}{source}"),
        )
        .unwrap();
        let asked = ran(within(&folder, arguments));
        assert_eq!((asked.status, asked.printed.as_str()), (1, ""), "{asked:?}");
        for part in ["settings.toml: ", found, advice] {
            assert!(asked.said.contains(part), "{part}: {asked:?}");
        }
    }
    write(folder.0.join("settings.toml"), SETTINGS).unwrap();
    let unknown = ran(within(&folder, &["send", "--source", "shopp"]));
    assert_eq!(unknown.status, 2, "{unknown:?}");
    let there_are = "there are: codeskytz, shop, standard, open";
    assert!(unknown.said.contains(there_are), "{unknown:?}");
}

/// What is given is used, whatever the file says.
#[test]
fn with_all_options_no_settings_are_read() {
    let folder = folder("cli-settings-unread", "[admin");
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let send = ["send", &format!("{nobody}/webhook"), "--secret", "x"];
    for arguments in [&["events", "--admin", &nobody][..], &send] {
        let asked = ran(within(&folder, arguments));
        assert_eq!(asked.status, 1, "{asked:?}");
        assert!(asked.said.contains("connection refused"), "{asked:?}");
    }
}

#[test]
fn a_journal_that_cannot_be_made_is_a_problem() {
    let journal = "[journal]\npath = \"settings.toml/data\"\nretention_size = \"1 KiB\"\n";
    let text = format!("{journal}{SETTINGS}");
    let folder = folder("cli-settings-journal", &text);
    let checked = ran(within(&folder, &["check"]));
    assert_eq!((checked.status, &*checked.printed), (1, ""), "{checked:?}");
    let problem = "settings.toml: journal.path: ";
    assert!(checked.said.starts_with(problem), "{checked:?}");
    assert!(
        checked
            .said
            .contains("settings.toml: it is not a folder; it must be"),
        "{checked:?}"
    );
    let json = ran(within(&folder, &["check", "--json"]));
    assert_eq!(json.status, 1, "{json:?}");
    let problems = &json.json()["problems"];
    assert_eq!(problems[0]["key"], "journal.path", "{problems}");
    let started = ran(within(&folder, &["serve"]));
    assert_eq!(started.status, 1, "{started:?}");
    assert!(
        started
            .said
            .contains("; journal.path must be a folder that this user can"),
        "{started:?}"
    );

    write(
        folder.0.join("settings.toml"),
        text.replace("settings.toml/", "new/deep/"),
    )
    .unwrap();
    let checked = ran(within(&folder, &["check"]));
    assert_eq!(checked.status, 0, "{checked:?}");
    let too_small = "retention_size 1.0 KiB: too small, little more than the newest event is kept";
    assert!(checked.printed.contains(too_small), "{checked:?}");
    assert!(!folder.0.join("new").exists());
}

#[test]
fn a_sender_is_one_of_a_session() {
    let refused = ran(offhook(&["events", "delete", "--sender", "+123"]));
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(
        refused.said.contains("name it with --session ID"),
        "{refused:?}"
    );
}
