//! What goes on when a reload is over: attempts that end late hold up nothing else.

use offhook::testing::TestRequest;
use serde_json::json;
use tokio::sync::watch;

use super::{NEW, OLD, Reloaded};
use crate::served::until;
use crate::subscriber::{Answer, Subscriber};

fn subscription(name: &str, to: &Subscriber, secret: &str) -> String {
    let url = to.url();
    format!(
        "[[subscriptions]]\nname = \"{name}\"\nwebhook_url = \"{url}\"\nsecret = \"{secret}\"\ntimeout = \"10m\"\n"
    )
}

/// A consumer that waits for its attempts held up each later reload, so a removed secret was still accepted.
#[actix_web::test]
async fn a_long_attempt_holds_up_no_reload() {
    let (go_on, held) = watch::channel(false);
    let crm = Subscriber::start([Answer::Held(held)]).await;
    let it = Reloaded::start("reload-later", "").await;
    let crm_block = |secret: &str| subscription("crm", &crm, secret) + "[[handlers]]";
    let added = r#"subscription "crm" to session "*": added"#;
    it.change("[[handlers]]", &crm_block("one"), &[added]).await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    crm.asked(1).await;
    let loaded_at = async || {
        let (_, health) = it.ask("GET", "/health", &json!({})).await;
        health["settings"]["loaded_at"].clone()
    };
    let before = loaded_at().await;
    it.write("[[handlers]]", &crm_block("two"));
    let later = async {
        until("the first is applied", async || loaded_at().await != before).await;
        let text = it.text.replacen("[[handlers]]", &crm_block("three"), 1);
        std::fs::write(it.path("settings.toml"), text.replace(OLD, NEW)).unwrap();
        let is_new = async || it.send("/webhook", NEW, "2").await == 200;
        let second = it.reload();
        let (second, ()) = tokio::join!(second, async {
            until("the new secret counts", is_new).await;
            assert_eq!(it.send("/webhook", OLD, "3").await, 401);
            let dry = json!({ "dry_run": true });
            let (status, dry) = it.ask("POST", "/api/reload", &dry).await;
            assert_eq!((status, &dry["outcome"]), (200, &json!("unchanged")));
            let (_, shown) = it.ask("GET", "/api/settings", &json!({})).await;
            assert_eq!(dry["fingerprint"], shown["fingerprint"]);
            assert_eq!(crm.ids(), ["1"]);
            go_on.send(true).unwrap();
        });
        assert_eq!(second.0, 200, "{}", second.1);
    };
    let (first, ()) = tokio::join!(it.reload(), later);
    assert_eq!(first.0, 200, "{}", first.1);
    let asked = crm.asked(2).await;
    assert_eq!(crm.ids(), ["1", "2"]);
    let signed = TestRequest::signed(asked[1].body.clone(), &crate::support::secret("three"));
    let is_signature = |name: &str| name.eq_ignore_ascii_case("x-webhook-signature");
    let mut headers = signed.headers.iter();
    let expected = headers.find(|(name, _)| is_signature(name)).unwrap();
    assert_eq!(asked[1].header("x-webhook-signature"), expected.1);
    it.stop().await;
}

/// A new subscription started only after changed handlers had finished their attempts, and missed all until then.
#[actix_web::test]
async fn a_new_subscription_does_not_wait_for_handlers() {
    let crm = Subscriber::start([]).await;
    let it = Reloaded::start("reload-beside", "").await;
    let hold = it.path("hold");
    std::fs::write(&hold, "").unwrap();
    let program = format!("while [ -e {} ]; do sleep 0.05; done", hold.display());
    let exec = |timeout: &str| {
        format!(
            "[[handlers]]\nname = \"slow\"\nuse = \"exec\"\ncommand = [\"sh\", \"-c\", \"{program}\"]\n\
             timeout = \"{timeout}\"\n[[handlers]]"
        )
    };
    it.change("[[handlers]]", &exec("10m"), &[r#"handler "slow": added"#])
        .await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    it.handled("handled.jsonl", &["1"]).await;
    let more = subscription("crm", &crm, "one") + &exec("11m");
    let text = it.text.replacen("[[handlers]]", &more, 1);
    std::fs::write(it.path("settings.toml"), text.replace(OLD, NEW)).unwrap();
    let (answer, ()) = tokio::join!(it.reload(), async {
        // Where the new secret is taken, the new subscription is there.
        let is_new = async || it.send("/webhook", NEW, "2").await == 200;
        until("the new secret counts", is_new).await;
        crm.asked(1).await;
        std::fs::remove_file(&hold).unwrap();
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(crm.ids(), ["2"]);
    it.stop().await;
}
