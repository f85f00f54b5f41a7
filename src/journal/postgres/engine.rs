//! The thread of the journal, and the tasks on it. They have a thread of their own, so that nothing else delays the
//! renewal of the lease.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::connect::{Connector, Role};
use super::desk::{MAX_SAVES, Save, Saver};
use super::following::Following;
use super::joining::join_at_start;
use super::lease::{Heart, LEAVE};
use super::link::Link;
use super::options::{PostgresError, PostgresOptions};
use super::reading::{Bulk, Witness};
use super::shared::{News, Shared, Times, heard};
use super::sql::number;
use super::verify::Verifier;
use super::writer::{Asked, MAX_WAITING, Writer};
use super::{follower, lapse, schema, tending};
use crate::clock::Clock;
use crate::journal::{Tail, Unavailable};

/// What the handle needs of the thread.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) appends: mpsc::Sender<Asked>,
    pub(super) saves: mpsc::Sender<Save>,
    pub(super) end: watch::Sender<End>,
    pub(super) thread: std::thread::JoinHandle<()>,
}

/// How the tasks end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Not,
    /// What waits is written, and the shares are given back.
    Gracefully,
    /// Everything stops where it is, as if the process were killed.
    #[cfg(test)]
    Abruptly,
}

struct Tasks {
    shared: Arc<Shared>,
    set: JoinSet<()>,
    /// Those that end by themselves when their queues are closed.
    writers: JoinSet<()>,
}

/// Starts the thread, and returns when the journal can be used.
pub(super) async fn start(
    options: PostgresOptions,
    clock: Arc<dyn Clock>,
    times: Times,
) -> Result<Running, PostgresError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(PostgresError::Thread)?;
    let (end, ended) = watch::channel(End::Not);
    let (ready, started) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("offhook-postgres".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                match begin(options, clock, times).await {
                    Ok((tasks, appends, saves)) => {
                        let shared = Arc::clone(&tasks.shared);
                        if ready.send(Ok((shared, appends, saves))).is_ok() {
                            tasks.run(ended).await;
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
            // A task that blocks does not hold up the end.
            runtime.shutdown_background();
        })
        .map_err(PostgresError::Thread)?;
    let gone = |_| PostgresError::Away("its thread has ended".to_owned());
    let (shared, appends, saves) = started.await.map_err(gone)??;
    Ok(Running {
        shared,
        appends,
        saves,
        end,
        thread,
    })
}

type Begun = (Tasks, mpsc::Sender<Asked>, mpsc::Sender<Save>);

async fn begin(
    options: PostgresOptions,
    clock: Arc<dyn Clock>,
    times: Times,
) -> Result<Begun, PostgresError> {
    let connector = Connector::new(&options, Handle::current(), Arc::clone(&clock))?;
    let connector = Arc::new(connector);
    let known = schema::prepare(&connector, &options, times.now()).await?;
    let session = connector
        .connect(&Role::Durable)
        .await
        .map_err(PostgresError::Away)?;
    let away = |error: Unavailable| PostgresError::Away(error.to_string());
    let rows = session.read(NEWEST, &[]).await.map_err(away)?;
    let row = &rows[0];
    let newest = row.get::<_, Option<i64>>(0).map(|last| Witness {
        last: last.unsigned_abs(),
        batch: row.get(1),
    });
    let tail = Arc::new(Tail::new(newest.map_or(0, |newest| newest.last)));
    let following = Arc::new(Following::new(tail, newest, number(row, 2)));
    let verifier = Verifier::new(known, Arc::clone(&following));
    let id = Uuid::now_v7();
    let news = Arc::new(News::new(id));
    let link = |role| Link::new(&connector, role, verifier.check());
    let general = link(Role::Durable);
    let shared = Arc::new(Shared::new(
        options,
        clock,
        times,
        known,
        Arc::clone(&verifier),
        Arc::clone(&following),
        general,
        Bulk::new(link(Role::Durable)),
        Arc::clone(&news),
        id,
    ));
    // What is read from now on is at least as new.
    shared.heard_documents(number(row, 3));
    shared
        .applied
        .store(number(row, 3), std::sync::atomic::Ordering::SeqCst);
    join_at_start(&shared, &session, id).await?;
    session.end();

    let documents = Arc::downgrade(&shared);
    let documents = move |version| {
        if let Some(shared) = documents.upgrade() {
            heard(&shared.documents, version);
        }
    };
    let listener = follower::listener(&following, documents, &news);
    let listening = Arc::new(link(Role::Listener(listener)));
    let (appends, asked) = mpsc::channel(MAX_WAITING);
    let (saves, to_save) = mpsc::channel(MAX_SAVES);
    let writer = Writer::new(Arc::clone(&shared), link(Role::Durable), asked);
    let saver = Saver::new(link(Role::Durable), Arc::clone(&shared.verifier), to_save);
    let mut heart = Heart::new(Arc::clone(&shared), link(Role::Durable));
    heart.beat().await.map_err(away)?;
    // What other instances append from now on is heard of.
    listening.session().await.map_err(away)?;
    following.wake.notify_one();
    shared.say_joined();

    let (mut set, mut writers) = (JoinSet::new(), JoinSet::new());
    writers.spawn(writer.run());
    writers.spawn(saver.run());
    set.spawn(heart.run());
    set.spawn(lapse::watch(Arc::clone(&shared)));
    set.spawn(tending::tend(Arc::clone(&shared), link(Role::Durable)));
    set.spawn(follower::follow(
        Arc::clone(&shared),
        Arc::clone(&listening),
    ));
    set.spawn(follower::tell(Arc::clone(&shared), listening));
    Ok((
        Tasks {
            shared,
            set,
            writers,
        },
        appends,
        saves,
    ))
}

impl Tasks {
    async fn run(mut self, mut ended: watch::Receiver<End>) {
        let end = tokio::select! {
            end = told_to_end(&mut ended) => end,
            // Only a panic ends one of these before.
            _ = self.set.join_next() => return self.broken(),
            joined = self.writers.join_next() => match joined {
                Some(Err(_)) => return self.broken(),
                // Its queue was closed.
                _ => told_to_end(&mut ended).await,
            },
        };
        if end != End::Gracefully {
            return;
        }
        let longest = 2 * self.shared.options.append_timeout;
        within(longest, async {
            while self.writers.join_next().await.is_some() {}
        })
        .await;
        self.set.abort_all();
        let id = self.shared.identity();
        within(LEAVE_TIMEOUT, async {
            if let Err(why) = self.shared.link.call(LEAVE, &[&id]).await {
                log::info!(
                    "journal: the shares cannot be given back now, others take them soon: {why}"
                );
            }
        })
        .await;
    }

    fn broken(&self) {
        self.shared
            .is_writing
            .store(false, std::sync::atomic::Ordering::SeqCst);
        self.shared.broken.send_replace(true);
    }
}

async fn told_to_end(ended: &mut watch::Receiver<End>) -> End {
    match ended.wait_for(|end| *end != End::Not).await {
        Ok(end) => *end,
        // The handle is gone.
        Err(_) => End::Gracefully,
    }
}

async fn within(longest: Duration, work: impl Future<Output = ()>) {
    if timeout(longest, work).await.is_err() {
        log::warn!("journal: the database does not answer; offhook ends without waiting for it");
    }
}

const NEWEST: &str = "SELECT b.last, b.batch, m.deletions, m.documents FROM meta m \
    LEFT JOIN (SELECT last, batch FROM block ORDER BY last DESC LIMIT 1) b ON true";

const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
