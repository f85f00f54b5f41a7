//! Rounds of faults under load, on a primary with a synchronous standby: what was acknowledged is kept, what is kept
//! is handled, in order and once in the log.
//!
//! OFFHOOK_CLUSTER_ROUNDS says how many rounds; without it, ten. OFFHOOK_CLUSTER_SEED repeats the choices of a run
//! that has failed.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join;
use offhook::clock::{Clock as _, SystemClock};
use tokio::time::sleep;

use super::administration::{HOOK, subscribe};
use super::line::Line;
use super::load::{Arrivals, Load};
use super::pair::Pair;
use super::{Cluster, blocking, subscription};
use crate::served::{Served, command, until};
use crate::subscriber::Subscriber;
use crate::support::ask;

/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// An instance is killed, and started again.
    Kill,
    /// An instance stands still for longer than a lease.
    StandStill,
    /// The lines of an instance to the database are cut for longer than a lease.
    Cut,
    /// The primary is killed, and started again.
    Restart,
    /// The primary is killed, and the standby takes over.
    FailOver,
}

/// Each fault equally often, in any order.
fn plan(load: &Load) -> Vec<Fault> {
    use Fault::{Cut, FailOver, Kill, Restart, StandStill};

    let rounds = std::env::var("OFFHOOK_CLUSTER_ROUNDS").map(|rounds| rounds.parse().unwrap());
    let all = [Kill, StandStill, Cut, Restart, FailOver];
    let mut plan: Vec<_> = all.into_iter().cycle().take(rounds.unwrap_or(10)).collect();
    shuffle(&mut plan, load);
    plan
}

fn shuffle(plan: &mut [Fault], load: &Load) {
    for last in (1..plan.len()).rev() {
        plan.swap(last, load.below(last + 1));
    }
}

struct Trial {
    cluster: Cluster,
    pair: Pair,
    load: Rc<Load>,
    /// Of each instance, one to each server of the database.
    lines: Vec<[Line; 2]>,
    instances: Vec<Option<Served>>,
}

impl Trial {
    async fn start(seed: u64, pair: Pair, arrivals: &Subscriber) -> Self {
        let more = format!(
            "lease = \"4s\"\nshares = 6\ndurability = \"replicated\"\n{}",
            subscription(arrivals)
        );
        let mut trial = Self {
            cluster: Cluster::on(&pair.primary, "rounds", &more),
            load: Rc::new(Load::new(seed, NAMES.len())),
            lines: Vec::new(),
            instances: NAMES.map(|_| None).into(),
            pair,
        };
        for instance in 0..NAMES.len() {
            let ports = [trial.pair.primary.port(), trial.pair.standby.port()];
            trial
                .lines
                .push([Line::to(ports[0]).await, Line::to(ports[1]).await]);
            trial.run(instance).await;
        }
        trial
    }

    /// Starts an instance.
    async fn run(&mut self, instance: usize) {
        let [first, second] = &self.lines[instance];
        let hosts = format!("{},{}", first.host(), second.host());
        self.cluster.url = format!("postgresql://offhook@{hosts}/postgres");
        let folder = self.cluster.settings(NAMES[instance]);
        // In a thread of its own: its connections go through this one.
        let started = blocking(move || Served::try_start(&mut command(&folder))).await;
        let served = started.unwrap_or_else(|said| panic!("{}: {said}", NAMES[instance]));
        self.load.instances.borrow_mut()[instance] = Some(served.public);
        self.instances[instance] = Some(served);
    }

    fn served(&self, instance: usize) -> &Served {
        self.instances[instance].as_ref().expect("it runs")
    }

    /// Lets the fault happen to this instance, or to the database, and mends it.
    async fn happen(&mut self, fault: Fault, victim: usize) {
        match fault {
            Fault::Kill => {
                self.load.instances.borrow_mut()[victim] = None;
                self.instances[victim]
                    .take()
                    .expect("it runs")
                    .program
                    .kill();
                self.run(victim).await;
            }
            Fault::StandStill => {
                self.served(victim).program.signal("STOP");
                sleep(LONGER_THAN_A_LEASE).await;
                self.served(victim).program.signal("CONT");
            }
            Fault::Cut => {
                self.set_cut(victim, true);
                sleep(LONGER_THAN_A_LEASE).await;
                self.set_cut(victim, false);
            }
            Fault::Restart => self.pair.restart().await,
            Fault::FailOver => {
                let gone = self.pair.primary.port();
                self.pair.fail_over().await;
                self.pair.replace().await;
                // The new standby has the place of the old primary in all URLs.
                let (new, standby) = (self.pair.primary.port(), self.pair.standby.port());
                for [first, second] in &self.lines {
                    let is_first = first.port() == gone;
                    first.lead_to(if is_first { standby } else { new });
                    second.lead_to(if is_first { new } else { standby });
                }
            }
        }
    }

    fn set_cut(&self, instance: usize, cut: bool) {
        for line in &self.lines[instance] {
            line.set_cut(cut);
        }
    }

    /// Waits until everything is as before the fault.
    async fn recover(&self) {
        self.pair.in_step().await;
        for instance in 0..NAMES.len() {
            let served = self.served(instance);
            until("ready", async || served.is_ready().await).await;
        }
        self.load.goes_on().await;
    }

    /// One fault; and a subscription that is removed on another instance meanwhile.
    async fn round(&mut self, fault: Fault) {
        let victim = self.load.below(NAMES.len());
        let calm = (victim + 1) % NAMES.len();
        let removed = Subscriber::start([]).await;
        subscribe(self.served(calm), &removed).await;
        removed.asked(1).await;
        sleep(Duration::from_millis(self.load.below(1000) as u64)).await;
        let admin = self.served(calm).admin;
        let removing = async {
            sleep(Duration::from_millis(500)).await;
            let is_promised = remove(admin).await;
            // What had been sent before the answer is read.
            sleep(ON_ITS_WAY).await;
            is_promised.then(|| removed.count())
        };
        let (count, ()) = join(removing, self.happen(fault, victim)).await;
        self.recover().await;
        if let Some(count) = count {
            let late = removed.count() - count;
            // What a process has handed to its connections when it is stopped, it sends when it goes on.
            let allowed = match fault {
                Fault::StandStill => IN_ITS_CONNECTIONS,
                _ => 0,
            };
            assert!(late <= allowed, "{fault:?}: {late} sent after the removal");
        }
    }
}

/// Removes the subscription. Returns whether the answer promises that nothing is sent any more: one without answer may
/// have removed it, and then the next says only that it is not there.
async fn remove(admin: std::net::SocketAddr) -> bool {
    let started = SystemClock.monotonic();
    loop {
        match ask(admin, "DELETE", HOOK, "").await {
            (200, _) => return true,
            (404, _) => return false,
            (503, _) => {}
            other => panic!("DELETE: {other:?}"),
        }
        assert!(SystemClock.monotonic() - started < HANG, "not removed");
        sleep(Duration::from_millis(100)).await;
    }
}

#[actix_web::test]
async fn rounds_of_faults_lose_and_reorder_nothing() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let seed = std::env::var("OFFHOOK_CLUSTER_SEED").map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|_| fastrand::u64(..));
    eprintln!("OFFHOOK_CLUSTER_SEED={seed}");
    let arrivals = Arrivals::default();
    let mut trial = Trial::start(seed, pair, &arrivals.subscriber().await).await;
    let plan = plan(&trial.load);
    eprintln!("{plan:?}");
    let load = Rc::clone(&trial.load);
    let started = SystemClock.monotonic();
    let rounds = async {
        load.goes_on().await;
        for fault in &plan {
            let began = SystemClock.monotonic();
            trial.round(*fault).await;
            eprintln!("{fault:?}: {:.1?}", SystemClock.monotonic() - began);
        }
        load.end();
    };
    join(load.run(), rounds).await;
    let (url, schema) = (trial.pair.primary.url(), &trial.cluster.schema);
    let verdict = load.verdict(&url, schema, &arrivals).await;
    let took = SystemClock.monotonic() - started;
    let answers = {
        let ledger = load.ledger.borrow();
        let (away, none) = (ledger.unavailable, ledger.unanswered);
        format!(
            "{} repeats, {away} answers 503, {none} without answer",
            ledger.repeats
        )
    };
    let rounds = plan.len();
    eprintln!(
        "{rounds} rounds in {took:.1?}: {}; {answers}",
        verdict.told()
    );
    let wrong = verdict.wrong();
    assert!(
        wrong.is_empty(),
        "OFFHOOK_CLUSTER_SEED={seed} {plan:?}: {wrong:?}"
    );
    let instances = trial.instances.drain(..).flatten();
    let programs: Vec<_> = instances.map(|served| served.program).collect();
    blocking(|| {
        for program in programs {
            program.stop();
        }
    })
    .await;
}

const NAMES: [&str; 3] = ["a", "b", "c"];

const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(6);

const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Of the 64 that are sent at the same time at most; one was seen.
const IN_ITS_CONNECTIONS: usize = 8;

const HANG: Duration = Duration::from_secs(60);
