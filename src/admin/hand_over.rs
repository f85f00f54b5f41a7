//! Handing events over again to consumers. What has begun goes to its end: also when the client hangs up, and when
//! one of the consumers fails.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::request::run_to_end;
use super::state::{AdminState, State};
use crate::dispatch::ReplayRequest;
use crate::journal::Position;

/// A consumer's name, and the events that it gets.
pub(super) type Share = (String, Arc<[Position]>);

/// Has each of the consumers replay its events. Returns when that is durable.
///
/// # Errors
///
/// When it is not durable for each of them. The others have it then, and those that failed may have it.
pub(super) async fn hand_over(
    state: &State,
    id: Uuid,
    asked: ReplayRequest,
    shares: Vec<Share>,
) -> Result<(), ApiError> {
    let (state, asked) = (state.clone(), Arc::new(asked));
    ask_each(id, shares, move |(name, events)| {
        let (state, asked) = (state.clone(), Arc::clone(&asked));
        async move { ask(&state, &name, id, &asked, events.to_vec()).await }
    })
    .await
}

async fn ask(
    state: &AdminState,
    name: &str,
    id: Uuid,
    asked: &ReplayRequest,
    events: Vec<Position>,
) -> Result<(), ApiError> {
    let journal = state.pipeline()?.journal().as_ref();
    let consumer = state.running(name)?;
    let taken = consumer.replay(journal, id, asked, events).await;
    taken
        .ok_or_else(|| ApiError::has_ended(name))?
        .map_err(Into::into)
}

async fn ask_each<F: Future<Output = Result<(), ApiError>> + Send>(
    id: Uuid,
    shares: Vec<Share>,
    ask: impl Fn(Share) -> F + Send + Sync + 'static,
) -> Result<(), ApiError> {
    let all = async move {
        let mut failed = Vec::new();
        for some in shares.chunks(AT_ONCE) {
            let answers = join_all(some.iter().cloned().map(&ask)).await;
            for ((name, _), answer) in some.iter().zip(answers) {
                failed.extend(answer.err().map(|error| format!("{name} ({error})")));
            }
        }
        (shares.len(), failed)
    };
    let (asked, failed) = run_to_end(all).await?;
    if failed.is_empty() {
        return Ok(());
    }
    let (count, first) = (failed.len(), failed.get(..MOST_NAMED).unwrap_or(&failed));
    let text = format!(
        "replay {id} has begun, but is not known to be durable for {count} of {asked} consumers: {}; they may have \
         its events too: look at /api/replays before asking again",
        first.join(", ")
    );
    Err(ApiError::unavailable(text))
}

/// The answer to a replay that goes on after it.
pub(super) fn goes_on(id: Uuid, matched: usize) -> HttpResponse {
    HttpResponse::Accepted().json(json!({ "replay": id, "matched": matched }))
}

/// The answer to a replay that `matched` events, of which `count` are handed over. A long one goes on after
/// the answer. `left_out` names the consumers whose events are not handed over.
pub(super) fn taken(id: Uuid, matched: usize, count: usize, left_out: &[Value]) -> HttpResponse {
    let (status, mut answer) = if count <= ANSWERED_AT_ONCE {
        let answer = json!({ "matched": matched, "replayed": count });
        (StatusCode::OK, answer)
    } else {
        let answer = json!({ "replay": id, "matched": matched });
        (StatusCode::ACCEPTED, answer)
    };
    if !left_out.is_empty() {
        answer["left_out"] = left_out.into();
    }
    HttpResponse::build(status).json(answer)
}

/// A replay of more events is answered with its id.
const ANSWERED_AT_ONCE: usize = 1000;

/// So many consumers are asked together: each has its own copy of the events.
const AT_ONCE: usize = 16;

/// So many consumers are named in an error.
const MOST_NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    fn shares(count: usize) -> Vec<Share> {
        let events: Arc<[Position]> = [Position::first(1)].into();
        let all = (0..count).map(|number| (format!("consumer-{number}"), Arc::clone(&events)));
        all.collect()
    }

    #[tokio::test]
    async fn each_consumer_is_asked_also_after_one_that_fails() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let answer = ask_each(Uuid::nil(), shares(40), move |(name, _)| {
            noted.lock().unwrap().push(name.clone());
            async move {
                match &*name {
                    "consumer-1" => Err(ApiError::unavailable("the disk is full")),
                    _ => Ok(()),
                }
            }
        });
        let error = answer.await.unwrap_err();
        assert_eq!(asked.lock().unwrap().len(), 40);
        let text = error.to_string();
        assert!(text.contains("1 of 40"), "{text}");
        assert!(text.contains("consumer-1 (the disk is full);"), "{text}");
    }

    #[tokio::test]
    async fn what_has_begun_goes_to_its_end_when_the_client_hangs_up() {
        let (asked, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (noted, waits) = (Arc::clone(&asked), Arc::clone(&go));
        let answer = ask_each(Uuid::nil(), shares(40), move |_| {
            let (noted, waits) = (Arc::clone(&noted), Arc::clone(&waits));
            async move {
                waits.acquire().await.unwrap().forget();
                noted.add_permits(1);
                Ok(())
            }
        });
        // It is dropped while the first consumers have not answered.
        let hung_up = timeout(Duration::from_millis(20), answer).await;
        assert!(hung_up.is_err());
        go.add_permits(40);
        let all = timeout(Duration::from_secs(20), asked.acquire_many(40)).await;
        assert!(all.is_ok());
    }
}
