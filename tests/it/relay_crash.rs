//! SIGKILL while relaying: every subscriber gets everything acknowledged, whatever was under way.
//!
//! The subscribers live in the test, so they outlive the kills and remember all of them. Some events
//! they refuse at first; some they leave without an answer, which only a kill ends: so whatever the
//! timing, there are retries, and kills that hit requests under way.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use offhook::testing::TestRequest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::relay::check_signatures;
use crate::served::{Served, command, settings, until};
use crate::subscriber::{Answer, Asked, Subscriber};
use crate::support::{Folder, Program, bounded, read_answer, signed};

const KILLS: usize = 16;

/// Each subscriber's own.
const SECRETS: [&str; 3] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
];

/// So many events at least.
const ENOUGH: usize = 500;

const SENDERS: usize = 6;
const CONVERSATIONS: usize = 30;

/// No attempt ends by itself: what is left without an answer waits for the kill.
const SETTINGS: &str = "[relay]\nallow_private = true\ntimeout = \"1h\"\nsuspend_after = \"1h\"\n\
                        [dispatch]\nretry = { first = \"20ms\", factor = 1.0, attempts = 100000 }\n";

#[actix_web::test]
async fn sixteen_kills_lose_no_acknowledged_event() {
    let folder = Folder::new("relay-crash");
    settings(&folder, SETTINGS);
    let hangs = Arc::new(AtomicBool::new(true));
    let subscribers = join_all(SECRETS.map(|_| subscriber(Arc::clone(&hangs)))).await;
    let load = Load::default();

    let killing = async {
        let served = started(&folder).await;
        for (subscriber, secret) in subscribers.iter().zip(SECRETS) {
            subscribe(&served, subscriber, secret).await;
        }
        let in_flight = kill_again_and_again(&folder, served, &subscribers, &load).await;
        hangs.store(false, Ordering::Relaxed);
        let served = started(&folder).await;
        load.to.set(Some(served.public));
        // What is new now is refused and tried again without any kill in between: of so many, each
        // sender may have begun with one before.
        let more = load.acknowledged.borrow().len() + SENDERS + 2 * REFUSED;
        until("enough sent", async || {
            load.acknowledged.borrow().len() >= more.max(ENOUGH)
        })
        .await;
        load.ended.set(true);
        (served, in_flight)
    };
    let sending = join_all((0..SENDERS).map(|sender| load.send(sender)));
    let ((served, in_flight), _) = bounded(join(killing, sending)).await;

    let acknowledged = load.acknowledged.take();
    bounded(all_settled(&served)).await;
    let dead = TestRequest::get("/api/dead").send(served.admin).await;
    let dead: Value = serde_json::from_slice(&dead.body).unwrap();
    assert_eq!(dead["dead"], json!([]));
    served.program.stop();

    let (mut ids, mut retried) = (HashMap::new(), 0);
    for (subscriber, secret) in subscribers.iter().zip(SECRETS) {
        retried += check(&subscriber.requests(), secret, &acknowledged, &mut ids);
    }
    let broken_off: usize = subscribers.iter().map(Subscriber::broken_off).sum();
    println!(
        "{} events, {KILLS} kills, {in_flight} of them with requests under way, {broken_off} \
         requests broken off, {retried} retries, {} acknowledged as duplicates",
        acknowledged.len(),
        load.duplicates.get()
    );
    assert!(in_flight >= KILLS / 2, "{in_flight} kills in flight");
    assert!(broken_off >= in_flight, "{broken_off} broken off");
    assert!(retried >= 2 * SECRETS.len(), "{retried} retries");
}

/// Every so many events are refused at first.
const REFUSED: usize = 6;

/// Every so many events get no answer at first.
const LEFT: usize = 37;

/// Refuses some and leaves some, as far as it has not seen them before.
async fn subscriber(hangs: Arc<AtomicBool>) -> Subscriber {
    let mut seen = HashMap::<usize, usize>::new();
    Subscriber::deciding(move |asked| {
        let id = asked.field("messageId").parse().unwrap();
        let seen = seen.entry(id).or_default();
        *seen += 1;
        match (*seen, id % REFUSED, id % LEFT) {
            (1, 0, _) => Answer::from(500),
            (1, _, 1) if hangs.load(Ordering::Relaxed) => Answer::Hang,
            _ => Answer::from(200),
        }
    })
    .await
}

/// Subscribes it to everything.
async fn subscribe(served: &Served, subscriber: &Subscriber, secret: &str) {
    let name = subscriber.address.port().to_string();
    let body = json!({ "webhookUrl": subscriber.url(), "secret": secret, "name": name });
    let request = TestRequest::post(body.to_string()).path("/sessions/*/webhook");
    let answer = request.send(served.admin).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Kills at random moments: of four, one as it starts, one at any time, and two while a subscriber
/// has a request that it has not answered. Returns how often that was so.
async fn kill_again_and_again(
    folder: &Folder,
    first: Served,
    subscribers: &[Subscriber],
    load: &Load,
) -> usize {
    let open = || subscribers.iter().any(|subscriber| subscriber.open() > 0);
    let mut served = Some(first);
    let mut in_flight = 0;
    for kill in 0..KILLS {
        let program = if kill % 4 == 3 {
            let starting = Program::start(&mut command(folder));
            pause(100).await;
            starting
        } else {
            let now = match served.take() {
                Some(served) => served,
                None => started(folder).await,
            };
            load.to.set(Some(now.public));
            pause(300).await;
            if kill % 4 < 2 {
                until("under way", async || open()).await;
            }
            now.program
        };
        in_flight += usize::from(open());
        load.to.set(None);
        program.kill();
        // The subscriber notices, so that nothing of this round counts for the next.
        until("broken off", async || !open()).await;
    }
    in_flight
}

async fn pause(at_most: u64) {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..at_most))).await;
}

/// Starts it while the subscribers and the senders go on.
async fn started(folder: &Folder) -> Served {
    let mut command = command(folder);
    let starting = tokio::task::spawn_blocking(move || Served::try_start(&mut command));
    starting.await.unwrap().unwrap()
}

/// What is sent all the while, and what came of it.
#[derive(Default)]
struct Load {
    /// Where a server is, if one is.
    to: Cell<Option<SocketAddr>>,
    ended: Cell<bool>,
    next: Cell<usize>,
    /// How often the server that was killed had kept an event and not said so.
    duplicates: Cell<usize>,
    /// The digests of the bodies of what was acknowledged.
    acknowledged: RefCell<BTreeMap<usize, Sent>>,
}

struct Sent {
    digest: [u8; 32],
    conversation: usize,
}

impl Load {
    /// Sends events of its conversations one after the other, each until it is acknowledged.
    async fn send(&self, sender: usize) {
        let mut connection = None;
        let mut conversations = (sender..CONVERSATIONS).step_by(SENDERS).cycle();
        while !self.ended.get() {
            let id = self.next.replace(self.next.get() + 1);
            let conversation = conversations.next().unwrap();
            let body = body(conversation, id);
            let digest = Sha256::digest(&body).into();
            let request = signed(body);
            while !self.try_send(&mut connection, &request).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let sent = Sent {
                digest,
                conversation,
            };
            self.acknowledged.borrow_mut().insert(id, sent);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it is acknowledged. A server that is killed says nothing, or less than all of it.
    async fn try_send(&self, connection: &mut Option<TcpStream>, request: &TestRequest) -> bool {
        let Some(to) = self.to.get() else {
            *connection = None;
            return false;
        };
        let exchange = async {
            let mut stream = match connection.take() {
                Some(stream) => stream,
                None => TcpStream::connect(to).await?,
            };
            stream.write_all(&request.bytes()).await?;
            let answer = read_answer(&mut stream).await?;
            Ok::<_, std::io::Error>((stream, answer))
        };
        let Ok((stream, answer)) = exchange.await else {
            return false;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let duplicate = answer.header("offhook-duplicate").is_some();
        self.duplicates
            .set(self.duplicates.get() + usize::from(duplicate));
        *connection = Some(stream);
        true
    }
}

/// A message with what a parser would not leave as it is: spaces, escapes, an order of its own.
fn body(conversation: usize, id: usize) -> String {
    let (filler, spaces) = ("ü\\u00e9\u{1f980}".repeat(id % 50), " ".repeat(id % 3));
    format!(
        "{{{spaces}\"messageId\" : \"{id}\",\"from\":\"{conversation}\",\"event\":\"message\",\
         \"sessionId\":\"{}\",\n\"message\":\"{filler}\"}}{spaces}",
        conversation % 4
    )
}

async fn all_settled(served: &Served) {
    loop {
        let answer = TestRequest::get("/api/consumers").send(served.admin).await;
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let consumers = answer["consumers"].as_array().unwrap();
        assert_eq!(consumers.len(), SECRETS.len());
        if consumers.iter().all(|consumer| consumer["lag"] == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Checks all that one subscriber was asked. `ids` are the events' ids, the same for all subscribers.
/// Returns how many retries there were.
fn check(
    requests: &[Asked],
    secret: &str,
    acknowledged: &BTreeMap<usize, Sent>,
    ids: &mut HashMap<usize, String>,
) -> usize {
    let mut seen = HashMap::<usize, usize>::new();
    let mut lanes = lanes(acknowledged);
    let mut retries = 0;
    for asked in requests {
        check_signatures(asked, secret);
        let id: usize = asked.field("messageId").parse().unwrap();
        let sent = &acknowledged[&id];
        assert_eq!(Sha256::digest(&asked.body)[..], sent.digest, "event {id}");
        let known = ids.entry(id);
        let known = known.or_insert_with(|| asked.header("webhook-id").to_owned());
        assert_eq!(asked.header("webhook-id"), known, "event {id}");

        // A kill forgets attempts, and never makes any up.
        let seen = seen.entry(id).or_default();
        *seen += 1;
        let attempt: usize = asked.header("offhook-attempt").parse().unwrap();
        assert!(
            (1..=*seen).contains(&attempt),
            "event {id}: {attempt}, {seen} seen"
        );
        retries += usize::from(attempt > 1);

        // None comes before the one ahead of it was taken. A kill may bring the last one again.
        let lane = lanes.get_mut(&sent.conversation).unwrap();
        let next = lane.front() == Some(&id);
        assert!(next || lane.iter().all(|ahead| *ahead != id), "event {id}");
        if next && asked.taken {
            lane.pop_front();
        }
    }
    lanes.retain(|_, lane| !lane.is_empty());
    assert_eq!(lanes, BTreeMap::new(), "never taken");
    let different: BTreeSet<_> = ids.values().collect();
    assert_eq!(different.len(), acknowledged.len());
    retries
}

/// The events of each conversation in the order in which they were sent.
fn lanes(acknowledged: &BTreeMap<usize, Sent>) -> BTreeMap<usize, VecDeque<usize>> {
    let mut lanes = BTreeMap::<_, VecDeque<_>>::new();
    for (id, sent) in acknowledged {
        lanes.entry(sent.conversation).or_default().push_back(*id);
    }
    lanes
}
