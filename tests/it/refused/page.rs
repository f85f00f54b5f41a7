//! The dashboard's page of refused requests: its buttons do what it shows, and nothing else.

use offhook::testing::TestRequest;
use serde_json::{Value, json};

use super::{NEW, Refusing, message};
use crate::served::until;

const PARTNER: &str =
    "[[sources]]\nname = \"partner\"\npath = \"/partner\"\nsecrets = [\"of-the-partner\"]\n";

/// The page, with its attributes unescaped.
async fn page(it: &Refusing, query: &str) -> String {
    let admin = it.server.admin_address().unwrap();
    let request = TestRequest::get(&format!("/ui/refused{query}"));
    let answer = request.send(admin).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.text().replace("&quot;", "\"").replace("&amp;", "&")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

/// What the buttons of a page say, and what each would send, in the order of the page.
fn buttons(page: &str) -> Vec<(&str, Value)> {
    let parts = page.split("data-ask=").skip(1);
    let read = |part| {
        let call = between(part, "data-call=\"", "]\"").to_owned() + "]";
        let call = serde_json::from_str(&call).unwrap();
        (between(part, "data-say=\"", "\""), call)
    };
    parts.map(read).collect()
}

#[actix_web::test]
async fn buttons_do_what_the_page_shows() {
    let it = Refusing::start("refused-page", PARTNER).await;
    let none = "No refused request is kept.";
    assert!(page(&it, "").await.contains(none));
    it.send(&message("1", NEW), 401).await;
    it.send(&message("2", NEW), 401).await;
    // Without a signature the body is not read.
    it.send(&TestRequest::post("{}"), 401).await;
    it.send(&message("3", NEW).path("/partner"), 401).await;
    it.send(&TestRequest::get("/nowhere"), 404).await;
    until("they were looked into", async || {
        let list = it.list("").await;
        let groups = list["groups"].as_array().unwrap();
        groups.len() == 4 && groups.iter().all(|group| group["reason"].is_string())
    })
    .await;
    let verify = |source: Value, reason: Value| json!(["POST", "api/refused/verify", { "source": source, "reason": reason }]);
    let forget = |path: &str| json!(["DELETE", path, null]);

    let shown = page(&it, "?source=hub").await;
    let found = buttons(&shown);
    let of_hub = verify(json!("hub"), Value::Null);
    assert_eq!(found[0], ("Verify 2 requests", of_hub));
    let path = forget("api/refused?source=hub");
    assert_eq!(found[1], ("Forget 3 requests", path));
    // Each group with bodies has its own, and nothing can be verified of the others.
    let group = verify(json!("hub"), json!("unexplained"));
    assert_eq!(found[2..], [("Verify 2 requests", group.clone())]);

    let shown = page(&it, "?source=hub&reason=unexplained").await;
    let both = ("Verify 2 requests", group);
    assert_eq!(buttons(&shown), [both.clone(), both]);
    for query in [
        "?source=hub&reason=missing",
        "?status=404",
        "?explained=true",
    ] {
        assert_eq!(buttons(&page(&it, query).await), [], "{query}");
    }
    let shown = page(&it, "").await;
    let all = verify(Value::Null, Value::Null);
    assert_eq!(buttons(&shown)[0], ("Verify 3 requests", all.clone()));
    let path = forget("api/refused");
    assert_eq!(buttons(&shown)[1], ("Forget 5 requests", path));

    // Nobody has to look at what was meant for nothing here.
    it.send(&TestRequest::get("/webhook"), 405).await;
    until("it was kept", async || {
        page(&it, "").await.contains("Forget 6 requests")
    })
    .await;
    assert!(page(&it, "").await.contains("data-refused=\"4\""));
    for (method, path, body) in [
        ("POST", "/api/refused/verify", json!({ "source": "nope" })),
        ("DELETE", "/api/refused?source=nope", json!({})),
    ] {
        let (status, answer) = it.ask(method, path, &body).await;
        let error = answer["error"].as_str().unwrap();
        assert!(
            status == 404 && error.contains("no source \"nope\"; there are: hub"),
            "{answer}"
        );
    }

    // The API takes what the buttons send.
    let (status, answer) = it.ask("POST", "/api/refused/verify", &all[2]).await;
    assert_eq!((status, &answer["looked_at"]), (200, &json!(3)));
    let forgotten =
        async |path: &str| it.ask("DELETE", path, &json!({})).await.1["forgotten"].take();
    assert_eq!(forgotten("/api/refused?source=hub").await, 4);
    let shown = page(&it, "?source=hub").await;
    assert!(shown.contains("Nothing that matches is kept."), "{shown}");
    assert_eq!(forgotten("/api/refused").await, 2);
    assert!(page(&it, "").await.contains(none));
    it.0.server.stop().await;
}

#[actix_web::test]
async fn older_ones_are_on_the_next_page() {
    let it = Refusing::start("refused-pages", "").await;
    for number in 0..60 {
        let path = format!("/nowhere{number}");
        it.send(&TestRequest::get(&path), 404).await;
    }
    let rows = |page: &str| page.matches("class=\"row\"").count();
    // No more than a page has, whatever its address says.
    let shown = page(&it, "?status=404&limit=500").await;
    assert_eq!(rows(&shown), 50);
    let next = shown.split("rel=\"next\" href=\"refused").nth(1).unwrap();
    let next = next.split('"').next().unwrap();
    assert!(next.contains("status=404&before="), "{next}");
    assert_eq!(rows(&page(&it, next).await), 10);
    it.0.server.stop().await;
}
