//! Fake gateways that drive a real server from its registration to the answers of a bot, each written from the source of
//! its gateway. The server is killed in between: nothing is lost, and no event is handed over under two ids.

mod bot;
mod evolution;
mod fake;
mod meta;
mod waha;

use std::path::PathBuf;
use std::time::Duration;

use actix_web::rt;

use crate::served::until;
use crate::support::Folder;
use bot::Bot;
use fake::Answers;

/// So often is the server killed.
const KILLS: usize = 5;

/// So many messages come between two kills.
const EACH: usize = 25;

/// Of so many requests the gateway does not get the answer of one, so it sends the same again.
const ANSWER_LOST: usize = 4;

/// What the message with this number says.
fn text(number: usize) -> String {
    format!("m{number} é/{number}")
}

/// A folder, and settings in it: a journal, the sources and the gateways. The public address never changes, because
/// gateways are told it once.
fn settings(name: &str, public: u16, more: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let path = folder.0.join("settings.toml");
    let journal = folder.0.display();
    let text = format!(
        "[server]\nbind = \"127.0.0.1:{public}\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [journal]\npath = \"{journal}/journal\"\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// Has messages sent, some after a while, and kills the server among them, until each has an answer of the bot and the
/// gateway has nothing left to send. Returns the line about the registration of each start.
async fn over_kills(
    bot: &Bot,
    answers: &Answers,
    send: impl Fn(usize, Duration),
    is_empty: impl Fn() -> bool,
) -> Vec<String> {
    let (mut lines, mut answered) = (Vec::new(), 0);
    let mut program = bot.start().await;
    for wave in 0..=KILLS {
        let line;
        (program, line) = bot::registered(program).await;
        lines.push(line);
        for number in wave * EACH..(wave + 1) * EACH {
            let late = u64::try_from(number % EACH).unwrap() * 10;
            send(number, Duration::from_millis(late));
        }
        if wave < KILLS {
            answered += EACH / 3;
            until("some are answered", async || answers.count() >= answered).await;
            answered = answered.max(answers.count());
            program.kill();
            // Some are sent while there is no server.
            rt::time::sleep(Duration::from_millis(60)).await;
            program = bot.start().await;
        }
    }
    let all = (KILLS + 1) * EACH;
    until("all are answered", async || answers.count() >= all).await;
    until("all are taken", async || is_empty()).await;
    program.stop();
    lines
}
