//! Where events may not go: refused when a subscription is made, when the settings are read, and once
//! more whenever something is sent.

use serde_json::{Value, json};

use super::folder;
use crate::served::{Served, command};
use crate::subscriber::Subscriber;
use crate::support::{Folder, Ran, run};

/// Hosts, what the refusal calls them, and whether `allow_private` opens them. The guard's own tests
/// have more of them; these are of every kind, in every spelling.
const HOSTS: &[(&str, &str, bool)] = &[
    ("127.0.0.1", "a loopback address", true),
    ("127.8.9.10", "a loopback address", true),
    ("localhost", "a loopback address", true),
    ("LOCALHOST.", "a loopback address", true),
    ("127.1", "a loopback address", true),
    ("2130706433", "a loopback address", true),
    ("017700000001", "a loopback address", true),
    ("0x7f000001", "a loopback address", true),
    ("0x7F.0.0.0x1", "a loopback address", true),
    ("%31%32%37.0.0.1", "a loopback address", true),
    ("①②⑦.0.0.1", "a loopback address", true),
    ("[::1]", "a loopback address", true),
    ("[::ffff:127.0.0.1]", "a loopback address", true),
    ("[::ffff:7f00:1]", "a loopback address", true),
    ("[64:ff9b::127.0.0.1]", "a loopback address", true),
    ("[2002:7f00:1::1]", "a loopback address", true),
    ("10.1.2.3", "a private address", true),
    ("172.16.0.1", "a private address", true),
    ("172.31.255.255", "a private address", true),
    ("192.168.1.1", "a private address", true),
    ("3232235777", "a private address", true),
    ("0300.0250.1.1", "a private address", true),
    ("0xc0a80101", "a private address", true),
    ("[fd12:3456::1]", "a private address", true),
    ("[::ffff:10.0.0.1]", "a private address", true),
    ("[64:ff9b::192.168.1.1]", "a private address", true),
    ("[2002:c0a8:101::1]", "a private address", true),
    ("169.254.1.1", "a link-local address", false),
    ("[fe80::1]", "a link-local address", false),
    ("[::ffff:169.254.1.1]", "a link-local address", false),
    ("169.254.169.254", "a cloud metadata address", false),
    ("2852039166", "a cloud metadata address", false),
    ("0251.0376.0251.0376", "a cloud metadata address", false),
    ("0xa9fea9fe", "a cloud metadata address", false),
    (
        "[::ffff:169.254.169.254]",
        "a cloud metadata address",
        false,
    ),
    ("[64:ff9b::a9fe:a9fe]", "a cloud metadata address", false),
    ("[2002:a9fe:a9fe::]", "a cloud metadata address", false),
    ("[fd00:ec2::254]", "a cloud metadata address", false),
    ("224.0.0.1", "a multicast address", false),
    ("239.255.255.250", "a multicast address", false),
    ("[ff02::1]", "a multicast address", false),
    ("[64:ff9b::224.0.0.1]", "a multicast address", false),
    ("0.0.0.0", "an unspecified address", false),
    ("0", "an unspecified address", false),
    ("[::]", "an unspecified address", false),
    ("[::ffff:0.0.0.0]", "an unspecified address", false),
    ("255.255.255.255", "a broadcast address", false),
];

/// What is wrong with a URL whatever its address is.
const URLS: &[(&str, &str)] = &[
    ("http://user@8.8.8.8/", "it has a user or a password"),
    ("http://user:pass@8.8.8.8/", "it has a user or a password"),
    ("http://8.8.8.8@127.0.0.1/", "it has a user or a password"),
    ("http://8.8.8.8:0/", "its port is 0"),
    ("http://8.8.8.8:65536/", "it is no URL"),
    ("http://8.8.8.8:-1/", "it is no URL"),
    ("http://256.0.0.1/", "it is no URL"),
    ("gopher://127.0.0.1/", "its scheme is gopher"),
    ("file:///etc/passwd", "its scheme is file"),
    ("unix:/run/docker.sock", "its scheme is unix"),
];

/// All of them: a URL, what the refusal says, its code, and whether `allow_private` opens it.
fn refused() -> Vec<(String, &'static str, &'static str, bool)> {
    let hosts = HOSTS.iter().map(|(host, words, opened)| {
        let url = format!("http://{host}:8080/hook?token=hidden");
        (url, *words, "refused_address", *opened)
    });
    let urls = URLS
        .iter()
        .map(|(url, words)| ((*url).to_owned(), *words, "bad_url", false));
    hosts.chain(urls).collect()
}

/// A folder with these settings of the relay, and more.
fn relaying(name: &str, allow_private: bool, more: &str) -> Folder {
    let folder = folder(name, more);
    allow(&folder, allow_private);
    folder
}

fn allow(folder: &Folder, private: bool) {
    let file = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace(
        &format!("allow_private = {}", !private),
        &format!("allow_private = {private}"),
    );
    std::fs::write(&file, changed).unwrap();
}

#[actix_web::test]
async fn private_addresses_are_refused_by_the_api() {
    let made = "/sessions/a/webhook";
    let kept = "/sessions/kept/webhook";
    for allow_private in [false, true] {
        let folder = relaying(&format!("subs-ssrf-{allow_private}"), allow_private, "");
        let server = Served::start(&folder);
        let good = json!({ "webhookUrl": "https://8.8.8.8:8443/hook", "secret": "hidden" });
        let before = server.expect(201, "POST", kept, &good).await;
        for (url, words, code, opened) in refused() {
            let body = json!({ "webhookUrl": url });
            if opened && allow_private {
                server.expect(201, "POST", made, &body).await;
                server.expect(200, "DELETE", made, &Value::Null).await;
                continue;
            }
            for (method, path) in [("POST", made), ("POST", kept), ("PATCH", kept)] {
                let error = server.expect(400, method, path, &body).await;
                assert_eq!(error["code"], code, "{method} {url}: {error}");
                let text = error["error"].as_str().unwrap();
                assert!(text.contains(words), "{method} {url}: {error}");
                assert!(!text.contains("hidden"), "{method} {url}: {error}");
            }
        }
        // None of it has left a trace.
        let all = server.expect(200, "GET", "/api/subscriptions", &Value::Null);
        let all = all.await["subscriptions"].take();
        assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
        let fields = ["webhookUrl", "updatedAt", "hasSecret"];
        for field in fields {
            assert_eq!(all[0][field], before["webhook"][field], "{field}");
        }
    }
}

#[test]
fn private_addresses_are_refused_in_settings() {
    for allow_private in [false, true] {
        let wrong: Vec<_> = refused()
            .into_iter()
            .filter(|(.., opened)| !(*opened && allow_private))
            .collect();
        let entry = |(at, (url, ..)): (usize, &(String, _, _, _))| {
            format!("[[subscriptions]]\nname = \"n{at}\"\nwebhook_url = \"{url}\"\n")
        };
        let more: String = wrong.iter().enumerate().map(entry).collect();
        let name = format!("subs-ssrf-check-{allow_private}");
        let folder = relaying(&name, allow_private, &more);
        let file = folder.0.join("settings.toml");
        let checked = run(&["check", "--settings", file.to_str().unwrap()]);
        assert_eq!(checked.status, 1, "{checked:?}");
        let told = format!("{}{}", checked.printed, checked.said);
        // One line each, and for nothing else.
        let problems: Vec<&str> = told
            .lines()
            .filter(|line| line.contains("webhook_url: "))
            .collect();
        assert_eq!(problems.len(), wrong.len(), "{told}");
        for (at, ((url, words, ..), line)) in wrong.iter().zip(&problems).enumerate() {
            let place = format!("subscriptions[{at}]: n{at}: webhook_url: ");
            assert!(line.contains(&place), "{url}: {line}");
            assert!(line.contains(words), "{url}: {line}");
        }
        assert!(!told.contains("hidden"), "{told}");

        let started: Ran = command(&folder).output().unwrap().into();
        assert_eq!(started.status, 1, "{started:?}");
        for problem in problems {
            let text = problem.split("webhook_url: ").nth(1).unwrap();
            assert!(started.said.contains(text), "{problem}: {}", started.said);
        }
    }
}

/// What the settings allowed when a subscription was made may be forbidden at a later start.
#[actix_web::test]
async fn an_address_is_judged_again_at_each_start() {
    let folder = relaying("subs-ssrf-connect", true, "");
    let subscriber = Subscriber::start([]).await;
    let port = subscriber.address.port();
    let server = Served::start(&folder);
    let spellings = [
        (
            "number",
            format!("http://2130706433:{port}/hook?token=hidden"),
        ),
        ("name", format!("http://localhost:{port}/hook?token=hidden")),
        (
            "mapped",
            format!("http://[::ffff:127.0.0.1]:{port}/hook?token=hidden"),
        ),
    ];
    for (session, url) in &spellings {
        server.subscribe(session, url).await;
    }
    server.program.kill();

    allow(&folder, false);
    let server = Served::start(&folder);
    for (session, _) in &spellings {
        server.message(session, session).await;
    }
    for (session, _) in &spellings {
        let path = format!("/sessions/{session}/webhook");
        let list = server.expect(200, "GET", &path, &Value::Null).await;
        let why = list["webhooks"][0]["suspendedReason"].as_str().unwrap();
        assert!(why.contains("127.0.0.1"), "{why}");
        assert!(why.contains("a loopback address"), "{why}");
        assert!(!why.contains("hidden"), "{why}");
    }
    assert_eq!(subscriber.connections(), 0);
    server.program.kill();

    allow(&folder, true);
    let server = Served::start(&folder);
    let mut asked = subscriber.asked(spellings.len()).await;
    asked.sort_by_key(|asked| asked.field("messageId"));
    let ids: Vec<_> = asked.iter().map(|asked| asked.field("messageId")).collect();
    assert_eq!(ids, ["mapped", "name", "number"]);
    server.program.stop();
}
