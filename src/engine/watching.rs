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
    while !*stop.borrow_and_update() {
        let now = clock.monotonic();
        watched = watched.filter(|(until, _)| now < *until);
        if let Some((_, states)) = gathered.take_if(|(at, _)| *at <= now) {
            messages(&states).for_each(|message| cluster.tell(&message));
        }
        let is_watching = *viewers.borrow_and_update() > 0;
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
            _ = viewers.changed() => cluster_is_watched(&cluster, &viewers),
            () = clock.sleep(SAY_AGAIN), if is_watching => cluster_is_watched(&cluster, &viewers),
        }
    }
}

/// Says that somebody watches here.
fn cluster_is_watched(cluster: &Arc<dyn Cluster>, viewers: &watch::Receiver<usize>) {
    if *viewers.borrow() > 0 {
        cluster.tell(WATCHING);
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
    use crate::telemetry::ChangeKind;

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
