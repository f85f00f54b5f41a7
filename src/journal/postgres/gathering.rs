//! Questions to the other instances, and what they are called: [`Asking`](super::asking::Asking) counts the answers.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::shared::{News, Shared};
use crate::journal::Gathered;

/// Has the other instances store what they have, and waits until they have done so, less than a second.
pub(super) async fn ask(shared: &Shared, what: Gathered) {
    let question = ask_now(shared, what);
    match what {
        Gathered::Notes => question.await,
        // A list asks for each consumer, and all have saved after the first one.
        Gathered::Progress => {
            let asking = shared.news.asking(what);
            asking.share(PROGRESS_PAUSE, &*shared.clock, question).await;
        }
    }
}

async fn ask_now(shared: &Shared, what: Gathered) {
    let (asking, now) = (shared.news.asking(what), shared.clock.monotonic());
    let id = Uuid::now_v7();
    let Some(mut asked) = asking.ask(id, now) else {
        return;
    };
    let (question, _) = letters(what);
    shared.say(format!("{question}{id}"));
    if timeout(LONGEST, asked.answered()).await.is_err() {
        asking.is_silent(shared.clock.monotonic());
    }
}

/// Understands a question or an answer.
pub(super) fn hear(news: &News, letter: &str, id: Uuid) {
    for what in [Gathered::Notes, Gathered::Progress] {
        let (asking, (question, answer)) = (news.asking(what), letters(what));
        if letter == question {
            asking.heard_question(id);
        } else if letter == answer {
            asking.heard_answer(id);
        }
    }
}

/// With what a question and an answer begin.
pub(super) fn letters(what: Gathered) -> (&'static str, &'static str) {
    match what {
        Gathered::Notes => ("f", "F"),
        Gathered::Progress => ("p", "P"),
    }
}

/// Progress is asked for no more often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);

/// Less than a caller waits.
const LONGEST: Duration = Duration::from_millis(900);
