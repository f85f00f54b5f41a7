//! What may ask: pages of other sites, senders that try a URL, load balancers; and how paths are written.

use offhook::signature::{Secret, Secrets};
use offhook::testing::{Recorder, TestRequest};
use offhook::{Offhook, Source, testing};

use super::{NEW, sent};
use crate::support::{KEY, Raw, recording, secret, signed, source};

/// A browser says for which site it asks. Other sites' pages are refused, whatever they show.
#[actix_web::test]
async fn pages_of_other_sites_are_refused() {
    for token in [None, Some("the-admin-token")] {
        let mut offhook = Offhook::builder().source(source());
        if let Some(token) = token {
            offhook = offhook.configure(|settings| {
                settings.admin.as_mut().unwrap().token = Some(Secret::new(token).unwrap());
            });
        }
        let server = testing::start(offhook.handler("recorder", Recorder::default())).await;
        let admin = server.admin_address().unwrap();
        let request = |method: &str, path: &str, site: Option<&str>| {
            let mut request = TestRequest::get(path);
            method.clone_into(&mut request.method);
            if let Some(token) = token {
                request = request.header("Authorization", &format!("Bearer {token}"));
            }
            match site {
                Some(site) => request.header("Sec-Fetch-Site", site),
                None => request,
            }
        };
        for (method, path) in [
            ("GET", "/api/consumers"),
            ("GET", "/metrics"),
            ("GET", "/ui/now"),
            ("POST", "/api/consumers/handler:recorder/pause"),
            ("DELETE", "/sessions/s/webhook"),
            ("HEAD", "/api/consumers"),
        ] {
            for site in ["cross-site", "same-site", "Same-Origin", "x"] {
                let answer = request(method, path, Some(site)).send(admin).await;
                assert_eq!(answer.status, 403, "{method} {path} {site}");
            }
            for site in [None, Some("same-origin"), Some("none")] {
                let answer = request(method, path, site).send(admin).await;
                assert_ne!(answer.status, 403, "{method} {path} {site:?}");
            }
            let twice = request(method, path, Some("none")).header("Sec-Fetch-Site", "cross-site");
            assert_eq!(twice.send(admin).await.status, 403, "{method} {path}");
        }
        // These tell nothing, and a link from anywhere may lead to them.
        for path in [
            "/health",
            "/ready",
            #[cfg(feature = "dashboard")]
            "/",
        ] {
            let answer = request("GET", path, Some("cross-site")).send(admin).await;
            assert_eq!(answer.status, 200, "{path}");
        }
        server.stop().await;
    }
}

async fn probed(
    path: &str,
    method: &str,
    to: std::net::SocketAddr,
) -> (u16, String, Option<String>) {
    let mut request = TestRequest::get(path);
    method.clone_into(&mut request.method);
    let answer = request.send(to).await;
    let allow = answer.header("allow").map(str::to_owned);
    (answer.status, answer.text(), allow)
}

#[actix_web::test]
async fn a_probe_is_answered_where_it_is_allowed() {
    let token = "0123456789abcdef-._~";
    let own = Secrets::new(vec![secret("own")]);
    let probed_source = source().probe().session("own", own);
    let open = Source::new("open")
        .path("/open")
        .dangerous_unsigned(secret(token))
        .probe();
    let closed = Source::new("closed").path("/closed").secret(secret(KEY));
    let recorder = Recorder::default();
    let offhook = Offhook::builder()
        .source(probed_source)
        .source(open)
        .source(closed);
    let offhook = offhook
        .handler("recorder", recorder.clone())
        .without_admin();
    let server = testing::start(offhook).await;
    let to = server.public_address();
    let open = format!("/open/{token}");
    for path in [
        "/webhook",
        "/webhook/",
        "/webhook/s",
        "/webhook/own",
        "/webhook/s/",
        "/webhook?hub.mode=x",
        &open,
        &format!("{open}/"),
        &format!("{open}/s"),
    ] {
        for method in ["GET", "HEAD"] {
            assert_eq!(
                probed(path, method, to).await,
                (200, String::new(), None),
                "{method} {path}"
            );
        }
        let (status, _, allow) = probed(path, "PUT", to).await;
        assert_eq!(
            (status, allow.as_deref()),
            (405, Some("GET, HEAD, POST")),
            "{path}"
        );
    }
    for (path, expected) in [
        (format!("/open/{}", &token[1..]), 401),
        (format!("/open/x/{token}"), 401),
        ("/open/s".to_owned(), 401),
        ("/open".to_owned(), 404),
        ("/closed".to_owned(), 405),
        ("/closed/s".to_owned(), 405),
        ("/webhook/a/b".to_owned(), 404),
    ] {
        for method in ["GET", "HEAD"] {
            assert_eq!(
                probed(&path, method, to).await.0,
                expected,
                "{method} {path}"
            );
        }
    }
    // Neither a probe nor a POST without a signature makes an event.
    assert_eq!(TestRequest::post("{}").send(to).await.status, 401);
    assert!(recorder.events().is_empty());
    assert_eq!(sent(&signed("{}"), to).await, NEW);
    server.stop().await;
}

/// The connection stays usable behind a probe, and a probe's body is not the next request.
#[actix_web::test]
async fn a_probe_keeps_its_connection() {
    let (server, recorder) = recording(|offhook| {
        offhook.configure(|settings| settings.sources = vec![source().probe()])
    })
    .await;
    let mut raw = Raw::connect(server.public_address()).await;
    raw.send(TestRequest::get("/webhook").bytes()).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.send(signed("{}").bytes()).await;
    assert_eq!(raw.answer().await.status, 200);
    let mut hiding = TestRequest::get("/webhook");
    hiding.body = signed("{}").bytes();
    raw.send(hiding.bytes()).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.expect_end().await;
    assert_eq!(recorder.events().len(), 1);
    server.stop().await;
}

#[actix_web::test]
async fn the_health_path_is_served_where_it_is_set() {
    let (server, _) = recording(|offhook| offhook).await;
    assert_eq!(
        probed("/healthz", "GET", server.public_address()).await.0,
        404
    );
    server.stop().await;
    let (server, recorder) = recording(|offhook| {
        offhook.configure(|settings| settings.server.health_path = Some("/healthz".to_owned()))
    })
    .await;
    let to = server.public_address();
    let good = (200, r#"{"status":"ok"}"#.to_owned(), None);
    assert_eq!(probed("/healthz", "GET", to).await, good);
    assert_eq!(probed("/healthz?x=1", "GET", to).await, good);
    assert_eq!(
        probed("/healthz", "HEAD", to).await,
        (200, String::new(), None)
    );
    let (status, _, allow) = probed("/healthz", "DELETE", to).await;
    assert_eq!((status, allow.as_deref()), (405, Some("GET, HEAD")));
    assert_eq!(sent(&signed("{}").path("/healthz"), to).await, 405);
    assert_eq!(sent(&signed("{}"), to).await, NEW);
    assert_eq!(recorder.events().len(), 1);
    server.stop().await;
}

#[actix_web::test]
async fn one_slash_too_many_is_the_same_path() {
    let recorder = Recorder::default();
    let hub = Source::new("hub")
        .path("/webhook/hub")
        .secret(secret("hub"));
    let offhook = Offhook::builder().source(source()).source(hub);
    let offhook = offhook
        .handler("recorder", recorder.clone())
        .without_admin();
    let server = testing::start(offhook).await;
    let to = server.public_address();
    for (path, key, status, session) in [
        ("/webhook/", KEY, 200, None),
        ("/webhook/s/", KEY, 200, Some("s")),
        ("/webhook/s%2F/", KEY, 200, Some("s/")),
        ("/webhook/hub/", "hub", 200, None),
        ("/webhook/hub/", KEY, 401, None),
        ("/webhook/hub/s/", "hub", 200, Some("s")),
        ("/webhook//", KEY, 404, None),
        ("//webhook", KEY, 404, None),
        ("/webhook/s//", KEY, 404, None),
        ("/webhook//s", KEY, 404, None),
        ("/webhook/s/t/", KEY, 404, None),
        ("/", KEY, 404, None),
    ] {
        let before = recorder.deliveries().len();
        let request = TestRequest::signed(r#"{"n":1}"#, &secret(key)).path(path);
        assert_eq!(sent(&request, to).await, status, "{path}");
        if status == 200 {
            assert_eq!(recorder.deliveries()[before].session(), session, "{path}");
        }
    }
    server.stop().await;
}
