//! Every example, run as a user would.

use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{EvolutionJwt, Generic, Scheme};
use offhook::testing::{TestEvent, TestRequest};

use crate::support::{
    DOCUMENTED, Folder, KEY, PRINTED, Program, address_in, example, secret, signed,
};

/// Where a program that was started with port 0 listens, by its log.
fn started(command: &mut std::process::Command) -> (Program, std::net::SocketAddr) {
    let program = Program::start(command);
    let address = address_in(&program.logged("webhooks on "));
    (program, address)
}

#[actix_web::test]
async fn server_prints_the_documented_lines_in_order() {
    let mut command = example("server");
    command.env("OFFHOOK__SERVER__BIND", "127.0.0.1:0");
    let (program, to) = started(command.env("OFFHOOK__ADMIN__BIND", "127.0.0.1:0"));
    for body in DOCUMENTED {
        let answer = signed(body).send(to).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, r#"{"status":"received"}"#)
        );
    }
    assert_eq!(PRINTED.map(|_| program.line()), PRINTED);
    assert!(program.stop().is_empty());
}

#[actix_web::test]
async fn own_app_has_its_page_and_the_receiver() {
    let (program, to) = started(example("own_app").arg("127.0.0.1:0"));
    let page = TestRequest::get("/").send(to).await;
    assert_eq!((page.status, page.text().as_str()), (200, "my own page\n"));
    let answer = signed(DOCUMENTED[0]).path("/hooks/webhook").send(to).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"status":"received"}"#)
    );
    let answer = TestRequest::post("{}")
        .path("/hooks/webhook")
        .send(to)
        .await;
    assert_eq!(answer.status, 401);
    let health = TestRequest::get("/ops/health").send(to).await;
    assert_eq!(health.status, 200);
    program.stop();
}

#[actix_web::test]
async fn middleware_only_lets_verified_bodies_through() {
    let (program, to) = started(example("middleware_only").arg("127.0.0.1:0"));
    let answer = signed(DOCUMENTED[0]).send(to).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"status":"received"}"#)
    );
    let unsigned = TestRequest::post(DOCUMENTED[0]);
    for _ in 0..20 {
        assert_eq!(unsigned.send(to).await.status, 401);
    }
    let line = program.logged("answered 401");
    assert!(line.contains("to gateway from 127.0.0.1:"), "{line}");
    assert!(
        line.contains("is missing (x-webhook-signature)") && !line.contains(KEY),
        "{line}"
    );
    program.signal("TERM");
    let more = program.all_logged();
    // At most one a second.
    assert!(more.matches("answered 401").count() < 15, "{more}");
}

#[actix_web::test]
async fn custom_handler_counts_and_fails() {
    let folder = Folder::new("custom-handler");
    let settings = folder.0.join("settings.toml");
    let text = "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
                [journal]\nengine = \"none\"\n\
                [[sources]]\nname = \"codeskytz\"\nsecrets = [\"your-secret-key\"]\n";
    std::fs::write(&settings, text).unwrap();
    let (program, to) = started(example("custom_handler").arg(&settings));
    for _ in 0..2 {
        assert_eq!(signed(DOCUMENTED[0]).send(to).await.status, 200);
    }
    let without_sender = TestEvent::named("message").sign(&secret(KEY));
    let answer = without_sender.send(to).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (500, r#"{"error":"Handler failed"}"#)
    );
    let line = program.logged("rejected: a message without a sender");
    assert!(line.contains("handler:counter"), "{line}");
    program.stop();
}

#[actix_web::test]
async fn custom_handler_explains_wrong_settings() {
    let program = Program::start(example("custom_handler").arg("/no/such/file"));
    let line = program.logged("");
    let expected = "Error: /no/such/file: there is no such file (looked from ";
    assert!(line.starts_with(expected), "{line}");
}

/// A body of each gateway about the same message, and about its receipt of an answer.
const OF_GATEWAYS: [(&str, &str, &str, &str); 3] = [
    (
        "waha",
        "my-hmac-key",
        r#"{"event":"message","session":"sales","me":{"id":"491@c.us"},"payload":{"id":"false_1555@c.us_A1","from":"1555@c.us","fromMe":false,"body":"Hello!"}}"#,
        r#"{"event":"message.ack","session":"sales","payload":{"id":"true_1555@c.us_R1","from":"1555@c.us","fromMe":true,"ack":3}}"#,
    ),
    (
        "evolution",
        "my-jwt-key",
        r#"{"event":"messages.upsert","instance":"sales","data":{"key":{"remoteJid":"1555@s.whatsapp.net","fromMe":false,"id":"A1"},"message":{"conversation":"Hello!"}}}"#,
        r#"{"event":"messages.update","instance":"sales","data":{"keyId":"R1","remoteJid":"1555@s.whatsapp.net","fromMe":true,"status":"READ"}}"#,
    ),
    (
        "meta",
        "my-app-secret",
        r#"{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"7"},"messages":[{"from":"1555","id":"wamid.A1","type":"text","text":{"body":"Hello!"}}]}}]}]}"#,
        r#"{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"7"},"statuses":[{"id":"wamid.R1","status":"read","recipient_id":"1555"}]}}]}]}"#,
    ),
];

#[actix_web::test]
async fn three_gateways_need_one_handler() {
    let mut command = example("three_gateways");
    let (program, to) = started(command.env("OFFHOOK__SERVER__BIND", "127.0.0.1:0"));
    let mut printed = Vec::new();
    for (name, key, message, status) in OF_GATEWAYS {
        for body in [message, status] {
            let (key, now) = (secret(key), SystemClock.now());
            let signed = match name {
                "evolution" => EvolutionJwt.sign(body.as_bytes(), &key, now),
                preset => Generic::preset(preset)
                    .unwrap()
                    .sign(body.as_bytes(), &key, now),
            };
            let request = TestRequest::post(body).path(&format!("/{name}"));
            let request = signed.iter().fold(request, |request, header| {
                request.header(&header.name, &header.value)
            });
            assert_eq!(request.send(to).await.status, 200, "{body}");
            printed.push(program.line());
        }
    }
    let expected = [
        "waha: +1555 says Hello!, answer to 1555@c.us",
        "waha: true_1555@c.us_R1 is read",
        "evolution: +1555 says Hello!, answer to 1555@s.whatsapp.net",
        "evolution: R1 is read",
        "meta: +1555 says Hello!, answer to 1555",
        "meta: wamid.R1 is read",
    ];
    assert_eq!(printed, expected);
    let challenge = "/meta?hub.mode=subscribe&hub.challenge=42&hub.verify_token=my-verify-token";
    assert_eq!(TestRequest::get(challenge).send(to).await.text(), "42");
    program.stop();
}
