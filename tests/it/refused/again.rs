//! Verifying refused requests again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use offhook::clock::Clock as _;
use offhook::signature::{Scheme as _, StandardWebhooks, Twilio};
use offhook::testing::{self, FakeClock, Recorder, TempJournal, TestRequest};
use offhook::{Offhook, Source};
use serde_json::json;
use std::sync::Arc;

use super::{NEW, OLD, Refusing, message};
use crate::served::until;
use crate::support::{Folder, ask, secret};

/// The gateway has the new secret first.
#[actix_web::test]
async fn nothing_is_lost_in_a_rotation_gone_wrong() {
    let it = Refusing::start("refused-rotation", "").await;
    let ids: Vec<String> = (0..100).map(|number| format!("m{number:03}")).collect();
    for id in &ids {
        it.send(&message(id, NEW), 401).await;
    }
    // A stranger's, among them.
    it.send(&message("forged", "no secret of anyone"), 401)
        .await;
    let none = json!({"looked_at": 101, "valid": 0, "accepted": 0, "duplicates": 0});
    let (status, answer) = it.ask("POST", "/api/refused/verify", &json!({})).await;
    assert_eq!((status, answer), (200, none));

    it.change(OLD, NEW).await;
    // What is left to do is on the first page.
    until("it is told", async || {
        let now = TestRequest::get("/ui/now");
        let now = now.send(it.server.admin_address().unwrap()).await;
        now.text()
            .contains("100 refused requests can be accepted now: verify again")
    })
    .await;
    let dry = json!({"looked_at": 101, "valid": 100, "accepted": 0, "duplicates": 0});
    let (_, answer) = it
        .ask("POST", "/api/refused/verify", &json!({"dry_run": true}))
        .await;
    assert_eq!(answer, dry);
    let (_, answer) = it.ask("POST", "/api/refused/verify", &json!({})).await;
    let all = json!({"looked_at": 101, "valid": 100, "accepted": 100, "duplicates": 0});
    assert_eq!(answer, all);
    assert_eq!(it.handled(100).await, ids);

    // The gateway tries again, and the administrator too.
    for id in &ids {
        let answer = message(id, NEW).send(it.public()).await;
        let duplicate = answer.header("offhook-duplicate");
        assert_eq!((answer.status, duplicate), (200, Some("true")), "{id}");
    }
    let (_, answer) = it.ask("POST", "/api/refused/verify", &json!({})).await;
    assert_eq!(answer["looked_at"], 1);
    it.send(&message("last", NEW), 200).await;
    let handled = it.handled(101).await;
    assert_eq!((handled.len(), handled[100].as_str()), (101, "last"));
    it.0.server.stop().await;
}

/// The gateway has tried again before the administrator does.
#[actix_web::test]
async fn what_has_come_in_the_meantime_is_a_duplicate() {
    let it = Refusing::start("refused-duplicate", "").await;
    it.send(&message("1", NEW), 401).await;
    it.send(&message("2", NEW), 401).await;
    it.change(OLD, NEW).await;
    it.send(&message("1", NEW), 200).await;
    let newest = it.list("").await["refused"][0].take();
    let id = newest["id"].as_str().unwrap();
    let (status, one) = it
        .ask("POST", &format!("/api/refused/{id}/verify"), &json!({}))
        .await;
    assert_eq!(
        (status, &one["valid"], &one["duplicate"]),
        (200, &json!(true), &json!(false))
    );
    let event = format!("/api/events/{}", one["event"].as_str().unwrap());
    let (status, event) = it.ask("GET", &event, &json!({})).await;
    assert_eq!((status, &event["received_at"]), (200, &newest["at"]));
    let (_, answer) = it
        .ask("POST", "/api/refused/verify", &json!({"source": "hub"}))
        .await;
    let duplicate = json!({"looked_at": 1, "valid": 1, "accepted": 1, "duplicates": 1});
    assert_eq!(answer, duplicate);
    // Neither is kept any more.
    let (status, gone) = it
        .ask("POST", &format!("/api/refused/{id}/verify"), &json!({}))
        .await;
    assert_eq!((status, &gone["code"]), (404, &json!("not_found")));
    assert_eq!(it.handled(2).await, ["1", "2"]);
    it.0.server.stop().await;
}

/// A timestamp is judged as it was at the time of receipt, and without a journal handlers run at once.
#[actix_web::test]
async fn it_is_judged_at_its_time_also_without_a_journal() {
    let clock = Arc::new(FakeClock::new("2026-01-08T12:00:00Z".parse().unwrap()));
    let recorder = Recorder::default();
    let own = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let source = Source::new("partner")
        .scheme(StandardWebhooks::default())
        .secret(own.clone());
    // The session has a secret that the sender does not know, and the body is of it only by the path.
    let source = source.session("own", secret("whsec_AAAA").into());
    let offhook = Offhook::builder()
        .source(source)
        .handler("recorder", recorder.clone())
        .clock(clock.clone());
    let server = testing::start(offhook).await;
    let (public, admin) = (server.public_address(), server.admin_address().unwrap());
    let body = r#"{"event":"message","messageId":"1","from":"+1","message":"hi"}"#;
    let signed = |path: &str| {
        let headers = StandardWebhooks::default().sign(body.as_bytes(), &own, clock.now());
        let request = TestRequest::post(body).path(path);
        headers.iter().fold(request, |request, header| {
            request.header(&header.name, &header.value)
        })
    };
    let late = signed("/webhook");
    assert_eq!(signed("/webhook/own").send(public).await.status, 401);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(late.send(public).await.status, 401);
    let (_, answer) = ask(admin, "POST", "/api/refused/verify", "{}").await;
    assert_eq!(
        (&answer["looked_at"], &answer["valid"]),
        (&json!(2), &json!(0))
    );
    assert!(recorder.events().is_empty());
    // What is late is explained.
    crate::served::until("both are explained", async || {
        let (_, list) = ask(admin, "GET", "/api/refused", "").await;
        let reasons = list["refused"].as_array().unwrap().iter();
        let reasons: Vec<_> = reasons
            .map(|one| one["reason"].as_str().unwrap_or(""))
            .collect();
        reasons == ["timestamp", "own-secrets"]
    })
    .await;
    server.stop().await;
}

/// A program with a handler of its own, whose settings have the old secret at first.
struct InCode {
    journal: TempJournal,
    recorder: Recorder,
    folder: Folder,
}

impl InCode {
    fn new(name: &str) -> Self {
        let it = Self {
            journal: TempJournal::new(),
            recorder: Recorder::default(),
            folder: Folder::new(name),
        };
        it.write(OLD);
        it
    }

    fn offhook(&self) -> Offhook {
        let offhook = Offhook::from_settings(self.folder.0.join("settings.toml")).unwrap();
        let offhook = offhook.journal(self.journal.settings());
        offhook.handler("recorder", self.recorder.clone())
    }

    fn write(&self, secret: &str) {
        let text = format!("[admin]\n[[sources]]\nname = \"hub\"\nsecrets = [\"{secret}\"]\n");
        std::fs::write(self.folder.0.join("settings.toml"), text).unwrap();
    }

    /// Has the new secret loaded.
    async fn rotate(&self, admin: SocketAddr) {
        self.write(NEW);
        let (status, _) = ask(admin, "POST", "/api/reload", "{}").await;
        assert_eq!(status, 200);
    }
}

/// Handlers can see that an event was refused first, and no sender can pretend it.
#[actix_web::test]
async fn a_recovered_event_is_marked() {
    let it = InCode::new("refused-marked");
    let recorder = it.recorder.clone();
    let server = testing::start(it.offhook()).await;
    let (public, admin) = (server.public_address(), server.admin_address().unwrap());
    let own = message("1", NEW)
        .header("offhook-recovered", "true")
        .header("X-Own", "x");
    assert_eq!(own.send(public).await.status, 401);
    it.rotate(admin).await;
    let (_, answer) = ask(admin, "POST", "/api/refused/verify", "{}").await;
    assert_eq!(answer["accepted"], 1);
    let pretended = message("2", NEW).header("offhook-recovered", "true");
    assert_eq!(pretended.send(public).await.status, 200);
    recorder.wait_for(2).await;
    let deliveries = recorder.deliveries();
    let marks = deliveries
        .iter()
        .map(|delivery| delivery.header("offhook-recovered"));
    assert_eq!(marks.collect::<Vec<_>>(), [Some(&b"true"[..]), None]);
    assert_eq!(deliveries[0].header("x-own"), Some(&b"x"[..]));
    server.stop().await;
}

/// What has no id is compared by its bytes, and by when it came.
#[actix_web::test]
async fn what_came_hours_apart_is_no_duplicate() {
    let clock = Arc::new(FakeClock::new("2026-01-08T12:00:00Z".parse().unwrap()));
    let it = InCode::new("refused-apart");
    let recorder = it.recorder.clone();
    let server = testing::start(it.offhook().clock(clock.clone())).await;
    let (public, admin) = (server.public_address(), server.admin_address().unwrap());
    let alarm = TestRequest::signed(r#"{"alert":"the disk is full"}"#, &secret(NEW));
    for pause in [0, 10, 3600, 3600] {
        clock.advance(Duration::from_secs(pause));
        assert_eq!(alarm.send(public).await.status, 401);
    }
    it.rotate(admin).await;
    let (_, answer) = ask(admin, "POST", "/api/refused/verify", "{}").await;
    // The second came ten seconds after the first.
    let all = json!({"looked_at": 4, "valid": 4, "accepted": 4, "duplicates": 1});
    assert_eq!(answer, all);
    let again = alarm.send(public).await;
    let duplicate = again.header("offhook-duplicate");
    assert_eq!((again.status, duplicate), (200, Some("true")));
    recorder.wait_for(3).await;
    server.stop().await;
    assert_eq!(recorder.events().len(), 3);
}

/// The whole address is signed: with a session that looks like a token, an escape, and a query.
#[actix_web::test]
async fn a_signed_address_is_verified_as_it_was_sent() {
    let more = format!(
        "[[sources]]\nname = \"sms\"\npath = \"/sms\"\nscheme = \"twilio\"\ndialect = \"raw\"\n\
         public_url = \"https://me.example/sms\"\nsecrets = [\"another-{OLD}\"]\n"
    );
    let it = Refusing::start("refused-address", &more).await;
    let twilio = Twilio::new("https://me.example/sms").unwrap();
    let body = "Body=Hello&From=%2B1";
    let post = |signed: &str, sent: &str| {
        let now = offhook::Timestamp::UNIX_EPOCH;
        let headers = twilio.sign_at(signed, body.as_bytes(), &secret(NEW), now);
        let request = TestRequest::post(body).path(sent);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        headers.iter().fold(request, |request, header| {
            request.header(&header.name, &header.value)
        })
    };
    let targets = [
        "/sms",
        "/sms?token=x",
        "/sms/AC0123456789abcdef0123456789abcdef",
        "/sms/a%2Fb%20c?n=1",
    ];
    for target in targets {
        it.send(&post(target, target), 401).await;
    }
    // It was signed for another session.
    it.send(&post("/sms/one", "/sms/two"), 401).await;
    it.send(&post("/sms", "/sms/two"), 401).await;
    // Longer than what is kept.
    let long = format!("/sms/{}", "x".repeat(5000));
    it.send(&post(&long, &long), 401).await;
    let list = it.list("").await.to_string();
    assert!(!list.contains("token=x"), "{list}");
    it.change(&format!("another-{OLD}"), NEW).await;
    let (_, answer) = it.ask("POST", "/api/refused/verify", &json!({})).await;
    // Two came with the same bytes, and without a session.
    let all = json!({"looked_at": 6, "valid": 4, "accepted": 4, "duplicates": 1});
    assert_eq!(answer, all);
    let (_, found) = it.ask("GET", "/api/events", &json!({})).await;
    let events = found["events"].as_array().unwrap().iter();
    let sessions: BTreeSet<_> = events.map(|event| event["session"].as_str()).collect();
    until("both are explained", async || {
        let list = it.list("").await;
        let reasons = list["refused"].as_array().unwrap().iter();
        let reasons: Vec<_> = reasons.map(|one| one["reason"].as_str()).collect();
        // The second was signed for the very address of the settings.
        reasons == ["unexplained", "address", "unexplained"].map(Some)
    })
    .await;
    let own = "AC0123456789abcdef0123456789abcdef";
    assert_eq!(sessions, [None, Some(own), Some("a/b c")].into());
    it.0.server.stop().await;
}

#[actix_web::test]
async fn what_cannot_be_verified_is_said() {
    let it = Refusing::start("refused-not", "").await;
    it.send(&TestRequest::post("{}"), 401).await;
    let newest = it.newest().await;
    let path = format!("/api/refused/{}/verify", newest["id"].as_str().unwrap());
    let (status, answer) = it.ask("POST", &path, &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("body_not_kept")));

    it.send(&message("1", NEW), 401).await;
    let newest = it.newest().await;
    let beginning = &newest["id"].as_str().unwrap()[..30];
    let (status, answer) = it
        .ask(
            "POST",
            &format!("/api/refused/{beginning}/verify"),
            &json!({}),
        )
        .await;
    assert_eq!((status, &answer["valid"]), (200, &json!(false)));
    assert_eq!(answer["findings"][0]["reason"], "unexplained");

    for (method, path, status) in [
        ("POST", "/api/refused/00000000-0000/verify", 404),
        ("POST", "/api/refused/0198/verify", 400),
        ("GET", "/api/refused/verify", 405),
        ("GET", "/api/refused?kind=x", 400),
        ("GET", "/api/refused?before=x", 400),
        ("DELETE", "/api/refused?all=true", 400),
        ("PUT", "/api/refused", 405),
    ] {
        let (found, answer) = it.ask(method, path, &json!({})).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
    }
    let (status, answer) = it
        .ask("POST", "/api/refused/verify", &json!({"all": true}))
        .await;
    assert_eq!((status, &answer["code"]), (400, &json!("unknown_field")));
    it.0.server.stop().await;
}

/// Behind one that a handler has failed nothing of its session is taken; other sessions go on.
#[actix_web::test]
async fn nothing_overtakes_what_could_not_be_accepted() {
    let recorder = Recorder::default();
    let folder = crate::support::Folder::new("refused-order");
    let file = folder.0.join("settings.toml");
    let text =
        |secret: &str| format!("[admin]\n[[sources]]\nname = \"hub\"\nsecrets = [\"{secret}\"]\n");
    std::fs::write(&file, text(OLD)).unwrap();
    let offhook = Offhook::from_settings(&file).unwrap();
    let server = testing::start(offhook.handler("recorder", recorder.clone())).await;
    let (public, admin) = (server.public_address(), server.admin_address().unwrap());
    let of = |id: &str, session: &str| {
        let event = testing::TestEvent::message("+1", "hello").id(id);
        event.session(session).sign(&secret(NEW))
    };
    for (id, session) in [("1", "a"), ("2", "a"), ("3", "b")] {
        assert_eq!(of(id, session).send(public).await.status, 401);
    }
    std::fs::write(&file, text(NEW)).unwrap();
    let (status, _) = ask(admin, "POST", "/api/reload", "{}").await;
    assert_eq!(status, 200);
    recorder.fail_next(1);
    let (_, answer) = ask(admin, "POST", "/api/refused/verify", "{}").await;
    let one =
        json!({"looked_at": 3, "valid": 3, "accepted": 1, "duplicates": 0, "not_accepted": 2});
    assert_eq!(answer, one);
    let (_, answer) = ask(admin, "POST", "/api/refused/verify", "{}").await;
    let both = json!({"looked_at": 2, "valid": 2, "accepted": 2, "duplicates": 0});
    assert_eq!(answer, both);
    let ids = recorder.events().into_iter().map(|event| match event {
        offhook::Event::Message(message) => message.message_id.unwrap_or_default(),
        other => panic!("{other:?}"),
    });
    let ids: Vec<String> = ids.collect();
    assert!(
        ids.ends_with(&["3", "1", "2"].map(str::to_owned)),
        "{ids:?}"
    );
    server.stop().await;
}

/// Verifying says what it cannot look at, apart from paths that no source has.
#[actix_web::test]
async fn what_is_not_kept_is_said() {
    let it = Refusing::start("refused-lost", "").await;
    it.change("[refused]", "[refused]\nkeep = 1").await;
    for id in ["1", "2", "3"] {
        it.send(&message(id, NEW), 401).await;
    }
    it.send(&TestRequest::post("{}").path("/.env"), 404).await;
    for (which, dropped) in [
        (json!({}), json!(2)),
        (json!({"source": "hub"}), json!(2)),
        (json!({"source": "other"}), json!(null)),
    ] {
        let (_, answer) = it.ask("POST", "/api/refused/verify", &which).await;
        assert_eq!(answer["dropped"], dropped, "{answer}");
        let is_said = answer["dropped_first"].is_string() && answer["dropped_last"].is_string();
        assert_eq!(is_said, dropped.is_number(), "{answer}");
    }
    it.0.server.stop().await;
}
