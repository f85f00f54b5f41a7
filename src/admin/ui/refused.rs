//! Refused: requests that were not accepted, by what is wrong with them; and one, with what would accept it.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::parts::{
    Act, Page, Tone, ago, beginning, call, fact, fitting, many, plain, size, time_in, with_query,
};
use crate::Timestamp;
use crate::admin::error::ApiError;
use crate::admin::refused::{self, ListQuery};
use crate::admin::role::Role;
use crate::admin::state::State;

/// `GET /ui/refused`
pub(super) async fn page(
    state: State,
    role: Role,
    query: web::Query<ListQuery>,
) -> Result<HttpResponse, ApiError> {
    let mut query = query.into_inner();
    query.limit = Some(MOST_SHOWN);
    let (source, reason) = (query.source.clone(), query.reason.clone());
    let status = query.status.map(|status| status.to_string());
    let explained = query.explained.map(|explained| explained.to_string());
    let is_older = query.before.is_some();
    // No request that changes something can say these.
    let is_part = status.is_some() || explained.is_some();
    let is_all = source.is_none() && reason.is_none() && !is_part;
    let found = refused::find_all(&state, query).await?;
    let (groups, all) = (list(&found["groups"]), list(&found["refused"]));
    let pairs = |before: Option<&str>| {
        let pairs = [
            ("source", source.as_deref()),
            ("reason", reason.as_deref()),
            ("status", status.as_deref()),
            ("explained", explained.as_deref()),
            ("before", before),
        ];
        with_query("refused", &pairs)
    };
    let content = html! {
        div.head {
            h1 { "Refused requests" }
            @if !is_all { a href="refused" { "show all" } }
            span.end.actions {
                @if !groups.is_empty() && !is_part {
                    @let which = (source.as_deref(), reason.as_deref());
                    (verify("Verify all again", sum(groups, "whole"), which).button(role))
                    @if reason.is_none() { (forget(groups, source.as_deref()).button(role)) }
                }
            }
        }
        @if all.is_empty() && !is_older {
            p { @if is_all { "No refused request is kept." } @else { "Nothing that matches is kept." } }
        } @else {
            (groups_table(groups, role))
            h2 { "Requests, newest first" }
            (requests_table(all))
        }
        p.quiet {
            "Kept in memory since " (time_in(&found["since"], ago).unwrap_or_default()) ", gone at a restart."
            @if let Some(dropped) = found["dropped"].as_u64().filter(|dropped| *dropped > 0) {
                " " (many(dropped, "more")) " came and are not kept."
            }
            " The number in the navigation leaves out what came to other paths, or with another method."

        }
        p {
            @if is_older { a.button rel="prev" href=(pairs(None)) { "Newest" } " " }
            @if let Some(next) = found["next"].as_str() { a.button rel="next" href=(pairs(Some(next))) { "Older" } }
        }
    };
    let page = Page {
        stream: (!is_older && state.pipeline.is_some())
            .then(|| "api/stream?kinds=refused".to_owned()),
        ..Page::new("Refused requests")
    };
    Ok(page.answer(&state, &content).await)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// How many requests of all groups are counted under this key.
fn sum(groups: &[Value], key: &str) -> u64 {
    let counts = groups.iter().filter_map(|group| group[key].as_u64());
    counts.sum()
}

/// Has requests verified again, by the settings that run now: those of a source and with a reason, or all. There is
/// no button where none has its body.
fn verify<'a>(
    name: &'a str,
    count: u64,
    (source, reason): (Option<&str>, Option<&str>),
) -> Act<'a> {
    let body = json!({ "source": source, "reason": reason });
    Act {
        name,
        ask: format!(
            "{} are verified again with the secrets of now. One that is valid becomes an event, behind what its \
             conversation has received since; duplicates are found.",
            many(count, "request")
        ),
        say: format!("Verify {}", many(count, "request")),
        typed: None,
        call: if count > 0 {
            call("POST", "api/refused/verify", &body)
        } else {
            Value::Null
        },
        then: None,
        told: Some([VERIFIED, VERIFIED]),
    }
}

/// Forgets all requests of a source, or all.
fn forget(groups: &[Value], source: Option<&str>) -> Act<'static> {
    let count = sum(groups, "count");
    Act {
        name: "Forget",
        ask: format!(
            "{} are forgotten. They cannot be verified again.",
            many(count, "request")
        ),
        say: format!("Forget {}", many(count, "request")),
        typed: Some(count.to_string()),
        call: call(
            "DELETE",
            with_query("api/refused", &[("source", source)]),
            &Value::Null,
        ),
        then: None,
        told: None,
    }
}

fn groups_table(groups: &[Value], role: Role) -> Markup {
    html! {
        table {
            caption.unseen { "Groups by source and diagnosis, explained ones first" }
            thead { tr {
                th scope="col" { "What is wrong" } th.wide-only scope="col" { "Source" } th.number scope="col" { "Count" }
                th.wide-only scope="col" { "First" } th.wide-only scope="col" { "Last" } th scope="col" { span.unseen { "Actions" } }
            } }
            tbody {
                @for group in groups.iter().take(MOST_SHOWN) {
                    @let why = group["why"].as_str().or(group["reason"].as_str()).unwrap_or("not explained");
                    tr {
                        th scope="row" {
                            (proof(group)) " "
                            a href=(with_query("refused", &[("source", group["source"].as_str()), ("reason", group["reason"].as_str())])) {
                                (beginning(why, 200))
                            }
                            // Others of the group have other paths.
                            @if text(group, "reason").starts_with("path-") && group["count"] != 1 { " " small { "and others like it" } }
                        }
                        td.wide-only { (text(group, "source")) }
                        td.number { (group["count"].as_u64().unwrap_or_default()) }
                        td.wide-only { (time_in(&group["first"], ago).unwrap_or_default()) }
                        td.wide-only { (time_in(&group["last"], ago).unwrap_or_default()) }
                        td {
                            // Without a reason it is not looked into yet, and a request cannot name it.
                            @if let (Some(source), Some(reason)) = (group["source"].as_str(), group["reason"].as_str()) {
                                (verify("Verify again", group["whole"].as_u64().unwrap_or_default(), (Some(source), Some(reason))).button(role))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether the request could be accepted, and whether its sender has proven to know the secret.
fn proof(one: &Value) -> Markup {
    let (tone, words) = if one["reason"] == "accepted-now" {
        (Tone::Good, "can be accepted now")
    } else if one["explained"] == true {
        (Tone::Warn, "sender knows the secret")
    } else {
        (Tone::Idle, "sender unknown")
    };
    html! { span.state.(tone.class()) { (words) } }
}

fn requests_table(all: &[Value]) -> Markup {
    html! {
        table {
            caption.unseen { "Refused requests" }
            thead { tr {
                th scope="col" { "Time" } th scope="col" { "Path" } th scope="col" { "Why" } th.wide-only scope="col" { "Source" }
                th.wide-only scope="col" { "From" } th.number.wide-only scope="col" { "Status" }
            } }
            tbody {
                @for one in all {
                    tr {
                        td { a.row href={ "refused/" (text(one, "id")) } { (time_in(&one["at"], super::parts::time).unwrap_or_default()) } }
                        td { (text(one, "method")) " " bdi { (beginning(text(one, "path"), 100)) }
                            @if let Some(count) = one["count"].as_u64().filter(|count| *count > 1) { " " small { "×" (count) } } }
                        td { (beginning(one["why"].as_str().unwrap_or(text(one, "cause")), 160)) }
                        td.wide-only { (text(one, "source")) }
                        td.wide-only { (text(one, "peer")) " " small { bdi { (beginning(text(one, "user_agent"), 40)) } } }
                        td.number.wide-only { (one["status"].as_u64().unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

/// `GET /ui/refused/{id}`
pub(super) async fn page_of_one(
    state: State,
    role: Role,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let found = refused::one(&state, &id).await?;
    let one = serde_json::to_value(&found).unwrap_or_default();
    let content = html! {
        div.head {
            h1 { (text(&one, "method")) " " bdi { (beginning(text(&one, "path"), 100)) } }
            (proof(&one))
            span.end.actions { @if one["kept"] == "whole" { (verify_one(&one).button(role)) } }
        }
        @for finding in list(&one["findings"]) {
            p.note { strong { (text(finding, "why")) } br; (text(finding, "advice")) }
        }
        (facts(&one))
        @if let Some(suggestion) = one["suggestion"].as_str() {
            h2 { "What would accept it" }
            pre.wrap tabindex="0" { (suggestion) }
            p.quiet { "Put it into the settings, load them again, then verify the request again." }
        }
        h2 { "Headers" }
        dl.facts {
            @for header in list(&one["headers"]) {
                dt { (header[0].as_str().unwrap_or_default()) }
                dd.mono { bdi { (plain(header[1].as_str().unwrap_or_default())) } }
            }
        }
        h2 { "Body" }
        @match found.content.as_deref() {
            Some(_) if !role.sees_bodies() => p.quiet { "Bodies are shown to the administrator only ([admin] show_bodies)." },
            Some(content) => pre.wrap tabindex="0" { (fitting(&String::from_utf8_lossy(&content[..content.len().min(MOST_BODY)]), 2 * MOST_BODY)) },
            None => p.quiet {
                @match text(&one, "kept") {
                    "whole" => "Not shown, because what is to be hidden in it cannot be told: its source is gone, or its encoding cannot be undone.",
                    "hash" => { "Not kept. Its SHA-256 is " span.mono { (text(&one, "sha256")) } },
                    _ => "It was not read.",
                }
            },
        }
    };
    Ok(Page::new("Refused request").answer(&state, &content).await)
}

fn facts(one: &Value) -> Markup {
    let named = |key: &str| one[key].as_str().map(plain);
    html! {
        dl.facts {
            (fact("Received", time_in(&one["at"], super::parts::time as fn(Timestamp) -> Markup)))
            (fact("Answered", one["status"].as_u64()))
            (fact("Source", named("source")))
            (fact("Session", named("session")))
            (fact("From", named("peer")))
            (fact("Program", named("user_agent")))
            (fact("Size", one["bytes"].as_u64().map(size)))
            (fact("Diagnosis", named("diagnosis")))
            (fact("Asked for", one["count"].as_u64().map(|count| many(count, "time"))))
            (fact("Last", time_in(&one["last_at"], ago)))
        }
    }
}

fn verify_one(one: &Value) -> Act<'static> {
    Act {
        name: "Verify again",
        ask: "The request is verified again with the secrets of now. If it is valid it becomes an event.".to_owned(),
        say: "Verify 1 request".to_owned(),
        typed: None,
        call: call("POST", format!("api/refused/{}/verify", text(one, "id")), &json!({})),
        then: Some("refused"),
        told: Some(["It is valid now, as event {event}.", "It is not valid: {findings.0.why}"]),
    }
}

const VERIFIED: &str = "{valid} of {looked_at} are valid now, {accepted} accepted";

const MOST_SHOWN: usize = 50;
const MOST_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_accepted_now_is_told_first() {
        let words = |one: Value| proof(&one).into_string();
        let now = words(json!({ "reason": "accepted-now", "explained": true }));
        assert!(
            now.contains("is-good") && now.contains("can be accepted now"),
            "{now}"
        );
        let known = words(json!({ "reason": "base64", "explained": true }));
        assert!(
            known.contains("is-warn") && known.contains("sender knows the secret"),
            "{known}"
        );
        let unknown = words(json!({ "reason": "unexplained", "explained": false }));
        assert!(
            unknown.contains("is-idle") && unknown.contains("sender unknown"),
            "{unknown}"
        );
    }
}
