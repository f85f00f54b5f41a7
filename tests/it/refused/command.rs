//! `offhook refused`.

use super::{NEW, OLD, Refusing, message};
use crate::support::{Ran, offhook};
use offhook::testing::TestRequest;

async fn run(it: &Refusing, arguments: &[&str]) -> Ran {
    let admin = format!("http://{}", it.server.admin_address().unwrap());
    let mut command = offhook(&["refused"]);
    command.args(arguments).args(["--admin", &admin]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    output.await.unwrap().into()
}

#[actix_web::test]
async fn the_command_shows_verifies_and_forgets() {
    let it = Refusing::start("refused-command", "").await;
    let ran = run(&it, &[]).await;
    assert_eq!((ran.status, ran.printed.as_str()), (0, ""), "{ran:?}");
    assert!(
        ran.said.contains("Nothing that was refused is kept"),
        "{ran:?}"
    );

    it.send(
        &TestRequest::post("{}").header("X-Hub-Signature-256", "sha256=0"),
        401,
    )
    .await;
    let id = it.newest().await["id"].as_str().unwrap().to_owned();
    let ran = run(&it, &[]).await;
    for words in [
        "1 request to hub: it carries `X-Hub-Signature-256`",
        &id,
        "401",
    ] {
        assert!(ran.printed.contains(words), "{words}: {ran:?}");
    }
    let ran = run(&it, &[&id]).await;
    for words in [
        "refused: it carries",
        "x-hub-signature-256: sha256=0",
        "This would accept it:",
        "scheme = \"github\"",
    ] {
        assert!(ran.printed.contains(words), "{words}: {ran:?}");
    }
    let ran = run(&it, &["verify", &id]).await;
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.said.contains("its body is not kept"), "{ran:?}");

    it.send(&message("1", NEW), 401).await;
    it.send(&message("2", NEW), 401).await;
    let ran = run(&it, &["verify"]).await;
    assert_eq!(
        (ran.status, ran.printed.as_str()),
        (
            1,
            "2 requests looked at, 0 valid: 0 new events, 0 duplicates\n"
        )
    );
    it.change(OLD, NEW).await;
    let ran = run(&it, &["verify", "--dry-run"]).await;
    assert_eq!(
        (ran.status, ran.printed.as_str()),
        (0, "2 requests looked at, 2 valid now\n"),
        "{ran:?}"
    );
    let newest = it.list("").await["refused"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let ran = run(&it, &["verify", &newest]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.printed.starts_with("valid: it is an event now, 0"),
        "{ran:?}"
    );
    let ran = run(&it, &["verify", "--source", "hub", "--json"]).await;
    assert_eq!(
        (ran.status, ran.json()["accepted"].as_u64()),
        (0, Some(1)),
        "{ran:?}"
    );
    let ran = run(&it, &["forget"]).await;
    assert_eq!(
        (ran.status, ran.printed.as_str()),
        (0, "1 request forgotten\n"),
        "{ran:?}"
    );
    let ran = run(&it, &["00000000-0000"]).await;
    assert_eq!(ran.status, 1, "{ran:?}");
    it.0.server.stop().await;
}

/// Whatever a body is, the command shows it as it came.
#[actix_web::test]
async fn odd_bodies_are_shown() {
    let it = Refusing::start("refused-odd", "").await;
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    for body in [
        r#"{"a":"\ud800"}"#,
        r#"{"b":1e999,"b":1}"#,
        deep.as_str(),
        "no\njson",
    ] {
        it.send(
            &TestRequest::signed(body, &crate::support::secret(NEW)),
            401,
        )
        .await;
        let id = it.newest().await["id"].as_str().unwrap().to_owned();
        let ran = run(&it, &[&id]).await;
        assert_eq!(ran.status, 0, "{body}: {ran:?}");
        let shown = body.replace('\n', "\n  ");
        assert!(ran.printed.contains(&shown), "{body}: {ran:?}");
    }
    it.0.server.stop().await;
}
