//! Now: whether all is well, and where it is not.

use actix_web::HttpResponse;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::bars::{Row, bars};
use super::parts::{
    Act, Page, Tone, ago, call, consumer_link, fact, many, number, size, state as state_of, time_in,
};
use super::problems::{Problem, problems};
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::{AdminState, State};
use crate::admin::{consumers, replays, stats};
use crate::clock::{Clock as _, SystemClock};
use crate::ingress::SeenReport;
use crate::telemetry::{Series, Window};

/// `GET /ui/now`
pub(super) async fn page(state: State, role: Role) -> Result<HttpResponse, ApiError> {
    let head = state.head();
    let sources = state.ingress.silence().report();
    let all = match &state.pipeline {
        Some(_) => consumers::all(&state).await?,
        None => Vec::new(),
    };
    let settings = state.settings.health();
    let kept = match &state.pipeline {
        Some(pipeline) => stats::kept(&state, pipeline).await.ok(),
        None => None,
    };
    let problems = problems(&state, &sources, &all, &settings).await;
    let replayed = match &state.pipeline {
        Some(_) => replays::all(&state).await?,
        None => Vec::new(),
    };
    let was_anything_received = sources.iter().any(|source| source.last_event_at.is_some());
    let content = html! {
        div.head { h1 { "Now" } }
        p.verdict { (verdict(&sources, &problems, was_anything_received)) }
        @if !problems.is_empty() {
            ul.problems { @for problem in &problems { li { (problem.show()) } } }
        }
        @if !was_anything_received { (send_one(&state)) }
        (last_hour(&state))
        div.columns {
            section { (sources_table(&sources, role)) }
            section { (consumers_table(&state, &all)) }
        }
        @let running: Vec<&Value> = replayed.iter().filter(|one| one["state"] == "running").collect();
        @if !running.is_empty() { (replays_table(&running, role)) }
        h2 { "Server" }
        dl.facts {
            (fact("Version", Some(env!("CARGO_PKG_VERSION"))))
            (fact("Engine", Some(state.engine)))
            @if let Some(kept) = kept {
                (fact("Kept", kept.bytes.map(|bytes| format!("{} on the disk", size(bytes)))))
                (fact("Free", kept.disk_free.map(size)))
                (fact("Oldest event", kept.oldest_at.map(ago)))
                (fact("Newest number in the journal", Some(number(kept.head))))
            }
            (fact("Settings", settings["fingerprint"].as_str()))
            (fact("Loaded", time_in(&settings["loaded_at"], ago)))
            (fact("Last reload", last_reload(&settings["last_reload"])))
        }
    };
    let page = Page {
        stream: state
            .pipeline
            .is_some()
            .then(|| "api/stream?kinds=event,consumer,source,replay,refused".to_owned()),
        after: head,
        ..Page::new("Now")
    };
    Ok(page.answer(&state, &content).await)
}

/// What came in the last hour, over all sources.
fn last_hour(state: &AdminState) -> Markup {
    let sources = state
        .metrics
        .stats()
        .sources(Window::Hour, SystemClock.monotonic());
    let mut sums: [Series; 4] = Default::default();
    for (_, rows) in &sources {
        for (sum, row) in sums.iter_mut().zip(rows) {
            sum.resize(row.len(), None);
            for (sum, number) in sum.iter_mut().zip(row) {
                *sum = number
                    .map(|number| sum.unwrap_or_default().saturating_add(number))
                    .or(*sum);
            }
        }
    }
    let [received, duplicates, refused, unavailable] = &sums;
    let row = |name, class, numbers| Row {
        name,
        class,
        numbers,
        now: None,
    };
    bars(&[
        row("received", "plain", received),
        row("duplicates", "soft", duplicates),
        row("refused", "warn", refused),
        row("unavailable", "bad", unavailable),
    ])
}

/// One sentence of how it is.
fn verdict(sources: &[SeenReport], problems: &[Problem], was_anything_received: bool) -> Markup {
    let heard = sources.iter().filter(|source| {
        source.session.is_none() && source.since_last.is_some_and(|since| since.as_secs() < 60)
    });
    let heard = many(heard.count() as u64, "source");
    html! {
        @match problems.iter().map(|problem| problem.tone).min() {
            None if !was_anything_received => { span.state.is-idle { "Ready" } ": nothing has come since the start." }
            None => { span.state.is-good { "All is well" } ": " (heard) " heard in the last minute, no consumer is held up." }
            Some(Tone::Bad) => { span.state.is-bad { "Something is wrong" } ", the worst first:" }
            Some(_) => { span.state.is-warn { "Something wants attention" } ":" }
        }
    }
}

/// What to do where nothing was received yet.
fn send_one(state: &AdminState) -> Markup {
    let settings = state.settings.settings();
    let bind = settings["server"]["bind"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = settings["sources"][0]["path"]
        .as_str()
        .unwrap_or("/webhook")
        .to_owned();
    let curl = format!(
        "body='{{\"event\":\"message\",\"messageId\":\"1\",\"from\":\"+1\",\"message\":\"Hello!\"}}'\n\
         curl -i http://{bind}{path} -H 'Content-Type: application/json' \\\n  \
         -H \"$(printf %s \"$body\" | offhook sign - --secret \"$SECRET\")\" -d \"$body\""
    );
    html! {
        p { "Nothing was received yet. Send one:" }
        pre.wrap { "offhook send\n\n# or\n" (curl) }
    }
}

/// Has a source receive a test event.
fn test(source: &str) -> Act<'static> {
    Act {
        name: "Test",
        ask: format!(
            "{source} receives a message that is signed with its own secret, of the session offhook-test. Consumers \
             get it, with the header offhook-test."
        ),
        say: format!("Send 1 test event to {source}"),
        typed: None,
        call: call("POST", "api/test", &json!({ "source": source })),
        then: None,
        told: Some(["Received as {event}. It reaches {reaches}.", ""]),
    }
}

fn sources_table(sources: &[SeenReport], role: Role) -> Markup {
    html! {
        h2 { "Sources" }
        table {
            caption.unseen { "When each source sent its last event" }
            thead { tr { th scope="col" { "Source" } th scope="col" { "Last event" } th scope="col" { "State" } th scope="col" { span.unseen { "Actions" } } } }
            tbody {
                @for source in sources {
                    tr {
                        th scope="row" {
                            (source.source)
                            @if let Some(session) = &source.session { " " small { "session " (session) } }
                        }
                        td { @if let Some(at) = source.last_event_at { (ago(at)) } @else { span.quiet { "never" } } }
                        td { @match source.quiet_since {
                            Some(since) => { (state_of("quiet")) " " small { "since " (ago(since)) } }
                            None if source.last_event_at.is_some() => (state_of("heard")),
                            None => span.quiet { "–" },
                        } }
                        td { @if source.session.is_none() { (test(&source.source).button(role)) } }
                    }
                }
            }
        }
    }
}

fn consumers_table(state: &AdminState, consumers: &[Value]) -> Markup {
    let most = consumers.iter().filter_map(|one| one["lag"].as_u64()).max();
    html! {
        h2 { "Consumers" }
        @if state.pipeline.is_none() {
            p { "The engine is none: handlers run before the answer, and nothing is kept." }
        } @else if consumers.is_empty() {
            p { "No handler and no subscriber: events are kept, and nobody gets them. " a href="consumers" { "Add one" } }
        } @else {
            table {
                caption.unseen { "How far each consumer is" }
                thead { tr { th scope="col" { "Consumer" } th scope="col" { "State" } th scope="col" { "Lag" } th.wide-only scope="col" { "Oldest waiting" } } }
                tbody {
                    @for consumer in consumers.iter().take(MOST_SHOWN) {
                        tr {
                            th scope="row" { (consumer_link(consumer["name"].as_str().unwrap_or_default())) }
                            td { (state_of(consumer["state"].as_str().unwrap_or("unknown"))) }
                            td { (lag(consumer, most.unwrap_or_default())) }
                            td.wide-only { @if let Some(at) = time_in(&consumer["oldest_waiting"], ago) { (at) } @else { span.quiet { "–" } } }
                        }
                    }
                }
            }
            @if consumers.len() > MOST_SHOWN { p { a href="consumers" { "All " (consumers.len()) } } }
        }
    }
}

/// The events that wait, as a number and as a bar beside those of the others.
fn lag(consumer: &Value, most: u64) -> Markup {
    match consumer["lag"].as_u64() {
        None => html! { span.quiet { "unknown" } },
        Some(0) => html! { "0" },
        Some(lag) => {
            // Not green where nothing is handed over.
            let is_bad = Tone::of(consumer["state"].as_str().unwrap_or_default()) == Tone::Bad;
            let best = is_bad.then_some(0);
            html! { (number(lag)) " " meter.wide-only value=(lag) max=(most) high=[best] optimum=[best] aria-label="Lag beside the others" {} }
        }
    }
}

/// The replays that run.
fn replays_table(running: &[&Value], role: Role) -> Markup {
    html! {
        h2 { "Replays that run" }
        table {
            caption.unseen { "How far each replay is" }
            thead { tr { th scope="col" { "Consumer" } th scope="col" { "Handed over" } th scope="col" { "Asked" } th scope="col" { span.unseen { "Actions" } } } }
            tbody {
                @for one in running {
                    @let (done, all) = (one["handed_over"].as_u64().unwrap_or_default(), one["matched"].as_u64().unwrap_or_default());
                    tr {
                        th scope="row" { (consumer_link(one["consumer"].as_str().unwrap_or_default())) }
                        td { (number(done)) " of " (number(all)) " " meter value=(done) max=(all) aria-label="Handed over" {} }
                        td { @if let Some(at) = time_in(&one["asked_at"], ago) { (at) } }
                        td { (super::replay::cancel(one, role)) }
                    }
                }
            }
        }
    }
}

fn last_reload(last: &Value) -> Option<Markup> {
    let outcome = last["outcome"].as_str()?;
    Some(
        html! { (outcome.replace('_', " ")) " " @if let Some(at) = time_in(&last["at"], ago) { (at) } },
    )
}

/// So many consumers are shown here; the page of consumers has all.
const MOST_SHOWN: usize = 20;
