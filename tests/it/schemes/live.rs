//! Each scheme over HTTP: what is accepted and refused, how each sender is answered, and where its secret may not be.

use std::path::Path;
use std::process::Command;

use offhook::Source;
use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestRequest, TestResponse};
use serde_json::json;

use crate::from_file::FromFile;
use crate::served::{Served, until};
use crate::support::{Folder, ask, offhook, secret};

const KEY: &str = "0123456789abcdef";
const VERIFY: &str = "a-token-for-meta";
/// Nearly the key.
const NEAR: &str = "0123456789abcdeX";
const SCHEMES: [&str; 18] = [
    "x-webhook-signature",
    "standard-webhooks",
    "github",
    "stripe",
    "slack",
    "meta",
    "waha",
    "gowa",
    "shopify",
    "line",
    "viber",
    "wuzapi",
    "openwa",
    "token",
    "telegram",
    "evolution-jwt",
    "twilio",
    "hmac",
];

/// A source for each scheme, whose path is `/` and its name.
fn settings(folder: &Folder) -> String {
    let path = folder.0.display();
    let mut text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[journal]\npath = \"{path}/journal\"\n\
         [refused]\n"
    );
    for scheme in SCHEMES {
        let more = match scheme {
            "meta" => format!("verify_token = \"{VERIFY}\"\n"),
            "token" => "header = \"X-Gateway\"\nprefix = \"Key \"\n".to_owned(),
            "hmac" => "header = \"X-Sig\"\n".to_owned(),
            "twilio" => "public_url = \"https://me.example/twilio?a=%2F\"\n".to_owned(),
            _ => String::new(),
        };
        text += &format!(
            "[[sources]]\nname = \"{scheme}\"\npath = \"/{scheme}\"\nscheme = \"{scheme}\"\n\
             dialect = \"raw\"\nsecrets = [\"{KEY}\"]\n{more}"
        );
    }
    text
}

/// A request to this source that is signed with `key`.
fn request(source: &Source, target: &str, body: &str, key: &str) -> TestRequest {
    let now = SystemClock.now();
    let signed = source
        .scheme
        .sign_at(target, body.as_bytes(), &secret(key), now);
    let request = TestRequest::post(body).path(target);
    signed.into_iter().fold(request, |request, header| {
        request.header(&header.name, &header.value)
    })
}

async fn start(name: &str) -> (FromFile, Vec<Source>) {
    let folder = Folder::new(name);
    let text = settings(&folder);
    let it = FromFile::start(folder, text).await;
    let settings = offhook::settings::Settings::load(it.path("settings.toml")).unwrap();
    (it, settings.sources)
}

/// That it is the one answer to everything that is not proven.
fn is_refused(answer: &TestResponse, why: &str) {
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, r#"{"error":"Invalid signature"}"#),
        "{why}"
    );
}

#[actix_web::test]
async fn each_scheme_takes_its_own_and_nothing_else() {
    let (it, sources) = start("schemes-live").await;
    let to = it.server.public_address();
    assert_eq!(sources.len(), SCHEMES.len());
    for source in &sources {
        let name = source.name.as_str();
        let target = match name {
            "twilio" => "/twilio/s?a=%2F&b=",
            _ => &format!("/{name}/s"),
        };
        let body = "From=%2B1&Body=Hi+there&Empty=";
        let right = request(source, target, body, KEY);
        let expected = match name {
            "slack" => (200, ""),
            "twilio" => (204, ""),
            _ => (200, r#"{"status":"received"}"#),
        };
        let answer = right.send(to).await;
        assert_eq!((answer.status, answer.text().as_str()), expected, "{name}");
        let again = right.send(to).await;
        assert_eq!(
            (again.status, again.header("offhook-duplicate")),
            (expected.0, Some("true")),
            "{name}"
        );

        let other = request(source, target, body, "another-key-01234");
        is_refused(&other.send(to).await, &format!("{name}: another secret"));
        let mut bare = right.clone();
        bare.headers.clear();
        is_refused(&bare.send(to).await, &format!("{name}: no header"));
        let names = source.scheme.claim_headers();
        let is_signature = |(name, _): &(String, String)| name.eq_ignore_ascii_case(&names[0]);
        let at = right.headers.iter().position(is_signature).unwrap();
        let mut twice = right.clone();
        twice.headers.push(right.headers[at].clone());
        is_refused(&twice.send(to).await, &format!("{name}: twice"));
        let mut empty = right.clone();
        empty.headers[at].1.clear();
        is_refused(&empty.send(to).await, &format!("{name}: empty"));
        if !source.scheme.sends_secret() {
            let mut altered = right.clone();
            altered.body.extend(b"&x=1");
            is_refused(&altered.send(to).await, &format!("{name}: another body"));
        }
        for method in ["PUT", "HEAD"] {
            let mut other = right.clone();
            other.method = method.to_owned();
            let answer = other.send(to).await;
            let allowed = if name == "meta" { "GET, POST" } else { "POST" };
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some(allowed)),
                "{name}"
            );
        }
    }
    // The address is signed too.
    let twilio = { sources.iter() }.find(|source| source.name == "twilio");
    let right = request(twilio.unwrap(), "/twilio?a=1", "A=1", KEY);
    is_refused(
        &right.clone().path("/twilio?a=2").send(to).await,
        "another address",
    );
    assert_eq!(right.send(to).await.status, 204);
    // Also where it is verified again: what was sent for the whole source is not an event of a session.
    let captured = request(twilio.unwrap(), "/twilio?a=%2F", "A=2", KEY);
    let elsewhere = captured.path("/twilio/victim");
    is_refused(&elsewhere.send(to).await, "a session that was not signed");
    let admin = it.server.admin_address().unwrap();
    let body = r#"{"source":"twilio"}"#;
    let (status, answer) = ask(admin, "POST", "/api/refused/verify", body).await;
    assert_eq!((status, &answer["valid"]), (200, &0.into()), "{answer}");
}

#[actix_web::test]
async fn addresses_are_tested_with_challenges() {
    let (it, sources) = start("schemes-challenge").await;
    let to = it.server.public_address();
    let challenge = format!("hub.mode=subscribe&hub.challenge=1158%2F2&hub.verify_token={VERIFY}");
    let get = async |target: &str| TestRequest::get(target).send(to).await;
    for path in ["/meta", "/meta/", "/meta/session"] {
        let answer = get(&format!("{path}?{challenge}")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "1158/2"));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for query in [
        challenge.replace(VERIFY, "a-token-for-mets"),
        challenge.replace("subscribe", "x"),
        format!("{challenge}&hub.verify_token={VERIFY}"),
        String::new(),
    ] {
        let answer = get(&format!("/meta?{query}")).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (403, r#"{"error":"Forbidden"}"#),
            "{query}"
        );
    }
    assert_eq!(get(&format!("/github?{challenge}")).await.status, 405);

    let slack = { sources.iter() }.find(|source| source.name == "slack");
    let slack = slack.unwrap();
    let body = r#"{"token":"t","challenge":"3eZ\"b","type":"url_verification"}"#;
    let answer = request(slack, "/slack", body, KEY).send(to).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"challenge":"3eZ\"b"}"#)
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let forged = request(slack, "/slack", body, "another-key-01234");
    is_refused(&forged.send(to).await, "another secret");
    let bare = TestRequest::post(body).path("/slack");
    is_refused(&bare.send(to).await, "no signature");
    // Refused, and verified again once its secret is known.
    let of_slack =
        |key: &str| format!("scheme = \"slack\"\ndialect = \"raw\"\nsecrets = [\"{key}\"]");
    it.write(&of_slack(KEY), &of_slack("another-key-01234"));
    let (status, answer) = it.ask("POST", "/api/reload", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let again = json!({ "source": "slack" });
    let (_, answer) = it.ask("POST", "/api/refused/verify", &again).await;
    let only_valid = json!({"looked_at": 1, "valid": 1, "accepted": 0, "duplicates": 0});
    assert_eq!(answer, only_valid);
    let (_, answer) = it.ask("POST", "/api/refused/verify", &again).await;
    assert_eq!(answer["looked_at"], 0);
    // None of this was an event.
    let (_, list) = it.ask("GET", "/api/events", &json!({})).await;
    assert_eq!(list["events"], json!([]));
}

/// A secret that a header carries is in no file, answer or page.
#[actix_web::test]
async fn a_secret_in_a_header_stays_there() {
    let (it, sources) = start("schemes-secret").await;
    let to = it.server.public_address();
    for name in ["token", "telegram", "evolution-jwt", "meta"] {
        let source = { sources.iter() }.find(|source| source.name == name);
        let (source, path) = (source.unwrap(), format!("/{name}"));
        let right = request(source, &path, "{}", KEY).header("X-Other", "kept");
        assert_eq!(right.send(to).await.status, 200, "{name}");
        let near = request(source, &path, "{}", NEAR);
        is_refused(&near.send(to).await, name);
    }
    let challenge = format!("/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token={VERIFY}x");
    assert_eq!(TestRequest::get(&challenge).send(to).await.status, 403);

    let admin = it.server.admin_address().unwrap();
    let seen = async |path: &str| TestRequest::get(path).send(admin).await.text();
    until("diagnoses", async || {
        !seen("/api/refused").await.contains("pending")
    })
    .await;
    let (_, refused) = it.ask("GET", "/api/refused", &json!({})).await;
    let (_, events) = it.ask("GET", "/api/events", &json!({})).await;
    let ids = |list: &serde_json::Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (refused, events) = (ids(&refused["refused"]), ids(&events["events"]));
    assert_eq!((refused.len(), events.len()), (4, 4));
    let mut texts = vec![seen("/metrics").await, seen("/api/refused").await];
    for id in refused {
        texts.push(seen(&format!("/api/refused/{id}")).await);
    }
    for id in events {
        texts.push(seen(&format!("/api/events/{id}")).await);
    }
    texts.push(format!("{sources:?}"));
    for text in texts {
        for secret in [KEY, NEAR, VERIFY, "eyJ"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let files = files(&it.path("journal"));
    let has = |bytes: &[u8], text: &str| {
        let mut parts = bytes.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    };
    // Other headers are in it.
    assert!(files.iter().any(|(_, bytes)| has(bytes, "x-other")));
    for (file, bytes) in &files {
        for secret in [KEY, VERIFY] {
            assert!(!has(bytes, secret), "{secret} in {file}");
        }
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.display().to_string();
            (name, std::fs::read(&path).unwrap())
        })
        .collect()
}

/// Evolution does not send again what was answered 401: the log says so, and so does `offhook check`.
#[actix_web::test]
async fn an_event_that_is_lost_is_an_error() {
    let folder = Folder::new("schemes-lost");
    // The server is found by the path /webhook in its log.
    let text = settings(&folder) + "[[sources]]\nname = \"first\"\nsecrets = [\"0123456789\"]\n";
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    let served = Served::start(&folder);
    let forged = TestRequest::post("{}")
        .path("/evolution-jwt")
        .header("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA");
    assert_eq!(forged.send(served.public).await.status, 401);
    let line = served.program.logged("it is lost");
    assert!(line.contains("ERROR"), "{line}");
    assert!(!line.contains("eyJ"), "{line}");
    // A stranger that scans is no error.
    let bare = TestRequest::post("{}").path("/evolution-jwt");
    assert_eq!(bare.send(served.public).await.status, 401);
    let line = served.program.logged("if it is an event");
    assert!(line.contains("WARN"), "{line}");
    let other = TestRequest::post("{}").path("/telegram");
    assert_eq!(other.send(served.public).await.status, 401);
    let line = served.program.logged("a request to telegram");
    assert!(
        line.contains("WARN") && !line.contains("it is lost"),
        "{line}"
    );

    let checked = within(&folder, &["check"]);
    assert!(checked.status.success(), "{checked:?}");
    let text = String::from_utf8(checked.stdout).unwrap();
    let trap = "Evolution never sends again what was answered 401";
    assert_eq!(text.matches(trap).count(), 1, "{text}");
    assert!(!text.contains(KEY) && !text.contains(VERIFY), "{text}");
}

/// `offhook send` signs as each source wants it.
#[actix_web::test]
async fn the_command_sends_as_each_source_wants() {
    let folder = Folder::new("schemes-send");
    let text = settings(&folder) + "[[sources]]\nname = \"first\"\nsecrets = [\"0123456789\"]\n";
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    let served = Served::start(&folder);
    for scheme in SCHEMES {
        let url = format!("http://{}/{scheme}/of-the-path", served.public);
        let arguments = ["send", url.as_str(), "--source", scheme, "--json"];
        let ran = within(&folder, &arguments);
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{scheme}: {text} {ran:?}");
        assert!(!text.contains(KEY), "{scheme}: {text}");
    }
}

fn within(folder: &Folder, arguments: &[&str]) -> std::process::Output {
    let mut command: Command = offhook(arguments);
    command.current_dir(&folder.0).output().unwrap()
}

/// A proxy that changes the path of Twilio's requests has them refused, which is said before.
#[test]
fn an_address_with_another_path_is_told() {
    let folder = Folder::new("schemes-address");
    let file = folder.0.join("settings.toml");
    for (path, is_told) in [
        ("/twilio", false),
        ("/twilio/s", false),
        ("/twilios", true),
        ("/x", true),
        ("", true),
    ] {
        let text = settings(&folder).replace("me.example/twilio", &format!("me.example{path}"));
        std::fs::write(&file, text).unwrap();
        let settings = offhook::settings::Settings::load(&file).unwrap();
        let warnings = settings.warnings().join("\n");
        assert_eq!(
            warnings.contains("public_url is https://me.example"),
            is_told,
            "{path}: {warnings}"
        );
        // Neither its query nor a hole in the text.
        assert!(
            !warnings.contains("%2F") && !warnings.contains("  "),
            "{warnings}"
        );
    }
}

/// What a body of Twilio or LINE holds is read without further settings.
#[actix_web::test]
async fn forms_and_lists_are_read() {
    let folder = Folder::new("schemes-bodies");
    let text = settings(&folder).replace("dialect = \"raw\"\n", "");
    let it = FromFile::start(folder, text).await;
    let loaded = offhook::settings::Settings::load(it.path("settings.toml")).unwrap();
    let to = it.server.public_address();
    let sent = async |name: &str, body: &str| {
        let source = { loaded.sources.iter() }.find(|source| source.name == name);
        let request = request(source.unwrap(), &format!("/{name}"), body, KEY);
        let answer = request.send(to).await;
        assert!(answer.status < 300, "{answer:?}");
        answer.header("offhook-duplicate").is_some()
    };
    let form = "MessageSid=SM1&SmsStatus=sent&MessageStatus=sent";
    assert!(!sent("twilio", form).await);
    assert!(!sent("twilio", &form.replace("sent", "delivered")).await);
    assert!(sent("twilio", &format!("{form}&More=1")).await);
    // The token that is the same over all tries wins.
    let twilio = { loaded.sources.iter() }.find(|source| source.name == "twilio");
    let tried = async |token: &str, body: &str| {
        let request = request(twilio.unwrap(), "/twilio", body, KEY);
        let request = request.header("I-Twilio-Idempotency-Token", token);
        request.send(to).await.header("offhook-duplicate").is_some()
    };
    assert!(!tried("1", form).await);
    assert!(tried("1", form).await);
    assert!(!tried("2", form).await);
    // Without one of the fields of the id, everything counts.
    let action = "MessageSid=SM1&EventType=onMessageUpdated&Body=";
    assert!(!sent("twilio", &format!("{action}a")).await);
    assert!(!sent("twilio", &format!("{action}b")).await);
    let line = r#"{"destination":"U1","events":[{"type":"message","webhookEventId":"1"},{"type":"follow","webhookEventId":"2"}]}"#;
    assert!(!sent("line", line).await);
    assert!(sent("line", &line.replace("[{", "[ {")).await);
    assert!(!sent("line", r#"{"destination":"U1","events":[]}"#).await);
}
