//! Searches in bodies, over the admin API.

use std::io::Write as _;

use offhook::settings::ShowBodies;
use offhook::testing::{Recorder, TestRequest};
use serde_json::Value;

use crate::records::{api, get, keeping, settled};
use crate::support::{Folder, secret, signed};

#[actix_web::test]
async fn bodies_are_searched_for_a_text() {
    let folder = Folder::new("contains");
    let server = keeping(&folder, |offhook| {
        offhook.handler("all", Recorder::default())
    })
    .await;
    let body = |id: &str, text: &str| {
        format!(
            r#"{{"event":"message","sessionId":"s","messageId":"{id}","from":"+1","message":"{text}"}}"#
        )
    };
    for (id, text) in [
        ("1", "order 1001"),
        ("2", "Order 1001"),
        ("3", "order 1002"),
    ] {
        assert_eq!(
            signed(body(id, text))
                .send(server.public_address())
                .await
                .status,
            200
        );
    }
    let mut encoded = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoded
        .write_all(body("4", "order 1001").as_bytes())
        .unwrap();
    let encoded = signed(encoded.finish().unwrap()).header("Content-Encoding", "gzip");
    assert_eq!(encoded.send(server.public_address()).await.status, 200);
    settled(&server).await;
    let listed = get(&server, "/api/events").await;
    let all: Vec<&Value> = listed["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    let found = async |query: &str| {
        let answer = get(&server, &format!("/api/events?{query}")).await;
        let ids: Vec<Value> = answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].clone())
            .collect();
        (ids, answer["next"].clone())
    };
    let (ids, next) = found("contains=order%201001").await;
    assert_eq!(ids.iter().collect::<Vec<_>>(), [all[0], all[3]]);
    assert_eq!(next, Value::Null);
    let (ids, next) = found("contains=order%201001&limit=1").await;
    assert_eq!((ids.len(), &next), (1, all[0]));
    let (ids, _) = found(&format!(
        "contains=order%201001&before={}",
        next.as_str().unwrap()
    ))
    .await;
    assert_eq!(ids.iter().collect::<Vec<_>>(), [all[3]]);
    assert_eq!(found("contains=nothing").await.0, Vec::<Value>::new());
    assert_eq!(found("contains=").await.0.len(), 4);
    let long = format!("/api/events?contains={}", "x".repeat(129));
    assert_eq!(api(&server, "GET", &long, &Value::Null).await.0, 400);
    server.stop().await;
}

/// Otherwise a viewer could read a body letter by letter.
#[actix_web::test]
async fn a_viewer_searches_only_in_what_it_sees() {
    for (shown, status) in [(ShowBodies::Admin, 403), (ShowBodies::Viewer, 200)] {
        let folder = Folder::new(&format!("contains-viewer-{status}"));
        let server = keeping(&folder, |offhook| {
            offhook
                .admin_token(secret("the-administrator"))
                .configure(|settings| {
                    let admin = settings.admin.as_mut().unwrap();
                    admin.viewer_token = Some(secret("the-viewer"));
                    admin.show_bodies = shown;
                })
        })
        .await;
        let to = server.admin_address().unwrap();
        let request =
            TestRequest::get("/api/events?contains=x").header("Authorization", "Bearer the-viewer");
        assert_eq!(request.send(to).await.status, status);
        server.stop().await;
    }
}
