//! An attacker's half hour: every kind of attack on identity and memory, mixed by a seed, against one real
//! server with the default limits. Beside it are an honest sender, an honest subscriber and an administrator.
//!
//! No honest request is refused or waits too long, the server's memory stays small, everything that was
//! acknowledged is handled, and nothing forged is stored. The test prints how long the honest sender waited,
//! alone and under attack: `cargo test --test it attack -- --nocapture`.
//!
//! | variable | what it sets | in CI | complete |
//! |---|---|---|---|
//! | `OFFHOOK_ATTACK_SECONDS` | how long all of it takes | 60 | 1800 |
//! | `OFFHOOK_ATTACK_SEED` | the order and the sizes of the attacks | from the clock | |

mod admin;
pub mod bodies;
mod forged;
mod honest;
mod kinds;
pub mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join;
use offhook::clock::{Clock as _, SystemClock};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::served::{Served, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, bounded};

use bodies::message;
use honest::{Administrator, Sender};
use kinds::{KINDS, Target};
use sockets::{HOME, all_events, ask, forget_peak, memory, peak_memory, settings};

#[actix_web::test]
async fn an_attack_harms_no_honest_sender() {
    let seconds = number("OFFHOOK_ATTACK_SECONDS", 60).clamp(20, 1800);
    let seed = number(
        "OFFHOOK_ATTACK_SEED",
        SystemClock.now().as_millisecond() as u64,
    );
    println!("OFFHOOK_ATTACK_SEED={seed} OFFHOOK_ATTACK_SECONDS={seconds}");
    let folder = Folder::new("attack");
    let handled = Arc::new(Mutex::new(Handled::default()));
    let remembers = Arc::clone(&handled);
    let crm = Subscriber::deciding(move |asked| {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        remembers
            .lock()
            .unwrap()
            .remember(&body, asked.message_id());
        Answer::from(200)
    });
    settings(&folder, "", SOURCE, &consumers(&crm.await));
    let served = Served::start(&folder);
    forget_peak(&served);

    let mut sender = Sender::new(&served).await;
    let mut administrator = Administrator::default();
    let alone = Duration::from_secs(seconds / 6);
    sender.run(&served, SystemClock.monotonic() + alone).await;
    let figures_alone = sender.take_figures();
    let before = memory(&served);

    let attackers = Attackers::start(&served, seed).await;
    let end = SystemClock.monotonic() + Duration::from_secs(seconds * 2 / 3);
    join(sender.run(&served, end), administrator.run(&served, end)).await;
    let breaches = attackers.stop().await;
    let figures_beside = sender.take_figures();
    let peak = peak_memory(&served);
    println!("honest sender alone:        {figures_alone}");
    println!("honest sender under attack: {figures_beside}");
    println!(
        "administrator:              {}",
        administrator.take_figures()
    );
    println!("resident memory: {before} MiB before, at most {peak} MiB under attack");
    sender.expect_no_failure();
    administrator.expect_no_failure();
    assert!(breaches.is_empty(), "seed {seed}: {breaches:#?}");
    assert!(peak < 400, "seed {seed}: {peak} MiB");
    expect_all_handled(&handled, &sender).await;
    expect_nothing_forged(&served, &sender).await;
    served.program.stop();
}

/// A number of an environment variable, or another.
fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap())
}

/// The sessions `B` and `odd` have secrets of their own.
const SOURCE: &str = concat!(
    "probe = true\nsessions.\"odd\".secrets = [\"the-own-secret-of-odd-alone\"]\n",
    "sessions.\"B\".secrets = [\"the-own-secret-of-B-alone\"]"
);

/// The subscriber gets the sessions of the honest sender; a handler reads the content of all.
fn consumers(crm: &Subscriber) -> String {
    let mut text =
        "[relay]\nallow_private = true\n[[handlers]]\nname = \"log\"\nuse = \"log\"\n".to_owned();
    for session in honest::SESSIONS {
        text += &format!(
            "[[subscriptions]]\nname = \"crm\"\nsession = \"{session}\"\nwebhook_url = \"{}\"\n",
            crm.url()
        );
    }
    text
}

/// What the subscriber got.
#[derive(Debug, Default)]
struct Handled {
    ids: BTreeSet<String>,
    /// What no honest sender has sent.
    forged: Vec<String>,
}

impl Handled {
    fn remember(&mut self, body: &str, id: String) {
        if id.starts_with(honest::PREFIX) {
            self.ids.insert(id);
        } else {
            self.forged.push(body.to_owned());
        }
    }
}

/// Everything that was acknowledged comes to the subscriber, and nothing else.
async fn expect_all_handled(handled: &Mutex<Handled>, sender: &Sender) {
    let missing = || {
        let handled = handled.lock().unwrap();
        let missing = sender
            .acknowledged()
            .filter(|id| !handled.ids.contains(*id));
        missing.count()
    };
    until("all handled", async || missing() == 0).await;
    let handled = handled.lock().unwrap();
    assert!(handled.forged.is_empty(), "{:#?}", handled.forged);
    let sent: BTreeSet<_> = sender.sent().collect();
    assert!(handled.ids.iter().all(|id| sent.contains(id)));
    println!(
        "{} acknowledged, all of them handled",
        sender.acknowledged().count()
    );
}

/// Each stored event is one of the honest sender, or of the session whose secret the attacker has.
async fn expect_nothing_forged(served: &Served, sender: &Sender) {
    let mut stored = BTreeMap::<String, usize>::new();
    for event in all_events(served).await {
        if event.get("duplicate_of").is_none() {
            let session = event["session"].as_str().unwrap_or("none");
            *stored.entry(session.to_owned()).or_default() += 1;
        }
    }
    println!("stored events by session: {stored:?}");
    let attackers_own = stored.remove(forged::SESSION_OF_ATTACKER);
    assert!(attackers_own.is_some(), "no bomb was taken");
    assert_eq!(stored, sender.acknowledged_by_session());
}

/// Tasks that attack, on threads of their own, until they are stopped.
struct Attackers {
    runtime: Runtime,
    tasks: Vec<JoinHandle<()>>,
    target: Arc<Target>,
}

impl Attackers {
    async fn start(served: &Served, seed: u64) -> Self {
        // A request that was captured on its way.
        let captured = message("A", "honest-captured").bytes();
        let answer = ask(HOME, served.public, &captured).await.unwrap();
        assert_eq!(answer.status, 200);
        let target = Arc::new(Target::new(served, captured));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let tasks = (0..TASKS).map(|task| {
            let target = Arc::clone(&target);
            let mut rng = Rng::with_seed(seed.wrapping_add(task));
            runtime.spawn(async move {
                let mut left = Vec::new();
                while !target.is_over.load(Ordering::Relaxed) {
                    // Each task does every kind before it does one again.
                    if left.is_empty() {
                        left.extend(0..KINDS.len());
                        rng.shuffle(&mut left);
                    }
                    let kind = left.pop().unwrap_or_default();
                    target.attack(kind, &mut rng).await;
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            runtime,
            target,
        }
    }

    /// Returns what should not have been answered so.
    async fn stop(self) -> Vec<String> {
        self.target.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            bounded(task).await.unwrap();
        }
        self.runtime.shutdown_background();
        self.target.print_counts();
        self.target.breaches()
    }
}

const TASKS: u64 = 6;
