//! Settings: which run, what became of the last reload, and what the next would do.

use actix_web::HttpResponse;
use maud::{Markup, html};
use serde_json::json;

use super::parts::{Act, Page, ago, call, fact, fitting, fragment, many, time, time_in};
use super::toml;
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::settings::ask;
use crate::admin::state::State;

/// `GET /ui/settings`
pub(super) async fn page(state: State, role: Role) -> HttpResponse {
    let known = state.settings.health();
    let is_file_other =
        known["file_fingerprint"].is_string() && known["file_fingerprint"] != known["fingerprint"];
    let last = &known["last_reload"];
    let content = html! {
        div.head {
            h1 { "Settings" }
            span.end {
                @if state.reload.is_some() && role.may_change() { a.button data-panel href="ui/reload" { "Reload…" } }
            }
        }
        @if is_file_other {
            p.note { "The file on the disk says something else than what runs." }
            (difference(&state).await)
        }
        @if let Some(problems) = last["problems"].as_array().filter(|problems| !problems.is_empty()) {
            p.note.is-bad { "The last reload changed nothing:" }
            ul { @for problem in problems { li { (problem.as_str().unwrap_or_default()) } } }
        }
        dl.facts {
            (fact("Fingerprint", known["fingerprint"].as_str()))
            (fact("Of the file", known["file_fingerprint"].as_str()))
            (fact("Loaded", time_in(&known["loaded_at"], ago)))
            (fact("Last reload", time_in(&last["at"], ago)))
            (fact("Outcome", last["outcome"].as_str().map(|outcome| outcome.replace('_', " "))))
            @for listener in ["public", "admin"] {
                @if let Some(ends) = state.metrics.certificate_end(listener) {
                    (fact(&format!("Certificate of the {listener} listener ends"), Some(html! { (time(ends)) " (" (ago(ends)) ")" })))
                }
            }
        }
        h2 { "What runs" }
        p.quiet { "With all defaults. Of a secret there is …" }
        pre.wrap tabindex="0" { (fitting(&toml::text(&state.settings.settings()), 128 * 1024)) }
    };
    Page::new("Settings").answer(&state, &content).await
}

/// What the file on the disk would change.
async fn difference(state: &State) -> Markup {
    let Ok(report) = ask(state, true).await else {
        return html! {};
    };
    let changes = report.outcome.changes();
    html! {
        (list(&report.outcome.problems()))
        (list(&changes.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }
}

/// `GET /ui/reload`: what a reload would do.
pub(super) async fn preview(state: State, role: Role) -> Result<HttpResponse, ApiError> {
    role.check_change()?;
    let report = ask(&state, true).await?;
    let (changes, problems) = (report.outcome.changes(), report.outcome.problems());
    let reload = Act {
        name: "Reload",
        ask: "The settings are loaded again, all or nothing. No request and no event is dropped."
            .to_owned(),
        say: format!("Make {}", many(changes.len() as u64, "change")),
        typed: None,
        call: call("POST", "api/reload", &json!({})),
        then: None,
        told: None,
    };
    Ok(fragment(html! {
        h2 { "Reload" }
        @if !problems.is_empty() {
            p.note.is-bad { "The file cannot be taken, so a reload would change nothing:" }
            (list(&problems))
        } @else if changes.is_empty() {
            p { "The file says what runs: a reload would change nothing." }
        } @else {
            p { "A reload would make these changes:" }
            (list(&changes.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
        div.end {
            button type="button" data-close { "Close" }
            @if !changes.is_empty() { (reload.button(role)) }
        }
    }))
}

fn list(lines: &[String]) -> Markup {
    html! { ul { @for line in lines { li { (line) } } } }
}
