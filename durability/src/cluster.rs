//! [`verify_cluster`]: several instances on one database, each of which is killed now and then.
//!
//! All instances relay to one subscriber, so the order of its requests is the order over all instances. A message that
//! was not acknowledged is sent again, to any instance, until it is: only an answer says where it is in its
//! conversation.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, sleep};

use crate::client::{Answer, Client};
use crate::database::Database;
use crate::error::Error;
use crate::figures::Cluster;
use crate::folder::Folder;
use crate::load::{AFTER_REFUSAL, CONNECTIONS, Load};
use crate::server::Server;
use crate::subscriber::Subscriber;
use crate::{Figures, Place};

/// What a run with several instances does.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The `offhook` program.
    pub program: PathBuf,
    /// The folder of PostgreSQL's programs; `None` for the newest that is installed.
    pub postgres: Option<PathBuf>,
    /// How many instances there are.
    pub instances: usize,
    /// How often an instance or the database is killed.
    pub kills: u32,
    /// The longest time between two kills.
    pub load: Duration,
    /// Runs with the same seed make the same random choices.
    pub seed: u64,
}

/// Runs the plan, in the same way as [`verify`](crate::verify): starts a private PostgreSQL and the instances, and
/// kills one of them, or the database, while messages are sent to all.
///
/// # Errors
///
/// When the run cannot be completed, for example because PostgreSQL's programs are not installed.
pub async fn verify_cluster(
    plan: &ClusterPlan,
    mut progress: impl FnMut(usize),
) -> Result<Figures, Error> {
    let started = Instant::now();
    let programs = Database::programs(plan.postgres.as_deref())?;
    let folder = Folder::empty()?;
    let place = Place::of(&folder.path);
    let mut database = Database::create(programs, &folder.path)?;
    database.run().await?;
    let subscriber = Subscriber::start().await?;
    let names: Vec<String> = (1..=plan.instances)
        .map(|number| format!("i{number}"))
        .collect();
    for name in &names {
        folder.instance(name, &database.url(), &subscriber.url())?;
    }
    let load = Load::new(plan.seed, &folder.secret);
    let running = Running {
        clients: RefCell::new(vec![None; names.len()]),
        is_over: Cell::new(false),
    };
    let (mut servers, mut database_kills) = (Vec::new(), 0);
    for (index, name) in names.iter().enumerate() {
        servers.push(Some(
            begin(plan, &folder, name, &running, index, &load).await?,
        ));
    }
    let killing = async {
        // Not the senders' choices, whose order depends on time: the same seed kills the same ones.
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        for _ in 0..plan.kills {
            let (moment, victim) = (rng.f64(), rng.usize(..names.len() * DATABASE_IN));
            sleep(plan.load.mul_f64(moment)).await;
            if victim == 0 {
                database_kills += 1;
                database.kill();
                sleep(DATABASE_AWAY).await;
                database.run().await?;
            } else {
                let index = victim % names.len();
                running.clients.borrow_mut()[index] = None;
                if let Some(server) = servers[index].take() {
                    server.kill()?;
                }
                let server = begin(plan, &folder, &names[index], &running, index, &load).await?;
                servers[index] = Some(server);
            }
            progress(load.ledger.borrow().acknowledged.len());
        }
        running.is_over.set(true);
        Ok(())
    };
    // If killing fails, the senders end too.
    let killing = async {
        let killed: Result<(), Error> = killing.await;
        running.is_over.set(true);
        killed
    };
    let sending = join_all((0..CONNECTIONS).map(|number| running.send(&load, number)));
    let (killed, _) = join(killing, sending).await;
    killed?;
    subscriber.catch_up(&load).await;
    for server in servers.into_iter().flatten() {
        server.stop().await?;
    }
    drop(database);
    let seen = subscriber.seen();
    let mut figures = Figures {
        place,
        seed: plan.seed,
        kills: plan.kills,
        seconds: started.elapsed().as_secs_f64(),
        cluster: Some(Cluster {
            instances: plan.instances,
            database_kills,
            longest_wait: seen.longest_wait(&load.ledger.borrow()).as_secs_f64(),
        }),
        ..Figures::compare("postgres", &load.ledger.borrow(), &seen)
    };
    drop(seen);
    if !figures.durable {
        figures.folder = Some(folder.keep());
    }
    Ok(figures)
}

/// Starts an instance, and lets the senders know.
async fn begin(
    plan: &ClusterPlan,
    folder: &Folder,
    name: &str,
    running: &Running,
    index: usize,
    load: &Load,
) -> Result<Server, Error> {
    let mut server = Server::start(&plan.program, &folder.path.join(name))?;
    let url = server.listening().await?;
    running.clients.borrow_mut()[index] = Some(Rc::new(load.client(url)));
    Ok(server)
}

/// The instances that can be sent to.
struct Running {
    clients: RefCell<Vec<Option<Rc<Client>>>>,
    is_over: Cell<bool>,
}

impl Running {
    /// One connection: repeatedly sends a message of one of its conversations to any instance, until it is
    /// acknowledged.
    async fn send(&self, load: &Load, number: usize) {
        while !self.is_over.get() {
            let mut next = load.next(number, true);
            loop {
                let answer = match self.any(load) {
                    Some(client) => client.post(next.1).await,
                    None => Answer::Missing,
                };
                load.ledger.borrow_mut().answered(next.0, answer);
                if matches!(answer, Answer::Acknowledged | Answer::Duplicate) {
                    break;
                }
                if self.is_over.get() {
                    return;
                }
                sleep(AFTER_REFUSAL).await;
                next = load.again(next.0);
            }
        }
    }

    fn any(&self, load: &Load) -> Option<Rc<Client>> {
        let clients = self.clients.borrow();
        let living: Vec<_> = clients.iter().flatten().collect();
        if living.is_empty() {
            return None;
        }
        let chosen = load.rng.borrow_mut().usize(..living.len());
        Some(Rc::clone(living[chosen]))
    }
}

/// One kill in so many for each instance is of the database.
const DATABASE_IN: usize = 2;

/// How long the database is away.
const DATABASE_AWAY: Duration = Duration::from_secs(1);
