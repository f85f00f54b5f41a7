//! The headers of requests, and what is shown of a target.

use std::sync::Arc;

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;

use super::*;
use crate::Received;

fn delivery(change: impl FnOnce(&mut Received)) -> Delivery {
    let mut received = Received::new("s", "{}");
    received.id = Uuid::from_u128(7);
    change(&mut received);
    Delivery::new(Arc::new(received), 3, false)
}

fn target(url: &str, secret: Option<Secret>) -> Target {
    Target::new(Url::parse(url).unwrap(), &secret.into(), &Guard::default())
}

fn request(secret: Option<&str>, delivery: &Delivery) -> Request<Full<Bytes>> {
    let secret = secret.map(|text| Secret::new(text).unwrap());
    let now = Timestamp::from_second(1000).unwrap();
    let target = target("https://crm.example/hook?token=t#f", secret);
    target.request(target.uri.clone().unwrap(), delivery, Trace::Off, now)
}

fn lines(request: &Request<Full<Bytes>>) -> Vec<String> {
    let headers = request.headers().iter();
    let mut lines: Vec<String> = headers
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines
}

#[test]
fn without_secret_nothing_is_signed() {
    let request = request(None, &delivery(|_| ()));
    assert_eq!(
        lines(&request),
        [
            "accept: */*",
            "offhook-attempt: 3",
            concat!("user-agent: offhook/", env!("CARGO_PKG_VERSION")),
            "webhook-id: 00000000-0000-0000-0000-000000000007",
            "webhook-timestamp: 1000",
        ]
    );
    assert_eq!(*request.uri(), "https://crm.example/hook?token=t");
    let body = request.into_body().collect().now_or_never().unwrap();
    assert_eq!(body.unwrap().to_bytes(), "{}");
}

#[test]
fn every_secret_signs_and_the_first_signs_twice() {
    let delivery = delivery(|_| ());
    let of = |secrets: &[&str]| {
        let secrets = secrets.iter().map(|text| Secret::new(text).unwrap());
        let secrets = Secrets::new(secrets.collect());
        let url = Url::parse("https://crm.example/").unwrap();
        let target = Target::new(url, &secrets, &Guard::default());
        let now = Timestamp::from_second(1000).unwrap();
        let request = target.request(target.uri.clone().unwrap(), &delivery, Trace::Off, now);
        [WEBHOOK_SIGNATURE, X_WEBHOOK_SIGNATURE]
            .map(|name| request.headers()[name].to_str().unwrap().to_owned())
    };
    let [new, old] = ["new", "whsec_b2xk"].map(|one| of(&[one]));
    let [both, own] = of(&["new", "whsec_b2xk"]);
    assert_eq!(both, format!("{} {}", new[0], old[0]));
    assert_eq!(own, new[1]);
}

#[test]
fn headers_of_the_subscription_are_sent() {
    let mut target = target("https://crm.example/", None);
    target.headers = SubscriptionHeaders::default()
        .text("Authorization", "Bearer x")
        .unwrap();
    let now = Timestamp::from_second(1000).unwrap();
    let request = target.request(
        target.uri.clone().unwrap(),
        &delivery(|_| ()),
        Trace::Off,
        now,
    );
    let sent = &request.headers()["authorization"];
    assert!(sent == "Bearer x" && sent.is_sensitive());
    assert!(!format!("{target:?} {request:?}").contains("Bearer x"));
}

#[test]
fn a_rejected_url_is_not_sent_to() {
    let table = [
        ("https://user:pass@crm.example/hook", "a user or a password"),
        ("http://0x7f.1/hook", "127.0.0.1 is a loopback address"),
        ("http://a.localhost/hook", "loopback address"),
    ];
    for (url, words) in table {
        let why = target(url, None).uri.unwrap_err();
        assert!(why.contains(words) && !why.contains("pass@"), "{why}");
    }
}

#[test]
fn an_empty_body_has_a_length() {
    let empty = delivery(|received| received.body = Bytes::new());
    let length = |delivery| {
        request(None, delivery)
            .headers()
            .get(CONTENT_LENGTH)
            .cloned()
    };
    assert_eq!(length(&empty), Some(HeaderValue::from(0)));
    assert_eq!(length(&delivery(|_| ())), None);
}

#[test]
fn only_type_and_encoding_of_the_senders_headers_pass() {
    let delivery = delivery(|received| {
        let header = |(name, value): (&'static str, &'static str)| (name.into(), value.into());
        let headers = [
            ("content-type", "text/x; charset=latin1"),
            ("content-encoding", "gzip"),
            ("user-agent", "gateway"),
            ("x-webhook-signature", "theirs"),
            ("webhook-id", "theirs"),
            ("x-own", "1"),
        ];
        received.headers = headers.map(header).into();
        received.session = Some("ü\r\nX: 1%".into());
    });
    let delivery = Delivery::new(Arc::new(delivery.received().clone()), 1, true);
    let request = request(Some("key"), &delivery);
    let lines = lines(&request);
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "accept",
            "content-encoding",
            "content-type",
            "offhook-attempt",
            "offhook-replay",
            "offhook-session",
            "user-agent",
            "webhook-id",
            "webhook-signature",
            "webhook-timestamp",
            "x-webhook-signature",
        ]
    );
    assert_eq!(lines[1], "content-encoding: gzip");
    assert_eq!(lines[2], "content-type: text/x; charset=latin1");
    assert_eq!(lines[4], "offhook-replay: true");
    assert_eq!(lines[5], "offhook-session: %C3%BC%0D%0AX:%201%25");
}

#[test]
fn a_session_that_is_too_long_has_no_header() {
    let request = |length| {
        let session = Some("s".repeat(length));
        request(None, &delivery(|received| received.session = session))
    };
    let header = |length| request(length).headers().get(OFFHOOK_SESSION).cloned();
    assert!(header(LONGEST_SESSION).is_some());
    assert!(header(LONGEST_SESSION + 1).is_none());
}

#[test]
fn debug_and_display_show_no_secrets() {
    let url = "https://user:pass@crm.example:8443/hook?token=t";
    let target = target(url, Some(Secret::new("key").unwrap()));
    assert_eq!(target.to_string(), "https://crm.example:8443/hook?…");
    let debug = format!("{target:?}");
    for hidden in ["user", "pass", "token", "key"] {
        assert!(!debug.contains(hidden), "{debug}");
    }
}

/// Whatever an answer may repeat of a request.
#[test]
fn secrets_of_headers_query_and_path_are_hidden() {
    let url =
        "https://crm.example/hook/to%2Bken-of-a-path/x?a=que%2Fry-1&b=plus+query&bare-query-3#f";
    let mut target = target(url, Some(Secret::new("whsec_c2lnbmluZy1rZXk=").unwrap()));
    let headers = [
        ("Authorization", "Basic dXNlci0xOnBhc3M6d29yZA=="),
        ("Cookie", "sid=\"cookie-1\"; other=cookie-2"),
        ("X-Key", "Token header-key,second-key"),
    ];
    for (name, value) in headers {
        target.headers = target.headers.clone().text(name, value).unwrap();
    }
    let uri = target.uri.clone().unwrap();
    let now = Timestamp::from_second(1000).unwrap();
    let request = target.request(uri.clone(), &delivery(|_| ()), Trace::Off, now);
    let hidden = target.hidden(&uri, &Signatures::of(&request));
    let signature = |name| request.headers()[name].to_str().unwrap().to_owned();
    let own = signature(X_WEBHOOK_SIGNATURE);
    let standard = signature(WEBHOOK_SIGNATURE);
    let (_, bare) = standard.split_once(',').unwrap();
    let table = [
        "to%2Bken-of-a-path",
        "to+ken-of-a-path",
        "que%2Fry-1",
        "que/ry-1",
        r"que\/ry-1",
        "plus query",
        "plus%20query",
        "bare-query-3",
        "whsec_c2lnbmluZy1rZXk=",
        r"c2lnbmluZy1rZXk\u003d",
        "dXNlci0xOnBhc3M6d29yZA==",
        "user-1:pass:word",
        "user-1",
        "pass:word",
        "pass&#58;word",
        "cookie-1",
        "cookie-2",
        "sid=\\\"cookie-1\\\"",
        "header-key",
        "second-key",
        &own,
        &standard,
        bare,
    ];
    for shown in table {
        let answer = format!("<{shown}>");
        let text = crate::relay::refusal::text(answer.clone().into_bytes(), &hidden).unwrap();
        let rest = text.trim_matches(|one| "<>*".contains(one));
        assert!(rest.is_empty() || rest == "sid=\\\"", "{answer}: {text}");
    }
}

/// The grammar of W3C Trace Context, level 1.
fn fields(value: &HeaderValue) -> [String; 3] {
    let value = value.to_str().unwrap();
    let parts: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "{value}");
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    assert!(
        parts.iter().all(|part| part.chars().all(is_digit)),
        "{value}"
    );
    assert_eq!(parts[0], "00");
    for id in &parts[1..3] {
        assert!(id.chars().any(|digit| digit != '0'), "{value}");
    }
    [parts[1], parts[2], parts[3]].map(str::to_owned)
}

#[test]
fn the_trace_is_the_event() {
    let mut target = target("https://crm.example/", None);
    target.consumer = "subscription:*:crm".to_owned();
    let parent = |target: &Target, attempt, is_replay, trace| {
        let received = delivery(|_| ()).received().clone();
        let delivery = Delivery::new(Arc::new(received), attempt, is_replay);
        let now = Timestamp::from_second(1000).unwrap();
        let request = target.request(target.uri.clone().unwrap(), &delivery, trace, now);
        request.headers().get(TRACEPARENT).cloned()
    };
    assert_eq!(parent(&target, 1, false, Trace::Off), None);
    let [id, first, flags] = fields(&parent(&target, 1, false, Trace::Sampled).unwrap());
    assert_eq!(id, Uuid::from_u128(7).simple().to_string());
    assert_eq!(flags, "01");
    let again = fields(&parent(&target, 2, true, Trace::Unsampled).unwrap());
    assert_eq!((&again[0], &*again[2]), (&id, "00"));
    assert_ne!(again[1], first);
    let same = fields(&parent(&target, 1, true, Trace::Sampled).unwrap());
    assert_eq!(same, [id, first.clone(), flags]);
    target.consumer = "subscription:*:other".to_owned();
    let other = fields(&parent(&target, 1, false, Trace::Sampled).unwrap());
    assert_ne!(other[1], first);
    target.headers = SubscriptionHeaders::default()
        .text("traceparent", "own")
        .unwrap();
    assert_eq!(parent(&target, 1, false, Trace::Sampled).unwrap(), "own");
}
