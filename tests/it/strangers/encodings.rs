//! Rows B2 and B3: encoded bodies are counted by what they unpack to, decoded within limits, and relayed as
//! they came.

use fastrand::Rng;
use serde_json::Value;
use tokio::sync::watch;

use super::ALONE;
use crate::attack::bodies::{dense_text, encoded, gzip, padded, zlib};
use crate::attack::sockets::{
    HOME, KEY_OF_B, OWN_SECRET, all_events, api, ask, forget_peak, memory, peak_memory, settings,
};
use crate::served::{Served, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, KEY};

const MIB: usize = 1024 * 1024;

fn subscription(subscriber: &Subscriber) -> String {
    format!(
        "[relay]\nallow_private = true\n[dispatch]\nretry = {{ first = \"1s\", attempts = 1000 }}\n\
         [[subscriptions]]\nname = \"crm\"\nsession = \"*\"\nwebhook_url = \"{}\"\n",
        subscriber.url()
    )
}

/// Handles what it has decoded.
const LOG: &str = "[[handlers]]\nname = \"log\"\nuse = \"log\"\n";

/// Row B2: the bodies unpack to 16 MiB, at less than 100 times what was sent, so they are decoded.
#[actix_web::test]
async fn decoded_bodies_are_counted_beside_a_hanging_subscriber() {
    const BODIES: usize = 20;
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-decoded");
    let (release, released) = watch::channel(false);
    let crm = Subscriber::deciding(move |_| Answer::Held(released.clone())).await;
    let server = "max_body = \"16 MiB\"\nmax_in_flight = \"32 MiB\"";
    settings(&folder, server, "", &(subscription(&crm) + LOG));
    let served = Served::start(&folder);
    let before = memory(&served);
    forget_peak(&served);
    let text = dense_text(15 * MIB, &mut Rng::with_seed(1));
    let mut sent = Vec::new();
    for number in 0..BODIES {
        let session = ["A", "C"][number % 2];
        let body = gzip(padded(session, &format!("m{number}"), &text));
        let request = encoded(body.clone(), "gzip", KEY).bytes();
        let answer = ask(HOME, served.public, &request).await;
        assert_eq!(answer.map(|answer| answer.status), Ok(200));
        sent.push(body);
    }
    println!(
        "{BODIES} bodies of {} bytes unpack to {}",
        sent[0].len(),
        text.len()
    );
    // The handler gets the decoded content.
    let handled = |served: &Served| served.program.line();
    assert_eq!(handled(&served), "New message from +1: Hello!");
    until("hanging", async || crm.open() > 0).await;
    let more = peak_memory(&served).saturating_sub(before);
    println!("{more} MiB more held");
    assert!(more < 200, "{more} MiB more");

    served.program.kill();
    let served = Served::start(&folder);
    until("asked again", async || crm.open() > 0).await;
    let done = async || consumer(&served, "handler:log").await["lag"] == 0;
    until("handled", done).await;
    let more = peak_memory(&served).saturating_sub(before);
    println!("{more} MiB more held after a kill");
    assert!(more < 200, "{more} MiB more after a kill");
    release.send(true).unwrap();
    let relayed = async || consumer(&served, "subscription:*:crm").await["lag"] == 0;
    until("relayed", relayed).await;
    let got = crm.requests();
    let whole = got
        .iter()
        .all(|asked| asked.header("content-encoding") == "gzip" && sent.contains(&asked.body));
    assert!(whole, "a body that was not relayed as it came");
    assert!(
        sent.iter()
            .all(|body| got.iter().any(|asked| asked.body == *body))
    );
    served.program.stop();
}

async fn consumer(served: &Served, name: &str) -> Value {
    let shown = api(served, "/api/consumers").await;
    let consumers = shown["consumers"].as_array().unwrap();
    let found = consumers.iter().find(|consumer| consumer["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name}: {shown}"))
        .clone()
}

/// Bodies that cannot be decoded within the limits, or at all, and why.
fn beyond_the_limits() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let large = padded("B", "bomb", &"A".repeat(30 * MIB));
    let small = |id: &str| padded("B", id, "").into_bytes();
    let gzip_small = |id: &str| gzip(small(id));
    vec![
        ("gzip", gzip(&large), "gzip: more than"),
        ("deflate", zlib(&large), "deflate: more than"),
        ("gzip, gzip", gzip(gzip(&large)), "gzip: more than"),
        (
            "gzip,gzip,gzip",
            gzip(gzip(gzip_small("1"))),
            "more than 2 encodings",
        ),
        (
            "gzip, identity, gzip, deflate",
            zlib(gzip(gzip_small("2"))),
            "more than 2 encodings",
        ),
        ("br", small("3"), "unknown encoding br"),
        ("gzip", small("4"), "gzip: "),
        ("gzip", gzip_small("5")[..20].to_vec(), "gzip: "),
        ("deflate", zlib(&large)[..1000].to_vec(), "deflate: "),
    ]
}

/// Row B3.
#[actix_web::test]
async fn a_body_beyond_the_limits_is_odd() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-bombs");
    let crm = Subscriber::start([]).await;
    settings(&folder, "", OWN_SECRET, &(subscription(&crm) + LOG));
    let served = Served::start(&folder);
    let before = memory(&served);
    forget_peak(&served);
    for (number, (encoding, body, reason)) in beyond_the_limits().into_iter().enumerate() {
        let request = encoded(body.clone(), encoding, KEY_OF_B).path("/webhook/B");
        let answer = ask(HOME, served.public, &request.bytes()).await;
        assert_eq!(answer.map(|answer| answer.status), Ok(200), "{encoding}");
        let newest = async || all_events(&served).await.into_iter().next();
        until("shown", async || {
            all_events(&served).await.len() == number + 1
        })
        .await;
        let newest = newest().await.unwrap();
        assert_eq!(
            (&newest["event"], &newest["session"]),
            (&"unknown".into(), &"B".into())
        );
        let id = newest["id"].as_str().unwrap();
        let event = api(&served, &format!("/api/events/{id}")).await;
        let odd = event["odd"].as_str().unwrap_or_default();
        assert!(odd.contains(reason), "{encoding}: {odd:?}, not {reason:?}");
        let asked = crm.asked(number + 1).await.pop().unwrap();
        assert_eq!(asked.header("content-encoding"), encoding);
        assert!(asked.body == body, "{encoding}: not relayed as it came");
        // With the secret of the others, nothing of B is taken.
        let forged = encoded(body, encoding, KEY).bytes();
        let answer = ask(HOME, served.public, &forged).await;
        assert_eq!(answer.map(|answer| answer.status), Ok(401), "{encoding}");
    }
    let more = peak_memory(&served).saturating_sub(before);
    println!("{more} MiB more held");
    assert!(more < 100, "{more} MiB more");
    served.program.stop();
}
