//! Passes the states of events on to instances at which somebody watches, so that the stream of one instance has those
//! of all.
//!
//! An instance says now and then that somebody watches there. While it does, the others tell it the states that their
//! attempts bring about, in messages that are not stored: one that is lost is missing from the stream, as for a viewer that
//! is slow. While nobody watches anywhere, nothing is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::journal::Cluster;
use crate::telemetry::{News, Overhearing, PassedOn};

/// Tells and hears until told to stop.
pub(crate) async fn run(
    news: News,
    cluster: Arc<dyn Cluster>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut viewers, mut told) = (news.watch_viewers(), cluster.told());
    // Until when another instance has said that somebody watches there, and what it is to hear.
    let mut watched: Option<(Instant, Overhearing)> = None;
    // What is told next, and when.
    let mut gathered: Option<(Instant, Vec<PassedOn>)> = None;
    // When it is said again that somebody watches here.
    let mut say_at: Option<Instant> = None;
    while !*stop.borrow_and_update() {
        let now = clock.monotonic();
        watched = watched.filter(|(until, _)| now < *until);
        if let Some((_, states)) = gathered.take_if(|(at, _)| *at <= now) {
            messages(&states).for_each(|message| cluster.tell(&message));
        }
        if *viewers.borrow_and_update() == 0 {
            say_at = None;
        } else if say_at.is_none_or(|at| at <= now) {
            cluster.tell(WATCHING);
            say_at = Some(now + SAY_AGAIN);
        }
        let until = |at: Option<Instant>| {
            OptionFuture::from(at.map(|at| clock.sleep(at.saturating_duration_since(now))))
        };
        let told_at = gathered.as_ref().map(|(at, _)| *at);
        let next = OptionFuture::from(watched.as_mut().map(|(_, states)| states.next()));
        tokio::select! {
            _ = stop.changed() => {}
            Some(()) = until(told_at) => {}
            Some(state) = next => {
                let (_, states) = gathered.get_or_insert_with(|| (now + GATHER, Vec::new()));
                if states.len() < MOST_GATHERED {
                    states.push(state);
                }
            }
            heard = told.recv() => match heard.as_deref() {
                Ok(WATCHING) => {
                    let until = now + WATCHED;
                    match &mut watched {
                        Some((known, _)) => *known = until,
                        None => watched = Some((until, news.overhear())),
                    }
                }
                Ok(states) => {
                    let states: Vec<PassedOn> = serde_json::from_str(states).unwrap_or_default();
                    states.into_iter().for_each(|state| news.tell_elsewhere(state));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = viewers.changed() => {}
            Some(()) = until(say_at) => {}
        }
    }
}

/// Puts states into messages, as many into each as fit.
fn messages(states: &[PassedOn]) -> impl Iterator<Item = String> {
    let texts = states
        .iter()
        .filter_map(|one| serde_json::to_string(one).ok());
    let mut messages: Vec<String> = Vec::new();
    for text in texts.filter(|text| text.len() + 2 <= MAX_MESSAGE) {
        match messages.last_mut() {
            Some(last) if last.len() + text.len() + 2 <= MAX_MESSAGE => {
                last.push(',');
                last.push_str(&text);
            }
            _ => messages.push(format!("[{text}")),
        }
    }
    messages.into_iter().map(|message| message + "]")
}

const WATCHING: &str = "watching";

/// How often that is said, and how long it holds.
const SAY_AGAIN: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(12);

/// How long states are gathered.
const GATHER: Duration = Duration::from_millis(100);

/// So many states are told at once; a viewer takes 200 in a second.
const MOST_GATHERED: usize = 200;

/// A notification has less than 8,000 bytes, with what the journal puts before the text.
const MAX_MESSAGE: usize = 7_900;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::FakeClock;
    use crate::journal::{FakeCluster, Memory};
    use crate::telemetry::ChangeKind;

    /// What others tell meanwhile does not put that off.
    #[actix_web::test]
    async fn it_is_said_again_that_somebody_watches() {
        let fake = Arc::new(FakeClock::new(crate::Timestamp::UNIX_EPOCH));
        let clock: Arc<dyn Clock> = fake.clone();
        let cluster = Arc::new(FakeCluster::new(
            &Memory::new(Arc::clone(&clock), 1),
            &clock,
        ));
        let (news, (stop, stopped)) = (News::new(), watch::channel(false));
        let viewer = news.view(&[ChangeKind::State]).unwrap();
        let running = tokio::spawn(run(news, cluster.clone(), clock, stopped));
        for _ in 0..30 {
            while cluster.tell_here("[]") == 0 {
                tokio::task::yield_now().await;
            }
            while cluster.untold() > 0 {
                tokio::task::yield_now().await;
            }
            fake.advance(Duration::from_secs(1));
        }
        drop(viewer);
        stop.send_replace(true);
        running.await.unwrap();
        let said = cluster.said();
        assert!((5..=7).contains(&said.len()), "{said:?}");
        assert!(said.iter().all(|said| said == WATCHING));
    }

    #[actix_web::test]
    async fn messages_have_as_many_states_as_fit() {
        let news = News::new();
        let mut states = news.overhear();
        let mut all = Vec::new();
        for length in [100, 200, 7_600, 5_000, 9_000, 300] {
            news.tell(ChangeKind::State, None, || json!("x".repeat(length)));
            all.push(states.next().await);
        }
        let found: Vec<String> = messages(&all).collect();
        assert!(found.iter().all(|message| message.len() <= MAX_MESSAGE));
        let counts = found.iter().map(|message| {
            let states: Vec<PassedOn> = serde_json::from_str(message).unwrap();
            states.len()
        });
        // One is longer than a message.
        assert_eq!(counts.collect::<Vec<_>>(), [2, 1, 2]);
        assert_eq!(messages(&[]).count(), 0);
    }
}
