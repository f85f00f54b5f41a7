//! `offhook gateway --kind …`: what each kind of gateway is asked.

use serde_json::json;

use super::YES;
use super::scripted::{Scripted, answer};
use crate::served::{self, Served};
use crate::support::{Folder, KEY, Ran, offhook as command};

/// `offhook gateway ACTION --kind KIND`, and what is added.
fn of_kind(action: &str, kind: &str, server: &Scripted, more: &[&str]) -> Ran {
    let url = server.url();
    let mut command = command(&["gateway", action, "--kind", kind, "--gateway", &url]);
    command.args(more).output().unwrap().into()
}

/// The kind, its options, the answers of the gateway, and the requests with the header that authorizes us.
type OfKind<'a> = (&'a str, &'a [&'a str], &'a [(u16, &'a str)], &'a [&'a str]);

#[test]
fn each_kind_is_asked_in_its_own_way() {
    let table: [OfKind<'_>; 6] = [
        (
            "waha",
            &[
                "--session",
                "s",
                "--api-key",
                "hidden",
                "--secret",
                "hidden-1",
            ],
            &[
                (200, r#"{"name":"s","config":{"debug":true}}"#),
                (200, "{}"),
            ],
            &[
                "GET /api/sessions/s x-api-key: hidden ",
                r#"PUT /api/sessions/s x-api-key: hidden {"config":{"debug":true,"webhooks":[{"events":["message","message.reaction","message.edited","message.revoked","message.ack","poll.vote","session.status"],"hmac":{"key":"hidden-1"},"retries":{"attempts":15,"delaySeconds":2,"policy":"exponential"},"url":"http://127.0.0.1:5000/x"}]},"name":"s"}"#,
            ],
        ),
        (
            "evolution",
            &[
                "--session",
                "shop",
                "--api-key",
                "hidden",
                "--secret",
                "hidden-1",
                "--events",
                "MESSAGES_UPSERT",
            ],
            &[(201, r#"{"headers":{"jwt_key":"hidden-1"}}"#)],
            &[
                r#"POST /webhook/set/shop apikey: hidden {"webhook":{"base64":false,"byEvents":false,"enabled":true,"events":["MESSAGES_UPSERT"],"headers":{"jwt_key":"hidden-1"},"url":"http://127.0.0.1:5000/x"}}"#,
            ],
        ),
        (
            "gowa",
            &[
                "--session",
                "628@s.whatsapp.net",
                "--api-key",
                "u:hidden",
                "--secret",
                "hidden-1",
            ],
            &[(
                200,
                r#"{"code":"SUCCESS","results":{"webhook_secret":"hidden-1"}}"#,
            )],
            &[
                r#"PATCH /devices/628@s.whatsapp.net/webhook authorization: Basic dTpoaWRkZW4= {"webhook_events":"message,message.reaction,message.edited,message.revoked,message.ack","webhook_secret":"hidden-1","webhook_url":"http://127.0.0.1:5000/x"}"#,
            ],
        ),
        (
            "telegram",
            &[
                "--api-key",
                "12:hidden",
                "--secret",
                "hidden-1",
                "--events",
                "message",
            ],
            &[(200, r#"{"ok":true,"result":true,"at":"/bot12:hidden/"}"#)],
            &[
                r#"POST /bot12:hidden/setWebhook - {"allowed_updates":["message"],"max_connections":40,"secret_token":"hidden-1","url":"http://127.0.0.1:5000/x"}"#,
            ],
        ),
        (
            "meta",
            &[
                "--session",
                "102",
                "--api-key",
                "hidden",
                "--verify-token",
                "hidden-1",
            ],
            &[(200, r#"{"success":true}"#)],
            &[
                r#"POST /102/subscribed_apps authorization: Bearer hidden {"override_callback_uri":"http://127.0.0.1:5000/x","verify_token":"hidden-1"}"#,
            ],
        ),
        (
            "wuzapi",
            &[
                "--api-key",
                "hidden",
                "--secret",
                "hidden-1-hidden-1-hidden-1-hidden",
            ],
            &[(200, r#"{"code":200,"success":true}"#)],
            &[
                r#"POST /session/hmac/config token: hidden {"hmac_key":"hidden-1-hidden-1-hidden-1-hidden"}"#,
                r#"POST /webhook token: hidden {"webhookURL":"http://127.0.0.1:5000/x"}"#,
            ],
        ),
    ];
    for (kind, options, answers, expected) in table {
        let script = answers.iter().map(|(status, body)| answer(*status, body));
        let server = Scripted::start(script.collect());
        let webhook = ["--webhook-url", "http://127.0.0.1:5000/x"];
        let ran = of_kind("register", kind, &server, &[&webhook, options].concat());
        let asked = server.rest();
        let asked = asked.iter().map(|asked| {
            let keys = ["x-api-key", "apikey", "token", "authorization"];
            let key = keys
                .iter()
                .find_map(|name| Some(format!("{name}: {}", asked.header(name)?)));
            let key = key.unwrap_or_else(|| "-".to_owned());
            format!("{} {key} {}", asked.line, asked.body)
        });
        assert_eq!(asked.collect::<Vec<_>>(), expected, "{kind}");
        assert!(
            ran.status == 0 && ran.printed.ends_with("\nregistered\n"),
            "{ran:?}"
        );
        assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
        assert_eq!(
            ran.printed.matches("answered ").count(),
            expected.len(),
            "{ran:?}"
        );
        assert_eq!(ran.said, "", "{kind}");
    }
}

#[test]
fn a_session_that_is_right_is_not_restarted() {
    let config = r#"{"name":"s","config":{"webhooks":[
        {"url":"http://127.0.0.1:5000/x","events":["message"],"hmac":{"key":"hidden"},"customHeaders":null,
         "retries":{"policy":"exponential","delaySeconds":2,"attempts":15}},
        {"url":"http://other","events":["*"],"hmac":{"key":"hidden-2"}}]}}"#;
    let server = Scripted::start(vec![answer(200, config)]);
    let own = ["--session", "s", "--webhook-url", "http://127.0.0.1:5000/x"];
    let told = [&own[..], &["--secret", "hidden", "--events", "message"]].concat();
    let ran = of_kind("register", "waha", &server, &told);
    assert_eq!(server.rest().len(), 1);
    assert!(
        ran.printed
            .ends_with("\nregistered already, nothing was changed\n"),
        "{ran:?}"
    );
    let ran = of_kind(
        "register",
        "waha",
        &server,
        &[&told[..], &["--json"]].concat(),
    );
    assert_eq!((ran.status, &ran.json()["unchanged"]), (0, &json!(true)));
    assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
    server.rest();

    // Only the one that is named is removed.
    let ran = of_kind("remove", "waha", &server, &["--session", "s"]);
    assert!(
        ran.status == 2 && ran.said.contains("--webhook-url"),
        "{ran:?}"
    );
    assert!(server.rest().is_empty());
    let ran = of_kind("remove", "waha", &server, &own);
    assert!(
        ran.status == 0 && ran.printed.ends_with("\nremoved\n"),
        "{ran:?}"
    );
    let left = server.rest().remove(1).json();
    assert_eq!(
        left["config"]["webhooks"][0]["url"], "http://other",
        "{left}"
    );
    assert_eq!(left["config"]["webhooks"].as_array().unwrap().len(), 1);
    assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
}

/// Nothing is done where the first answer is no answer of such a gateway.
#[test]
fn what_is_not_done_is_no_success() {
    let waha: &[&str] = &["--session", "s", "--secret", "hidden"];
    let wuzapi: &[&str] = &[
        "--api-key",
        "hidden",
        "--secret",
        "hidden-0123456789-0123456789-012345",
    ];
    let table = [
        ("waha", waha, 200, "", "That is not the answer of a gateway"),
        (
            "waha",
            waha,
            200,
            "[]",
            "That is not the answer of a gateway",
        ),
        (
            "waha",
            waha,
            200,
            "{}",
            "That is not the answer of a gateway",
        ),
        ("waha", waha, 200, r#"{"success":false}"#, "no success"),
        ("wuzapi", wuzapi, 200, r#"{"success":false}"#, "no success"),
        (
            "wuzapi",
            wuzapi,
            200,
            "<html>",
            "That is not the answer of a gateway",
        ),
    ];
    for (kind, options, status, body, hint) in table {
        let server = Scripted::start(vec![answer(status, body), answer(200, YES)]);
        let webhook = ["--webhook-url", "http://127.0.0.1:5000/x"];
        let ran = of_kind("register", kind, &server, &[&webhook, options].concat());
        assert_eq!(server.rest().len(), 1, "{kind} {body}");
        assert!(ran.status == 1 && ran.said.contains(hint), "{ran:?}");
        assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
    }
}

/// A key of the environment is for the gateway that one has.
#[test]
fn telegram_gets_no_key_of_another_gateway() {
    let server = Scripted::start(vec![answer(401, r#"{"ok":false}"#)]);
    let url = server.url();
    let register = [
        "gateway",
        "register",
        "--kind",
        "telegram",
        "--webhook-url",
        "http://127.0.0.1:5000/x",
    ];
    let mut alone = command(&register);
    let alone = alone
        .env("OFFHOOK_GATEWAY", &url)
        .env("OFFHOOK_GATEWAY_KEY", "1:hidden");
    let ran: Ran = alone.output().unwrap().into();
    assert!(
        ran.status == 2 && ran.said.contains("--api-key: the key is missing"),
        "{ran:?}"
    );
    assert!(server.rest().is_empty());
    let given = ["--api-key", "1:hidden", "--gateway", &url];
    let ran: Ran = command(&[&register[..], &given].concat())
        .output()
        .unwrap()
        .into();
    assert!(
        ran.status == 1
            && ran
                .said
                .contains("rejects the value of --header or --api-key"),
        "{ran:?}"
    );
}

#[test]
fn what_a_kind_does_not_take_is_refused_before_sending() {
    let server = Scripted::start(vec![answer(200, YES)]);
    let table: [(&str, &[&str], &str); 11] = [
        ("wahaa", &[], "allowed: codeskytz, waha, evolution"),
        ("waha", &[], "--session is missing"),
        (
            "waha",
            &["--session", "s", "--shape", "docs"],
            "--shape is for --kind codeskytz only",
        ),
        (
            "waha",
            &["--session", "s", "--events", "message,message.any"],
            "each message comes twice",
        ),
        (
            "evolution",
            &["--session", "s", "--events", "message"],
            "such as MESSAGES_UPSERT",
        ),
        (
            "evolution",
            &["--session", "s", "--verify-token", "hidden"],
            "is for meta and meta-app",
        ),
        (
            "gowa",
            &["--session", "s", "--api-key", "hidden"],
            "--api-key: the key is not of the form",
        ),
        (
            "telegram",
            &[],
            "--api-key: the key is missing; it is the bot's token",
        ),
        (
            "telegram",
            &["--session", "s", "--api-key", "1:hidden"],
            "--session: telegram has one registration",
        ),
        (
            "telegram",
            &["--api-key", "1:hidden", "--secret", "hidden!"],
            "expected 1 to 256",
        ),
        (
            "meta",
            &["--session", "s", "--api-key", "hidden"],
            "the verify token is missing",
        ),
    ];
    for (kind, options, text) in table {
        let webhook = ["--webhook-url", "http://127.0.0.1:5000/x"];
        let ran = of_kind("register", kind, &server, &[&webhook, options].concat());
        assert!(
            ran.status == 2 && ran.said.contains(text),
            "{text}: {ran:?}"
        );
        assert!(!format!("{ran:?}").contains("hidden"), "{ran:?}");
    }
    assert!(server.rest().is_empty());

    // Meta could not get its challenge.
    let server = Scripted::start(vec![answer(400, r#"{"error":{"code":2200}}"#)]);
    let options = [
        "--session",
        "1",
        "--api-key",
        "hidden",
        "--verify-token",
        "hidden",
    ];
    let webhook = ["--webhook-url", "http://127.0.0.1:5000/x"];
    let ran = of_kind(
        "register",
        "meta",
        &server,
        &[&webhook[..], &options].concat(),
    );
    assert!(
        ran.status == 1 && ran.said.contains("for its challenge"),
        "{ran:?}"
    );
}

#[test]
fn a_server_registers_a_bot_without_a_session() {
    let folder = Folder::new("gateway-bot");
    let server = Scripted::start(vec![answer(200, r#"{"ok":true}"#)]);
    let gateway = format!(
        "[[gateways]]\nkind = \"telegram\"\nname = \"bot\"\nurl = \"{}\"\napi_key = \"12:hidden\"\n\
         webhook_url = \"https://me.example/telegram\"\nsecret = \"{KEY}\"\n",
        server.url()
    );
    served::settings(&folder, &gateway);
    let served = Served::start(&folder);
    let line = served.program.logged(" registered ");
    let end = "gateway bot: our URL is registered for https://me.example/telegram (200)";
    assert!(line.ends_with(end), "{line}");
    assert_eq!(server.asked().line, "POST /bot12:hidden/setWebhook");
    assert!(!served.program.kill().contains("hidden"));

    let mut command = command(&["check"]);
    let ran: Ran = command.current_dir(&folder.0).output().unwrap().into();
    let expected = [
        "  bot          kind telegram",
        "               webhook_url https://me.example/telegram",
        "               secret yes",
        "               secret_known no: no source with the scheme of this kind has that secret, so what it sends would be refused",
        "               events message, edited_message, channel_post, edited_channel_post, callback_query",
    ];
    for line in expected {
        assert!(
            ran.printed.contains(&format!("{line}\n")),
            "{line}: {}",
            ran.printed
        );
    }
    assert!(
        ran.status == 0 && !format!("{ran:?}").contains("hidden"),
        "{ran:?}"
    );
}
