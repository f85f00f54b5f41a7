//! Evolution writes the key of its API into each body. It is shown nowhere: only consumers get it, and an administrator
//! that asks for every byte.

use std::io::Write as _;

use offhook::testing::{TestRequest, TestResponse};
use serde_json::Value;

use crate::served::{Served, until};
use crate::support::{Folder, KEY, Program, offhook, secret};

const ADMIN: &str = "token-of-the-administrator";
const VIEWER: &str = "token-of-the-viewer";

/// The credential, as part of which no other text must look.
const HIDDEN: &str = "key0of0the0gateway";
const CALL: &str =
    r#"{"event":"call","instance":"s","apikey":"key0of0the0gateway","data":{"id":"1"}}"#;
const MESSAGE: &str = r#"{"apikey":"key0of0the0gateway","event":"messages.upsert","instance":"s","data":{"key":{"remoteJid":"1@s.whatsapp.net","fromMe":false,"id":"m"},"message":{"conversation":"hi"}}}"#;

/// A server whose logs say much, with a viewer that sees bodies.
fn start(folder: &Folder, sources: &str) -> Served {
    let text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{ADMIN}\"\nviewer_token = \"{VIEWER}\"\nshow_bodies = \"viewer\"\n\
         [log]\nlevel = \"debug\"\n\
         [journal]\npath = \"journal\"\n\
         [[handlers]]\nname = \"lines\"\nuse = \"log\"\n{sources}"
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    Served::start(folder)
}

fn evolution() -> String {
    format!("[[sources]]\nname = \"evolution\"\ndialect = \"evolution\"\nsecrets = [\"{KEY}\"]\n")
}

async fn get(served: &Served, path: &str, token: &str) -> TestResponse {
    let request = TestRequest::get(path).header("Authorization", &format!("Bearer {token}"));
    request.send(served.admin).await
}

async fn json(served: &Served, path: &str) -> Value {
    let answer = get(served, path, ADMIN).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// The id of each event, oldest first, when there are so many.
async fn ids(served: &Served, count: usize) -> Vec<String> {
    let list = async || json(served, "/api/events").await["events"].take();
    let all = async || list().await.as_array().unwrap().len() == count;
    until("all listed", all).await;
    let list = list().await;
    let ids = list.as_array().unwrap().iter().rev();
    ids.map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

fn packed(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

async fn send(served: &Served, request: TestRequest, status: u16) {
    let answer = request.send(served.public).await;
    assert_eq!(answer.status, status, "{answer:?}");
}

#[actix_web::test]
async fn a_gateways_credential_is_shown_nowhere() {
    let folder = Folder::new("credentials");
    let served = start(&folder, &evolution());
    let signed = |body: Vec<u8>| TestRequest::signed(body, &secret(KEY));
    send(&served, signed(CALL.into()), 200).await;
    send(&served, signed(MESSAGE.into()), 200).await;
    let encoded = signed(packed(&CALL.replace("\"1\"", "\"2\"")));
    send(&served, encoded.header("Content-Encoding", "gzip"), 200).await;
    // Refused for their secret, one of them encoded.
    let wrong = |body: Vec<u8>| TestRequest::signed(body, &secret("another key of theirs"));
    send(&served, wrong(CALL.into()), 401).await;
    let encoded = wrong(packed(CALL)).header("Content-Encoding", "gzip");
    send(&served, encoded, 401).await;

    let events = ids(&served, 3).await;
    let refused = json(&served, "/api/refused").await;
    let refused: Vec<&str> = { refused["refused"].as_array().unwrap().iter() }
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(refused.len(), 2);
    let mut paths: Vec<String> = [
        "/api/events",
        "/api/refused",
        "/api/conversations?session=s",
        #[cfg(feature = "dashboard")]
        "/ui/events",
        #[cfg(feature = "dashboard")]
        "/ui/conversations?session=s",
    ]
    .map(str::to_owned)
    .into();
    for id in &events {
        paths.extend([
            format!("/api/events/{id}"),
            format!("/api/events/{id}/body"),
        ]);
        #[cfg(feature = "dashboard")]
        paths.push(format!("/ui/events/{id}"));
    }
    for id in &refused {
        paths.push(format!("/api/refused/{id}"));
        #[cfg(feature = "dashboard")]
        paths.push(format!("/ui/refused/{id}"));
    }
    let mut starred = 0;
    for path in &paths {
        for token in [ADMIN, VIEWER] {
            let answer = get(&served, path, token).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let shown = answer.text();
            assert!(!shown.contains(HIDDEN), "{path}: {shown}");
            starred += usize::from(shown.contains("***"));
        }
    }
    // Each page and answer about one of them, for both.
    let pages = if cfg!(feature = "dashboard") { 13 } else { 8 };
    assert!(starred >= 2 * pages, "{starred}");

    // A search would tell it piece by piece.
    for (text, count) in [("key0of", 0), ("call", 2)] {
        let found = json(&served, &format!("/api/events?contains={text}")).await;
        assert_eq!(found["events"].as_array().unwrap().len(), count, "{text}");
    }

    // An administrator gets every byte that was sent, and a viewer does not.
    let body = async |id: &str, token| {
        let answer = get(&served, &format!("/api/events/{id}/body?raw=true"), token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let encoding = answer.header("offhook-content-encoding").map(str::to_owned);
        (answer.body.to_vec(), encoding)
    };
    assert_eq!(body(&events[0], ADMIN).await, (CALL.into(), None));
    let gzip = Some("gzip".to_owned());
    assert_eq!(body(&events[2], ADMIN).await.1, gzip);
    let starred = CALL.replace(HIDDEN, "***");
    assert_eq!(
        body(&events[0], VIEWER).await,
        (starred.clone().into(), None)
    );
    let of_encoded = starred.replace("\"1\"", "\"2\"");
    assert_eq!(body(&events[2], VIEWER).await, (of_encoded.into(), None));

    // Nor do the commands and the logs.
    let admin = format!("http://{}", served.admin);
    let run = |arguments: &[&str]| {
        let own = ["--admin", &admin, "--token", VIEWER];
        let ran = offhook(&[arguments, &own].concat()).output().unwrap();
        let ran = crate::support::Ran::from(ran);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(!format!("{ran:?}").contains(HIDDEN), "{ran:?}");
        ran.printed
    };
    assert!(run(&["events", &events[0]]).contains("***"));
    assert!(run(&["refused", refused[0]]).contains("***"));
    let all = ["tail", "--json", "--from", "2000-01-01T00:00:00Z"];
    let own = ["--admin", &admin, "--token", VIEWER];
    let tail = Program::start(&mut offhook(&[&all[..], &own].concat()));
    for _ in &events {
        assert!(!tail.line().contains(HIDDEN));
    }
    tail.kill();
    served.program.signal("TERM");
    let printed: Vec<String> = events.iter().map(|_| served.program.line()).collect();
    assert!(!printed.join("\n").contains(HIDDEN), "{printed:?}");
    let logged = served.program.all_logged();
    assert!(
        logged.contains("DEBUG") && !logged.contains(HIDDEN),
        "{logged}"
    );
}

/// The dialect is not known any more, and the events are.
#[actix_web::test]
async fn it_stays_hidden_when_its_source_is_gone() {
    let folder = Folder::new("credentials-gone");
    let served = start(&folder, &evolution());
    let signed = TestRequest::signed(CALL, &secret(KEY));
    send(&served, signed, 200).await;
    ids(&served, 1).await;
    served.program.stop();
    let other = format!("[[sources]]\nname = \"codeskytz\"\nsecrets = [\"{KEY}\"]\n");
    let served = start(&folder, &other);
    let id = ids(&served, 1).await.remove(0);
    for path in [
        format!("/api/events/{id}"),
        format!("/api/events/{id}/body"),
    ] {
        let shown = get(&served, &path, ADMIN).await.text();
        assert!(shown.contains("***") && !shown.contains(HIDDEN), "{shown}");
    }
    let found = json(&served, "/api/events?contains=key0of").await;
    assert_eq!(found["events"], Value::Array(Vec::new()));
    served.program.stop();
}

/// A source may have another dialect than its gateway's: it was forgotten, or changed later.
#[actix_web::test]
async fn it_is_hidden_under_every_dialect() {
    let folder = Folder::new("credentials-other");
    for (count, dialect) in (1..).zip(["evolution", "codeskytz", "raw"]) {
        let source = evolution().replace(
            "= \"evolution\"\nsecrets",
            &format!("= \"{dialect}\"\nsecrets"),
        );
        assert!(source.contains(&format!("dialect = \"{dialect}\"")));
        let served = start(&folder, &source);
        let body = MESSAGE.replace("\"m\"", &format!("\"{dialect}\""));
        let signed = TestRequest::signed(body.as_str(), &secret(KEY));
        send(&served, signed, 200).await;
        let wrong = TestRequest::signed(body.as_str(), &secret("another key of theirs"));
        send(&served, wrong, 401).await;
        let refused = json(&served, "/api/refused").await["refused"][0].take();
        let mut paths = vec![format!("/api/refused/{}", refused["id"].as_str().unwrap())];
        for id in ids(&served, count).await {
            paths.push(format!("/api/events/{id}"));
            paths.push(format!("/api/events/{id}/body"));
            #[cfg(feature = "dashboard")]
            paths.push(format!("/ui/events/{id}"));
        }
        for path in paths {
            let shown = get(&served, &path, VIEWER).await.text();
            let is_hidden = shown.contains("***") && !shown.contains(HIDDEN);
            assert!(is_hidden, "{dialect} {path}: {shown}");
        }
        let found = json(&served, "/api/events?contains=key0of").await;
        assert_eq!(found["events"], Value::Array(Vec::new()), "{dialect}");
        served.program.stop();
    }
}
