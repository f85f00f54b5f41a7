//! Isolation: a conversation, a session or a disk that fails, hangs or is slow holds up nothing else.
//!
//! Each test has a limit only on how long it may hang, so that it passes on a busy machine. It prints the
//! figures: `cargo test --test it isolation -- --nocapture`. The tests run one after the other.
//!
//! | variable | what it sets | in CI | complete |
//! |---|---|---|---|
//! | `OFFHOOK_ISOLATION_EVENTS` | events of the sessions that fail or hang | 50,000; 10,000 over kills | 1,000,000 |
//! | `OFFHOOK_ISOLATION_OTHERS` | events of the other sessions in each phase | 100 | 1,000 |
//! | `OFFHOOK_ISOLATION_RETRIES` | retries that wait while nothing is written | 5,000 | 100,000 |
//! | `OFFHOOK_ISOLATION_RATIO` | deliveries a second with a slow disk, in per cent of those without | 50 | 90 |

mod crm;
mod disk;
mod held_up;
mod late;
mod load;

use std::collections::BTreeMap;

use futures_util::future::join;
use offhook::testing::TestRequest;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::served::{Served, kept, settings, until};
use crate::support::Folder;

use crm::{Crm, Mood};
use load::{Others, feed, memory, number, shown, until_at_least};

#[actix_web::test]
async fn one_bad_session_holds_up_no_other() {
    BAD_SESSION.run(false).await;
}

#[actix_web::test]
async fn one_bad_session_over_kills() {
    BAD_SESSION.run(true).await;
}

#[actix_web::test]
async fn one_bad_conversation_holds_up_no_other() {
    BAD_CONVERSATION.run(false).await;
}

#[actix_web::test]
async fn one_bad_conversation_over_kills() {
    BAD_CONVERSATION.run(true).await;
}

#[actix_web::test]
async fn two_hanging_sessions_starve_no_third() {
    TWO_SESSIONS.run(false).await;
}

#[actix_web::test]
async fn two_hanging_sessions_over_kills() {
    TWO_SESSIONS.run(true).await;
}

/// Sessions that fail or hang, and others that must not notice.
struct Scenario {
    name: &'static str,
    bad: &'static [&'static str],
    /// How the bad ones begin; then they hang.
    mood: Mood,
    /// How many events each conversation has; 0 for all of its session.
    each: usize,
}

const BAD_SESSION: Scenario = Scenario {
    name: "session",
    bad: &["bad"],
    mood: Mood::Fails,
    each: 10,
};

const BAD_CONVERSATION: Scenario = Scenario {
    name: "conversation",
    bad: &["bad"],
    mood: Mood::Fails,
    each: 0,
};

const TWO_SESSIONS: Scenario = Scenario {
    name: "two-sessions",
    bad: &["bad", "worse"],
    mood: Mood::Hangs,
    each: 10,
};

impl Scenario {
    /// With kills there are two of them: while the bad sessions hang, and while they recover.
    async fn run(&self, kills: bool) {
        let _alone = ALONE.lock().await;
        let in_ci = if kills { 10_000 } else { 50_000 };
        let events = number("OFFHOOK_ISOLATION_EVENTS", in_ci) / self.bad.len();
        let mut world = World::start(self, events, kills).await;
        // What a server holds that works.
        feed(&world.served, "warm", 0..events / 5, events / 5).await;
        world.go_on("alone").await;
        let memory_before = memory(&world.served);
        world.set(self.mood);
        world.fill().await;
        world.go_on("beside a backlog").await;
        world.set(Mood::Hangs);
        world.all_hang().await;
        world.go_on("beside what hangs").await;
        println!(
            "resident memory: {memory_before} KiB before, {} KiB after",
            memory(&world.served)
        );
        if kills {
            world = world.killed();
            world.all_hang().await;
            world.go_on("after a kill").await;
        }
        world.set(Mood::Works);
        if kills {
            world.recover(events / 2).await;
            world = world.killed();
        }
        world.recover(events).await;
        world.go_on("after the recovery").await;
        world.end(kills).await;
    }

    fn conversations(&self, events: usize) -> usize {
        events.checked_div(self.each).unwrap_or(1)
    }
}

struct World<'a> {
    scenario: &'a Scenario,
    folder: Folder,
    crm: Crm,
    served: Served,
    others: Others,
    /// How many events each bad session has.
    events: usize,
}

impl<'a> World<'a> {
    async fn start(scenario: &'a Scenario, events: usize, kills: bool) -> Self {
        let folder = Folder::new(&format!("isolation-{}-{kills}", scenario.name));
        let crm = Crm::start();
        let relay = relay(events / 2_000);
        settings(&folder, &format!("{relay}{}", crm.subscription()));
        println!(
            "{}: {events} events in each of {:?}",
            scenario.name, scenario.bad
        );
        Self {
            scenario,
            served: Served::start(&folder),
            folder,
            crm,
            others: Others::default(),
            events,
        }
    }

    async fn go_on(&mut self, when: &str) {
        self.others.go_on(when, &self.served, &self.crm).await;
    }

    fn set(&self, mood: Mood) {
        let sessions = self.scenario.bad.iter();
        sessions.for_each(|session| self.crm.set(session, mood));
    }

    /// Sends all events of the bad sessions, and meanwhile some of the others.
    async fn fill(&mut self) {
        let conversations = self.scenario.conversations(self.events);
        let feeding = async {
            for session in self.scenario.bad {
                feed(&self.served, session, 0..self.events, conversations).await;
            }
        };
        let others = self.others.go_on("beside a flood", &self.served, &self.crm);
        join(feeding, others).await;
        let all = self.events * self.scenario.bad.len();
        until("waiting", async || shown(&self.served, "lag").await == all).await;
        for session in self.scenario.bad {
            assert_eq!(self.crm.accepted(session), 0, "{session}");
        }
    }

    /// Waits until a request of each bad session hangs.
    async fn all_hang(&self) {
        for session in self.scenario.bad {
            let hangs = async || self.crm.of(session, |seen| seen.hanging) > 0;
            until("hanging", hangs).await;
        }
    }

    /// Kills the server and starts it again.
    fn killed(self) -> Self {
        self.served.program.kill();
        let served = Served::start(&self.folder);
        Self { served, ..self }
    }

    /// Waits until so many events of each bad session are accepted.
    async fn recover(&self, events: usize) {
        for session in self.scenario.bad {
            until_at_least(session, events, async || self.crm.accepted(session)).await;
        }
    }

    /// All is handled, and each conversation in the order of the journal.
    async fn end(self, kills: bool) {
        until("settled", async || shown(&self.served, "lag").await == 0).await;
        let dead = TestRequest::get("/api/dead").send(self.served.admin).await;
        let dead: Value = serde_json::from_slice(&dead.body).unwrap();
        assert_eq!(dead["dead"], json!([]));
        self.served.program.stop();
        let kept = kept(&self.folder);
        for session in self.scenario.bad {
            let of_session = kept.iter().filter_map(|id| crm::split(id));
            let of_session = of_session.filter(|(of, _)| of == session);
            let kept: Vec<_> = of_session.map(|(_, number)| number).collect();
            let (first, twice) = self
                .crm
                .of(session, |seen| (seen.first.clone(), seen.twice));
            assert_eq!(first.len(), self.events, "{session}");
            let conversations = self.scenario.conversations(self.events);
            let (kept, first) = (lines(&kept, conversations), lines(&first, conversations));
            assert!(kept == first, "{session}: a conversation in another order");
            println!(
                "{session}: {} events handled, {twice} of them twice",
                self.events
            );
            assert!(kills || twice == 0, "{session}: {twice} twice");
        }
        if !kills {
            self.others.none_twice(&self.crm);
        }
    }
}

/// The numbers of each conversation, in the order that they have.
fn lines(numbers: &[usize], conversations: usize) -> BTreeMap<usize, Vec<usize>> {
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    for number in numbers {
        lines
            .entry(number % conversations)
            .or_default()
            .push(*number);
    }
    lines
}

/// The tests of this file load the machine, so they run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

/// An attempt that hangs ends, and a retry waits for seconds: for more of them where many wait, so that
/// failing alone does not take up the machine.
fn relay(seconds: usize) -> String {
    let longest = seconds.clamp(8, 30);
    format!(
        "[relay]\nallow_private = true\ntimeout = \"10s\"\n[dispatch]\nretry = {{ first = \"1s\", \
         factor = 2.0, max = \"{longest}s\", attempts = 1000000 }}\n"
    )
}
