//! The tasks that follow the log, and tell the other instances of what this one has appended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::following::Following;
use super::gathering;
use super::link::Link;
use super::reading;
use super::session::Listener;
use super::shared::{News, Shared, heard};
use super::sql::{number, signed};
use crate::Timestamp;
use crate::journal::{Seq, Unavailable};

/// Reads what is new after the tail's head, whenever there is news.
pub(super) async fn follow(shared: Arc<Shared>, link: Arc<Link>) {
    loop {
        shared.following.wake.notified().await;
        while let Err(why) = catch_up(&shared, &link).await {
            log::debug!("journal: the log cannot be read on now: {why}");
            shared.clock.sleep(PAUSE).await;
        }
        // Under load one read takes what several appends have stored. Not by a test's clock, which stands still.
        tokio::time::sleep(READ_PAUSE).await;
    }
}

async fn catch_up(shared: &Shared, link: &Link) -> Result<(), Unavailable> {
    let following = &shared.following;
    link.session().await?;
    let mut leaves_out = true;
    loop {
        let head = following.tail().head();
        // Own bodies come from memory.
        let own = if leaves_out {
            following.own_waiting()
        } else {
            Vec::new()
        };
        let generation = shared.verifier.generation();
        let (blocks, is_full) =
            reading::blocks_of_others(link, head, &own, shared.shares()).await?;
        if generation != shared.verifier.generation() {
            continue;
        }
        let is_nothing_left = blocks.is_empty();
        let is_whole = following.take(blocks, !own.is_empty());
        // Where that for which own bodies wait was trimmed, they are read, too.
        leaves_out = is_whole && (own.is_empty() || !is_nothing_left);
        if leaves_out && !is_full {
            // What has come since has left a wake-up.
            break;
        }
    }
    if following.is_behind_deletions() {
        take_deletions(shared, link).await?;
    }
    Ok(())
}

/// Removes from memory what another instance has deleted.
async fn take_deletions(shared: &Shared, link: &Link) -> Result<(), Unavailable> {
    let following = &shared.following;
    loop {
        let applied = following.applied_deletions.load(Ordering::SeqCst);
        let rows = link.read(DELETIONS, &[&signed(applied)]).await?;
        let mut newest = applied;
        for row in rows
            .iter()
            .filter(|row| row.get::<_, Option<i64>>(1).is_some())
        {
            let at = Timestamp::from_millisecond(row.get(3)).unwrap_or_default();
            following.tail().delete(&[number(row, 2)], at);
            newest = number(row, 1);
        }
        let is_all = rows.len() < MOST_DELETIONS;
        if is_all && let Some(row) = rows.first() {
            // The newest ones may be of bodies that were trimmed since.
            newest = number(row, 0);
        }
        following
            .applied_deletions
            .fetch_max(newest, Ordering::SeqCst);
        if is_all {
            return Ok(());
        }
    }
}

/// Tells the others of the newest body, and what else there is to tell, one message at a time.
pub(super) async fn tell(shared: Arc<Shared>, link: Arc<Link>) {
    let mut told = 0;
    loop {
        shared.news.to_tell.notified().await;
        let mut sayings = shared.news.take_sayings().into_iter();
        loop {
            // The body goes first: the others dispatch it. An instance that is alone sends no notification.
            let head: Seq = shared.news.head.load(Ordering::SeqCst);
            if head > told
                && !shared.peers.is_alone()
                && link.read(TELL, &[&format!("h{head}")]).await.is_ok()
            {
                told = head;
            }
            let Some(what) = sayings.next() else { break };
            // Who waits for it waits for a second at most.
            drop(link.read(TELL, &[&what]).await);
        }
    }
}

/// Understands what other instances tell: `h7` the body 7, `d7` the change 7 of documents, `c7` the command 7,
/// `n7` the note 7, `x` a deletion, `s` a share that was given back or an instance that has joined, `f` and `F` with an id
/// a question for notes and an answer to it, `p` and `P` one for progress, `t` with the id of who tells it what nobody
/// needs. Nothing depends on it: a message that is lost costs the time until the next beat.
pub(super) fn listener(
    following: &Arc<Following>,
    documents: impl Fn(u64) + Send + Sync + 'static,
    news: &Arc<News>,
) -> Listener {
    let (following, news) = (Arc::clone(following), Arc::clone(news));
    Arc::new(move |message: &str| {
        let number = || message.get(1..)?.parse::<u64>().ok();
        match (message.get(..1), number()) {
            (Some("h"), Some(head)) => following.heard(head),
            (Some("d"), Some(version)) => documents(version),
            // Numbers may become visible out of order.
            (Some("c"), Some(command)) => news.commands.send_modify(|newest| {
                *newest = command.max(*newest);
            }),
            (Some("n"), Some(note)) => heard(&news.notes, note),
            (Some("x"), _) => following.heard_deletion(None),
            (Some("s"), _) => news.shares.notify_one(),
            (Some("t"), _) => {
                let (id, text) = message[1..].split_at_checked(ID).unwrap_or_default();
                if id.parse() != Ok(news.id) {
                    // Maybe nobody listens.
                    let _ = news.told.send(text.into());
                }
            }
            (Some(letter @ ("f" | "F" | "p" | "P")), _) => {
                if let Some(id) = message.get(1..).and_then(|id| id.parse().ok()) {
                    gathering::hear(&news, letter, id);
                }
            }
            // The connection has ended: makes another one, and reads.
            (None, _) => following.wake.notify_one(),
            _ => {}
        }
    })
}

/// The length of an id in digits.
const ID: usize = 32;

const TELL: &str = "SELECT pg_notify(current_schema(), $1)";
/// At least one row, with the number of the newest deletion at that moment.
const DELETIONS: &str = "SELECT m.deletions, d.number, d.seq, d.at FROM meta m LEFT JOIN \
    (SELECT number, seq, at FROM deletion WHERE number > $1 ORDER BY number LIMIT 1000) d ON true ORDER BY d.number";
const MOST_DELETIONS: usize = 1000;

/// Between tries to read.
const PAUSE: Duration = Duration::from_millis(100);

/// The pause after a read. An event of another instance waits that long at most before it is read, and own events behind it
/// wait with it; they are answered before.
const READ_PAUSE: Duration = Duration::from_millis(5);
