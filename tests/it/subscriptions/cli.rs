//! `offhook subscriptions` against a server.

use serde_json::json;

use super::{Subscriber, folder, hook};
use crate::served::Served;
use crate::support::{Ran, run};

#[actix_web::test]
async fn added_listed_and_removed() {
    let defined = "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"http://127.0.0.1:9/\"\n";
    let (folder, subscriber) = (folder("subs-cli", defined), Subscriber::start([]).await);
    let server = Served::start(&folder);
    let admin = format!("http://{}", server.admin);
    let ask = |arguments: &[&str]| -> Ran {
        let arguments = [&["subscriptions"], arguments, &["--admin", &admin]].concat();
        run(&arguments)
    };
    let url = hook(&subscriber);
    let add = [
        "add",
        "--session",
        "a/b",
        "--url",
        &url,
        "--events",
        "message,status",
        "--secret",
        "hidden",
        "--name",
        "bot",
    ];
    let added = ask(&add);
    assert_eq!((added.status, added.said.as_str()), (0, ""), "{added:?}");
    let row = "bot   active  API  yes     message, status  a/b";
    assert!(added.printed.contains(row), "{added:?}");
    assert!(
        added.printed.contains(&url) && !added.printed.contains("hidden"),
        "{added:?}"
    );
    server.message("a/b", "1").await;
    subscriber.expect(1).await;

    let listed = ask(&[]);
    assert_eq!(listed.printed.lines().count(), 5, "{listed:?}");
    assert!(
        listed
            .printed
            .contains("crm   active  settings  no      all              *"),
        "{listed:?}"
    );
    let listed = ask(&["list", "--session", "a/b", "--json"]);
    assert_eq!(
        listed.json()["webhooks"][0]["events"],
        json!(["message", "status"])
    );
    let none = ask(&["list", "--session", "c"]);
    assert_eq!(
        (none.status, &*none.printed, &*none.said),
        (0, "", "No subscription.\n")
    );

    let warned = ask(&["add", "--session", "*", "--url", "http://nobody.invalid/"]);
    assert_eq!(warned.status, 0);
    assert!(warned.said.starts_with("warning: "), "{warned:?}");
    let refused = ask(&["add", "--session", "*", "--url", "http://169.254.169.254/"]);
    assert_eq!(refused.status, 1);
    assert!(refused.said.contains("169.254.169.254 is a"), "{refused:?}");
    let refused = ask(&["remove", "--session", "*", "--name", "crm"]);
    assert_eq!(refused.status, 1);
    assert!(
        refused.said.contains("defined in settings.toml"),
        "{refused:?}"
    );
    for wrong in [
        &["add", "--session", "a"][..],
        &["add", "--session", "a", "--url", &url, "--events", "call"],
        &[
            "add",
            "--session",
            "a",
            "--url",
            &url,
            "--secret",
            "env:OFFHOOK_TEST_NO_SUCH",
        ],
        &["remove"],
        &["remove", "--session", "a", "--all", "--name", "x"],
    ] {
        assert_eq!(ask(wrong).status, 2, "{wrong:?}");
    }
    let removed = ask(&["remove", "--session", "a/b", "--all"]);
    assert_eq!((removed.status, removed.printed.as_str()), (0, "removed\n"));
    let left = ask(&["--json"]).json();
    let left = left["subscriptions"].as_array().unwrap().iter();
    let left: Vec<_> = left.map(|one| one["name"].clone()).collect();
    assert_eq!(left, ["crm", "default"]);
}
