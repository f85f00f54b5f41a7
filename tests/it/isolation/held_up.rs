//! What holds up a consumer, over the admin API: the first event of each conversation that waits or hangs.

use offhook::Server;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use offhook::relay::{Relay, RelayOptions};
use offhook::testing::Recorder;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::records::{api, get, keeping, until};
use crate::replays::{FOREVER, handled, message, patient};
use crate::served;
use crate::subscriber::{Answer, Subscriber};
use crate::support::Folder;

#[actix_web::test]
async fn a_held_up_conversation_is_shown() {
    const BEHIND: usize = MEMORY + 100;
    let folder = Folder::new("held-up");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[]).await;
    let to = server.public_address();
    recorder.fail_next(2);
    for (session, from) in [("few", 1), ("many", 2)] {
        assert_eq!(message(session, from, 0).send(to).await.status, 200);
    }
    let fail = |list: &Value| list["consumers"][0]["retrying"] == 2;
    until(&server, "/api/consumers", fail).await;
    for id in 1..=3 {
        assert_eq!(message("few", 1, id).send(to).await.status, 200);
    }
    for id in 1..=BEHIND {
        assert_eq!(message("many", 2, id).send(to).await.status, 200);
    }
    let path = "/api/consumers/handler:recorder";
    let all = |one: &Value| one["lag"] == 2 + 3 + BEHIND;
    let shown = until(&server, path, all).await;
    assert_eq!(shown["held_up"].as_array().unwrap().len(), 2, "{shown}");
    check(&server, &shown, ("few", "1"), 3).await;
    let sessions = &shown["sessions"];
    assert_eq!(sessions.as_array().unwrap().len(), 2, "{shown}");
    assert_eq!(sessions[0]["session"], "many", "{sessions}");
    let few = &sessions[1];
    let fields = [
        "session",
        "attempt",
        "in_flight",
        "retrying",
        "waiting",
        "more_in_journal",
    ];
    let fields = fields.map(|field| few[field].clone());
    let expected = json!(["few", 1, 0, 1, 4, false]);
    assert_eq!(json!(fields), expected, "{few}");
    assert!(few["next_at"].is_string(), "{few}");
    check(&server, &shown, ("many", "2"), BEHIND).await;
    // Nothing is held up when it works again.
    served::until("replayed", async || {
        let (_, answer) = api(&server, "POST", "/api/replay", &json!({ "all": true })).await;
        answer["matched"] == 2 + 3 + BEHIND
    })
    .await;
    until(&server, path, |one| one["lag"] == 0).await;
    let shown = get(&server, path).await;
    assert_eq!(
        (&shown["held_up"], &shown["sessions"]),
        (&json!([]), &json!([]))
    );
    let (status, _) = api(&server, "GET", "/api/consumers/handler:no", &json!({})).await;
    assert_eq!(status, 404);
    server.stop().await;
}

/// That the conversation of a session is shown, with the event that failed and so many behind it.
async fn check(server: &Server, shown: &Value, of: (&str, &str), behind: usize) {
    let (session, conversation) = of;
    let mut held_up = shown["held_up"].as_array().unwrap().iter();
    let one = held_up.find(|one| one["session"] == session).unwrap();
    let [shown, attempts] = ["conversation", "attempt"].map(|field| &one[field]);
    assert_eq!((shown, attempts), (&json!(conversation), &json!(1)));
    let path = format!("/api/events?session={session}&state=retrying");
    until(server, &path, |list| {
        list["events"][0]["id"] == one["event"]
    })
    .await;
    let next_try: Timestamp = one["next_at"].as_str().unwrap().parse().unwrap();
    let pause = next_try.duration_since(SystemClock.now()).as_secs();
    assert!((1800..=3 * 3600).contains(&pause), "{next_try}");
    // Those that memory does not hold are not counted.
    let waiting = usize::try_from(one["behind"].as_u64().unwrap()).unwrap();
    let more = behind > MEMORY;
    assert_eq!(one["more_in_journal"], more, "{one}");
    assert!(
        if more {
            (1..behind).contains(&waiting)
        } else {
            waiting == behind
        },
        "{one}"
    );
}

/// How many events of one conversation memory holds.
const MEMORY: usize = 4_096;

#[actix_web::test]
async fn a_hanging_conversation_is_shown() {
    let folder = Folder::new("held-up-hangs");
    let (release, released) = watch::channel(false);
    let subscriber = Subscriber::deciding(move |_| Answer::Held(released.clone())).await;
    let mut options = RelayOptions::default();
    (options.timeout, options.allow_private) = (FOREVER, true);
    let relay = Relay::new(&subscriber.url(), None, &options).unwrap();
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("crm", relay, patient())
    })
    .await;
    for id in 0..5 {
        let message = message("s", 1, id);
        assert_eq!(message.send(server.public_address()).await.status, 200);
    }
    let path = "/api/consumers/handler:crm";
    let shown = until(&server, path, |one| one["held_up"][0]["behind"] == 4).await;
    let one = &shown["held_up"][0];
    let [conversation, attempts, next_try] =
        ["conversation", "attempt", "next_at"].map(|field| &one[field]);
    assert_eq!((conversation, attempts), (&json!("1"), &json!(0)), "{one}");
    assert_eq!(*next_try, Value::Null, "{one}");
    release.send_replace(true);
    until(&server, path, |one| one["lag"] == 0).await;
    assert_eq!(get(&server, path).await["held_up"], json!([]));
    server.stop().await;
}
