//! Which session an event is of, and whose key it needs: decided alike under every dialect.

use offhook::signature::{Scheme as _, Secrets, Unverified, Verifier, XWebhookSignature};
use offhook::testing::TestRequest;
use offhook::{Event, Source};

use super::named;
use crate::support::{KEY, recording, secret, signed};

/// A body, and the session that it is of if it comes on the path of another that has no secrets of its own.
const NAMED: [(&str, &str, &str); 6] = [
    (
        "codeskytz",
        r#"{"event":"status","sessionId":"body"}"#,
        "body",
    ),
    ("waha", r#"{"event":"message","session":"body"}"#, "body"),
    (
        "evolution",
        r#"{"event":"messages.upsert","instance":"body"}"#,
        "body",
    ),
    ("gowa", r#"{"event":"message","device_id":"body"}"#, "body"),
    (
        "meta",
        r#"{"object":"whatsapp_business_account","entry":[{"id":"body","changes":[{"field":"messages"}]}]}"#,
        "body",
    ),
    ("telegram", r#"{"update_id":1,"message":{}}"#, "path"),
];

/// A path whose session has secrets of its own wins over the body, any other does not, under every dialect.
#[actix_web::test]
async fn a_session_is_decided_alike_under_every_dialect() {
    for (name, body, session) in NAMED {
        let mut source = Source::new("gateway").path("/in").secret(secret(KEY));
        source.dialect = named(name);
        let own = secret("a key of its own");
        let source = source.session("own", Secrets::new(vec![own.clone()]));
        let (server, recorder) = recording(|offhook| offhook.source(source)).await;
        let requests = [
            signed(body).path("/in/path"),
            TestRequest::signed(body, &own).path("/in/own"),
        ];
        for request in requests {
            let answer = request.send(server.public_address()).await;
            assert_eq!(answer.status, 200, "{name}");
        }
        let forged = signed(body)
            .path("/in/own")
            .send(server.public_address())
            .await;
        assert_eq!(forged.status, 401, "{name}");
        let events = recorder.events();
        let sessions: Vec<_> = events.iter().map(Event::session_id).collect();
        assert_eq!(sessions, [Some(session), Some("own")], "{name}");
        server.stop().await;
    }
}

/// A gateway that writes an empty name has none to write.
#[actix_web::test]
async fn an_empty_session_is_that_of_the_path() {
    for (name, body, _) in NAMED {
        let mut source = Source::new("gateway").path("/in").secret(secret(KEY));
        source.dialect = named(name);
        let (server, recorder) = recording(|offhook| offhook.source(source)).await;
        let body = body.replace("\"body\"", "\"\"");
        let request = signed(body.as_str()).path("/in/path");
        let answer = request.send(server.public_address()).await;
        assert_eq!(answer.status, 200, "{name}");
        let events = recorder.events();
        assert_eq!(events[0].session_id(), Some("path"), "{name}");
        server.stop().await;
    }
}

/// Whose key a request may be signed with, and which session each path names.
const KEYS: [&str; 3] = ["the key of the source", "the key of own", "the key of body"];
const PATHS: [Option<&str>; 4] = [None, Some("path"), Some("own"), Some("body")];

/// Every path with every key, where `own` and `body` have keys of their own: the path decides if its session has a key,
/// otherwise the body, otherwise the path; and only the key of the session that is decided is right.
#[test]
fn whose_key_is_right_is_decided_alike() {
    let now = offhook::Timestamp::UNIX_EPOCH;
    let [shared, own, body_own] = KEYS.map(secret);
    for (name, body, _) in NAMED {
        let verifier = Verifier::new("gateway")
            .secret(shared.clone())
            .session("own", Secrets::new(vec![own.clone()]))
            .session("body", Secrets::new(vec![body_own.clone()]))
            .dialect(named(name), 1 << 20);
        let in_body = (name != "telegram").then_some("body");
        for path in PATHS {
            let has_key = |session: &&str| matches!(*session, "own" | "body");
            let session = path.filter(has_key).or(in_body).or(path);
            let right = match session {
                Some("own") => &own,
                Some("body") => &body_own,
                _ => &shared,
            };
            for key in [&shared, &own, &body_own] {
                let header = XWebhookSignature.sign(body.as_bytes(), key, now).remove(0);
                let headers = [(header.name.as_ref(), header.value.as_str())];
                let claimed = verifier.claim(&&headers[..], None, now).unwrap();
                let mut request = Unverified::new(body.to_owned(), now);
                request.session = path.map(str::to_owned);
                let verified = verifier.verify(&claimed, request);
                let is_right = std::ptr::eq(key, right);
                assert_eq!(verified.is_ok(), is_right, "{name} {path:?} {verified:?}");
                if let Ok(verified) = verified {
                    let sender = verified.sender();
                    assert_eq!(sender.session.as_deref(), session, "{name} {path:?}");
                }
            }
        }
    }
}

/// A body of several sessions needs the key of each: none speaks for another.
#[test]
fn a_batch_needs_the_key_of_each_session() {
    let now = offhook::Timestamp::UNIX_EPOCH;
    let [shared, own, _] = KEYS.map(secret);
    let verifier = Verifier::new("gateway")
        .secret(shared.clone())
        .session("own", Secrets::new(vec![own.clone()]))
        .dialect(named("meta"), 1 << 20);
    for (sessions, right) in [
        (["a", "b"], Some(&shared)),
        (["own", "own"], Some(&own)),
        (["own", "a"], None),
        (["a", "own"], None),
    ] {
        let events = sessions.map(|session| (session, "m", false));
        let body = crate::batches::meta(&events);
        for key in [&shared, &own] {
            let header = XWebhookSignature.sign(body.as_bytes(), key, now).remove(0);
            let headers = [(header.name.as_ref(), header.value.as_str())];
            let claimed = verifier.claim(&&headers[..], None, now).unwrap();
            let verified = verifier.verify(&claimed, Unverified::new(body.clone(), now));
            let is_right = right.is_some_and(|right| std::ptr::eq(right, key));
            assert_eq!(verified.is_ok(), is_right, "{sessions:?}");
        }
    }
}
